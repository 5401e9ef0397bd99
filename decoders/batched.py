"""Batched helpers of decoders that keep a state, revise, slide a window or test hypotheses.

A state belongs to its sample, so that samples may come and go; most rules are written for all
of them at once.  A step gathers, computes, and hands each sample its line back.  A rule that
sends several rows for a sample *supposes*: it shows the model what is not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import StepBatch, Update, Updates, View
from parallelbench.model import Row


def stack_field(states: Sequence[Any], name: str) -> Tensor:
    """Return one field of every state, stacked into a tensor."""
    return torch.stack([getattr(state, name) for state in states])


def scatter_field(states: Sequence[Any], **values: Tensor) -> None:
    """Set fields of every state, each to its own row of a tensor."""
    for name, lines in values.items():
        for state, line in zip(states, lines.unbind(), strict=True):
            setattr(state, name, line)


def row_with(
    view: View,
    wanted: Bool[Tensor, " length"],
    token: Int[Tensor, " length"],
    positions: Sequence[int],
) -> Row:
    """Return the row of a sample with ``token`` written at ``positions``.

    It asks for the part of ``wanted`` that is then still open.
    """
    canvas, left = view.canvas.clone(), wanted.clone()
    at = torch.tensor(positions, dtype=torch.long, device=canvas.device)
    canvas[at] = token[at]
    left[at] = False
    return Row(view.prompt, canvas, left)


def writing(view: View, token: Int[Tensor, " length"], positions: Sequence[int]) -> Update:
    """Return the update of a sample that writes ``token`` at ``positions``; none are fine."""
    write = torch.zeros_like(view.open)
    write[torch.tensor(positions, dtype=torch.long, device=write.device)] = True
    return Update(write=write, tokens=token)


def writable(view: View) -> Bool[Tensor, " length"]:
    """Return the positions that were open in the prompt, on the device of the canvas."""
    return view.prompt.open.to(view.canvas.device)


def in_window(view: View, where: Bool[Tensor, " length"]) -> Bool[Tensor, " length"]:
    """Return the part of ``where`` that lies in a sample's window."""
    inside = torch.zeros_like(where)
    inside[slice(*view.window)] = where[slice(*view.window)]
    return inside


def offsets(batch: StepBatch) -> Int[Tensor, "samples length"]:
    """Return every position counted from the start of its sample's window."""
    device = batch.open.device
    lows = torch.tensor([[view.window[0]] for view in batch.views], device=device)
    return torch.arange(batch.open.shape[1], device=device) - lows


def in_windows(
    batch: StepBatch, where: Bool[Tensor, "samples length"]
) -> Bool[Tensor, "samples length"]:
    """Return the part of ``where`` that lies in each sample's window."""
    lengths = [[view.window[1] - view.window[0]] for view in batch.views]
    offset = offsets(batch)
    return where & (offset >= 0) & (offset < torch.tensor(lengths, device=offset.device))


def canvases(batch: StepBatch) -> Int[Tensor, "samples length"]:
    """Return the token ids of every canvas."""
    return torch.stack([view.canvas for view in batch.views])


def of_written(
    batch: StepBatch,
    distribution: Float[Tensor, "samples shown vocabulary"],
    place: Int[Tensor, "samples length"] | None = None,
) -> Float[Tensor, "samples length"]:
    """Return the probability of what is written at each position; open ones mean nothing.

    Args:
        batch: The samples.
        distribution: Prediction at every position that a row shows.
        place: Column of ``distribution`` that predicts each position; the same index by default.
    """
    # The mask's id may lie beyond the tokenizer.
    token = canvases(batch).clamp(max=distribution.shape[2] - 1)
    if place is None:
        return distribution.gather(2, token[:, :, None]).squeeze(2)
    line = torch.arange(len(token), device=token.device)[:, None]
    return distribution[line, place, token]


def revised(
    batch: StepBatch,
    committed: Bool[Tensor, "samples length"],
    opened: Bool[Tensor, "samples length"],
) -> Updates:
    """Return the update that writes predicted tokens and opens positions again.

    A position that is in both was open and stays so: nothing is written there.
    """
    # A row may show more than the canvas.
    token = batch.statistics.token[:, : batch.open.shape[1]]
    return Updates(
        write=(committed & ~opened) | (opened & ~batch.open),
        tokens=token.where(~opened, batch.views[0].mask_id),
    )


def window_bounds(batch: StepBatch) -> tuple[Int[Tensor, "samples 1"], Int[Tensor, "samples 1"]]:
    """Return the first position of each sample's window, and the one after its last."""
    windows = torch.tensor([view.window for view in batch.views], device=batch.open.device)
    return windows[:, :1], windows[:, 1:]


def reaching_back(
    batch: StepBatch, opened: Bool[Tensor, "samples length"]
) -> list[tuple[int, int] | None]:
    """Return the windows that must begin earlier, for a position before them is opened again."""
    start, _ = window_bounds(batch)
    position = torch.arange(opened.shape[1], device=opened.device)
    back = (opened & (position < start)).any(dim=1).tolist()
    return [
        (0, view.window[1]) if moves else None
        for view, moves in zip(batch.views, back, strict=True)
    ]


def first_open(
    views: Sequence[View], like: Bool[Tensor, "samples length"]
) -> Bool[Tensor, "samples length"]:
    """Return the positions of each canvas that were open before anything was written."""
    return torch.stack([view.prompt.open for view in views]).to(like.device)
