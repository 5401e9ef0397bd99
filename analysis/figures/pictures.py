"""A picture as files: PNG and SVG for light and dark pages, and its data as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from parallelbench.analysis.figures.plots import images
from parallelbench.analysis.measures.curves import INK
from parallelbench.errors import StorageError
from parallelbench.storage.csv_text import csv_text


@contextmanager
def look() -> Iterator[None]:
    """Draw with small type in our own ink, which turns light on a dark page."""
    ink = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    settings = {"font.size": 7, "axes.facecolor": "none", "lines.linewidth": 1.1}
    with style.context(["default", {**settings, **dict.fromkeys(ink, INK)}]):
        yield


def write_picture(
    name: str, rows: Sequence[Any], figure: Figure | None, folder: Path
) -> list[Path]:
    """Write the data of a picture, and the picture itself; return the files.

    Args:
        name: Name of the files without their endings.
        rows: Dataclass instances of one kind, at least one: a line of CSV each.
        figure: The picture; None for the data alone.
        folder: Folder of the files; created if necessary.

    Raises:
        StorageError: A file cannot be written.
    """
    contents = {f"{name}.csv": _csv(rows)}
    if figure is not None:
        drawn = images(figure)
        contents[f"{name}.svg"] = drawn.light
        contents[f"{name}-dark.svg"] = drawn.dark
        contents[f"{name}.png"] = drawn.png
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            (folder / file).write_bytes(content)
    except OSError as error:
        raise StorageError(f"{name} cannot be written into {folder}: {error}") from error
    return [folder / file for file in contents]


def _csv(rows: Sequence[Any]) -> bytes:
    header = [field.name for field in fields(rows[0])]
    return csv_text(header, (astuple(row) for row in rows)).encode()
