"""Two pictures of the demands of the tasks, computed from their answer distributions.

*The map* places every task by the entropy of its answer and by its dependence, the total
correlation C(Y|X), with the fewest expected steps without error as colour.  The two axes are
different things: dice are far to the right and at the bottom, a shuffle is far up, copying
stands at the origin.

*The speed limits* show how the fewest expected steps grow with the length of a list, beside
one by one and beside what decoders needed on the ideal model: putting an item anywhere takes
about log n steps, shuffling takes n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from parallelbench.analysis.figures.pictures import look
from parallelbench.analysis.measures.curves import INK
from parallelbench.analysis.theory.adaptive import zero_error_steps
from parallelbench.analysis.theory.closed_forms import (
    insert_random_steps,
    remove_random_steps,
    replace_random_steps,
)
from parallelbench.analysis.theory.dependence import entropy, total_correlation
from parallelbench.analysis.theory.limits import law_of_sample
from parallelbench.evaluation import evaluate
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

#: The map's tasks: lists of letters stand where the queues of people do.
MAPPED = ("choices/*", "waiting_line/*:length=6", "puzzles/*")
#: Most pairs of a state and a set that are examined for a task's fewest steps.
_CHOICES = 3_000

#: Operation, its fewest expected steps, and the items that a right answer has more than n.
LIMITED: Mapping[str, tuple[Callable[[int], float], int]] = {
    # A shuffle that may keep the order: one item after the other, the last one of itself.
    "shuffle": (float, 0),
    "replace_random": (replace_random_steps, 0),
    "insert_random": (insert_random_steps, 1),
    "remove_random": (remove_random_steps, -1),
}
_LENGTHS = (2, 3, 4, 5, 6, 8, 11, 16, 23, 32, 45, 64)
_MEASURED_LENGTHS = (3, 4, 5, 6)
#: At temperature 1 answers are drawn from the distribution that the limit is averaged over.
_DECODERS = (
    "confidence_threshold:threshold=0.9,temperature=1",
    "entropy_bound:bound=0,temperature=1",
)
_SAMPLES = 100
_QUIET = "#5d6675"


@dataclass(frozen=True, slots=True)
class MapPoint:
    """A task on the map, by its first sample, item by item.

    Attributes:
        task: Label.
        entropy_bits: Entropy of the answer distribution.
        total_correlation_bits: Least cost of writing the answer in one step.
        steps: The fewest expected steps without error.
        method: ``exact``, or ``greedy``: some policy needs no more.
    """

    task: str
    entropy_bits: float
    total_correlation_bits: float
    steps: float
    method: str


@dataclass(frozen=True, slots=True)
class StepsNeeded:
    """Number of steps that a list operation needs.

    Attributes:
        task: Name without the family.
        n: Items of the list that is given.
        kind: ``best policy``, ``one by one``, or a decoder's label.
        steps: Expected for the first two, the mean over samples for a decoder.
        low: Lower end of the 95 % interval of a mean; None where exact.
        high: Upper end.
        count: Decodes; None where exact.
    """

    task: str
    n: int
    kind: str
    steps: float
    low: float | None = None
    high: float | None = None
    count: int | None = None


def dependence_map() -> list[MapPoint]:
    """Return the points of the tasks: entropy, dependence and fewest steps."""
    load_plugins()
    settings = [setting for text in MAPPED for setting in parse_settings(text, TASKS)]
    places = []
    for setting in settings:
        task = build(setting, TASKS)
        law = law_of_sample(task, draw_sample(task, 0, 0), "item")
        least = zero_error_steps(law, _CHOICES)
        places.append(
            MapPoint(
                setting.label,
                entropy(law),
                total_correlation(law),
                least.expected_steps,
                least.method,
            )
        )
    return places


def speed_limits() -> list[StepsNeeded]:
    """Return the fewest steps of the random list operations, and what decoders needed."""
    found = []
    for task, (fewest, grown) in LIMITED.items():
        for n in _LENGTHS:
            found.append(StepsNeeded(task, n, "best policy", fewest(n)))
            found.append(StepsNeeded(task, n, "one by one", float(n + grown)))
        found += _measured(task)
    return found


def map_figure(places: Sequence[MapPoint]) -> Figure:
    """Return the map; tasks at one place share a label."""
    with look():
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        axes = figure.subplots()
        marks = axes.scatter(
            [place.entropy_bits for place in places],
            [place.total_correlation_bits for place in places],
            c=[place.steps for place in places],
            cmap="viridis_r",
            s=42,
            edgecolors=INK,
            linewidths=0.5,
            zorder=3,
        )
        axes.set_xlabel("entropy of the answer (bits): how uncertain")
        axes.set_ylabel("total correlation C(Y|X) (bits): how dependent")
        axes.set_xlim(-0.6, 1.08 * max(place.entropy_bits for place in places))
        axes.set_ylim(-2.2, 1.1 * max(place.total_correlation_bits for place in places))
        axes.spines[["top", "right"]].set_visible(False)
        bar = figure.colorbar(marks, ax=axes, pad=0.01)
        bar.set_label("fewest expected steps without error")
        bar.outline.set_visible(False)
        _label_places(figure, axes, places)
    return figure


def limits_figure(rows: Sequence[StepsNeeded]) -> Figure:
    """Return the speed limits: a panel per operation."""
    with look():
        figure = Figure(figsize=(7, 2.5), layout="constrained")
        grid = np.ravel(figure.subplots(1, len(LIMITED), sharex=True, sharey=True))
        for axes, task in zip(grid, LIMITED, strict=True):
            _draw_limits(axes, task, [row for row in rows if row.task == task])
            axes.set_xlabel("items of the list, n")
        grid[0].set_ylabel("expected steps (model calls)")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=6.5
        )
    return figure


def _measured(task: str) -> Iterator[StepsNeeded]:
    for n in _MEASURED_LENGTHS:
        identity = ",allow_identity=true" if task == "shuffle" else ""
        evaluation = evaluate(
            tasks=f"list_operations/{task}:length={n},form=infill{identity}",
            decoders=list(_DECODERS),
            samples=_SAMPLES,
        )
        for result in evaluation.results:
            steps = [
                record.require_decoding().counts.nfe
                for record in evaluation.records
                if record.decoder_label == result.decoder_label
            ]
            half = 1.96 * float(np.std(steps, ddof=1)) / math.sqrt(len(steps))
            mean = float(np.mean(steps))
            yield StepsNeeded(
                task, n, result.decoder_label, mean, mean - half, mean + half, len(steps)
            )


def _draw_limits(axes: Axes, task: str, rows: Sequence[StepsNeeded]) -> None:
    def line(kind: str) -> tuple[list[int], list[float]]:
        own = [row for row in rows if row.kind == kind]
        return [row.n for row in own], [row.steps for row in own]

    axes.plot(*line("one by one"), color=_QUIET, linestyle="--", label="one by one")
    axes.plot(*line("best policy"), color="#009E73", label="best policy (limit)")
    measured = dict.fromkeys(row.kind for row in rows if row.count is not None)
    for (kind, colour), marker in zip(
        zip(measured, ("#D55E00", "#0072B2"), strict=True), ("v", "o"), strict=True
    ):
        own = [row for row in rows if row.kind == kind]
        error = [row.steps - (row.low or row.steps) for row in own]
        axes.errorbar(
            [row.n for row in own],
            [row.steps for row in own],
            yerr=error,
            color=colour,
            marker=marker,
            markersize=3,
            linestyle="none",
            elinewidth=0.7,
            label=f"{kind} (measured)",
        )
    axes.set_title(task, loc="left", fontsize=7, color=INK)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([1, 2, 4, 8, 16, 32, 64]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.spines[["top", "right"]].set_visible(False)


def _label_places(figure: Figure, axes: Axes, places: Sequence[MapPoint]) -> None:
    """Write the tasks' names beside their marks, each where it covers nothing yet."""
    figure.draw_without_rendering()  # fixes where the axes stand
    figure.set_layout_engine("none")
    frame = axes.get_window_extent()
    taken = [_mark_box(axes, place) for place in places]
    for text, place in _labels(places):
        for x, y, side in _BESIDE_A_MARK:
            label = axes.annotate(
                text,
                (place.entropy_bits, place.total_correlation_bits),
                xytext=(x, y),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=6.5,
                color=INK,
            )
            box = label.get_window_extent()
            free = box.x0 > frame.x0 and not any(box.overlaps(other) for other in taken)
            if free or (x, y, side) == _BESIDE_A_MARK[-1]:
                break
            label.remove()
        taken.append(box)


#: Where a label may stand: points to the right and up, and which of its ends is there.
_BESIDE_A_MARK = (
    (6, 3, "left"),
    (6, -2, "left"),
    (-6, 0, "right"),
    (5, 7, "left"),
    (5, -7, "left"),
    (-5, 7, "right"),
    (-5, -7, "right"),
    (0, -11, "left"),
)


def _mark_box(axes: Axes, place: MapPoint) -> Bbox:
    x, y = axes.transData.transform((place.entropy_bits, place.total_correlation_bits))
    half = 3 * axes.figure.dpi / 72
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _labels(places: Sequence[MapPoint]) -> list[tuple[str, MapPoint]]:
    certain = [place for place in places if place.entropy_bits == 0]
    labels = [
        (place.task.partition("/")[2].partition(":")[0], place)
        for place in places
        if place.entropy_bits > 0
    ]
    if certain:
        labels.append((f"copy, sort, sudoku ...: {len(certain)} tasks with one answer", certain[0]))
    return labels
