"""A picture of how the fewest steps without an error grow with the length of an answer.

Four tasks stand for four graphs of dependence between the entries of an answer: no edge (rolls of
a die), a star (a story whose every word agrees with the person chosen), a path (a walk on a map)
and a clique (a shuffled line).  The limits are those of schedules that are fixed in advance, the
treedepth of the graph; beside them stands what decoders needed on the ideal model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from parallelbench.analysis.figures.captions import joined
from parallelbench.analysis.figures.pictures import look
from parallelbench.analysis.measures.curves import INK
from parallelbench.errors import NotEnumerableError
from parallelbench.evaluation import evaluate
from parallelbench.results.intervals import bootstrap_interval

#: The kind of the points of a limit, and of lengths that a task refuses.
LIMIT, REFUSED = "limit", "not measured"
#: The oracle writes the sets that the answer distribution allows, the rule what it is sure of and
#: one more token; neither loses anything on the ideal model.  At temperature 1 answers are drawn
#: from its distribution.
_DECODERS = ("information:eps=0,temperature=1", "entropy_bound:bound=0,temperature=1")
_LENGTHS = (2, 4, 6, 8, 16, 32, 64)
#: Length at which the lines end.
_LAST = 96
_SAMPLES = 16


class Growth(NamedTuple):
    """A task whose limit grows in a known way.

    Attributes:
        name: Name in the picture.
        entry: Unit of the length, in the plural.
        formula: The limit as a formula in the length n.
        fewest: Function that returns the limit for a length.
        stairs: True if the limit only grows at powers of 2.
        fields: Fields of the task; braces stand for the length.
        tokens: Canvas tokens of an entry.
        colour: Colour of the line and the marks.
        aside: Shift of hollow marks to the right, in doublings of the length, so that those of
            several tasks can be told apart.
    """

    name: str
    entry: str
    formula: str
    fewest: Callable[[int], int]
    stairs: bool
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
        name="dice",
        entry="rolls",
        formula="1",
        fewest=lambda _: 1,
        stairs=False,
        fields="rolls={}",
        tokens=2,
        colour="#009E73",
        aside=-0.11,
    ),
    "agreement/pronoun": Growth(
        name="pronoun",
        entry="sentences",
        formula="2",
        fewest=lambda _: 2,
        stairs=False,
        # One thing and one place to choose from: all that is left to choose is the person.
        fields="length={},options=1",
        tokens=8,
        colour="#CC79A7",
        aside=0.11,
    ),
    "routes/walk": Growth(
        name="route",
        entry="stops",
        formula="\N{LEFT FLOOR}log\N{SUBSCRIPT TWO} n\N{RIGHT FLOOR} + 1",
        fewest=int.bit_length,
        stairs=True,
        fields="length={}",
        tokens=2,
        colour="#0072B2",
        aside=0.11,
    ),
    "waiting_line/shuffle": Growth(
        name="shuffle",
        entry="people",
        formula="n, one by one",
        fewest=int,
        stairs=False,
        fields="length={},allow_identity=true",
        tokens=4,
        colour="#D55E00",
        aside=0.0,
    ),
}


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """Number of steps that an answer of some length needs.

    Attributes:
        task: Name.
        n: Entries of the answer.
        kind: ``limit``, ``not measured``, or the label of a decoder.
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

    Where a task refuses a length, since its right answers are too many to list, a point says so.
    """
    points = []
    for task, growth in GROWTHS.items():
        points += [
            GrowthPoint(task, length, LIMIT, float(growth.fewest(length)))
            for length in (*_LENGTHS, _LAST)
        ]
        for length in _LENGTHS:
            points += _measured(task, growth.setting(task, length), length)
    return points


def growth_caption(points: Sequence[GrowthPoint]) -> str:
    """Return the caption of the picture of ``points``, in three sentences."""
    counts = sorted({point.count for point in points if point.count is not None})
    refused = {point.task for point in points if point.kind == REFUSED}
    cut = [growth.name for task, growth in GROWTHS.items() if task in refused]
    limits = (
        "Lines are limits for schedules fixed in advance: the treedepth of the graph along which "
        "entries depend on each other (no edge, a star, a path, a clique)"
    )
    measured = (
        f"Points are mean model calls over {' to '.join(map(str, counts))} samples each on the "
        "ideal model at temperature 1, with 95 % intervals, wherever every answer is right"
    )
    apart = "Hollow ones are set apart sideways"
    if cut:
        apart += f"; points of {' and '.join(cut)} end where right answers are too many to list"
    return joined([limits, measured, apart])


def growth_figure(points: Sequence[GrowthPoint]) -> Figure:
    """Return the picture: a line per task, and marks where every measured answer is right."""
    with look():
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for task, growth in GROWTHS.items():
            own = [point for point in points if point.task == task]
            _draw_limit(axes, growth, [point for point in own if point.kind == LIMIT])
            for decoder in _MARKS:
                _draw_measured(axes, growth, decoder, own)
        entries = ", ".join(growth.entry for growth in GROWTHS.values())
        axes.set_xlabel(f"answer length n ({entries})")
        axes.set_ylabel("steps (model calls)")
        _set_scales(axes)
        axes.legend(handles=_handles(), loc="upper left", frameon=False, fontsize=6.5)
    return figure


def _measured(task: str, setting: str, length: int) -> Iterator[GrowthPoint]:
    try:
        evaluation = evaluate(tasks=setting, decoders=list(_DECODERS), samples=_SAMPLES)
    except NotEnumerableError as error:
        yield GrowthPoint(task, length, REFUSED, None, setting=setting, left_out=str(error))
        return
    for result in evaluation.results:
        calls = [
            float(record.require_decoding().counts.nfe)
            for record in evaluation.records
            if record.decoder_label == result.decoder_label
        ]
        interval = bootstrap_interval(calls)
        yield GrowthPoint(
            task=task,
            n=length,
            kind=result.decoder_label,
            steps=fmean(calls),
            low=interval.low,
            high=interval.high,
            accuracy=result.accuracy,
            count=len(calls),
            setting=result.task_label,
        )


class _Mark(NamedTuple):
    """The marks of a decoder.

    Attributes:
        label: Text of the legend.
        size: Diameter, in points.
        hollow: True if they are not filled, and set aside.
    """

    label: str
    size: float
    hollow: bool

    def look(self, colour: str) -> dict[str, Any]:
        """Return the looks of such marks in ``colour``."""
        return {
            "color": colour,
            "marker": "o",
            "markersize": self.size,
            "markerfacecolor": "none" if self.hollow else colour,
            "markeredgewidth": 0.9,
            "linestyle": "none",
        }


_MARKS = {
    "information": _Mark("measured: information, an oracle", 3.4, hollow=False),
    "entropy_bound": _Mark("measured: entropy_bound:bound=0, a published rule", 5.6, hollow=True),
}


def _handles() -> list[Line2D]:
    line = Line2D([], [], color=INK, label="limit of a schedule fixed in advance")
    marks = [Line2D([], [], label=mark.label, **mark.look(INK)) for mark in _MARKS.values()]
    return [line, *marks]


def _draw_limit(axes: Axes, growth: Growth, limit: Sequence[GrowthPoint]) -> None:
    lengths, steps = [point.n for point in limit], [point.steps or 0.0 for point in limit]
    drawstyle = "steps-post" if growth.stairs else "default"
    axes.plot(lengths, steps, color=growth.colour, drawstyle=drawstyle, zorder=1)
    axes.annotate(
        f"{growth.name}: {growth.formula}",
        (lengths[-1], steps[-1]),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK,
    )


def _draw_measured(axes: Axes, growth: Growth, decoder: str, points: Sequence[GrowthPoint]) -> None:
    mark = _MARKS[decoder]
    for point in points:
        if point.kind.partition(":")[0] == decoder and point.accuracy == 1:
            steps, low, high = point.steps or 0.0, point.low or 0.0, point.high or 0.0
            axes.errorbar(
                point.n * 2 ** (growth.aside * mark.hollow),
                steps,
                yerr=[[steps - low], [high - steps]],
                elinewidth=0.7,
                zorder=3,
                **mark.look(growth.colour),
            )


def _set_scales(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(1.75, 1.02 * _LAST)
    axes.set_ylim(0.85, 1.1 * _LAST)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([1, 2, 4, 8, 16, 32, 64]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.spines[["top", "right"]].set_visible(False)
