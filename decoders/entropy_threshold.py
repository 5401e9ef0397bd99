"""Entropy threshold: commit every position whose prediction is little enough spread.

Rule: ``S = {i open : H_i <= threshold}`` and ``argmin H``.
Defaults: threshold = 0.5 nats, comparison = le.

Source: Chen et al., "dParallel: Learnable Parallel Decoding for dLLMs" (2025,
arXiv:2509.26488).  The code of Kang et al., "ParallelBench" (2025, arXiv:2510.04767),
compares ``-H >= threshold`` instead: nothing passes a positive threshold there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import passing_or_best
from parallelbench.ranges import choice, positive


@DECODERS.register("entropy_threshold")
@dataclass(frozen=True, kw_only=True)
class EntropyThreshold(Chooser):
    """Commit all positions whose entropy is within ``threshold``; the lowest if none is.

    Attributes:
        threshold: Greatest entropy that passes, in nats, positive.  Unlike a probability it
            has no upper end at 1: V equally likely tokens have entropy ln V, about 11.7
            nats in a vocabulary of 126 thousand.
        comparison: ``le`` lets an entropy equal to the threshold pass; ``lt`` does not.
    """

    needs = frozenset({"token", "entropy"})
    adaptive = True
    labelled = ("threshold",)
    grid = "threshold=0.01|0.05|0.1|0.2|0.5|1.0"

    threshold: float = positive(0.5, "nats")
    comparison: Literal["le", "lt"] = choice("le", "lt")

    def choose(self, step: Step) -> Selection:
        """Return the open positions of low enough entropy, one at least."""
        entropy = step.entropy
        below = entropy <= self.threshold if self.comparison == "le" else entropy < self.threshold
        return passing_or_best(-entropy, below, step.open)
