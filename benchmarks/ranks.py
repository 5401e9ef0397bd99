"""Simulated boards: how often the ranks claim a difference that is none, and find one that is.

    python benchmarks/ranks.py            # about an hour on one core
    python benchmarks/ranks.py --boards 100 --resamples 2000    # the table of docs/leaderboard.md
    python benchmarks/ranks.py --smoke    # a few small boards, in seconds

A board is 8 rows on 16 tasks with 80 samples each, as the test part of a season has.  Each sample
has its own number of model calls, whose logarithm varies by 0.12 within a task and by 0.7 between
tasks, as in the entry ``mini-2026-1``, and is answered rightly with the probability of the setting.
Rows are ranked at 80 % right answers by the code that ranks the board.

A claim is *false* if a row counts as surely faster than one that is at least as fast in truth; a
row that does not reach 80 % in truth is faster than none.  The table gives the share of boards
with a false claim, and, where two kinds of rows differ, the share of all true differences found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import norm

from parallelbench.analysis.measures.speed import drawn_means, drawn_weights, speeds_at
from parallelbench.analysis.measures.statistics import clopper_pearson
from parallelbench.analysis.measures.sweep import Sweep
from parallelbench.leaderboards.board.ranks import RowDraws, compared
from parallelbench.leaderboards.board.standings import RESAMPLES
from parallelbench.setting import Setting

ACCURACY = 0.8
CANVAS = 64
#: Standard deviations of the logarithm of a sample's model calls.
WITHIN_TASK, BETWEEN_TASKS = 0.12, 0.7


class RowLaw(NamedTuple):
    """True speed and accuracy of each setting of a row.

    Attributes:
        speeds: Pooled tokens per step, from the slowest setting on.
        marks: Accuracy, in [0, 1].
    """

    speeds: tuple[float, ...]
    marks: tuple[float, ...]


class Scenario(NamedTuple):
    """A law of boards.

    Attributes:
        title: Description in the table.
        rows: One law per row.
        shared: Correlation of two rows on the same sample, in [0, 1].
        alike: Share of the samples on which all rows do the same.
    """

    title: str
    rows: tuple[RowLaw, ...]
    shared: float = 0.0
    alike: float = 0.0


SAFE = RowLaw((10.0,), (0.9,))
CURVE = RowLaw((4.0, 8.0, 16.0, 32.0), (0.95, 0.9, 0.75, 0.5))
LATE = RowLaw((4.0, 8.0, 16.0), (0.81, 0.7, 0.5))
FLAT = RowLaw((4.0, 8.0, 16.0, 32.0), (0.8, 0.8, 0.8, 0.8))
SHORT = RowLaw((4.0, 8.0, 16.0), (0.95, 0.795, 0.5))


def scenarios(rows: int) -> tuple[Scenario, ...]:
    """Return the laws of the table, of boards with ``rows`` rows."""
    half = rows // 2
    short, slow = RowLaw((20.0,), (0.795,)), RowLaw((5.0,), (0.95,))
    faster = RowLaw((11.0,), (0.9,))
    faster_curve, fastest_curve = (
        RowLaw(tuple(ratio * speed for speed in CURVE.speeds), CURVE.marks) for ratio in (1.1, 1.3)
    )
    return (
        Scenario("equal, independent", rows * (SAFE,)),
        Scenario("equal, correlated 0.9", rows * (SAFE,), shared=0.9),
        Scenario("equal, the same on 98 % of samples", rows * (SAFE,), alike=0.98),
        Scenario("identical", rows * (SAFE,), alike=1.0),
        Scenario("equal, 80.5 % right", rows * (RowLaw((10.0,), (0.805,)),)),
        Scenario("equal, 79.5 % right", rows * (RowLaw((10.0,), (0.795,)),)),
        Scenario("equal curves", rows * (CURVE,)),
        Scenario("equal curves, correlated 0.9", rows * (CURVE,), shared=0.9),
        Scenario("equal curves that barely reach 80 %", rows * (LATE,)),
        Scenario("equal curves, flat at 80 %", rows * (FLAT,)),
        Scenario("equal curves, the second setting 79.5 % right", rows * (SHORT,)),
        Scenario("half fast and short of 80 %, half slow", half * (short,) + half * (slow,)),
        Scenario("half such curves, half between their settings", half * (SHORT,) + half * (slow,)),
        Scenario("half faster by 1.1", half * (faster,) + half * (SAFE,)),
        Scenario("half faster by 1.1, correlated 0.9", half * (faster,) + half * (SAFE,), 0.9),
        Scenario("half of curves faster by 1.1", half * (faster_curve,) + half * (CURVE,)),
        Scenario(
            "half of curves faster by 1.1, correlated 0.9",
            half * (faster_curve,) + half * (CURVE,),
            0.9,
        ),
        Scenario("half of curves faster by 1.3", half * (fastest_curve,) + half * (CURVE,)),
    )


class Board(NamedTuple):
    """The size of a simulated board.

    Attributes:
        tasks: Number of tasks.
        samples: Samples per task.
        resamples: Bootstrap resamples.
    """

    tasks: int
    samples: int
    resamples: int


FULL = Board(tasks=16, samples=80, resamples=RESAMPLES)
SMALL = Board(tasks=4, samples=20, resamples=400)


class Outcome(NamedTuple):
    """Claims of the ranks of one board.

    Attributes:
        false: Claims that are not true.
        found: True differences that were claimed.
        differences: True differences that there are.
    """

    false: int
    found: int
    differences: int


def true_speed(law: RowLaw) -> float:
    """Return the speed that a row has in truth; 0.0 if it does not reach the accuracy."""
    speeds, marks = (np.array([values]) for values in law)
    found = speeds_at(np.array([ACCURACY]), speeds, marks)
    return float(np.nan_to_num(found)[0, 0])


def drawn_rows(scenario: Scenario, board: Board, rng: np.random.Generator) -> list[Sweep]:
    """Return the rows of one board, on the same samples."""
    columns = board.tasks * board.samples
    tasks = np.repeat(np.arange(board.tasks), board.samples)
    level = np.exp(BETWEEN_TASKS * np.linspace(-1.5, 1.5, board.tasks))
    same = rng.random(columns) < scenario.alike
    common = rng.normal(size=(2, columns))
    found = []
    for law in scenario.rows:
        own = rng.normal(size=(2, columns))
        mixed = np.sqrt(scenario.shared) * common + np.sqrt(1 - scenario.shared) * own
        pace, chance = np.where(same, common, mixed)
        factor = (level / level.mean())[tasks] * np.exp(WITHIN_TASK * pace - WITHIN_TASK**2 / 2)
        found.append(
            Sweep(
                model="simulated",
                settings=tuple(
                    Setting("simulated", {}, f"simulated:k={number}")
                    for number in range(len(law.speeds))
                ),
                tasks=tuple(f"task {task}" for task in tasks),
                indices=tuple(range(columns)),
                canvas=np.full(columns, CANVAS),
                accuracy=(norm.cdf(chance) < np.array(law.marks)[:, None]).astype(float),
                canvas_tokens=np.full((len(law.speeds), columns), float(CANVAS)),
                calls=np.outer(CANVAS / np.array(law.speeds), factor),
            )
        )
    return found


def claims(
    rows: Sequence[Sweep], weights: Float[np.ndarray, "draws samples"], entries: int = 1
) -> Bool[np.ndarray, "rows rows"]:
    """Return a matrix, True where the board would rank a row as surely faster than another."""
    drawn = [RowDraws(*drawn_means(row, weights)) for row in rows]
    names = [str(row % entries) for row in range(len(rows))]
    (found,) = compared([ACCURACY], drawn, names)
    reached = np.isfinite(found.speeds)
    surely: Bool[np.ndarray, "rows rows"] = found.surely_faster & reached[:, None] & reached
    return surely


def outcomes(
    scenario: Scenario, board: Board, boards: int, seed: int = 0, entries: int = 1
) -> list[Outcome]:
    """Return the claims of the ranks of ``boards`` simulated boards of ``entries`` entries."""
    rng = np.random.default_rng(seed)
    truth = np.array([true_speed(law) for law in scenario.rows])
    true = truth[:, None] > truth[None, :]
    weights = None
    found = []
    for _ in range(boards):
        rows = drawn_rows(scenario, board, rng)
        if weights is None:  # all boards have the same samples, and so the same resamples
            weights = drawn_weights(rows[0], board.resamples)
        claimed = claims(rows, weights, entries)
        found.append(
            Outcome(int((claimed & ~true).sum()), int((claimed & true).sum()), int(true.sum()))
        )
    return found


def line(scenario: Scenario, found: Sequence[Outcome]) -> str:
    """Return a line of the table, in Markdown."""
    false = sum(each.false > 0 for each in found)
    low, high = clopper_pearson(false, len(found))
    differences = sum(each.differences for each in found)
    power = f"{100 * sum(e.found for e in found) / differences:.1f} %" if differences else ""
    rate = f"{100 * false / len(found):.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    return f"| {scenario.title} | {rate} | {power} |"


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--smoke", action="store_true", help="A few small boards, in seconds.")
    parser.add_argument("--boards", type=int, default=1000, help="Boards per line (default: 1000).")
    parser.add_argument("--rows", type=int, default=8, help="Rows per board (default: 8).")
    parser.add_argument("--entries", type=int, default=1, help="Entries on the board (default: 1).")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="Bootstrap resamples.")
    parser.add_argument("--seed", type=int, default=0, help="Random seed of each line's boards.")
    asked = parser.parse_args(arguments)
    board = SMALL if asked.smoke else FULL._replace(resamples=asked.resamples)
    boards, rows = (3, 4) if asked.smoke else (asked.boards, asked.rows)
    start = time.perf_counter()
    print(
        f"{boards} boards a line: {rows} rows of {asked.entries} entries, {board.tasks} tasks of "
        f"{board.samples} samples, {board.resamples:,} resamples\n"
    )
    print("| rows | boards with a false claim (95 % interval) | true differences found |")
    print("|---|---|---|")
    for scenario in scenarios(rows):
        print(
            line(scenario, outcomes(scenario, board, boards, asked.seed, asked.entries)), flush=True
        )
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
