"""The figure of a training: the loss of each task and its floor, as wide as a paper's column."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from parallelbench.training.folder import TrainingFolder
from parallelbench.training.log import LogEntry

#: Colours of Okabe and Ito, safe for colour-blind readers; the floor is also dashed.
_LOSS, _FLOOR, _QUIET, _GRID = "#0072b2", "#d55e00", "#5d6675", "#d5dae1"
# Inches.
_WIDTH, _PANEL, _HEADER, _FOOTER = 3.4, 0.95, 0.5, 0.42
_SETTINGS = {
    "axes.edgecolor": _QUIET,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 6.5,
    "grid.color": _GRID,
    "grid.linewidth": 0.5,
    "svg.hashsalt": "parallelbench",
    "text.parse_math": False,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
}


def write_figure(folder: TrainingFolder, entries: Sequence[LogEntry]) -> None:
    """Write ``loss.svg`` and ``loss.png``.

    Args:
        folder: Folder of the training.
        entries: Entries of its log, at least one.

    Raises:
        StorageError: They cannot be written.
    """
    # From matplotlib's defaults, so that a reader's own matplotlibrc changes no figure.
    with style.context(["default", _SETTINGS]):
        figure = loss_figure(entries)
        for ending, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            image = io.BytesIO()
            figure.savefig(image, format=ending, dpi=200, facecolor="white", metadata=metadata)
            folder.write_bytes(f"loss.{ending}", image.getvalue())


def loss_figure(entries: Sequence[LogEntry]) -> Figure:
    """Return one small panel per task, on shared axes."""
    labels = list(dict.fromkeys(label for entry in entries for label in entry.tasks))
    columns = min(3, len(labels))
    rows = math.ceil(len(labels) / columns)
    height = _HEADER + rows * _PANEL + _FOOTER
    figure = Figure(figsize=(_WIDTH, height))
    figure.subplots_adjust(
        left=0.11,
        right=0.98,
        top=1 - _HEADER / height,
        bottom=_FOOTER / height,
        wspace=0.12,
        hspace=0.55,
    )
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = [axes for row in grid for axes in row]
    for axes, label in zip(panels, labels, strict=False):
        _draw(axes, label, entries)
    for axes in panels[len(labels) :]:
        axes.set_axis_off()
    _share(panels[0], entries)
    figure.text(
        0.02,
        1 - 0.1 / height,
        "loss (nats per answer) and its floor (dashed)",
        va="top",
        weight="bold",
    )
    figure.supxlabel("samples seen, in thousands", y=0.08 / height, va="bottom", fontsize=6.5)
    return figure


def _draw(axes: Axes, label: str, entries: Sequence[LogEntry]) -> None:
    own = [(entry.samples / 1000, entry.tasks[label]) for entry in entries if label in entry.tasks]
    seen = [samples for samples, _ in own]
    losses = [each.loss for _, each in own]
    axes.plot(seen, losses, color=_LOSS, linewidth=1, marker="." if len(own) == 1 else None)
    floor = own[-1][1].floor
    if floor is not None:
        axes.axhline(floor, color=_FLOOR, linewidth=1, linestyle=(0, (3, 1.5)), clip_on=False)
    axes.set_title(_folded(label), loc="left", fontsize=5.5, pad=2, linespacing=0.95)
    axes.grid(visible=True, axis="y")
    axes.tick_params(length=2, pad=1.5)


def _folded(label: str) -> str:
    """Return a label broken into lines that fit a panel."""
    pieces = label.replace("/", "/\n", 1).replace(":", ":\n", 1).split("\n")
    return "\n".join(piece if len(piece) <= 20 else f"{piece[:19]}…" for piece in pieces)


def _share(axes: Axes, entries: Sequence[LogEntry]) -> None:
    most = max(each.loss for entry in entries for each in entry.tasks.values())
    # Linear up to 1 nat, logarithmic above.
    axes.set_yscale("symlog", linthresh=1, linscale=0.6)
    axes.set_ylim(0, max(2.0, 1.3 * most))
    axes.set_yticks([tick for tick in (0, 1, 3, 10, 30, 100, 300) if tick <= max(2, 1.3 * most)])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.minorticks_off()
    axes.set_xlim(0, entries[-1].samples / 1000)
    axes.xaxis.set_major_locator(MaxNLocator(3))
