"""What a model is: it predicts.  It never chooses, never counts, never sees a decoder.

A :class:`Model` predicts tokens, one call at a time, and can be steered by any decoder.  A
:class:`Server` decodes by itself, elsewhere: it gives whole replies and shows nothing of
how they came to be.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.errors import FieldError
from parallelbench.prompt import Codec, Prompt
from parallelbench.ranges import check_ranges
from parallelbench.registry import Registry
from parallelbench.task import Message, Task


class _OldName:
    """An attribute under its former name, which plugins may use for one more release.

    Args:
        new: Name of the attribute now.
    """

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        self.warn(owner)
        return getattr(owner if instance is None else instance, self.new)

    def __set__(self, instance: object, value: Any) -> None:
        self.warn(type(instance))
        setattr(instance, self.new, value)

    def warn(self, owner: type) -> None:
        """Warn that ``owner`` uses the former name."""
        warnings.warn(
            f"{owner.__name__}.{self.old} is now called {self.new}; the old name will be removed "
            "in the next release",
            DeprecationWarning,
            stacklevel=3,
        )


class _AcceptsOldNames:
    """Moves what a subclass defines under a former name to the present one."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for name, value in list(vars(cls).items()):
            former = next((vars(b)[name] for b in cls.__mro__[1:] if name in vars(b)), None)
            if isinstance(former, _OldName):
                former.warn(cls)
                setattr(cls, former.new, value)
                delattr(cls, name)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One sequence of one model call: the prompt, then a canvas.

    Attributes:
        prompt: The sample's prompt; the canvas follows its ids.
        canvas: Token ids, with the mask id where nothing is written yet.  Often the
            sample's own canvas; a draft, a branch or an extended canvas otherwise.
        wanted: True where a prediction is asked for.
        positions: Position ids of the canvas, counted from the start of the canvas; None
            means 0, 1, 2, ...
        attention: True where the canvas position of that row may attend to the canvas
            position of that column; None means everywhere the model allows.
        conditioning: What is told to a network that is conditioned on its own predictions: for
            each wanted position, ascending, probabilities over the vocabulary; None tells it
            nothing.
        unseen: True at canvas positions that the prompt does not attend to; None means that
            it attends to all of them, as the model allows.
        window: The active window; filled in by the loop, for models that remember.
        window_snapshot: The canvas when that window became active; likewise.
        extras: What the model is asked to give beside logits, by name; filled in by the loop.
    """

    prompt: Prompt
    canvas: Int[Tensor, " length"]
    wanted: Bool[Tensor, " length"]
    positions: Int[Tensor, " length"] | None = None
    attention: Bool[Tensor, "length length"] | None = None
    conditioning: Float[Tensor, "wanted vocabulary"] | None = None
    unseen: Bool[Tensor, " length"] | None = None
    window: tuple[int, int] | None = None
    window_snapshot: Int[Tensor, " length"] | None = None
    extras: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a model says of the wanted positions of some rows.

    Attributes:
        logits: One line per wanted position, rows in order and positions ascending within
            a row; aligned to the position they predict (an adapter undoes any shift).
            The loop may overwrite it.
        token_ids: The id of each column; None if column i is id i.  Columns ascend by id,
            so that ties go to the lowest; columns whose logit is -inf may hold any id.
        off_law: True for a row whose canvas no right answer fits; None if the model does
            not know the law.
        extras: What the model provides by name: for each row one entry, of that row's own
            shape.  Of rows that did not ask for it anything may stand there.
    """

    logits: Float[Tensor, "wanted columns"]
    token_ids: Int[Tensor, "wanted columns"] | None = None
    off_law: Bool[Tensor, " rows"] | None = None
    extras: Mapping[str, Tensor | Sequence[Tensor]] = field(default_factory=dict)


class Blocks(NamedTuple):
    """The grid of blocks that a model must be decoded in, from left to right.

    Attributes:
        length: Of each block, in tokens.
        from_prompt: Whether they are counted from the first token of the prompt, so that
            the first block of a canvas may be a short one; else from its own first token.
    """

    length: int
    from_prompt: bool


class ComputeCost(NamedTuple):
    """What it costs to predict one row.

    Attributes:
        tokens: Tokens that pass through the network in the counted call.
        stored: Leading tokens of prompt and canvas whose keys and values it has from
            auxiliary calls instead.
    """

    tokens: int
    stored: int


class Model(_AcceptsOldNames, ABC):
    """A loaded model.

    Its prediction for a row depends on that row alone: not on the batch, not on what was
    asked before.  Equal rows may therefore be sent once.  Its logits do not depend on what
    a row asks for beside them.

    Attributes:
        codec: How it reads and writes text.
        capabilities: Names of the outputs and inputs beyond logits that it supports, as in the
            ``needs`` of decoders.
        digest: Identifies its predictions: law and tokenizer, or weights.
        weights_digest: Identifies its weights alone; None if it has none.
        device: Where it computes; canvases are kept there too.
        threads: How many CPU threads serve it best; None leaves that to torch.
        blocks: The grid that its canvases are decoded in; None leaves that to decoders.
        stops: Whether a decode ends behind the block with the first end-of-text.
        pads: Whether rows that go through the network together take the time of the longest.
        uses_window_snapshot: Whether its rows must say what the canvas was when their window became
            active, because it computes some positions from that.
        context_length: Most tokens of prompt and canvas together; None for any number.
    """

    codec: Codec
    device: torch.device = torch.device("cpu")
    threads: int | None = None
    capabilities: frozenset[str] = frozenset()
    digest: str
    weights_digest: str | None = None
    blocks: Blocks | None = None
    stops: bool = False
    pads: bool = False
    uses_window_snapshot: bool = False
    context_length: int | None = None

    provides = _OldName("capabilities")
    remembers = _OldName("uses_window_snapshot")
    load = _OldName("compute_cost")
    facts = _OldName("provenance")

    @abstractmethod
    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return predictions for the wanted positions of ``rows``, in one call.

        Raises:
            ModelError: It has no prediction for one of them.
        """

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return what it costs to predict ``row``, which depends on that row alone.

        The loop counts an auxiliary call whenever a decode finds more tokens stored.
        """
        return ComputeCost(tokens=row.prompt.ids.numel() + row.canvas.numel(), stored=0)

    def batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return which of ``rows`` go through the network together, as memory allows."""
        return [list(range(len(rows)))]

    def shrink(self, rows: Sequence[Row]) -> None:
        """Make batches smaller from now on: ``rows`` did not fit into memory together."""

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt that this model cannot serve; asked before a run starts.

        Raises:
            RequestError: Why it cannot be served.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return its provenance as JSON values, for the environment of a run."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server wrote for one sample.

    Attributes:
        text: The answer, without the thinking before it.
        finish: Why it ended, in the server's word; None if it did not say.
        completion_tokens: Its length as the server counts it; None if it did not say.
        drafts: How many whole drafts it streamed before the last; None if it streams none.
        attempts: Requests made until one was answered.
        seconds: From the request that was answered to the end of its reply.
        content: All that it wrote, where that is more than ``text``; else None.
        reasoning: What it thought, if that came in a field of its own.
    """

    text: str
    finish: str | None
    completion_tokens: int | None
    drafts: int | None
    attempts: int
    seconds: float
    content: str | None = None
    reasoning: str | None = None


class Server(_AcceptsOldNames, ABC):
    """A model that decodes by itself, behind a wire: no tokens, no steps, no calls.

    Attributes:
        digest: Identifies what was asked for: address, model and request fields.
        concurrency: How many requests it is sent at a time.
    """

    digest: str
    concurrency: int

    facts = _OldName("provenance")

    @abstractmethod
    def reply(self, messages: Sequence[Message], *, key: str) -> Reply:
        """Return the reply to ``messages``; called from many threads at once.

        Args:
            messages: The chat.
            key: Names this decode within its run; whatever randomness the server takes a
                seed for is seeded from nothing else.

        Raises:
            ServerError: There was none, after every attempt.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return its provenance as JSON values, for the environment of a run; no secrets."""

    def close(self) -> None:
        """Hang up, also where a reply is still awaited; a later question connects again."""


@dataclass(frozen=True, kw_only=True)
class ModelSource(_AcceptsOldNames, ABC):
    """Where a model comes from: the fields of its setting, checked before it is loaded.

    Attributes:
        summary: What it is, in half a line.
        address: The field that is written without its name; None if there is none.
        serves: Whether it opens a :class:`Server`, to which no decoder applies.
        published: Whether only replies of it are at hand, which were imported.
    """

    summary: ClassVar[str]
    address: ClassVar[str | None] = None
    serves: ClassVar[bool] = False
    published: ClassVar[bool] = False

    gives = _OldName("capabilities")

    def __post_init__(self) -> None:
        check_ranges(self)

    def remark(self, tasks: Iterable[type[Task]]) -> str | None:  # noqa: ARG002  most serve any
        """Return what should be known before a run asks for ``tasks``; None if nothing."""
        return None

    @abstractmethod
    def open(self) -> Model | Server:
        """Return the model, ready to predict, or the server, ready to reply.

        Raises:
            RequestError: It cannot be had as asked.
        """

    def capabilities(self) -> frozenset[str]:
        """Return what the model will provide; override it where that can be told without opening.

        Raises:
            RequestError: It cannot be had as asked.
        """
        opened = self.open()
        return opened.capabilities if isinstance(opened, Model) else frozenset()

    @classmethod
    def families(cls) -> Mapping[str, frozenset[str]]:
        """Return what each family of models that comes from here provides, by its name."""
        return {}

    def open_codec(self, *, fetch: bool = True) -> Codec:  # noqa: ARG002  most are all here
        """Return how the model reads and writes text, with no more loaded than that takes.

        Args:
            fetch: Whether what is not on this machine may be fetched.

        Raises:
            RequestError: It cannot be had as asked, or a server keeps it to itself.
        """
        opened = None if self.serves else self.open()
        if not isinstance(opened, Model):
            raise FieldError("a server shows no tokenizer; name the checkpoint itself: hf:PATH")
        return opened.codec


MODELS: Registry[type[ModelSource]] = Registry("model")
