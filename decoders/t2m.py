"""T2M: open doubtful tokens again instead of overwriting them on the spot.

An overwritten token is as rash as the one before it; an open position is predicted anew
with all the others, and written only when it is sure.

Rule, in each call:

* while the block has open positions, commit ``{i open : c_i > threshold}``, or ``argmax c``
  if that is empty;
* of the positions written before this call, open those again that ``trigger`` finds doubtful:
  ``low_prob``: the probability of the written token is below ``limit``;
  ``other``: another token is likelier, and its probability above ``limit``;
  ``drop``: the probability of the written token fell by more than ``limit`` since the call
  before;
* but no more than a quarter of them (one at least), the worst first, and none more than 5
  times.

A full block is predicted again until a call opens nothing, or until it is full after 16 calls.
Nothing is remembered of a call in which nothing of the block was written before.  So ``drop``
compares the second call of a block with nothing and opens nothing in it, and a block that its
first call fills has no third; and in a block of one position the 5 times are counted anew after
each opening.
Like ``joint_threshold`` this is meant for models that are trained to predict written positions
too.
Defaults: threshold = 0.5, trigger = low_prob, limit = 0.5, 0.9 and 0.3 for the three triggers.

Source: "remasked_DLM" (2026, arXiv:2604.18738), targeted re-masking for LLaDA2.1, by its
code, ``remask/modeling_remask.py`` of github.com/synsis/remasked_DLM, commit 1fe25ab, read
2026-11-30: its description names 0.1 for ``low_prob`` and 3 times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import (
    canvases,
    in_window,
    in_windows,
    of_written,
    revised,
    scatter_field,
    stack_field,
    writable,
)
from parallelbench.decoders.selection import leading, passing_or_best, ranking
from parallelbench.model import Row
from parallelbench.ranges import choice, fraction, probability

Trigger = Literal["low_prob", "other", "drop"]

_LIMITS: dict[Trigger, float] = {"low_prob": 0.5, "other": 0.9, "drop": 0.3}
_MOST_TIMES = 5
_MOST_LOOKS = 16


@dataclass(slots=True, eq=False)
class Doubts:
    """State of each position of a sample.

    Attributes:
        writable: Positions that may be written.
        times: Number of times that each position was opened again.
        held: The probability of what is written there, one call earlier; -inf where that
            call is not remembered.
        after: Number of calls on the full block.
        settled: True if the last call on the full block opened nothing.
    """

    writable: Bool[Tensor, " length"]
    times: Int[Tensor, " length"]
    held: Float[Tensor, " length"]
    after: Int[Tensor, ""]
    settled: Bool[Tensor, ""]


class _Verdict(NamedTuple):
    """The doubtful positions, and their badness: higher is worse."""

    doubtful: Bool[Tensor, "samples length"]
    badness: Float[Tensor, "samples length"]


@DECODERS.register("t2m")
@dataclass(frozen=True, kw_only=True)
class T2m(BatchDecoder):
    """Commit sure positions, and open positions again that have become doubtful.

    Attributes:
        threshold: Confidence above which an open position is filled, in (0, 1].
        trigger: Criterion of a doubtful token.
        limit: The trigger's own limit, in [0, 1]; None takes the published one.
    """

    needs = frozenset({"token", "confidence", "distribution"})
    adaptive = True
    remasks = True
    labelled = ("threshold", "trigger")
    presets = {
        "t2m-low-prob": "trigger=low_prob,limit=0.5,threshold=0.5,block_length=32",
        "t2m-other": "trigger=other,limit=0.9,threshold=0.5,block_length=32",
        "t2m-drop": "trigger=drop,limit=0.3,threshold=0.5,block_length=32",
    }
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    threshold: float = probability(0.5)
    trigger: Trigger = choice("low_prob", "other", "drop")
    limit: float | None = fraction(None)

    def most_steps(self, positions: int) -> int:
        """Return the steps of one-token blocks that are opened in every look."""
        return (1 + 2 * _MOST_LOOKS) * positions

    def start(self, view: View) -> Doubts:
        """Return that nothing was doubted yet."""
        nothing = torch.zeros_like(view.canvas)
        none = nothing.new_zeros(())
        return Doubts(
            writable(view), times=nothing, held=nothing.float(), after=none, settled=none.bool()
        )

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Ask for all positions of the block, written or not."""
        return [Row(view.prompt, view.canvas, in_window(view, state.writable))]

    def block_done(self, state: Any, view: View) -> bool:
        """Return True once the block is full, and settled or called on often enough."""
        return view.remaining == 0 and bool(state.settled | (state.after >= _MOST_LOOKS))

    def step_batch(self, batch: StepBatch) -> Updates:
        """Fill, and open again."""
        confidence = batch.statistics.confidence
        filled = passing_or_best(confidence, confidence > self.threshold, batch.open)
        held = of_written(batch, batch.statistics.distribution)
        written = in_windows(batch, stack_field(batch.states, "writable")) & ~batch.open
        full = ~batch.open.any(dim=1)
        opened = self._opened(batch, held, written)
        remembered = written.any(dim=1, keepdim=True)
        scatter_field(
            batch.states,
            times=(stack_field(batch.states, "times") + opened) * remembered,
            held=held.where(written, confidence).where(remembered, -torch.inf),
            after=stack_field(batch.states, "after") * (batch.progress.step > 0) + full,
            settled=full & ~opened.any(dim=1),
        )
        return revised(batch, filled, opened)

    def _opened(
        self,
        batch: StepBatch,
        held: Float[Tensor, "samples length"],
        written: Bool[Tensor, "samples length"],
    ) -> Bool[Tensor, "samples length"]:
        """Return the most doubtful of the written positions."""
        verdict = self._verdict(batch, held)
        often = stack_field(batch.states, "times") >= _MOST_TIMES
        doubtful = written & verdict.doubtful & ~often
        most = (written.sum(dim=1, keepdim=True) // 4).clamp(min=1)
        return leading(ranking(verdict.badness, doubtful), most, doubtful)

    def _verdict(self, batch: StepBatch, held: Float[Tensor, "samples length"]) -> _Verdict:
        limit = _LIMITS[self.trigger] if self.limit is None else self.limit
        if self.trigger == "low_prob":
            return _Verdict(held < limit, -held)
        if self.trigger == "drop":
            fall = stack_field(batch.states, "held") - held
            return _Verdict(fall > limit, fall)
        confidence = batch.statistics.confidence
        other = batch.statistics.token != canvases(batch)
        return _Verdict(other & (confidence > limit), confidence)
