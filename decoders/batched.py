"""What batched strategies of the full shape share: one sample is a batch of one.

A strategy that sometimes commits nothing, that must know where its window lies or that moves
it is no :class:`~parallelbench.decoder.Chooser`.  It may still decide for all samples at
once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from parallelbench.decoder import (
    Decoder,
    Progress,
    Statistics,
    StepBatch,
    Update,
    Updates,
    View,
)


@dataclass(frozen=True, kw_only=True)
class Batched(Decoder):
    """A strategy that is written for a batch, and does the same for one sample."""

    @abstractmethod
    def step_batch(self, batch: StepBatch) -> Updates:
        """Return what one step does to every sample of ``batch``."""

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Return what one step does to one sample."""
        device = view.open.device
        batch = StepBatch(
            views=[view],
            states=[state],
            open=view.open[None],
            progress=Progress(
                step=torch.tensor([view.step], device=device),
                initial=torch.tensor([view.initial], device=device),
            ),
            statistics=statistics,
            rows=[slice(0, len(statistics.token))],
        )
        updates = self.step_batch(batch)
        return Update(
            write=updates.write[0],
            tokens=updates.tokens[0],
            done=bool(updates.done) and updates.done[0],
            window=updates.windows[0] if updates.windows else None,
        )


def bounds(batch: StepBatch) -> tuple[Int[Tensor, "samples 1"], Int[Tensor, "samples 1"]]:
    """Return the first position of each sample's window, and the one after its last."""
    windows = torch.tensor([view.window for view in batch.views], device=batch.open.device)
    return windows[:, :1], windows[:, 1:]


def first_open(
    views: Sequence[View], like: Bool[Tensor, "samples length"]
) -> Bool[Tensor, "samples length"]:
    """Return which positions of each canvas were open before anything was written."""
    return torch.stack([view.prompt.open for view in views]).to(like.device)
