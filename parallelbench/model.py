"""The contract of models: a model predicts; it never chooses, counts or knows a decoder.

A :class:`Model` predicts tokens, one call at a time, and works with any decoder.  A
:class:`Server` decodes by itself, elsewhere: it returns complete replies and no decoding steps.
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
        prompt: Prompt of the sample; the canvas follows its ids.
        canvas: Token ids, with the mask id at open positions: the sample's own canvas, or a
            draft, a branch or an extended canvas.
        wanted: True where a prediction is requested.
        positions: Position ids of the canvas, counted from the start of the canvas; None
            means 0, 1, 2, ...
        attention: True where the canvas position of the line may attend to the canvas
            position of the column; None means everywhere the model allows.
        conditioning: Earlier predictions for a network with self-conditioning: probabilities
            over the vocabulary for each wanted position, ascending; None for none.
        unseen: True at canvas positions that the prompt does not attend to; None means that
            it attends to all positions that the model allows.
        window: Start and end of the active window; set by the loop for models with
            ``uses_window_snapshot``.
        window_snapshot: Canvas when that window became active; set by the loop as well.
        extras: Names of requested outputs beyond logits; set by the loop.
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
    """A model's prediction for the wanted positions of some rows.

    Attributes:
        logits: One line per wanted position, rows in order and positions ascending within
            a row; aligned to the position they predict (an adapter undoes any shift).
            The loop may overwrite it.
        token_ids: Token id of each column; None if column i is id i.  Columns ascend by id,
            so that ties go to the lowest; columns whose logit is -inf may have any id.
        off_support: True for rows whose canvas no right answer fits; None if the model does
            not know the answer distribution.
        extras: Outputs beyond logits, by name: one entry per row, of that row's own shape.
            Entries of rows that did not request the output are ignored.
    """

    logits: Float[Tensor, "wanted columns"]
    token_ids: Int[Tensor, "wanted columns"] | None = None
    off_support: Bool[Tensor, " rows"] | None = None
    extras: Mapping[str, Tensor | Sequence[Tensor]] = field(default_factory=dict)


class Blocks(NamedTuple):
    """The blocks in which a model must be decoded, from left to right.

    Attributes:
        length: Length of a block, in tokens.
        from_prompt: True if blocks are counted from the first token of the prompt, so that
            the first block of a canvas may be shorter; else from the start of the canvas.
    """

    length: int
    from_prompt: bool


class ComputeCost(NamedTuple):
    """The cost of predicting one row.

    Attributes:
        tokens: Number of tokens that pass through the network in the counted call.
        stored: Number of leading tokens of prompt and canvas whose keys and values were
            cached by auxiliary calls.
    """

    tokens: int
    stored: int


class Model(_AcceptsOldNames, ABC):
    """A loaded model.

    Its prediction for a row depends on that row alone: not on the batch and not on earlier
    calls.  Equal rows may therefore be sent once.  Logits do not depend on requested extras.

    Attributes:
        codec: Codec of its text.
        capabilities: Names of the outputs and inputs beyond logits that it supports, as in the
            ``needs`` of decoders.
        digest: Digest of everything that determines its predictions: weights or answer
            distribution, codec, options.
        weights_digest: Digest of its weights alone; None if it has none.
        device: Device of the model and of canvases.
        threads: Best number of CPU threads; None leaves it to torch.
        blocks: Blocks in which canvases are decoded; None leaves them to decoders.
        stops: True if a decode ends after the block with the first end-of-text.
        pads: True if a batch takes the time of its longest row for every row.
        uses_window_snapshot: True if rows need ``window_snapshot``, because the model computes
            some positions from it.
        context_length: Maximum tokens of prompt and canvas together; None for no limit.
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
            ModelError: A row cannot be predicted.
        """

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the cost of predicting ``row``, which depends on that row alone.

        The loop counts an auxiliary call whenever ``stored`` grows during a decode.
        """
        return ComputeCost(tokens=row.prompt.ids.numel() + row.canvas.numel(), stored=0)

    def batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return the batches of ``rows`` that fit into memory, as lists of row indices."""
        return [list(range(len(rows)))]

    def shrink(self, rows: Sequence[Row]) -> None:
        """Reduce the batch size, because ``rows`` did not fit into memory together."""

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt that this model cannot predict; called before a run starts.

        Raises:
            RequestError: The prompt cannot be predicted; the message gives the reason.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return the origin and options of the model as JSON values, for a run's environment."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply to one sample.

    Attributes:
        text: Answer, without the thinking before it.
        finish: Finish reason of the server; None if it gave none.
        completion_tokens: Length as counted by the server; None if it gave none.
        drafts: Number of whole drafts before the last; None if it streams no drafts.
        attempts: Number of requests until one succeeded.
        seconds: Duration of the successful request, until the end of its reply.
        content: Complete content if it is more than ``text``; else None.
        reasoning: Thinking that was returned in a separate field; None if there is none.
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
    """A remote model that decodes by itself: no tokens, steps or model calls are known.

    Attributes:
        digest: Digest of address, model and request fields.
        concurrency: Number of simultaneous requests.
    """

    digest: str
    concurrency: int

    facts = _OldName("provenance")

    @abstractmethod
    def reply(self, messages: Sequence[Message], *, key: str) -> Reply:
        """Return the reply to ``messages``; called from many threads at once.

        Args:
            messages: Chat that ends with the question.
            key: Key of this decode within its run; the only source of random seeds.

        Raises:
            ServerError: All attempts failed.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return address and options as JSON values, for a run's environment; no secrets."""

    def close(self) -> None:
        """Close the connections, even if requests are pending; a later request reconnects."""


@dataclass(frozen=True, kw_only=True)
class ModelSource(_AcceptsOldNames, ABC):
    """The setting of a model: its fields are checked before the model is loaded.

    Attributes:
        summary: Description in half a line.
        address: Field that may be written without its name; None if there is none.
        serves: True if it opens a :class:`Server`, to which no decoder applies.
        published: True if only imported replies of the model are known.
    """

    summary: ClassVar[str]
    address: ClassVar[str | None] = None
    serves: ClassVar[bool] = False
    published: ClassVar[bool] = False

    gives = _OldName("capabilities")

    def __post_init__(self) -> None:
        check_ranges(self)

    def remark(self, tasks: Iterable[type[Task]]) -> str | None:  # noqa: ARG002  most serve any
        """Return a note for users who run ``tasks`` with this model; None for none."""
        return None

    @abstractmethod
    def open(self) -> Model | Server:
        """Return the model, ready to predict, or the server, ready to reply.

        Raises:
            RequestError: It cannot be opened with these fields.
        """

    def capabilities(self) -> frozenset[str]:
        """Return the capabilities of the model; override it if they are known without opening.

        Raises:
            RequestError: It cannot be opened with these fields.
        """
        opened = self.open()
        return opened.capabilities if isinstance(opened, Model) else frozenset()

    @classmethod
    def families(cls) -> Mapping[str, frozenset[str]]:
        """Return the capabilities of each family of this source, by name."""
        return {}

    def open_codec(self, *, fetch: bool = True) -> Codec:  # noqa: ARG002  most are all here
        """Return the codec of the model, without loading the network if possible.

        Args:
            fetch: True if missing files may be downloaded.

        Raises:
            RequestError: It cannot be opened with these fields, or it is a server.
        """
        opened = None if self.serves else self.open()
        if not isinstance(opened, Model):
            raise FieldError("a server exposes no tokenizer; name the checkpoint itself: hf:PATH")
        return opened.codec


MODELS: Registry[type[ModelSource]] = Registry("model")
