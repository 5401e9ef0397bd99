"""Every benchmark still runs: each does all its steps on a little work."""

import contextlib
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
#: Modules that benchmarks share; they are no programs.
SHARED = {"reference", "smoke"}
PROGRAMS = sorted({file.stem for file in BENCHMARKS.glob("*.py")} - SHARED)
#: Programs that need their own process: they replace parts of the package to time them, or fork.
INTRUSIVE = {"kill", "sweep"}
NEEDS_CHROMIUM = {"pictures"}


def documents():
    """Return the content of every file that a benchmark may write its tables into."""
    files = [ROOT / "README.md", *ROOT.glob("docs/*"), *ROOT.glob("analysis/judging/data/*")]
    return {file: file.read_bytes() for file in files}


def run(name):
    file = str(BENCHMARKS / f"{name}.py")
    if name in INTRUSIVE:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, file, "--smoke"], check=True, cwd=ROOT, env=environment)
        return
    with contextlib.chdir(ROOT), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [file, "--smoke"])
        status = 0
        try:
            runpy.run_path(file, run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        assert status == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_runs_in_its_smoke_form(name, capfd):
    if name in NEEDS_CHROMIUM and shutil.which("chromium") is None:
        pytest.skip("takes pictures with the Chromium of the system, which is not installed")
    before = documents()
    run(name)
    assert capfd.readouterr().out.strip(), "a benchmark prints what it measured"
    assert documents() == before, "a smoke run replaces no figure"


def test_every_program_is_found():
    assert {"mini", "pivot", "sweep", "verify", "zoo"} <= set(PROGRAMS)
    for name in SHARED:
        assert "__main__" not in (BENCHMARKS / f"{name}.py").read_text()
