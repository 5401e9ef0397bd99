"""Decode -> record: names of decodes, samples, random keys, and marked records.

A run writes records with these functions, and verification derives them again with the same
ones.  Nothing here opens a model, decodes or touches a run directory.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from parallelbench.decode.lanes import Outcome
from parallelbench.errors import RequestError
from parallelbench.record import (
    Decoding,
    PublishedFigures,
    Record,
    RecordedDecoder,
    RecordedMarks,
    RecordedModel,
    RecordedSample,
    RecordedTask,
    Served,
    Status,
)
from parallelbench.run.runfile import RunFile
from parallelbench.run.serve import Answered
from parallelbench.score import Marks
from parallelbench.setting import Setting
from parallelbench.task import Sample, Task, sample_rng

#: The identity of a record in its run: see :attr:`parallelbench.record.Record.key`.
RecordKey = tuple[str, str, int, str, int]

#: Parts of a decode's random key, as the environment of a run states them.
RANDOM_KEY: Final = "seed, task, sample, repeat, decoder"
#: Marks that differ by less are equal: published ones have fewer digits.
_MARK_TOLERANCE: Final = 1e-6
_VERSION: Final = importlib.metadata.version("parallelbench")


class MarkedReply(NamedTuple):
    """A reply and its marks.

    Attributes:
        text: The reply.
        marks: Marks; None if the task's score raised.
        error: The exception that the score raised; None if it raised none.
    """

    text: str
    marks: RecordedMarks | None
    error: str | None


@dataclass(frozen=True)
class DecodeId:
    """The identity of one decode in a run.

    Attributes:
        model: The model's setting.
        task: The task's setting.
        decoder: The decoder's setting.
        index: The sample's number.
        repeat: The repeat, counted from 0.
        replies: Marked replies to this sample by output ids.  Decodes of the same prompt share
            this cache, and :func:`record_of` fills it.
    """

    model: Setting
    task: Setting
    decoder: Setting
    index: int
    repeat: int
    replies: dict[tuple[int, ...], MarkedReply]

    @property
    def key(self) -> RecordKey:
        """The key of the decode's record."""
        return (self.model.label, self.task.label, self.index, self.decoder.label, self.repeat)


class ReplyContext(NamedTuple):
    """The decode that a reply without steps belongs to.

    Attributes:
        decode_id: Identity of the decode.
        task: The task that marks the reply.
        sample: The sample that the reply answers.
    """

    decode_id: DecodeId
    task: Task
    sample: Sample


def draw_sample(task: Task, seed: int, index: int) -> Sample:
    """Return sample ``index`` of ``task`` in a run with ``seed``."""
    return task.draw(sample_rng(seed, task.name, index), index)


def job_key(runfile: RunFile, decode_id: DecodeId) -> str:
    """Return the key of a decode's random numbers: see :data:`RANDOM_KEY`.

    The model is left out, so that two models meet the same random numbers.  So are the fields of
    the decoder: settings of one strategy are compared on the same numbers, and a field without
    any effect does not give new ones.
    """
    where = f"{decode_id.task.key}/{decode_id.index}/{decode_id.repeat}"
    return f"{runfile.seed}/{where}/{decode_id.decoder.name}"


def record_of(
    outcome: Outcome, runfile: RunFile, digest: str, weights_digest: str | None
) -> Record:
    """Return the record of a decode.

    Args:
        outcome: Outcome of a job whose tag is a :class:`DecodeId`.
        runfile: The run that the record belongs to.
        digest: Digest of the model.
        weights_digest: Digest of the model's weights alone; None if it has none.
    """
    decode_id: DecodeId = outcome.job.tag
    prompt = outcome.job.prompt
    reply = _marked_reply(outcome)
    status, error, marks = _final(outcome.status, outcome.error, reply)
    context = ReplyContext(decode_id, prompt.task, prompt.sample)
    return Record(
        library_version=_VERSION,
        model=RecordedModel(
            label=decode_id.model.label, digest=digest, weights_digest=weights_digest
        ),
        task=_recorded_task(context),
        decoder=_recorded_decoder(decode_id.decoder, oracle="answers" in outcome.job.decoder.needs),
        sample=_recorded_sample(context, runfile.seed, prompt.digest),
        decoding=Decoding(
            prompt_tokens=len(prompt.ids),
            mask_id=prompt.codec.mask_id,
            end_id=prompt.codec.end_id,
            stop_ids=sorted(prompt.codec.stop_ids),
            initial_ids=None if bool(prompt.open.all()) else prompt.canvas.tolist(),
            output_ids=outcome.output_ids,
            counts=outcome.counts,
            trace=outcome.trace,
            note=outcome.note,
        ),
        text=reply.text,
        status=status,
        error=error,
        marks=marks,
        seconds=outcome.seconds,
    )


def served_record_of(answered: Answered, runfile: RunFile, digest: str) -> Record:
    """Return the record of a server's reply.

    Args:
        answered: Answer to a question whose tag is a :class:`ReplyContext`.
        runfile: The run that the record belongs to.
        digest: Digest of the server.
    """
    context: ReplyContext = answered.question.tag
    reply = answered.reply
    text = "" if reply is None else reply.text
    served: Status = "error" if reply is None else "ok"
    marked = _marked(context.task, context.sample, text)
    status, error, marks = _final(served, answered.error, marked)
    received = reply or answered.fragment
    return Record(
        **_without_steps(context, runfile, digest),
        text=text,
        status=status,
        error=error,
        marks=marks,
        served=None
        if received is None
        else Served(
            finish=received.finish,
            completion_tokens=received.completion_tokens,
            drafts=received.drafts,
            attempts=received.attempts,
            content=received.content,
            reasoning=received.reasoning,
        ),
        seconds=answered.seconds if reply is None else reply.seconds,
    )


def published_record_of(
    context: ReplyContext, text: str, figures: PublishedFigures, runfile: RunFile, digest: str
) -> Record:
    """Return the record of a reply that others published.

    It is marked by our rules, as any reply.  The parts of its marks also have ``published``, the
    published mark, and ``agreement``, which is 1 where both marks are equal and else 0.

    Args:
        context: The decode that the reply counts as.
        text: The reply.
        figures: Figures published with the reply.
        runfile: The run that the record belongs to.
        digest: Digest of the model.
    """
    marked = _marked(context.task, context.sample, text)
    status, error, marks = _final("ok", None, marked)
    if marks is not None:
        agreement = float(abs(marks.lenient - figures.score) < _MARK_TOLERANCE)
        parts = {**marks.parts, "published": figures.score, "agreement": agreement}
        marks = marks.model_copy(update={"parts": parts})
    return Record(
        **_without_steps(context, runfile, digest),
        text=text,
        status=status,
        error=error,
        marks=marks,
        published=figures,
        seconds=0.0,
    )


def _without_steps(context: ReplyContext, runfile: RunFile, digest: str) -> dict[str, Any]:
    """Return the fields that identify a decode in the record of a reply without steps."""
    model, decoder = context.decode_id.model, context.decode_id.decoder
    return {
        "library_version": _VERSION,
        "model": RecordedModel(label=model.label, digest=digest, weights_digest=None),
        "task": _recorded_task(context),
        "decoder": _recorded_decoder(decoder, oracle=False),
        "sample": _recorded_sample(context, runfile.seed, _chat_digest(context.sample)),
    }


def _recorded_task(context: ReplyContext) -> RecordedTask:
    decode_id, task, _ = context
    return RecordedTask(
        name=decode_id.task.name,
        label=decode_id.task.label,
        fields=dict(decode_id.task.fields),
        version=task.version,
        engines=task.engines(),
        sources=task.sources(),
    )


def _recorded_decoder(setting: Setting, *, oracle: bool) -> RecordedDecoder:
    return RecordedDecoder(
        name=setting.name, label=setting.label, fields=dict(setting.fields), oracle=oracle
    )


def _recorded_sample(context: ReplyContext, seed: int, prompt_digest: str) -> RecordedSample:
    return RecordedSample(
        id=context.sample.id,
        digest=context.sample.digest,
        index=context.decode_id.index,
        seed=seed,
        repeat=context.decode_id.repeat,
        prompt_digest=prompt_digest,
    )


def _chat_digest(sample: Sample) -> str:
    messages = json.dumps([message._asdict() for message in sample.messages])
    return hashlib.sha256(messages.encode()).hexdigest()


def _marked_reply(outcome: Outcome) -> MarkedReply:
    decode_id: DecodeId = outcome.job.tag
    ids = tuple(outcome.output_ids)
    if ids not in decode_id.replies:
        prompt = outcome.job.prompt
        decode_id.replies[ids] = _marked(prompt.task, prompt.sample, prompt.read(ids))
    return decode_id.replies[ids]


def _marked(task: Task, sample: Sample, text: str) -> MarkedReply:
    """Return a reply with its marks, or with the exception that its task's score raised.

    Raises:
        RequestError: An external engine that marks replies stopped answering.
    """
    try:
        return MarkedReply(text, _recorded(task.score(sample, text)), None)
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001  another package's score may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return MarkedReply(text, None, f"the score of task {task.name!r} raised {reason}")


def _recorded(marks: Marks) -> RecordedMarks:
    return RecordedMarks(
        strict=float(marks.strict),
        lenient=float(marks.lenient),
        problem=marks.failure,
        parts=dict(marks.parts),
    )


def _final(
    status: Status, error: str | None, reply: MarkedReply
) -> tuple[Status, str | None, RecordedMarks | None]:
    """Return status, error and marks of a decode whose reply is marked."""
    if status == "error":
        return status, error, None
    if status != "ok":
        # A canvas with holes is no answer, even if its filled positions read well.
        return status, error, _recorded(Marks(strict=0.0, lenient=0.0, failure=status))
    return ("ok" if reply.error is None else "error"), error or reply.error, reply.marks
