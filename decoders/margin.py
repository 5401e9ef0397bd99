"""Margin: commit where the best token is furthest ahead of the second, a fixed number.

Two tokens at 0.45 each and one token at 0.45 against many small ones are equally
confident; the margin separates the first, a real choice, from the second.

Rule: ``S = top(m, open, k)``, m the gap between the two highest probabilities.
Defaults: k = 1.

Source: Kim et al., "Train for the Worst, Plan for the Best: Understanding Token Ordering
in Masked Diffusions" (2025, arXiv:2502.06768).
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import FixedCount, top


@DECODERS.register("margin")
@dataclass(frozen=True, kw_only=True)
class Margin(FixedCount):
    """Commit the ``k`` positions of highest margin in each step."""

    needs = frozenset({"token", "margin"})

    def choose(self, step: Step) -> Selection:
        """Return the ``k`` open positions of highest margin."""
        return top(step.margin, step.open, self.k)
