"""One finished sample as one line of JSON, with everything needed to check it again.

A line ends in a digest of what stands before it, so that a torn or altered line is seen
and never becomes a wrong number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from parallelbench.errors import RecordsError
from parallelbench.trace import Trace

SCHEMA_VERSION: Final = 1


def _writable(text: Any) -> Any:
    # Half of a surrogate pair, which a careless strategy may quote, is no Unicode text.
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text


#: Text that comes from a strategy, a scorer or a tokenizer, and not from us.
_ForeignText = Annotated[str, BeforeValidator(_writable)]
_Share = Annotated[float, Field(ge=0, le=1)]

#: A number that is none would be written as null, and the line could not be read again.
_CONFIG = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

Status = Literal["ok", "stalled", "unfinished", "error"]


class Counts(BaseModel):
    """What one decode cost and produced; all of it follows from the trace and the ids.

    Attributes:
        nfe: Model calls made while this sample was live.
        rows: Sequences sent in those calls.
        token_positions: Tokens that passed through the network, prompts and auxiliary
            calls included.
        auxiliary_calls: Calls beside the counted ones: verifier, encoder, cache store.
        steps: Steps taken, with those that needed no call.
        canvas_tokens: Positions that the decoder had to fill; those behind the end at
            which a model stops are not among them.
        answer_tokens: Those of them before the first end-of-text.
        tokens_after_end: Filled positions behind the first end-of-text that hold
            something else than end-of-text.
        revisions: How often a written token was opened again or replaced.
        tokens_per_step: ``canvas_tokens / nfe``; None without a call.
        answer_tokens_per_step: ``answer_tokens / nfe``; None without a call.
        off_law_calls: Calls in which no right answer fitted the canvas any more; None for
            a model that does not know the law.
    """

    model_config = _CONFIG

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
    """What a server said of a reply: :class:`~parallelbench.model.Reply`, without its text.

    ``content`` and ``reasoning`` are written down only where there is something to write.
    """

    model_config = _CONFIG

    finish: _ForeignText | None
    completion_tokens: int | None
    drafts: int | None
    attempts: int
    content: _ForeignText | None = None
    reasoning: _ForeignText | None = None


class PublishedFigures(BaseModel):
    """What somebody else published of a decode beside its reply; nothing here can check it.

    Attributes:
        nfe: Model calls.
        canvas_tokens: Positions that the decoder had to fill.
        tokens_per_step: ``canvas_tokens / nfe``.
        score: What the reply is worth there, in [0, 1].
        score_strict: The same in the form that was asked for; None where there is no such score.
    """

    model_config = _CONFIG

    nfe: int = Field(ge=1)
    canvas_tokens: int = Field(ge=1)
    tokens_per_step: float = Field(gt=0)
    score: _Share
    score_strict: _Share | None = None


class RecordedMarks(BaseModel):
    """:class:`~parallelbench.score.Marks`, as written down."""

    model_config = _CONFIG

    strict: _Share
    lenient: _Share
    problem: _ForeignText | None
    parts: dict[_ForeignText, float]


class Decoding(NamedTuple):
    """What a record holds of a decode that was steered here.

    The fields are those of :class:`Record`.
    """

    trace: Trace
    counts: Counts
    output_ids: list[int]
    mask_id: int
    end_id: int


class Record(BaseModel):
    """One (model, task, sample, decoder, repeat): what was asked, written, and marked.

    Attributes:
        schema_version: Of this form.
        library_version: Of the package that wrote the line.
        model: The model's setting, as typed.
        model_digest: What identifies its predictions: law and tokenizer, or weights.
        weights_digest: What identifies its weights alone; None if it has none here.
        task: Registered name.
        task_fields: All its fields.
        task_label: The task's setting, as typed.
        task_version: Of its samples and marks.
        engines: What marked the reply beside our own rules: its version, by score.
        sources: Digests of what task and decoder read from outside the package, by field, such
            as ``source`` or ``table``; written down only where there is one.
        decoder: Registered name; ``server`` if the model decodes by itself.
        decoder_fields: All its fields.
        decoder_label: The decoder's setting, as typed.
        oracle: Whether the decoder was told the right answers; never ranked with the rest.
        sample: The sample's id.
        sample_digest: SHA-256 of the whole sample.
        index: Its number within the task.
        seed: The run's seed.
        repeat: Counts repeated decodes of the same sample from 0.
        prompt_digest: SHA-256 of the rendered prompt and its ids.
        prompt_tokens: Its length.  This and all that follows from tokens is None for a
            server, which shows none.
        mask_id: The id that marks an open position.
        end_id: The end-of-text id.
        stop_ids: Further ids that end a reply.
        initial_ids: The canvas at the start; None if every position was open.
        output_ids: The canvas at the end, raw.
        text: The reply: ``output_ids`` up to the first end-of-text, decoded, or what a server
            wrote; without the thinking before the answer.
        status: ``ok``; ``stalled`` (call budget spent), ``unfinished`` (the decoder ended
            with open positions): both count as wrong; ``error``: not counted at all.
        error: What went wrong, for status ``error``.
        note: What the decoder says of how it went, such as which method an oracle used.
        marks: What the reply is worth; None for status ``error``.
        counts: What it cost.
        trace: Every step.
        served: What the server said of its reply; None if there is no server, or nothing
            came.
        published: What was published of a reply that was imported; None of all others.
        seconds: Wall-clock time from its first step to its last, in which other decodes went
            on: these times overlap, and their sum means nothing.  Of a server, the time of the
            reply, from request to end.
    """

    model_config = _CONFIG

    schema_version: Literal[1] = SCHEMA_VERSION
    library_version: str
    model: str
    model_digest: str
    weights_digest: str | None = None
    task: str
    task_fields: dict[str, Any]
    task_label: str
    task_version: int
    engines: dict[str, str] = {}
    sources: dict[str, str] = {}
    decoder: str
    decoder_fields: dict[str, Any]
    decoder_label: str
    oracle: bool
    sample: str
    sample_digest: str
    index: int
    seed: int
    repeat: int
    prompt_digest: str
    prompt_tokens: int | None
    mask_id: int | None
    end_id: int | None
    stop_ids: list[int] = []
    initial_ids: list[int] | None
    output_ids: list[int] | None
    text: _ForeignText
    status: Status
    error: _ForeignText | None
    note: _ForeignText | None = None
    marks: RecordedMarks | None
    counts: Counts | None
    trace: Trace | None
    served: Served | None = None
    published: PublishedFigures | None = None
    seconds: float

    def __repr__(self) -> str:
        place = f"{self.task_label} sample {self.index}"
        place += f" repeat {self.repeat}" if self.repeat else ""
        told: list[str] = [self.status]
        if self.marks is not None:
            told.append(f"{100 * self.marks.lenient:.4g} % right")
        if self.counts is not None:
            told.append(f"{self.counts.nfe} model calls")
        return f"Record({self.model}, {place}, {self.decoder_label}: {', '.join(told)})"

    __str__ = __repr__

    @property
    def key(self) -> tuple[str, str, int, str, int]:
        """What no two records of one run share."""
        return (self.model, self.task_label, self.index, self.decoder_label, self.repeat)

    @property
    def steered(self) -> bool:
        """Whether the decode was steered here, step by step, and not by a server."""
        return self.trace is not None

    @property
    def costs(self) -> Counts | PublishedFigures | None:
        """What the decode cost: as counted here, or as published; None for a server."""
        return self.counts if self.published is None else self.published

    @property
    def canvas_length(self) -> int | None:
        """Length of the canvas in tokens; None for a server, which has none."""
        return None if self.output_ids is None or not self.steered else len(self.output_ids)

    @property
    def finish(self) -> str | None:
        """Why a server ended its reply; None without a server, or if it gave no reason."""
        return None if self.served is None else self.served.finish

    @property
    def canvas(self) -> list[int]:
        """The canvas at the start: mask ids where the decoder was to write."""
        return self.initial_ids or [self.decoding.mask_id] * len(self.decoding.output_ids)

    @property
    def decoding(self) -> Decoding:
        """What a server never shows: trace, counts and ids.

        Raises:
            RecordsError: The model decoded by itself, or the reply was imported.
        """
        if (
            self.trace is None
            or self.counts is None
            or self.output_ids is None
            or self.mask_id is None
            or self.end_id is None
        ):
            why = "a server decoded it" if self.published is None else "only its reply is published"
            raise RecordsError(f"the record of {self.model} on {self.sample} has no steps: {why}")
        return Decoding(self.trace, self.counts, self.output_ids, self.mask_id, self.end_id)


#: What no two decodes of one run share: model, task, sample number, decoder and repeat.
DecodeKey = tuple[str, str, int, str, int]


@runtime_checkable
class SettingLabels(Protocol):
    """The labels of a (model, task, decoder) setting, which records and results have."""

    @property
    def model(self) -> str:
        """Label of the model."""

    @property
    def task_label(self) -> str:
        """Label of the task."""

    @property
    def decoder_label(self) -> str:
        """Label of the decoder."""


@runtime_checkable
class DecodeLabels(SettingLabels, Protocol):
    """What tells the decodes of a run apart, which records and their summaries have."""

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


_DIGEST = ',"digest":"'


def to_line(record: Record) -> str:
    """Return ``record`` as one line of JSON, its digest last."""
    body = record.model_dump_json(exclude=_unsaid(record))[:-1]
    return f'{body}{_DIGEST}{_digest_of(body)}"}}\n'


def _unsaid(record: Record) -> dict[str, Any]:
    """Return the later fields that say nothing: without them lines stay as they always were."""
    unsaid: dict[str, Any] = {} if record.sources else {"sources": True}
    if record.published is None:
        unsaid["published"] = True
    if record.served is not None:
        later = {"content": record.served.content, "reasoning": record.served.reasoning}
        unsaid["served"] = {name for name, value in later.items() if value is None}
    return unsaid


def from_line(line: str, where: str) -> Record:
    """Return the record that ``line`` holds.

    Args:
        line: As :func:`to_line` made it; its end may have become one of Windows on the way.
        where: File and line number, for the error's sentence.

    Raises:
        RecordsError: The line is torn, was altered, or has another schema.
    """
    # The digest covers what the line says, so an end that was converted can hide nothing.
    content = line.rstrip("\n").removesuffix("\r")
    body, found, digest = content.rpartition(_DIGEST)
    if not line.endswith("\n") or not found or not digest.endswith('"}'):
        raise RecordsError(f"{where} is torn: it ends in the middle of a record")
    if _digest_of(body) != digest[:-2]:
        raise RecordsError(f"{where} was altered: its digest does not match what it says")
    try:
        return Record.model_validate_json(body + "}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise RecordsError(
            f"{where} does not have the form of schema version {SCHEMA_VERSION}: "
            f"{field}: {first['msg'].lower()}"
        ) from error


def _digest_of(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
