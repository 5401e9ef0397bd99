"""ReMDM for LLaDA: near the end, reconsider the tokens that were least sure when written.

Rule: commit the k surest open positions in each call.  With n positions and
``T = ceil(n / k)`` calls, after ``floor(7 T / 8)`` of them (one at least) come ``revisions``
calls of another kind: before each, the ``reopened`` positions of lowest confidence at commit
are opened again; after it, as many of the surest open ones are committed.  Then the rest
is decoded as before: T + revisions calls for each block.  (No block takes more than four calls
per open position: it is revised three times per position at most.)
Defaults: k = 1, reopened = 1, revisions = 1.

Source: Wang et al., "Remasking Discrete Diffusion Models with Inference-Time Scaling"
(ReMDM, 2025, arXiv:2503.00307), the form for LLaDA; one token and one revision are the best
values of Kang et al., "ParallelBench" (2025, arXiv:2510.04767), whose code counts the seven
eighths in tokens where calls are meant: the same at k = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import (
    DECODERS,
    STEPS_PER_TOKEN,
    BatchDecoder,
    StepBatch,
    Updates,
    View,
)
from parallelbench.decoders.batched import in_windows, revised, scatter_field, stack_field, writable
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import whole

#: Of a block, per open position: with the calls that write it, no more than the loop allows.
_MOST_REVISIONS = STEPS_PER_TOKEN - 1


@dataclass(slots=True, eq=False)
class Commits:
    """The writable positions of a sample, and the confidence of each when it was last written."""

    writable: Bool[Tensor, " length"]
    confidence: Float[Tensor, " length"]


@DECODERS.register("remdm_llada")
@dataclass(frozen=True, kw_only=True)
class RemdmLlada(BatchDecoder):
    """Commit the ``k`` most confident positions; late, open the least confident ones again.

    Attributes:
        k: Tokens per call, at least 1.
        reopened: Positions that a revision opens again, at least 1.
        revisions: Calls that revise, 0 or more; a block takes three per open position at most.
    """

    needs = frozenset({"token", "confidence"})
    remasks = True
    labelled = ("k", "revisions")
    presets = {
        "remdm-llada-paper": "k=1,reopened=1,revisions=1",
    }
    former_presets = {"remdm-llada": "remdm-llada-paper"}
    grid = "k=1|2|4|8|16|32"

    k: int = whole(1, 1, "token per step")
    reopened: int = whole(1, 1, "token")
    revisions: int = whole(0, 1, "calls")

    def start(self, view: View) -> Commits:
        """Return that nothing was committed yet."""
        places = writable(view)
        never = torch.zeros(places.shape, dtype=torch.float64, device=places.device)
        return Commits(writable=places, confidence=never)

    def block_done(self, state: object, view: View) -> bool:
        """Return True once all calls of the schedule were made."""
        revisions = min(self.revisions, _MOST_REVISIONS * view.initial)
        return view.step >= -(-view.initial // self.k) + revisions

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the surest open positions, and open the least sure again if it is time."""
        confidence = batch.statistics.confidence
        # Steps from the first revision on; the step before it opens what it revises.
        calls = (batch.progress.initial + self.k - 1) // self.k
        since = batch.progress.step - (calls * 7 // 8).clamp(min=1)
        revisions = (_MOST_REVISIONS * batch.progress.initial).clamp(max=self.revisions)
        revising = (since >= 0) & (since < revisions)
        opening = (since >= -1) & (since < revisions - 1)
        count = torch.where(revising, self.reopened, self.k)[:, None]
        chosen = leading(ranking(confidence, batch.open), count, batch.open)
        running = confidence.where(chosen, stack_field(batch.states, "confidence"))
        scatter_field(batch.states, confidence=running)
        held = in_windows(batch, stack_field(batch.states, "writable")) & (chosen | ~batch.open)
        held &= opening[:, None]
        return revised(batch, chosen, leading(ranking(-running, held), self.reopened, held))
