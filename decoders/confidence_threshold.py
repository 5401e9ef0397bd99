"""Confidence threshold: commit every position that is sure enough, the surest always.

The number of tokens per step follows the predictions: easy text goes fast, hard text goes
one by one.

Rule: ``S = {i open : c_i >= threshold}`` and ``argmax c``.
Defaults: threshold = 0.9, comparison = ge.

Source: Wu et al., "Fast-dLLM" (2025, arXiv:2505.22618), confidence-aware parallel decoding.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import ProbabilityThreshold, passing_or_best


@DECODERS.register("confidence_threshold")
@dataclass(frozen=True, kw_only=True)
class ConfidenceThreshold(ProbabilityThreshold):
    """Commit all positions whose confidence reaches ``threshold``; the best if none does."""

    needs = frozenset({"token", "confidence"})
    adaptive = True
    presets = {
        "fast-dllm": "threshold=0.9,block_length=32",
        "llada2": "threshold=0.95,comparison=gt,block_length=32",
    }
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    def choose(self, step: Step) -> Selection:
        """Return the open positions that are sure enough, one at least."""
        confidence = step.confidence
        return passing_or_best(confidence, self.passing(confidence), step.open)
