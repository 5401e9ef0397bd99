"""Learn2PD: a trained filter says which predictions are already final.

A small network looks at the confidences of a block and says of each open position how likely
its present token is the one that the model would end with.

Rule: with ``f_i`` that probability, ``S`` is the union of ``{i open : f_i > threshold}`` and
``argmax c``: the surest is written in every call, with or without the filter's approval.
Defaults: threshold = 0.96, blocks of 32, for which the published filters were trained.

The filter belongs to a model and a block length, and none comes with this package: a model
gives ``f`` as ``"head:learn2pd"``, one number in [0, 1] for each canvas position.  The
method's second part, which cuts the canvas after the first end-of-text that is predicted, is
not here: a canvas keeps its length.

Where the authors write the surest, a schedule of steps says how many; ours is theirs with as
many steps as tokens.

Source: Learn2PD (2025, arXiv:2509.25188), and its code, ``generate_learn2parallel`` in
``llada/generate.py`` of ``ims-kdks/Learning-to-Parallel-Decoding`` at commit 342293ce, read in
December 2026.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import model_share, top
from parallelbench.ranges import fraction


@DECODERS.register("learn2pd")
@dataclass(frozen=True, kw_only=True)
class Learn2pd(Chooser):
    """Commit positions that a trained filter accepts as final, and the most confident.

    Attributes:
        threshold: Probability of the filter above which a position is final, in [0, 1].
    """

    needs = frozenset({"token", "confidence", "head:learn2pd"})
    adaptive = True
    labelled = ("threshold",)
    hints = {
        "head:learn2pd": "it is the filter that Learn2PD (arXiv:2509.25188) trains for one "
        "checkpoint and block length, which says how likely each position's token is final; "
        "a model of a plugin that has it names 'head:learn2pd' in capabilities and gives [length] "
        "of each row in Prediction.extras (docs/models.md)"
    }
    grid = "threshold=0.8|0.9|0.96|0.99"

    block_length: int | None = 32
    threshold: float = fraction(0.96)

    def choose(self, step: Step) -> Selection:
        """Return the open positions that are held for final, and the surest."""
        surest = top(step.confidence, step.open, 1)
        return surest | (
            step.open & (model_share(step, "head:learn2pd", square=False) > self.threshold)
        )
