"""Confidence factor: commit more positions the surer all of them are together.

A group of n tokens, each with confidence above ``1 - 1 / (n + 1)``, has the same likeliest
joint value as the product of its marginals: then writing all n at once is greedy decoding.
The factor relaxes (above 1) or tightens (below 1) that guarantee.

Rule: with the confidences in descending order ``c_(1) >= ... >= c_(N)``, commit the first k,

* ``paper``: k = the largest n with ``(n + 1) (1 - c_(n)) < factor``, at least 1;
* ``published``: k = the number of ranks before the first n > 1 with
  ``c_(n) < 1 - factor / (n + 1)``; but N if that is the last rank, or if there is none.

The second is what the authors' code does, and the code of others who took it over.  It
differs in two ways: equality passes, and a failure at the last rank alone goes unnoticed.
It is also what the public board decodes with, so the grid and the preset use it.
Defaults: factor = 1.0, rule = paper.

Source: Wu et al., "Fast-dLLM" (2025, arXiv:2505.22618), factor-based parallel decoding and
theorem 1; its code, ``get_transfer_index_dynamic``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import choice, positive


@DECODERS.register("confidence_factor")
@dataclass(frozen=True, kw_only=True)
class ConfidenceFactor(Chooser):
    """Commit as many of the most confident positions as their confidence allows, at least one.

    Attributes:
        factor: Doubt that a group may hold, positive; 1 is the bound of the theorem.
        rule: ``paper`` as written there, ``published`` as its code decides.
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    labelled = ("factor",)
    presets = {
        "fast-dllm-factor": "factor=1.0,rule=published,block_length=32",
    }
    grid = "factor=0.7|1.0|1.3|1.6|1.9,rule=published"

    factor: float = positive(1.0)
    rule: Literal["paper", "published"] = choice("paper", "published")

    def choose(self, step: Step) -> Selection:
        """Return the open positions that are jointly sure enough, one at least."""
        confidence = step.confidence
        order = ranking(confidence, step.open)
        count = _paper_count if self.rule == "paper" else _published_count
        descending = confidence.gather(1, order).float()
        k = count(descending, step.open.sum(dim=1, keepdim=True), self.factor)
        return leading(order, k, step.open)


def _paper_count(
    descending: Float[Tensor, "samples length"],
    size: Int[Tensor, "samples 1"],
    factor: float,
) -> Int[Tensor, "samples 1"]:
    rank, threshold = _thresholds(descending, factor)
    passes = (rank <= size) & (descending > threshold)
    return torch.where(passes, rank, 1).amax(dim=1, keepdim=True)


def _published_count(
    descending: Float[Tensor, "samples length"],
    size: Int[Tensor, "samples 1"],
    factor: float,
) -> Int[Tensor, "samples 1"]:
    rank, threshold = _thresholds(descending, factor)
    fails = (rank > 1) & (rank < size) & (descending < threshold)
    # A failure at the last rank counts as none: the authors' code adds it back.
    return torch.where(fails, rank - 1, size).amin(dim=1, keepdim=True)


def _thresholds(
    descending: Float[Tensor, "samples length"], factor: float
) -> tuple[Int[Tensor, " length"], Float[Tensor, " length"]]:
    """Return the ranks 1, 2, ... and what the confidence of each is compared with.

    The paper's condition, solved for the confidence.  In that form, and both rounded to
    float32, a confidence of 2/3 equals a threshold of 2/3.
    """
    rank = torch.arange(1, descending.shape[1] + 1, device=descending.device)
    return rank, (1 - factor / (rank.double() + 1)).to(descending.dtype)
