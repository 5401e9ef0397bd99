"""Schedules over the positions of long answers: with no error, or with the least cost found.

A schedule is fixed in advance: sets of positions, written one set after the other without a look at
the tokens.  It makes no error if the positions of each set are independent of each other, whatever
stands at the positions written before.  The fewest sets are found exactly for small answers only;
here a schedule is built step by step and checked on drawn answers, so its length is an upper bound
as far as these answers show.

Source: theorem 1 of Kang et al., ParallelBench (arXiv:2510.04767), for the cost of a schedule; the
search is our own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from parallelbench.analysis.theory.exact_bits import (
    BitsEstimate,
    partition_bits,
    position_entropies,
)
from parallelbench.analysis.theory.independent_sets import (
    ORDERS,
    ROUNDING,
    IndependentSets,
    Order,
    dissected,
)
from parallelbench.distributions.contract import AnswerDistribution

Steps = tuple[tuple[int, ...], ...]

#: Answers on which a schedule is checked.
CHECKED = 16


class ErrorFreeSchedule(NamedTuple):
    """A schedule without an error on the drawn answers.

    Attributes:
        steps: Positions of each step.
        answers: Number of drawn answers on which every step was independent.
    """

    steps: Steps
    answers: int


def varying_positions(
    distribution: AnswerDistribution, canvas: Int[np.ndarray, " length"]
) -> tuple[int, ...]:
    """Return the open positions at which the right answers differ."""
    bits = position_entropies(distribution, distribution.condition(canvas[None]))[0]
    return tuple(np.flatnonzero(bits > ROUNDING).tolist())


def error_free_schedule(
    distribution: AnswerDistribution, canvas: Int[np.ndarray, " length"], *, seed: int = 0
) -> ErrorFreeSchedule:
    """Return the shortest schedule without an error among some that are built step by step.

    A step takes all certain positions, and of the others, in some order of preference, those that
    are independent of each other on all drawn answers.

    Args:
        distribution: Distribution of the right answers.
        canvas: Token ids, with the mask id at open positions.
        seed: Random seed of the drawn answers.
    """
    uniforms = np.random.default_rng(seed).random((CHECKED, distribution.length))
    canvases = np.repeat(canvas[None], CHECKED, axis=0)
    answers = distribution.draw(canvases, uniforms)
    varying = varying_positions(distribution, canvas)
    drawn = _DrawnAnswers(distribution, canvases, answers)
    # One by one makes no error.
    best: Steps = tuple((position,) for position in varying)
    for order in ORDERS:
        steps = _steps_within(drawn, varying, order, most=len(best))
        best = best if steps is None else steps
        if len(best) <= 2:
            break  # the first order finds one step wherever one is enough
    return ErrorFreeSchedule(best, CHECKED)


class _DrawnAnswers(NamedTuple):
    """Drawn answers on which a schedule is checked.

    Attributes:
        distribution: Distribution of the right answers.
        canvases: Canvas at the start, once for each answer.
        answers: The drawn answers.
    """

    distribution: AnswerDistribution
    canvases: Int[np.ndarray, "answers length"]
    answers: Int[np.ndarray, "answers length"]


def _steps_within(
    drawn: _DrawnAnswers, varying: Sequence[int], order: Order, most: int
) -> Steps | None:
    """Return the steps for an order of preference; None if there are ``most`` or more."""
    canvases, waiting = drawn.canvases.copy(), list(varying)
    steps: list[tuple[int, ...]] = []
    while waiting:
        if len(steps) + 1 >= most:
            return None
        pairs = _PairTest(drawn.distribution, canvases[0], np.random.default_rng(0))
        sets = IndependentSets(drawn.distribution, canvases, waiting)
        step = sets.chosen(order, joins=pairs.joins)
        steps.append(tuple(sorted(step)))
        canvases[:, step] = drawn.answers[:, step]
        waiting = [position for position in waiting if position not in step]
    return tuple(steps)


#: Positions of a step that a further one is tested against, one by one.
_NEAREST = 2
#: Pairs of values on which two positions are compared.
_VALUES = 2


class _PairTest:
    """Tests pairs of positions for dependence in whole numbers.

    Dependence that decays with distance, as along a chain, is soon below what floating-point
    entropies show.

    Args:
        distribution: Distribution of the right answers.
        canvas: A canvas that some right answer fits.
        rng: Generator of the compared values.
    """

    def __init__(
        self,
        distribution: AnswerDistribution,
        canvas: Int[np.ndarray, " length"],
        rng: np.random.Generator,
    ) -> None:
        self._distribution = distribution
        self._canvas = canvas
        rows = np.repeat(canvas[None], 2 * _VALUES, axis=0)
        self._answers = distribution.draw(rows, rng.random(rows.shape))
        self._weights: dict[tuple[tuple[int, int], ...], int] = {}

    def joins(self, position: int, chosen: Sequence[int]) -> bool:
        """Return False if a position depends on the nearest ones of a step."""
        nearest = sorted(chosen, key=lambda other: abs(other - position))[:_NEAREST]
        return all(self._independent(position, other) for other in nearest)

    def _independent(self, one: int, other: int) -> bool:
        """Return False if some drawn values of the two positions show that they are dependent."""
        for number in range(_VALUES):
            values = (
                (one, int(self._answers[number, one])),
                (
                    other,
                    int(self._answers[_VALUES + number, other]),
                ),
            )
            joint = self._weight(*values) * self._weight()
            if joint != self._weight(values[0]) * self._weight(values[1]):
                return False
        return True

    def _weight(self, *values: tuple[int, int]) -> int:
        if values not in self._weights:
            canvas = self._canvas.copy()
            for position, token in values:
                canvas[position] = token
            self._weights[values] = self._distribution.weight(canvas)
        return self._weights[values]


class NamedSchedule(NamedTuple):
    """The cost of a schedule of a kind.

    Attributes:
        kind: ``blocks``: consecutive positions; ``strided``: every n-th position; ``random``; or
            ``best found``.
        steps: Number of steps.
        bits: Cost of the schedule.
        partition: Positions of each step.
    """

    kind: str
    steps: int
    bits: BitsEstimate
    partition: Steps


def named_schedules(
    distribution: AnswerDistribution,
    varying: Sequence[int],
    steps: int,
    *,
    draws: int = 64,
    seed: int = 0,
) -> list[NamedSchedule]:
    """Return schedules of ``steps`` steps and their costs, the best one found last.

    Args:
        distribution: Distribution of the right answers.
        varying: Positions that differ between right answers; others cost nothing.
        steps: Number of steps, at most the number of varying positions.
        draws: Number of drawn answers that a cost is averaged over.
        seed: Random seed of the draws and of the search.
    """
    rng = random.Random(seed)  # noqa: S311  a search that is the same everywhere
    certain = tuple(sorted(set(range(distribution.length)) - set(varying)))

    def costed(kind: str, partition: Steps, draws: int = draws) -> NamedSchedule:
        whole = ((*certain, *partition[0]), *partition[1:])
        bits = partition_bits(distribution, whole, draws=draws, seed=seed)
        return NamedSchedule(kind, steps, bits, partition)

    shuffled = rng.sample(list(varying), len(varying))
    found = [
        costed("blocks", _blocks(varying, steps)),
        costed("strided", tuple(tuple(varying[first::steps]) for first in range(steps))),
        costed("random", tuple(tuple(sorted(part)) for part in _blocks(shuffled, steps))),
    ]
    halves = _by_halves(varying, steps)
    tried = found if halves is None else [*found, costed("by halves", halves)]
    best = min(tried, key=_cost)
    if best.bits.bits > ROUNDING:
        moved = costed("best found", best.partition, _SEARCH_DRAWS)
        for _ in range(_MOVES):
            further = costed("best found", _moved(moved.partition, rng), _SEARCH_DRAWS)
            moved = min(moved, further, key=_cost)
        best = min(best, costed("best found", moved.partition), key=_cost)
    return [*found, best._replace(kind="best found")]


#: Changes that the search for the best schedule tries, and the draws that compare them.
_MOVES, _SEARCH_DRAWS = 24, 16


def _cost(schedule: NamedSchedule) -> float:
    return schedule.bits.bits


def _blocks(positions: Sequence[int], steps: int) -> Steps:
    bounds = [len(positions) * step // steps for step in range(steps + 1)]
    return tuple(tuple(positions[low:high]) for low, high in pairwise(bounds))


def _by_halves(positions: Sequence[int], steps: int) -> Steps | None:
    """Return the middles in the first steps and the rest in the last one; None if it is empty."""
    order = dissected(positions)
    parts = [order[2**step - 1 : 2 ** (step + 1) - 1] for step in range(steps - 1)]
    parts.append(order[2 ** (steps - 1) - 1 :])
    return tuple(tuple(sorted(part)) for part in parts) if parts[-1] else None


def _moved(partition: Steps, rng: random.Random) -> Steps:
    """Return ``partition`` with one position moved to another step, or two of them exchanged."""
    parts = [list(part) for part in partition]
    source, target = rng.sample(range(len(parts)), 2)
    position = parts[source].pop(rng.randrange(len(parts[source])))
    if not parts[source] or rng.random() < 0.5:  # no step may become empty
        parts[source].append(parts[target].pop(rng.randrange(len(parts[target]))))
    parts[target].append(position)
    return tuple(tuple(sorted(part)) for part in parts)
