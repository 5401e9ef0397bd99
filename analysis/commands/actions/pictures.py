"""Figures that verbs write into a folder with the numbers that they show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from parallelbench.analysis.figures.pictures import write_picture
from parallelbench.console.terminal import tell


def write_rows(
    name: str, rows: Sequence[Any], figure: Figure | None, folder: Path, *, as_json: bool
) -> None:
    """Write ``figure`` and its ``rows`` into ``folder``, and print the files, or the rows as JSON.

    Args:
        name: Name of the files without their endings.
        rows: Numbers that the figure shows; dataclass instances of one class.
        figure: The picture; None for the numbers alone.
        folder: Folder of the files.
        as_json: True to print the rows on stdout, and the files on stderr.
    """
    files = write_picture(name, rows, figure, folder)
    if as_json:
        tell(json.dumps([asdict(row) for row in rows], indent=1))
    for file in files:
        tell(str(file), err=as_json)
