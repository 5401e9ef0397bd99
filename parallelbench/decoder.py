"""Base classes of decoders, which plan model rows and select the tokens to write.

A decoder never runs a model: the loop in :mod:`parallelbench.decode.loop` does.  There are three
base classes.  A rule that needs only statistics of each open position is a :class:`Chooser`, a
frozen dataclass with one method, ``choose``.  A rule that needs more (history, re-masking,
attention, several rows or several calls) is a :class:`Decoder` with ``start``, ``plan``, ``step``
and ``block_done``, or a :class:`BatchDecoder`, which steps many samples at once: ``step_batch``.
A chooser is a batch decoder whose ``step_batch`` calls ``choose``, so the loop knows one kind.

State belongs to a sample and never to the decoder object: many samples at different
progress, and many settings of one sample, share one batch.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.errors import DecoderError
from parallelbench.model import Row as Row  # noqa: PLC0414  outsiders import it from here
from parallelbench.prompt import Codec, Prompt
from parallelbench.ranges import check_ranges, nonnegative, whole
from parallelbench.registry import Registry
from parallelbench.task import Answers

#: Statistics that the loop computes from logits.  Anything else that a decoder needs
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

#: Abilities of a model, which return nothing: obey a row's own ``"positions"`` and
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


#: True at the selected positions of the canvas of each sample.
Selection = Bool[Tensor, "samples length"]

#: Steps per open position after which a decode is stalled, unless its strategy needs more.
STEPS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Read-only view of one sample, for decoders.

    Attributes:
        prompt: The sample's prompt.
        canvas: Token ids as they stand, with the mask id at open positions.
        open: True at the masked positions of the active window.
        window: First position of the active window, and the one after its last.
        remaining: Number of open positions of the window.
        initial: Number of positions that were open when the window became active.
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


class Statistics:
    """Statistics of the model's predictions at each wanted position, one row per model row.

    A decoder may read what its ``needs`` name, and ``token``; reading anything else raises
    :class:`~parallelbench.errors.DecoderError`.  At positions that were not wanted the token is
    the mask id, confidence and both margins are -inf, entropy is +inf and the distribution is 0.

    Args:
        token: See the attribute.
        extras: See the attribute.
        computed: The statistics, by the names of the properties; None for a missing one.

    Attributes:
        token: [rows, length], predicted ids: the likeliest (the lowest of several) or, at a
            positive temperature, a drawn one.
        computed: The computed statistics, by name.
        extras: Statistics that the model provides, by name; the first axis is the row.
            ``"attention"``, [rows, length, length] in float32, is the attention that the canvas
            position of that row pays to that of that column, averaged over all heads and layers;
            ``"attention_late"`` over all heads and the last 30 % of the layers, at least one;
            ``"attention_last_four"`` over all heads and the last four layers, or all of fewer.
            Attention to the prompt is left out and the rest not rescaled, so that a row sums to
            at most 1; positions that a model did not compute in this call, because they lie
            outside its block, have a row of 0.
    """

    __slots__ = ("computed", "extras", "token")

    def __init__(
        self,
        token: Int[Tensor, "rows length"],
        *,
        extras: Mapping[str, Tensor] = MappingProxyType({}),
        **computed: Tensor | None,
    ) -> None:
        self.token = token
        self.extras = extras
        self.computed = {name: value for name, value in computed.items() if value is not None}

    @property
    def confidence(self) -> Float[Tensor, "rows length"]:
        """Probability of ``token`` at temperature 1, in [0, 1], in float64.

        It is 1 only where float64 gives 1; positions are ranked by it however near to 1 they
        are.  See :mod:`parallelbench.decode.statistics`.
        """
        return self._read("confidence")

    @property
    def margin(self) -> Float[Tensor, "rows length"]:
        """Gap between the two highest probabilities, in [0, 1], in float64."""
        return self._read("margin")

    @property
    def logit_margin(self) -> Float[Tensor, "rows length"]:
        """Gap between the two highest logits, in nats, 0 or more; +inf if one token is possible."""
        return self._read("logit_margin")

    @property
    def entropy(self) -> Float[Tensor, "rows length"]:
        """Entropy of the prediction at temperature 1, in nats."""
        return self._read("entropy")

    @property
    def uniform(self) -> Float[Tensor, "samples draws"]:
        """Random numbers in [0, 1) from each sample's own generator, one line per *sample*.

        They are fresh in every step, also in one without a call.  A line has one number per
        position of the canvas unless ``draws`` of the decoder says otherwise.
        """
        return self._read("uniform")

    @property
    def distribution(self) -> Float[Tensor, "rows length vocabulary"]:
        """Probabilities over the whole vocabulary."""
        return self._read("distribution")

    def _read(self, name: str) -> Tensor:
        try:
            return self.computed[name]
        except KeyError:
            raise DecoderError(
                f"a decoder reads {name!r}, a statistic that its needs do not name: "
                f"add {name!r} to needs"
            ) from None

    def of(self, sample: int, rows: slice) -> Statistics:
        """Return the statistics of one sample, to which ``rows`` belong."""
        own = {"uniform": slice(sample, sample + 1)}
        return Statistics(
            self.token[rows],
            extras={name: tensor[rows] for name, tensor in self.extras.items()},
            **{name: value[own.get(name, rows)] for name, value in self.computed.items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """Progress of each sample of a batch in its window.

    Attributes:
        step: Steps taken in the active window so far.
        initial: Number of open positions of the window at its start.
    """

    step: Int[Tensor, " samples"]
    initial: Int[Tensor, " samples"]


class Step(Statistics):
    """The statistics of a step, one row per sample, and the positions to choose from.

    Args:
        statistics: One row per sample.
        is_open: See ``open``.
        progress: See the attribute.

    Attributes:
        open: [samples, length], True at the positions that may be committed; at least one per
            sample.
        progress: Steps taken by each sample, and its open positions at the start.
    """

    __slots__ = ("open", "progress")

    def __init__(
        self, statistics: Statistics, is_open: Bool[Tensor, "samples length"], progress: Progress
    ) -> None:
        super().__init__(statistics.token, extras=statistics.extras, **statistics.computed)
        self.open = is_open
        self.progress = progress

    def among(self, is_open: Bool[Tensor, "samples length"]) -> Step:
        """Return the same step with other positions to choose from."""
        return Step(self, is_open, self.progress)


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """The writes of one step in one sample.

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
        states: State of each sample, from ``start``.
        open: The open positions of each sample's window.
        progress: Progress of each sample in its window.
        statistics: One row per model row, in the order of ``rows``.
        rows: Slice of those rows that belongs to each sample.
    """

    views: Sequence[View]
    states: Sequence[Any]
    open: Bool[Tensor, "samples length"]
    progress: Progress
    statistics: Statistics
    rows: Sequence[slice]


@dataclass(frozen=True, slots=True, eq=False)
class Updates:
    """The writes of one step in every sample of a batch: :class:`Update`, stacked.

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
    """A decoding strategy with its settings: it plans rows and writes tokens.

    Attributes:
        needs: Names of the statistics and abilities that it reads or requires.
        adaptive: True if the number of tokens per step depends on the predictions.
        remasks: True if a written position may be opened again or overwritten.
        calls: Model calls in one step, in words where it is not 1: "0 or 1" for a strategy that
            makes steps without a call.
        rows: Rows in one call, likewise.
        labelled: Fields that its label always shows, even at their defaults.
        hints: Advice for the error where a model does not provide a need, by need.
        presets: Settings with the constants of a paper, by the name that is typed:
            ``{"fast-dllm": "threshold=0.9,block_length=32"}``.
        former_presets: Earlier names of presets, which are still accepted, with the present
            names.
        grid: Settings that ``name:*`` stands for, as they are typed:
            ``"threshold=0.5|0.7|0.9"``; empty for the defaults alone.
        block_length: Length in tokens of the semi-autoregressive blocks, decoded from
            left to right; None makes the whole canvas one block.
        temperature: 0 takes the likeliest token; above 0, tokens are drawn from the
            prediction at that temperature.

    Raises:
        ValueError: A field is out of its declared range.
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
        """The needs that the model must provide in addition to logits."""
        return frozenset(self.needs - STATISTICS - ABILITIES)

    @property
    def deterministic(self) -> bool:
        """True if it draws no random numbers: equal predictions lead to equal writes."""
        return self.temperature == 0 and "uniform" not in self.needs

    @property
    def scheduled(self) -> bool:
        """True if its calls do not depend on the predictions, unless the model ends a decode."""
        return not self.adaptive

    @property
    def most_rows(self) -> int | None:
        """Greatest number of rows in one call; None if unknown."""
        return 1 if self.rows == "1" else None

    def missing_capabilities(self, provided: AbstractSet[str]) -> list[str]:
        """Return its needs that neither the loop computes nor ``provided`` names, sorted."""
        return sorted(self.needs - STATISTICS - provided)

    def check(self, codec: Codec) -> None:  # noqa: B027  most go with any tokenizer
        """Refuse an incompatible tokenizer; called before a run starts.

        Raises:
            RequestError: The tokenizer is incompatible.
        """

    def draws(self, positions: int) -> int:
        """Return the number of uniform numbers per step of a sample, if ``needs`` name them."""
        return positions

    def most_steps(self, positions: int) -> int:
        """Return the number of steps after which a decode of so many open positions is stalled."""
        return STEPS_PER_TOKEN * positions

    def start(self, view: View) -> Any:
        """Return a fresh state for one sample; None if the strategy needs none."""
        return None

    def plan(self, state: Any, view: View) -> Sequence[Row]:
        """Return the rows of the next model call; none at all makes a step without a call."""
        return [Row(view.prompt, view.canvas, view.open)]

    @abstractmethod
    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Return the writes of one sample, given the predictions for its planned rows."""

    def block_done(self, state: Any, view: View) -> bool:
        """Return True once the active window is finished; called after every step."""
        return view.remaining == 0

    def note(self, state: Any) -> str | None:
        """Return a note for the record on how this sample was decoded, or None."""
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
    """A decoder whose rule is written for many samples at a time."""

    @abstractmethod
    def step_batch(self, batch: StepBatch) -> Updates:
        """Return the writes of every sample of ``batch``."""

    def step(self, state: Any, view: View, statistics: Statistics) -> Update:
        """Return the writes of one sample, stepped as a batch of its own."""
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
    """A decoder that needs only statistics of the open positions and never revises.

    It commits the predicted tokens at the positions it chooses.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "choose" in cls.__dict__:
            cls.choose = _with_former_call(cls.choose, cls)  # type: ignore[method-assign]

    @abstractmethod
    def choose(self, step: Step) -> Selection:
        """Return the positions to commit in this step.

        Args:
            step: The statistics that ``needs`` name, with ``step.open``, the positions that may
                be committed, and ``step.progress``.

        Returns:
            True where a position is committed: a non-empty subset of ``step.open``.
        """

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit the predicted tokens at the chosen positions of every sample."""
        step = Step(batch.statistics, batch.open, batch.progress)
        return Updates(write=self.choose(step), tokens=step.token)


def _with_former_call(choose: Callable[..., Tensor], owner: type[Chooser]) -> Callable[..., Tensor]:
    """Return ``choose`` such that it takes a step, and also the three arguments of before.

    Strategies written for ``choose(statistics, open, progress)`` work for one more release, and
    so do their calls of another strategy's ``choose``.
    """
    former = len(inspect.signature(choose).parameters) == 4
    if former:
        warnings.warn(
            f"decoder {owner.__name__}: choose(self, statistics, open, progress) is deprecated and "
            "will not work in the next release; write choose(self, step), and read "
            "step.confidence, step.open and step.progress",
            DeprecationWarning,
            stacklevel=4,
        )

    @functools.wraps(choose)
    def wrapper(
        self: Chooser,
        step: Statistics,
        is_open: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        if is_open is not None and progress is not None:
            step = Step(step, is_open, progress)
        if not former:
            return choose(self, step)
        assert isinstance(step, Step)  # noqa: S101
        return choose(self, step, step.open, step.progress)

    return wrapper


DECODERS: Registry[type[Decoder]] = Registry("decoder")
