"""DEMASK: a trained head says how much each prediction hangs on each other position.

The head reads the network's last hidden states and predicts for every two open positions how
far, in total variation, the prediction of one would move if the other were written.  What is
committed together may hang together by no more than a budget.

Rule: take the open positions in descending order of confidence, the first in any case; add
one if the predicted dependencies between all pairs of what is taken then sum to at most
``budget``, else pass it over.

The head belongs to a model, and none comes with this package: a model gives it as
``"head:demask"``, for each row a square with, at (i, j), how much writing i would move the
prediction of j, in [0, 1].  No value of ``budget`` is known to us, so there is no preset; at
0, where it stands unless you say otherwise, only what is predicted to be wholly independent
goes together.

Chosen here, where the description is silent: of a pair, the dependency that counts is that of
the less sure position on the surer one, which would have been written before it.

Source: DEMASK (2026, arXiv:2604.02560), from notes on the paper; its code was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import model_share, ranking
from parallelbench.ranges import nonnegative


@DECODERS.register("demask")
@dataclass(frozen=True, kw_only=True)
class Demask(Chooser):
    """Commit the most confident positions within a budget of predicted dependency.

    Attributes:
        budget: Upper bound of the sum of predicted dependencies over the committed pairs, in
            [0, inf).
    """

    needs = frozenset({"token", "confidence", "head:demask"})
    adaptive = True
    labelled = ("budget",)
    hints = {
        "head:demask": "it is the head that DEMASK (arXiv:2604.02560) trains for one checkpoint, "
        "published for Dream 7B Instruct as liranringel/Dream-v0-Instruct-7B-Demask, which says "
        "how much each position's prediction hangs on each other; a model of a plugin that has "
        "it names 'head:demask' in capabilities and gives [length, length] of each row in "
        "Prediction.extras (docs/models.md)"
    }

    budget: float = nonnegative(0.0)

    def choose(self, step: Step) -> Selection:
        """Return the surest open positions that the budget allows together."""
        order = ranking(step.confidence, step.open)
        dependency = model_share(step, "head:demask", square=True)
        taken = torch.zeros_like(step.open)
        spent = dependency.new_zeros((len(step.open), 1))
        for rank in range(int(step.open.sum(dim=1).max())):
            place = order[:, rank : rank + 1]
            on_it = dependency.take_along_dim(place[:, None], dim=2).squeeze(2)
            total = spent + (on_it * taken).sum(dim=1, keepdim=True)
            fits = step.open.gather(1, place) & (total <= self.budget)
            spent = total.where(fits, spent)
            taken = taken.scatter(1, place, fits)
        return taken
