"""DAPD: commit together only what does not attend to each other.

Two open positions of which one attends to the other may depend on each other, and their
tokens should not be chosen in the same call.  So the open positions are a graph, and each
call commits an independent set of it, greedily: what is central and sure comes first.

Rule: ``a_ij`` is how much i attends to j, averaged over all heads and the last 30 % of the
layers, for i and j open; ``s_ij = (a_ij + a_ji) / 2``, and i and j are joined if
``s_ij > edge``.

* While at least the share ``tail_below`` of the block is open: in descending order of
  ``c_i sum_j s_ij`` add i to S unless it is joined to a member of S; one whose confidence is
  exactly 1 is added in any case.
* Afterwards ``S = {i open : c_i > tail}`` and ``argmax c``.

Defaults: edge = 0.01, tail = 0.9, tail_below = 0.5, one block.

Chosen here, where the descriptions are silent: the threshold does not change with time;
attention is neither scaled up among the open positions nor cleared of sinks; the sum leaves
out i itself; one that is added for its confidence of 1 keeps its neighbours away like any
member; what is rounded to 1 in float32 is 1.

Source: DAPD (2026, arXiv:2603.12996), as described in two notes on the paper; its code was
not seen, and the value of ``edge`` is about that of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Selection, Statistics, Step
from parallelbench.decoders.selection import (
    ATTENTION_HINT,
    independent_set,
    model_share,
    passing_or_best,
)
from parallelbench.ranges import fraction, probability


@DECODERS.register("dapd")
@dataclass(frozen=True, kw_only=True)
class Dapd(Chooser):
    """Commit positions that attend little to each other; near the end, all that are sure.

    Attributes:
        edge: Mean mutual attention above which two positions are joined, in
            [0, 1].
        tail: Confidence that a position must exceed near the end, in (0, 1].
        tail_below: Open share of the block below which the end is near, in [0, 1].
    """

    needs = frozenset({"token", "confidence", "attention_late"})
    adaptive = True
    labelled = ("edge", "tail")
    hints = {"attention_late": ATTENTION_HINT}
    grid = "edge=0.002|0.005|0.01|0.02|0.05"

    edge: float = fraction(0.01)
    tail: float = probability(0.9)
    tail_below: float = fraction(0.5)

    def choose(self, step: Step) -> Selection:
        """Return an independent set of the open positions, or near the end the sure ones."""
        confidence = step.confidence
        near_end = step.open.sum(dim=1) < self.tail_below * step.progress.initial
        return torch.where(
            near_end[:, None],
            passing_or_best(confidence, confidence > self.tail, step.open),
            self._apart(confidence, _mutual(step, step.open), step.open),
        )

    def _apart(
        self,
        confidence: Float[Tensor, "samples length"],
        mutual: Float[Tensor, "samples length length"],
        is_open: Bool[Tensor, "samples length"],
    ) -> Bool[Tensor, "samples length"]:
        weight = mutual.sum(dim=2) * confidence.masked_fill(~is_open, 0)
        # Nothing keeps away what is certain.
        joined = (mutual > self.edge) & (confidence.float() != 1)[:, :, None]
        return independent_set(weight, is_open, joined)


def _mutual(
    statistics: Statistics,
    is_open: Bool[Tensor, "samples length"],
) -> Float[Tensor, "samples length length"]:
    """Return the mean mutual attention of every two open positions; 0 elsewhere."""
    attention = model_share(statistics, "attention_late", square=True)
    both = is_open[:, :, None] & is_open[:, None]
    both = both & ~torch.eye(is_open.shape[1], dtype=torch.bool, device=is_open.device)
    return ((attention + attention.mT) / 2).masked_fill(~both, 0)
