"""A picture of the errors of judges: how often the intervals of pass rates contain the truth.

Each panel is a judge with known error rates.  In every repetition it judges 200 replies, of
which a known share is good, and 200 calibration examples, half of them good; a 95 %
interval should contain the truth in 95 of 100 repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parallelbench.analysis.figures.pictures import look
from parallelbench.analysis.judging.judges import coverage
from parallelbench.analysis.measures.curves import INK

#: Sensitivity and specificity, and what such a judge is like.
JUDGES = (
    (0.98, 0.5, "a grammar checker"),
    (0.9, 0.8, "a fair judge"),
    (0.7, 0.7, "a poor judge"),
)
RATES = tuple(round(0.1 * step, 1) for step in range(1, 10))
#: Replies, good and bad calibration examples.
COUNTS = (200, 100, 100)
REPETITIONS = 2000
_RAW, _CORRECTED = "#D55E00", "#0072B2"


@dataclass(frozen=True, slots=True)
class SimulatedJudge:
    """Simulated verdicts of one judge at one true rate.

    Attributes:
        sensitivity: The judge's sensitivity.
        specificity: The judge's specificity.
        rate: True share of good replies.
        raw: Share of the repetitions whose interval of the raw pass rate contains it.
        corrected: Share of the repetitions whose interval of the corrected rate contains it.
        raw_mean: Mean raw pass rate.
        corrected_mean: Mean corrected rate.
        repetitions: Number of repetitions.
    """

    sensitivity: float
    specificity: float
    rate: float
    raw: float
    corrected: float
    raw_mean: float
    corrected_mean: float
    repetitions: int


def simulate_judges() -> list[SimulatedJudge]:
    """Return the simulation of every judge at every rate; the random seed is fixed."""
    return [
        SimulatedJudge(
            sensitivity,
            specificity,
            **coverage(rate, (sensitivity, specificity), COUNTS, repetitions=REPETITIONS)._asdict(),
        )
        for sensitivity, specificity, _ in JUDGES
        for rate in RATES
    ]


def coverage_figure(rows: Sequence[SimulatedJudge]) -> Figure:
    """Return the picture: mean rates above, coverage below, a column per judge."""
    with look():
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        grid = figure.subplots(2, len(JUDGES), sharex=True, sharey="row")
        for column, (sensitivity, specificity, name) in enumerate(JUDGES):
            own = [row for row in rows if row.sensitivity == sensitivity]
            _draw_means(grid[0, column], own)
            _draw_coverage(grid[1, column], own)
            grid[0, column].set_title(
                f"{name}\nsensitivity {sensitivity:g}, specificity {specificity:g}",
                loc="left",
                fontsize=7,
            )
            grid[1, column].set_xlabel("true share of good replies")
        grid[0, 0].set_ylabel("mean estimate")
        grid[1, 0].set_ylabel("coverage of intervals")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_means(axes: Axes, rows: Sequence[SimulatedJudge]) -> None:
    rates = [row.rate for row in rows]
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":", label="truth; below: 95 %")
    _lines(axes, rates, [row.raw_mean for row in rows], [row.corrected_mean for row in rows])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _draw_coverage(axes: Axes, rows: Sequence[SimulatedJudge]) -> None:
    rates = [row.rate for row in rows]
    axes.axhline(0.95, color=INK, linewidth=0.6, linestyle=":")
    _lines(axes, rates, [row.raw for row in rows], [row.corrected for row in rows])
    axes.set_ylim(-0.03, 1.03)


def _lines(
    axes: Axes, rates: Sequence[float], raw: Sequence[float], corrected: Sequence[float]
) -> None:
    axes.plot(rates, raw, color=_RAW, marker="v", markersize=3.5, label="pass rate as judged")
    axes.plot(rates, corrected, color=_CORRECTED, marker="o", markersize=3.5, label="corrected")
    axes.spines[["top", "right"]].set_visible(False)
