"""LoPA: try several next tokens in one call, and go on from the one that leaves least doubt.

In which order positions are written decides how many can be written at a time later.  Beside
the canvas itself, the *anchor*, a call shows some *branches*: the anchor with one more token,
each at another of the surest open positions.  The row whose other positions are surest wins,
and its token is kept.

Rule, in each call after the first of a block:

* rows: the anchor, and for each of the ``branches`` surest open positions the anchor with
  that token; none where it would leave no open position to judge it by;
* a row's score is the mean over the ``lowest`` share of its open positions of their
  confidence, or, with ``score=entropy``, of -H; the best row wins, of equal ones the first;
* from the winner's predictions commit ``{i : c_i >= threshold}`` and ``argmax c``, with the
  token that made the branch; the surest of what is left make the next branches.

The first call of a block shows the anchor alone.  n open positions take n calls at most; the
cost is rows: 1 + branches in each call.
Defaults: threshold = 0.9, branches = 3, score = confidence, lowest = 1.0: all of them.  The
authors' scripts send 2 to 4 rows and judge by -H.

Source: LoPA, "Lookahead Parallel Decoding" (2025, arXiv:2512.16229), and its code, which
can also weigh in how sure a branch's token was; its scripts do not, and nor does this.
Chosen here: the positions judged are those of the block, and their share is rounded down, to
one at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Int
from torch import Tensor

from parallelbench.decoder import DECODERS, Decoder, Statistics, Update, View
from parallelbench.decoders.batched import row_with, writing
from parallelbench.decoders.selection import passing_or_best, ranking
from parallelbench.model import Row
from parallelbench.ranges import choice, probability, whole


@dataclass(slots=True, eq=False)
class Branches:
    """Positions of the branches' additional tokens (none before a block's first call), and ids."""

    positions: list[int]
    token: Int[Tensor, " length"]


@DECODERS.register("lopa")
@dataclass(frozen=True, kw_only=True)
class Lopa(Decoder):
    """Look ahead in several branches, and commit by threshold in the most confident of them.

    Attributes:
        threshold: Least confidence of a committed position, in (0, 1].
        branches: Rows of a call in addition to the anchor, at least 1.
        score: Criterion of the best row: ``confidence`` or ``entropy``.
        lowest: Share of its open positions that is scored, the most doubtful ones, in
            (0, 1].
    """

    needs = frozenset({"token", "confidence", "entropy"})
    adaptive = True
    rows = "1 to 4"
    labelled = ("threshold", "branches")
    presets = {"lopa-entropy": "threshold=0.9,branches=3,score=entropy,lowest=1.0"}
    grid = "threshold=0.9,branches=1|2|3"

    threshold: float = probability(0.9)
    branches: int = whole(1, 3, "row")
    score: Literal["confidence", "entropy"] = choice("confidence", "entropy")
    lowest: float = probability(1.0)

    @property
    def most_rows(self) -> int:
        """The anchor and its branches."""
        return self.branches + 1

    def start(self, view: View) -> Branches:
        """Return that there are no branches yet."""
        return Branches(positions=[], token=view.canvas)

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Show the anchor and its branches."""
        supposed = [[], *([position] for position in state.positions)]
        return [row_with(view, view.open, state.token, positions) for positions in supposed]

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Commit by threshold in the best row, and choose the next branches from the rest."""
        scores = self._scores(statistics)
        best = scores.index(max(scores))
        branched = state.positions[best - 1 : best] if best else []
        confidence = statistics.confidence[best : best + 1]
        open_ = confidence >= 0
        chosen = passing_or_best(confidence, confidence >= self.threshold, open_)
        left = open_ & ~chosen
        several = min(self.branches, int(left.sum())) if left.sum() > 1 else 0
        token = statistics.token[best].clone()
        token[branched] = state.token[branched]
        state.positions = ranking(confidence, left)[0, :several].tolist()
        state.token = statistics.token[best]
        return writing(view, token, [*branched, *chosen[0].nonzero().flatten().tolist()])

    def _scores(self, statistics: Statistics) -> list[float]:
        """Return the score of each row: higher leaves less doubt."""
        confidence = statistics.confidence
        sure = confidence if self.score == "confidence" else -statistics.entropy
        scores = []
        for line, open_ in zip(sure.double(), confidence >= 0, strict=True):
            doubtful = line[open_].sort().values
            count = max(1, int(self.lowest * len(doubtful)))
            scores.append(float(doubtful[:count].mean()))
        return scores
