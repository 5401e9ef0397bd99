"""WINO: draft widely, verify each token as if it were missing, and take doubtful ones back.

A second copy of the block, all masks, stands behind the canvas: the *shadow*.  Each of its
positions stands where its original does and sees all of the canvas except that original, so
it predicts the written token given everything else.

Rule, in each call, with n open positions:

* ``S = {i open : c_i > draft}``, no more than the ``min(max(int(0.7 n), 5), 20)`` surest, or
  ``argmax c`` if none passes; commit S;
* if S has two members or more, open again the positions written before this call whose
  token has a shadow probability below ``verify``, the least likely first and always fewer
  than were committed one call earlier.

So each call leaves more written than the one before it drafted away, and a block of n open
positions takes n calls at most; 32 take 3 at least, as 20, 8 and 4.
Defaults: draft = 0.6, verify = 0.9, blocks of 128 tokens.

Source: Hong et al., "Wide-In, Narrow-Out: Revokable Decoding for Efficient and Effective
DLLMs" (2025, arXiv:2507.18578), and its code.  A call shows the model the block twice, which
``token_positions`` tells and the number of calls does not.  It needs a model that obeys a
row's own attention and positions, and that predicts a position at that position: behind a
shifted output the shadow would see what it must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import (
    in_windows,
    of_written,
    offsets,
    revised,
    scatter_field,
    stack_field,
    writable,
)
from parallelbench.decoders.selection import leading, ranking, top
from parallelbench.model import Row
from parallelbench.ranges import fraction, probability

#: As many were committed before the first call of a block, by the authors' code.
_AT_FIRST = 30


@dataclass(slots=True, eq=False)
class WinoState:
    """The writable positions, the number of the last commits, and the attention mask."""

    writable: Bool[Tensor, " length"]
    accepted: Int[Tensor, ""]
    window: tuple[int, int] | None = None
    attention: Bool[Tensor, "shown shown"] | None = None


@DECODERS.register("wino")
@dataclass(frozen=True, kw_only=True)
class Wino(BatchDecoder):
    """Commit all likely tokens, and open those again that a second look finds unlikely.

    Attributes:
        draft: Confidence above which a position is committed, in (0, 1].
        verify: Shadow probability below which a token is taken back, in [0, 1].
    """

    needs = frozenset(
        {"token", "confidence", "distribution", "attention_mask", "positions", "unshifted"}
    )
    adaptive = True
    remasks = True
    labelled = ("draft", "verify")
    grid = "draft=0.5|0.6|0.7|0.8|0.9|1.0"

    block_length: int | None = 128
    draft: float = probability(0.6)
    verify: float = fraction(0.9)

    def start(self, view: View) -> WinoState:
        """Return that nothing was committed yet."""
        return WinoState(writable=writable(view), accepted=view.canvas.new_zeros(()))

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the canvas and the shadow of its block."""
        low, high = view.window
        if state.window != view.window:
            state.window, state.attention = view.window, _attention(view)
        shadow = torch.full_like(view.canvas[low:high], view.mask_id)
        length, shown = len(view.canvas), len(view.canvas) + high - low
        place = torch.arange(shown, device=view.canvas.device)
        verified = (state.writable & ~view.open)[low:high]
        row = Row(
            prompt=view.prompt,
            canvas=torch.cat([view.canvas, shadow]),
            wanted=torch.cat([view.open, verified]),
            positions=place.where(place < length, place - length + low),
            attention=state.attention,
            unseen=place >= length,
        )
        return [row]

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the draft, and open again what its shadow finds unlikely."""
        confidence = batch.statistics.confidence[:, : batch.open.shape[1]]
        accepted = stack_field(batch.states, "accepted").where(batch.progress.step > 0, _AT_FIRST)
        chosen = self._drafted(confidence, batch.open)
        count = chosen.sum(dim=1)
        scatter_field(batch.states, accepted=count)
        left_out = _left_out(batch)
        own = in_windows(batch, stack_field(batch.states, "writable"))
        doubted = own & ~batch.open & (left_out < self.verify)
        most = torch.where(count > 1, accepted - 1, 0)
        opened = leading(ranking(-left_out, doubted), most[:, None], doubted)
        return revised(batch, chosen, opened)

    def _drafted(
        self,
        confidence: Float[Tensor, "samples length"],
        is_open: Bool[Tensor, "samples length"],
    ) -> Bool[Tensor, "samples length"]:
        passing = is_open & (confidence > self.draft)
        most = (is_open.sum(dim=1, keepdim=True) * 7 // 10).clamp(5, 20)
        none = ~passing.any(dim=1, keepdim=True)
        return leading(ranking(confidence, passing), most, passing) | (
            top(confidence, is_open, 1) & none
        )


def _attention(view: View) -> Bool[Tensor, "shown shown"]:
    """Return the attention mask: only the shadow sees itself, and it does not see its original."""
    low, high = view.window
    length, shown = len(view.canvas), len(view.canvas) + high - low
    sees = torch.ones((shown, shown), dtype=torch.bool, device=view.canvas.device)
    sees[:length, length:] = False
    sees[range(length, shown), range(low, high)] = False
    return sees


def _left_out(batch: StepBatch) -> Float[Tensor, "samples length"]:
    """Return the probability of each written token, given everything but itself."""
    distribution = batch.statistics.distribution
    length = batch.open.shape[1]
    place = (length + offsets(batch)).clamp(0, distribution.shape[1] - 1)
    return of_written(batch, distribution, place)
