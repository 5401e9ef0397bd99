"""Pivot with drafts: several uncertain positions in one step, where each is verified.

:mod:`~parallelbench.decoders.pivot` writes one uncertain position a step, for two may depend on
each other.  Here the tokens of others are drafted, and the next call shows what the model says
of each when those before it are written: one more row per draft.  Those that do not depend on
each other are all confirmed, and written together; the first that does ends the chain.

Rule, in each call, with drafts ``(i_1, t_1) ... (i_m, t_m)`` of the call before, which were
taken from predictions ``q_1 ... q_m``, and row k showing the canvas with the first k of them:

* draft k + 1 is confirmed by row k, whose prediction there is p: at temperature 0 if
  ``p(t) >= (1 - tolerance) max p``; above 0 with probability ``min(1, p(t) / q(t))``;
* the first that is not ends the chain: at a positive temperature the position takes a token
  drawn from ``max(p - q, 0)``, normalised, so that it has the law p after all (Leviathan et
  al., 2023, arXiv:2211.17192);
* the row at which the chain ended decides as ``pivot`` does: what is certain there is written,
  and the pivot, unless the position that was drawn anew stands for it;
* the next most uncertain positions of that row, ``drafts`` of them, are the next drafts.

With certain = 0 nothing is lost at a positive temperature: every token is drawn from what the
model says when all tokens before it stand, whether they depend on each other or not.  That is
no step of independent draws, so it may need fewer calls than any policy that writes only
independent positions together.  Its price is rows: up to ``drafts + 1`` a call.
Defaults: certain = 0.05 nats; drafts = 7; tolerance = 0.1.

Source: ours; the verification is that of speculative sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, Statistics, Update, View
from parallelbench.decoders.pivot import Certainty
from parallelbench.decoders.selection import ranking
from parallelbench.model import Row
from parallelbench.ranges import nonnegative, whole


@dataclass(slots=True, eq=False)
class Drafts:
    """The drafts that the next call verifies, the most uncertain first.

    Attributes:
        positions: Positions of the drafts.
        tokens: Ids of the drafts.
        drawn_from: The predictions that they were drawn from; None at temperature 0.
    """

    positions: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    drawn_from: Float[Tensor, "drafts vocabulary"] | None = None

    def clear(self) -> None:
        """Forget them."""
        self.positions, self.tokens, self.drawn_from = [], [], None


@DECODERS.register("pivot_drafts")
@dataclass(frozen=True, kw_only=True)
class PivotDrafts(Certainty):
    """Commit certain positions, a pivot, and the drafted positions that extra rows confirm.

    Attributes:
        drafts: Most positions that are drafted at a time, 1 or more: extra rows of a call.
        tolerance: Greatest shortfall of a confirmed draft's probability against the likeliest
            token's, as a share in [0, 1); ignored at a positive temperature.
    """

    rows = "1 to 8"
    labelled = ("certain", "drafts")

    drafts: int = whole(1, 7)
    tolerance: float = nonnegative(0.1, below=1.0)

    @property
    def most_rows(self) -> int:
        """The canvas, and one for each draft."""
        return self.drafts + 1

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # they follow the temperature
        """The statistics of the rule; above temperature 0 those of the draws too."""
        chance = {"uniform"} if self.temperature > 0 else set()
        return super().needs | {"distribution"} | chance

    def start(self, view: View) -> Drafts:
        """Return that nothing is drafted."""
        return Drafts()

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the canvas as it is, and with the first, the first two ... drafts written."""
        canvas, open_ = view.canvas, view.open
        rows = [Row(view.prompt, canvas, open_)]
        for position, token in zip(state.positions, state.tokens, strict=True):
            canvas, open_ = canvas.clone(), open_.clone()
            canvas[position], open_[position] = token, False
            if open_.any():  # after the last draft nothing may be left to predict
                rows.append(Row(view.prompt, canvas, open_))
        return rows

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Commit the confirmed drafts, and what the row that shows them all says."""
        confirmed, redrawn = self._verified(state, statistics)
        drafted = list(zip(state.positions, state.tokens, strict=True))[:confirmed]
        write, tokens = torch.zeros_like(view.open), view.canvas.clone()
        for position, token in (*drafted, *([] if redrawn is None else [redrawn])):
            write[position], tokens[position] = True, token
        left = view.open & ~write
        state.clear()
        if left.any():
            own = statistics.of(0, slice(confirmed, confirmed + 1))
            chosen = self._chosen(own, left, pivots=int(redrawn is None))
            self._draft(state, own, left & ~chosen)
            write, tokens = write | chosen, own.token[0].where(chosen, tokens)
        return Update(write=write, tokens=tokens)

    def _verified(
        self, state: Drafts, statistics: Statistics
    ) -> tuple[int, tuple[int, int] | None]:
        """Return the number of confirmed drafts, and the id to write where the chain ends."""
        for place, (position, token) in enumerate(zip(state.positions, state.tokens, strict=True)):
            distribution = statistics.distribution[place, position]
            if state.drawn_from is None:
                if distribution[token] < (1 - self.tolerance) * distribution.max():
                    return place, None
                continue
            again = _redrawn(
                self._tempered(distribution),
                state.drawn_from[place],
                token,
                float(statistics.uniform[0, position]),
            )
            if again is not None:
                return place, (position, again)
        return len(state.positions), None

    def _chosen(
        self, own: Statistics, left: Bool[Tensor, " length"], *, pivots: int
    ) -> Bool[Tensor, " length"]:
        """Return the certain positions among those left, and ``pivots`` pivots."""
        split = self.sort(own, left[None])
        chosen = split.certain | split.highest(pivots)
        return (self.or_surest(chosen, own, left[None]) if pivots else chosen)[0]

    def _draft(self, state: Drafts, own: Statistics, left: Bool[Tensor, " length"]) -> None:
        """Take the tokens of the most uncertain positions left as the next drafts."""
        split = self.sort(own, left[None])
        order = ranking(split.entropy, split.waiting)[
            0, : min(self.drafts, int(split.waiting.sum()))
        ]
        state.positions, state.tokens = order.tolist(), own.token[0, order].tolist()
        if self.temperature > 0:
            state.drawn_from = self._tempered(own.distribution[0, order])

    def _tempered(
        self, distribution: Float[Tensor, "*positions vocabulary"]
    ) -> Float[Tensor, "*positions vocabulary"]:
        """Return the distribution at this decoder's temperature, from which tokens are drawn."""
        powers = distribution.double() ** (1 / self.temperature)
        return powers / powers.sum(dim=-1, keepdim=True)


def _redrawn(
    distribution: Float[Tensor, " vocabulary"],
    drawn_from: Float[Tensor, " vocabulary"],
    token: int,
    uniform: float,
) -> int | None:
    """Return the token that is written instead of a draft; None if the draft is confirmed."""
    chance = float(distribution[token] / drawn_from[token])
    if uniform < chance:
        return None
    rest = (distribution - drawn_from).clamp(min=0).cumsum(dim=0)
    # Given that the draft was rejected, this is even on [0, 1) again.
    again = (uniform - chance) / (1 - chance) * rest[-1]
    return min(int(torch.searchsorted(rest, again, right=True)), len(rest) - 1)
