"""Persistence: commit what is sure and was predicted alike in several calls in a row.

A token that a model proposes again, after other positions were written, did not hang on
what they would be.

Rule: ``S = {i open : the last `history` predictions of i are one token, c_i >= threshold}``
and ``argmax c``.  With ``history=1`` it is the confidence threshold.
Defaults: history = 2, threshold = 0.9.

Source: the common core of rules that trust what stays the same: CCD (2025,
arXiv:2512.02044) and CORA-Diff (2026, arXiv:2601.04205) keep a short buffer of predictions;
this one compares the predicted tokens alone, and is the code of neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import scatter_field, stack_field
from parallelbench.decoders.selection import passing_or_best
from parallelbench.ranges import probability, whole


@dataclass(slots=True, eq=False)
class Streaks:
    """The last predicted id of each position, and its number of successive calls."""

    token: Int[Tensor, " length"]
    calls: Int[Tensor, " length"]


@DECODERS.register("persistence")
@dataclass(frozen=True, kw_only=True)
class Persistence(BatchDecoder):
    """Commit all sure and unchanged positions; the most confident if there is none.

    Attributes:
        history: Successive calls with the same prediction before a commit, the present one
            included; at least 1.
        threshold: Least confidence of a committed position, in (0, 1].
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    labelled = ("history", "threshold")
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    history: int = whole(1, 2, "call")
    threshold: float = probability(0.9)

    def start(self, view: View) -> Streaks:
        """Return that nothing was predicted yet."""
        nothing = torch.full_like(view.canvas, view.mask_id)
        return Streaks(token=nothing, calls=torch.zeros_like(view.canvas))

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what is sure enough and has stayed the same for long enough."""
        token, confidence = batch.statistics.token, batch.statistics.confidence
        same = token == stack_field(batch.states, "token")
        calls = torch.where(same, stack_field(batch.states, "calls"), 0) + 1
        scatter_field(batch.states, token=token, calls=calls)
        passing = (calls >= self.history) & (confidence >= self.threshold)
        return Updates(write=passing_or_best(confidence, passing, batch.open), tokens=token)
