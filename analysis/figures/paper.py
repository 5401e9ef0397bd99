"""Table 1 and Figure 2 of the paper, computed again: the least cost of parallel decoding.

Table 1 is the total correlation of each task for several sizes, with its limit; Figure 2
the least cost against the positions written per step.  Where the paper has no figure for a
size, neither is one invented: every number is a closed form or comes from enumeration.

Source: Kang et al., ParallelBench (arXiv:2510.04767), section 4; inserting, removing and
the shuffle that must change the order are this project's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rich import box
from rich.table import Table

from parallelbench.analysis.measures.curves import INK
from parallelbench.analysis.theory.bounds import best_partitions, best_sizes
from parallelbench.analysis.theory.closed_forms import (
    REPLACE_RANDOM_LIMIT,
    insert_random_bits,
    latin_square_bits,
    remove_random_bits,
    replace_random_bits,
    replace_random_entropies,
    shuffle_bits,
    shuffle_entropies,
    shuffle_other_bits,
)
from parallelbench.analysis.theory.limits import law_of_sample
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

#: Sizes of the lists in Table 1.
TABLE_SIZES = (3, 4, 6, 10, 100)
#: Sizes of the lists in Figure 2.
FIGURE_SIZES = (4, 6, 8, 10)
#: By size; Okabe and Ito (2008).
_COLOURS = ("#E69F00", "#009E73", "#0072B2", INK)

_FORMULAS: Mapping[str, tuple[Callable[[int], float], float | None]] = {
    "all with one answer": (lambda _: 0.0, 0.0),
    "replace_random": (replace_random_bits, REPLACE_RANDOM_LIMIT),
    "remove_random": (remove_random_bits, None),
    "insert_random": (insert_random_bits, None),
    "shuffle": (shuffle_other_bits, None),
    "shuffle, identity allowed": (shuffle_bits, None),
}


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """One number of the paper.

    Attributes:
        task: Name of the task.
        n: Number of items of the list, or of symbols of the square; None for the limit of large n.
        steps: Number of steps in which the answer is written.
        positions_per_step: Mean over the steps; None for the limit.
        bits: The least cost; None if it grows without end.
    """

    task: str
    n: int | None
    steps: int
    positions_per_step: float | None
    bits: float | None


def table_1() -> list[PaperFigure]:
    """Return the total correlation of each task, in bits, for several sizes and their limit."""
    lines = []
    for task, (formula, limit) in _FORMULAS.items():
        grown = {"insert_random": 1, "remove_random": -1}.get(task, 0)
        lines += [PaperFigure(task, n, 1, float(n + grown), formula(n)) for n in TABLE_SIZES]
        lines.append(PaperFigure(task, None, 1, None, limit))
    squares = [
        PaperFigure("latin_square", n, 1, float(n**2), latin_square_bits(n)) for n in (3, 4, 6)
    ]
    return [*lines, *squares, PaperFigure("latin_square", None, 1, None, None)]


def figure_2() -> list[PaperFigure]:
    """Return the least cost of each task, in bits, for every number of steps."""
    lines: list[PaperFigure] = []
    for n in FIGURE_SIZES:
        shuffled = shuffle_entropies(n, allow_identity=False)
        lines += _by_steps("copy", n, [0.0] * n)
        lines += _by_steps("replace_random", n, _sized(replace_random_entropies(n)))
        lines += _by_steps("remove_random", n, _listed(f"list_operations/remove_random:length={n}"))
        lines += _by_steps("insert_random", n, _listed(f"list_operations/insert_random:length={n}"))
        lines += _by_steps("shuffle", n, _sized(shuffled))
    lines += _by_steps("latin_square", 3, _listed("puzzles/latin_square:size=3"))
    lines += _by_steps("city", 4, _listed("choices/city"))
    lines += _by_steps("dice", 5, _listed("choices/dice:rolls=5"))
    return sorted(lines, key=lambda line: list(_panels(lines)).index(line.task))


def drawn_table(lines: Sequence[PaperFigure]) -> Table:
    """Return Table 1 for the terminal."""
    drawn = Table(box=box.SIMPLE, padding=0, title="total correlation (bits)", title_justify="left")
    drawn.add_column("task", min_width=18, overflow="fold")
    sizes = sorted({line.n for line in lines if line.n is not None})
    for size in (*sizes, "limit"):
        drawn.add_column(f"n={size}" if size != "limit" else "limit", justify="right")
    for task, of_task in _panels(lines).items():
        cells = {
            line.n: "infinite" if line.bits is None else f"{line.bits:.3f}" for line in of_task
        }
        drawn.add_row(task, *(cells.get(size, "") for size in sizes), cells[None])
    return drawn


def drawn_figure(lines: Sequence[PaperFigure]) -> Figure:
    """Return Figure 2: a panel per task, a curve per size."""
    panels = _panels(lines)
    # In our own ink, which turns light on a dark page; matplotlib's black would not.
    ink = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    look = {"font.size": 7, "axes.facecolor": "none", **dict.fromkeys(ink, INK)}
    with style.context(["default", look]):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        grid = figure.subplots(2, 4, sharex=True, squeeze=True).ravel()
        for axes, (task, of_task) in zip(grid, panels.items(), strict=True):
            _draw(axes, task, of_task)
        figure.supxlabel("positions per step (positions / steps)", color=INK)
        figure.supylabel("least KL(P||Q) (bits)", color=INK)
    return figure


def _sized(entropies: Sequence[float]) -> list[float]:
    return [bound.bits for bound in best_sizes(entropies)]


def _listed(setting: str) -> list[float]:
    load_plugins()
    (parsed,) = parse_settings(setting, TASKS)
    task = build(parsed, TASKS)
    law = law_of_sample(task, draw_sample(task, 0, 0), "item")
    return [bound.bits for bound in best_partitions(law.only(law.varying))]


def _by_steps(task: str, n: int, bits: Sequence[float]) -> Iterator[PaperFigure]:
    for steps, cost in enumerate(bits, start=1):
        yield PaperFigure(task, n, steps, len(bits) / steps, cost)


def _panels(lines: Sequence[PaperFigure]) -> dict[str, list[PaperFigure]]:
    panels: dict[str, list[PaperFigure]] = {}
    for line in lines:
        panels.setdefault(line.task, []).append(line)
    return panels


def _draw(axes: Axes, task: str, lines: Sequence[PaperFigure]) -> None:
    sizes = sorted({line.n for line in lines if line.n is not None})
    for colour, size in zip(_COLOURS[-len(sizes) :], sizes, strict=True):
        points = [line for line in lines if line.n == size]
        axes.plot(
            [float(line.positions_per_step or 0) for line in points],
            [float(line.bits or 0) for line in points],
            color=colour,
            marker="o",
            markersize=2.5,
            linewidth=1,
            label=f"n={size}",
        )
    axes.set_title(task, loc="left", fontsize=7, color=INK)
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.9, 12)
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 4, 8]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    top = max(float(line.bits or 0) for line in lines)
    axes.set_ylim(-0.04 * max(top, 1), 1.08 * max(top, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=5.5, handlelength=1, loc="upper left")
