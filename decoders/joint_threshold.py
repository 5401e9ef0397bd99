"""Joint threshold: fill what is sure enough and, in the same call, correct what was written.

Rule, in each call:

* while the block has open positions, commit ``{i open : c_i > threshold}``, or ``argmax c``
  if that is empty;
* always overwrite ``{i written : t_i is another token, c_i > edit}`` with t_i, in the block
  and not where the canvas was filled before the start.

A full block gets further calls until one changes nothing, ``after`` at most; so a block of n
open positions takes n + after calls at most.  What the last of them overwrites stays written.
It reads what the model says of written positions.  LLaDA2.1 is trained to say there what it
would write now; other masked models are not, and may say anything.
Defaults: threshold = 0.5, edit = 0.0, after = 16, as sglang serves it.  The model's own code
has 0.95 and 0.9; its quality mode 0.7 and 0.5, its speed mode 0.5 and 0.

Source: LLaDA2.1 (Ant Group, 2026), mask-to-token and token-to-token decoding, by its
``generate`` (``max_post_steps``; in ``remask/modeling_llada2_moe.py`` of synsis/remasked_DLM at
1fe25ab) and sglang's ``JointThreshold`` (``max_post_edit_steps``; at 17d5721), both read
2026-11-30; without the latter's optional penalty on repeating the token before.  sglang writes
the same tokens; it makes one more call per block, which stores keys and values, and another
where a block still changes in the last call that may overwrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import (
    canvases,
    in_window,
    scatter_field,
    stack_field,
    writable,
)
from parallelbench.decoders.selection import passing_or_best
from parallelbench.model import Row
from parallelbench.ranges import fraction, probability, whole


@dataclass(slots=True, eq=False)
class Looks:
    """State of a sample in its block.

    Attributes:
        writable: Positions that may be written.
        after: Calls so far in which the block was full.
        finished: True if such a call changed nothing, or was the last.
    """

    writable: Bool[Tensor, " length"]
    after: Int[Tensor, ""]
    finished: bool = False


@DECODERS.register("joint_threshold")
@dataclass(frozen=True, kw_only=True)
class JointThreshold(BatchDecoder):
    """Commit sure positions, and overwrite tokens that the model now predicts otherwise.

    Attributes:
        threshold: Confidence above which an open position is filled, in (0, 1].
        edit: Confidence above which another token is overwritten, in [0, 1]; 1 never overwrites.
        after: Most calls on a full block, 0 or more; 0 ends the block as soon as it is full.
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    remasks = True
    labelled = ("threshold", "edit")
    presets = {
        "llada-2.1-quality": "threshold=0.7,edit=0.5,after=16,block_length=32",
        "llada-2.1-speed": "threshold=0.5,edit=0.0,after=16,block_length=32",
    }
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    threshold: float = probability(0.5)
    edit: float = fraction(0.0)
    after: int = whole(0, 16, "calls")

    def most_steps(self, positions: int) -> int:
        """Return the steps of one-token blocks: one fills each, the others may overwrite it."""
        return (self.after + 1) * positions

    def start(self, view: View) -> Looks:
        """Return the state of a sample whose block was never full."""
        return Looks(writable=writable(view), after=view.canvas.new_zeros(()))

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Ask for all positions of the block, written or not."""
        return [Row(view.prompt, view.canvas, in_window(view, state.writable))]

    def block_done(self, state: Any, view: View) -> bool:
        """Return True once the block is full and no further call may change it."""
        return view.remaining == 0 and (self.after == 0 or state.finished)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Fill and overwrite."""
        token, confidence = batch.statistics.token, batch.statistics.confidence
        filled = passing_or_best(confidence, confidence > self.threshold, batch.open)
        # Where nothing was asked, confidence is -inf.
        edited = ~batch.open & (token != canvases(batch)) & (confidence > self.edit)
        full = ~batch.open.any(dim=1)
        after = stack_field(batch.states, "after") * (batch.progress.step > 0) + full
        scatter_field(batch.states, after=after)
        finished = full & ((after >= self.after) | ~edited.any(dim=1))
        for state, over in zip(batch.states, finished.tolist(), strict=True):
            state.finished = over
        return Updates(write=filled | edited, tokens=token)
