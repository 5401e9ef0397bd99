"""Every command of README and docs runs as it stands, or its page says why the tests leave it out.

A page says so in comments directly above the block of the command:

    <!-- untested: parallelbench doctor: needs the published weights -->

The text before the last ``": "`` is how the command begins (``*``: every command of the block), and
the rest is the reason.
"""

import contextlib
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from parallelbench.run.runfile import make_runfile, read_content

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")))
#: Folders of a fresh clone that commands read or write.
CLONED = ("benchmarks", "docs", "leaderboards")
BLOCK = re.compile(
    r"(?P<marks>(?:^<!-- untested: [^\n]*-->\n)*)^```(?P<language>sh|console)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"<!-- untested: (?P<start>.*): (?P<reason>.*?) -->")
#: Entries that ``leaderboards/test_shipped_entries.py`` verifies; here the board is that of others.
SHIPPED = ("ideal*", "mini*")


class Command(NamedTuple):
    """A command of a page.

    Attributes:
        text: The command on one line.
        reason: Why the tests do not run it; None if they do.
    """

    text: str
    reason: str | None


def commands(text):
    """Return the commands of a page in order."""
    found = []
    for block in BLOCK.finditer(text):
        marks = [MARK.fullmatch(line) for line in block["marks"].splitlines()]
        lines = block["text"].replace("\\\n", " ").splitlines()
        if block["language"] == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        own = [" ".join(without_comment(line).split()) for line in lines]
        own = [line for line in own if line]
        for mark in marks:
            start = "" if mark["start"] == "*" else mark["start"]
            assert any(line.startswith(start) for line in own), f"stale mark: {mark[0]}"
        for line in own:
            reasons = [
                mark["reason"]
                for mark in marks
                if mark["start"] == "*" or line.startswith(mark["start"])
            ]
            found.append(Command(line, reasons[0] if reasons else None))
    return found


def without_comment(line):
    """Return a line of a shell without the comment at its end."""
    return re.sub(r"(^|\s)#.*$", "", line)


#: Runs each line of its arguments in a shell.  Lines that only start the program run in a fork of
#: this process, which has imported what the verbs need: that takes longer than most of them run.
PROGRAM = """
import os, re, shlex, subprocess, sys
import transformers
from parallelbench.cli.program import main
from parallelbench.registry import load_plugins
load_plugins()
for line in sys.argv[1:]:
    program, *arguments = shlex.split(line)
    print("$", line, flush=True)
    if program != "parallelbench" or re.search(r"[|&;<>$`]", line):
        status = subprocess.run(["/bin/bash", "-c", line]).returncode
    elif child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    else:
        sys.argv = [program, *arguments]
        sys.exit(main(arguments))
    if status:
        sys.exit(f"exit status {status}: {line}")
"""


def execute(*lines):
    """Run commands one after another in the current folder."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(Path("cache").resolve()),
    }
    subprocess.run([sys.executable, "-c", PROGRAM, *lines], env=environment, check=True)


@pytest.fixture
def clone(tmp_path):
    """The folders of a fresh clone that commands touch, as the current folder."""
    for name in CLONED:
        ignored = shutil.ignore_patterns("__pycache__", "*.svg", "*.png", "*.html", *SHIPPED)
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    with contextlib.chdir(tmp_path):
        yield tmp_path


@functools.cache
def default_folder():
    """Return the folder in which ``make bench`` puts its run."""
    return f"runs/{make_runfile(read_content('default')).digest[:12]}"


def default_run(*options):
    """Return the command of the run of ``make bench``, in the folder that the pages name."""
    return f"parallelbench run {shlex.join([*options, '--out', default_folder()])}"


#: The default run with fewer samples, for pages that only need a run.
SMALL_RUN = ("--samples", "3", "--tasks", "waiting_line/shuffle,choices/city")


def before_readme():
    return default_run("default", "--model", "ideal")  # a board takes either of the two models


def before_a_run():
    return default_run(*SMALL_RUN)


def before_judges():
    calibration = "verdict,label\n" + "pass,good\n" * 40 + "fail,good\n" * 4
    calibration += "fail,bad\n" * 30 + "pass,bad\n" * 6
    verdicts = "verdict\n" + "pass\n" * 70 + "fail\n" * 30
    for name in ("calibration", "one", "other"):
        Path(f"{name}.csv").write_text(calibration)
    for name in ("verdicts", "first", "second"):
        Path(f"{name}.csv").write_text(verdicts)
    return default_run(*SMALL_RUN)


#: Commands to run before those of a page.
PREPARED = {
    "README.md": before_readme,
    "docs/exports.md": before_a_run,
    "docs/judges.md": before_judges,
}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, clone):
    wanted = [each.text for each in commands((ROOT / page).read_text()) if each.reason is None]
    if wanted:
        execute(*([PREPARED[page]()] if page in PREPARED else []), *wanted)


def test_readme_shows_lines_that_make_bench_prints(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pattern = r"^<!-- output of make bench -->\n```text\n(.*?)^```"
    block = re.search(pattern, text, re.MULTILINE | re.DOTALL)[1]
    # Each sample is drawn by itself, so one task of the default run has the lines of all five.
    arguments = ["default", "--model", "ideal", "--tasks", "choices/city", "--out", "run"]
    printed = subprocess.run(
        [sys.executable, "-m", "parallelbench", "run", *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [line.split() for line in printed.splitlines()]
    missing = [line for line in block.splitlines() if line.split() not in lines]
    assert not missing
    assert "choices/city" in block


def test_the_pages_name_the_folder_of_the_default_run():
    named = {
        name
        for page in PAGES
        for name in re.findall(r"\bruns/[0-9a-f]{12}\b", (ROOT / page).read_text())
    }
    assert named == {default_folder()}


def test_a_mark_leaves_out_the_command_that_it_names_and_no_other():
    mark = "<!-- untested: make test: it runs these tests -->\n"
    assert commands(f"{mark}```sh\nmake bench  # a look\nmake test\n```\n") == [
        Command("make bench", None),
        Command("make test", "it runs these tests"),
    ]


def test_a_mark_of_a_command_that_is_gone_is_an_error():
    with pytest.raises(AssertionError, match="stale mark"):
        commands("<!-- untested: make all: gone -->\n```sh\nmake bench\n```\n")


def test_lines_that_go_on_are_one_command():
    assert commands("```sh\nparallelbench run \\\n    --seed 1\n```\n")[0].text == (
        "parallelbench run --seed 1"
    )
