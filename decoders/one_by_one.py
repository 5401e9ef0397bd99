"""One by one: commit the surest open position, then look again.

The slowest strategy and the reference for all others: no two tokens are ever written from
the same predictions, so none of its errors is the price of parallelism.

Rule: ``S = argmax c`` over the open positions; one model call per token.
Defaults: no fields of its own.

Source: Nie et al., "Large Language Diffusion Models" (LLaDA, 2025, arXiv:2502.09992),
low-confidence remasking with as many steps as tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import top


@DECODERS.register("one_by_one")
@dataclass(frozen=True, kw_only=True)
class OneByOne(Chooser):
    """Commit the one position of highest confidence in each step."""

    needs = frozenset({"token", "confidence"})

    def choose(self, step: Step) -> Selection:
        """Return the surest open position of each sample."""
        return top(step.confidence, step.open, 1)
