"""DAWN: what is sure anchors what attends to it, and two that attend to each other wait.

A written position of which the model is sure vouches for an open position that attends to it,
so less is asked of that one.  Of the others, those that attend to each other are not written
together.

Rule: ``a_ij`` is how much i attends to j, averaged over all heads of the last four layers;
columns of sinks, to which positions attend by more than ``sink`` on average, count as 0, and so
does what a position gives itself.  There is an edge from j to i if ``a_ij >= edge``.

* sure: ``F = {i open : c_i >= threshold}``;
* induced: ``I = {i open : c_i >= induce}`` with an edge from an anchor, which is a written
  position with ``c >= threshold``, whether its likeliest token is the written one or not;
* the rest: of the open positions outside of F and I with ``c_i >= low`` and no edge from one
  in both F and I, the surest first, each unless an edge, either way, joins it to one taken.

``S`` is all three, or ``argmax c`` if that is nothing.
Defaults, for LLaDA: sink = 0.01, edge = 0.07, induce = 0.7, low = 0.75 (the authors use 0.7
to 0.8), threshold = 0.9, blocks of 32; for Dream the preset ``dawn-dream``.

As in the authors' code, a position that is sure and not induced keeps nothing away, and one
that attends to a member of F and I waits while one that a member attends to does not.  Theirs
falls back to the surest position in all samples of a batch or in none; ours in each by itself.
Theirs also overwrites the first token of the prompt with what the model predicts there, in
every call in which an edge keeps one of the rest back; ours never writes the prompt.

Chosen here, where attention is given within the canvas only: the prompt is no anchor, and the
mean of a column is over those positions of the canvas that were computed.  All written
positions of the canvas may be anchors, pre-filled ones too.  The authors' code has the last
four of the 32 layers of LLaDA and of the 28 of Dream; other networks have their last four too.

Source: "DAWN" (2026, arXiv:2602.06953), and its code, silence1024/DAWN at 874f58e (read
2026-11-30): ``get_transfer_index_dawn`` of ``llada/generate.py``, and ``dream/eval_instruct.sh``
for the constants of Dream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import canvases
from parallelbench.decoders.selection import (
    ATTENTION_HINT,
    independent_set,
    model_share,
    top,
)
from parallelbench.model import Row
from parallelbench.ranges import fraction, probability


@DECODERS.register("dawn")
@dataclass(frozen=True, kw_only=True)
class Dawn(BatchDecoder):
    """Commit sure positions, those that a sure one supports, and others not linked to them.

    Attributes:
        threshold: Confidence of a sure position, and of a written one that is an anchor, in (0, 1].
        induce: Least confidence of a position that an anchor supports, in (0, 1].
        low: Least confidence of any other position, in (0, 1].
        edge: Least attention that makes an edge, in (0, 1].
        sink: Mean attention above which a position is a sink, in [0, 1].
    """

    needs = frozenset({"token", "confidence", "attention_last_four"})
    adaptive = True
    labelled = ("threshold", "induce", "low", "edge", "sink")
    hints = {"attention_last_four": ATTENTION_HINT}
    presets = {
        "dawn-llada": "sink=0.01,edge=0.07,induce=0.7,low=0.75,block_length=32",
        "dawn-dream": "sink=0.03,edge=0.1,induce=0.75,low=0.8,block_length=32",
    }
    grid = "threshold=0.6|0.7|0.8|0.9"

    block_length: int | None = 32
    threshold: float = probability(0.9)
    induce: float = probability(0.7)
    low: float = probability(0.75)
    edge: float = probability(0.07)
    sink: float = fraction(0.01)

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Ask for what is open, and for what is written: how sure is the model of it now?"""
        return [Row(view.prompt, view.canvas, view.open | (view.canvas != view.mask_id))]

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the three sets, or the surest position."""
        confidence = batch.statistics.confidence
        edges = self._edges(model_share(batch.statistics, "attention_last_four", square=True))
        is_written = canvases(batch) != batch.views[0].mask_id
        anchors = is_written & (confidence >= self.threshold)
        sure = batch.open & (confidence >= self.threshold)
        induced = batch.open & (confidence >= self.induce) & _touches(edges, anchors)
        rest = batch.open & (confidence >= self.low) & ~sure & ~induced
        rest = rest & ~_touches(edges, sure & induced)
        chosen = sure | induced | independent_set(confidence, rest, edges | edges.mT)
        none = ~chosen.any(dim=1, keepdim=True)
        write = chosen | (top(confidence, batch.open, 1) & none)
        return Updates(write=write, tokens=batch.statistics.token)

    def _edges(
        self, attention: Float[Tensor, "samples length length"]
    ) -> Bool[Tensor, "samples length length"]:
        """Return True where the row's position attends to the column's, which is no sink."""
        count = (attention.sum(dim=2) > 0).sum(dim=1).clamp(min=1)
        incoming = attention.sum(dim=1) / count[:, None]
        itself = torch.eye(attention.shape[1], dtype=torch.bool, device=attention.device)
        is_sink = incoming > self.sink
        return (attention >= self.edge) & ~itself & ~is_sink[:, None]


def _touches(
    edges: Bool[Tensor, "samples length length"], marked: Bool[Tensor, "samples length"]
) -> Bool[Tensor, "samples length"]:
    """Return the positions with an edge from a marked one."""
    return (edges & marked[:, None]).any(dim=2)
