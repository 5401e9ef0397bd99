"""docs/writing-a-decoder.md: the package that it shows is installed from it, checked and run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parallelbench.checks.conformance import check_decoder

PAGE = (Path(__file__).parents[2] / "docs" / "writing-a-decoder.md").read_text(encoding="utf-8")


def blocks():
    """The files that the page shows, by name."""
    shown = re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return dict(shown)


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Install the package of the page beside this one; return what runs a verb with it."""
    source = tmp_path_factory.mktemp("falling-threshold")
    for name, text in blocks().items():
        (source / name).write_text(text, encoding="utf-8")
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--no-index", "--no-build-isolation", "--target", target, source]
    subprocess.run(pip, check=True, capture_output=True)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "parallelbench", *arguments],
            cwd=target,
            env={**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_package_of_the_page_passes_every_check(command):
    done = command("check-decoder", "falling_threshold", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["decoder"] == "falling_threshold:threshold=0.9,fall=0.02"
    assert all(each["problem"] is None for each in told["checks"])


def test_its_presets_and_grid_run_as_the_page_says(command):
    tail = ("--tasks", "choices/city", "--samples", "2", "--json")
    done = command("run", "--decoders", "falling_threshold:*,falling-fast", *tail)
    assert done.returncode == 0, done.stderr
    labels = {f"falling_threshold:threshold={bar},fall=0.02" for bar in (0.7, 0.8, 0.9, 1.0)} | {
        "falling_threshold:threshold=0.8,fall=0.1"
    }
    assert all(label in done.stdout for label in labels)
    refused = command("run", "--decoders", "falling_threshold:fall=2", *tail)
    assert refused.returncode == 2
    assert "fall must lie in [0, 1], got 2.0" in refused.stderr


def test_the_decoder_has_at_most_thirty_lines():
    assert len(blocks()["falling_threshold.py"].splitlines()) <= 30


def test_the_page_tells_every_check():
    table = re.findall(r"^\| (\w+) \|", PAGE, flags=re.MULTILINE)
    assert [name for name in table if name != "check"] == [
        check.name for check in check_decoder("one_by_one").checks
    ]
