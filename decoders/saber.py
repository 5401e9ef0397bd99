"""Saber: speed up as confidence builds, and take back what the later context doubts.

The bar that a position must pass is the mean confidence of everything that was committed so
far; after each call those tokens are opened again whose position has lost most confidence.

Rule, in each call:

* ``S = {i open : c_i > mean of all confidences at commit}``, the bar being 1 at first; if
  these are fewer than ``least``, the ``least`` surest; commit S;
* if open positions are left, open again the ``min(max(least // 2, ceil(|S| / 8)), |S| - 1)``
  written positions of the block with the smallest ``c_i - c_i one call earlier``, where c_i
  is the confidence of what is likeliest there now, not of what is written.  A position that
  was not open one call earlier counts as having gained without end.

Each call adds one token at least, so n positions take n calls at most.
Defaults: least = 2.

Source: Dong et al., "Saber: An Efficient Sampling with Adaptive Acceleration and
Backtracking Enhanced Remasking for Diffusion Language Model" (2025, arXiv:2510.18165), and
its code, in which a confidence at commit counts for the bar even after it was taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, Decoder, Row, StepBatch, Updates, View
from parallelbench.decoders.memory import (
    gathered,
    handed_back,
    in_window,
    in_windows,
    revised,
    writable,
)
from parallelbench.decoders.selection import computed, leading, ranking, top


@dataclass(slots=True, eq=False)
class Confidences:
    """How sure positions were.

    Attributes:
        writable: Where the sample may be written.
        commit: When it was last committed; -1 if it never was.
        before: One call earlier; -inf where it was not open then.
    """

    writable: Bool[Tensor, " length"]
    commit: Float[Tensor, " length"]
    before: Float[Tensor, " length"]


@DECODERS.register("saber")
@dataclass(frozen=True, kw_only=True)
class Saber(BatchDecoder):
    """Commit what is surer than the mean so far; open again what lost most confidence.

    Attributes:
        least: Tokens that each call commits at least, if so many are open; at least 1.

    Raises:
        ValueError: ``least`` is below 1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "confidence"})
    adaptive: ClassVar[bool] = True
    remasks: ClassVar[bool] = True
    labelled: ClassVar[tuple[str, ...]] = ("least",)
    grid: ClassVar[str] = "least=1|2|4|8|16"

    least: int = 2

    def __post_init__(self) -> None:
        Decoder.__post_init__(self)
        if self.least < 1:
            raise ValueError(f"least must be at least 1 token per step, got {self.least}")

    def start(self, view: View) -> Confidences:
        """Return that nothing was committed yet."""
        places = writable(view)
        never = torch.full(places.shape, -1.0, device=places.device)
        return Confidences(places, commit=never, before=torch.full_like(never, -torch.inf))

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Ask for all positions of the block, written or not."""
        return [Row(view.prompt, view.canvas, in_window(view, state.writable))]

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what passes the bar, and open again what lost most confidence."""
        confidence = computed(batch.statistics.confidence)
        commit = gathered(batch.states, "commit")
        sure = batch.open & (confidence > _mean(commit))
        few = sure.sum(dim=1, keepdim=True) < self.least
        chosen = torch.where(few, top(confidence, batch.open, self.least), sure)
        gain = confidence - gathered(batch.states, "before")
        handed_back(
            batch.states,
            commit=confidence.where(chosen, commit),
            before=confidence.where(batch.open, -torch.inf),
        )
        own = in_windows(batch, gathered(batch.states, "writable"))
        held = own & (chosen | ~batch.open)
        # Finite, for a closed position ranks behind any number.
        order = ranking(-gain.clamp(max=torch.finfo(gain.dtype).max), held)
        return revised(
            batch, chosen, leading(order, self._doubted(chosen, batch.open & ~chosen), held)
        )

    def _doubted(
        self, chosen: Bool[Tensor, "samples length"], left: Bool[Tensor, "samples length"]
    ) -> Int[Tensor, "samples 1"]:
        """Return how many positions are opened again: none where none is left open."""
        size = chosen.sum(dim=1, keepdim=True)
        count = torch.minimum(((size + 7) // 8).clamp(min=self.least // 2), size - 1)
        return count * left.any(dim=1, keepdim=True)


def _mean(commit: Float[Tensor, "samples length"]) -> Float[Tensor, "samples 1"]:
    """Return the mean confidence of all that was ever committed; 1 if nothing was."""
    made = commit >= 0
    count = made.sum(dim=1, keepdim=True)
    total = commit.double().where(made, 0.0).sum(dim=1, keepdim=True)
    return torch.where(count > 0, total / count.clamp(min=1), 1.0)
