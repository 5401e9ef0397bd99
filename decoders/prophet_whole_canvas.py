"""Prophet, whole canvas: once every prediction is far ahead of its rival, write all at once.

Answers are often settled long before a fixed schedule has written them.  The schedule of
``llada`` goes on until the gap between the two highest logits, averaged over what is still
open, reaches a threshold that falls with progress; then the rest is committed in one step.

Rule: step i = 0, 1, ... of T takes ``S = {open}`` if the mean gap over all open positions is
at least ``early`` while ``(i + 1) / T < 0.33``, ``middle`` while ``(i + 1) / T < 0.67``,
``late`` after that; else ``S = top(c, open, K_i)`` with LLaDA's K_i.
Defaults: early = 7.5, middle = 5.0, late = 2.5 nats, steps = 32 per block,
which ends as soon as it is full.

The authors average over five positions after a marker of the answer that is given beforehand.
The tasks here have no such marker, so this variant averages over all that is open: it is
another rule, and named so.  With blocks, each is decided for itself: theirs counts the steps
of all blocks together, and fills all that are left.

Source: Li et al., "Diffusion Language Models Know the Answer Before Decoding" (Prophet, 2025,
arXiv:2508.19982), and its code, ``generate_earlyexit.py`` of pixeli99/Prophet at 460afe4
(read 2026-11-30), which counts the present step as done: the share of progress is (i + 1) / T.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, Progress, StepBatch, Updates
from parallelbench.decoders.schedule import MOST_STEPS, even_count
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import nonnegative, whole


@DECODERS.register("prophet_whole_canvas")
@dataclass(frozen=True, kw_only=True)
class ProphetWholeCanvas(BatchDecoder):
    """Commit the most confident on LLaDA's schedule, and all the rest once the model is settled.

    Attributes:
        early: Mean gap between the two highest logits that ends the block in its first
            third, in nats, 0 or more.
        middle: Mean gap that ends the block in its second third.
        late: Mean gap that ends the block in its last third.
        steps: Calls per block, at least 1, if it does not end before.
    """

    needs = frozenset({"token", "confidence", "logit_margin"})
    adaptive = True
    labelled = ("steps",)
    presets = {
        "prophet": "early=7.5,middle=5.0,late=2.5",
    }
    grid = "steps=1|2|4|8|16|32"

    early: float = nonnegative(7.5, "nats")
    middle: float = nonnegative(5.0, "nats")
    late: float = nonnegative(2.5, "nats")
    steps: int = whole(1, 32, "per block", most=MOST_STEPS)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit all that is open in settled samples, what the schedule says in the others."""
        gap = batch.statistics.logit_margin.double().masked_fill(~batch.open, 0.0)
        mean = gap.sum(dim=1) / batch.open.sum(dim=1)
        settled = (mean >= self._threshold(batch.progress))[:, None]
        order = ranking(batch.statistics.confidence, batch.open)
        due = leading(order, even_count(batch.progress, self.steps), batch.open)
        return Updates(write=due | (batch.open & settled), tokens=batch.statistics.token)

    def _threshold(self, progress: Progress) -> Float[Tensor, " samples"]:
        share = (progress.step.double() + 1) / self.steps
        late = torch.full_like(share, self.late)
        return late.masked_fill(share < 0.67, self.middle).masked_fill(share < 0.33, self.early)
