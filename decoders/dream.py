"""Dream: a masked diffusion process run backwards on an even grid of times.

From time t to time s, each open position is due with probability ``1 - s / t``.  ``origin``
draws for every position by itself, so the number per step is random; the others commit that
share of the open positions, best scores first.

Rule: with T steps, ``t_i = 1 - (1 - eps) i / T`` and n positions open now, step i commits

* ``origin``: every open position with probability ``1 - t_(i+1) / t_i``;
* ``maskgit_plus``, ``topk_margin``, ``entropy``: ``top(score, open, K_i)`` with
  ``K_i = floor(n (1 - t_(i+1) / t_i))`` and the score c, m or -H;

and the last step everything.  With ``alg_temp`` above 0 the K positions are drawn one after
the other, without replacement, with chances ``softmax(score / alg_temp)``.  Steps may commit
nothing, and still are a call.  ``schedule`` says how K is rounded: ``published`` in float32 as
in the authors' code, which at T = n commits none in some steps and two in others; ``exact``
as the formula has it.  (A block ends at four calls per open position: the loop allows no
more.)
Defaults: algorithm = origin, steps = 32 per block, eps = 0.001, alg_temp = 0,
schedule = published.  DiffuCoder takes eps = 1e-12, and the code of ParallelBench eps = 0.

At a positive temperature the authors' scores are those of the tempered (and filtered)
prediction; here they are those at temperature 1, as for all strategies.

Drawing without replacement is done all at once, by adding to each ``score / alg_temp`` a
number ``-log(-log u)`` and taking the K largest sums.  Why that is the same law: with
``w_i = exp(score_i / alg_temp)``, the order of the sums is the reverse order of
``e_i = -log(u_i) / w_i``, independent exponential waiting times of rates ``w_i``.  The first
to arrive is i with probability ``w_i / sum w``, whenever it arrives; and as waiting times have
no memory, the rest then race afresh, so the next is j with probability
``w_j / (sum w - w_i)``, and so on: that is drawing one after the other.

Source: Ye et al., "Dream 7B: Diffusion Large Language Models" (2025, arXiv:2508.15487),
the sampler of its code, block after block as in the code of Kang et al., "ParallelBench"
(2025, arXiv:2510.04767).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, Statistics, StepBatch, Updates
from parallelbench.decoders.schedule import (
    MOST_STEPS,
    exact_counts,
    exact_shares,
    final,
    published_counts,
    published_shares,
)
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import choice, nonnegative, whole

Algorithm = Literal["origin", "maskgit_plus", "topk_margin", "entropy"]
_SCORES = {"maskgit_plus": "confidence", "topk_margin": "margin", "entropy": "entropy"}


@DECODERS.register("dream")
@dataclass(frozen=True, kw_only=True)
class Dream(BatchDecoder):
    """Commit the share of the open positions that Dream's time schedule asks for.

    Attributes:
        algorithm: Selection of positions: at random, or by confidence, margin or entropy.
        steps: Calls per block, at least 1; fewer where ``origin`` fills it before.
        eps: The time at the end, in [0, 1): what is open then is left to the last step.
        alg_temp: Temperature of the ranking, 0 or more; not for ``origin``, which ranks
            nothing.
        schedule: Rounding of the number of tokens per step.

    Raises:
        ValueError: A field is out of range, or ``alg_temp`` is above 0 with ``origin``.
    """

    labelled = ("algorithm", "steps")
    presets = {
        "dream-origin": "algorithm=origin,eps=0.001,alg_temp=0",
        "dream-maskgit-plus": "algorithm=maskgit_plus,eps=0.001,alg_temp=0",
        "dream-topk-margin": "algorithm=topk_margin,eps=0.001,alg_temp=0",
        "dream-entropy": "algorithm=entropy,eps=0.001,alg_temp=0",
    }
    grid = "steps=1|2|4|8|16|32"

    algorithm: Algorithm = choice("origin", "maskgit_plus", "topk_margin", "entropy")
    steps: int = whole(1, 32, "per block", most=MOST_STEPS)
    eps: float = nonnegative(0.001, below=1.0)
    alg_temp: float = nonnegative(0.0)
    schedule: Literal["exact", "published"] = choice("published", "exact")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alg_temp > 0 and self.algorithm == "origin":
            raise ValueError(
                f"alg_temp needs an algorithm that ranks positions, got {self.alg_temp} with "
                "'origin'; leave it at 0, or take maskgit_plus, topk_margin or entropy"
            )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # follows the algorithm
        """The token, what ranks positions, and random numbers where any are drawn."""
        ranked = {_SCORES[self.algorithm]} if self.algorithm in _SCORES else set()
        drawn = {"uniform"} if self.alg_temp > 0 or not ranked else set()
        return frozenset({"token"} | ranked | drawn)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what is due in every sample; in its last step, everything."""
        last = final(batch.progress, self.steps) > 0
        # No step follows the last; the table needs no line for it.
        step = batch.progress.step.clamp(max=self.steps - 1)
        due = self._drawn(batch, step) if self.algorithm == "origin" else self._best(batch, step)
        return Updates(write=batch.open & (due | last), tokens=batch.statistics.token)

    def _drawn(self, batch: StepBatch, step: Tensor) -> Bool[Tensor, "samples length"]:
        shares = published_shares if self.schedule == "published" else exact_shares
        share = shares(self.steps, self.eps, batch.open.device)[step]
        return batch.statistics.uniform < share[:, None]

    def _best(self, batch: StepBatch, step: Tensor) -> Bool[Tensor, "samples length"]:
        counts = published_counts if self.schedule == "published" else exact_counts
        table = counts(self.steps, self.eps, batch.open.shape[1], batch.open.device)
        count = table[step, batch.open.sum(dim=1)][:, None]
        return leading(ranking(self._score(batch.statistics), batch.open), count, batch.open)

    def _score(self, statistics: Statistics) -> Float[Tensor, "samples length"]:
        score = {
            "maskgit_plus": lambda: statistics.confidence,
            "topk_margin": lambda: statistics.margin,
            "entropy": lambda: -statistics.entropy,
        }[self.algorithm]()
        if self.alg_temp == 0:
            return score
        return perturbed(score.double() / self.alg_temp, statistics.uniform)


def perturbed(
    logits: Float[Tensor, "samples length"], uniform: Float[Tensor, "samples length"]
) -> Float[Tensor, "samples length"]:
    """Return sums whose K largest are K draws without replacement with chances exp(logit).

    Args:
        logits: Logarithms of the chances, up to a constant; -inf where there is none.
        uniform: An independent number in [0, 1) for each.
    """
    return logits - torch.log(-torch.log(uniform.double()))
