"""Run file -> records: decodes what is not yet recorded, marks it, writes it down."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from parallelbench.decode import decode
from parallelbench.decoder import DECODERS, STATISTICS, Decoder
from parallelbench.environment import environment
from parallelbench.errors import RunFileError
from parallelbench.lanes import Job, Outcome
from parallelbench.model import MODELS, Model
from parallelbench.prompt import build_prompt
from parallelbench.record import Record, RecordedMarks
from parallelbench.rundir import RunDirectory
from parallelbench.runfile import RunFile
from parallelbench.sample import Sample
from parallelbench.score import Marks
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS, Task, sample_rng

_VERSION = importlib.metadata.version("parallelbench")

#: What no two records of one run share: see :attr:`parallelbench.record.Record.key`.
Key = tuple[str, str, int, str, int]

#: Samples of each task that are tried before a run starts: enough for every length of the
#: tasks whose lengths take turns.
_TRIED = 4


def run(
    runfile: RunFile,
    path: Path,
    *,
    batch_size: int = 512,
    progress: Callable[[int], None] = lambda _: None,
) -> RunDirectory:
    """Do what ``runfile`` asks for that ``path`` does not hold yet.

    Args:
        runfile: What to run.
        path: The run's folder: new, empty, or of the same run.
        batch_size: Most decodes at a time; changes no record.
        progress: Called with the number of decodes recorded so far.

    Raises:
        RequestError: Something cannot be done as asked; what is recorded stays.
    """
    # What cannot be run leaves no trace; a run that was begun has been checked.
    parts = None if RunDirectory.holds_run(path) else _checked_parts(runfile)
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
        parts = parts or _checked_parts(runfile)
        _check_models(parts, digests, path)
        facts = {setting.label: model.facts() for setting, model in parts.models}
        directory.add_environment({**environment(), "batch_size": batch_size, "models": facts})
        records = _decoded(runfile, parts, done, batch_size)
        for count, record in enumerate(records, start=len(done) + 1):
            writer.append(record)
            progress(count)
    return directory


def execute(
    runfile: RunFile, *, done: AbstractSet[Key] = frozenset(), batch_size: int = 512
) -> Iterator[Record]:
    """Return the records of ``runfile`` as they are finished, in no particular order.

    Args:
        runfile: What to run.
        done: Keys of records that are not wanted again.
        batch_size: Most decodes at a time; changes no record but its ``seconds``.

    Raises:
        RequestError: A decoder needs what the model does not give, or a sample does not
            fit the canvas or the model.
    """
    return _decoded(runfile, _checked_parts(runfile), done, batch_size)


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


class _Parts(NamedTuple):
    """What a run is made of, each with its setting."""

    models: list[tuple[Setting, Model]]
    tasks: list[tuple[Setting, Task]]
    decoders: list[tuple[Setting, Decoder]]


def _checked_parts(runfile: RunFile) -> _Parts:
    """Return the parts of a run, after every model has seen what it will be asked."""
    parts = _Parts(
        models=[(setting, build(setting, MODELS).open()) for setting in runfile.models],
        tasks=[(setting, build(setting, TASKS)) for setting in runfile.tasks],
        decoders=[(setting, build(setting, DECODERS)) for setting in runfile.decoders],
    )
    for setting, model in parts.models:
        _check_needs(setting, model, parts.decoders)
        with _threads(model.threads):
            _check_samples(runfile, model, parts)
    return parts


def _check_samples(runfile: RunFile, model: Model, parts: _Parts) -> None:
    for _, task in parts.tasks:
        for index in range(min(_TRIED, runfile.samples)):
            model.check(build_prompt(task, draw(task, runfile.seed, index), model.codec))


def _decoded(
    runfile: RunFile, parts: _Parts, done: AbstractSet[Key], batch_size: int
) -> Iterator[Record]:
    for setting, model in parts.models:
        jobs = _jobs(runfile, setting, model, parts, done)
        with _threads(model.threads):
            for outcome in decode(jobs, model, batch_size=batch_size):
                yield _record(outcome, runfile, model)


class _Reply(NamedTuple):
    """A canvas as text, with its marks."""

    text: str
    marks: Marks


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


def _jobs(
    runfile: RunFile,
    model_setting: Setting,
    model: Model,
    parts: _Parts,
    done: AbstractSet[Key],
) -> Iterator[Job]:
    for task_setting, task in parts.tasks:
        for index in range(runfile.samples):
            # Many settings end in the same reply; it is read and marked once.
            replies: dict[tuple[int, ...], _Reply] = {}
            origins = [
                (_Origin(model_setting, task_setting, setting, index, repeat, replies), decoder)
                for repeat in range(runfile.repeats)
                for setting, decoder in parts.decoders
            ]
            wanted = [(origin, decoder) for origin, decoder in origins if origin.key not in done]
            if not wanted:
                continue
            prompt = build_prompt(task, draw(task, runfile.seed, index), model.codec)
            for origin, decoder in wanted:
                # The model is left out: two models meet the same random numbers.
                key = (
                    f"{runfile.seed}/{task_setting.key}/{index}/{origin.repeat}/"
                    f"{origin.decoder.key}"
                )
                yield Job(prompt=prompt, decoder=decoder, key=key, tag=origin)


def _record(outcome: Outcome, runfile: RunFile, model: Model) -> Record:
    origin: _Origin = outcome.job.tag
    prompt = outcome.job.prompt
    reply = _reply(outcome)
    return Record(
        library_version=_VERSION,
        model=origin.model.label,
        model_digest=model.digest,
        task=origin.task.name,
        task_fields=dict(origin.task.fields),
        task_label=origin.task.label,
        task_version=prompt.task.version,
        decoder=origin.decoder.name,
        decoder_fields=dict(origin.decoder.fields),
        decoder_label=origin.decoder.label,
        oracle="answers" in outcome.job.decoder.needs,
        sample=prompt.sample.id,
        sample_digest=prompt.sample.digest,
        index=origin.index,
        seed=runfile.seed,
        repeat=origin.repeat,
        prompt_digest=prompt.digest,
        prompt_tokens=len(prompt.ids),
        mask_id=model.codec.mask_id,
        end_id=model.codec.end_id,
        initial_ids=None if bool(prompt.open.all()) else prompt.canvas.tolist(),
        output_ids=outcome.output_ids,
        text=reply.text,
        status=outcome.status,
        error=outcome.error,
        note=outcome.note,
        marks=_marks(outcome, reply.marks),
        counts=outcome.counts,
        trace=outcome.trace,
        seconds=outcome.seconds,
    )


def _reply(outcome: Outcome) -> _Reply:
    origin: _Origin = outcome.job.tag
    ids = tuple(outcome.output_ids)
    if ids not in origin.replies:
        prompt = outcome.job.prompt
        text = prompt.codec.decode(ids)
        origin.replies[ids] = _Reply(text, prompt.task.score(prompt.sample, text))
    return origin.replies[ids]


def _marks(outcome: Outcome, marks: Marks) -> RecordedMarks | None:
    if outcome.status == "error":
        return None
    if outcome.status != "ok":
        # A canvas with holes is no answer, even if what stands around them reads well.
        marks = Marks(strict=0.0, lenient=0.0, problem=outcome.status)
    return RecordedMarks(
        strict=float(marks.strict),
        lenient=float(marks.lenient),
        problem=marks.problem,
        parts=dict(marks.parts),
    )


def _check_models(parts: _Parts, digests: Mapping[str, str], path: Path) -> None:
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
