"""Run file -> records: decodes what is not yet recorded, marks it, writes it down."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from parallelbench.decode import Tally, decode
from parallelbench.decoder import DECODERS, STATISTICS, Decoder
from parallelbench.environment import environment
from parallelbench.errors import RunFileError
from parallelbench.lanes import Job, Outcome
from parallelbench.model import MODELS, Model, Server
from parallelbench.prompt import build_prompt
from parallelbench.record import Record, RecordedMarks, Served, Status
from parallelbench.rundir import RunDirectory
from parallelbench.runfile import RunFile
from parallelbench.sample import Sample
from parallelbench.score import Marks
from parallelbench.serve import Answered, Question, serve
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS, Task, sample_rng

_VERSION = importlib.metadata.version("parallelbench")

#: What no two records of one run share: see :attr:`parallelbench.record.Record.key`.
Key = tuple[str, str, int, str, int]

#: Samples of each task that are tried before a run starts: enough for every length of the
#: tasks whose lengths take turns.
_TRIED = 4


class Parts(NamedTuple):
    """What a run is made of, each with its setting."""

    models: list[tuple[Setting, Model | Server]]
    tasks: list[tuple[Setting, Task]]
    decoders: list[tuple[Setting, Decoder]]


def run(
    runfile: RunFile,
    path: Path,
    *,
    batch_size: int = 512,
    progress: Callable[[int], None] = lambda _: None,
    failed: Callable[[Record], None] = lambda _: None,
) -> RunDirectory:
    """Do what ``runfile`` asks for that ``path`` does not hold yet.

    Args:
        runfile: What to run.
        path: The run's folder: new, empty, or of the same run.
        batch_size: Most decodes at a time; changes no record.
        progress: Called with the number of decodes recorded so far.
        failed: Called with every record that ended in an error; the next run of the same
            run file tries those again.

    Raises:
        RequestError: Something cannot be done as asked; what is recorded stays.
    """
    # What cannot be run leaves no trace; a run that was begun has been checked.
    parts = None if RunDirectory.holds_run(path) else prepare(runfile)
    directory = RunDirectory.begin(path, runfile)
    with directory.appending() as writer:
        done: set[Key] = set()
        digests: dict[str, str] = {}
        for record in directory.records():
            digests[record.model] = record.model_digest
            if record.status != "error":
                done.add(record.key)
        progress(len(done))
        if len(done) == runfile.decodes:
            return directory
        parts = parts or prepare(runfile)
        _check_models(parts, digests, path)
        facts = {setting.label: model.facts() for setting, model in parts.models}
        directory.add_environment({**environment(), "batch_size": batch_size, "models": facts})
        tally = Tally()
        records = _decoded(runfile, parts, done, batch_size, tally)
        for count, record in enumerate(records, start=len(done) + 1):
            writer.append(record)
            progress(count)
            if record.status == "error":
                failed(record)
        directory.note(rows_asked=tally.asked, rows_sent=tally.sent)
    return directory


def prepare(runfile: RunFile) -> Parts:
    """Return the parts of a run, after every model has seen what it will be asked.

    Raises:
        RequestError: As :func:`execute`.
    """
    parts = Parts(
        models=[(setting, build(setting, MODELS).open()) for setting in runfile.models],
        tasks=[(setting, build(setting, TASKS)) for setting in runfile.tasks],
        decoders=[(setting, build(setting, DECODERS)) for setting in runfile.decoders],
    )
    for setting, model in parts.models:
        if isinstance(model, Server):
            continue
        _check_needs(setting, model, parts.decoders)
        with _threads(model.threads):
            _check_samples(runfile, model, parts)
    return parts


def execute(
    runfile: RunFile,
    *,
    parts: Parts | None = None,
    done: AbstractSet[Key] = frozenset(),
    batch_size: int = 512,
    tally: Tally | None = None,
) -> Iterator[Record]:
    """Return the records of ``runfile`` as they are finished, in no particular order.

    Args:
        runfile: What to run.
        parts: What it is made of, if that is loaded already.
        done: Keys of records that are not wanted again.
        batch_size: Most decodes at a time; changes no record but its ``seconds``.
        tally: Is told what sharing saved.

    Raises:
        RequestError: A decoder needs what the model does not give, or a sample does not
            fit the canvas or the model.
    """
    return _decoded(runfile, parts or prepare(runfile), done, batch_size, tally or Tally())


def draw(task: Task, seed: int, index: int) -> Sample:
    """Return sample ``index`` of ``task`` in a run with ``seed``."""
    return task.draw(sample_rng(seed, task.name, index), index)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_samples(runfile: RunFile, model: Model, parts: Parts) -> None:
    for _, task in parts.tasks:
        for index in range(min(_TRIED, runfile.samples)):
            model.check(build_prompt(task, draw(task, runfile.seed, index), model.codec))


def _decoded(
    runfile: RunFile, parts: Parts, done: AbstractSet[Key], batch_size: int, tally: Tally
) -> Iterator[Record]:
    for setting, model in parts.models:
        if isinstance(model, Server):
            for answered in serve(_questions(runfile, setting, parts, done), model):
                yield _served_record(answered, runfile, model)
            continue
        jobs = _jobs(runfile, setting, model, parts, done)
        with _threads(model.threads):
            for outcome in decode(jobs, model, batch_size=batch_size, tally=tally):
                yield _record(outcome, runfile, model)


class _Reply(NamedTuple):
    """A canvas as text, with its marks."""

    text: str
    marks: Marks


class _Asked(NamedTuple):
    """What a server is asked, for its record."""

    origin: _Origin
    task: Task
    sample: Sample


@dataclass(frozen=True)
class _Origin:
    """Where a job comes from, for its record."""

    model: Setting
    task: Setting
    decoder: Setting
    index: int
    repeat: int
    replies: dict[tuple[int, ...], _Reply]

    @property
    def key(self) -> Key:
        return (self.model.label, self.task.label, self.index, self.decoder.label, self.repeat)


def _origins(
    runfile: RunFile, model: Setting, parts: Parts, done: AbstractSet[Key]
) -> Iterator[list[_Origin]]:
    """Return what is asked of a model and not yet recorded, sample by sample."""
    for task, _ in parts.tasks:
        for index in range(runfile.samples):
            # Many settings end in the same reply; it is read and marked once.
            replies: dict[tuple[int, ...], _Reply] = {}
            origins = [
                _Origin(model, task, decoder, index, repeat, replies)
                for repeat in range(runfile.repeats)
                for decoder in runfile.decoders_of(model)
            ]
            yield [origin for origin in origins if origin.key not in done]


def _jobs(
    runfile: RunFile, setting: Setting, model: Model, parts: Parts, done: AbstractSet[Key]
) -> Iterator[Job]:
    tasks = {setting.label: task for setting, task in parts.tasks}
    decoders = {setting.label: decoder for setting, decoder in parts.decoders}
    for origins in _origins(runfile, setting, parts, done):
        if not origins:
            continue
        task = tasks[origins[0].task.label]
        prompt = build_prompt(task, draw(task, runfile.seed, origins[0].index), model.codec)
        for origin in origins:
            decoder = decoders[origin.decoder.label]
            yield Job(prompt=prompt, decoder=decoder, key=_job_key(runfile, origin), tag=origin)


def _questions(
    runfile: RunFile, setting: Setting, parts: Parts, done: AbstractSet[Key]
) -> Iterator[Question]:
    tasks = {setting.label: task for setting, task in parts.tasks}
    for origins in _origins(runfile, setting, parts, done):
        for origin in origins:
            task = tasks[origin.task.label]
            sample = draw(task, runfile.seed, origin.index)
            asked = _Asked(origin, task, sample)
            yield Question(tuple(sample.messages), _job_key(runfile, origin), tag=asked)


def _job_key(runfile: RunFile, origin: _Origin) -> str:
    # The model is left out: two models meet the same random numbers.
    return f"{runfile.seed}/{origin.task.key}/{origin.index}/{origin.repeat}/{origin.decoder.key}"


def _common(
    origin: _Origin, runfile: RunFile, task: Task, sample: Sample, model: Model | Server
) -> dict[str, Any]:
    """Return the fields of a record that do not depend on how the model was asked."""
    return {
        "library_version": _VERSION,
        "model": origin.model.label,
        "model_digest": model.digest,
        "task": origin.task.name,
        "task_fields": dict(origin.task.fields),
        "task_label": origin.task.label,
        "task_version": task.version,
        "decoder": origin.decoder.name,
        "decoder_fields": dict(origin.decoder.fields),
        "decoder_label": origin.decoder.label,
        "sample": sample.id,
        "sample_digest": sample.digest,
        "index": origin.index,
        "seed": runfile.seed,
        "repeat": origin.repeat,
    }


def _record(outcome: Outcome, runfile: RunFile, model: Model) -> Record:
    origin: _Origin = outcome.job.tag
    prompt = outcome.job.prompt
    reply = _reply(outcome)
    return Record(
        **_common(origin, runfile, prompt.task, prompt.sample, model),
        weights_digest=model.weights_digest,
        oracle="answers" in outcome.job.decoder.needs,
        prompt_digest=prompt.digest,
        prompt_tokens=len(prompt.ids),
        mask_id=model.codec.mask_id,
        end_id=model.codec.end_id,
        stop_ids=sorted(model.codec.stop_ids),
        initial_ids=None if bool(prompt.open.all()) else prompt.canvas.tolist(),
        output_ids=outcome.output_ids,
        text=reply.text,
        status=outcome.status,
        error=outcome.error,
        note=outcome.note,
        marks=_marks(outcome.status, reply.marks),
        counts=outcome.counts,
        trace=outcome.trace,
        seconds=outcome.seconds,
    )


def _served_record(answered: Answered, runfile: RunFile, server: Server) -> Record:
    asked: _Asked = answered.question.tag
    reply = answered.reply
    status: Status = "error" if reply is None else "ok"
    text = "" if reply is None else reply.text
    messages = json.dumps([message._asdict() for message in asked.sample.messages])
    return Record(
        **_common(asked.origin, runfile, asked.task, asked.sample, server),
        oracle=False,
        prompt_digest=hashlib.sha256(messages.encode()).hexdigest(),
        prompt_tokens=None,
        mask_id=None,
        end_id=None,
        initial_ids=None,
        output_ids=None,
        text=text,
        status=status,
        error=answered.error,
        marks=_marks(status, asked.task.score(asked.sample, text)),
        counts=None,
        trace=None,
        served=None
        if reply is None
        else Served(
            finish=reply.finish,
            completion_tokens=reply.completion_tokens,
            drafts=reply.drafts,
            attempts=reply.attempts,
        ),
        seconds=answered.seconds if reply is None else reply.seconds,
    )


def _reply(outcome: Outcome) -> _Reply:
    origin: _Origin = outcome.job.tag
    ids = tuple(outcome.output_ids)
    if ids not in origin.replies:
        prompt = outcome.job.prompt
        text = prompt.codec.decode(ids)
        origin.replies[ids] = _Reply(text, prompt.task.score(prompt.sample, text))
    return origin.replies[ids]


def _marks(status: Status, marks: Marks) -> RecordedMarks | None:
    if status == "error":
        return None
    if status != "ok":
        # A canvas with holes is no answer, even if what stands around them reads well.
        marks = Marks(strict=0.0, lenient=0.0, problem=status)
    return RecordedMarks(
        strict=float(marks.strict),
        lenient=float(marks.lenient),
        problem=marks.problem,
        parts=dict(marks.parts),
    )


def _check_models(parts: Parts, digests: Mapping[str, str], path: Path) -> None:
    """Refuse to go on with a model that is not the one a run began with."""
    for setting, model in parts.models:
        if digests.get(setting.label, model.digest) != model.digest:
            raise RunFileError(
                f"{path} was begun with another {setting.label!r}: its digest was "
                f"{digests[setting.label][:12]} and is now {model.digest[:12]} (other weights, "
                "another tokenizer, or other installed tasks); give another --out"
            )


def _check_needs(setting: Setting, model: Model, decoders: list[tuple[Setting, Decoder]]) -> None:
    for decoder_setting, decoder in decoders:
        missing = decoder.needs - STATISTICS - model.provides
        if missing:
            raise RunFileError(
                f"decoder {decoder_setting.label!r} needs {', '.join(sorted(missing))}, "
                f"which model {setting.label!r} does not give"
            )
