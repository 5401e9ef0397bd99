"""LLaDA: commit the best positions by some score, in a given number of steps.

As ``confidence``, ``random``, ``margin`` and ``entropy``, but with a number of steps per block
instead of the tokens of a step; where the number of steps divides that of the open
positions, the two are the same.

Rule: with n open positions at the block's start and T steps, step i of 0 ... T - 1 commits
``top(score, open, K_i)``, where ``K_i = floor(n / T)``, and one more if ``i < n mod T``.
The score is c, u, m or -H.  A block takes T calls even where it is full before: with
T > n the calls after the n-th commit nothing.  (No block takes more than four calls per
open position: the loop allows no more.)
Defaults: score = confidence, steps = 32 per block.  The authors' script takes as many steps
as tokens.

Source: Nie et al., "Large Language Diffusion Models" (LLaDA, 2025, arXiv:2502.09992),
``generate`` of its code with ``low_confidence`` (which names what stays masked) and
``random``; margin and entropy as in the code of Kang et al., "ParallelBench" (2025,
arXiv:2510.04767).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.schedule import MOST_STEPS, even_count, steps_allowed
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import choice, whole

Score = Literal["confidence", "random", "margin", "entropy"]


@DECODERS.register("llada")
@dataclass(frozen=True, kw_only=True)
class LLaDA(BatchDecoder):
    """Spread the open positions of a block evenly over ``steps`` steps, best scores first.

    Attributes:
        score: Rank of the positions: the probability of the predicted token, a fresh
            random number, the gap between the two highest probabilities, or low entropy.
        steps: Calls per block, at least 1.
    """

    labelled = ("score", "steps")
    presets = {
        "llada-low-confidence": "score=confidence",
        "llada-random": "score=random",
    }
    grid = "steps=1|2|4|8|16|32"

    score: Score = choice("confidence", "random", "margin", "entropy")
    steps: int = whole(1, 32, "per block", most=MOST_STEPS)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # follows the score
        """The token, and what the score is made of."""
        return frozenset({"token", "uniform" if self.score == "random" else self.score})

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the best positions of every sample, as many as the schedule says."""
        statistics = batch.statistics
        score = {
            "confidence": lambda: statistics.confidence,
            "random": lambda: statistics.uniform,
            "margin": lambda: statistics.margin,
            "entropy": lambda: -statistics.entropy,
        }[self.score]()
        count = even_count(batch.progress, self.steps)
        chosen = leading(ranking(score, batch.open), count, batch.open)
        return Updates(write=chosen, tokens=statistics.token)

    def block_done(self, state: Any, view: View) -> bool:
        """Return True once the block is full and all its calls are made."""
        return view.remaining == 0 and view.step >= steps_allowed(self.steps, view.initial)
