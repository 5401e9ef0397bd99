"""The check of pull requests: the very commands of the workflow, in repositories made for it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from parallelbench.leaderboards.commands import packing as pack
from parallelbench.leaderboards.entry.season import season
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github" / "workflows" / "leaderboard.yml").read_text()
WORKFLOW = yaml.safe_load(TEXT)
STEPS = WORKFLOW["jobs"]["verify"]["steps"]
COMMANDS = [step for step in STEPS if "run" in step]
# As GitHub starts it where a workflow says `shell: bash`.
BASH = [shutil.which("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c"]
BOARD = Path("leaderboards") / "submissions"
# What the base branch brings: a package to install, which is the one under test.
PROGRAM = f"""\
#!/bin/sh
exec "{sys.executable}" -P -m parallelbench "$@"
"""
MAKEFILE = """\
.venv/installed:
\tmkdir -p .venv/bin
\tcp program .venv/bin/parallelbench
\tchmod +x .venv/bin/parallelbench
\ttouch $@
"""
ISOLATED = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b.invalid",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b.invalid",
}


def git(place, *arguments):
    environment = {**os.environ, **ISOLATED}
    command = ["git", "-C", str(place), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def commit(place):
    git(place, "add", "--all", "--force")
    git(place, "commit", "--quiet", "--message", "change")
    return git(place, "rev-parse", "HEAD")


class PullRequest:
    """A repository with a base branch, and a pull request that leaves it."""

    def __init__(self, place, origin):
        self.place = place
        self.there = place / "there"
        shutil.copytree(origin, self.there)
        self.base = git(self.there, "rev-parse", "main")

    def write(self, name, content=""):
        file = self.there / BOARD / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def check(self, *, head=None, base=None, steps=None):
        """Run the first ``steps`` of the workflow in a checkout of the base branch.

        Returns:
            The exit status, and what was printed.
        """
        head = head or commit(self.there)
        here = self.place / "here"
        git(self.place, "clone", "--quiet", "--branch", "main", str(self.there), str(here))
        known = {
            "github.event.pull_request.base.sha": base or self.base,
            "github.event.pull_request.head.sha": head,
        }
        work = self.place / "work"
        work.mkdir()
        return self.run_steps(here, work, known, COMMANDS[:steps])

    def run_steps(self, here, work, known, steps):
        output, told = work / "output", ""
        output.touch()
        for step in steps:
            if "if" in step and "found=true" not in output.read_text():
                continue
            named = {
                name: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found[1]], value)
                for name, value in step.get("env", {}).items()
            }
            runner = {"RUNNER_TEMP": str(work), "GITHUB_OUTPUT": str(output)}
            done = subprocess.run(
                [*BASH, step["run"]],
                cwd=here,
                env={**os.environ, **ISOLATED, **runner, **named},
                capture_output=True,
                text=True,
                check=False,
            )
            told += done.stdout + done.stderr
            if done.returncode:
                return done.returncode, told
        return 0, told


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with one commit on its base branch, and another branch checked out."""
    there = tmp_path_factory.mktemp("origin") / "there"
    (there / BOARD / "old").mkdir(parents=True)
    (there / ".github").mkdir()
    shutil.copy(ROOT / ".github" / "entries_of_pull_request.py", there / ".github")
    (there / "Makefile").write_text(MAKEFILE)
    (there / "program").write_text(PROGRAM)
    (there / BOARD / "old" / "MANIFEST.json").write_text("{}")
    (there / BOARD / "old.check.json").write_text("{}")
    git(there, "init", "--quiet", "--initial-branch", "main")
    commit(there)
    git(there, "switch", "--quiet", "--create", "change")
    return there


@pytest.fixture
def request_(tmp_path, origin):
    return PullRequest(tmp_path, origin)


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    """An entry that holds what it claims, of a season that every checkout has."""
    place, of = tmp_path_factory.mktemp("entry"), season("practice")
    content = {
        "models": "ideal",
        "tasks": [task.name for task in of.tasks],
        "decoders": "random:k=32",
        "samples": of.samples,
        "seed": of.seed,
    }
    run(make_runfile(content), place / "run")
    pack.pack(place / "run", place / "entry", pack.Statement(submitter="us"))
    return place / "entry"


def test_the_workflow_reads_and_holds_no_secret():
    # YAML reads the key `on` as a truth value.
    assert WORKFLOW[True] == "pull_request_target"
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["defaults"]["run"]["shell"] == "bash"
    assert "secrets" not in TEXT
    assert "cache" not in str(STEPS)
    assert "head.sha" not in str([step.get("with") for step in STEPS])
    # An expression within a command would be read as part of the command.
    assert not any("${{" in step["run"] for step in COMMANDS)
    checkout = next(step for step in STEPS if "checkout" in step.get("uses", ""))
    assert checkout["with"]["persist-credentials"] is False
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


def test_an_honest_entry_is_verified_and_passes(request_, entry):
    shutil.copytree(entry, request_.there / BOARD / "ours")
    status, told = request_.check()
    assert status == 0, told
    assert "reproduced" in told


def test_a_pull_request_without_entries_passes_unverified(request_):
    (request_.there / "README.md").write_text("new")
    status, told = request_.check()
    assert (status, told) == (0, "no entry is touched\n")


def refused(request_, *sentences, **of_check):
    status, told = request_.check(**of_check)
    assert status == 1
    for sentence in sentences:
        assert sentence in told
    assert not (request_.place / "here" / ".venv").exists(), "nothing was installed"
    return told


@pytest.mark.attack("refused")
@pytest.mark.parametrize("name", ["ours.check.json", "old.check.json"])
def test_the_word_of_the_board_is_the_boards(request_, name):
    request_.write("ours/MANIFEST.json")
    request_.write(name, '{"level": "reproduced"}')
    refused(request_, f"{name}' is written by those who keep the board")


@pytest.mark.attack("refused")
def test_the_word_of_the_board_may_not_be_taken_away(request_):
    (request_.there / BOARD / "old.check.json").unlink()
    refused(request_, "old.check.json' is written by those who keep the board")


@pytest.mark.attack("refused")
@pytest.mark.parametrize(
    "path",
    [
        "decoders/mine.py",
        "leaderboards/verify/verification.py",
        "Makefile",
        ".github/entries_of_pull_request.py",
        ".github/workflows/leaderboard.yml",
        "leaderboards/submissions/.gitattributes",
        "leaderboards/submissions/Ours/MANIFEST.json",
        "leaderboards/submissions/x.check.json/MANIFEST.json",
        "leaderboards/submissions/ours/deeper/MANIFEST.json",
        "decoders/two\nlines.py",
        "leaderboards/submissions/ours/two\nlines",
        "leaderboards/submissions/\N{CYRILLIC SMALL LETTER O}urs/MANIFEST.json",
    ],
)
def test_an_entry_comes_alone(request_, path):
    request_.write("ours/MANIFEST.json")
    file = request_.there / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("touched:\n\ttouch $@\n")
    told = refused(request_, " is no file of an entry")
    # Whatever a path holds, it begins no line of the log, where GitHub would read commands.
    assert len(told.splitlines()) == 1
    assert told.isascii()


@pytest.mark.attack("refused")
def test_a_code_change_beside_an_entry_may_not_hide_as_a_renaming(request_):
    git(request_.there, "switch", "--quiet", "main")
    (request_.there / "decoders").mkdir()
    (request_.there / "decoders" / "rule.py").write_text("rule\n" * 50)
    request_.base = commit(request_.there)
    git(request_.there, "switch", "--quiet", "--create", "another")
    (request_.there / BOARD / "ours").mkdir()
    (request_.there / "decoders" / "rule.py").rename(request_.there / BOARD / "ours" / "x.json")
    refused(request_, "'decoders/rule.py' is no file of an entry")


@pytest.mark.attack("refused")
@pytest.mark.parametrize("target", ["/etc/passwd", "../old", "MANIFEST.json"])
def test_a_link_within_an_entry_is_refused(request_, target):
    request_.write("ours/MANIFEST.json")
    (request_.there / BOARD / "ours" / "records-000.jsonl.xz").symlink_to(target)
    refused(request_, "records-000.jsonl.xz' is a link or another repository")


@pytest.mark.attack("refused")
def test_a_link_in_the_place_of_an_entry_is_refused(request_):
    (request_.there / BOARD / "ours").symlink_to("old")
    refused(request_, "ours' is no file of an entry")


@pytest.mark.attack("refused")
def test_a_link_in_the_place_of_the_board_is_refused(request_):
    shutil.rmtree(request_.there / BOARD)
    (request_.there / BOARD).symlink_to("/etc")
    refused(request_, "'leaderboards/submissions' is no file of an entry")


@pytest.mark.attack("refused")
def test_another_repository_within_an_entry_is_refused(request_):
    request_.write("ours/MANIFEST.json")
    git(request_.there, "add", "--all")
    place = f"{BOARD.as_posix()}/ours/other"
    git(request_.there, "update-index", "--add", "--cacheinfo", f"160000,{request_.base},{place}")
    git(request_.there, "commit", "--quiet", "--message", "change")
    refused(request_, "is a link or", head=git(request_.there, "rev-parse", "HEAD"))


@pytest.mark.attack("refused")
def test_a_tree_made_by_hand_writes_nowhere_else(request_):
    here = request_.there
    blob = git(here, "hash-object", "-w", "Makefile")
    inner = handmade(here, ("100644", "x.json", blob))
    ours = handmade(here, ("40000", "..", inner), ("100644", "MANIFEST.json", blob))
    board = handmade(here, ("40000", "ours", ours))
    top = handmade(here, ("40000", "leaderboards", handmade(here, ("40000", BOARD.name, board))))
    head = git(here, "commit-tree", top, "-p", request_.base, "-m", "change")
    git(here, "update-ref", "refs/heads/change", head)
    refused(request_, "/../x.json' is no file of an entry", head=head)


def handmade(place, *entries):
    """Write a tree that git itself would not."""
    content = b"".join(
        f"{mode} {name}\0".encode() + bytes.fromhex(digest) for mode, name, digest in entries
    )
    command = ["git", "-C", str(place), "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    done = subprocess.run(command, input=content, check=True, capture_output=True)
    return done.stdout.decode().strip()


def test_an_entry_may_be_withdrawn_with_the_word_of_the_board(request_):
    shutil.rmtree(request_.there / BOARD / "old")
    (request_.there / BOARD / "old.check.json").unlink()
    assert request_.check() == (0, "removed: old\n")


@pytest.mark.attack("refused")
def test_a_changed_entry_is_verified_as_a_whole_and_refused_where_the_package_refuses_it(
    request_, entry
):
    git(request_.there, "switch", "--quiet", "main")
    shutil.copytree(entry, request_.there / BOARD / "ours")
    request_.base = commit(request_.there)
    git(request_.there, "switch", "--quiet", "--create", "another")
    (request_.there / BOARD / "ours" / "results.json").unlink()
    status, told = request_.check()
    assert status == 2
    assert "results.json" in told


@pytest.mark.attack("refused")
@pytest.mark.parametrize("which", ["base", "head"])
def test_where_git_fails_the_check_fails(request_, which):
    request_.write("ours/MANIFEST.json")
    head = commit(request_.there)
    commits = {"base": request_.base, "head": head, which: "0" * 39 + "1"}
    status, told = request_.check(**commits, steps=1)
    assert status != 0
    assert "verified" not in told
    assert which == "head" or "`git merge-base` failed, so nothing was checked" in told


def test_what_the_base_gained_meanwhile_is_no_change_of_the_pull_request(request_):
    request_.write("ours/MANIFEST.json")
    commit(request_.there)
    git(request_.there, "switch", "--quiet", "main")
    (request_.there / "README.md").write_text("new")
    request_.base = commit(request_.there)
    git(request_.there, "switch", "--quiet", "change")
    head = git(request_.there, "rev-parse", "HEAD")
    _, told = request_.check(head=head, steps=1)
    assert "to be verified: ours" in told
    assert "README" not in told
