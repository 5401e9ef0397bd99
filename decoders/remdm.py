r"""ReMDM: run the masked diffusion process backwards, with written tokens falling open again.

Each call takes the process from time t to s; the share of written tokens it aims at grows
from alpha_t to alpha_s.  Opening some again and writing more to make up for it leaves what
is written at each time distributed as before, and gives mistakes a chance to be mended.

Rule: with T calls, t = 1 - i / T and s = 1 - (i + 1) / T for call i = 0 ... T - 1, and
alpha_t = 1 - t, a written token falls open with probability sigma and an open position is
written, with a token drawn from its prediction, with probability
``(alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t)``.  By ``schedule``, with
``most = min(1, (1 - alpha_s) / alpha_t)``:

* ``cap``: sigma = min(eta, most);
* ``rescale``: sigma = eta most;
* ``conf``: sigma = w most, w the softmax over written tokens of minus their confidence at
  commit; open positions see sigma = 0;
* ``loop``: for t > 0.55 alpha rises linearly from 0 to 0.9, for t <= 0.05 from 0.9 to 1, both
  with sigma = 0; between, alpha rests at 0.9 and sigma = eta.

The last call writes everything that is open.  No block takes more than four calls per open
position: T is that where ``steps`` is more.
Defaults: schedule = cap; eta = 0.008, 0.015 and 0.02 for cap, rescale and loop; steps = as many
as positions are open; temperature = 1.

Source: Wang et al., "Remasking Discrete Diffusion Models with Inference-Time Scaling"
(ReMDM, 2025, arXiv:2503.00307), and its code, which draws from the likeliest tokens that
hold 0.9 of the mass, where here the whole prediction is drawn from, and saves the call where
nothing changed since the last, which here is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import (
    DECODERS,
    STEPS_PER_TOKEN,
    BatchDecoder,
    StepBatch,
    Updates,
    View,
)
from parallelbench.decoders.batched import in_windows, revised, scatter_field, stack_field, writable
from parallelbench.decoders.schedule import MOST_STEPS, steps_allowed
from parallelbench.ranges import choice, fraction, whole

Schedule = Literal["cap", "rescale", "conf", "loop"]

_ETA: dict[Schedule, float] = {"cap": 0.008, "rescale": 0.015, "conf": 1.0, "loop": 0.02}
#: Where the loop begins and ends, and how much is written meanwhile.
_LOOP_ON, _LOOP_OFF, _LOOP_ALPHA = 0.55, 0.05, 0.9


@dataclass(slots=True, eq=False)
class Drawn:
    """The writable positions of a sample, and the confidence of each when it was last written."""

    writable: Bool[Tensor, " length"]
    confidence: Float[Tensor, " length"]


class _Rates(NamedTuple):
    """Written shares before and after a call, and the probability to be opened again."""

    before: Float[Tensor, "samples 1"]
    after: Float[Tensor, "samples 1"]
    sigma: Float[Tensor, "samples 1"]


@DECODERS.register("remdm")
@dataclass(frozen=True, kw_only=True)
class Remdm(BatchDecoder):
    """Write and open positions at random, at the rates of a diffusion process.

    Attributes:
        steps: Calls for each block, 1 to 100,000, of which a block takes as many as four per
            open position; None makes as many as positions are open.
        schedule: Probability that a written token is opened again.
        eta: The schedule's own strength, in [0, 1]; None takes the published one.
            ``conf`` has none.

    Raises:
        ValueError: A field is out of range.
    """

    needs = frozenset({"token", "confidence", "uniform"})
    remasks = True
    labelled = ("schedule", "steps")
    presets = {
        "remdm-cap": "schedule=cap,eta=0.008",
        "remdm-rescale": "schedule=rescale,eta=0.015",
        "remdm-conf": "schedule=conf",
        "remdm-loop": "schedule=loop,eta=0.02",
    }
    grid = "steps=1|2|4|8|16|32"

    temperature: float = 1.0
    steps: int | None = whole(1, None, most=MOST_STEPS)
    schedule: Schedule = choice("cap", "rescale", "conf", "loop")
    eta: float | None = fraction(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta is not None and self.schedule == "conf":
            raise ValueError(f"schedule conf takes no eta, got {self.eta}: leave it out")

    @property
    def adaptive(self) -> bool:  # type: ignore[override]  # follows the schedule
        """True for ``conf``, where confidences decide the number of tokens opened again."""
        return self.schedule == "conf"

    @property
    def scheduled(self) -> bool:
        """True: every block takes its steps, however many tokens are opened again."""
        return True

    def start(self, view: View) -> Drawn:
        """Return that nothing was written yet."""
        places = writable(view)
        return Drawn(writable=places, confidence=torch.zeros(places.shape, device=places.device))

    def block_done(self, state: Any, view: View) -> bool:
        """Return True once all steps were taken."""
        return view.step >= steps_allowed(self.steps or view.initial, view.initial)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Write open positions and open written ones, each by its own chance."""
        uniform = batch.statistics.uniform
        before = stack_field(batch.states, "confidence")
        written = in_windows(batch, stack_field(batch.states, "writable")) & ~batch.open
        rates = self._rates(batch)
        falling = rates.sigma.expand(uniform.shape)
        if self.schedule == "conf":
            weight = torch.softmax(-before.double().masked_fill(~written, torch.inf), dim=1)
            falling = rates.sigma * weight.nan_to_num().where(written, 0)
        kept = 1 if self.schedule == "conf" else 1 - rates.sigma
        writing = (rates.after - kept * rates.before) / (1 - rates.before)
        chosen = batch.open & (uniform < writing)
        confidence = batch.statistics.confidence
        scatter_field(batch.states, confidence=confidence.float().where(chosen, before))
        return revised(batch, chosen, written & (uniform < falling))

    def _rates(self, batch: StepBatch) -> _Rates:
        step, initial = batch.progress.step[:, None].double(), batch.progress.initial[:, None]
        allowed = STEPS_PER_TOKEN * initial
        steps = initial if self.steps is None else allowed.clamp(max=self.steps)
        start, end = 1 - step / steps, 1 - (step + 1) / steps
        if self.schedule == "loop":
            return self._loop(start, end)
        before, after = 1 - start, 1 - end
        most = (end / before).nan_to_num().clamp(max=1)  # nothing is written before the first
        eta = _ETA[self.schedule] if self.eta is None else self.eta
        return _Rates(before, after, most.clamp(max=eta) if self.schedule == "cap" else eta * most)

    def _loop(self, start: Float[Tensor, "samples 1"], end: Float[Tensor, "samples 1"]) -> _Rates:
        eta = _ETA["loop"] if self.eta is None else self.eta
        early, late, last = start > _LOOP_ON, start <= _LOOP_OFF, end <= 0

        def written(time: Tensor) -> Tensor:
            rising = (1 - time) * _LOOP_ALPHA / (1 - _LOOP_ON)
            closing = 1 - time * (1 - _LOOP_ALPHA) / _LOOP_OFF
            return torch.where(early, rising, torch.where(late, closing, _LOOP_ALPHA))

        # With few calls the last may fall into any part of the loop; it ends it all the same.
        sigma = torch.where(early | late | last, 0.0, eta).to(start.dtype)
        return _Rates(written(start), written(end).where(~last, 1.0), sigma)
