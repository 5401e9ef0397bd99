"""Renoise: the sampler of DiffusionGemma, which holds nothing for good until it stops.

A model of uniform noise sees no masks: every position always shows some token, and a wrong
one looks like a right one.  So nothing is committed: in every step the tokens of which the
model is surest are shown again, and all others, those shown before included, become noise.

Rule: the canvas begins as random tokens, all equally likely.  In step n of N, N - 1, ..., 1,
with ``T = t_min + (t_max - t_min) n / N`` and p the prediction at temperature T:
draw a token from every ``p_i``; accept the positions of lowest entropy while the entropies
before them sum to ``entropy_bound`` at most; show what was drawn there and fresh noise
elsewhere, and tell the network p (self-conditioning).  The result is ``argmax p``.  Stop when
the last ``stability`` results were the same as this one and the mean entropy is below
``confidence``, or at n = 1.
Defaults: entropy_bound = 0.1 nats, steps = 48, t_min = 0.4, t_max = 0.8, stability = 1,
confidence = 0.005 nats.

There is no commit.  Each step writes its result over that of the step before, where it
differs, so the last change of a position is when its token came to stay, and a revision is a
change of mind.  The first noise of a canvas is the model's, which follows the sample alone.
Each block of the network's own canvas begins anew; the authors' encoder call for each is
counted as an auxiliary one.  Pre-filled positions show what they hold.

Source: ``EntropyBoundSampler`` and ``StableAndConfidentStoppingCriteria`` in transformers'
``generation_diffusion_gemma.py``; the bound is that of EB-Sampler (2025, arXiv:2505.24857).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decode.statistics import Drawing, draw, entropy_of
from parallelbench.decoder import DECODERS, Decoder, Statistics, Update, View
from parallelbench.decoders.entropy_bound import within
from parallelbench.decoders.schedule import MOST_STEPS
from parallelbench.model import Row
from parallelbench.ranges import nonnegative, positive, whole


@dataclass(slots=True, eq=False)
class Noisy:
    """The noisy block of one sample.

    Attributes:
        own: The positions that the block had to fill.
        shown: The canvas with what was accepted, and noise.
        predicted: Previous prediction for self-conditioning, one line per own position.
        results: The last ones, at most as many as must be the same.
        settled: True once the block is done.
    """

    own: Bool[Tensor, " length"]
    shown: Int[Tensor, " length"]
    predicted: Float[Tensor, "own vocabulary"] | None = None
    results: deque[Int[Tensor, " own"]] = field(default_factory=deque)
    settled: bool = False


@DECODERS.register("renoise")
@dataclass(frozen=True, kw_only=True)
class Renoise(Decoder):
    """Keep what an entropy bound accepts and put noise elsewhere, until the canvas is settled.

    Attributes:
        entropy_bound: Greatest sum of the entropies before an accepted one, in nats, 0 or more.
        steps: Calls per block at most, at least 1.
        t_min: Temperature that the schedule falls to, in [0, ``t_max``].
        t_max: Temperature that it falls from, in (0, inf).
        stability: Number of previous results that must be the same, 0 or more.
        confidence: Mean entropy below which a block may settle, in nats, in (0, inf).

    Raises:
        ValueError: A field is out of range, or ``temperature`` is not 0.
    """

    needs = frozenset({"token", "distribution", "uniform", "noise", "self_conditioning"})
    adaptive = True
    remasks = True
    labelled = ("entropy_bound", "steps")
    presets = {
        "diffusion-gemma": (
            "entropy_bound=0.1,steps=48,t_min=0.4,t_max=0.8,stability=1,confidence=0.005"
        ),
    }
    grid = "entropy_bound=0.01|0.03|0.1|0.3|1.0"

    entropy_bound: float = nonnegative(0.1, "nats")
    steps: int = whole(1, 48, "per block", most=MOST_STEPS)
    t_min: float = 0.4
    t_max: float = positive(0.8)
    stability: int = whole(0, 1, "results")
    confidence: float = positive(0.005, "nats")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.t_min <= self.t_max:
            raise ValueError(f"t_min must lie in [0, t_max={self.t_max}], got {self.t_min}")
        if self.temperature != 0:
            raise ValueError(
                f"temperature must be 0 where t_min and t_max give it, got {self.temperature}"
            )

    def most_steps(self, positions: int) -> int:
        """Return the steps of as many blocks as there are positions, if that is more."""
        return max(super().most_steps(positions), self.steps * positions)

    def start(self, view: View) -> Noisy:
        """Return a canvas that shows nothing yet."""
        return Noisy(own=view.open, shown=view.canvas)

    def plan(self, state: Noisy, view: View) -> Sequence[Row]:
        """Show the canvas with its noise; at a block's start, the model's own."""
        if view.step == 0:
            return [Row(view.prompt, view.canvas, view.open)]
        return [Row(view.prompt, state.shown, state.own, conditioning=state.predicted)]

    def step(self, state: Noisy, view: View, statistics: Statistics) -> Update:
        """Write the likeliest tokens over those of the step before, and renoise the canvas."""
        if view.step == 0:
            state.own, state.settled = view.open, False
            state.results.clear()
        result = statistics.token[0]
        left = self.steps - view.step
        logits = statistics.distribution[0, state.own].log()
        temperature = self.t_min + (self.t_max - self.t_min) * left / self.steps
        predicted = torch.softmax(logits / temperature, dim=-1)
        entropy = entropy_of(logits / temperature, predicted)
        state.settled = left == 1 or self._settled(state, result[state.own], entropy)
        if not state.settled:
            numbers = statistics.uniform[0, state.own].double()
            accepted = within(self.entropy_bound, entropy[None], torch.ones_like(entropy[None]) > 0)
            # A position is either drawn or made noise, so one number does for both.
            shown = (numbers * view.mask_id).long().clamp(max=view.mask_id - 1)
            hot = torch.full_like(numbers[accepted[0]], temperature)
            drawing = Drawing(hot, numbers[accepted[0]])
            shown[accepted[0]] = draw(logits[accepted[0]], drawing)[0]
            state.shown = view.canvas.masked_scatter(state.own, shown)
            state.predicted = predicted
        return Update(write=state.own & (result != view.canvas), tokens=result)

    def block_done(self, state: Noisy, view: View) -> bool:
        """Return True once the block is settled or all its calls are made."""
        return state.settled

    def _settled(
        self, state: Noisy, result: Int[Tensor, " own"], entropy: Float[Tensor, " own"]
    ) -> bool:
        stable = len(state.results) == self.stability and all(
            torch.equal(before, result) for before in state.results
        )
        state.results.append(result)
        if len(state.results) > self.stability:
            state.results.popleft()
        return stable and float(entropy.mean()) < self.confidence
