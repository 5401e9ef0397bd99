"""Pivot by gain: of some uncertain positions, commit the one that is seen to decide the most.

:mod:`~parallelbench.decoders.pivot` takes the position of greatest entropy for the one that
says most about the rest.  Here each of a few candidates is tried: the next call has a row for
each, with that candidate written, and what it says of all the others decides.

Rule: the first call writes what is certain.  Its ``candidates`` most uncertain positions, with
the tokens it predicts there, are the rows of the next call; of these the one is committed whose
information gain is greatest: what it takes from the entropy of all others,
``sum_{j != i} H_j - sum_{j != i} H_j(t_i)``.  Its row has then been asked already: what is
certain there is written in the same step, and its most uncertain positions are tried next.
Ties go to the greater entropy, then to the lower index.

Candidates that do not touch each other are committed together: after the best, in the order of
their gain, each whose prediction is the same in the row of every one that is committed already,
and the other way round; the same is an entropy that moved by at most ``moved``.  As no row
shows them all, the next call shows the canvas, so this is done only where it saves calls: with
two such others, or if it fills the window.

A step costs one call, as in ``pivot``, and up to ``candidates`` rows.
Defaults: certain = 0.05 nats; candidates = 8; moved = 0.01 nats.

Source: ours.  The Info-Gain sampler (2026, arXiv:2602.18176) looks ahead in the same way, for
one surely predicted position a step.
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
class Candidates:
    """The candidates of the next call, the most uncertain first; none before the first call.

    Attributes:
        positions: Positions of the candidates.
        tokens: Ids of the candidates.
        entropy: Entropies of the prediction that they were taken from, in nats.
    """

    positions: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    entropy: Float[Tensor, " length"] | None = None

    def clear(self) -> None:
        """Forget them."""
        self.positions, self.tokens, self.entropy = [], [], None


@DECODERS.register("pivot_gain")
@dataclass(frozen=True, kw_only=True)
class PivotGain(Certainty):
    """Commit certain positions, and the candidate that is most informative about the rest.

    Attributes:
        candidates: Most positions that are tried at a time, 2 or more: rows of a call.
        moved: Greatest change of an entropy, in nats, 0 or more, that still counts as none;
            None commits one candidate a step.
    """

    rows = "1 to 8"
    labelled = ("certain", "candidates")

    candidates: int = whole(2, 8)
    moved: float | None = nonnegative(0.01, "nats")

    @property
    def most_rows(self) -> int:
        """One for each candidate."""
        return self.candidates

    def start(self, view: View) -> Candidates:
        """Return that nothing is to be tried."""
        return Candidates()

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the canvas with each candidate written, or as it is if there is none."""
        rows = []
        for position, token in zip(state.positions, state.tokens, strict=True):
            canvas, open_ = view.canvas.clone(), view.open.clone()
            canvas[position], open_[position] = token, False
            rows.append(Row(view.prompt, canvas, open_))
        return rows or [Row(view.prompt, view.canvas, view.open)]

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Commit the best candidates, and what is certain once the best of them stands."""
        gain = self._gain(state, view.open, statistics)
        best = int(gain.argmax()) if len(gain) else 0
        own = statistics.of(0, slice(best, best + 1))
        tried = self._together(state, view.open, statistics, gain)
        write, tokens = torch.zeros_like(view.open), own.token[0].clone()
        for place in tried:
            write[state.positions[place]] = True
            tokens[state.positions[place]] = state.tokens[place]
        left = view.open & ~write
        certain = self.sort(own, left[None]).certain[0]
        write, left = write | certain, left & ~certain
        state.clear()
        # No row shows several candidates together, so the next call predicts the canvas with them.
        if len(tried) < 2:
            if left.sum() == 1:  # there is nothing to compare it with
                write = write | left
            else:
                self._try_next(state, own, left)
                if not state.positions:
                    write = self.or_surest(write[None], own, left[None])[0]
        return Update(write=write, tokens=tokens)

    def _gain(
        self,
        state: Candidates,
        is_open: Bool[Tensor, " length"],
        statistics: Statistics,
    ) -> Float[Tensor, " candidates"]:
        """Return the decrease of all other positions' entropy by each candidate, in nats."""
        if state.entropy is None:
            return torch.empty(0, dtype=torch.float64)
        others = is_open.repeat(len(state.positions), 1)
        others[torch.arange(len(others)), state.positions] = False
        fall = state.entropy - statistics.entropy.double()
        return fall.where(others, 0.0).sum(dim=1)

    def _together(
        self,
        state: Candidates,
        is_open: Bool[Tensor, " length"],
        statistics: Statistics,
        gain: Float[Tensor, " candidates"],
    ) -> list[int]:
        """Return the candidates to commit, the best first."""
        if state.entropy is None:
            return []
        order = gain.argsort(descending=True, stable=True).tolist()
        if self.moved is None:
            return order[:1]
        change = statistics.entropy.double()[:, state.positions] - (state.entropy[state.positions])
        apart = change.abs() <= self.moved
        apart = apart & apart.T
        together: list[int] = []
        for place in order:
            if apart[place, together].all():
                together.append(place)
        best = statistics.of(0, slice(order[0], order[0] + 1))
        left = is_open & ~self.sort(best, is_open[None]).certain[0]
        left[[state.positions[place] for place in together]] = False
        return together if len(together) > 2 or not left.any() else order[:1]

    def _try_next(self, state: Candidates, own: Statistics, left: Bool[Tensor, " length"]) -> None:
        """Let the next call try the most uncertain of the positions left."""
        split = self.sort(own, left[None])
        count = min(self.candidates, int(split.waiting.sum()))
        order = ranking(split.entropy, split.waiting)[0, :count]
        if count:
            state.positions, state.tokens = order.tolist(), own.token[0, order].tolist()
            state.entropy = split.entropy[0].double()
