"""Run file -> records: decode, score and record what the run directory does not hold yet."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from parallelbench.console.progress import ProgressDisplay
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import Tally, decode
from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import (
    RequestError,
    RunFileError,
    StorageError,
    UnreachableError,
    WorkersError,
)
from parallelbench.model import MODELS, Model, Server
from parallelbench.prompt import Prompt, build_prompt
from parallelbench.record import Record
from parallelbench.record_line import from_line, to_line
from parallelbench.results.consistency import Consistency
from parallelbench.results.throughput import SPANS
from parallelbench.run.capabilities import missing_capabilities_message
from parallelbench.run.environment import environment
from parallelbench.run.recording import (
    RANDOM_KEY,
    DecodeId,
    MarkedReply,
    RecordKey,
    ReplyContext,
    draw_sample,
    job_key,
    record_of,
    served_record_of,
)
from parallelbench.run.rundir import RecordWriter, RunDirectory
from parallelbench.run.runfile import RunFile
from parallelbench.run.serve import ServerRequest, serve
from parallelbench.run.shard import Shard
from parallelbench.run.stopwatch import Stopwatch
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS, Task

T = TypeVar("T")

#: Samples of each task that are checked before a run starts: enough to meet every length of the
#: tasks whose lengths alternate.
_TRIED = 4
#: If the model's context holds this many times the longest of them, no more prompts are built:
#: the lengths of no task differ that much.  Otherwise all are, at about a millisecond each.
_MARGIN = 4
#: Seconds between two updates of the session's statistics; a process that is killed loses the
#: measurements since the last one.
_NOTED_EVERY = 10.0


class Parts(NamedTuple):
    """Models, tasks and decoders of a run, each with its setting."""

    models: list[tuple[Setting, Model | Server]]
    tasks: list[tuple[Setting, Task]]
    decoders: list[tuple[Setting, Decoder]]


@dataclass(frozen=True)
class WorkUnit:
    """A range of samples of one task for one model, with all decoders and repeats.

    A sample is never split: its decoders share model calls.

    Attributes:
        model: Label of the model.
        task: Label of the task.
        samples: Numbers of the samples.
        done: Keys of recorded decodes, which are skipped; may include other samples.
    """

    model: str
    task: str
    samples: range
    done: AbstractSet[RecordKey] = frozenset()


class Finished(NamedTuple):
    """A finished decode: its record, or the line that a worker sent of it.

    Attributes:
        key: Identifies the decode within the run.
        content: The record, or its line.
        error: Error message, for status ``error``; else None.
        answer_tokens: Tokens before the first end-of-text; None if a server did not count them.
    """

    key: RecordKey
    content: Record | str
    error: str | None
    answer_tokens: int | None

    @classmethod
    def of(cls, record: Record) -> Finished:
        """Return the finished decode of ``record``."""
        tokens = None
        if record.decoding is not None:
            tokens = record.decoding.counts.answer_tokens
        elif record.served is not None:
            tokens = record.served.completion_tokens
        return cls(record.key, record, record.error, tokens)

    @property
    def record(self) -> Record:
        """The record; parsed anew each time if it came as a line."""
        return (
            from_line(self.content, "a record") if isinstance(self.content, str) else self.content
        )

    @property
    def line(self) -> str:
        """The record as it is written down."""
        return self.content if isinstance(self.content, str) else to_line(self.content)

    def as_line(self) -> Finished:
        """Return the same with the record as a line, which other processes read fastest."""
        return self._replace(content=self.line)


class RunProgress(NamedTuple):
    """The progress of a run.

    Attributes:
        recorded: Number of decodes recorded so far.
        model: Label of the model at work; None before the first decode, and where several models
            decode at the same time.
        left: Number of decodes that this model has left; 0 without a model.
    """

    recorded: int
    model: str | None = None
    left: int = 0


class Loaded(NamedTuple):
    """Digest and provenance of a model that may be loaded in another process."""

    digest: str
    facts: dict[str, Any]


class ExecutorSession(ABC):
    """Executes the decodes of a run; models are loaded and checked against the run file first.

    Attributes:
        models: The loaded models, by label.
        engines: Versions of external scoring engines, by label of the task and by score.
        sources: Digests of files that tasks read from outside the package, by label of the task
            and by field.
        tally: Counts of requested and sent rows, and the time of model calls.
        in_turn: True if models are decoded one after the other.
    """

    models: Mapping[str, Loaded]
    engines: Mapping[str, Mapping[str, str]]
    sources: Mapping[str, Mapping[str, str]]
    tally: Tally
    in_turn: bool = True

    @abstractmethod
    def finish(self, samples: range, done: AbstractSet[RecordKey]) -> Iterator[Finished]:
        """Yield each decode as it is finished, in no particular order.

        Args:
            samples: Numbers of the samples to decode.
            done: Keys of recorded decodes, which are skipped.

        Raises:
            RequestError: Decoding cannot continue; decodes yielded so far remain valid.
        """

    def provenance(self) -> dict[str, Any]:
        """Return the state of the workers that decode, as JSON values."""
        return {}

    def environment(self, batch_size: int) -> dict[str, Any]:
        """Return versions, machine, models and batch policy of this session, as JSON values."""
        models = {label: model.facts for label, model in self.models.items()}
        policy = {"random_key": RANDOM_KEY, "batch_size": batch_size, "models": models}
        return {**environment(), **policy, **self.provenance()}

    def stopwatch(self) -> Stopwatch:
        """Return a stopwatch for the decodes."""
        return Stopwatch(self.models, self.tally, in_turn=self.in_turn)

    def statistics(self, stopwatch: Stopwatch) -> dict[str, Any]:
        """Return the part of the session's environment that decoding changes: rows and speed."""
        asked, sent = self.tally.asked, self.tally.sent
        return {
            "rows_asked": asked,
            "rows_sent": sent,
            "shared_calls": asked - sent,
            **self.provenance(),
            SPANS: stopwatch.spans(),
        }


#: Opens a session for a run file and a batch size; closes it at the end.
Executor = Callable[[RunFile, int], AbstractContextManager[ExecutorSession]]


@contextmanager
def local(runfile: RunFile, batch_size: int) -> Iterator[ExecutorSession]:
    """Execute the decodes in this process."""
    yield _LocalSession(runfile, prepare(runfile), batch_size)


def run(  # noqa: PLR0913  all but two are options
    runfile: RunFile,
    path: Path,
    *,
    batch_size: int = 512,
    shard: Shard | None = None,
    extend: bool = False,
    executor: Executor = local,
    progress: Callable[[RunProgress], None] = lambda _: None,
    failed: Callable[[Record], None] = lambda _: None,
) -> RunDirectory:
    """Execute the decodes of ``runfile`` that ``path`` does not hold yet.

    Args:
        runfile: The run.
        path: The run directory: new, empty, or of the same run.
        batch_size: Maximum number of concurrent decodes per worker; changes no record.
        shard: The part of the run to execute here; None for all of it.
        extend: Allows ``path`` to hold a smaller run, which becomes this one: its records
            stay, its run file is replaced, and its digest is kept in the history.
        executor: Executes the decodes; changes no record but its ``seconds``.
        progress: Called at the start, and whenever a decode is recorded.
        failed: Called with every record that ended in an error; the next run of the same
            run file retries those.

    Raises:
        RequestError: The run cannot start or continue; what is recorded stays.
    """
    if shard is not None:
        shard.of(runfile.samples)  # an invalid shard is refused before models are loaded
    begun = RunDirectory.holds_run(path)
    held = RunDirectory.extensible(path, runfile) if extend and begun else None
    grows = held is not None and held.runfile.digest != runfile.digest
    with ExitStack() as stack:
        # A run that fails its checks writes nothing; one that was begun has passed them.
        session = None
        if grows or not begun:
            session = stack.enter_context(executor(runfile, batch_size))
        directory = held if held and grows else RunDirectory.begin(path, runfile, shard)
        writer = stack.enter_context(directory.appending())
        done, recorded = _resume(directory)
        progress(RunProgress(len(done)))
        if len(done) == directory.decodes and not grows:
            return directory
        session = session or stack.enter_context(executor(runfile, batch_size))
        _check_random_key(directory, runfile, done)
        _refuse_changes(recorded, session, runfile)
        if grows:
            directory = directory.extend(runfile)
        with _session(directory, session, batch_size) as measured:
            finished = measured(session.finish(directory.samples, done))
            left = decodes_left(runfile, directory.samples, done) if session.in_turn else {}
            counted = with_progress(finished, len(done), left)
            _write(counted, writer, len(done), progress, failed)
    return directory


def _resume(directory: RunDirectory) -> tuple[set[RecordKey], Consistency]:
    """Return the decodes that need not be done again, and what their records were made with.

    Raises:
        RecordsError: A record is torn or was altered.
        RunFileError: The records are of different models, engines or samples.
    """
    done: set[RecordKey] = set()
    recorded = Consistency("restore what the run began with, or give another --out", RunFileError)
    for record in directory.records():
        recorded.record(record, str(directory.path))
        if record.status != "error":
            done.add(record.key)
    return done, recorded


def _refuse_changes(recorded: Consistency, session: ExecutorSession, runfile: RunFile) -> None:
    """Refuse to continue a run where models, engines, sources or samples have changed since."""
    here = "this installation"
    for label, model in session.models.items():
        recorded.model(label, model.digest, here)
    for label, engines_of_task in session.engines.items():
        recorded.engines(label, engines_of_task, here)
    for label, sources_of_task in session.sources.items():
        recorded.sources(label, sources_of_task, here)
    tasks = {setting.label: build(setting, TASKS) for setting in runfile.tasks}
    for label, index in list(recorded.samples):
        recorded.sample(label, index, draw_sample(tasks[label], runfile.seed, index).digest, here)


def decodes_left(
    runfile: RunFile, samples: range, done: AbstractSet[RecordKey] = frozenset()
) -> dict[str, int]:
    """Return the number of decodes that each model has left, by its label.

    Args:
        runfile: The run.
        samples: Numbers of the samples to decode.
        done: Keys of recorded decodes.
    """
    recorded = Counter(model for model, *_ in done)
    of_decoder = len(runfile.tasks) * len(samples) * runfile.repeats
    return {
        model.label: len(runfile.decoders_of(model)) * of_decoder - recorded[model.label]
        for model in runfile.models
    }


def with_progress(
    finished: Iterable[Finished], done: int, left: Mapping[str, int]
) -> Iterator[tuple[Finished, RunProgress]]:
    """Yield finished decodes, each with the progress of the run that it makes.

    Args:
        finished: The decodes.
        done: Number of decodes that were recorded before.
        left: Number of decodes that each model has left; empty where several models decode at the
            same time.
    """
    remaining = dict(left)
    for count, each in enumerate(finished, start=done + 1):
        model = each.key[0]
        if model not in remaining:
            yield each, RunProgress(count)
            continue
        remaining[model] -= 1
        yield each, RunProgress(count, model, remaining[model])


def _write(
    finished: Iterable[tuple[Finished, RunProgress]],
    writer: RecordWriter,
    done: int,
    progress: Callable[[RunProgress], None],
    failed: Callable[[Record], None],
) -> None:
    """Append every record as it is finished.

    Args:
        finished: The records, each with the progress that it makes.
        writer: Appends them to the run directory.
        done: Number of decodes that were recorded before.
        progress: Callback of :func:`run`.
        failed: Callback of :func:`run`.

    Raises:
        UnreachableError: The server is gone; the sentence says how many decodes are recorded.
        WorkersError: The workers are gone; likewise.
    """
    kept = done
    try:
        for each, reached in finished:
            writer.append_line(each.line)
            progress(reached)
            kept += each.error is None
            if each.error is not None:
                failed(each.record)
    except (UnreachableError, WorkersError) as error:
        raise type(error)(f"{error}; {_kept(kept)}") from error


def loading(runfile: RunFile) -> str:
    """Return the name of a run's first stage, for :meth:`ProgressDisplay.begin`."""
    return f"loading {', '.join(setting.label for setting in runfile.models)}"


def following(progress: ProgressDisplay, decodes: int) -> Callable[[RunProgress], None]:
    """Return a callback for :func:`run` that updates ``progress``.

    Args:
        progress: The display, in the stage :func:`loading`.
        decodes: Total number of decodes of the run.
    """

    def reach(reached: RunProgress) -> None:
        if progress.total is None:  # its first call, once the models are loaded
            progress.begin("decoding", decodes, "decodes", done=reached.recorded)
        if reached.model is None:
            progress.reach(reached.recorded)
        else:
            progress.reach_part(reached.recorded, reached.model, reached.left)

    return reach


def measured_by(stopwatch: Stopwatch, finished: Iterable[Finished]) -> Iterator[Finished]:
    """Yield finished decodes, and record its time with ``stopwatch``."""
    stopwatch.start()
    for each in finished:
        model, task, _, decoder, _ = each.key
        stopwatch.lap(model, task, decoder, each.answer_tokens, failed=each.error is not None)
        yield each


@contextmanager
def _session(
    directory: RunDirectory, session: ExecutorSession, batch_size: int
) -> Iterator[Callable[[Iterable[Finished]], Iterator[Finished]]]:
    """Record environment and speed of a session: at its start, periodically, and at its end."""
    stopwatch = session.stopwatch()
    directory.add_environment(session.environment(batch_size))

    def measured(finished: Iterable[Finished]) -> Iterator[Finished]:
        last_note = time.monotonic()
        for each in measured_by(stopwatch, finished):
            yield each
            if time.monotonic() - last_note >= _NOTED_EVERY:
                directory.note(**session.statistics(stopwatch))
                last_note = time.monotonic()

    try:
        yield measured
    except BaseException:
        # The first error is the one to report, not that this could not be written either.
        with suppress(StorageError):
            directory.note(**session.statistics(stopwatch))
        raise
    directory.note(**session.statistics(stopwatch))


def _kept(count: int) -> str:
    """Return a clause for the error of an interrupted run: how many decodes are recorded."""
    if not count:
        return "no decode was finished"
    return f"every finished decode ({count}) is recorded, and the same command goes on from there"


def prepare(runfile: RunFile) -> Parts:
    """Load the parts of a run and check that they go together.

    Raises:
        RequestError: As :func:`execute`.
    """
    parts = assemble(runfile)
    check(runfile, parts)
    return parts


def assemble(runfile: RunFile) -> Parts:
    """Build the parts of a run, load its models and start its scoring engines.

    Raises:
        RequestError: A model cannot be loaded, or a scoring engine cannot be started.
    """
    tasks = [(setting, build(setting, TASKS)) for setting in runfile.tasks]
    for _, task in tasks:
        task.engines()  # a missing engine should be reported before a model is loaded
    return Parts(
        models=[(setting, build(setting, MODELS).open()) for setting in runfile.models],
        tasks=tasks,
        decoders=[(setting, build(setting, DECODERS)) for setting in runfile.decoders],
    )


def check(runfile: RunFile, parts: Parts) -> None:
    """Check that models, tasks and decoders go together.

    Raises:
        RequestError: A decoder needs a capability that the model lacks or does not go with its
            tokenizer, a sample does not fit the canvas or the model's context, or a task has
            fewer samples.
    """
    for setting, task in parts.tasks:
        _check_supply(runfile, setting, task)
        _check_draws(runfile, setting, task)
        _check_oracles(setting, task, parts.decoders)
    for setting, model in parts.models:
        if isinstance(model, Server):
            continue
        _check_needs(runfile, setting, model, parts)
        with _threads(model.threads):
            _check_samples(runfile, setting.label, model, parts)


def loaded(parts: Parts) -> dict[str, Loaded]:
    """Return digest and provenance of each model, by label."""
    return {setting.label: Loaded(model.digest, _facts(model)) for setting, model in parts.models}


def _facts(model: Model | Server) -> dict[str, Any]:
    device = {"device": str(model.device)} if isinstance(model, Model) else {}
    return {**device, **model.provenance()}


def engines(parts: Parts) -> dict[str, dict[str, str]]:
    """Return the external scoring engines of each task, by label of the task."""
    return {setting.label: task.engines() for setting, task in parts.tasks}


def sources(parts: Parts) -> dict[str, dict[str, str]]:
    """Return the digests of files that tasks read from outside the package, by label."""
    return {setting.label: task.sources() for setting, task in parts.tasks}


def execute(
    runfile: RunFile,
    *,
    parts: Parts | None = None,
    units: Iterable[WorkUnit] | None = None,
    batch_size: int = 512,
    tally: Tally | None = None,
) -> Iterator[Record]:
    """Yield the records of ``runfile`` as they are finished, in no particular order.

    Args:
        runfile: The run.
        parts: Parts, if they are loaded already.
        units: The work units to execute, model after model; None for all.
        batch_size: Maximum number of concurrent decodes; changes no record but its ``seconds``.
        tally: Counts requested and sent rows.

    Raises:
        RequestError: A decoder needs a capability that the model lacks, or a sample does not
            fit the canvas or the model's context.
    """
    if units is None:
        units = planned(runfile, range(runfile.samples))
    return _decoded(runfile, parts or prepare(runfile), units, batch_size, tally or Tally())


def planned(
    runfile: RunFile, samples: range, done: AbstractSet[RecordKey] = frozenset()
) -> Iterator[WorkUnit]:
    """Yield the work of a run in the largest units possible, model after model."""
    for model in runfile.models:
        for task in runfile.tasks:
            yield WorkUnit(model.label, task.label, samples, done)


def jobs_of(runfile: RunFile, parts: Parts, model: Model, unit: WorkUnit) -> Iterator[Job]:
    """Yield the decodes of ``unit``, a unit of ``model``."""
    decoders = dict(_labelled(parts.decoders))
    task = dict(_labelled(parts.tasks))[unit.task]
    for decode_ids in _decode_ids(runfile, unit):
        if not decode_ids:
            continue
        prompt = build_prompt(
            task, draw_sample(task, runfile.seed, decode_ids[0].index), model.codec
        )
        _check_length(unit.model, prompt, model)
        for decode_id in decode_ids:
            decoder = decoders[decode_id.decoder.label]
            yield Job(
                prompt=prompt, decoder=decoder, key=job_key(runfile, decode_id), tag=decode_id
            )


def decode_jobs(
    runfile: RunFile, model: Model, jobs: Iterable[Job], batch_size: int, tally: Tally
) -> Iterator[Record]:
    """Yield the record of each of ``jobs``, all of one model.

    Args:
        runfile: The run.
        model: The model of all jobs.
        jobs: Decodes, as :func:`jobs_of` makes them.
        batch_size: Maximum number of concurrent decodes.
        tally: Counts requested and sent rows.
    """
    with _threads(model.threads):
        for outcome in decode(jobs, model, batch_size=batch_size, tally=tally):
            yield record_of(outcome, runfile, model.digest, model.weights_digest)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_samples(runfile: RunFile, label: str, model: Model, parts: Parts) -> None:
    room = model.context_length
    for _, task in parts.tasks:
        longest = 0
        for index in range(runfile.samples):
            if index >= _TRIED and (room is None or _MARGIN * longest <= room):
                break
            prompt = build_prompt(task, draw_sample(task, runfile.seed, index), model.codec)
            longest = max(longest, _check_length(label, prompt, model))
            if index < _TRIED:
                model.check(prompt)


def _check_length(label: str, prompt: Prompt, model: Model) -> int:
    """Return the number of tokens of prompt and canvas; refuse more than the model's context."""
    tokens, canvas = len(prompt.ids), len(prompt.canvas)
    if model.context_length is not None and tokens + canvas > model.context_length:
        raise RunFileError(
            f"model {label!r} has a context of {model.context_length} tokens, and sample "
            f"{prompt.sample.id} of task {prompt.task.name} needs {tokens + canvas}: a prompt of "
            f"{tokens} and a canvas of {canvas}; ask for less (the task's canvas_length, shots or "
            "length), or, if the network was trained on more, correct its config.json"
        )
    return tokens + canvas


def _check_supply(runfile: RunFile, setting: Setting, task: Task) -> None:
    count = task.count_samples()
    if count is not None and runfile.samples > count:
        raise RunFileError(
            f"task {setting.label!r} has {count} different samples, and {runfile.samples} were "
            f"requested; give --samples {count} or fewer"
        )


def _check_draws(runfile: RunFile, setting: Setting, task: Task) -> None:
    """Draw every sample once, so that a failing task is found before decoding starts."""
    index = 0
    try:
        for index in range(runfile.samples):
            draw_sample(task, runfile.seed, index)
    except RequestError:
        raise
    except Exception as error:  # another package's task may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunFileError(
            f"task {setting.label!r} cannot draw sample {index} with seed {runfile.seed}: it "
            f"raised {reason}; correct the task, or leave it out"
        ) from error


def _check_oracles(setting: Setting, task: Task, decoders: list[tuple[Setting, Decoder]]) -> None:
    oracles = [each.label for each, decoder in decoders if "answers" in decoder.needs]
    if oracles and not task.law_known:
        raise RunFileError(
            f"decoder {oracles[0]!r} must be told the right answers, and those to "
            f"{setting.label!r} cannot be listed; name other decoders, such as "
            "--decoders 'confidence:k=1|2|4'"
        )


class _LocalSession(ExecutorSession):
    """Executes the decodes in this process."""

    def __init__(self, runfile: RunFile, parts: Parts, batch_size: int) -> None:
        self.models = loaded(parts)
        self.engines = engines(parts)
        self.sources = sources(parts)
        self.tally = Tally()
        self._runfile = runfile
        self._parts = parts
        self._batch_size = batch_size

    def finish(self, samples: range, done: AbstractSet[RecordKey]) -> Iterator[Finished]:
        units = planned(self._runfile, samples, done)
        for record in _decoded(self._runfile, self._parts, units, self._batch_size, self.tally):
            yield Finished.of(record)


def _decoded(
    runfile: RunFile, parts: Parts, units: Iterable[WorkUnit], batch_size: int, tally: Tally
) -> Iterator[Record]:
    models = dict(_labelled(parts.models))
    for label, own in itertools.groupby(units, key=lambda unit: unit.model):
        model = models[label]
        if isinstance(model, Server):
            questions = itertools.chain.from_iterable(_questions(runfile, parts, u) for u in own)
            for answered in serve(questions, model):
                if answered.reply is not None:
                    tally.add_call(answered.reply.seconds)
                yield served_record_of(answered, runfile, model.digest)
            continue
        jobs = itertools.chain.from_iterable(jobs_of(runfile, parts, model, u) for u in own)
        yield from decode_jobs(runfile, model, jobs, batch_size, tally)


def _labelled(parts: Iterable[tuple[Setting, T]]) -> Iterator[tuple[str, T]]:
    return ((setting.label, part) for setting, part in parts)


def _decode_ids(runfile: RunFile, unit: WorkUnit) -> Iterator[list[DecodeId]]:
    """Yield the decodes of ``unit`` that are not done yet, sample by sample."""
    model = runfile.models[runfile.places["model"][unit.model]]
    task = runfile.tasks[runfile.places["task"][unit.task]]
    for index in unit.samples:
        # Many settings end in the same reply; it is read and marked once.
        replies: dict[tuple[int, ...], MarkedReply] = {}
        decode_ids = [
            DecodeId(model, task, decoder, index, repeat, replies)
            for repeat in range(runfile.repeats)
            for decoder in runfile.decoders_of(model)
        ]
        yield [decode_id for decode_id in decode_ids if decode_id.key not in unit.done]


def _questions(runfile: RunFile, parts: Parts, unit: WorkUnit) -> Iterator[ServerRequest]:
    task = dict(_labelled(parts.tasks))[unit.task]
    for decode_ids in _decode_ids(runfile, unit):
        for decode_id in decode_ids:
            sample = draw_sample(task, runfile.seed, decode_id.index)
            context = ReplyContext(decode_id, task, sample)
            yield ServerRequest(tuple(sample.messages), job_key(runfile, decode_id), tag=context)


def _check_random_key(
    directory: RunDirectory, runfile: RunFile, done: AbstractSet[RecordKey]
) -> None:
    """Refuse to continue decoders whose random numbers an earlier release drew differently."""
    if all(start.get("random_key") == RANDOM_KEY for start in directory.environments()):
        return
    samples = runfile.samples if directory.shard is None else len(directory.samples)
    wanted = len(runfile.tasks) * samples * runfile.repeats
    begun = Counter((model, decoder) for model, _, _, decoder, _ in done)
    drawing = [
        decoder.label
        for model in runfile.models
        for decoder in runfile.decoders_of(model)
        if 0 < begun[model.label, decoder.label] < wanted
        and (MODELS[model.name].serves or not build(decoder, DECODERS).deterministic)
    ]
    if drawing:
        raise RunFileError(
            f"{directory.path} was begun by an earlier release, in which the fields of a decoder "
            f"changed its random numbers; what is left of {', '.join(drawing)[:300]} would be "
            "drawn otherwise than what is recorded: give another --out, or finish it with the "
            "release that began it"
        )


def _check_needs(runfile: RunFile, setting: Setting, model: Model, parts: Parts) -> None:
    asked = {each.label for each in runfile.decoders_of(setting)}
    for decoder_setting, decoder in parts.decoders:
        if decoder_setting.label not in asked:
            continue
        decoder.check(model.codec)
        message = missing_capabilities_message(
            decoder_setting, decoder, setting, model.capabilities
        )
        if message is not None:
            raise RunFileError(message)
