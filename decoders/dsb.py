"""DSB: any strategy, in a window that slides along as its positions are written.

Fixed blocks stall at their ends: the last, hardest position of a block holds up all that
comes after.  Here every position that is written lets one more in at the far end.

Rule: the strategy inside chooses among the open positions of ``[first open, end)``, where
``end = length +`` the positions already filled, at most ``longest`` after the first open one
and never beyond the end of the canvas.
Defaults: strategy = confidence_threshold, length = 32, longest = none.  The authors' constant
variant is ``longest = length``, their greedy one ``longest = none``.

Pre-filled positions count as filled, so that a window never runs out of open ones.

Source: "DSB: Dynamic Sliding Block Scheduling for Diffusion LLMs" (2026, arXiv:2602.05992).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, Step, StepBatch, Updates
from parallelbench.decoders.batched import window_bounds
from parallelbench.decoders.inner import Inner, read_inner
from parallelbench.ranges import whole


@DECODERS.register("dsb")
@dataclass(frozen=True, kw_only=True)
class DSB(BatchDecoder):
    """Let another strategy choose within a sliding window.

    Attributes:
        strategy: The strategy inside, such as ``confidence_threshold(threshold=0.8)``; several
            fields have ``;`` between them.
        length: Number of open positions of the window at first, at least 1.
        longest: Greatest length of the window from its first open position, at least
            ``length``; None lets it grow as far as what is written.

    Raises:
        ValueError: ``strategy`` is no chooser, or a length is out of range.
    """

    labelled = ("strategy", "length", "longest")
    presets = {
        "dsb-const": "length=32,longest=32",
        "dsb-greedy": "length=32,longest=none",
    }
    grid = "strategy=" + "|".join(
        f"confidence_threshold(threshold={threshold})"
        for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    )

    strategy: str = "confidence_threshold"
    length: int = whole(1, 32, "position")
    longest: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.longest is not None and self.longest < self.length:
            raise ValueError(
                f"longest must be none or at least length={self.length}, got {self.longest}"
            )
        # A setting keeps every field, those inside too.
        object.__setattr__(self, "strategy", self._inner.text)

    @cached_property
    def _inner(self) -> Inner:
        return read_inner(self.strategy)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of the strategy inside
        """The needs of the inner decoder."""
        return self._inner.chooser.needs

    @property
    def adaptive(self) -> bool:  # type: ignore[override]  # likewise
        """True if the inner decoder is adaptive or its writes move the end of the window."""
        return self._inner.chooser.adaptive or self.longest is not None

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what the strategy inside chooses of each sample's window."""
        eligible = batch.open & self._window(batch)
        chosen = self._inner.chooser.choose(Step(batch.statistics, eligible, batch.progress))
        return Updates(write=chosen, tokens=batch.statistics.token)

    def _window(self, batch: StepBatch) -> Bool[Tensor, "samples length"]:
        low, high = window_bounds(batch)
        position = torch.arange(batch.open.shape[1], device=batch.open.device)
        filled = high - low - batch.open.sum(dim=1, keepdim=True)
        inside = position < low + self.length + filled
        if self.longest is None:
            return inside
        first = batch.open.long().argmax(dim=1, keepdim=True)
        return inside & (position < first + self.longest)
