"""ASS: commit one position, then two, then four: twice as many in every step.

The first tokens of a canvas decide most and have the least to go by; the more stands, the more
can be written at once.  A block of n positions takes about log2 n calls.

Rule: step i commits ``top(c', open, 2**i)``, the last step what is left: n positions take
``floor(log2 n) + 1`` calls.  c' holds end-of-text back as in ``eoser``, on a line from ``floor``
in the block's first step to 1 in its last.
Defaults: floor = 0.01.  1 holds nothing back.

Source: Yang et al., "Taming Masked Diffusion Language Models via Consistency Trajectory
Reinforcement Learning with Fewer Decoding Step" (2025, arXiv:2509.23924), ascending step size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parallelbench.decoder import DECODERS, BatchDecoder, Decoder, StepBatch, Updates
from parallelbench.decoders.eoser import check_floor, held_back
from parallelbench.decoders.selection import leading, ranking


@DECODERS.register("ass")
@dataclass(frozen=True, kw_only=True)
class ASS(BatchDecoder):
    """Commit the surest positions, twice as many in every step.

    Attributes:
        floor: What the confidence in end-of-text is multiplied by in a block's first step,
            in [0, 1].

    Raises:
        ValueError: ``floor`` is not one of these.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "confidence"})
    adaptive: ClassVar[bool] = False
    labelled: ClassVar[tuple[str, ...]] = ("floor",)

    floor: float = 0.01

    def __post_init__(self) -> None:
        Decoder.__post_init__(self)
        check_floor(self.floor)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the surest positions of every sample, end-of-text held back."""
        steps = batch.progress.initial.double().log2().floor().long() + 1
        order = ranking(held_back(batch, self.floor, steps), batch.open)
        count = (2**batch.progress.step)[:, None]
        return Updates(write=leading(order, count, batch.open), tokens=batch.statistics.token)
