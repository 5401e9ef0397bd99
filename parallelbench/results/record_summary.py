"""Summaries of records for results: scores and counts, without steps and texts.

A record with its steps takes 10 kB of memory, its summary some hundred bytes: what the records
of a run have in common is held once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from parallelbench.record import (
    Counts,
    DecodeKey,
    PublishedFigures,
    Record,
    RecordedDecoder,
    RecordedMarks,
    RecordedModel,
    RecordedTask,
    Status,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CountsSummary:
    """Counts of one decode that figures are made of; see :class:`~parallelbench.record.Counts`.

    Attributes:
        nfe: Model calls.
        canvas_tokens: Positions that the decoder had to fill.
        answer_tokens: Those of them before the first end-of-text; None of an imported reply.
        tokens_per_step: ``canvas_tokens / nfe``; None without a call.
        answer_tokens_per_step: ``answer_tokens / nfe``; None without a call, or if they are
            not known.
        off_law_calls: Calls in which no right answer fitted the canvas any more; None for a model
            that does not know the law.
    """

    nfe: int
    canvas_tokens: int
    answer_tokens: int | None
    tokens_per_step: float | None
    answer_tokens_per_step: float | None
    off_law_calls: int | None


@dataclass(frozen=True, slots=True)
class MarksSummary:
    """Marks of one decode; see :class:`~parallelbench.record.RecordedMarks`.

    Attributes:
        strict: The mark for the reply as it stands, in [0, 1].
        lenient: The mark for the answer found inside it, in [0, 1].
        problem: Why the lenient mark is not 1; None if it is.
        parts: Named shares in [0, 1] of what is right.
    """

    strict: float
    lenient: float
    problem: str | None
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RecordSummary:
    """One record without steps, ids and texts; the fields are those of ``Record``.

    Attributes:
        model: The model; one object for all summaries of a setting, as task and decoder are.
        task: The task.
        decoder: The decoder.
        sample_digest: SHA-256 of the whole sample.
        index: Number of the sample within the task.
        repeat: Number of the decode of this sample, from 0.
        status: Status at the end of the decode.
        error: Error message, for status ``error``.
        marks: Score of the reply; None for status ``error``.
        counts: Cost of the decode, counted or published; None for a server.
        canvas_length: Length of the canvas in tokens; None for a server.
        finish: Why a server ended its reply; None without a server.
    """

    model: RecordedModel
    task: RecordedTask
    decoder: RecordedDecoder
    sample_digest: str
    index: int
    repeat: int
    status: Status
    error: str | None
    marks: MarksSummary | None
    counts: CountsSummary | None
    canvas_length: int | None
    finish: str | None

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
    def key(self) -> DecodeKey:
        """Identifies the decode within its run: model, task, sample number, decoder, repeat."""
        return (self.model_label, self.task_label, self.index, self.decoder_label, self.repeat)

    @property
    def costs(self) -> CountsSummary | None:
        """Cost of the decode, by the name that it has in a whole record."""
        return self.counts

    @property
    def steered(self) -> bool:
        """True if the decode has a canvas; replies of servers have none."""
        return self.canvas_length is not None


#: A record, or what figures need of it.
AnyRecord: TypeAlias = Record | RecordSummary


class RecordSummaries:
    """Makes summaries that share what is equal in them."""

    def __init__(self) -> None:
        self._settings: dict[tuple[str, str, str], AnyRecord] = {}
        self._digests: dict[str, str] = {}
        self._marks: dict[tuple[Any, ...], MarksSummary] = {}

    def of(self, record: AnyRecord) -> RecordSummary:
        """Return the summary of ``record``; a summary is its own."""
        if isinstance(record, RecordSummary):
            return record
        setting = (record.model_label, record.task_label, record.decoder_label)
        like = self._settings.get(setting, record)
        summary = RecordSummary(
            model=_shared(record.model, like.model),
            task=_shared(record.task, like.task),
            decoder=_shared(record.decoder, like.decoder),
            sample_digest=self._digests.setdefault(record.sample_digest, record.sample_digest),
            index=record.index,
            repeat=record.repeat,
            status=record.status,
            error=record.error,
            marks=self._shared_marks(record.marks),
            counts=counts_of(record.costs),
            canvas_length=record.canvas_length,
            finish=record.finish,
        )
        self._settings.setdefault(setting, summary)
        return summary

    def _shared_marks(self, marks: RecordedMarks | None) -> MarksSummary | None:
        if marks is None:
            return None
        value = (marks.strict, marks.lenient, marks.problem, *marks.parts.items())
        if value not in self._marks:
            own = MarksSummary(marks.strict, marks.lenient, marks.problem, marks.parts)
            self._marks[value] = own
        return self._marks[value]


def _shared(value: _T, known: _T) -> _T:
    """Return ``known`` where it equals ``value``, which is then held no longer."""
    return known if known == value else value


def counts_of(
    counts: Counts | PublishedFigures | CountsSummary | None,
) -> CountsSummary | None:
    """Return the counts that results use; an imported reply lacks some of them."""
    if counts is None or isinstance(counts, CountsSummary):
        return counts
    if isinstance(counts, PublishedFigures):
        return CountsSummary(
            nfe=counts.nfe,
            canvas_tokens=counts.canvas_tokens,
            answer_tokens=None,
            tokens_per_step=counts.tokens_per_step,
            answer_tokens_per_step=None,
            off_law_calls=None,
        )
    return CountsSummary(
        nfe=counts.nfe,
        canvas_tokens=counts.canvas_tokens,
        answer_tokens=counts.answer_tokens,
        tokens_per_step=counts.tokens_per_step,
        answer_tokens_per_step=counts.answer_tokens_per_step,
        off_law_calls=counts.off_law_calls,
    )
