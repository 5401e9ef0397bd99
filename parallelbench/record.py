"""One finished decode as one line of JSON, with everything needed to verify it.

A line ends in a digest of its content, so that a torn or altered line is detected and never
becomes a wrong number.
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


#: Text that comes from a decoder, a scorer or a tokenizer of another package.
_ForeignText = Annotated[str, BeforeValidator(_writable)]
_Share = Annotated[float, Field(ge=0, le=1)]

#: NaN and infinity are refused: they would be written as null, which could not be read again.
_CONFIG = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

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
    """Metadata of a server's reply: :class:`~parallelbench.model.Reply` without its text.

    ``content`` and ``reasoning`` are recorded only if they are not None.
    """

    model_config = _CONFIG

    finish: _ForeignText | None
    completion_tokens: int | None
    drafts: int | None
    attempts: int
    content: _ForeignText | None = None
    reasoning: _ForeignText | None = None


class PublishedFigures(BaseModel):
    """Figures that others published with a reply; they cannot be verified.

    Attributes:
        nfe: Model calls.
        canvas_tokens: Positions that the decoder had to fill.
        tokens_per_step: ``canvas_tokens / nfe``.
        score: Published score of the reply, in [0, 1].
        score_strict: Published score that also requires the requested form; None if there is none.
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
    """The parts of a record that only a decode in this package has: trace, counts and ids.

    The fields are those of :class:`Record`.
    """

    trace: Trace
    counts: Counts
    output_ids: list[int]
    mask_id: int
    end_id: int


class Record(BaseModel):
    """One decode of a sample: (model, task, sample, decoder, repeat), its output and its score.

    Attributes:
        schema_version: Version of this form.
        library_version: Version of the package that wrote the line.
        model: The model's setting, as typed.
        model_digest: Digest that identifies its predictions: law and tokenizer, or weights.
        weights_digest: Digest of its weights alone; None if they are not loaded here.
        task: Registered name of the task.
        task_fields: All fields of the task.
        task_label: The task's setting, as typed.
        task_version: Version of the task's samples and scores.
        engines: Versions of external scoring engines, by score.
        sources: Digests of files that task and decoder read from outside the package, by field,
            such as ``source`` or ``table``; recorded only if there is one.
        decoder: Registered name of the decoder; ``server`` if the model decodes by itself.
        decoder_fields: All fields of the decoder.
        decoder_label: The decoder's setting, as typed.
        oracle: True if the decoder knew the right answers; oracles are never ranked.
        sample: Id of the sample.
        sample_digest: SHA-256 of the whole sample.
        index: Number of the sample within the task.
        seed: Random seed of the run.
        repeat: Number of the decode of this sample, from 0.
        prompt_digest: SHA-256 of the rendered prompt and its ids.
        prompt_tokens: Length of the prompt in tokens.  This and everything made of tokens is
            None for a server, which returns text only.
        mask_id: Id of the mask token.
        end_id: Id of the end-of-text token.
        stop_ids: Ids of other tokens that end a reply.
        initial_ids: The canvas at the start; None if every position was masked.
        output_ids: The canvas at the end, raw.
        text: The reply: ``output_ids`` up to the first end-of-text, decoded, or what a server
            wrote; without the thinking before the answer.
        status: ``ok``; ``stalled`` (call budget spent), ``unfinished`` (the decoder ended
            with masked positions): both count as wrong; ``error``: not counted at all.
        error: Error message, for status ``error``.
        note: Remark of the decoder, such as the method that an oracle used.
        marks: Score of the reply; None for status ``error``.
        counts: Cost and output size; None for a reply without steps.
        trace: The steps; None for a reply without steps.
        served: Metadata of a server's reply; None without a server or without a reply.
        published: Published figures of an imported reply; None for all others.
        seconds: Wall-clock time from its first step to its last.  Decodes run concurrently, so
            these times overlap and must not be summed.  For a server, the time from request to
            end of reply.
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
            told.append(f"{self.counts.nfe} model call{'s' * (self.counts.nfe != 1)}")
        return f"Record({self.model}, {place}, {self.decoder_label}: {', '.join(told)})"

    __str__ = __repr__

    @property
    def key(self) -> tuple[str, str, int, str, int]:
        """Identifies the decode within its run: model, task, sample number, decoder, repeat."""
        return (self.model, self.task_label, self.index, self.decoder_label, self.repeat)

    @property
    def steered(self) -> bool:
        """True if the decode has steps; replies of servers and imported replies have none."""
        return self.trace is not None

    @property
    def costs(self) -> Counts | PublishedFigures | None:
        """Cost of the decode, counted or published; None for a server."""
        return self.counts if self.published is None else self.published

    @property
    def canvas_length(self) -> int | None:
        """Length of the canvas in tokens; None for a server, which has none."""
        return None if self.output_ids is None or not self.steered else len(self.output_ids)

    @property
    def finish(self) -> str | None:
        """Reason that a server gave for the end of its reply; None without one."""
        return None if self.served is None else self.served.finish

    @property
    def canvas(self) -> list[int]:
        """The canvas at the start: mask ids where the decoder was to write."""
        return self.initial_ids or [self.decoding.mask_id] * len(self.decoding.output_ids)

    @property
    def decoding(self) -> Decoding:
        """Trace, counts and ids, which a server never returns.

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


#: Identifies a decode within its run: model, task, sample number, decoder and repeat.
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


_DIGEST = ',"digest":"'


def to_line(record: Record) -> str:
    """Return ``record`` as one line of JSON, its digest last."""
    body = record.model_dump_json(exclude=_unsaid(record))[:-1]
    return f'{body}{_DIGEST}{_digest_of(body)}"}}\n'


def _unsaid(record: Record) -> dict[str, Any]:
    """Return the empty fields of later releases, left out so that lines stay the same."""
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
        line: Output of :func:`to_line`; its line end may have been converted to that of Windows.
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
