"""Entropy: commit where the whole prediction is least spread, a fixed number in each step.

Rule: ``S = top(-H, open, k)``, H the entropy of the prediction.
Defaults: k = 1.

Source: Ye et al., "Dream 7B: Diffusion Large Language Models" (2025, arXiv:2508.15487),
algorithm ``entropy`` of its sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import FixedCount, top


@DECODERS.register("entropy")
@dataclass(frozen=True, kw_only=True)
class Entropy(FixedCount):
    """Commit the ``k`` positions of lowest entropy in each step."""

    needs = frozenset({"token", "entropy"})

    def choose(self, step: Step) -> Selection:
        """Return the ``k`` open positions of lowest entropy."""
        return top(-step.entropy, step.open, self.k)
