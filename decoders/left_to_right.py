"""Left to right: commit the first open positions, a fixed number in each step.

With ``k=1`` this is the order of an autoregressive model, so the difference to the other
scores is what freedom of order is worth.

Rule: ``S`` = the first k open positions.
Defaults: k = 1.

Source: Kang et al., "ParallelBench" (2025, arXiv:2510.04767); its code reaches the same
order with blocks of k tokens, each written in one step.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import FixedCount


@DECODERS.register("left_to_right")
@dataclass(frozen=True, kw_only=True)
class LeftToRight(FixedCount):
    """Commit the first ``k`` open positions in each step, pre-filled ones not counted."""

    needs = frozenset({"token"})
    presets = {
        "sdar-sequential": "k=1,block_length=4,temperature=1.0",
    }

    def choose(self, step: Step) -> Selection:
        """Return the first ``k`` open positions of each sample."""
        return step.open & (step.open.cumsum(dim=1) <= self.k)
