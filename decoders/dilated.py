"""Dilated: any strategy, with what it chooses thinned out until nothing chosen is close.

Neighbours depend on each other most; a rule that is sure of several side by side may still
be wrong about them together.  Of every crowd only the surest is written, the others see it
first.

Rule: of what the strategy inside chooses, the surest first, keep a position unless one that
was kept is at most ``distance`` positions away.
Defaults: strategy = confidence_threshold, distance = 1: no two neighbours in one step.

The source of this reading does not give the order of the candidates.  The surest
first keeps the best of all, so that every step still commits something.

Source: Luxembourg et al., "Plan for Speed: Dilated Scheduling for Masked Diffusion Language
Models" (2025, arXiv:2506.19037, version 4), the spacing of DUS as a filter of other samplers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.inner import Inner, read_inner
from parallelbench.decoders.selection import apart
from parallelbench.ranges import whole


@DECODERS.register("dilated")
@dataclass(frozen=True, kw_only=True)
class Dilated(Chooser):
    """Commit what another strategy chooses, without two positions close to each other.

    Attributes:
        strategy: The strategy inside, such as ``confidence_threshold(threshold=0.8)``; several
            fields have ``;`` between them.
        distance: Positions on either side of a committed one that wait, at least 1.

    Raises:
        ValueError: ``strategy`` is no chooser, or ``distance`` is below 1.
    """

    adaptive = True
    labelled = ("strategy", "distance")
    grid = "distance=1|2|4|8"

    strategy: str = "confidence_threshold"
    distance: int = whole(1, 1, "position")

    def __post_init__(self) -> None:
        super().__post_init__()
        # A setting keeps every field, those inside too.
        object.__setattr__(self, "strategy", self._inner.text)

    @cached_property
    def _inner(self) -> Inner:
        return read_inner(self.strategy)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of the strategy inside
        """The needs of the inner decoder, and the confidence."""
        return self._inner.chooser.needs | {"confidence"}

    def choose(self, step: Step) -> Selection:
        """Return the choice of the inner decoder, thinned out; its surest at least."""
        chosen = self._inner.chooser.choose(step)
        return apart(step.confidence, chosen, self.distance)
