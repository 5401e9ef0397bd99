"""Confidence: commit the surest positions, a fixed number in each step.

Rule: ``S = top(c, open, k)``, c the probability of the predicted token.
Defaults: k = 1.

Source: Chang et al., "MaskGIT" (2022, arXiv:2202.04200); for language, Nie et al., "Large
Language Diffusion Models" (LLaDA, 2025, arXiv:2502.09992), whose ``low_confidence`` names
the positions that stay masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from parallelbench.decoder import DECODERS, Progress, Statistics
from parallelbench.decoders.selection import FixedCount, computed, top


@DECODERS.register("confidence")
@dataclass(frozen=True, kw_only=True)
class Confidence(FixedCount):
    """Commit the ``k`` positions of highest confidence in each step."""

    needs: ClassVar[frozenset[str]] = frozenset({"token", "confidence"})
    adaptive: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, str]] = {
        "sdar-static": "k=1,block_length=4,temperature=1.0",
    }

    def choose(
        self,
        statistics: Statistics,
        open: Bool[Tensor, "samples length"],  # noqa: A002  the contract's word
        progress: Progress,  # noqa: ARG002
    ) -> Bool[Tensor, "samples length"]:
        """Return the ``k`` open positions of highest confidence."""
        return top(computed(statistics.confidence), open, self.k)
