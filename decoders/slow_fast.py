"""SlowFast: explore with caution how far predictions are reliable, then fill that far fast.

A block is decoded in cycles.  In the slow phase, always of ``exploration`` calls, each call
estimates how many tokens from the cycle's start on are already taking shape; when the
estimates agree, the cycle ends there.  The fast phase fills the block up to that end.

Rule, with positions counted from the cycle's start:

* each slow call estimates the end ``1 + max {i open : c_i >= reach}``, or 1 if there is none;
  when the last ``window`` estimates have a standard deviation below ``spread``, the newest
  is the end; if they never do, it is the mean of the last ``window``, rounded down;
* fast calls follow while a position before the end is open; all but the first show the
  model nothing behind the end;
* every call commits ``{i open : c_i >= threshold}`` if these are two or more, else
  ``argmax c``; the slow ones in the rest of the block, the fast ones before the end.

A slow phase makes all its calls even if nothing is left to write, so no block takes fewer.
Defaults: exploration = 6, reach = 0.3, window = 2, spread = 1.0 tokens, threshold = 0.9.

Source: Wei et al., "Accelerating Diffusion Large Language Models with SlowFast Sampling"
(2025, arXiv:2506.10848), and its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import scatter_field, stack_field
from parallelbench.decoders.selection import as_wide, top
from parallelbench.model import Row
from parallelbench.ranges import nonnegative, probability, whole


@dataclass(slots=True, eq=False)
class Cycle:
    """The present cycle of a block; positions are counted from the block's start.

    Attributes:
        start: First position of the cycle: everything before is written.
        slow: Slow calls made; 0 again once the phase is over.
        end: End of the cycle; 0 as long as that is not known.
        estimates: The newest last.
        shown: Length of the canvas in the next call; None for all of it.
        exploring: True while a slow phase is under way.
    """

    start: Int[Tensor, ""]
    slow: Int[Tensor, ""]
    end: Int[Tensor, ""]
    estimates: Int[Tensor, " window"]
    shown: int | None = None
    exploring: bool = field(default=False)


class _Cycles(NamedTuple):
    """The cycles of many samples, one line each, and where their blocks lie."""

    start: Int[Tensor, "samples 1"]
    slow: Int[Tensor, "samples 1"]
    end: Int[Tensor, "samples 1"]
    estimates: Int[Tensor, "samples window"]
    low: Int[Tensor, "samples 1"]
    length: Int[Tensor, "samples 1"]
    offset: Int[Tensor, "samples length"]
    fast: Bool[Tensor, "samples 1"]


#: Of a slow phase, and of the estimates that are kept of it.
_MOST_STEPS = 10_000


@DECODERS.register("slow_fast")
@dataclass(frozen=True, kw_only=True)
class SlowFast(BatchDecoder):
    """Explore each cycle's end in a slow phase, then fill up to it in a fast one.

    Attributes:
        exploration: Calls of a slow phase, 1 to 10,000.
        reach: Least confidence of a position that counts towards the end estimate, in (0, 1].
        window: Number of estimates that must agree, 1 to 10,000.
        spread: Bound of their standard deviation, exclusive, in tokens, 0 or more.
        threshold: Least confidence of positions that are committed together, in (0, 1].
    """

    needs = frozenset({"token", "confidence", "shorter_rows"})
    adaptive = True
    labelled = ("threshold",)
    presets = {
        "slow-fast-paper": "exploration=6,reach=0.3,window=2,spread=1.0,threshold=0.9",
    }
    former_presets = {"slow-fast": "slow-fast-paper"}
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    exploration: int = whole(1, 6, most=_MOST_STEPS)
    reach: float = probability(0.3)
    window: int = whole(1, 2, most=_MOST_STEPS)
    spread: float = nonnegative(1.0, "tokens")
    threshold: float = probability(0.9)

    def most_steps(self, positions: int) -> int:
        """Return the steps of a cycle for each position: its slow phase, and one to write it."""
        return (self.exploration + 1) * positions

    def start(self, view: View) -> Cycle:
        """Return that no cycle has begun."""
        zero = view.canvas.new_zeros(())
        return Cycle(zero, zero, zero, view.canvas.new_zeros(self.window))

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the canvas, but from the second fast call on nothing after the cycle's end."""
        shown = slice(state.shown if view.step else None)
        return [Row(view.prompt, view.canvas[shown], view.open[shown])]

    def block_done(self, state: Any, view: View) -> bool:
        """Return True if nothing is open and no slow phase is under way."""
        return view.remaining == 0 and not state.exploring

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit by the phase that each sample is in, and move its cycle on."""
        width = batch.open.shape[1]
        token = as_wide(batch.statistics.token, width, 0.0)
        confidence = as_wide(batch.statistics.confidence, width, -math.inf)
        cycles = self._cycles(batch)
        behind = torch.where(cycles.fast, cycles.end, cycles.length)
        eligible = batch.open & (cycles.offset >= cycles.start) & (cycles.offset < behind)
        sure = eligible & (confidence >= self.threshold)
        several = sure.sum(dim=1, keepdim=True) >= 2
        chosen = torch.where(several, sure, top(confidence, eligible, 1))
        cycles = self._explored(cycles, eligible & (confidence >= self.reach))
        self._hand_back(batch, cycles, batch.open & ~chosen)
        return Updates(write=chosen, tokens=token)

    def _cycles(self, batch: StepBatch) -> _Cycles:
        """Return the cycles of all samples before this call."""
        device = batch.open.device
        windows = torch.tensor([view.window for view in batch.views], device=device)
        low, high = windows[:, :1], windows[:, 1:]
        begun = (batch.progress.step > 0)[:, None]
        start, slow, end = (
            stack_field(batch.states, name)[:, None] * begun for name in ("start", "slow", "end")
        )
        return _Cycles(
            start=start,
            slow=slow,
            end=end,
            estimates=stack_field(batch.states, "estimates"),
            low=low,
            length=high - low,
            offset=torch.arange(batch.open.shape[1], device=device) - low,
            fast=(slow == 0) & (end > 0),
        )

    def _explored(self, cycles: _Cycles, reached: Bool[Tensor, "samples length"]) -> _Cycles:
        """Return the cycles after this call's estimate, where one was made."""
        slow = torch.where(cycles.fast, 0, cycles.slow + 1)
        furthest = torch.where(reached, cycles.offset + 1, cycles.start + 1).amax(1, keepdim=True)
        estimates = torch.cat([cycles.estimates[:, 1:], furthest], dim=1)
        unknown = ~cycles.fast & (cycles.end == 0)
        estimates = torch.where(unknown, estimates, cycles.estimates)
        agree = (slow >= self.window) & (_deviation(estimates) < self.spread)
        last = slow == self.exploration
        made = torch.arange(self.window, 0, -1, device=slow.device) <= slow
        count = made.sum(dim=1, keepdim=True).clamp(min=1)
        mean = (estimates * made).sum(dim=1, keepdim=True) // count
        end = torch.where(unknown & last, mean, cycles.end)
        end = torch.where(unknown & agree, furthest, end)
        return cycles._replace(end=end, slow=torch.where(last, 0, slow), estimates=estimates)

    def _hand_back(
        self, batch: StepBatch, cycles: _Cycles, left: Bool[Tensor, "samples length"]
    ) -> None:
        """Begin the next cycle where this one is filled, and say what the next call shows."""
        over = cycles.slow == 0
        inside = left & (cycles.offset >= cycles.start) & (cycles.offset < cycles.end)
        filled = over & ~inside.any(dim=1, keepdim=True)
        start = torch.where(filled, cycles.end, cycles.start)
        end = torch.where(filled, 0, cycles.end)
        scatter_field(
            batch.states,
            start=start[:, 0],
            slow=cycles.slow[:, 0],
            end=end[:, 0],
            estimates=cycles.estimates,
        )
        short = torch.where(cycles.fast & ~filled, cycles.low + end, -1)
        values = torch.cat([short, cycles.slow], dim=1).tolist()
        for state, (shown, slow) in zip(batch.states, values, strict=True):
            state.shown = None if shown < 0 else shown
            state.exploring = slow > 0


def _deviation(estimates: Int[Tensor, "samples window"]) -> Float[Tensor, "samples 1"]:
    """Return the standard deviation of the estimates themselves, not of what they sample."""
    return estimates.double().std(dim=1, correction=0, keepdim=True)
