"""KLASS: commit positions that are sure and whose predictions have stopped moving.

Confidence alone is often premature: a prediction that still moves while the rest of the
canvas is written hangs on what is written there.  How far it moved in one call is the
Kullback-Leibler divergence from the prediction before.

Rule: with ``d_i = KL(p_i || p_i one call earlier)``, in nats,
``S = {i open : c_i > threshold, d_i < divergence in each of the last `history` calls}``;
if that is empty, ``S = argmax c``.

* ``klass``, as for LLaDA: nothing is committed by divergence in the first ``history - 1``
  calls of a block.
* ``klass_dream``, as for Dream: ``c_i >= threshold``, and no such wait.

What is remembered covers all open positions of the canvas, so that a later block begins
with a past; with ``memory=block`` only those of the active block, which takes less room and
makes each block wait anew.  The divergence of the first call is from zeros, at least 10
nats, so the first ``history`` calls write one token each: 32 tokens take 3 calls at least.
Defaults: threshold = 0.9, divergence = 0.01 (Dream: 0.001), history = 2.

Where no position passes, the authors commit as many as a schedule of steps asks for; ours
is theirs with as many steps as tokens, which is their own setting.

Source: Kim et al., "KLASS: KL-Guided Fast Inference in Masked Diffusion Models" (2025,
arXiv:2511.05664), and its code for both models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import scatter_field, stack_field
from parallelbench.decoders.selection import top
from parallelbench.model import Row
from parallelbench.ranges import choice, positive, probability, whole

#: Added to probabilities before the logarithm, as in the authors' code.
_FLOOR = 1e-12
#: Any prediction over fewer than e^17 tokens diverges from zeros by more nats than this.
INITIAL_KL_FLOOR = 10.0
#: More than the floor and float32 can change of a probability's greatest move.
_SLACK = 0.01


@dataclass(slots=True, eq=False)
class Past:
    """The prediction of the previous call, and each position's number of stable calls."""

    distribution: Float[Tensor, "length vocabulary"] | None
    stable_calls: Int[Tensor, " length"]


@DECODERS.register("klass")
@dataclass(frozen=True, kw_only=True)
class Klass(BatchDecoder):
    """Commit all sure positions that are stable over calls; the most confident if there is none.

    Attributes:
        threshold: Confidence that a committed position must exceed, in (0, 1].
        divergence: Bound of the divergence from the previous prediction, exclusive, in
            nats, in (0, 10].
        history: Number of successive calls that must stay below it, at least 1.
        memory: ``canvas`` remembers predictions for all open positions, as the authors do;
            ``block`` for those of the active block.
    """

    needs = frozenset({"token", "confidence", "distribution"})
    adaptive = True
    labelled = ("threshold", "divergence")
    presets = {
        "klass-llada": "threshold=0.9,divergence=0.01,history=2,block_length=64",
    }
    grid = "threshold=0.7|0.8|0.9|0.95"

    threshold: float = probability(0.9)
    divergence: float = positive(0.01, "nats", most=INITIAL_KL_FLOOR)
    history: int = whole(1, 2, "call")
    memory: Literal["canvas", "block"] = choice("canvas", "block")

    def start(self, view: View) -> Past:
        """Return that nothing was predicted yet."""
        return Past(distribution=None, stable_calls=torch.zeros_like(view.canvas))

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Ask for all open positions that are remembered."""
        everywhere = view.canvas == view.mask_id
        return [Row(view.prompt, view.canvas, view.open if self.memory == "block" else everywhere)]

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the sure and stable positions, and keep the prediction."""
        token, confidence = batch.statistics.token, batch.statistics.confidence
        stable_calls = self._count_stable_calls(batch, confidence)
        ready = batch.open & (stable_calls >= self.history) & self._sure(confidence)
        ready &= self._may_be_stable(batch)[:, None]
        none = ~ready.any(dim=1, keepdim=True)
        return Updates(write=ready | (top(confidence, batch.open, 1) & none), tokens=token)

    def _sure(self, confidence: Float[Tensor, "samples length"]) -> Bool[Tensor, "samples length"]:
        return confidence > self.threshold

    def _may_be_stable(self, batch: StepBatch) -> Bool[Tensor, " samples"]:
        return batch.progress.step >= self.history - 1

    def _count_stable_calls(
        self, batch: StepBatch, confidence: Float[Tensor, "samples length"]
    ) -> Int[Tensor, "samples length"]:
        """Return the number of calls for which each position was stable, with the present one.

        Positions that cannot be committed in the next ``history`` calls are left at 0.
        """
        now = batch.statistics.distribution
        compared = self._may_become_confident(confidence)
        # Positions that were not requested are zeros too: with ``memory=block``, those of a new
        # block.
        before = torch.cat(
            [
                here.new_zeros((int(which.sum()), here.shape[1]))
                if state.distribution is None
                else state.distribution[which]
                for state, here, which in zip(batch.states, now, compared, strict=True)
            ]
        )
        present = now[compared]
        # In the room that is there: as much again for each step of the formula would take longer
        # to be had than to be filled.
        moved = (present + _FLOOR).log_().sub_(before.add_(_FLOOR).log_()).mul_(present).sum(dim=1)
        stable_calls = stack_field(batch.states, "stable_calls") + 1
        stable_calls[compared] = stable_calls[compared].where(moved < self.divergence, 0)
        stable_calls = stable_calls.where(compared, 0)
        scatter_field(batch.states, distribution=now, stable_calls=stable_calls)
        return stable_calls

    def _may_become_confident(
        self, confidence: Float[Tensor, "samples length"]
    ) -> Bool[Tensor, "samples length"]:
        """Return the positions that may be sure once they have been stable for long enough.

        A stable call moves no probability by more than sqrt(divergence / 2), says Pinsker's
        inequality, so what is far from sure now cannot be both then.  Only a surest token's
        probability is bounded so: at temperatures above 0 another one may be drawn.
        """
        if self.temperature > 0:
            return confidence >= 0
        furthest = (self.history - 1) * (math.sqrt(self.divergence / 2) + _SLACK)
        return confidence >= self.threshold - furthest


@DECODERS.register("klass_dream")
@dataclass(frozen=True, kw_only=True)
class KlassDream(Klass):
    """Commit sure and stable positions as KLASS does for Dream, where no block waits."""

    presets = {
        "klass-dream-paper": "threshold=0.9,divergence=0.001,history=2",
    }
    former_presets = {"klass-dream": "klass-dream-paper"}

    divergence: float = 0.001

    def _sure(self, confidence: Float[Tensor, "samples length"]) -> Bool[Tensor, "samples length"]:
        return confidence >= self.threshold

    def _may_be_stable(self, batch: StepBatch) -> Bool[Tensor, " samples"]:
        return torch.ones_like(batch.progress.step, dtype=torch.bool)
