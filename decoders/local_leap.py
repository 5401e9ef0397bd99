"""Local leap: near a very sure position, less sure ones are committed with it.

What surrounds a token that is nearly certain tends to be settled by it, so the threshold is
relaxed there and nowhere else.

Rule: the anchors are ``A = {i open : c_i >= threshold}``; with ``t_i = relaxed`` where an
anchor is at most ``radius`` positions away and ``t_i = threshold`` elsewhere,
``S = {i open : c_i >= t_i}`` and ``argmax c``.  Only open positions of the present step are
anchors: one that was committed before is none, however sure it was.
Defaults: threshold = 0.9, relaxed = 0.75, radius = 4, comparison = ge.

Source: Kong et al., "Accelerating Diffusion LLM Inference via Local Determinism
Propagation" (LocalLeap, 2025, arXiv:2510.07081).
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import (
    ProbabilityThreshold,
    near,
    passing_or_best,
)
from parallelbench.ranges import whole


@DECODERS.register("local_leap")
@dataclass(frozen=True, kw_only=True)
class LocalLeap(ProbabilityThreshold):
    """Commit positions that reach ``threshold``, and near those, what reaches ``relaxed``.

    Attributes:
        relaxed: Least confidence of a position near an anchor, in (0, ``threshold``].
        radius: Reach of an anchor to either side, in positions, 0 or more; at 0
            this is the plain threshold.

    Raises:
        ValueError: A field is out of range.
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    labelled = ("threshold", "relaxed", "radius")
    presets = {
        "local-leap-paper": "threshold=0.9,relaxed=0.75,radius=4,block_length=32",
    }
    former_presets = {"local-leap": "local-leap-paper"}
    grid = "relaxed=0.5|0.6|0.7|0.75|0.8|0.9"

    relaxed: float = 0.75
    radius: int = whole(0, 4, "positions")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.relaxed <= self.threshold:
            raise ValueError(
                f"relaxed must lie in (0, threshold={self.threshold}], got {self.relaxed}"
            )

    def choose(self, step: Step) -> Selection:
        """Return the open positions that are sure enough for where they stand, one at least."""
        confidence = step.confidence
        anchors = step.open & self.passing(confidence)
        relaxed = near(anchors, self.radius) & self.reaching(confidence, self.relaxed)
        return passing_or_best(confidence, anchors | relaxed, step.open)
