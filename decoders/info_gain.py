"""Info-Gain: write the token after which least is left uncertain.

The surest position is the safest to write and often says little.  Here some candidates are
tried, each as a row of one call, and the one is written that leaves the other positions
least uncertain, weighed against its own uncertainty.

Rule, with the predictions for the canvas as it stands:

* if all open positions of the block have c >= ``threshold``, they are written without a call;
* else the candidates are the surest of them and ``candidates`` - 1 drawn ones, with chances
  softmax(c / ``position_temperature``), the same one possibly several times and tried once;
* each row supposes one candidate; with H its entropy before and H' the mean entropy of all
  that is then open on the canvas, the candidate with the greatest -H - H' is written; with
  ``objective=lookum`` that with the greatest -H'; of equal ones the first;
* that row's predictions are those for the next step.

The first call of a block shows the canvas and writes nothing, so there is one call per token
written one by one, and one per block; what is written without a call is free.  A call has up
to ``candidates`` rows, which is its cost.
Defaults: candidates = 8, threshold = 0.8, position_temperature = 0.2, objective = info_gain.

Source: Info-Gain (2026, arXiv:2602.18176), and its code, which draws a candidate as the
greatest sum of c / ``position_temperature`` and Gumbel noise: the same chances.
Chosen here: H' is of the whole canvas and 0 where nothing is left open; the last token of a
block is tried like every other, which the authors' count of calls implies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, Decoder, Statistics, Update, View
from parallelbench.decoders.batched import row_with, writing
from parallelbench.model import Row
from parallelbench.ranges import choice, positive, probability, whole


@dataclass(slots=True, eq=False)
class Outlook:
    """The prediction for the present canvas, and the candidates of the next call.

    Attributes:
        token: Predicted id at each open position.
        entropy: Entropy of that prediction, in nats.
        candidates: Positions, the surest first; none where the block is filled without a call.
    """

    token: Int[Tensor, " length"]
    entropy: Float[Tensor, " length"]
    candidates: list[int]


#: Rows of a call; a number is drawn for each at every step.
_MOST_CANDIDATES = 1_000


@DECODERS.register("info_gain")
@dataclass(frozen=True, kw_only=True)
class InfoGain(Decoder):
    """Try several candidates in a call, and write the one that leaves the least uncertainty.

    Attributes:
        candidates: Most rows of a call, at least 2.
        threshold: Least confidence of all open positions of a block at which it is filled at
            once, in (0, 1].
        position_temperature: Temperature at which candidates are drawn by confidence, above 0.
        objective: ``info_gain`` also charges a candidate its own entropy, ``lookum`` does not.
    """

    needs = frozenset({"token", "confidence", "entropy", "uniform"})
    adaptive = True
    calls = "0 or 1"
    rows = "1 to 8"
    labelled = ("candidates",)
    presets = {
        "info-gain-paper": (
            "candidates=8,threshold=0.8,position_temperature=0.2,objective=info_gain"
        ),
        "lookum": "candidates=8,threshold=0.8,position_temperature=0.2,objective=lookum",
    }
    former_presets = {"info-gain": "info-gain-paper"}
    grid = "candidates=2|4|8"

    candidates: int = whole(2, 8, "rows", most=_MOST_CANDIDATES)
    threshold: float = probability(0.8)
    position_temperature: float = positive(0.2)
    objective: Literal["info_gain", "lookum"] = choice("info_gain", "lookum")

    @property
    def most_rows(self) -> int:
        """One for each candidate."""
        return self.candidates

    def draws(self, positions: int) -> int:
        """Return one number for each candidate that is drawn."""
        return self.candidates - 1

    def start(self, view: View) -> Outlook:
        """Return that nothing is predicted yet."""
        return Outlook(view.canvas, view.canvas.double(), [])

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the canvas, then its candidates; nothing where the block is sure."""
        anywhere = view.canvas == view.mask_id
        if view.step == 0:
            return [Row(view.prompt, view.canvas, anywhere)]
        return [row_with(view, anywhere, state.token, [each]) for each in state.candidates]

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Write the best candidate, or the whole block, and choose what to try next."""
        token, left, best = state.token, view.open, 0
        written: list[int] = []
        if view.step and not state.candidates:
            return writing(view, token, view.open.nonzero().flatten().tolist())
        if view.step:
            gains = self._gains(state, statistics)
            best = gains.index(max(gains))
            written = [state.candidates[best]]
            left = left.clone()
            left[written] = False
        state.token = statistics.token[best]
        state.entropy = statistics.entropy[best]
        confidence = statistics.confidence[best]
        state.candidates = self._candidates(confidence, left, statistics.uniform[0])
        return writing(view, token, written)

    def _gains(self, state: Outlook, statistics: Statistics) -> list[float]:
        """Return the score of each candidate: higher leaves less uncertainty."""
        after = statistics.entropy.double()
        open_ = statistics.confidence >= 0
        mean = after.where(open_, 0).sum(dim=1) / open_.sum(dim=1).clamp(min=1)
        own = state.entropy[state.candidates].double() if self.objective == "info_gain" else 0
        gains: list[float] = (-own - mean).tolist()
        return gains

    def _candidates(
        self,
        confidence: Float[Tensor, " length"],
        is_open: Bool[Tensor, " length"],
        uniform: Float[Tensor, " draws"],
    ) -> list[int]:
        """Return the surest position and the drawn ones, each once; none if all are sure."""
        positions = is_open.nonzero().flatten()
        sure = confidence[positions].double()
        if (sure >= self.threshold).all():
            return []
        # Of equal ones, the first is the greatest.
        surest = sure.max(dim=0).indices
        chances = torch.softmax(sure / self.position_temperature, dim=0).cumsum(dim=0)
        # A sum of chances may round to less than a number below 1.
        drawn = torch.searchsorted(chances, uniform, right=True).clamp(max=len(positions) - 1)
        picked = positions[torch.cat([surest[None], drawn])]
        return list(dict.fromkeys(picked.tolist()))
