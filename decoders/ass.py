"""ASS: commit one position, then two, then four: twice as many in every step.

The first tokens of a canvas decide most and have the least to go by; the more stands, the more
can be written at once.  A block of n positions takes log2 n calls.

Rule: of ``S = floor(log2 n)`` steps, one at least, step i commits ``top(c', open, 2**i)``, and
the last one all that is left: n / 2 + 1 positions where n is a power of 2.  c' holds
end-of-text back as in ``eoser``, by ``g_i = floor + (1 - floor) (2**(i + 1) - 1) / 2**S``: a
line in the tokens that are written after the step, and not in the steps.
Defaults: floor = 0.01, the authors' EOSER with ASS.  1 holds nothing back, their ASS alone.

The authors' own blocks double in length; with ``block_length``, all blocks are alike here and
the doubling begins anew in each.

Source: Yang et al., "Taming Masked Diffusion Language Models via Consistency Trajectory
Reinforcement Learning with Fewer Decoding Step" (2025, arXiv:2509.23924), ascending step size,
and its code, ``eval/generate.py`` of github.com/yjyddq/EOSER-ASS-RL, commit 5affb4e, read
2026-11-30: ``eoser_ass_generate`` with one block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates
from parallelbench.decoders.eoser import held_back
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import fraction


@DECODERS.register("ass")
@dataclass(frozen=True, kw_only=True)
class ASS(BatchDecoder):
    """Commit the most confident positions, twice as many in every step.

    Attributes:
        floor: Factor on the confidence of end-of-text tokens in the first step of a block,
            in [0, 1].
    """

    needs = frozenset({"token", "confidence"})
    labelled = ("floor",)

    floor: float = fraction(0.01)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the surest positions of every sample, end-of-text held back."""
        step, initial = batch.progress.step, batch.progress.initial
        steps = initial.double().log2().long().clamp(min=1)
        way = (2.0 ** (step + 1) - 1) / 2.0**steps
        count = torch.where(step < steps - 1, 2**step, initial)[:, None]
        order = ranking(held_back(batch, self.floor, way), batch.open)
        return Updates(write=leading(order, count, batch.open), tokens=batch.statistics.token)
