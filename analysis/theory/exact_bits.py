"""Entropy, dependence and the cost of schedules, from the conditionals of an answer distribution.

Nothing is listed: these figures exist at any length.  The total correlation of one step is exact.
A schedule of several steps, and the dual total correlation, average exact conditional entropies
over drawn answers, so they have a standard error; where the answers are no more than the draws,
all answers are taken and it is 0.

Source: Kang et al., ParallelBench (arXiv:2510.04767), section 4; Han (1978), "Nonnegative entropy
measures of multivariate symmetric correlations", for the dual total correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from parallelbench.analysis.theory.bounds import check_partition
from parallelbench.distributions.contract import AnswerDistribution, Conditionals
from parallelbench.distributions.logarithms import natural_logarithms

#: Canvases conditioned on in one call.
_ROWS = 64

_Canvases = Int[np.ndarray, "rows length"]


class BitsEstimate(NamedTuple):
    """A mean over answers, in bits.

    Attributes:
        bits: The mean.
        standard_error: Standard error of the mean; 0 if every answer was taken.
        answers: Number of answers averaged over.
    """

    bits: float
    standard_error: float
    answers: int


def position_entropies(
    distribution: AnswerDistribution, conditionals: Conditionals
) -> Float[np.ndarray, "rows length"]:
    """Return the entropy of each position given each canvas, in bits."""
    shares = conditionals.probabilities
    logs = natural_logarithms(np.where(shares > 0, shares, 1.0))
    starts = np.searchsorted(distribution.entries.positions, np.arange(distribution.length))
    bits = -np.add.reduceat(shares * logs, starts, axis=1) / math.log(2)
    return np.asarray(np.maximum(bits, 0.0))


def one_step_bits(distribution: AnswerDistribution, canvas: Int[np.ndarray, " length"]) -> float:
    r"""Return the total correlation of the open positions of a canvas, in bits.

    .. math:: C = \sum_j H(Y_j) - H(Y)

    It is the least cost of writing all of them in one step, and exact up to rounding.

    Raises:
        ValueError: No right answer fits the canvas.
    """
    conditionals = distribution.condition(canvas[None])
    _check_fit(conditionals)
    alone = math.fsum(position_entropies(distribution, conditionals)[0].tolist())
    return max(0.0, alone - float(conditionals.entropies[0]))


def dual_total_correlation(
    distribution: AnswerDistribution, *, draws: int = 256, seed: int = 0
) -> BitsEstimate:
    r"""Return the dual total correlation of all positions, in bits.

    .. math:: D = H(Y) - \sum_j H(Y_j \mid Y_{-j})

    Args:
        distribution: Distribution of the right answers.
        draws: Number of answers to draw, at least 2.
        seed: Random seed of the draws.

    Raises:
        ValueError: Fewer than 2 draws.
    """
    total = _joint_entropy(distribution)
    places = np.arange(distribution.length)

    def value(answer: Int[np.ndarray, " length"]) -> float:
        canvases = np.tile(answer, (len(places), 1))
        canvases[places, places] = distribution.mask_id
        return total - float(_open_bits(distribution, canvases).sum())

    return _mean(distribution, lambda answers: [value(each) for each in answers], draws, seed)


def partition_bits(
    distribution: AnswerDistribution,
    partition: Sequence[Sequence[int]],
    *,
    draws: int = 256,
    seed: int = 0,
) -> BitsEstimate:
    r"""Return the least cost of writing the sets of positions of a schedule step by step, in bits.

    .. math:: L_T = \sum_t \sum_{j \in S_t} H(Y_j \mid Y_{S_{<t}}) - H(Y)

    Args:
        distribution: Distribution of the right answers.
        partition: Positions of each step, in order; together each position once.
        draws: Number of answers to draw, at least 2.
        seed: Random seed of the draws.

    Raises:
        ValueError: Fewer than 2 draws, or sets that are no partition of the positions.

    Source:
        ParallelBench, theorem 1.
    """
    steps = tuple(tuple(step) for step in partition)
    check_partition(steps, distribution.length)
    masked = np.full((1, distribution.length), distribution.mask_id)
    joint = distribution.joint_entropy(masked[0], steps[0])
    # Where the joint entropy of the first step is known, its cost needs no draws.
    known = 0 if joint is None else 1
    first = 0.0
    if joint is not None:
        alone = position_entropies(distribution, distribution.condition(masked))[0]
        first = max(0.0, math.fsum(alone[list(steps[0])].tolist()) - joint)

    def values(answers: _Canvases) -> list[float]:
        canvases = np.full_like(answers, distribution.mask_id)
        for step in steps[:known]:
            canvases[:, list(step)] = answers[:, list(step)]
        bits = np.full(len(answers), first)
        for number, step in enumerate(steps[known:]):
            chosen = list(step)
            conditionals = distribution.condition(canvases)
            if number == 0:
                bits -= conditionals.entropies
            bits += position_entropies(distribution, conditionals)[:, chosen].sum(axis=1)
            canvases[:, chosen] = answers[:, chosen]
        return [float(each) for each in bits]

    return _mean(distribution, values, draws, seed)


def _mean(
    distribution: AnswerDistribution,
    values: Callable[[_Canvases], list[float]],
    draws: int,
    seed: int,
) -> BitsEstimate:
    if draws < 2:
        raise ValueError(f"a standard error needs at least 2 draws, got draws={draws}")
    masked = np.full((1, distribution.length), distribution.mask_id)
    count = distribution.count(masked[0])
    if count <= draws:
        listed = list(distribution.iterate())
        answers = np.array([row for row, _ in listed])
        shares = np.array([weight for _, weight in listed], dtype=float)
        shares /= shares.sum()
    else:
        uniforms = np.random.default_rng(seed).random((draws, distribution.length))
        answers = distribution.draw(np.repeat(masked, draws, axis=0), uniforms)
        shares = np.full(draws, 1 / draws)
    found = np.array(
        [
            each
            for low in range(0, len(answers), _ROWS)
            for each in values(answers[low : low + _ROWS])
        ]
    )
    mean = float(shares @ found)
    # A cost is never negative; rounding may be.
    bits = max(0.0, mean)
    if count <= draws:
        return BitsEstimate(bits, 0.0, count)
    return BitsEstimate(bits, float(found.std(ddof=1)) / math.sqrt(draws), draws)


def _joint_entropy(distribution: AnswerDistribution) -> float:
    masked = np.full((1, distribution.length), distribution.mask_id)
    return float(distribution.condition(masked).entropies[0])


def _open_bits(distribution: AnswerDistribution, canvases: _Canvases) -> Float[np.ndarray, " rows"]:
    """Return the joint entropy of the open positions of each canvas."""
    parts = [
        distribution.condition(canvases[low : low + _ROWS]).entropies
        for low in range(0, len(canvases), _ROWS)
    ]
    return np.concatenate(parts)


def _check_fit(conditionals: Conditionals) -> None:
    if not conditionals.fits.all():
        raise ValueError("no right answer fits the canvas, so its positions have no dependence")
