"""PUNT: write together only what was seen not to move when the others were revealed.

Positions that do not influence each other can be written in one step, however uncertain each
is.  Whether they do can be tried: reveal some, and see whether the predictions for the rest
move.  Halving and trying both halves at the same time compares every pair in few calls.

Rule, for one step of several calls:

* the first call predicts tokens for all open positions of the block, which make one group,
  the surest first;
* each further call reveals the first half of every group, the larger half of an odd one,
  and looks at the second halves: whatever moved from the first call by more than
  ``threshold`` is dropped, and each half is a group of its own from then on;
* when no group has two members, all members are committed, with the tokens of the first call.

A step takes 1 + ceil(log2 n) calls at most with n positions open; only the last writes.  The
surest is never in a second half, so that every step writes at least one token.
Defaults: threshold = 0.05.

Chosen here, for the source was known by its abstract and notes of others: the total variation
between the two predictions as the measure, a number in [0, 1], and the default of its
threshold; that all groups share one row of a call; that a dropped position is hidden in later
calls; and that tests compare with the first call of the step.

Source: Azangulov et al., "Parallel Sampling from Masked Diffusion Models via Conditional
Independence Testing" (PUNT, 2025, arXiv:2510.21961).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, Decoder, Statistics, Update, View
from parallelbench.decoders.batched import row_with, writing
from parallelbench.decoders.selection import ranking
from parallelbench.model import Row
from parallelbench.ranges import fraction


@dataclass(slots=True, eq=False)
class Trial:
    """A step under way.

    Attributes:
        token: Ids that the first call predicts.
        before: Distributions at the positions of the block; None while no step is under way.
        groups: Positions that are still to be separated, the surest first; none at all
            between two steps.
    """

    token: Int[Tensor, " length"]
    before: Float[Tensor, "block vocabulary"] | None = None
    groups: list[list[int]] = field(default_factory=list)

    @property
    def halves(self) -> list[tuple[list[int], list[int]]]:
        """The groups, divided."""
        return [(g[: -(-len(g) // 2)], g[-(-len(g) // 2) :]) for g in self.groups]


@DECODERS.register("punt")
@dataclass(frozen=True, kw_only=True)
class Punt(Decoder):
    """Commit every position whose prediction no other open position changes.

    Attributes:
        threshold: Greatest total variation distance of a prediction that counts as
            unmoved, in [0, 1].
    """

    needs = frozenset({"token", "confidence", "distribution"})
    adaptive = True
    calls = "1 + log2 n"
    labelled = ("threshold",)
    grid = "threshold=0.01|0.05|0.1|0.2"

    threshold: float = fraction(0.05)

    def most_steps(self, positions: int) -> int:
        """Return the calls of one committed token at a time, each with all its tests."""
        return positions * (1 + (positions - 1).bit_length())

    def start(self, view: View) -> Trial:
        """Return that no step is under way."""
        return Trial(token=view.canvas)

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the canvas; in a step under way, reveal first halves and ask for the second ones."""
        if not state.groups:
            return [Row(view.prompt, view.canvas, view.open)]
        tested = torch.zeros_like(view.open)
        tested[[position for _, second in state.halves for position in second]] = True
        revealed = [position for first, _ in state.halves for position in first]
        return [row_with(view, tested, state.token, revealed)]

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Drop what moved; commit the rest once every pair was tested."""
        if state.before is not None:
            moved = self._moved(state.before, view, statistics)
            kept = [(a, [each for each in b if each not in moved]) for a, b in state.halves]
            state.groups = [half for halves in kept for half in halves if half]
        else:
            order = ranking(statistics.confidence, view.open[None])
            state.token = statistics.token[0]
            state.before = statistics.distribution[0, slice(*view.window)].clone()
            state.groups = [order[0, : view.remaining].tolist()]
        if any(len(group) > 1 for group in state.groups):
            return writing(view, state.token, [])
        independent = [position for group in state.groups for position in group]
        state.groups, state.before = [], None
        return writing(view, state.token, independent)

    def _moved(
        self, before: Float[Tensor, "block vocabulary"], view: View, statistics: Statistics
    ) -> set[int]:
        """Return the positions whose prediction is no longer that of the first call."""
        now = statistics.distribution[0, slice(*view.window)]
        moved = (now.double() - before).abs().sum(dim=1) / 2 > self.threshold
        low = view.window[0]
        return {low + offset for offset in moved.nonzero().flatten().tolist()}
