"""FreeDave: draft the next tokens, and check all drafts in one call of several rows.

What one-by-one decoding would write next can be guessed from the present predictions: the
surest position, then the second surest, and so on.  Each of these canvases is a row of one
call.  Where the call says that a guess is what one-by-one decoding writes, the predictions
for the canvas after it are already there.  Nothing is lost: the tokens are those of
``one_by_one``, up to the rounding of a batch, in no more calls.

Rule, with the predictions for the canvas from the call before:

* row 0 is the canvas, row k supposes the k surest of its open positions, for
  k < ``drafts``; every row leaves a position of the block open;
* from row 0 on: write what is surest in the row; where that is what the next row supposes
  beyond this one, go on to the next row; stop otherwise;
* the row that was reached gives the predictions for the next step.

A step writes 1 to ``drafts`` tokens; the first of a block has no predictions to draft from,
sends the canvas alone and writes one.  So n positions take n calls at most and
1 + ceil((n - 1) / drafts) at least.  Its cost is rows: each call has up to ``drafts``.
Defaults: drafts = 4, as for LLaDA; 8 for Dream and TraDo.

At temperatures above 0 every row draws its own tokens.  A guess counts if the drawing of the
row before agrees, so the tokens follow the same law as in one-by-one decoding, and are not
the same tokens.

Source: FreeDave, "Free Draft-and-Verification" (2025, arXiv:2510.00294), and its code.
Chosen here: what the last row says is certain and written at once, which the authors do with the
next call.  Their variant that drafts the steps of a threshold is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from parallelbench.decoder import DECODERS, Decoder, Statistics, Update, View
from parallelbench.decoders.batched import row_with, writing
from parallelbench.decoders.selection import ranking
from parallelbench.model import Row
from parallelbench.ranges import whole


@dataclass(slots=True, eq=False)
class Draft:
    """The prediction for the present canvas.

    Attributes:
        order: The open positions of the block, the surest first; none before its first call.
        token: Predicted ids.
    """

    order: list[int]
    token: Int[Tensor, " length"]


@DECODERS.register("free_dave")
@dataclass(frozen=True, kw_only=True)
class FreeDave(Decoder):
    """Write what one-by-one decoding writes, several tokens a call where drafts are right.

    Attributes:
        drafts: Most rows of a call, and most tokens of a step, at least 1.
    """

    needs = frozenset({"token", "confidence"})
    adaptive = True
    rows = "1 to 4"
    labelled = ("drafts",)
    presets = {
        "freedave-paper": "drafts=4",
        "freedave-dream": "drafts=8",
        "freedave-trado": "drafts=8",
    }
    former_presets = {"freedave": "freedave-paper"}
    grid = "drafts=2|4|8"

    drafts: int = whole(1, 4, "row")

    @property
    def most_rows(self) -> int:
        """The canvas, and what it would be after each draft but the last."""
        return self.drafts

    def start(self, view: View) -> Draft:
        """Return that nothing is predicted yet."""
        return Draft(order=[], token=view.canvas)

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the canvas, and what it would be after each of the next tokens."""
        drafted = range(min(self.drafts, len(state.order) or 1))
        return [row_with(view, view.open, state.token, state.order[:count]) for count in drafted]

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Write what each row says that was reached, and keep what the last of them predicts."""
        confidence = statistics.confidence
        order = ranking(confidence, confidence >= 0)
        surest = order[:, :1]
        predicted = statistics.token.gather(1, surest).squeeze(1)
        supposed = surest.new_tensor(state.order[: len(order) - 1])
        agree = (surest[:-1, 0] == supposed) & (predicted[:-1] == state.token[supposed])
        reached = [*agree.tolist(), False].index(False)
        written = surest[: reached + 1, 0]
        token = statistics.token[reached].clone()
        state.order = order[reached, 1 : view.remaining - reached].tolist()
        state.token = statistics.token[reached]
        token[written] = predicted[: reached + 1]
        return writing(view, token, written.tolist())
