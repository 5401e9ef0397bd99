"""Smoke runs: every step of a benchmark in seconds, on copies of the documents it writes to.

``python benchmarks/NAME.py --smoke`` shows that a benchmark still runs.  Its figures mean nothing
and replace none: it works in a temporary folder.  The tests run every benchmark in this form.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Files that benchmarks write their tables into.
DOCUMENTS = (
    "README.md",
    "docs/*.md",
    "analysis/judging/data/*.csv",
    "parallelbench/models/data/mini/*.md",
)


def add_smoke_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--smoke`` to the options of a benchmark."""
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="do every step on a little work, in seconds, and change no document",
    )


@contextlib.contextmanager
def workplace(*, smoke: bool) -> Iterator[None]:
    """Work in the checkout, or in a temporary folder with copies of its documents.

    Args:
        smoke: True to work in the temporary folder.
    """
    if not smoke:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        for pattern in DOCUMENTS:
            for file in Path().glob(pattern):
                copy = Path(folder) / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
        with contextlib.chdir(folder):
            yield
