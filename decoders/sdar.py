"""SDAR: commit all that is sure enough, and as many as a schedule asks for if fewer are.

Small blocks, each in few steps: the schedule promises that a block is full after its steps,
and a threshold lets it be full sooner.

Rule: with blocks of B tokens and T steps, ``K_i = floor(B / T)``, and one more if
``i < B mod T``, for step i of 0 ... T - 1; ``F = {i open : c_i > threshold}``;
``S = F`` if that has ``K_i`` positions at least, else ``top(c, open, K_i)``.
Defaults: threshold = 0.85, steps = 4, block_length = 4.

B counts whole blocks, as the authors do, also where some positions were filled from the
start, such as those of a prompt that ends within the block.  A block ends when it is full,
so with T of B or more every step asks for one token, and the rule is that of
``confidence_threshold:comparison=gt``, the authors' default among it.

This is the authors' ``low_confidence_dynamic``.  Their ``low_confidence_static`` is this with
``threshold=1``, which nothing exceeds: with a T that divides B ``confidence:k=B/T``.  Their
``sequential`` is ``left_to_right:k=B/T``.  Their calls that store a finished block are
counted by the loop, as auxiliary ones, but for that after the last block, which nothing reads.

Source: Cheng et al., "SDAR: A Synergistic Diffusion-AutoRegression Paradigm" (2025,
arXiv:2510.06303), ``generate`` of its code; TraDo (Wang et al., 2025, arXiv:2509.06949)
decodes alike with a threshold of 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from parallelbench.decoder import DECODERS, BatchDecoder, Progress, StepBatch, Updates
from parallelbench.decoders.batched import window_bounds
from parallelbench.decoders.schedule import MOST_STEPS, even_count
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import probability, whole


@DECODERS.register("sdar")
@dataclass(frozen=True, kw_only=True)
class SDAR(BatchDecoder):
    """Commit what exceeds ``threshold``, or the most confident where the schedule asks for more.

    Attributes:
        threshold: Confidence that a position must exceed, in (0, 1]; none exceeds 1.
        steps: Greatest number of steps of a block, at least 1.
        block_length: Length of the blocks; None makes the whole canvas one block.
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    labelled = ("threshold", "steps", "block_length")
    presets = {
        "sdar-dynamic": "threshold=0.85,steps=4,block_length=4,temperature=1.0",
        "trado": "threshold=0.9,steps=4,block_length=4,temperature=1.0",
    }
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    block_length: int | None = 4
    threshold: float = probability(0.85)
    steps: int = whole(1, 4, "per block", most=MOST_STEPS)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what is sure in every sample, or as many as its schedule asks for."""
        confidence = batch.statistics.confidence
        due = self._due(batch)
        sure = batch.open & (confidence > self.threshold)
        surest = leading(ranking(confidence, batch.open), due, batch.open)
        enough = sure.sum(dim=1, keepdim=True) >= due
        return Updates(write=torch.where(enough, sure, surest), tokens=batch.statistics.token)

    def _due(self, batch: StepBatch) -> torch.Tensor:
        low, high = window_bounds(batch)
        size = (high - low).squeeze(1)
        if self.block_length is not None:
            size = torch.full_like(size, self.block_length)
        return even_count(Progress(step=batch.progress.step, initial=size), self.steps)
