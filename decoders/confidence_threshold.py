"""Confidence threshold: commit every position that is sure enough, the surest always.

The number of tokens per step follows the predictions: easy text goes fast, hard text goes
one by one.

Rule: ``S = {i open : c_i >= threshold}`` and ``argmax c``.
Defaults: threshold = 0.9, comparison = ge.

Source: Wu et al., "Fast-dLLM" (2025, arXiv:2505.22618), confidence-aware parallel decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from parallelbench.decoder import DECODERS, Progress, Statistics
from parallelbench.decoders.selection import ProbabilityThreshold, computed, passing_or_best


@DECODERS.register("confidence_threshold")
@dataclass(frozen=True, kw_only=True)
class ConfidenceThreshold(ProbabilityThreshold):
    """Commit all positions whose confidence reaches ``threshold``; the surest if none does."""

    needs: ClassVar[frozenset[str]] = frozenset({"token", "confidence"})
    adaptive: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, str]] = {
        "fast-dllm": "threshold=0.9,block_length=32",
        "llada2": "threshold=0.95,comparison=gt,block_length=32",
    }
    grid: ClassVar[str] = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    def choose(
        self,
        statistics: Statistics,
        open: Bool[Tensor, "samples length"],  # noqa: A002  the contract's word
        progress: Progress,  # noqa: ARG002
    ) -> Bool[Tensor, "samples length"]:
        """Return the open positions that are sure enough, one at least."""
        confidence = computed(statistics.confidence)
        return passing_or_best(confidence, self.passing(confidence), open)
