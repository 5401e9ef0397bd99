"""Figures of accuracy against tokens per step: the price of decoding in parallel.

Each figure is drawn once and kept in four forms.  Its SVG has no background; text, axes
and grid have colours of their own that are exchanged for light ones on a dark page.  A
page that is sure of its colours takes the light or the dark form (a README, a paper); one
that follows the reader's system takes the form that holds both.  The PNG is on white.  The
same results always give the same bytes.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from parallelbench.analysis.measures import cells
from parallelbench.analysis.measures.curves import INK, Curve, overlay_of
from parallelbench.analysis.measures.speed import SpeedEstimate
from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result

#: Of the grid and of what is said in passing.
_GRID = "#d5dae1"
_QUIET = "#5d6675"
#: What each of our neutral colours becomes on a dark page.
ON_DARK = {INK: "#e8ecf2", _GRID: "#3a424e", _QUIET: "#a3adba"}

#: Inches: the column of a paper, or a little less; a page is about 7 wide.
COLUMN = 3.25
# Inches.
_LEFT, _RIGHT, _BETWEEN, _LINE = 0.48, 0.1, 0.14, 0.14
_LARGE_PANEL, _SMALL_PANEL = (COLUMN - _LEFT - _RIGHT, 1.9), (1.5, 1.1)
_AXIS_TEXT = 0.44
_PAGE, _NAMES, _ROW = 7.0, 1.5, 0.15
# Points.
_SMALL, _PLAIN, _LARGE = 6.0, 7.0, 8.5
# Inches: a line of the legend with its marker, and a letter per point of its size.
_HANDLE, _LETTER = 0.42, 0.0079

_SETTINGS = {
    "axes.edgecolor": _QUIET,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.labelsize": _PLAIN,
    "font.size": _PLAIN,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "svg.hashsalt": "parallelbench",
    "text.color": INK,
    # A label is shown as it stands, whatever dollar signs it has.
    "text.parse_math": False,
    "xtick.color": _QUIET,
    "xtick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.color": INK,
    "ytick.major.size": 0,
}


class Mark(NamedTuple):
    """A point of a figure that a reader can point at.

    Attributes:
        x: Share of the figure's width, from the left.
        y: Share of its height, from the top.
        told: Values of the point, in words.
    """

    x: float
    y: float
    told: str


class MarkedFigure(Figure):
    """A figure that knows where its points are.

    Attributes:
        marks: Points, panel by panel, from slow to fast.
    """

    marks: tuple[Mark, ...] = ()


class Images(NamedTuple):
    """One figure as files.

    Attributes:
        light: SVG for a light page.
        dark: SVG for a dark page.
        either: SVG that asks the reader's system which of both it should be.
        png: On white, 200 dots per inch.
    """

    light: bytes
    dark: bytes
    either: bytes
    png: bytes


def task_figure(
    results: Sequence[Result], curves: Mapping[str, Curve], ideal: Sequence[Result] = ()
) -> MarkedFigure:
    """Return the figure of one task and one model, a paper's column wide.

    Args:
        results: One per decoder setting, at least one.
        curves: Curves of the whole run, see
            :func:`~parallelbench.analysis.measures.curves.curves_of`.
        ideal: Results of the ideal model on the same task, drawn dotted behind them: no
            model does better with the same decoder by being better trained.
    """
    look = _by_decoder(curves)
    return _figure({"": results}, look, results[0].task_label, {"": ideal})


def average_figure(
    averages: Sequence[Result], curves: Mapping[str, Curve], tasks: int
) -> MarkedFigure:
    """Return the figure of the mean over ``tasks`` tasks of one model, a column wide.

    Args:
        averages: One per decoder setting, at least one.
        curves: Curves of the whole run.
        tasks: Number of tasks in the mean.
    """
    return _figure({"": averages}, _by_decoder(curves), f"average over {tasks} tasks")


def overview_figure(results: Sequence[Result], curves: Mapping[str, Curve]) -> MarkedFigure:
    """Return small multiples on shared axes, one per task of one model, a page wide.

    Args:
        results: Results of the chosen tasks, in the order of the panels.
        curves: Curves of the whole run.
    """
    panels: dict[str, list[Result]] = {}
    for result in results:
        panels.setdefault(result.task_label, []).append(result)
    return _figure(panels, _by_decoder(curves), "accuracy against speed, task by task")


def overlay_figure(
    results: Sequence[Result],
    curves: Mapping[str, Curve],
    title: str,
    ideal: Sequence[Result] = (),
) -> MarkedFigure:
    """Return the figure of several models on one task, a paper's column wide.

    With more decoders than colours it is a page wide, with a panel for each decoder.

    Args:
        results: One per model and decoder setting, of at least two models.
        curves: Curves of the whole run.
        title: The task, or what else they have in common.
        ideal: Results of the ideal model, drawn dotted behind them.
    """
    overlay = overlay_of(results, curves)
    panels: dict[str, list[Result]] = {}
    behind: dict[str, list[Result]] = {}
    for sorted_out, every in ((panels, results), (behind, ideal)):
        for result in every:
            if result.decoder_label not in overlay.behind:
                continue
            name = curves[result.decoder_label].label if overlay.apart else ""
            sorted_out.setdefault(name, []).append(result)

    def look(result: Result) -> Curve:
        own = overlay.curves.get((result.model, result.decoder_label))
        return own or overlay.behind[result.decoder_label]

    return _figure(panels, look, title, behind, overlay.legend)


def _by_decoder(curves: Mapping[str, Curve]) -> Callable[[Result], Curve]:
    return lambda result: curves[result.decoder_label]


class StrategySpeed(NamedTuple):
    """The speed of one strategy at an accuracy.

    Attributes:
        label: Name.
        speed: Tokens per step.
        oracle: True for an oracle, which is drawn hollow.
    """

    label: str
    speed: SpeedEstimate
    oracle: bool


def speeds_figure(standings: Sequence[StrategySpeed], title: str, subtitle: str) -> Figure:
    """Return strategies side by side: tokens per step, the fastest on top, a page wide.

    Args:
        standings: At least one; those that do not reach the accuracy come last, and say so.
        title: Title, in bold.
        subtitle: Description of the run, below the title.
    """
    ranked = sorted(standings, key=lambda each: each.speed.value or 0.0)
    with _look():
        height = _ROW * (len(ranked) + 1) + 4 * _LINE + _AXIS_TEXT
        figure = Figure(figsize=(_PAGE, height))
        figure.text(_BETWEEN / 2 / _PAGE, 1 - _LINE / height, title, weight="bold", size=_LARGE)
        figure.text(
            _BETWEEN / 2 / _PAGE, 1 - 2.2 * _LINE / height, subtitle, color=_QUIET, size=_SMALL
        )
        below, tall = _AXIS_TEXT / height, _ROW * (len(ranked) + 1) / height
        axes = figure.add_axes((_NAMES / _PAGE, below, 1 - (_NAMES + 4 * _RIGHT) / _PAGE, tall))
        axes.grid(visible=True, axis="x")
        axes.set_axisbelow(True)
        axes.set_yticks(range(len(ranked)), [each.label for each in ranked])
        axes.set_ylim(-1, len(ranked))
        for place, each in enumerate(ranked):
            _draw_standing(axes, place, each)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens per step (canvas tokens / model calls)")
    return figure


def _draw_standing(axes: Axes, place: int, each: StrategySpeed) -> None:
    value, interval = each.speed.value, each.speed.interval
    if value is None:
        axes.text(0, place, " not reached", va="center", color=_QUIET, size=_SMALL)
        return
    if interval is not None:
        axes.plot([interval.low, interval.high], [place, place], color=_QUIET)
    inside = "none" if each.oracle else INK
    axes.plot([value], [place], "o", color=INK, markerfacecolor=inside)


def images(figure: Figure) -> Images:
    """Return ``figure`` as files."""
    svg, png = io.BytesIO(), io.BytesIO()
    with _look():
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(png, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    light = dark = svg.getvalue()
    for before, after in ON_DARK.items():
        dark = dark.replace(before.encode(), after.encode())
    return Images(light, dark, _either(light), png.getvalue())


def _either(light_svg: bytes) -> bytes:
    rules = "".join(
        f'[style*="{paint}: {light}"]{{{paint}:{dark} !important}}'
        for light, dark in ON_DARK.items()
        for paint in ("fill", "stroke")
    )
    sheet = f"<style>@media (prefers-color-scheme: dark){{{rules}}}</style>\n <defs>"
    return light_svg.replace(b"<defs>", sheet.encode(), 1)


@contextmanager
def _look() -> Iterator[None]:
    # From matplotlib's defaults, so that a reader's own matplotlibrc changes no figure.
    with style.context(["default", _SETTINGS]):
        yield


def _figure(
    panels: Mapping[str, Sequence[Result]],
    look: Callable[[Result], Curve],
    title: str,
    ideal: Mapping[str, Sequence[Result]] | None = None,
    legend: Sequence[Curve] | None = None,
) -> MarkedFigure:
    """Draw one panel for each entry of ``panels``.

    Args:
        panels: Results by the label of their panel.
        look: Function that returns the curve of a result.
        title: Title, in bold.
        ideal: Results drawn dotted, by the label of their panel.
        legend: Curves of the legend; None for every curve that is drawn.
    """
    points = {label: _points(results, look) for label, results in panels.items()}
    every = [point for on_panel in points.values() for point in on_panel]
    used = {point.curve for point in every}
    given = itertools.chain.from_iterable(panels.values())
    curves = [curve for curve in dict.fromkeys(map(look, given)) if curve in used]
    shown = curves if legend is None or not curves else legend
    behind = {label: _points(results, look) for label, results in (ideal or {}).items()}
    models = dict.fromkeys(result.model for results in panels.values() for result in results)
    told = f"{', '.join(models)}; " if legend is None else ""
    told += _counted(every, panels) + ("; dotted: ideal" if any(behind.values()) else "")
    with _look():
        layout = _layout(list(panels), title, told, shown)
        figure, grid = _frame(layout, shown)
        for axes, label in zip(grid, points, strict=True):
            _draw_behind(axes, behind.get(label, []))
        for axes, on_panel in zip(grid, points.values(), strict=True):
            _draw(axes, on_panel, curves)
        _share_axes(grid, layout.columns, [point.tokens_per_step for point in every])
    figure.marks = tuple(
        _mark(figure, axes, point)
        for axes, on_panel in zip(grid, points.values(), strict=True)
        for point in on_panel
    )
    return figure


def _mark(figure: Figure, axes: Axes, point: _PlotPoint) -> Mark:
    place = axes.transData.transform((point.tokens_per_step, point.accuracy))
    x, y = figure.transFigure.inverted().transform(place)
    return Mark(round(float(x), 4), round(1 - float(y), 4), point.told)


class _PlotPoint(NamedTuple):
    """A result that was measured; shares are per cent."""

    curve: Curve
    tokens_per_step: float
    accuracy: float
    interval: Interval
    decodes: int
    told: str


def _points(results: Iterable[Result], look: Callable[[Result], Curve]) -> list[_PlotPoint]:
    """Return the results that have something to draw, from slow to fast."""
    points = [
        _PlotPoint(
            look(result),
            result.tokens_per_step,
            100 * result.accuracy,
            Interval(100 * result.interval.low, 100 * result.interval.high),
            result.count,
            _told(result),
        )
        for result in results
        if result.accuracy is not None and result.interval and result.tokens_per_step
    ]
    return sorted(points, key=lambda point: point.tokens_per_step)


def _told(result: Result) -> str:
    return (
        f"{cells.decoder(result)}, {result.model}: {cells.percent(result.accuracy)} % right "
        f"({cells.percent_range(result.interval)}), {cells.number(result.tokens_per_step)} tokens "
        f"per step ({cells.number_range(result.tokens_per_step_interval)}), "
        f"{cells.number(result.nfe, 1)} model calls, {result.samples:,} samples"
    )


def _counted(points: Sequence[_PlotPoint], panels: Mapping[str, Sequence[Result]]) -> str:
    if not points and any(r.count for results in panels.values() for r in results):
        return "no point: a server shows no steps"
    if not points:
        return "nothing is marked"
    counts = sorted({point.decodes for point in points})
    decodes = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{decodes} decodes per point; bars: 95 % intervals"


class _FigureLayout(NamedTuple):
    """The layout of a figure, computed from the number of lines of its texts.

    A trial drawing would take as long as the figure itself.

    Attributes:
        panel: Width and height of one panel, in inches.
        columns: Panels side by side.
        panels: The label of each panel, folded; empty for a panel that stands alone.
        title: Title, folded to the width of the figure.
        subtitle: Subtitle, folded to the same width.
        legend: The label of each curve, folded.
    """

    panel: tuple[float, float]
    columns: int
    panels: Sequence[str]
    title: str
    subtitle: str
    legend: Sequence[str]

    @property
    def rows(self) -> int:
        """Number of panels above each other."""
        return math.ceil(len(self.panels) / self.columns)

    @property
    def width(self) -> float:
        """Inches."""
        return _LEFT + self.columns * (self.panel[0] + _BETWEEN) - _BETWEEN + _RIGHT

    @property
    def height(self) -> float:
        """Inches."""
        return self.header + self.rows * self.row + _AXIS_TEXT + self.footer

    @property
    def header(self) -> float:
        """Inches that title and subtitle take."""
        return _LINE * (1.2 + _lines(self.title) + 0.85 * _lines(self.subtitle))

    @property
    def row(self) -> float:
        """Inches that a panel takes with its label, and the ticks of the one above."""
        above = 0 if self.panels == [""] else _LINE * (0.9 + max(map(_lines, self.panels)))
        return self.panel[1] + above

    @property
    def footer(self) -> float:
        """Inches that the legend takes."""
        rows = math.ceil(len(self.legend) / self.legend_columns)
        return rows * (0.04 + 0.1 * max(map(_lines, self.legend), default=0))

    @property
    def legend_columns(self) -> int:
        """Number of curves side by side in the legend."""
        longest = max((len(line) for label in self.legend for line in label.split("\n")), default=1)
        return max(1, int((self.width - _BETWEEN) / (_HANDLE + longest * _LETTER * _SMALL)))

    def bounds(self, number: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of a panel, as shares of the figure."""
        row, column = divmod(number, self.columns)
        left = _LEFT + column * (self.panel[0] + _BETWEEN)
        top = self.header + (row + 1) * self.row
        width, height = self.panel
        return (
            left / self.width,
            1 - top / self.height,
            width / self.width,
            height / self.height,
        )


def _layout(
    panels: Sequence[str], title: str, subtitle: str, curves: Iterable[Curve]
) -> _FigureLayout:
    panel = _LARGE_PANEL if len(panels) == 1 else _SMALL_PANEL
    columns = math.ceil(len(panels) / math.ceil(len(panels) / 4))
    width = _FigureLayout(panel, columns, panels, "", "", []).width - _BETWEEN
    return _FigureLayout(
        panel=panel,
        columns=columns,
        panels=[_fold(label, panel[0], _PLAIN) for label in panels],
        title=_fold(title, width, _LARGE),
        subtitle=_fold(subtitle, width, _SMALL),
        legend=[_fold(curve.label, width - _HANDLE, _SMALL) for curve in curves],
    )


def _fold(text: str, width: float, size: float) -> str:
    return cells.folded(text, int(width / (_LETTER * size)))


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _frame(layout: _FigureLayout, curves: Iterable[Curve]) -> tuple[MarkedFigure, list[Axes]]:
    """Return a figure with its texts, its legend and empty panels."""
    figure = MarkedFigure(figsize=(layout.width, layout.height))
    left, top = _BETWEEN / 2 / layout.width, 1 - _LINE / 2 / layout.height
    below = top - _LINE * (_lines(layout.title) + 0.3) / layout.height
    figure.text(left, top, layout.title, va="top", weight="bold", size=_LARGE)
    figure.text(left, below, layout.subtitle, va="top", color=_QUIET, size=_SMALL)
    grid = [figure.add_axes(layout.bounds(number)) for number in range(len(layout.panels))]
    for axes, label in zip(grid, layout.panels, strict=True):
        axes.set_title(label, loc="left", size=_PLAIN, pad=3)
    _add_axis_labels(figure, layout)
    if layout.legend:
        _add_legend(figure, layout, curves)
    return figure, grid


def _add_axis_labels(figure: Figure, layout: _FigureLayout) -> None:
    """Write each axis label once, in the middle of the panels that share it."""
    x, y, _, height = layout.bounds(0)
    bottom = layout.bounds(len(layout.panels) - 1)[1]
    figure.supylabel(
        "accuracy (%)",
        x=_BETWEEN / 2 / layout.width,
        y=(bottom + y + height) / 2,
        va="center",
        ha="left",
    )
    figure.supxlabel(
        "tokens per step (canvas tokens / model calls)",
        x=(x + 1 - _RIGHT / layout.width) / 2,
        y=(layout.footer + 0.06) / layout.height,
        va="bottom",
    )


def _add_legend(figure: Figure, layout: _FigureLayout, curves: Iterable[Curve]) -> None:
    figure.legend(
        [Line2D([], [], **_strokes(curve)) for curve in curves],
        layout.legend,
        loc="lower left",
        bbox_to_anchor=(_BETWEEN / 2 / layout.width, 0),
        ncols=layout.legend_columns,
        fontsize=_SMALL,
        frameon=False,
        borderpad=0.3,
        borderaxespad=0,
        labelspacing=0.35,
        columnspacing=1.2,
        handlelength=2,
        handletextpad=0.6,
    )


def _strokes(curve: Curve) -> dict[str, Any]:
    return {
        "color": curve.colour,
        "marker": curve.marker,
        "markerfacecolor": "none" if curve.oracle else curve.colour,
        "markeredgewidth": 0.8 if curve.oracle else 0,
        "linestyle": curve.line or ("--" if curve.oracle else "-"),
    }


def _draw(axes: Axes, points: Sequence[_PlotPoint], curves: Iterable[Curve]) -> None:
    for curve in curves:
        family = [point for point in points if point.curve == curve]
        if not family:
            continue
        below = [point.accuracy - point.interval.low for point in family]
        above = [point.interval.high - point.accuracy for point in family]
        axes.errorbar(
            [point.tokens_per_step for point in family],
            [point.accuracy for point in family],
            # Rounding may leave an end on the wrong side by a hair.
            yerr=np.maximum([below, above], 0),
            elinewidth=0.7,
            label=curve.label,
            clip_on=False,
            **_strokes(curve),
        )


def _draw_behind(axes: Axes, points: Sequence[_PlotPoint]) -> None:
    for curve in dict.fromkeys(point.curve for point in points):
        family = [point for point in points if point.curve == curve]
        axes.plot(
            [point.tokens_per_step for point in family],
            [point.accuracy for point in family],
            color=curve.colour,
            linestyle=":",
            linewidth=0.9,
            clip_on=False,
        )


def _share_axes(grid: Sequence[Axes], columns: int, speeds: Sequence[float]) -> None:
    """Give every panel the same axes, and write their numbers at the outer panels only."""
    low = math.floor(math.log2(min([1.0, *speeds])))
    high = math.ceil(math.log2(max([2.0, *speeds])))
    for number, axes in enumerate(grid):
        axes.set_xscale("log", base=2)
        axes.set_xlim(2 ** (low - 0.15), 2 ** (high + 0.15))
        axes.set_ylim(-3, 103)
        axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(low, high + 1)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(0, 101, 25))
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(labelleft=number % columns == 0, labelbottom=number + columns >= len(grid))
