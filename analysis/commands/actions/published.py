"""The public board's CSV files -> its curves and speeds, and a run's curves beside them.

A file is one model with one strategy: columns ``task``, ``tps`` and ``accuracy`` (percent), a
line for each task and setting, and lines with the task ``avg`` for the mean over its tasks.
It is called ``<model>_<strategy>.csv``, or ``<strategy>.csv`` in a folder with the model's
name.  The averages are taken as they stand: the lines of the single tasks are sorted by
speed, so the k-th line of one task need not be the setting of the k-th line of another.

``tps`` there is tokens per step here: canvas tokens per model call.

Source: the ParallelBench leaderboard's published files.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rich import box
from rich.table import Table

from parallelbench.analysis.figures.pictures import look, write_picture
from parallelbench.analysis.measures.board_speeds import speed_name
from parallelbench.analysis.measures.curves import INK, colour_of, curves_of
from parallelbench.analysis.measures.speed import SpeedPoint, published_speed_at
from parallelbench.console.tables import show
from parallelbench.console.terminal import tell
from parallelbench.errors import RequestError
from parallelbench.registry import unknown
from parallelbench.results.result import Result, average_over_tasks, summarize
from parallelbench.run.rundir import RunDirectory

#: Strategies whose curve is interpolated between its points, and those of which only points count.
ADAPTIVE = (
    "confidence-threshold",
    "confidence-factor",
    "klass",
    "slowfast",
    "dus",
    "wino",
)
FIXED = ("random", "l2r", "confidence-topk", "entropy-topk", "topk-margin")
#: Accuracies, in percent, at which the board reports speeds.
ACCURACIES = (80, 75, 70)
_AVERAGE = "avg"
_COLUMNS = ("task", "tps", "accuracy")


class PublishedError(RequestError, ValueError):
    """A file of the board is not of the form that is read."""


@dataclass(frozen=True, slots=True)
class PublishedCurve:
    """The points of one model with one strategy on the public board.

    Attributes:
        model: The board's name of the model.
        strategy: The board's name of the strategy.
        points: Means over its tasks, accuracies as shares, in the order of the file.
    """

    model: str
    strategy: str
    points: tuple[SpeedPoint, ...]

    @property
    def speeds(self) -> dict[int, float]:
        """Greatest tokens per step at each of :data:`ACCURACIES`, by the board's rule.

        0.0 where the accuracy is not reached, as on the board.
        """
        adaptive = self.strategy in ADAPTIVE
        return {
            percent: published_speed_at(percent / 100, self.points, adaptive=adaptive)
            for percent in ACCURACIES
        }


@dataclass(frozen=True, slots=True)
class DrawnPoint:
    """A point of the picture.

    Attributes:
        source: ``published`` or ``run``.
        model: Name of the model.
        strategy: The board's name, or the decoder's.
        tokens_per_step: Mean.
        accuracy: Mean, a share.
        low: Lower end of its 95 % interval; None where none is known, as on the board.
        high: Upper end.
        count: Decodes; None where it is not known.
    """

    source: str
    model: str
    strategy: str
    tokens_per_step: float
    accuracy: float
    low: float | None = None
    high: float | None = None
    count: int | None = None


def read_published(folder: Path) -> list[PublishedCurve]:
    """Return the curves of all CSV files in ``folder`` and in the folders in it, by path.

    Folders further down are not read: the board has none, and they may be many.

    Raises:
        PublishedError: There is none, or one has another name or form; the message names
            the line.
    """
    files = sorted((*folder.glob("*.csv"), *folder.glob("*/*.csv")))
    if not files:
        raise PublishedError(
            f"{folder} holds no file of the board: give the folder of its MODEL_STRATEGY.csv "
            "files, or of its folders MODEL with STRATEGY.csv files"
        )
    curves = [_curve(file) for file in files]
    seen: dict[tuple[str, str], Path] = {}
    for curve, file in zip(curves, files, strict=True):
        first = seen.setdefault((curve.model, curve.strategy), file)
        if first != file:
            raise PublishedError(
                f"{first} and {file} are both {curve.strategy} of {curve.model}: keep one"
            )
    return curves


def beside(curves: Sequence[PublishedCurve], averages: Sequence[Result]) -> list[DrawnPoint]:
    """Return the points of the published curves, and those of a run's averages over tasks."""
    families = curves_of(averages)
    published = [
        DrawnPoint("published", curve.model, curve.strategy, point.tokens_per_step, point.accuracy)
        for curve in curves
        for point in curve.points
    ]
    own = [
        DrawnPoint(
            "run",
            each.model,
            families[each.decoder_label].label,
            each.tokens_per_step,
            each.accuracy,
            each.interval.low if each.interval else None,
            each.interval.high if each.interval else None,
            each.count,
        )
        for each in averages
        if each.tokens_per_step is not None and each.accuracy is not None and not each.oracle
    ]
    return published + own


def beside_figure(points: Sequence[DrawnPoint]) -> Figure:
    """Return the picture: a panel per published model, the run's curves in each."""
    models = list(dict.fromkeys(point.model for point in points if point.source == "published"))
    lines = list(dict.fromkeys(_line(point) for point in points))
    with look():
        figure = Figure(figsize=(2.2 + 2.1 * len(models), 2.9), layout="constrained")
        grid = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
        for axes, model in zip(grid, models, strict=True):
            shown = [point for point in points if point.source == "run" or point.model == model]
            for place, line in enumerate(lines):
                own = [point for point in shown if _line(point) == line]
                if own:
                    _draw(axes, own, _strokes(own[0].source, line, place))
            axes.set_title(model, loc="left", fontsize=7)
            axes.set_xlabel("tokens per step")
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator([1, 2, 4, 8, 16, 32, 64]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.spines[["top", "right"]].set_visible(False)
        grid[0].set_ylabel("accuracy, mean over tasks (%)")
        handles: dict[str, Artist] = {}
        for axes in grid:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside right upper",
            frameon=False,
            fontsize=6,
        )
    return figure


_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def _draw(axes: Axes, points: Sequence[DrawnPoint], strokes: Mapping[str, Any]) -> None:
    curve = sorted(points, key=lambda point: point.tokens_per_step)
    speeds = [point.tokens_per_step for point in curve]
    axes.plot(speeds, [100 * point.accuracy for point in curve], **strokes)
    ranges = [
        (p.tokens_per_step, 100 * p.low, 100 * p.high)
        for p in curve
        if p.low is not None and p.high is not None
    ]
    for speed, low, high in ranges:
        axes.plot([speed, speed], [low, high], color=strokes["color"], linewidth=0.7)


def _line(point: DrawnPoint) -> str:
    """Return the name of the line on which a point lies, in every panel."""
    own = f"this run, {point.model}: {point.strategy}"
    return own if point.source == "run" else point.strategy


def _strokes(source: str, label: str, place: int) -> dict[str, Any]:

    shared = {"label": label, "marker": _MARKERS[place % len(_MARKERS)], "markersize": 3}
    if source == "run":
        return {**shared, "color": INK, "linewidth": 1.6}
    # A run's curves are in ink, which published ones leave out.
    colours = [colour for colour in map(colour_of, range(place + 2)) if colour != INK]
    return {**shared, "color": colours[place], "linewidth": 0.8}


def _curve(file: Path) -> PublishedCurve:
    model, strategy = _names(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PublishedError(f"{file} cannot be read: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    for column in _COLUMNS:
        if column not in (reader.fieldnames or ()):
            raise PublishedError(
                f"{file} line 1 has no column {column!r}: it needs task,tps,accuracy"
            )
    points, highest = [], 0.0
    for row in _rows(reader, file):
        where = f"{file} line {reader.line_num}"
        speed, accuracy = _number(row["tps"], where), _number(row["accuracy"], where)
        if speed <= 0 or not 0 <= accuracy <= 100:
            raise PublishedError(f"{where}: tps must be above 0 and accuracy 0 to 100 percent")
        highest = max(highest, accuracy)
        if (row["task"] or "").strip() == _AVERAGE:
            points.append(SpeedPoint(speed, accuracy / 100))
    if not points:
        raise PublishedError(f"{file} has no line with the task {_AVERAGE}")
    if 0 < highest <= 1:
        raise PublishedError(f"{file} has no accuracy above 1: it must be in percent")
    return PublishedCurve(model, strategy, tuple(points))


def _rows(reader: csv.DictReader[str], file: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise PublishedError(f"{file} line {reader.line_num} is no CSV: {error}") from error


def _names(file: Path) -> tuple[str, str]:
    stem = file.stem.lower().replace("_", "-")
    for strategy in sorted(ADAPTIVE + FIXED, key=len, reverse=True):
        if stem == strategy:
            return file.parent.name, strategy
        if stem.endswith(f"-{strategy}"):
            return file.stem[: -len(strategy) - 1], strategy
    raise PublishedError(
        f"{file} must be called MODEL_STRATEGY.csv: {unknown('strategy', stem, ADAPTIVE + FIXED)}"
    )


def _number(text: str | None, where: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise PublishedError(f"{where}: {text!r} is no number")
    return number


def published(folder: Path, runs: Sequence[Path], out: Path | None, *, as_json: bool) -> None:
    """Print the speeds of the board's files in ``folder``, and draw them with ``runs``."""
    if runs and out is None:
        raise click.UsageError("--beside needs --out FOLDER for the picture")
    curves = read_published(folder)
    if as_json:
        entries = [
            {
                "model": curve.model,
                "strategy": curve.strategy,
                "points": [point._asdict() for point in curve.points],
                "speeds": {speed_name(percent): speed for percent, speed in curve.speeds.items()},
            }
            for curve in curves
        ]
        tell(json.dumps(entries, indent=1))
    else:
        _show(curves)
    if out is not None:
        points = beside(curves, _averages(runs))
        for file in write_picture("published", points, beside_figure(points), out):
            tell(str(file), err=as_json)


def _show(curves: Sequence[PublishedCurve]) -> None:

    drawn = Table(title="published tokens per step", title_justify="left", box=box.SIMPLE)
    drawn.add_column("model")
    drawn.add_column("strategy", no_wrap=True)
    for percent in ACCURACIES:
        drawn.add_column(speed_name(percent), justify="right", no_wrap=True)
    for curve in curves:
        speeds = (f"{speed:.4f}" for speed in curve.speeds.values())
        drawn.add_row(curve.model, curve.strategy, *speeds)
    show(drawn)


def _averages(runs: Iterable[Path]) -> list[Result]:

    return [
        average
        for path in runs
        for average in average_over_tasks(summarize(RunDirectory.open(path).records()))
    ]
