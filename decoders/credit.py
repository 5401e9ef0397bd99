"""Credit: a token that was proposed again and again is trusted at a lower confidence.

Each call gives credit to the token that it finds likeliest at each open position; credit
fades from call to call, and raises the logit of its token.

Rule: per position and token, ``C <- decay C``, then ``C_i[t_i] += c_i ** exponent`` for the
likeliest token t_i; with the logits ``z + strength ln(1 + C)`` in place of z, the
confidence threshold decides.  Credit is given anew in each block.
Defaults: strength = 0.7, exponent = 0.2, decay = 0.8, threshold = 0.9.

Only credited tokens are remembered: a raised logit is ``p (1 + C) ** strength`` before it is
normalised, so all others keep their place among themselves.  The likeliest token of a call
is credited by it, which makes the likeliest token of all one of those that are remembered.

Source: Wang et al., "CreditDecoding: Accelerating Parallel Decoding in Diffusion Large
Language Models with Trace Credits" (2025, arXiv:2510.06133); constants of its code in
dInfer.  Where nothing reaches the threshold that code commits everything within 1e-5 of the
best; here the best alone is, the lower index on ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates, View
from parallelbench.decoders.selection import passing_or_best
from parallelbench.ranges import fraction, nonnegative, probability


@dataclass(slots=True, eq=False)
class Ledger:
    """The tokens that were credited in this block, call by call, and what is left of it."""

    token: Int[Tensor, "calls length"]
    credit: Float[Tensor, "calls length"]


class _Fused(NamedTuple):
    """The likeliest tokens once credit is counted, and their probabilities."""

    token: Int[Tensor, "samples length"]
    confidence: Float[Tensor, "samples length"]


@DECODERS.register("credit")
@dataclass(frozen=True, kw_only=True)
class Credit(BatchDecoder):
    """Commit all positions whose confidence with earned credit reaches ``threshold``.

    Attributes:
        strength: Weight of the logarithm of credit in a logit, 0 or more.
        exponent: Power of the confidence that is added as credit, 0 or more.
        decay: Share of credit that remains after a call, in [0, 1].
        threshold: Least confidence of a committed position, in (0, 1]; the surest always passes.

    Raises:
        ValueError: A field is out of range, or ``temperature`` is not 0: the likeliest
            token after credit is not one that can be drawn before.
    """

    needs = frozenset({"token", "confidence", "distribution"})
    adaptive = True
    labelled = ("threshold",)
    presets = {
        "credit-decoding": "strength=0.7,exponent=0.2,decay=0.8,threshold=0.9",
    }
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    strength: float = nonnegative(0.7)
    exponent: float = nonnegative(0.2)
    decay: float = fraction(0.8)
    threshold: float = probability(0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature != 0:
            raise ValueError(
                f"temperature must be 0 where credit decides the token, got {self.temperature}"
            )

    def start(self, view: View) -> Ledger:
        """Return that nothing has credit."""
        nothing = view.canvas.new_zeros((0, len(view.canvas)))
        return Ledger(token=nothing, credit=nothing.float())

    def step_batch(self, batch: StepBatch) -> Updates:
        """Give credit, and commit what is sure enough with it."""
        token, credit = self._credited(batch)
        fused = self._fused(batch.statistics.distribution, token, credit)
        passing = fused.confidence >= self.threshold
        chosen = passing_or_best(fused.confidence, passing, batch.open)
        return Updates(write=chosen, tokens=fused.token)

    def _credited(
        self, batch: StepBatch
    ) -> tuple[Int[Tensor, "samples calls length"], Float[Tensor, "samples calls length"]]:
        """Enter this call into every ledger; return them, padded with entries without credit."""
        steps = [view.step for view in batch.views]
        pairs = list(zip(batch.states, steps, strict=True))
        # On the left, so that every ledger ends with this call.
        token = _padded([state.token[:step] for state, step in pairs])
        credit = _padded([state.credit[:step] for state, step in pairs]) * self.decay
        gained = batch.statistics.confidence.float().clamp(min=0) ** self.exponent
        token = torch.cat([token, batch.statistics.token.where(batch.open, 0)[:, None]], dim=1)
        credit = torch.cat([credit, gained.where(batch.open, 0)[:, None]], dim=1)
        for index, (state, step) in enumerate(pairs):
            state.token, state.credit = token[index, -step - 1 :], credit[index, -step - 1 :]
        return token, credit

    def _fused(
        self,
        distribution: Float[Tensor, "samples length vocabulary"],
        token: Int[Tensor, "samples calls length"],
        credit: Float[Tensor, "samples calls length"],
    ) -> _Fused:
        same = token[:, :, None] == token[:, None]
        raised = (1 + (same * credit[:, None]).sum(dim=2)) ** self.strength
        before = distribution.gather(2, token.transpose(1, 2)).transpose(1, 2)
        after = before * raised
        # A token that was credited in several calls is counted in the first of them.
        first = ~(same & _earlier(token.shape[1], token.device)).any(dim=2)
        total = 1 + ((after - before) * first).sum(dim=1)
        best = after.amax(dim=1)
        lowest = token.where(after == best[:, None], distribution.shape[2]).amin(dim=1)
        return _Fused(token=lowest, confidence=best / total)


def _padded(ledgers: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(ledgers), batch_first=True, padding_side="left")


def _earlier(calls: int, device: torch.device) -> Bool[Tensor, "calls calls 1"]:
    """Return True where the call of the second index precedes that of the first."""
    return torch.ones((calls, calls), dtype=torch.bool, device=device).tril(-1)[:, :, None]
