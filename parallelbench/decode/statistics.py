"""Statistics of each position from logits, and draws of tokens.

All of it is computed once per model call for the rows of every decoder in the batch, in
float32, and only what some decoder needs; probabilities over the whole vocabulary are held for
a few positions at a time.

Confidences and margins are handed out in float64.  Float32 rounds all above 1 - 2^-25 to 1,
which is a lead of 18 nats over one other token, and is short of digits before that: strategies
would rank what is tied by index.  What all other tokens have together keeps its digits however
little it is, and tells them apart.  The rules:

* Where float32 gives 1, the value is that of float64, which itself is 1 from 37 nats on.  A
  threshold of 1 is therefore reached where published code that computes in float64 reaches it.
* Where float32 gives less, its order stands.  Only what is equal in float32 and nearly 1 is put
  in the order of float64, by less than float32 could show.
* A value that is the float32 nearest to a number of four decimals is that number, so that a
  threshold of 0.9 is reached by 0.9, not missed by what float32 makes of it.

Apple's GPUs have no float64: there both stay in float32 (:func:`widest`).
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

#: Logits whose probabilities are held at a time: those that fit a core's cache with what is
#: computed from them, and those that take a quarter of a gibibyte.
_CACHED = 2**18
_HELD = 2**26

#: Above it float32 has at most ten bits for what is missing to 1, and no number of four decimals.
_NEARLY_ONE = 1 - 2**-14
#: The greatest float32 below 1.
_BELOW_ONE = 1 - 2**-24
#: How much of what is missing to 1 orders what float32 does not tell apart: 2^-14 of at most
#: 2^-13 is less than half a step between float32 numbers below 1.
_NUDGE = 2**-14
#: To as many parts of 1 a threshold is given.
_DECIMALS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class FlatStatistics:
    """Statistics of the wanted positions of all rows, one after the other.

    The fields are those of :class:`~parallelbench.decoder.Statistics`.
    """

    token: Int[Tensor, " wanted"]
    confidence: Float[Tensor, " wanted"] | None
    margin: Float[Tensor, " wanted"] | None
    logit_margin: Float[Tensor, " wanted"] | None
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
    """Temperatures and random numbers with which the tokens of some positions are drawn.

    Attributes:
        temperature: 0 takes the likeliest token.
        uniform: A number in [0, 1) for each, which decides what is drawn.
    """

    temperature: Float[Tensor, " wanted"]
    uniform: Float[Tensor, " wanted"]

    @property
    def hot(self) -> Int[Tensor, " hot"]:
        """The positions at which chance decides."""
        return self.temperature.nonzero().flatten()

    def at(self, lines: Int[Tensor, " lines"]) -> Drawing:
        """Return the draws of some positions only."""
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
        prediction: Prediction with unwritable tokens already forbidden.
        needs: Names of statistics.
        drawing: Random draws; None takes the likeliest token everywhere.
        vocabulary_size: Number of ids in ``distribution``.
        lines: Line of the prediction that each position reads; None if each has its own.

    Raises:
        ModelError: The model gave no admissible token at some position, or not a number.
    """
    logits = prediction.logits
    step = _lines_at_a_time(logits)
    computed = _LineStatistics.joined(
        [_of_some(part.float(), needs) for part in logits.split(step)]
    )
    read = torch.arange(len(logits), device=logits.device) if lines is None else lines
    column = computed.column[read]
    confidence = None if computed.confidence is None else computed.confidence[read]
    if drawing is not None:
        for some in drawing.hot.split(step):
            column[some], chance = draw(logits[read[some]], drawing.at(some))
            if confidence is not None:
                likeliest = column[some] == computed.column[read[some]]
                confidence[some] = confidence[some].where(likeliest, _as_given(chance))
    return FlatStatistics(
        token=column if prediction.token_ids is None else prediction.token_ids[read, column],
        confidence=confidence,
        margin=None if computed.margin is None else computed.margin[read],
        logit_margin=None if computed.logit_margin is None else computed.logit_margin[read],
        entropy=None if computed.entropy is None else computed.entropy[read],
        distribution=(
            None
            if computed.probabilities is None
            else _read(_spread(prediction, computed.probabilities, vocabulary_size), lines)
        ),
    )


def _read(
    distribution: Float[Tensor, "lines vocabulary"], lines: Int[Tensor, " wanted"] | None
) -> Float[Tensor, "wanted vocabulary"]:
    # A copy of so much costs as much as a pass over the logits.
    return distribution if lines is None else distribution[lines]


class _LineStatistics(NamedTuple):
    """Statistics of the lines of a prediction; None for those that no decoder needs."""

    column: Int[Tensor, " wanted"]
    confidence: Float[Tensor, " wanted"] | None
    margin: Float[Tensor, " wanted"] | None
    logit_margin: Float[Tensor, " wanted"] | None
    entropy: Float[Tensor, " wanted"] | None
    probabilities: Float[Tensor, "wanted columns"] | None

    @classmethod
    def joined(cls, parts: Sequence[_LineStatistics]) -> _LineStatistics:
        """Return ``parts``, one after the other."""
        joined: dict[str, Any] = {}
        for name in cls._fields:
            values = [getattr(part, name) for part in parts]
            joined[name] = None if values[0] is None else torch.cat(values)
        return cls(**joined)


def _lines_at_a_time(logits: Float[Tensor, "wanted columns"]) -> int:
    """Return for how many positions probabilities are held at a time, at least two.

    On a processor they stay in its caches, where all passes over them but the first are cheap.
    """
    most = _CACHED if logits.device.type == "cpu" else _HELD
    return max(2, most // max(1, logits.shape[1]))


def _of_some(logits: Float[Tensor, "wanted columns"], needs: AbstractSet[str]) -> _LineStatistics:
    # Of equal ones, the first is the greatest.  One that is no number, or nothing but -inf,
    # makes the greatest no number.
    highest, column = logits.max(dim=-1, keepdim=True)
    if not torch.isfinite(highest).all():
        raise ModelError("the model's logits at some position are all -inf, or not numbers")
    # Softmax reduces each row by itself, so a position's statistics do not depend on the
    # other rows of the batch.
    probabilities = torch.softmax(logits, dim=-1)
    confidence = probabilities.gather(1, column).squeeze(1)
    others = _others(probabilities, column) if needs & {"confidence", "margin"} else None
    return _LineStatistics(
        column=column.squeeze(1),
        confidence=_ordered(confidence, others) if "confidence" in needs else None,
        margin=_margin(probabilities, column, others) if "margin" in needs else None,
        logit_margin=(
            highest.squeeze(1) - _second(logits, column) if "logit_margin" in needs else None
        ),
        entropy=entropy_of(logits, probabilities) if "entropy" in needs else None,
        probabilities=probabilities if "distribution" in needs else None,
    )


def _others(
    probabilities: Float[Tensor, "wanted columns"], column: Int[Tensor, "wanted 1"]
) -> Float[Tensor, " wanted"] | None:
    """Return the probability of all but ``column`` together; None if no position is near 1.

    The sum is in float64 and then rounded: the same numbers in another order give the same.
    """
    highest = probabilities.gather(1, column)
    if not bool((highest > _NEARLY_ONE).any()):
        return None
    # In place, for a copy costs more than the sum.
    wide = widest(probabilities.device)
    others = _sum(probabilities.scatter_(1, column, 0.0), wide)
    probabilities.scatter_(1, column, highest)
    return others.float().to(wide)


def widest(device: torch.device) -> torch.dtype:
    """Return the type that confidences and margins have on ``device``.

    Apple's GPUs have no float64.  There they stay in float32, and what it calls 1 is tied.
    """
    return torch.float32 if device.type == "mps" else torch.float64


def _as_given(share: Float[Tensor, " wanted"]) -> Float[Tensor, " wanted"]:
    """Return shares in float32 as float64; those that stand for a short decimal are that."""
    exact = share.to(widest(share.device))
    decimal = (exact * _DECIMALS).round() / _DECIMALS
    return decimal.where(decimal.float() == share, exact)


def _ordered(
    share: Float[Tensor, " wanted"],
    others: Float[Tensor, " wanted"] | None,
    second: Float[Tensor, " wanted"] | None = None,
) -> Float[Tensor, " wanted"]:
    """Return shares in float64, in the order of float32 and, within that, of float64.

    Args:
        share: The highest probability in float32, or what it is above the second.
        others: The probability of all tokens but the likeliest; None if no share is near 1.
        second: The second probability, if the share is a margin.
    """
    given = _as_given(share)
    if others is None:
        return given
    # Where float32 gives 1, the likeliest token's part of the sum is 1, and this is exact.
    part = 1.0 if second is None else 1 - second.to(given.dtype)
    exact = (part / (1 + others)).clamp(min=_BELOW_ONE)
    nudged = given - (1 - part / (1 + others)) * _NUDGE
    return exact.where(share == 1, nudged.where(share > _NEARLY_ONE, given))


def _margin(
    probabilities: Float[Tensor, "wanted columns"],
    column: Int[Tensor, "wanted 1"],
    others: Float[Tensor, " wanted"] | None,
) -> Float[Tensor, " wanted"]:
    second = _second(probabilities, column)
    return _ordered(probabilities.gather(1, column).squeeze(1) - second, others, second)


def _second(
    values: Float[Tensor, "wanted columns"], column: Int[Tensor, "wanted 1"]
) -> Float[Tensor, " wanted"]:
    """Return the highest value outside of ``column``; -inf where there is no other."""
    return values.scatter(1, column, -torch.inf).amax(dim=1)


def draw(
    logits: Float[Tensor, "wanted columns"], drawing: Drawing
) -> tuple[Int[Tensor, " wanted"], Float[Tensor, " wanted"]]:
    """Invert the cumulative distribution: one uniform number draws one token.

    Args:
        logits: One line per position.
        drawing: Temperatures above 0, and the numbers.

    Returns:
        The column of each token, and its probability at temperature 1.
    """
    logits = logits.float()
    temperature, draws = drawing.temperature[:, None].double(), drawing.uniform.double()
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    total = cumulative[:, -1]
    # The product may round up to the total itself, which lies beyond the last token.
    reached = torch.minimum(draws * total, torch.nextafter(total, torch.zeros_like(total)))
    column = torch.searchsorted(cumulative, reached[:, None], right=True)
    chance = torch.softmax(logits, dim=-1).gather(1, column)
    return column.squeeze(1), chance.squeeze(1)


def entropy_of(
    logits: Float[Tensor, "wanted columns"], probabilities: Float[Tensor, "wanted columns"]
) -> Float[Tensor, " wanted"]:
    """Return entropies in nats, from logits and the probabilities that they make."""
    # 0 log 0 is 0 by continuity: impossible tokens carry no surprise.
    logs = torch.log_softmax(logits, dim=-1).clamp_(min=torch.finfo(logits.dtype).min)
    return _sum(logs.mul_(probabilities).neg_(), logits.dtype)


def _sum(values: Float[Tensor, "wanted columns"], dtype: torch.dtype) -> Float[Tensor, " wanted"]:
    """Return the sum of each row in ``dtype``, whatever the other rows are."""
    if len(values) == 1:
        # Of a single row, torch lets several threads add up parts, which rounds otherwise.
        return values.expand(2, -1).contiguous().sum(dim=-1, dtype=dtype)[:1]
    return values.sum(dim=-1, dtype=dtype)


def _spread(
    prediction: Prediction, probabilities: Float[Tensor, "wanted columns"], vocabulary_size: int
) -> Float[Tensor, "wanted vocabulary"]:
    if prediction.token_ids is None:
        return probabilities[:, :vocabulary_size]
    full = probabilities.new_zeros(len(probabilities), vocabulary_size)
    # Padding columns hold probability 0 and may repeat an id, hence a sum.
    return full.scatter_add_(1, prediction.token_ids, probabilities)
