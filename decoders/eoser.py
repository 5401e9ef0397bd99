"""EOSER: distrust end-of-text early, so that a canvas is not closed before it is written.

Late positions are often sure of end-of-text long before the text is decided, and a rule that
takes the surest first fills the canvas from its end.  Scaling down that confidence at first
lets words go before.

Rule: as ``llada`` with confidences: step i of T commits ``top(c', open, K_i)``, where
``c' = g_i c`` at positions whose predicted token ends a reply, ``c' = c`` elsewhere, and
``g_i = floor + (1 - floor) i / (T - 1)``, a straight line from ``floor`` to 1.
A single step commits all, and needs no scale.
Defaults: floor = 0.4, steps = 32 per block.

The source of this reading gives the two ends of the line and not its form; a straight one is
taken.

Source: Yang et al., "Taming Masked Diffusion Language Models via Consistency Trajectory
Reinforcement Learning with Fewer Decoding Step" (2025, arXiv:2509.23924), EOS early rejection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, Decoder, StepBatch, Updates, View
from parallelbench.decoders.schedule import check_steps, even_count, steps_allowed
from parallelbench.decoders.selection import computed, leading, ranking


@DECODERS.register("eoser")
@dataclass(frozen=True, kw_only=True)
class EOSER(BatchDecoder):
    """Commit the surest positions on LLaDA's schedule, with end-of-text held back at first.

    Attributes:
        floor: What the confidence in end-of-text is multiplied by in the first step, in
            [0, 1]; at 1 this is ``llada``.
        steps: Calls per block, at least 1.

    Raises:
        ValueError: ``floor`` or ``steps`` is not one of these.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "confidence"})
    adaptive: ClassVar[bool] = False
    labelled: ClassVar[tuple[str, ...]] = ("floor", "steps")
    grid: ClassVar[str] = "steps=1|2|4|8|16|32"

    floor: float = 0.4
    steps: int = 32

    def __post_init__(self) -> None:
        Decoder.__post_init__(self)
        check_steps(self.steps)
        check_floor(self.floor)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the surest positions, end-of-text held back, as many as the schedule says."""
        steps = torch.full_like(batch.progress.step, self.steps)
        order = ranking(held_back(batch, self.floor, steps), batch.open)
        count = even_count(batch.progress, self.steps)
        return Updates(write=leading(order, count, batch.open), tokens=batch.statistics.token)

    def block_done(self, state: Any, view: View) -> bool:  # noqa: ARG002
        """Return whether the block is full and all its calls are made."""
        return view.remaining == 0 and view.step >= steps_allowed(self.steps, view.initial)


def check_floor(floor: float) -> None:
    """Refuse a floor that is no share.

    Raises:
        ValueError: ``floor`` is not in [0, 1].
    """
    if not 0 <= floor <= 1:
        raise ValueError(f"floor must lie in [0, 1], got {floor}")


def held_back(
    batch: StepBatch, floor: float, steps: Int[Tensor, " samples"]
) -> Float[Tensor, "samples length"]:
    """Return the confidences, those in the end of a reply scaled by how far a block is.

    Args:
        batch: One step.
        floor: The scale in a block's first step; it is 1 in its last.
        steps: How many each block takes in all.
    """
    confidence, token = computed(batch.statistics.confidence).double(), batch.statistics.token
    codec = batch.views[0].prompt.codec
    ends = torch.isin(token, torch.tensor(sorted(codec.ends), device=token.device))
    way = batch.progress.step.double() / (steps - 1).clamp(min=1)
    scale = (floor + (1 - floor) * way.clamp(max=1))[:, None]
    return torch.where(ends, confidence * scale, confidence)
