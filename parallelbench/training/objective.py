r"""The training objective: an upper bound on -log p(answer), in nats.

Of the L open positions of an answer, k are masked: k is uniform on 1..L, and the k positions are
drawn uniformly.  The prompt and the rest of the canvas are visible.  The loss of the sample is

    (L / k) * sum over masked positions i of -log p(token i | everything not masked).

Its expectation over k and the masks is the mean of -log p(answer) over all orders of writing the
answer token by token.  It is therefore at least -log p(answer), with equality if the predictions
are the conditionals of one joint distribution.  It is the time integral of the absorbing process
with weight 1/t, with t replaced by the exact share k / L of masks, which reduces its variance.

A batch stratifies k: it draws one value from each of as many equal parts of 1..L as it has
samples, which reduces the variance of their mean without changing their distribution.

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

#: Maximum ratio of the longest to the shortest sequence of a batch.
_MOST_PADDING = 1.4


class MaskedBatch(NamedTuple):
    """Partly masked sequences of different lengths as one tensor, padded on the left.

    Attributes:
        ids: Token ids: the prompt, then the canvas with its masks.
        real: True for tokens, False for padding.
        positions: Position ids, counted from the first token of each sequence.
        masked: True at masked positions.
        targets: Tokens of the masked positions, row after row.
        weights: Weight L / k of each target's cross-entropy.
    """

    ids: Int[Tensor, "rows width"]
    real: Bool[Tensor, "rows width"]
    positions: Int[Tensor, "rows width"]
    masked: Bool[Tensor, "rows width"]
    targets: Int[Tensor, " masked"]
    weights: Float[Tensor, " masked"]

    def to(self, device: torch.device) -> MaskedBatch:
        """Return the batch on ``device``."""
        return MaskedBatch(*(tensor.to(device) for tensor in self))


def mask_rng(seed: int, step: int) -> random.Random:
    """Return the generator of the masks of one step."""
    return random.Random(f"train-masks/{seed}/{step}")


def draw_masks(opens: Sequence[Bool[Tensor, " _"]], rng: random.Random) -> list[Bool[Tensor, " _"]]:
    """Draw the masked positions of each answer.

    Args:
        opens: True at the open positions of each answer, at least one.
        rng: Random generator.
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
    """Draw a uniform number from 1 to each of ``lengths``, stratified over the batch."""
    parts = list(range(len(lengths)))
    rng.shuffle(parts)  # strata must be independent of the tasks
    offset = rng.random()
    return [
        # Rounding may exceed the last part.
        min(length, 1 + int((part + offset) / len(lengths) * length))
        for part, length in zip(parts, lengths, strict=True)
    ]


def group_by_length(examples: Sequence[Example]) -> list[list[int]]:
    """Return the indices of ``examples`` in groups of similar length, shortest first.

    A batch is padded to its longest sequence, and padding costs as much as tokens.
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
) -> MaskedBatch:
    """Return ``examples`` with ``masks`` as one batch.

    Args:
        examples: Training examples, at least one.
        masks: Masked positions of each example's canvas.
        mask_id: Token id at masked positions.
        padding: Token id before short sequences; it is never attended to.
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
    return MaskedBatch(
        ids=ids,
        real=positions >= 0,
        positions=positions.clamp(min=0),
        masked=masked,
        targets=torch.cat([each.answer[mask] for each, mask in zip(examples, masks, strict=True)]),
        weights=(opens / counts).repeat_interleave(counts),
    )


def masked_losses(network: Any, batch: MaskedBatch, shift: int = 0) -> Float[Tensor, " rows"]:
    """Return the loss of each sample, in nats per answer.

    Args:
        network: Language model of transformers with bidirectional attention.
        batch: Batch on the network's device.
        shift: 1 if the output at a position predicts the next token, else 0.
    """
    hidden = network.model(
        input_ids=batch.ids,
        # Without padding, every position attends to every other.
        attention_mask=None if bool(batch.real.all()) else batch.real.long(),
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    rows, columns = batch.masked.nonzero(as_tuple=True)
    logits = network.lm_head(hidden[rows, columns - shift])
    parts = batch.weights * cross_entropy(logits.float(), batch.targets, reduction="none")
    return torch.zeros(len(batch.ids), device=parts.device).index_add(0, rows, parts)
