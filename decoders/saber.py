"""Saber: speed up as confidence builds, and take back what the later context doubts.

The bar that a position must pass is the mean confidence of everything that was committed so
far; after each call those tokens are opened again whose position has lost most confidence.

Rule, in each call:

* ``S = {i open : c_i > mean of all confidences at commit}``, the bar being 1 at first; if
  these are fewer than ``least``, the ``least`` surest; commit S;
* if open positions are left, open again the ``min(max(least // 2, ceil(|S| / 8)), |S| - 1)``
  written positions with the smallest ``c_i - c_i one call earlier``, where c_i is the
  confidence of what is likeliest there now, not of what is written.

Every position up to the end of the block has a confidence in every call, written or not, so a
token of many calls ago may be taken back, also one of an earlier block, which is then filled
together with the present one.  Before the first call all confidences are 0, so that the first
call takes back what is least sure; a position that a later block adds counts as having gained
without end.

Each call adds one token at least, so n positions take n calls at most.  As earlier blocks are
asked for in every call, a cache that keeps them saves nothing.
Defaults: least = 2.

Source: Dong et al., "Saber: An Efficient Sampling with Adaptive Acceleration and
Backtracking Enhanced Remasking for Diffusion Language Model" (2025, arXiv:2510.18165), and
its code, ``generate_with_saber`` of zhaoyMa/Saber at 2f061e2 (read 2026-11-30), in which a
confidence at commit counts for the bar even after it was taken back.  Where fewer than
``least`` positions are open, that code also writes others, of later blocks or a second time;
ours commits what is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.batched import (
    reaching_back,
    revised,
    scatter_field,
    stack_field,
    writable,
)
from parallelbench.decoders.selection import leading, ranking, top
from parallelbench.model import Row
from parallelbench.ranges import whole


@dataclass(slots=True, eq=False)
class Confidences:
    """Confidences of the positions of one sample.

    Attributes:
        commit: Confidence at the last commit; -1 where there was none.
        before: Confidence one call earlier; 0 before the first call, -inf where that call did
            not ask.
    """

    commit: Float[Tensor, " length"]
    before: Float[Tensor, " length"]


@DECODERS.register("saber")
@dataclass(frozen=True, kw_only=True)
class Saber(BatchDecoder):
    """Commit what is surer than the mean so far; open again what lost most confidence.

    Attributes:
        least: Tokens that each call commits at least, if so many are open; at least 1.
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    remasks = True
    labelled = ("least",)
    grid = "least=1|2|4|8|16"

    least: int = whole(1, 2, "token per step")

    def start(self, view: View) -> Confidences:
        """Return the state of a sample in which nothing was committed."""
        never = torch.full(view.canvas.shape, -1.0, device=view.canvas.device)
        return Confidences(commit=never, before=torch.zeros_like(never))

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Ask for all positions up to the end of the block, written or not."""
        wanted = writable(view).clone()
        wanted[view.window[1] :] = False
        return [Row(view.prompt, view.canvas, wanted)]

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what passes the bar, and open again what lost most confidence."""
        confidence = batch.statistics.confidence
        commit, before = stack_field(batch.states, "commit"), stack_field(batch.states, "before")
        sure = batch.open & (confidence > _mean(commit))
        few = sure.sum(dim=1, keepdim=True) < self.least
        chosen = torch.where(few, top(confidence, batch.open, self.least), sure)
        scatter_field(batch.states, commit=confidence.where(chosen, commit), before=confidence)
        left = batch.open & ~chosen
        requested = confidence > -torch.inf
        # Finite: a closed position ranks below any number.
        gain = (confidence - before).clamp(max=torch.finfo(confidence.dtype).max)
        held = requested & ~left
        opened = leading(ranking(-gain, held), self._doubted(chosen, left), held)
        return replace(revised(batch, chosen, opened), windows=reaching_back(batch, opened))

    def _doubted(
        self, chosen: Bool[Tensor, "samples length"], left: Bool[Tensor, "samples length"]
    ) -> Int[Tensor, "samples 1"]:
        """Return the number of positions to open again: none where none is left open."""
        size = chosen.sum(dim=1, keepdim=True)
        count = torch.minimum(((size + 7) // 8).clamp(min=self.least // 2), size - 1)
        return count * left.any(dim=1, keepdim=True)


def _mean(commit: Float[Tensor, "samples length"]) -> Float[Tensor, "samples 1"]:
    """Return the mean confidence of every position that was ever committed; 1 if none was."""
    made = commit >= 0
    count = made.sum(dim=1, keepdim=True)
    total = commit.double().where(made, 0.0).sum(dim=1, keepdim=True)
    return torch.where(count > 0, total / count.clamp(min=1), 1.0)
