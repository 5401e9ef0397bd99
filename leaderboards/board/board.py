"""A board: a folder of verified entries.

The result of checking an entry is stored next to its folder, not in it, so that no submitter
can state the level of the check.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field

from parallelbench import __version__
from parallelbench.console.progress import SILENT, ProgressDisplay
from parallelbench.errors import RecordsError, StorageError, SubmissionError
from parallelbench.leaderboards.entry.confined import SECONDS, confined
from parallelbench.leaderboards.entry.entry import Entry, Redecoded
from parallelbench.leaderboards.entry.folder import RUN, EntryFolder, parse_as, read_json
from parallelbench.leaderboards.entry.submission import Level
from parallelbench.leaderboards.verify.cache import VerificationCache
from parallelbench.leaderboards.verify.verification import Verified, content_of, verified
from parallelbench.record_line import from_line
from parallelbench.storage.folders import appearing, storage

#: Folder of the entries of this project.
BOARD: Final = Path("leaderboards") / "submissions"

#: A name that ends like the board's own word of an entry would be read as one.
_NAME = re.compile(r"(?!.*\.check\.json$)[a-z0-9][a-z0-9._-]{0,63}")
_NAMING = (
    "up to 64 small letters, digits, '-', '_' and '.', a letter or digit first, and not "
    "'.check.json' at the end, which is how the board's own word of an entry is called"
)
_CHECK = "{}.check.json"
_MOST_BYTES = 2**20
_LEVELS: Final[tuple[Level, ...]] = get_args(Level)


class _KeeperCheck(BaseModel):
    """Result of the check of an entry by the keeper of the board."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    level: Level
    date: str
    library_version: str
    records: int
    remarks: list[str]
    redecoded: dict[str, Redecoded] = {}


def add(  # noqa: PLR0913  all but entry and board are options
    entry: Path,
    board: Path,
    *,
    name: str | None = None,
    cache: VerificationCache | None = None,
    progress: ProgressDisplay = SILENT,
    seconds: int = SECONDS,
) -> Entry:
    """Verify an entry and copy it onto a board, completely or not at all.

    Args:
        entry: Folder of the entry, which is not changed.
        board: Folder of the board.
        name: Name of the entry on the board; None takes the folder's name.
        cache: Cache of earlier findings; None verifies in any case.
        progress: Shows the progress.
        seconds: Time limit, see :func:`~parallelbench.leaderboards.verify.verification.verified`.

    Raises:
        SubmissionError: A claim cannot be derived again, its records are on the board already,
            or its name is taken or not allowed.
        StorageError: The board cannot be written.
    """
    name = name or entry.resolve().name
    if not _NAME.fullmatch(name):
        raise SubmissionError(
            f"{name!r:.80} cannot be the name of an entry; give --name with {_NAMING}"
        )
    with storage(board):
        board.mkdir(parents=True, exist_ok=True)
        taken = {each.name.lower() for each in board.iterdir()} & {name, _CHECK.format(name)}
    if taken:
        raise SubmissionError(
            f"{board} has an entry {name!r} already, and an entry is never overwritten; give "
            "another --name, or withdraw that one first"
        )
    folder = EntryFolder.open(entry)
    with appearing(board / name) as place:
        # The copy is checked: the original may change meanwhile.
        with storage(place):
            for file, content in folder.files.items():
                (place / file).write_bytes(content)
        found = verified(place, name, cache=cache, progress=progress, seconds=seconds)
        twin = confined(partial(_twin, board, found), name, seconds=seconds, progress=progress)
        if twin is not None:
            raise SubmissionError(_same_records(board, twin, name))
    write_check(board, found)
    return found.entry


def write_check(board: Path, found: Verified) -> None:
    """Write the result of checking an entry of ``board``.

    Raises:
        StorageError: It cannot be written.
    """
    entry = found.entry
    content = {
        "manifest_sha256": found.digest,
        "level": entry.level,
        "date": datetime.now(UTC).date().isoformat(),
        "library_version": __version__,
        "records": len(entry.records),
        "remarks": list(entry.remarks),
        "redecoded": {label: each.model_dump() for label, each in entry.redecoded.items()},
    }
    file = board / _CHECK.format(entry.name)
    with storage(file):
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_board(
    folder: Path,
    *,
    cache: VerificationCache | None = None,
    progress: ProgressDisplay = SILENT,
    seconds: int = SECONDS,
    refused: Callable[[SubmissionError], None] | None = None,
) -> Sequence[Entry]:
    """Verify the entries of a board and return them in alphabetical order.

    An entry whose records the keeper decoded again, and whose files have not changed since, has
    the level and the remarks of that check.

    Args:
        folder: Folder of the board.
        cache: Cache of earlier findings; None verifies every entry again.
        progress: Shows the progress.
        seconds: Time limit, see :func:`~parallelbench.leaderboards.verify.verification.verified`.
        refused: Callback for each refused entry, which is then left out; None raises the first
            refusal.

    Raises:
        SubmissionError: An entry is refused, or two have the same records.
        StorageError: There is no such folder.
    """
    if not folder.is_dir():
        raise StorageError(
            f"{folder} is no board: there is no such folder; put an entry into it with "
            "`parallelbench leaderboard add ENTRY --board FOLDER`"
        )
    with storage(folder):
        names = sorted(each.name for each in folder.iterdir() if each.is_dir())
    entries: list[Entry] = []
    contents: dict[str, str] = {}
    for name in names:
        if name.startswith("."):
            continue
        try:
            entry, content = _read(folder, name, cache, progress, seconds)
            _refuse_twin(folder, contents.setdefault(content, name), name)
        except SubmissionError as error:
            if refused is None:
                raise
            refused(error)
        else:
            entries.append(entry)
    return entries


def _read(
    board: Path,
    name: str,
    cache: VerificationCache | None,
    progress: ProgressDisplay,
    seconds: int,
) -> tuple[Entry, str]:
    """Return an entry of a board with its records read, and the digest of its decodes."""
    if not _NAME.fullmatch(name):
        raise SubmissionError(
            f"{board / name}: no entry may have that name; rename its folder, with {_NAMING}"
        )
    check = _check_of(board, name)
    try:
        found = verified(
            board / name,
            name,
            redecode=check is None,
            cache=cache,
            progress=progress,
            seconds=seconds,
        )
    except SubmissionError as error:
        raise SubmissionError(*(f"entry {name}: {fault}" for fault in error.faults)) from error
    entry = dataclasses.replace(found.entry, records=list(found.entry.records))
    if check is not None and _LEVELS.index(check.level) >= _LEVELS.index(entry.level):
        entry = dataclasses.replace(
            entry,
            level=check.level,
            remarks=tuple(check.remarks),
            redecoded=check.redecoded,
        )
    return entry, found.content


def _check_of(board: Path, name: str) -> _KeeperCheck | None:
    """Return the keeper's check of an entry if it decoded records of the present files again."""
    file = board / _CHECK.format(name)
    if not file.is_file() or file.is_symlink():
        return None
    check: _KeeperCheck = parse_as(_KeeperCheck, _content(file), file.name)
    try:
        digest = EntryFolder.open(board / name).digest
    except SubmissionError:
        return None  # verification will report its faults
    return check if check.redecoded and check.manifest_sha256 == digest else None


def _twin(board: Path, found: Verified, progress: ProgressDisplay) -> str | None:
    """Return the name of an entry of a board that has the same records as ``found``, if any."""
    samples = _samples_of(found.runfile.frozen())
    with storage(board):
        names = sorted(each.name for each in board.iterdir() if _NAME.fullmatch(each.name))
    for name in names:
        if not (board / name).is_dir():
            continue
        progress.begin(f"comparing {found.entry.name} with {name}")
        try:
            folder = EntryFolder.open(board / name)
            if _samples_of(folder.yaml(RUN)) != samples:
                continue
            content = content_of(from_line(line, where) for line, where in folder.lines())
        except (SubmissionError, RecordsError):
            continue  # `build` reports its faults
        if content == found.content:
            return name
    return None


def _samples_of(run: Any) -> tuple[Any, ...]:
    """Return number and seed of a run's samples, which runs with the same records share."""
    return (run.get("samples"), run.get("seed")) if isinstance(run, dict) else ()


def _refuse_twin(board: Path, first: str, second: str) -> None:
    """Refuse the second of two entries with the same records, if these are two."""
    if first != second:
        raise SubmissionError(_same_records(board, first, second))


def _same_records(board: Path, first: str, second: str) -> str:
    return (
        f"{second} holds the same records as {first}, which is on {board} already: the same "
        "decodes count once, whoever submits them; leave it out, or withdraw the other first"
    )


def _content(file: Path) -> Any:
    with storage(file), file.open("rb") as stream:
        return read_json(stream.read(_MOST_BYTES), file.name)
