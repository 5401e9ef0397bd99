"""Confidence: commit the surest positions, a fixed number in each step.

Rule: ``S = top(c, open, k)``, c the probability of the predicted token.  Default: k = 1.

Source: Chang et al., "MaskGIT" (2022, arXiv:2202.04200); for language, Nie et al., "LLaDA" (2025,
arXiv:2502.09992), whose ``low_confidence`` names the positions that stay masked.
"""

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import FixedCount, top


@DECODERS.register("confidence")
@dataclass(frozen=True, kw_only=True)
class Confidence(FixedCount):
    """Commit the ``k`` positions of highest confidence in each step."""

    needs = frozenset({"token", "confidence"})
    presets = {"sdar-static": "k=1,block_length=4,temperature=1.0"}

    def choose(self, step: Step) -> Selection:
        """Return the ``k`` open positions of highest confidence."""
        return top(step.confidence, step.open, self.k)
