"""What every test runs under."""

import gc
import os
import signal

import pytest
from hypothesis import settings

from support import type_checks

# Before any module of the package is imported.
type_checks.install()
# Before torch is loaded: more threads than cores make small products many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# No test measures time: an engine that is started by the first example takes seconds.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
# A shell that starts tests in the background has interrupts ignored by them and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What is imported and collected stays to the end, and need not be looked through again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _registered():
    from parallelbench.registry import load_plugins

    load_plugins()


@pytest.fixture(autouse=True, scope="session")
def _no_progress_on_a_slow_machine():
    """What is told of long work depends on the clock, and tests look at all that is told."""
    from parallelbench.console import progress

    progress.FIRST_SECONDS = 3600.0


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder; return its exit status, output and errors."""
    from parallelbench.cli.program import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; who asks for it carries the mark ``browser.NEEDED``."""
    from support.browser import running

    with running() as started:
        yield started
