"""Helpers of decoders that rank open positions by a score and commit the best.

A strategy that looks only at the present predictions is a *score* (confidence, margin,
entropy ...) and a *count rule* (a fixed number, a threshold ...), applied to the open
positions of each row.  Ties go to the lower index, on every device: ``torch.topk`` and an
unstable sort leave their order open.  Confidences and margins are in float64 and keep
their order however near to 1 they are: rank by them as they are, not by a copy in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from parallelbench.decoder import Chooser, Statistics
from parallelbench.errors import DecoderError
from parallelbench.ranges import choice, probability, whole

#: Which models give what positions attend to, for the sentence that refuses the others.
ATTENTION_HINT = (
    "masked and block models of hf, and mini, give attention, unless cache=prefix or dual"
)
#: How far a sum of rounded shares may lie outside of [0, 1].
_SLACK = 1e-4


def model_share(statistics: Statistics, name: str, *, square: bool) -> Float[Tensor, "samples ..."]:
    """Return a share that the model itself gives of each position, or of each pair of them.

    Args:
        statistics: One row per sample.
        name: Name of the share, as in ``needs``.
        square: True for a share of each pair of positions.

    Raises:
        DecoderError: It is not there, has another shape, or is no share.
    """
    length = statistics.token.shape[1]
    shape = (len(statistics.token), *([length] * (1 + square)))
    share = statistics.extras.get(name)
    if share is None:
        raise DecoderError(f"the model gave no {name!r}, or the decoder's needs do not name it")
    if share.shape != shape:
        raise DecoderError(
            f"{name!r} must have the shape {shape} of rows and positions, got {tuple(share.shape)}"
        )
    # Not a number is in no range either.
    if not bool(((share >= -_SLACK) & (share <= 1 + _SLACK)).all()):
        raise DecoderError(f"{name!r} must hold numbers in [0, 1], got one that is not")
    return share.float()


def as_wide(
    statistic: Shaped[Tensor, "samples shown"], width: int, missing: float
) -> Shaped[Tensor, "samples length"]:
    """Return a statistic of rows that end before the canvas, with ``missing`` after them."""
    return torch.nn.functional.pad(statistic, (0, width - statistic.shape[1]), value=missing)


def ranking(
    score: Float[Tensor, "samples length"],
    is_open: Bool[Tensor, "samples length"],
) -> Int[Tensor, "samples length"]:
    """Return the positions of each row from best to worst; the closed ones come last."""
    return score.masked_fill(~is_open, -torch.inf).argsort(dim=1, descending=True, stable=True)


def leading(
    order: Int[Tensor, "samples length"],
    count: int | Int[Tensor, "samples 1"],
    is_open: Bool[Tensor, "samples length"],
) -> Bool[Tensor, "samples length"]:
    """Return the first ``count`` positions of a :func:`ranking`; no more than are open."""
    place = order.argsort(dim=1)
    return is_open & (place < count)


def top(
    score: Float[Tensor, "samples length"],
    is_open: Bool[Tensor, "samples length"],
    k: int,
) -> Bool[Tensor, "samples length"]:
    """Return the ``k`` open positions of highest score, or all where fewer are open."""
    # A Python number may exceed what a tensor of integers can be compared with.
    return leading(ranking(score, is_open), min(k, is_open.shape[1]), is_open)


def passing_or_best(
    score: Float[Tensor, "samples length"],
    passing: Bool[Tensor, "samples length"],
    is_open: Bool[Tensor, "samples length"],
) -> Bool[Tensor, "samples length"]:
    """Return the open positions that pass, and always the one of highest score.

    Committing the best one regardless is what makes a decode end: every step commits at
    least one position, so a window of n takes at most n steps.
    """
    return (is_open & passing) | top(score, is_open, 1)


def independent_set(
    score: Float[Tensor, "samples length"],
    among: Bool[Tensor, "samples length"],
    joined: Bool[Tensor, "samples length length"],
) -> Bool[Tensor, "samples length"]:
    """Return an independent set of ``among``, built from the best score down.

    Args:
        score: Best is highest.
        among: The candidates.
        joined: True where the position of that row must not stay if that of the column does.
    """
    order = ranking(score, among)
    kept = torch.zeros_like(among)
    for rank in range(int(among.sum(dim=1).max())):
        place = order[:, rank : rank + 1]
        line = joined.take_along_dim(place[:, :, None], dim=1).squeeze(1)
        free = ~(line & kept).any(dim=1, keepdim=True)
        kept = kept.scatter(1, place, free & among.gather(1, place))
    return kept


def near(
    marked: Bool[Tensor, "samples length"],
    distance: int,
) -> Bool[Tensor, "samples length"]:
    """Return the positions with a marked one at most ``distance`` away, marked ones included."""
    return _highest_within(marked.float(), distance) > 0


def apart(
    score: Float[Tensor, "samples length"],
    chosen: Bool[Tensor, "samples length"],
    distance: int,
) -> Bool[Tensor, "samples length"]:
    """Return a subset of ``chosen`` without two near each other, built from the best score down.

    Two positions are near each other if they are at most ``distance`` apart.
    """
    length = chosen.shape[1]
    # Best is largest, no two are equal, and 0 is nothing.
    worth = ((length - ranking(score, chosen).argsort(dim=1)) * chosen).float()
    kept = torch.zeros_like(chosen)
    # In every round the best of all that is left stays, and with it every other that is the
    # best within reach.  What stays takes up distance + 1 positions, so this many rounds do.
    for _ in range(-(-length // (distance + 1))):
        stays = (worth > 0) & (worth == _highest_within(worth, distance))
        kept = kept | stays
        worth = worth * ~near(stays, distance)
    return kept


def _highest_within(
    values: Float[Tensor, "samples length"], distance: int
) -> Float[Tensor, "samples length"]:
    reach = min(distance, values.shape[1] - 1)
    highest = torch.nn.functional.max_pool1d(
        values[:, None], kernel_size=2 * reach + 1, stride=1, padding=reach
    )
    return highest[:, 0]


@dataclass(frozen=True, kw_only=True)
class FixedCount(Chooser):
    """Commit the same number of positions in every step.

    n positions take ceil(n / k) steps.  LLaDA's own sampler takes the number of steps
    instead and spreads the positions over them; where that number divides n, the two are
    the same.

    Attributes:
        k: Tokens per step; the last step commits what is left.
    """

    labelled: ClassVar[tuple[str, ...]] = ("k",)
    grid = "k=1|2|4|8|16|32"

    k: int = whole(1, 1, "token per step")


@dataclass(frozen=True, kw_only=True)
class ProbabilityThreshold(Chooser):
    """Commit every position whose score, a number in [0, 1], reaches a threshold.

    Attributes:
        threshold: Least score that passes, in (0, 1].
        comparison: ``ge`` lets a score equal to the threshold pass, as Fast-dLLM does;
            ``gt`` does not, as in SDAR, LLaDA2 and WINO.  It matters at a threshold of 1,
            which nothing exceeds, and which a probability reaches where it is 1 in float64:
            with ``ge``, as in Fast-dLLM, which computes it so, from about 37 nats over all
            other tokens together on; code that computes it in bfloat16 lets far more pass.
    """

    labelled: ClassVar[tuple[str, ...]] = ("threshold",)

    threshold: float = probability(0.9)
    comparison: Literal["ge", "gt"] = choice("ge", "gt")

    def passing(self, score: Float[Tensor, "samples length"]) -> Bool[Tensor, "samples length"]:
        """Return True where ``score`` reaches the threshold."""
        return self.reaching(score, self.threshold)

    def reaching(
        self, score: Float[Tensor, "samples length"], level: float
    ) -> Bool[Tensor, "samples length"]:
        """Return True where ``score`` reaches ``level``, compared as with the threshold."""
        return score >= level if self.comparison == "ge" else score > level
