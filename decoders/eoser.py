"""EOSER: distrust end-of-text early, so that a canvas is not closed before it is written.

Late positions are often sure of end-of-text long before the text is decided, and a rule that
takes the surest first fills the canvas from its end.  Scaling down that confidence at first
lets words go before.

Rule: as ``llada`` with confidences: step i of a block's T commits ``top(c', open, K_i)``, where
``c' = g_i c`` at positions whose predicted token ends a reply and ``c' = c`` elsewhere.  A
canvas of N blocks takes N T steps, and ``g_i = floor + (1 - floor) i / (N T - 1)``.
In one block that is a straight line from ``floor`` to 1.  In several it is the authors' code,
which measures a step of a block against the steps of all blocks: the line begins anew in each
block and ends at ``floor + (1 - floor) (T - 1) / (N T - 1)``, far below 1.  N is the length of
the canvas over that of the block, rounded up.
A single step commits all, and needs no scale.
Defaults: floor = 0.4, steps = 32 per block.

Source: Yang et al., "Taming Masked Diffusion Language Models via Consistency Trajectory
Reinforcement Learning with Fewer Decoding Step" (2025, arXiv:2509.23924), EOS early rejection,
and its code, ``eval/generate.py`` of github.com/yjyddq/EOSER-ASS-RL, commit 5affb4e, read
2026-11-30: ``eoser_generate``, which takes the total number of steps of all blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import window_bounds
from parallelbench.decoders.schedule import MOST_STEPS, even_count, steps_allowed
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import fraction, whole


@DECODERS.register("eoser")
@dataclass(frozen=True, kw_only=True)
class EOSER(BatchDecoder):
    """Commit the most confident positions on LLaDA's schedule, end-of-text held back at first.

    Attributes:
        floor: Factor on the confidence of end-of-text tokens in the first step of a block,
            in [0, 1]; at 1 this is ``llada``.
        steps: Calls per block, at least 1.
    """

    needs = frozenset({"token", "confidence"})
    labelled = ("floor", "steps")
    grid = "steps=1|2|4|8|16|32"

    floor: float = fraction(0.4)
    steps: int = whole(1, 32, "per block", most=MOST_STEPS)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the surest positions, end-of-text held back, as many as the schedule says."""
        low, high = window_bounds(batch)
        blocks = -(-batch.open.shape[1] // (high - low).squeeze(1))
        way = batch.progress.step.double() / (self.steps * blocks - 1).clamp(min=1)
        order = ranking(held_back(batch, self.floor, way), batch.open)
        count = even_count(batch.progress, self.steps)
        return Updates(write=leading(order, count, batch.open), tokens=batch.statistics.token)

    def block_done(self, state: Any, view: View) -> bool:
        """Return True once the block is full and all its calls are made."""
        return view.remaining == 0 and view.step >= steps_allowed(self.steps, view.initial)


def held_back(
    batch: StepBatch, floor: float, way: Float[Tensor, " samples"]
) -> Float[Tensor, "samples length"]:
    """Return the confidences, those in the end of a reply scaled by how far a block is.

    Args:
        batch: One step.
        floor: The scale at the start of the way; it is 1 at its end.
        way: Progress of each sample, in [0, 1].
    """
    confidence, token = batch.statistics.confidence.double(), batch.statistics.token
    codec = batch.views[0].prompt.codec
    ends = torch.isin(token, torch.tensor(sorted(codec.ends), device=token.device))
    scale = (floor + (1 - floor) * way)[:, None]
    return torch.where(ends, confidence * scale, confidence)
