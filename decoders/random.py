"""Random: commit positions drawn at random, a fixed number in each step.

It ignores what the model says of its own certainty, and so shows what every other score
is worth: the order is that of a masked diffusion process run backwards.

Rule: ``S = top(u, open, k)``, u uniform in [0, 1) and fresh in every step.
Defaults: k = 1.

Source: Nie et al., "Large Language Diffusion Models" (LLaDA, 2025, arXiv:2502.09992),
random remasking.
"""

from __future__ import annotations

from dataclasses import dataclass

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import FixedCount, top


@DECODERS.register("random")
@dataclass(frozen=True, kw_only=True)
class Random(FixedCount):
    """Commit ``k`` positions drawn uniformly, without replacement, in each step.

    The numbers come from the sample's own generator, so a run can be repeated.
    """

    needs = frozenset({"token", "uniform"})

    def choose(self, step: Step) -> Selection:
        """Return the ``k`` open positions that drew the highest numbers."""
        return top(step.uniform, step.open, self.k)
