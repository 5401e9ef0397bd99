"""Schedules: the number of positions that each of a given number of steps commits.

The loop ends a decode after :data:`~parallelbench.decoder.STEPS_PER_TOKEN` steps per open
position, so no schedule takes more than that.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from fractions import Fraction

import torch
from jaxtyping import Float, Int
from torch import Tensor

from parallelbench.decoder import STEPS_PER_TOKEN, Progress

#: Steps of a block: a step of most that many writes nothing on any canvas.
MOST_STEPS = 100_000


def steps_allowed(steps: int, initial: int) -> int:
    """Return the number of ``steps`` that a block of ``initial`` open positions may take."""
    return min(steps, STEPS_PER_TOKEN * initial)


def even_count(progress: Progress, steps: int) -> Int[Tensor, "samples 1"]:
    """Return the number of positions that each sample commits now on an even schedule.

    n positions over T steps make ``floor(n / T)`` a step, and one more in each of the first
    ``n mod T``.

    Source:
        Nie et al., LLaDA (2025, arXiv:2502.09992), ``get_num_transfer_tokens`` of its code.
    """
    each = progress.initial.div(steps, rounding_mode="floor")
    return (each + (progress.step < progress.initial % steps))[:, None]


def final(progress: Progress, steps: int) -> Int[Tensor, "samples 1"]:
    """Return 1 for samples that take the last step of their block now, else 0."""
    allowed = (STEPS_PER_TOKEN * progress.initial).clamp(max=steps)
    return (progress.step >= allowed - 1).long()[:, None]


@functools.lru_cache(maxsize=256)
def published_shares(steps: int, eps: float, device: torch.device) -> Float[Tensor, " steps"]:
    """Return the share of the open positions that each step commits, in float32.

    From time t to time s it is ``1 - s / t``, as the authors' code computes it on the
    processor.  Rounding makes some steps commit one position fewer, and a later one more.
    """
    time = torch.linspace(1, eps, steps + 1)
    return (1 - time[1:] / time[:-1]).to(device)


@functools.lru_cache(maxsize=256)
def exact_shares(steps: int, eps: float, device: torch.device) -> Float[Tensor, " steps"]:
    """Return the same shares in float64, each the nearest to the exact one."""
    return torch.tensor(
        [float(share) for share in _exact(steps, eps)], dtype=torch.float64, device=device
    )


@functools.lru_cache(maxsize=64)
def published_counts(
    steps: int, eps: float, longest: int, device: torch.device
) -> Int[Tensor, "taken remaining"]:
    """Return the number of n open positions that each step commits, rounded as published.

    The last row is not used: the last step commits whatever is left.

    Args:
        steps: Steps of the block; the table has those of them that a block may take.
        eps: The time at the end.
        longest: The largest n.
        device: Device of the table.
    """
    taken = steps_allowed(steps, longest)
    shares = published_shares(steps, eps, torch.device("cpu"))[:taken]
    remaining = torch.arange(longest + 1, dtype=torch.float32)
    return (remaining * shares[:, None]).long().to(device)


@functools.lru_cache(maxsize=64)
def exact_counts(
    steps: int, eps: float, longest: int, device: torch.device
) -> Int[Tensor, "taken remaining"]:
    """Return the same table as the formula has it, without rounding: ``floor(n (1 - s / t))``."""
    shares = itertools.islice(_exact(steps, eps), steps_allowed(steps, longest))
    rows = [
        [n * share.numerator // share.denominator for n in range(longest + 1)] for share in shares
    ]
    return torch.tensor(rows, device=device)


def _exact(steps: int, eps: float) -> Iterator[Fraction]:
    # As it is written: 0.001 is a thousandth, not the binary number nearest to it.
    end = Fraction(repr(eps))
    time = (1 - (1 - end) * Fraction(step, steps) for step in range(steps + 1))
    return (1 - later / earlier for earlier, later in itertools.pairwise(time))
