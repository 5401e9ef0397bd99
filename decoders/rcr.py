"""RCR: write everything in each call, keep what was surest when it was written.

A position that was doubtful when it was written is opened again, however long ago that
was; so early mistakes can be mended, and the number of calls is fixed.

Rule: with n positions in a block and ``T = ceil(n / k)`` calls, call i = 1 ... T commits all
open positions and remembers the confidence of each; then it opens again the
``n - ceil(n i / T)`` positions whose remembered confidence is lowest, among all that were
written so far: also one of an earlier block, which is then filled together with the present one.
Defaults: k = 1.  As k is at least 1, something is opened again after every call but the
last: exactly T calls are made for each block.

Source: He et al., "MDPO: Overcoming the Training-Inference Divide of Masked Diffusion
Language Models" (2025, arXiv:2508.13148), running confidence remasking, linear schedule, and
its code, ``mdlm_generation_utils.py`` of autonomousvision/mdpo at e6ae439 (read 2026-11-30).
That code remembers the confidence of the last commit, not the highest so far; so does this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import (
    reaching_back,
    revised,
    scatter_field,
    stack_field,
    window_bounds,
    writable,
)
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import whole


@dataclass(slots=True, eq=False)
class Running:
    """The writable positions of a sample, and the confidence of each when it was last written."""

    writable: Bool[Tensor, " length"]
    confidence: Float[Tensor, " length"]


@DECODERS.register("rcr")
@dataclass(frozen=True, kw_only=True)
class Rcr(BatchDecoder):
    """Commit everything, and open the least confident positions again, on a linear schedule.

    Attributes:
        k: Tokens that each call adds on average, at least 1.
    """

    needs = frozenset({"token", "confidence"})
    remasks = True
    labelled = ("k",)
    grid = "k=1|2|4|8|16|32"

    k: int = whole(1, 1, "token per step")

    def start(self, view: View) -> Running:
        """Return that nothing was written yet."""
        places = writable(view)
        never = torch.zeros(places.shape, dtype=torch.float64, device=places.device)
        return Running(writable=places, confidence=never)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit all open positions and open the least sure of the block again."""
        confidence = batch.statistics.confidence
        running = confidence.where(batch.open, stack_field(batch.states, "confidence"))
        scatter_field(batch.states, confidence=running)
        total, step = batch.progress.initial, batch.progress.step + 1
        calls = (total + self.k - 1) // self.k
        left = total - (total * step + calls - 1) // calls
        _, end = window_bounds(batch)
        position = torch.arange(batch.open.shape[1], device=batch.open.device)
        written = stack_field(batch.states, "writable") & (position < end)
        opened = leading(ranking(-running, written), left[:, None], written)
        return replace(revised(batch, batch.open, opened), windows=reaching_back(batch, opened))
