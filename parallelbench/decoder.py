"""What a decoding strategy is: it plans rows and chooses what to write.  It never runs a model.

Three shapes, one road.  A strategy that needs only statistics of each open position is a
:class:`Chooser`: a frozen dataclass with one batched method ``choose``.  Whatever needs
more (history, re-masking, attention, several rows or several calls) is a full
:class:`Decoder` with ``start``, ``plan``, ``step`` and ``block_done``, or a
:class:`BatchDecoder`, whose rule is written once for many samples: ``step_batch``.  A
chooser *is* one of these whose ``step_batch`` is written in terms of ``choose``, so the
loop in :mod:`parallelbench.decode.loop` knows a single kind.

State belongs to a sample and never to the decoder object: many samples at different
progress, and many settings of one sample, share one batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.model import Row as Row  # noqa: PLC0414  outsiders import it from here
from parallelbench.prompt import Codec, Prompt
from parallelbench.ranges import check_ranges, nonnegative, whole
from parallelbench.registry import Registry
from parallelbench.task import Answers

#: What the loop itself can compute from logits.  Anything else that a decoder needs
#: (``"attention"``, ``"hidden"``, a trained head ...) must be provided by the model.
#: ``"answers"`` is the sample's law of right answers: it makes a decoder an oracle.
STATISTICS = frozenset(
    {
        "token",
        "confidence",
        "margin",
        "logit_margin",
        "entropy",
        "uniform",
        "distribution",
        "answers",
    }
)

#: What a model can do rather than give: obey a row's own ``"positions"`` and
#: ``"attention_mask"``, understand ``"shorter_rows"``, which end before the sample's canvas
#: does, and compute that which predicts a position at that position: ``"unshifted"``.
#: ``"noise"`` is a network for which any token at an open position is noise, and which was
#: trained on tokens below its mask id, all equally likely; ``"self_conditioning"`` one that
#: reads a row's own ``conditioning``.
ABILITIES = frozenset(
    {
        "positions",
        "attention_mask",
        "shorter_rows",
        "unshifted",
        "noise",
        "self_conditioning",
    }
)


#: Steps per open position after which a decode is stalled, unless its strategy needs more.
STEPS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a decoder may see of one sample: read-only.

    Attributes:
        prompt: The sample's prompt.
        canvas: Token ids as they stand, with the mask id at open positions.
        open: True at the masked positions of the active window.
        window: First position of the active window, and the one after its last.
        remaining: How many positions of the window are open.
        initial: How many were open when the window became active.
        step: Steps taken in this window so far.
        nfe: Model calls made for this sample so far.
        mask_id: The id that marks an open position.
    """

    prompt: Prompt
    canvas: Int[Tensor, " length"]
    open: Bool[Tensor, " length"]
    window: tuple[int, int]
    remaining: int
    initial: int
    step: int
    nfe: int
    mask_id: int

    @property
    def answers(self) -> Answers:
        """The law of the right answers: for oracles, which declare ``needs`` ``"answers"``."""
        return self.prompt.answers


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What the model's predictions say of each wanted position, one row per model row.

    A field is None unless a decoder of the batch needs it.  At positions that were not
    wanted the token is the mask id, confidence and both margins are -inf and entropy is +inf.

    Attributes:
        token: The predicted id: the likeliest one (lowest id on ties), or, at a positive
            temperature, a draw.
        confidence: Probability of ``token`` at temperature 1, in [0, 1], in float64: 1 only where
            float64 gives 1, and to be ranked by however near to 1 it is; see
            :mod:`parallelbench.decode.statistics`.
        margin: Gap between the two highest probabilities, in [0, 1], likewise.
        logit_margin: Gap between the two highest logits, in nats, 0 or more; +inf where only
            one token is possible.
        entropy: Entropy of the prediction at temperature 1, in nats.
        uniform: Numbers in [0, 1) from each sample's own generator, fresh in every step, also
            in one without a call: one line per *sample*, and one number per position of its
            canvas unless ``draws`` of the decoder says otherwise.
        distribution: Probabilities over the whole vocabulary; 0 where not wanted.
        extras: What the model itself provides, by name; the first axis is the row.
            ``"attention"``, [rows, length, length] in float32, is how much the canvas position
            of that row attends to that of that column, averaged over all heads and layers;
            ``"attention_late"`` over all heads and the last 30 % of the layers, at least one;
            ``"attention_last_four"`` over all heads and the last four layers, or all of fewer.
            What is attended to in the prompt is left out and the rest not scaled up for it,
            so that a row sums to at most 1; positions that a model did not compute in this
            call, because they stand outside of its block, have a row of 0.
    """

    token: Int[Tensor, "rows length"]
    confidence: Float[Tensor, "rows length"] | None = None
    margin: Float[Tensor, "rows length"] | None = None
    logit_margin: Float[Tensor, "rows length"] | None = None
    entropy: Float[Tensor, "rows length"] | None = None
    uniform: Float[Tensor, "samples draws"] | None = None
    distribution: Float[Tensor, "rows length vocabulary"] | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def of(self, sample: int, rows: slice) -> Statistics:
        """Return the statistics of one sample, to which ``rows`` belong."""

        def part(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[rows]

        return Statistics(
            token=self.token[rows],
            confidence=part(self.confidence),
            margin=part(self.margin),
            logit_margin=part(self.logit_margin),
            entropy=part(self.entropy),
            uniform=None if self.uniform is None else self.uniform[sample : sample + 1],
            distribution=part(self.distribution),
            extras={name: tensor[rows] for name, tensor in self.extras.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far each sample of a batch is.

    Attributes:
        step: Steps taken in the active window so far.
        initial: How many positions of the window were open at its start.
    """

    step: Int[Tensor, " samples"]
    initial: Int[Tensor, " samples"]


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """What one step does to one sample.

    Attributes:
        write: True where an id is written.  Only positions that are not pre-filled may be
            written; one that already holds a token may be overwritten.
        tokens: The ids to write; the mask id opens a position again.
        done: End this sample now.
        window: Make this the active window; None leaves it to the blocks.
    """

    write: Bool[Tensor, " length"]
    tokens: Int[Tensor, " length"]
    done: bool = False
    window: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StepBatch:
    """Samples of one decoder and one canvas length, in one step, after the model call.

    Attributes:
        views: One per sample, as they stood before the call.
        states: What ``start`` returned for each sample.
        open: The open positions of each sample's window.
        progress: How far each sample is.
        statistics: One row per model row, in the order of ``rows``.
        rows: Which of those rows belong to each sample.
    """

    views: Sequence[View]
    states: Sequence[Any]
    open: Bool[Tensor, "samples length"]
    progress: Progress
    statistics: Statistics
    rows: Sequence[slice]


@dataclass(frozen=True, slots=True, eq=False)
class Updates:
    """What one step does to every sample of a batch: :class:`Update`, stacked.

    Attributes:
        write: True where an id is written.
        tokens: The ids to write.
        done: One per sample; empty means that none ends here.
        windows: One per sample; empty means that none is moved.
    """

    write: Bool[Tensor, "samples length"]
    tokens: Int[Tensor, "samples length"]
    done: Sequence[bool] = ()
    windows: Sequence[tuple[int, int] | None] = ()


@dataclass(frozen=True, kw_only=True)
class Decoder(ABC):
    """A strategy: which rows to send, and what to write when their predictions are back.

    Attributes:
        needs: What it wants to know of each position; the loop computes only that.
        adaptive: Whether the number of tokens per step depends on the predictions.
        remasks: Whether a written position may be opened again or overwritten.
        calls: Model calls in one step, in words where it is not 1: "0 or 1" for a strategy that
            makes steps without a call.
        rows: Rows in one call, likewise.
        labelled: Fields that its label always shows, even at their defaults.
        hints: By what it needs, what to say where a model does not give that.
        presets: Its settings with the constants of a paper, by the name under which people ask
            for them: ``{"fast-dllm": "threshold=0.9,block_length=32"}``.
        former_presets: Earlier names of presets, which are still understood, with the names of
            today.
        grid: The settings that a sweep covers where nobody says which, in the form that is
            typed: ``"threshold=0.5|0.7|0.9"``; empty where there is but one.
        block_length: Length in tokens of the semi-autoregressive blocks, decoded from
            left to right; None makes the whole canvas one block.
        temperature: 0 takes the likeliest token; above 0, tokens are drawn from the
            prediction at that temperature.

    Raises:
        ValueError: a field is out of its declared range.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token"})
    adaptive: ClassVar[bool] = False
    remasks: ClassVar[bool] = False
    calls: ClassVar[str] = "1"
    rows: ClassVar[str] = "1"
    labelled: ClassVar[tuple[str, ...]] = ()
    hints: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, str]] = {}
    former_presets: ClassVar[Mapping[str, str]] = {}
    grid: ClassVar[str] = ""

    block_length: int | None = whole(1, None, "token")
    temperature: float = nonnegative(0.0)

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def extras(self) -> frozenset[str]:
        """What it needs that the model must give beside logits."""
        return frozenset(self.needs - STATISTICS - ABILITIES)

    @property
    def deterministic(self) -> bool:
        """Whether it draws nothing: the same predictions make it write the same."""
        return self.temperature == 0 and "uniform" not in self.needs

    @property
    def scheduled(self) -> bool:
        """Whether it makes the same calls whatever is predicted, if no model ends it earlier."""
        return not self.adaptive

    @property
    def most_rows(self) -> int | None:
        """How many rows one call may have; None where the strategy does not say."""
        return 1 if self.rows == "1" else None

    def missing_capabilities(self, provided: AbstractSet[str]) -> list[str]:
        """Return what it needs beside what the loop computes and a model that gives these."""
        return sorted(self.needs - STATISTICS - provided)

    def check(self, codec: Codec) -> None:  # noqa: B027  most go with any tokenizer
        """Refuse a tokenizer that this strategy cannot go with; asked before a run starts.

        Raises:
            RequestError: Why it cannot.
        """

    def draws(self, positions: int) -> int:
        """Return how many uniform numbers each step of a sample takes, if ``needs`` name them."""
        return positions

    def most_steps(self, positions: int) -> int:
        """Return after how many steps a decode of ``positions`` open positions is stalled."""
        return STEPS_PER_TOKEN * positions

    def start(self, view: View) -> Any:  # noqa: ARG002  a strategy with a state overrides this
        """Return a fresh state for one sample; None if the strategy needs none."""
        return None

    def plan(self, state: Any, view: View) -> Sequence[Row]:  # noqa: ARG002
        """Return the rows of the next model call; none at all makes a step without a call."""
        return [Row(view.prompt, view.canvas, view.open)]

    @abstractmethod
    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Return what to write, given the predictions for this sample's planned rows."""

    def block_done(self, state: Any, view: View) -> bool:  # noqa: ARG002
        """Return whether the active window is finished; asked after every step."""
        return view.remaining == 0

    def note(self, state: Any) -> str | None:  # noqa: ARG002
        """Return what the record should say of how this sample was decoded, if anything."""
        return None

    def step_batch(self, batch: StepBatch) -> Updates:
        """Return :meth:`step` for every sample of ``batch``; override it to vectorise."""
        updates = [
            self.step(state, view, batch.statistics.of(sample, rows))
            for sample, (state, view, rows) in enumerate(
                zip(batch.states, batch.views, batch.rows, strict=True)
            )
        ]
        return Updates(
            write=torch.stack([update.write for update in updates]),
            tokens=torch.stack([update.tokens for update in updates]),
            done=[update.done for update in updates],
            windows=[update.window for update in updates],
        )


@dataclass(frozen=True, kw_only=True)
class BatchDecoder(Decoder):
    """A strategy whose rule is written for many samples at a time."""

    @abstractmethod
    def step_batch(self, batch: StepBatch) -> Updates:
        """Return what to write in every sample of ``batch``."""

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Return what to write in one sample: a batch of its own."""
        device = view.open.device
        alone = StepBatch(
            views=[view],
            states=[state],
            open=view.open[None],
            progress=Progress(
                step=torch.tensor([view.step], device=device),
                initial=torch.tensor([view.initial], device=device),
            ),
            statistics=statistics,
            rows=[slice(0, len(statistics.token))],
        )
        updates = self.step_batch(alone)
        return Update(
            write=updates.write[0],
            tokens=updates.tokens[0],
            done=any(updates.done),
            window=updates.windows[0] if updates.windows else None,
        )


@dataclass(frozen=True, kw_only=True)
class Chooser(BatchDecoder):
    """A strategy that needs only statistics of the open positions and never revises.

    It commits the predicted tokens at the positions it chooses.
    """

    @abstractmethod
    def choose(
        self,
        statistics: Statistics,
        open: Bool[Tensor, "samples length"],  # noqa: A002  the field's word
        progress: Progress,
    ) -> Bool[Tensor, "samples length"]:
        """Return which positions to commit in this step.

        Args:
            statistics: One row per sample.
            open: The positions that may be committed; at least one per sample.
            progress: How far each sample is in its window.

        Returns:
            True where a position is committed: a non-empty subset of ``open``.
        """

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the predicted tokens at the chosen positions of every sample."""
        chosen = self.choose(batch.statistics, batch.open, batch.progress)
        return Updates(write=chosen, tokens=batch.statistics.token)


DECODERS: Registry[type[Decoder]] = Registry("decoder")
