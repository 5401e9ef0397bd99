"""Mean field: each position's chance to be written is weighed against those like it.

Positions with like predictions compete for the same tokens: two that both want "red" should
not be written together, two that want different things may be.  How much each position is to
be written is found by a few rounds of mutual inhibition.

Rule: ``u_i = log p_i(first) - log p_i(second)``, in nats, and
``D_ij = 1 - JSD(p_i, p_j) / ln 2`` for i and j open, i not j: 1 for equal predictions, 0 for
predictions that share no token.  Begin with ``q_i = sigmoid(u_i)``; in each of ``rounds``
rounds, all at once, ``q_i <- sigmoid(u_i - sum_j D_ij q_j)``.  ``S = {i open : q_i >
threshold}``, or ``argmax q`` if that is empty.

Defaults: rounds = 2; the others are chosen here, as the abstract names no values: threshold =
0.5, and predictions are compared on the union of each sample's ``candidates`` = 8 likeliest
tokens per open position.  Also chosen here: where q begins, that a position does not inhibit
itself, and that what lies outside of the union counts as one more token, so that what is
compared are distributions; that makes predictions more alike, never less.

Source: "Mean-field parallel decoding" (2026, arXiv:2606.15805), from its abstract and notes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import top
from parallelbench.ranges import fraction, whole

#: Of inhibition; each is computed at every step.
_MOST_ROUNDS = 1_000


@DECODERS.register("mean_field")
@dataclass(frozen=True, kw_only=True)
class MeanField(Chooser):
    """Commit positions that stay sure against all open ones with similar predictions.

    Attributes:
        threshold: Value of q above which a position is committed, in [0, 1].
        rounds: Rounds of inhibition, 0 to 1,000.
        candidates: Likeliest tokens of each open position that are compared, at least 1.
    """

    needs = frozenset({"token", "distribution", "logit_margin"})
    adaptive = True
    labelled = ("threshold",)
    presets = {"mean-field-paper": "rounds=2"}
    former_presets = {"mean-field": "mean-field-paper"}
    grid = "threshold=0.3|0.5|0.7|0.9"

    threshold: float = fraction(0.5)
    rounds: int = whole(0, 2, most=_MOST_ROUNDS)
    candidates: int = whole(1, 8, "token")

    def choose(self, step: Step) -> Selection:
        """Return the open positions that are still likely to be written, one at least."""
        margin = step.logit_margin.masked_fill(~step.open, -torch.inf)
        alike = _alike(step.distribution, step.open, self.candidates)
        chance = margin.sigmoid()
        for _ in range(self.rounds):
            chance = (margin - torch.einsum("sij,sj->si", alike, chance)).sigmoid()
        passing = step.open & (chance > self.threshold)
        return passing | (top(chance, step.open, 1) & ~passing.any(dim=1, keepdim=True))


def _alike(
    distribution: Float[Tensor, "samples length vocabulary"],
    is_open: Bool[Tensor, "samples length"],
    candidates: int,
) -> Float[Tensor, "samples length length"]:
    """Return ``D_ij`` for every two open positions; 0 elsewhere."""
    alike = is_open.new_zeros((*is_open.shape, is_open.shape[1]), dtype=distribution.dtype)
    places = is_open.any(dim=0).nonzero().flatten()
    own = is_open[:, places]
    # Closed positions have no candidates.
    shares = _of_some(distribution[:, places] * own[:, :, None], candidates)
    surprise = _surprise(shares)
    # One position against all others at a time: all pairs at once would take too much room.
    for row, place in enumerate(places.tolist()):
        middle = _surprise((shares[:, row : row + 1] + shares) / 2)
        divergence = middle - (surprise[:, row : row + 1] + surprise) / 2
        both = own[:, row : row + 1] & own
        both[:, row] = False
        alike[:, place, places] = (1 - divergence / log(2)).clamp(0, 1) * both
    return alike


def _of_some(
    distribution: Float[Tensor, "samples places vocabulary"], candidates: int
) -> Float[Tensor, "samples places tokens"]:
    """Return the probabilities of the likeliest tokens of all places, and of all others."""
    count = min(candidates, distribution.shape[2])
    tokens = distribution.topk(count, dim=2).indices.flatten(1).sort(dim=1).values
    again = torch.zeros_like(tokens, dtype=torch.bool)
    again[:, 1:] = tokens[:, 1:] == tokens[:, :-1]
    index = tokens[:, None].expand(-1, distribution.shape[1], -1)
    some = distribution.gather(2, index).masked_fill(again[:, None], 0)
    rest = (distribution.sum(dim=2) - some.sum(dim=2)).clamp(min=0)
    return torch.cat([some, rest[:, :, None]], dim=2)


def _surprise(shares: Float[Tensor, "samples places tokens"]) -> Float[Tensor, "samples places"]:
    """Return the entropy in nats; 0 log 0 is 0."""
    surprise: Tensor = torch.special.entr(shares)
    return surprise.sum(dim=2)
