"""Pivot: commit what is certain, and with it the one position that is least so.

Certain positions depend on nothing, so a group of certain ones and a single other has no total
correlation: writing it at once loses nothing, whichever the other one is.  Rules that wait for
confidence take the surest of the uncertain ones, which says least about the rest; the least
sure one decides most of it.  Where one item is inserted into a list, that is a binary search.

Rule: ``S = {i open : H_i <= certain}`` and the ``argmax H`` of the others; with ``confidence``,
``{i open : c_i >= confidence}`` instead.  At a positive temperature, a position waits as long as
its drawn token is less likely than ``plausible`` times ``exp(-H_i)``, which is what each token
of an even choice of that entropy would have; if all wait, ``argmax c``.
Defaults: certain = 0.05 nats; plausible = 0: none waits.

What "certain" lets through below that bound is what the rule can lose.  Two positions that are
each uncertain are never written together, so independent choices take a step each:
:mod:`~parallelbench.decoders.pivot_drafts` writes several.

Source: ours.  Its nearest published relatives are ETE (2025, arXiv:2511.21103) and the
Info-Gain sampler (2026, arXiv:2602.18176), which also prefer the most informative positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Decoder, Selection, Statistics, Step
from parallelbench.decoders.selection import top
from parallelbench.ranges import fraction, nonnegative, probability


class PositionSplit(NamedTuple):
    """The open positions of some rows, by what may be written there.

    Attributes:
        certain: Positions that are committed at once.
        waiting: The other open positions whose token is plausible.
        entropy: Entropy at every position, in nats.
    """

    certain: Bool[Tensor, "rows length"]
    waiting: Bool[Tensor, "rows length"]
    entropy: Float[Tensor, "rows length"]

    def highest(self, count: int) -> Bool[Tensor, "rows length"]:
        """Return the ``count`` waiting positions of greatest entropy: pivots."""
        return top(self.entropy, self.waiting, count)


@dataclass(frozen=True, kw_only=True)
class Certainty(Decoder):
    """Common base of the pivot decoders: the test for certain positions.

    Attributes:
        certain: Greatest entropy of a position that counts as certain, in nats, 0 or more.
        confidence: Least probability of the token of such a position, in (0, 1], instead of
            that; None goes by the entropy.
        plausible: Least probability of a drawn token that is written, as a multiple of
            exp(-entropy), in [0, 1].
    """

    adaptive = True
    labelled: ClassVar[tuple[str, ...]] = ("certain",)
    grid = "certain=0.02|0.05|0.1|0.2|0.5"

    certain: float = nonnegative(0.05, "nats")
    confidence: float | None = probability(None)
    plausible: float = fraction(0.0)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # they follow the fields
        """Entropies, and confidences where a field is compared with them."""
        by_confidence = self.confidence is not None or self.plausible > 0
        return frozenset({"token", "entropy"} | ({"confidence"} if by_confidence else set()))

    def sort(
        self,
        statistics: Statistics,
        is_open: Bool[Tensor, "rows length"],
    ) -> PositionSplit:
        """Return the certain and the waiting open positions."""
        entropy, plausible = statistics.entropy, is_open
        if self.confidence is None:
            certain = entropy <= self.certain
        else:
            certain = statistics.confidence >= self.confidence
        if self.plausible > 0:
            least = self.plausible * (-entropy).exp()
            plausible = is_open & (statistics.confidence >= least)
        return PositionSplit(plausible & certain, plausible & ~certain, entropy)

    def or_surest(
        self,
        chosen: Bool[Tensor, "rows length"],
        statistics: Statistics,
        is_open: Bool[Tensor, "rows length"],
    ) -> Bool[Tensor, "rows length"]:
        """Return the choice, or the surest position in rows without a plausible token."""
        if self.plausible == 0:
            return chosen
        none = ~chosen.any(dim=1, keepdim=True)
        return chosen | (none & top(statistics.confidence, is_open, 1))


@DECODERS.register("pivot")
@dataclass(frozen=True, kw_only=True)
class Pivot(Certainty, Chooser):
    """Commit every certain position, and the least certain one of the others."""

    def choose(self, step: Step) -> Selection:
        """Return the certain positions and the pivot; one at least."""
        split = self.sort(step, step.open)
        return self.or_surest(split.certain | split.highest(1), step, step.open)
