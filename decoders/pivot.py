"""Pivot: commit what is certain, and with it the one position that is least so.

Certain positions depend on nothing, so a group of certain ones and a single other has no total
correlation: writing it at once loses nothing, whichever the other one is.  Rules that wait for
confidence take the surest of the uncertain ones, which says least about the rest; the least
sure one decides most of it.  Where one item is inserted into a list, that is a binary search.

Rule: ``S = {i open : H_i <= certain}`` and the ``argmax H`` of the others.
Defaults: certain = 0.05 nats.

What "certain" lets through below that bound is what the rule can lose.  Two positions that are
each uncertain are never written together, so independent choices take a step each.

Source: ours.  Its nearest published relatives are ETE (2025, arXiv:2511.21103) and the
Info-Gain sampler (2026, arXiv:2602.18176), which also prefer what tells most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Decoder, Progress, Statistics
from parallelbench.decoders.selection import computed, top


@DECODERS.register("pivot")
@dataclass(frozen=True, kw_only=True)
class Pivot(Chooser):
    """Commit every certain position, and the least certain one of the others.

    Attributes:
        certain: Greatest entropy of a position that counts as certain, in nats, 0 or more.

    Raises:
        ValueError: ``certain`` is negative or not finite.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "entropy"})
    adaptive: ClassVar[bool] = True
    labelled: ClassVar[tuple[str, ...]] = ("certain",)

    certain: float = 0.05

    def __post_init__(self) -> None:
        Decoder.__post_init__(self)
        if not 0 <= self.certain < math.inf:
            raise ValueError(f"certain must lie in [0, inf) nats, got {self.certain}")

    def choose(
        self,
        statistics: Statistics,
        open: Bool[Tensor, "samples length"],  # noqa: A002  the contract's word
        progress: Progress,  # noqa: ARG002
    ) -> Bool[Tensor, "samples length"]:
        """Return the certain positions and the pivot; one at least."""
        entropy = computed(statistics.entropy)
        certain = open & (entropy <= self.certain)
        return certain | top(entropy, open & ~certain, 1)
