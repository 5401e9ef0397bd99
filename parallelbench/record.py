"""The record of one finished decode, with everything needed to verify it.

:mod:`parallelbench.record_line` writes records as lines of JSON and reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from parallelbench.errors import RecordsError
from parallelbench.trace import Trace

SCHEMA_VERSION: Final = 2


def _writable(text: Any) -> Any:
    # Half of a surrogate pair, which a careless strategy may quote, is no Unicode text.
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text


#: Text that comes from a decoder, a scorer or a tokenizer of another package.
ForeignText = Annotated[str, BeforeValidator(_writable)]
_Share = Annotated[float, Field(ge=0, le=1)]

#: NaN and infinity are refused: they would be written as null, which could not be read again.
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

#: Identifies a decode within its run: model, task, sample number, decoder and repeat.
DecodeKey = tuple[str, str, int, str, int]

Status = Literal["ok", "stalled", "unfinished", "error"]


class Counts(BaseModel):
    """Cost and output size of one decode; all of it is derived from the trace and the ids.

    Attributes:
        nfe: Model calls made while this sample was live.
        rows: Sequences sent in those calls.
        token_positions: Tokens that passed through the network, prompts and auxiliary
            calls included.
        auxiliary_calls: Calls not counted as model calls: verifier, encoder, cache store.
        steps: Number of steps, including those without a model call.
        canvas_tokens: Positions that the decoder had to fill, without those that the model's
            stop rule filled.
        answer_tokens: Canvas tokens before the first end-of-text.
        tokens_after_end: Filled positions after the first end-of-text with another token.
        revisions: Number of committed tokens that were masked again or replaced.
        tokens_per_step: ``canvas_tokens / nfe``; None without a call.
        answer_tokens_per_step: ``answer_tokens / nfe``; None without a call.
        off_law_calls: Model calls on a canvas that no right answer fits any more; None for a
            model that does not know the answer distribution.
    """

    model_config = STRICT

    nfe: int
    rows: int
    token_positions: int
    auxiliary_calls: int
    steps: int
    canvas_tokens: int
    answer_tokens: int
    tokens_after_end: int
    revisions: int
    tokens_per_step: float | None
    answer_tokens_per_step: float | None
    off_law_calls: int | None


class Served(BaseModel):
    """Metadata of a server's reply: :class:`~parallelbench.model.Reply` without its text."""

    model_config = STRICT

    finish: ForeignText | None
    completion_tokens: int | None
    drafts: int | None
    attempts: int
    content: ForeignText | None = None
    reasoning: ForeignText | None = None


class PublishedFigures(BaseModel):
    """Figures that others published with a reply; they cannot be verified.

    Attributes:
        nfe: Model calls.
        canvas_tokens: Positions that the decoder had to fill.
        tokens_per_step: ``canvas_tokens / nfe``.
        score: Published score of the reply, in [0, 1].
        score_strict: Published score that also requires the requested form; None if there is none.
    """

    model_config = STRICT

    nfe: int = Field(ge=1)
    canvas_tokens: int = Field(ge=1)
    tokens_per_step: float = Field(gt=0)
    score: _Share
    score_strict: _Share | None = None


class RecordedMarks(BaseModel):
    """:class:`~parallelbench.score.Marks`, as written down."""

    model_config = STRICT

    strict: _Share
    lenient: _Share
    problem: ForeignText | None
    parts: dict[ForeignText, float]


class RecordedModel(BaseModel):
    """The model of a decode.

    Attributes:
        label: The model's setting, as typed.
        digest: Digest that identifies its predictions: law and tokenizer, or weights.
        weights_digest: Digest of its weights alone; None if they are not loaded here.
    """

    model_config = STRICT

    label: str
    digest: str
    weights_digest: str | None


class RecordedTask(BaseModel):
    """The task of a decode.

    Attributes:
        name: Registered name.
        label: The task's setting, as typed.
        fields: All fields of the task.
        version: Version of the task's samples and scores.
        engines: Versions of external scoring engines, by score.
        sources: Digests of files that task and decoder read from outside the package, by field,
            such as ``source`` or ``table``.
    """

    model_config = STRICT

    name: str
    label: str
    fields: dict[str, Any]
    version: int
    engines: dict[str, str]
    sources: dict[str, str]


class RecordedDecoder(BaseModel):
    """The decoder of a decode.

    Attributes:
        name: Registered name; ``server`` if the model decodes by itself.
        label: The decoder's setting, as typed.
        fields: All fields of the decoder.
        oracle: True if the decoder knew the right answers; oracles are never ranked.
    """

    model_config = STRICT

    name: str
    label: str
    fields: dict[str, Any]
    oracle: bool


class RecordedSample(BaseModel):
    """The sample of a decode, and its prompt.

    Attributes:
        id: Id of the sample.
        digest: SHA-256 of the whole sample.
        index: Number of the sample within the task.
        seed: Random seed of the run.
        repeat: Number of the decode of this sample, from 0.
        prompt_digest: SHA-256 of the rendered prompt and its ids; for a server, of the messages.
    """

    model_config = STRICT

    id: str
    digest: str
    index: int
    seed: int
    repeat: int
    prompt_digest: str


class Decoding(BaseModel):
    """The steps of a decode in this package and all that is made of tokens.

    Attributes:
        prompt_tokens: Length of the prompt in tokens.
        mask_id: Id of the mask token.
        end_id: Id of the end-of-text token.
        stop_ids: Ids of other tokens that end a reply.
        initial_ids: The canvas at the start; None if every position was masked.
        output_ids: The canvas at the end, raw.
        counts: Cost and output size.
        trace: The steps.
        note: Remark of the decoder, such as the method that an oracle used.
    """

    model_config = STRICT

    prompt_tokens: int
    mask_id: int
    end_id: int
    stop_ids: list[int]
    initial_ids: list[int] | None
    output_ids: list[int]
    counts: Counts
    trace: Trace
    note: ForeignText | None

    @property
    def ends(self) -> frozenset[int]:
        """Ids of all tokens that end a reply."""
        return frozenset({self.end_id, *self.stop_ids})

    @property
    def canvas(self) -> list[int]:
        """The canvas at the start: mask ids where the decoder was to write."""
        return self.initial_ids or [self.mask_id] * len(self.output_ids)


class Record(BaseModel):
    """One decode of a sample: (model, task, sample, decoder, repeat), its output and its score.

    A decode has either steps in this package (``decoding``), or the metadata of a server's reply
    (``served``), or figures that others published with a reply (``published``).  A request that
    a server never answered has none of them.

    Attributes:
        schema_version: Version of this form.
        library_version: Version of the package that wrote the record.
        model: The model.
        task: The task.
        decoder: The decoder.
        sample: The sample.
        decoding: Steps, counts and ids; None if a server decoded, or the reply was imported.
        served: Metadata of a server's reply; None without a server or without a reply.
        published: Published figures of an imported reply; None for all others.
        text: The reply: ``output_ids`` up to the first end-of-text, decoded, or what a server
            wrote; without the thinking before the answer.
        status: ``ok``; ``stalled`` (call budget spent), ``unfinished`` (the decoder ended
            with masked positions): both count as wrong; ``error``: not counted at all.
        error: Error message, for status ``error``.
        marks: Score of the reply; None for status ``error``.
        seconds: Wall-clock time from its first step to its last.  Decodes run concurrently, so
            these times overlap and must not be summed.  For a server, the time from request to
            end of reply.
    """

    model_config = STRICT

    schema_version: Literal[2] = SCHEMA_VERSION
    library_version: str
    model: RecordedModel
    task: RecordedTask
    decoder: RecordedDecoder
    sample: RecordedSample
    decoding: Decoding | None = None
    served: Served | None = None
    published: PublishedFigures | None = None
    text: ForeignText
    status: Status
    error: ForeignText | None
    marks: RecordedMarks | None
    seconds: float

    def __repr__(self) -> str:
        place = f"{self.task_label} sample {self.index}"
        place += f" repeat {self.repeat}" if self.repeat else ""
        facts: list[str] = [self.status]
        if self.marks is not None:
            facts.append(f"{100 * self.marks.lenient:.4g} % right")
        if self.decoding is not None:
            calls = self.decoding.counts.nfe
            facts.append(f"{calls} model call{'s' * (calls != 1)}")
        return f"Record({self.model_label}, {place}, {self.decoder_label}: {', '.join(facts)})"

    __str__ = __repr__

    @property
    def model_label(self) -> str:
        """The model's setting, as typed."""
        return self.model.label

    @property
    def task_label(self) -> str:
        """The task's setting, as typed."""
        return self.task.label

    @property
    def decoder_label(self) -> str:
        """The decoder's setting, as typed."""
        return self.decoder.label

    @property
    def index(self) -> int:
        """Number of the sample within the task."""
        return self.sample.index

    @property
    def repeat(self) -> int:
        """Number of the decode of this sample, from 0."""
        return self.sample.repeat

    @property
    def sample_digest(self) -> str:
        """SHA-256 of the whole sample."""
        return self.sample.digest

    @property
    def key(self) -> DecodeKey:
        """Identifies the decode within its run: model, task, sample number, decoder, repeat."""
        return (self.model_label, self.task_label, self.index, self.decoder_label, self.repeat)

    @property
    def steered(self) -> bool:
        """True if the decode has steps; replies of servers and imported replies have none."""
        return self.decoding is not None

    @property
    def costs(self) -> Counts | PublishedFigures | None:
        """Cost of the decode, counted or published; None for a server."""
        return self.published if self.decoding is None else self.decoding.counts

    @property
    def canvas_length(self) -> int | None:
        """Length of the canvas in tokens; None for a server, which has none."""
        return None if self.decoding is None else len(self.decoding.output_ids)

    @property
    def finish(self) -> str | None:
        """Reason that a server gave for the end of its reply; None without one."""
        return None if self.served is None else self.served.finish

    def require_decoding(self) -> Decoding:
        """Return the steps, counts and ids.

        Raises:
            RecordsError: The model decoded by itself, or the reply was imported.
        """
        if self.decoding is None:
            why = "a server decoded it" if self.published is None else "only its reply is published"
            raise RecordsError(
                f"the record of {self.model_label} on {self.sample.id} has no steps: {why}"
            )
        return self.decoding


@runtime_checkable
class SettingLabels(Protocol):
    """The labels of a (model, task, decoder) setting, which records and results have."""

    @property
    def model_label(self) -> str:
        """Label of the model."""

    @property
    def task_label(self) -> str:
        """Label of the task."""

    @property
    def decoder_label(self) -> str:
        """Label of the decoder."""


@runtime_checkable
class DecodeLabels(SettingLabels, Protocol):
    """The labels and numbers that identify a decode, which records and their summaries have."""

    @property
    def index(self) -> int:
        """Number of the sample within the task."""

    @property
    def repeat(self) -> int:
        """Number of the decode of this sample, from 0."""

    @property
    def key(self) -> DecodeKey:
        """Model, task, sample number, decoder and repeat."""


_D = TypeVar("_D", bound=DecodeLabels)


def latest_records(records: Iterable[_D]) -> list[_D]:
    """Return the last record of each decode, in order of first appearance.

    A decode that ended in an error is tried again, and its new record is appended.
    """
    return list({record.key: record for record in records}.values())


def shown_sources(sources: Mapping[str, str]) -> str:
    """Return sources with the first digits of their digests, for a sentence."""
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(sources.items())) or "none"
