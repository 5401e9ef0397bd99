"""Entropy threshold: commit every position whose prediction is little enough spread.

Rule: ``S = {i open : H_i <= threshold}`` and ``argmin H``.
Defaults: threshold = 0.5 nats, comparison = le.

Source: Chen et al., "dParallel: Learnable Parallel Decoding for dLLMs" (2025,
arXiv:2509.26488).  The code of Kang et al., "ParallelBench" (2025, arXiv:2510.04767),
compares ``-H >= threshold`` instead: nothing passes a positive threshold there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Bool
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Progress, Statistics
from parallelbench.decoders.selection import computed, passing_or_best
from parallelbench.ranges import choice, positive


@DECODERS.register("entropy_threshold")
@dataclass(frozen=True, kw_only=True)
class EntropyThreshold(Chooser):
    """Commit all positions whose entropy is within ``threshold``; the lowest if none is.

    Attributes:
        threshold: What an entropy may reach, in nats, positive.  Unlike a probability it
            has no upper end at 1: V equally likely tokens have entropy ln V, about 11.7
            nats in a vocabulary of 126 thousand.
        comparison: ``le`` lets an entropy equal to the threshold pass; ``lt`` does not.

    Raises:
        ValueError: ``threshold`` or ``comparison`` is not one of these.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "entropy"})
    adaptive: ClassVar[bool] = True
    labelled: ClassVar[tuple[str, ...]] = ("threshold",)
    grid: ClassVar[str] = "threshold=0.01|0.05|0.1|0.2|0.5|1.0"

    threshold: float = positive(0.5, "nats")
    comparison: Literal["le", "lt"] = choice("le", "lt")

    def choose(
        self,
        statistics: Statistics,
        open: Bool[Tensor, "samples length"],  # noqa: A002  the contract's word
        progress: Progress,  # noqa: ARG002
    ) -> Bool[Tensor, "samples length"]:
        """Return the open positions of low enough entropy, one at least."""
        entropy = computed(statistics.entropy)
        below = entropy <= self.threshold if self.comparison == "le" else entropy < self.threshold
        return passing_or_best(-entropy, below, open)
