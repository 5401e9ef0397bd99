r"""What is minimised: a bound on -log p(answer), in nats.

Of an answer with L open positions a number k of them, uniform on 1..L, is masked, which
ones uniformly at random, and nothing else: prompt and the rest of the canvas are given.  The loss
of the sample is

    (L / k) * sum over masked positions i of -log p(token i | everything not masked).

Its mean over k and the masks is the mean over all orders of writing the answer one by one
of -log p(answer in that order), hence never below -log p(answer), and equal to it where
the network's predictions are the conditionals of one joint law.  It is the integral over
time of the absorbing process with its weight 1/t, with the number of masks in the place of
time: t is k / L, and counting leaves its variance out.

A batch takes its numbers of masks from equal parts of 1..L, one from each, which makes
their mean vary less and leaves each as it is.

Source: Nie et al., "Large Language Diffusion Models" (arXiv:2502.09992), equation 3 and, in
this form, equation 6; Sahoo et al., MDLM (arXiv:2406.07524), equation 8, for the weight;
Kingma et al., "Variational Diffusion Models" (arXiv:2107.00630), appendix I.1, for the
equal parts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from parallelbench.training.data import Example

#: How many times as long as the shortest the longest sequence of a batch may be.
_MOST_PADDING = 1.4


class Batch(NamedTuple):
    """Partly masked sequences of different lengths as one tensor, padded on the left.

    Attributes:
        ids: Token ids: the prompt, then the canvas with its masks.
        real: True where a token stands, False where padding does.
        positions: Counted from the first token of each sequence.
        masked: True at the positions whose tokens are asked for.
        targets: Those tokens, row after row.
        weights: What the cross-entropy of each counts: its row's L / k.
    """

    ids: Int[Tensor, "rows width"]
    real: Bool[Tensor, "rows width"]
    positions: Int[Tensor, "rows width"]
    masked: Bool[Tensor, "rows width"]
    targets: Int[Tensor, " masked"]
    weights: Float[Tensor, " masked"]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        return Batch(*(tensor.to(device) for tensor in self))


def mask_rng(seed: int, step: int) -> random.Random:
    """Return the generator of the masks of one step."""
    return random.Random(f"train-masks/{seed}/{step}")  # noqa: S311  not for secrets


def draw_masks(opens: Sequence[Bool[Tensor, " _"]], rng: random.Random) -> list[Bool[Tensor, " _"]]:
    """Return which open positions of each answer are masked.

    Args:
        opens: True at the open positions of each, at least one.
        rng: Decides how many and which.
    """
    counts = draw_counts([int(each.sum()) for each in opens], rng)
    masks = []
    for each, count in zip(opens, counts, strict=True):
        chosen = rng.sample(each.nonzero().flatten().tolist(), count)
        mask = torch.zeros_like(each)
        mask[chosen] = True
        masks.append(mask)
    return masks


def draw_counts(lengths: Sequence[int], rng: random.Random) -> list[int]:
    """Return a number from 1 to each of ``lengths``, uniform, each from another equal part."""
    parts = list(range(len(lengths)))
    rng.shuffle(parts)  # a row's part must not tell its task
    offset = rng.random()
    return [
        # Rounding may carry the last part to the end.
        min(length, 1 + int((part + offset) / len(lengths) * length))
        for part, length in zip(parts, lengths, strict=True)
    ]


def alike(examples: Sequence[Example]) -> list[list[int]]:
    """Return the places of ``examples`` in groups of about the same length, shortest first.

    In one batch all would be padded to the longest, and padding costs what tokens cost.
    """
    lengths = [len(each.prompt) + len(each.answer) for each in examples]
    groups: list[list[int]] = []
    for place in sorted(range(len(examples)), key=lengths.__getitem__):
        if not groups or lengths[place] > _MOST_PADDING * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(place)
    return groups


def collate(
    examples: Sequence[Example], masks: Sequence[Bool[Tensor, " _"]], mask_id: int, padding: int
) -> Batch:
    """Return ``examples`` with ``masks`` as one batch.

    Args:
        examples: At least one.
        masks: Of the canvas of each.
        mask_id: What stands at masked positions.
        padding: What stands before short sequences; nobody sees it.
    """
    sequences = [
        torch.cat([each.prompt, each.answer.masked_fill(mask, mask_id)])
        for each, mask in zip(examples, masks, strict=True)
    ]
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(examples), width), padding)
    masked = torch.zeros(ids.shape, dtype=torch.bool)
    for row, (sequence, mask) in enumerate(zip(sequences, masks, strict=True)):
        ids[row, width - len(sequence) :] = sequence
        masked[row, width - len(mask) :] = mask
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    positions = torch.arange(width) - (width - lengths[:, None])
    counts = torch.tensor([int(mask.sum()) for mask in masks])
    opens = torch.tensor([int(each.open.sum()) for each in examples])
    return Batch(
        ids=ids,
        real=positions >= 0,
        positions=positions.clamp(min=0),
        masked=masked,
        targets=torch.cat([each.answer[mask] for each, mask in zip(examples, masks, strict=True)]),
        weights=(opens / counts).repeat_interleave(counts),
    )


def losses(network: Any, batch: Batch, shift: int = 0) -> Float[Tensor, " rows"]:
    """Return the loss of each sample, in nats an answer.

    Args:
        network: A causal language model of transformers that attends both ways.
        batch: As collated, on the network's device.
        shift: 1 if the output at a position describes the token after it.
    """
    hidden = network.model(
        input_ids=batch.ids,
        # Where nothing is padded, everybody sees everybody.
        attention_mask=None if bool(batch.real.all()) else batch.real.long(),
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    rows, columns = batch.masked.nonzero(as_tuple=True)
    logits = network.lm_head(hidden[rows, columns - shift])
    parts = batch.weights * cross_entropy(logits.float(), batch.targets, reduction="none")
    return torch.zeros(len(batch.ids), device=parts.device).index_add(0, rows, parts)
