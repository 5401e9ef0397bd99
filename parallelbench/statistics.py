"""Logits -> what decoders are told of each position; also where tokens are drawn.

All of it is computed once per model call for the rows of every decoder in the batch, in
float32, and only what some decoder needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from parallelbench.errors import ModelError
from parallelbench.model import Prediction
from parallelbench.prompt import Codec


@dataclass(frozen=True, slots=True, eq=False)
class FlatStatistics:
    """Statistics of the wanted positions of all rows, one after the other.

    The fields are those of :class:`~parallelbench.decoder.Statistics`.
    """

    token: Int[Tensor, " wanted"]
    confidence: Float[Tensor, " wanted"] | None
    margin: Float[Tensor, " wanted"] | None
    entropy: Float[Tensor, " wanted"] | None
    distribution: Float[Tensor, "wanted vocabulary"] | None

    def at(self, lines: slice | Int[Tensor, " lines"]) -> FlatStatistics:
        """Return the statistics of some positions only."""
        present = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: part[lines] for name, part in present.items() if part is not None}
        )

    def without_distribution(self) -> FlatStatistics:
        """Return all but what takes a vocabulary's room for each position."""
        return self if self.distribution is None else replace(self, distribution=None)

    @classmethod
    def joined(cls, parts: Sequence[FlatStatistics]) -> FlatStatistics:
        """Return the statistics that all ``parts`` have, one after the other."""
        if len(parts) == 1:
            return parts[0]
        joined: dict[str, Any] = {}
        for field in fields(cls):
            values = [getattr(part, field.name) for part in parts]
            known = all(value is not None for value in values)
            joined[field.name] = torch.cat(values) if known else None
        return cls(**joined)


class Drawing(NamedTuple):
    """How the tokens of some positions are drawn.

    Attributes:
        temperature: 0 takes the likeliest token.
        uniform: A number in [0, 1) for each, which decides what is drawn.
    """

    temperature: Float[Tensor, " wanted"]
    uniform: Float[Tensor, " wanted"]

    def at(self, lines: Int[Tensor, " lines"]) -> Drawing:
        """Return how it is done at some positions only."""
        return Drawing(self.temperature[lines], self.uniform[lines])


def forbid_unwritable(prediction: Prediction, codec: Codec) -> None:
    """Give the mask id and ids beyond the tokenizer no chance, in place.

    They are ruled out before any statistic is computed, so that no strategy can be misled
    by mass on a token that may not be written.
    """
    logits, ids = prediction.logits, prediction.token_ids
    if ids is None:
        logits[:, codec.size :] = -torch.inf
        logits[:, [token for token in codec.unwritable if token < logits.shape[1]]] = -torch.inf
    else:
        logits.masked_fill_((ids >= codec.size) | (ids == codec.mask_id), -torch.inf)


def statistics_of(
    prediction: Prediction,
    needs: AbstractSet[str],
    drawing: Drawing | None,
    vocabulary_size: int,
    lines: Int[Tensor, " wanted"] | None = None,
) -> FlatStatistics:
    """Return the statistics named in ``needs``, and the predicted or drawn tokens.

    Args:
        prediction: With unwritable tokens already forbidden.
        needs: Names of statistics.
        drawing: How tokens are drawn; None takes the likeliest everywhere.
        vocabulary_size: Of ``distribution``.
        lines: Which line of the prediction each position reads; None if each has its own.

    Raises:
        ModelError: The model gave no admissible token at some position, or not a number.
    """
    # Softmax and log-softmax reduce each row by itself, so a position's statistics do not
    # depend on the other rows of the batch.
    logits = prediction.logits.float()
    probabilities = torch.softmax(logits, dim=-1)
    if not torch.isfinite(probabilities).all():
        raise ModelError("the model's logits at some position are all -inf, or not numbers")
    column = logits.argmax(dim=-1)
    read = torch.arange(len(logits), device=logits.device) if lines is None else lines
    column = column[read]
    if drawing is not None:
        hot = drawing.temperature > 0
        column[hot] = _draw(logits[read[hot]], drawing.temperature[hot], drawing.uniform[hot])
    return FlatStatistics(
        token=column if prediction.token_ids is None else prediction.token_ids[read, column],
        confidence=probabilities[read, column] if "confidence" in needs else None,
        margin=_margin(probabilities)[read] if "margin" in needs else None,
        entropy=_entropy(logits, probabilities)[read] if "entropy" in needs else None,
        distribution=(
            _spread(prediction, probabilities, vocabulary_size)[read]
            if "distribution" in needs
            else None
        ),
    )


def _draw(
    logits: Float[Tensor, "wanted columns"],
    temperature: Float[Tensor, " wanted"],
    draws: Float[Tensor, " wanted"],
) -> Int[Tensor, " wanted"]:
    """Invert the cumulative distribution: one uniform number draws one token."""
    tempered = torch.softmax(logits.double() / temperature[:, None].double(), dim=-1)
    cumulative = tempered.cumsum(dim=-1)
    total = cumulative[:, -1]
    # The product may round up to the total itself, which lies beyond the last token.
    reached = torch.minimum(draws.double() * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, reached[:, None], right=True).squeeze(-1)


def _margin(probabilities: Float[Tensor, "wanted columns"]) -> Float[Tensor, " wanted"]:
    first, second = probabilities.topk(2, dim=-1).values.unbind(dim=-1)
    return first - second


def _entropy(
    logits: Float[Tensor, "wanted columns"], probabilities: Float[Tensor, "wanted columns"]
) -> Float[Tensor, " wanted"]:
    # 0 log 0 is 0 by continuity: impossible tokens carry no surprise.
    surprise = torch.where(probabilities > 0, torch.log_softmax(logits, dim=-1), 0.0)
    return -(probabilities * surprise).sum(dim=-1)


def _spread(
    prediction: Prediction, probabilities: Float[Tensor, "wanted columns"], vocabulary_size: int
) -> Float[Tensor, "wanted vocabulary"]:
    if prediction.token_ids is None:
        return probabilities[:, :vocabulary_size]
    full = probabilities.new_zeros(len(probabilities), vocabulary_size)
    # Padding columns hold probability 0 and may repeat an id, hence a sum.
    return full.scatter_add_(1, prediction.token_ids, probabilities)
