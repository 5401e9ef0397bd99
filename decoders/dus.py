"""DUS: commit dilated groups, coarse to fine, in an order that no prediction can change.

The first group stands as far apart as the window allows, so its members depend on each other
little; each later one fills the gaps between those before it.  A window of B positions takes
about log B calls, independent of the predictions.

Rule: in a window of B positions, with ``R = ceil(log_base B)`` and the strides
``s_r = max(1, floor(B / base^r))``, group r of 1 ... R holds the offsets that are multiples of
``s_r`` and in no group before.  If the last group is smaller than the one before, the two are
one.  Step r commits group r.  A member less sure than ``skip_below`` waits for the next
group; the last group takes all that wait.
Defaults: base = 2, skip_below = 0 (no position waits), one window.  The published settings vary
``block_length``: 2, 4, 8, 16, 32 tokens in 1, 2, 3, 4, 5 calls.

The authors' code, and that of the public board with its threshold of 0.3, never comes back to a
member that was not sure enough: its position is still open in the reply.  Here it is written
with a later group, in the same number of calls, and what is predicted after that sees it.

At base 2 the last group is empty, and so no call, in every window whose length is no power
of 2: such a window takes ``floor(log2 B)`` calls.  Where a canvas is pre-filled, a group with
no open position is left out, and makes no call either.

Source: Luxembourg et al., "Plan for Speed: Dilated Scheduling for Masked Diffusion Language
Models" (2025, arXiv:2506.19037), and its code, ``generate_scheduled`` in ``generate.py`` of
github.com/omerlux/DUS, commit abd7723, read 2026-11-30.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates
from parallelbench.decoders.batched import first_open, window_bounds
from parallelbench.ranges import fraction, whole


@DECODERS.register("dus")
@dataclass(frozen=True, kw_only=True)
class DUS(BatchDecoder):
    """Commit evenly spaced positions: every ``B / base``-th, then every ``B / base**2``-th ...

    Attributes:
        base: Ratio of the spacings of successive groups, 2 or more.
        skip_below: Members whose confidence is below this wait for the next group, in
            [0, 1]; at 0 none waits.
    """

    needs = frozenset({"token", "confidence"})
    labelled = ("base",)
    grid = "block_length=1|2|4|8|16|32,skip_below=0.3"

    base: int = whole(2, 2)
    skip_below: float = fraction(0.0)

    @property
    def adaptive(self) -> bool:  # type: ignore[override]  # follows the threshold
        """True if predictions decide which positions wait; at 0 none does."""
        return self.skip_below > 0

    @property
    def scheduled(self) -> bool:
        """Every group takes its call, whoever waits."""
        return True

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the group whose turn it is, with what waited; of that, what is sure enough."""
        low, high = window_bounds(batch)
        position = torch.arange(batch.open.shape[1], device=batch.open.device)
        inside = (position >= low) & (position < high)
        longest = max(view.window[1] - view.window[0] for view in batch.views)
        group = dilated_groups(position - low, high - low, self.base, longest)
        turn = _turns(group, first_open(batch.views, batch.open) & inside)
        step = batch.progress.step[:, None]
        due = batch.open & (turn <= step)
        last = ~(batch.open & (turn > step)).any(dim=1, keepdim=True)
        sure = batch.statistics.confidence >= self.skip_below
        return Updates(write=due & (sure | last), tokens=batch.statistics.token)


def dilated_groups(
    offset: Int[Tensor, "samples length"],
    size: Int[Tensor, "samples 1"],
    base: int,
    longest: int,
) -> Int[Tensor, "samples length"]:
    """Return the group of every offset of a window, counted from 0.

    Args:
        offset: Within the window of each sample; those outside it get some group as well.
        size: Positions of each window.
        base: Ratio of the spacings of successive groups.
        longest: The largest of ``size``.
    """
    group = torch.full_like(offset, -1)
    count = torch.zeros_like(size)
    power, rank = 1, 0
    while rank == 0 or power < longest:
        count += power < size
        power *= base
        stride = size.div(power, rounding_mode="floor").clamp(min=1)
        group = group.masked_fill((group < 0) & (offset % stride == 0), rank)
        rank += 1
    inside = (offset >= 0) & (offset < size)
    last = (group == count - 1) & inside
    before = (group == count - 2) & inside
    merged = last.sum(dim=1, keepdim=True) < before.sum(dim=1, keepdim=True)
    return torch.where(last & merged, count - 2, group)


def _turns(
    group: Int[Tensor, "samples length"],
    is_open: Bool[Tensor, "samples length"],
) -> Int[Tensor, "samples length"]:
    """Return the step of every position: its group's rank among those that have an open one."""
    present = torch.zeros_like(group).scatter_reduce(1, group, is_open.to(group.dtype), "amax")
    return (present.cumsum(dim=1) - 1).gather(1, group)
