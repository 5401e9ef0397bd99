"""Schedules over the positions of long answers: with no error, or with the least cost found.

A schedule is fixed in advance: sets of positions, written one set after the other without a look at
the tokens.  It makes no error if the positions of each set are independent of each other, whatever
stands at the positions written before.  The fewest sets are found exactly for small answers only;
here greedy schedules are built and then checked on drawn answers, so their number is an upper
bound as far as these answers show.

Source: theorem 1 of Kang et al., ParallelBench (arXiv:2510.04767), for the cost of a schedule; the
search is our own.
"""

from __future__ import annotations

import math
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
from parallelbench.distributions.contract import AnswerDistribution

Steps = tuple[tuple[int, ...], ...]

#: Bits below this are rounding.
ROUNDING = 1e-7
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


def dissected(positions: Sequence[int]) -> list[int]:
    """Return ``positions`` with the middle one first, then the middles of both halves, and so on.

    Example:
        >>> dissected([0, 1, 2, 3, 4, 5, 6])
        [3, 1, 5, 0, 2, 4, 6]
    """
    order: list[int] = []
    waiting = [list(positions)]
    while waiting:
        part = waiting.pop(0)
        if part:
            middle = len(part) // 2
            order.append(part[middle])
            waiting += [part[:middle], part[middle + 1 :]]
    return order


def error_free_schedule(
    distribution: AnswerDistribution, canvas: Int[np.ndarray, " length"], *, seed: int = 0
) -> ErrorFreeSchedule:
    """Return the shortest schedule without an error among some greedy ones.

    A greedy schedule puts into each step all positions, in a given order, that are independent of
    those already in it.  The orders are from left to right, and by halves.

    Args:
        distribution: Distribution of the right answers.
        canvas: Token ids, with the mask id at open positions.
        seed: Random seed of the drawn answers.
    """
    varying = varying_positions(distribution, canvas)
    uniforms = np.random.default_rng(seed).random((CHECKED, distribution.length))
    answers = distribution.draw(np.repeat(canvas[None], CHECKED, axis=0), uniforms)
    found = [
        _Greedy(distribution, canvas, answers).schedule(order)
        for order in (list(varying), dissected(varying))
    ]
    return ErrorFreeSchedule(min(found, key=len), CHECKED)


class _Greedy:
    """Builds one schedule.

    Args:
        distribution: Distribution of the right answers.
        canvas: Canvas at the start.
        answers: Drawn answers.
    """

    def __init__(
        self,
        distribution: AnswerDistribution,
        canvas: Int[np.ndarray, " length"],
        answers: Int[np.ndarray, "answers length"],
    ) -> None:
        self._distribution = distribution
        self._answers = answers
        self._canvases = np.repeat(canvas[None], len(answers), axis=0)
        self._rng = np.random.default_rng(0)

    def schedule(self, order: Sequence[int]) -> Steps:
        """Return the steps of the schedule that prefers positions early in ``order``."""
        waiting = list(order)
        steps = []
        while waiting:
            step = self._step(waiting)
            steps.append(tuple(sorted(step)))
            self._canvases[:, step] = self._answers[:, step]
            waiting = [position for position in waiting if position not in step]
        return tuple(steps)

    def _step(self, waiting: Sequence[int]) -> list[int]:
        bits = position_entropies(self._distribution, self._distribution.condition(self._canvases))
        # A position that is certain for every drawn answer depends on nothing.
        step = [position for position in waiting if bits[:, position].max() <= ROUNDING]
        pairs = _PairTest(self._distribution, self._canvases[0], self._rng)
        chosen: list[int] = []
        for position in waiting:
            if position not in step and self._joins(position, chosen, bits, pairs):
                chosen.append(position)
        # One answer chose them; the others may know better.
        while len(chosen) > 1 and not self._independent(chosen, bits):
            chosen.pop()
        return step + chosen

    def _joins(
        self, position: int, chosen: Sequence[int], bits: np.ndarray, pairs: _PairTest
    ) -> bool:
        """Test a position against those in the step, given the first drawn answer."""
        if not chosen:
            return True
        nearest = sorted(chosen, key=lambda other: abs(other - position))[:_NEAREST]
        return all(pairs.independent(position, other) for other in nearest) and self._independent(
            [*chosen, position], bits[:1]
        )

    def _independent(self, positions: Sequence[int], bits: np.ndarray) -> bool:
        for canvas, alone in zip(self._canvases, bits, strict=False):
            joint = self._distribution.joint_entropy(canvas, positions)
            if joint is None or math.fsum(alone[list(positions)].tolist()) - joint > ROUNDING:
                return False
        return True


#: Positions of a step that a further one is tested against, one by one.
_NEAREST = 4
#: Pairs of values on which two positions are compared.
_VALUES = 4


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

    def independent(self, one: int, other: int) -> bool:
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
