"""A picture of how the fewest steps without an error grow with the length of an answer.

Four tasks stand for four graphs of dependence between the entries of an answer: no edge (rolls of
a die), a star (a story whose every word agrees with the person chosen), a path (a walk on a map)
and a clique (a shuffled line).  The limits are those of schedules that are fixed in advance, the
treedepth of the graph; beside them stands what decoders needed on the ideal model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from parallelbench.analysis.figures.pictures import look
from parallelbench.analysis.measures.curves import INK
from parallelbench.errors import NotEnumerableError
from parallelbench.evaluation import evaluate
from parallelbench.results.intervals import bootstrap_interval

#: The kind of the points of a limit.
LIMIT = "limit"
#: The schedule that the answer distribution asks for, and a rule that looks at predictions; both
#: lose nothing on the ideal model.  At temperature 1 answers are drawn from its distribution.
ORACLE = "information:eps=0,temperature=1"
RULE = "entropy_bound:bound=0,temperature=1"
_LENGTHS = (2, 4, 6, 8, 16, 32, 64)
_SAMPLES = 20


class Growth(NamedTuple):
    """A task whose limit grows in a known way.

    Attributes:
        name: Name in the picture.
        entry: Unit of the length, in the plural.
        formula: The limit as a formula in the length n.
        fewest: Function that returns the limit for a length.
        fields: Fields of the task; braces stand for the length.
        tokens: Canvas tokens of an entry.
        colour: Colour of its line and marks.
        aside: Shift of its marks to the right, in doublings of the length, so that those of
            several tasks can be told apart.
    """

    name: str
    entry: str
    formula: str
    fewest: Callable[[int], int]
    fields: str
    tokens: int
    colour: str
    aside: float

    def setting(self, task: str, length: int) -> str:
        """Return the setting of ``task`` with an answer of ``length`` entries."""
        fields = self.fields.format(length)
        return f"{task}:{fields},canvas_length={self.tokens * length}"


#: Tasks by the growth of their limits, the slowest first.
GROWTHS: Mapping[str, Growth] = {
    "choices/dice": Growth(
        "dice", "rolls", "1", lambda _: 1, "rolls={}", 2, "#009E73", -0.11
    ),
    # One thing and one place to choose from leave the agreement alone.
    "agreement/pronoun": Growth(
        "pronoun", "sentences", "2", lambda _: 2, "length={},options=1", 8, "#CC79A7", 0.0
    ),
    "routes/walk": Growth(
        "route", "stops", "⌊log₂ n⌋ + 1", int.bit_length, "length={}", 2, "#0072B2", 0.11
    ),
    "waiting_line/shuffle": Growth(
        "shuffle", "people", "n", int, "length={},allow_identity=true", 4, "#D55E00", 0.0
    ),
}


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """Number of steps that an answer of some length needs.

    Attributes:
        task: Name.
        n: Entries of the answer.
        kind: ``limit``, or the label of a decoder.
        steps: Fewest steps of a schedule fixed in advance, or the mean model calls of a decoder;
            None if they could not be measured.
        low: Lower end of the 95 % interval of a mean; None where exact.
        high: Upper end.
        accuracy: Share of right answers in the lenient reading; None where exact.
        count: Decodes; None where exact.
        setting: Label of the task as it was decoded; None where exact.
        left_out: Reason that nothing was measured; None if it was.
    """

    task: str
    n: int
    kind: str
    steps: float | None
    low: float | None = None
    high: float | None = None
    accuracy: float | None = None
    count: int | None = None
    setting: str | None = None
    left_out: str | None = None


def growth_points() -> list[GrowthPoint]:
    """Return the limits of all tasks at all lengths, and the model calls of decoders.

    Where a task refuses a length, since its right answers are too many to list, the point says so.
    """
    points = []
    for task, growth in GROWTHS.items():
        for length in _LENGTHS:
            points.append(GrowthPoint(task, length, LIMIT, float(growth.fewest(length))))
            points += _measured(task, growth.setting(task, length), length)
    return points


def growth_caption(points: Sequence[GrowthPoint]) -> str:
    """Return the caption of the picture of ``points``, in three sentences."""
    counts = {point.count for point in points if point.count is not None}
    samples = " or ".join(f"{count:,}" for count in sorted(counts)) or "no"
    entries = [growth.entry for growth in GROWTHS.values()]
    return (
        "Lines: the fewest steps without an error for schedules fixed in advance, which is the "
        "treedepth of the graph that joins two entries of an answer "
        f"({', '.join(entries[:-1])} or {entries[-1]}) if they depend on each other given all "
        "others. "
        f"Points: mean model calls over {samples} samples on the ideal model at temperature 1, "
        "with 95 % intervals, where every answer is right. "
        "Marks of one length are set apart sideways; dice and shuffles end where their right "
        "answers are too many to list."
    )


def growth_figure(points: Sequence[GrowthPoint]) -> Figure:
    """Return the picture: a line per task, and marks where every measured answer is right."""
    with look():
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for task, growth in GROWTHS.items():
            own = [point for point in points if point.task == task]
            _draw_limit(axes, growth, [point for point in own if point.kind == LIMIT])
            _draw_measured(axes, growth, own)
        axes.set_xlabel("answer length n (entries)")
        axes.set_ylabel("steps (model calls)")
        _set_scales(axes, points)
        axes.legend(
            handles=[
                Line2D([], [], color=INK, label="limit"),
                _handle("information, which knows the distribution (measured)", filled=True),
                _handle("entropy_bound, which looks at predictions (measured)", filled=False),
            ],
            loc="upper left",
            frameon=False,
            fontsize=6.5,
        )
    return figure


def _measured(task: str, setting: str, length: int) -> Iterator[GrowthPoint]:
    try:
        evaluation = evaluate(tasks=setting, decoders=[ORACLE, RULE], samples=_SAMPLES)
    except NotEnumerableError as error:
        yield GrowthPoint(task, length, "not measured", None, setting=setting, left_out=str(error))
        return
    for result in evaluation.results:
        calls = [
            record.require_decoding().counts.nfe
            for record in evaluation.records
            if record.decoder_label == result.decoder_label
        ]
        interval = bootstrap_interval(calls)
        yield GrowthPoint(
            task=task,
            n=length,
            kind=result.decoder_label,
            steps=float(np.mean(calls)),
            low=interval.low,
            high=interval.high,
            accuracy=result.accuracy,
            count=len(calls),
            setting=result.task_label,
        )


def _draw_limit(axes: Axes, growth: Growth, limit: Sequence[GrowthPoint]) -> None:
    lengths = [point.n for point in limit]
    steps = [point.steps or 0.0 for point in limit]
    # Between two powers of 2 the limit of a path stands still.
    stairs = "steps-post" if growth.fewest is int.bit_length else "default"
    axes.plot(lengths, steps, color=growth.colour, drawstyle=stairs, zorder=1)
    axes.annotate(
        f"{growth.name}: {growth.formula}",
        (lengths[-1], steps[-1]),
        xytext=(12, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK,
    )


def _draw_measured(axes: Axes, growth: Growth, points: Sequence[GrowthPoint]) -> None:
    for oracle in (True, False):
        own = [
            point
            for point in points
            if point.accuracy == 1 and point.kind.startswith("information") is oracle
        ]
        steps = np.array([point.steps for point in own], dtype=float)
        ends = np.array([(point.low, point.high) for point in own], dtype=float).reshape(-1, 2)
        axes.errorbar(
            [point.n * 2**growth.aside for point in own],
            steps,
            yerr=np.abs(ends.T - steps),
            color=growth.colour,
            marker="o",
            markersize=3.2 if oracle else 6,
            markerfacecolor=growth.colour if oracle else "none",
            markeredgewidth=0.9,
            linestyle="none",
            elinewidth=0.7,
            zorder=3,
        )


def _handle(label: str, *, filled: bool) -> Line2D:
    return Line2D(
        [],
        [],
        color=INK,
        marker="o",
        markersize=3.2 if filled else 6,
        markerfacecolor=INK if filled else "none",
        markeredgewidth=0.9,
        linestyle="none",
        label=label,
    )


def _set_scales(axes: Axes, points: Sequence[GrowthPoint]) -> None:
    longest = max(point.n for point in points)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(1.75, longest * 1.12)
    axes.set_ylim(0.85, longest * 1.35)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([1, 2, 4, 8, 16, 32, 64]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.spines[["top", "right"]].set_visible(False)
