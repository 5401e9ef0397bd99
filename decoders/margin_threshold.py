"""Margin threshold: commit wherever the best token is far enough ahead of the second.

A margin never exceeds its confidence, so at one threshold this is the stricter rule.

Rule: ``S = {i open : m_i >= threshold}`` and ``argmax m``.
Defaults: threshold = 0.9, comparison = ge.

Source: Kang et al., "ParallelBench" (2025, arXiv:2510.04767), the rule of Wu et al.,
"Fast-dLLM" (2025, arXiv:2505.22618), on another score.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import ProbabilityThreshold, passing_or_best


@DECODERS.register("margin_threshold")
@dataclass(frozen=True, kw_only=True)
class MarginThreshold(ProbabilityThreshold):
    """Commit all positions whose margin reaches ``threshold``; the widest if none does."""

    needs = frozenset({"token", "margin"})
    adaptive = True
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    def choose(self, step: Step) -> Selection:
        """Return the open positions of wide enough margin, one at least."""
        margin = step.margin
        return passing_or_best(margin, self.passing(margin), step.open)
