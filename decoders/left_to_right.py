"""Left to right: commit the first open positions, a fixed number in each step.

With ``k=1`` this is the order of an autoregressive model, so the difference to the other
scores is what freedom of order is worth.

Rule: ``S`` = the first k open positions.
Defaults: k = 1.

Source: Kang et al., "ParallelBench" (2025, arXiv:2510.04767); its code reaches the same
order with blocks of k tokens, each written in one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from parallelbench.decoder import DECODERS, Progress, Statistics
from parallelbench.decoders.selection import FixedCount


@DECODERS.register("left_to_right")
@dataclass(frozen=True, kw_only=True)
class LeftToRight(FixedCount):
    """Commit the first ``k`` open positions in each step, pre-filled ones not counted."""

    needs: ClassVar[frozenset[str]] = frozenset({"token"})
    adaptive: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, str]] = {
        "sdar-sequential": "k=1,block_length=4,temperature=1.0",
    }

    def choose(
        self,
        statistics: Statistics,  # noqa: ARG002
        open: Bool[Tensor, "samples length"],  # noqa: A002  the contract's word
        progress: Progress,  # noqa: ARG002
    ) -> Bool[Tensor, "samples length"]:
        """Return the first ``k`` open positions of each sample."""
        return open & (open.cumsum(dim=1) <= self.k)
