"""Hierarchy: commit one position in every gap, so that what is written stands apart.

Positions that are committed together should be far from each other, as neighbours depend on
each other most.  Every maximal run of open positions gives its surest one, which cuts the
run in two: with even confidences the number of runs doubles in each step.

Rule: ``S`` is the union of ``argmax c`` of every run of consecutive open positions, where
that is above ``low``; of ``{i open : c_i > threshold}``; and of ``argmax c`` over all open
positions.  Of equally sure positions in one run all are taken, as the authors' code compares
with the maximum; of the surest over all, that of the lowest index.
Defaults: low = 0.4, threshold = 0.9.  The authors' runner sets low = 0.3.

Source: Ma et al., "dInfer: An Efficient Inference Framework for Diffusion Language Models"
(2025, arXiv:2510.08666), hierarchical decoding, without its variant that re-masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import passing_or_best
from parallelbench.ranges import probability


@DECODERS.register("hierarchy")
@dataclass(frozen=True, kw_only=True)
class Hierarchy(Chooser):
    """Commit the most confident position of every gap, and all that exceed ``threshold``.

    Attributes:
        low: Confidence that the surest position of a gap must exceed, in [0, ``threshold``].
        threshold: Confidence above which a position is committed whatever the others of
            its gap, in (0, 1]; none exceeds 1.

    Raises:
        ValueError: A field is out of range.
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    labelled = ("low", "threshold")
    presets = {
        "dinfer-hierarchy": "low=0.4,threshold=0.9,block_length=32",
    }
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    low: float = 0.4
    threshold: float = probability(0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low <= self.threshold:
            raise ValueError(f"low must lie in [0, threshold={self.threshold}], got {self.low}")

    def choose(self, step: Step) -> Selection:
        """Return the surest open position of every gap and all that are very sure."""
        confidence = step.confidence
        heads = (confidence == _surest_of_run(confidence, step.open)) & (confidence > self.low)
        return passing_or_best(confidence, heads | (confidence > self.threshold), step.open)


def _surest_of_run(
    confidence: Float[Tensor, "samples length"],
    is_open: Bool[Tensor, "samples length"],
) -> Float[Tensor, "samples length"]:
    """Return, at every open position, the highest confidence of the run that it is in."""
    begins = is_open & ~torch.nn.functional.pad(is_open[:, :-1], (1, 0))
    run = begins.cumsum(dim=1)
    surest = confidence.new_full((is_open.shape[0], is_open.shape[1] + 1), -torch.inf)
    surest = surest.scatter_reduce(1, run, confidence.masked_fill(~is_open, -torch.inf), "amax")
    return surest.gather(1, run)
