"""Write the entries that a pull request brings into a folder, for the base branch's code to verify.

    python3 .github/entries_of_pull_request.py BASE HEAD FOLDER

It runs in a checkout of the base branch and takes the pull request's files from git's objects, as
bytes: nothing of the pull request is checked out, imported or run.  A pull request that brings an
entry brings nothing else.  Entries that it removes are named and need no verification; one that
touches no entry passes, and FOLDER stays empty.

Exit status: 0 if the entries in FOLDER may be verified, 1 if the pull request is refused or git
fails; stderr then says why.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

BOARD = "leaderboards/submissions/"
#: As the board itself names its entries.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: Entries have no folders; a tree that was made by hand may hold the name "..".
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: What the board writes beside an entry.
CHECK = ".check.json"
#: How git calls a plain file, executable or not; links and other repositories are no data.
PLAIN = frozenset({"100644", "100755"})
#: Faults that are told at once.
MOST_TOLD = 20


class File(NamedTuple):
    """A file of the pull request: its mode and object, and its path below the checkout."""

    mode: str
    digest: str
    path: str


def git(*arguments: str) -> bytes:
    """Return what git prints.

    Raises:
        SystemExit: It failed: the pull request is then not checked, and must not pass.
    """
    command = ["git", "--literal-pathspecs", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  our own
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")
        sys.exit(f"`git {arguments[0]}` failed, so nothing was checked: {shown(said)}")
    return done.stdout


def shown(text: str) -> str:
    """Return a foreign text on one line, quoted and cut."""
    return ascii(text if len(text) <= 200 else f"{text[:200]}...")


def fields(output: bytes) -> list[str]:
    """Return what git separated by NUL: a path may hold any other character."""
    return output.decode(errors="surrogateescape").split("\0")[:-1]


def changed(base: str, head: str) -> list[File]:
    """Return what a pull request changes since it left the base, removed files with mode 000000."""
    left = git("merge-base", base, head).decode().strip()
    found = fields(git("diff-tree", "-r", "-z", "--no-renames", left, head))
    pairs = zip(found[::2], found[1::2], strict=True)
    return [File(told.split()[1], told.split()[3], path) for told, path in pairs]


def files(head: str, path: str) -> list[File]:
    """Return every file that a pull request has below ``path``."""
    found = (line.partition("\t") for line in fields(git("ls-tree", "-r", "-z", head, path)))
    return [File(told.split()[0], told.split()[2], name) for told, _, name in found]


def entry_of(path: str) -> str | None:
    """Return the name of the entry that a path lies in; None for a path of no entry."""
    name, _, file = path.removeprefix(BOARD).partition("/")
    known = path.startswith(BOARD) and NAME.fullmatch(name) and not name.endswith(CHECK)
    return name if known and FILE.fullmatch(file) else None


def faults(changes: list[File], removed: set[str]) -> list[str]:
    """Return why a pull request that touches the board is refused; nothing if it is not."""
    told = []
    for change in changes:
        path = shown(change.path)
        beside = change.path.removeprefix(BOARD)
        if beside.endswith(CHECK) and "/" not in beside and change.path.startswith(BOARD):
            if beside.removesuffix(CHECK) not in removed:
                told.append(f"{path} is written by those who keep the board; leave it out")
        elif entry_of(change.path) is None:
            told.append(
                f"{path} is no file of an entry, and a pull request with an entry brings nothing "
                f"else; an entry is a folder {BOARD}NAME of files, its name of small letters, "
                "digits, '-', '_' and '.'; a strategy, a task or any other change goes first, in "
                "a pull request of its own"
            )
        elif change.mode not in PLAIN | {"000000"}:
            told.append(f"{path} is a link or another repository; entries hold plain files")
    return told


def main(base: str, head: str, folder: str) -> None:
    """Write the entries into ``folder``, or exit with the reasons why not."""
    place = Path(folder)
    place.mkdir(parents=True)
    changes = changed(base, head)
    if not any(f"{change.path}/".startswith(BOARD) for change in changes):
        print("no entry is touched")
        return
    names = sorted({name for change in changes if (name := entry_of(change.path))})
    brought = {name: files(head, f"{BOARD}{name}/") for name in names}
    removed = {name for name in names if not brought[name]}
    # Also what the pull request did not change is verified, so it is looked at as well.
    found = faults([*changes, *(file for name in names for file in brought[name])], removed)
    if found:
        sys.exit("\n".join(list(dict.fromkeys(found))[:MOST_TOLD]))
    for name in names:
        print(f"removed: {name}" if name in removed else f"to be verified: {name}")
        for file in brought[name]:
            target = place / file.path.removeprefix(BOARD)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(git("cat-file", "blob", file.digest))


if __name__ == "__main__":
    main(*sys.argv[1:])
