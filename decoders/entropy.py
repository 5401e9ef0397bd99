"""Entropy: commit where the whole prediction is least spread, a fixed number in each step.

Rule: ``S = top(-H, open, k)``, H the entropy of the prediction.
Defaults: k = 1.

Source: Ye et al., "Dream 7B: Diffusion Large Language Models" (2025, arXiv:2508.15487),
algorithm ``entropy`` of its sampler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from parallelbench.decoder import DECODERS, Progress, Statistics
from parallelbench.decoders.selection import FixedCount, computed, top


@DECODERS.register("entropy")
@dataclass(frozen=True, kw_only=True)
class Entropy(FixedCount):
    """Commit the ``k`` positions of lowest entropy in each step."""

    needs: ClassVar[frozenset[str]] = frozenset({"token", "entropy"})
    adaptive: ClassVar[bool] = False

    def choose(
        self,
        statistics: Statistics,
        open: Bool[Tensor, "samples length"],  # noqa: A002  the contract's word
        progress: Progress,  # noqa: ARG002
    ) -> Bool[Tensor, "samples length"]:
        """Return the ``k`` open positions of lowest entropy."""
        return top(-computed(statistics.entropy), open, self.k)
