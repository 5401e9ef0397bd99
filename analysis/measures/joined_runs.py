"""Several runs reported as one, with the checks that make them comparable.

Runs are comparable if they have the same versions of their tasks and, with the same seed, the same
samples.  Other runs are refused with an error that names both, or kept apart.  A decode that two
runs hold is counted once if both records agree, and refused if they differ.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelbench.errors import RecordsError, RunFileError, StorageError
from parallelbench.record import Record
from parallelbench.results.consistency import Consistency
from parallelbench.run.merge import record_digest
from parallelbench.run.rundir import RecordPlace, RunDirectory
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting

#: The seed, and the version of every task by its name: runs with equal ones are comparable.
Question = tuple[int, Mapping[str, int]]


def open_runs(paths: Sequence[Path], advice: str) -> list[RunDirectory]:
    """Return the runs in ``paths``, which have the same seed and task versions.

    Args:
        paths: Run directories.
        advice: Remedy that ends the error message.

    Raises:
        RunFileError: A directory holds no run, or two runs differ in the seed or in the version
            of a task.
    """
    # Before they are opened: opening refuses a version that is not installed.
    questions = {path: question_of(path) for path in dict.fromkeys(paths)}
    for (path, question), (other, another) in itertools.combinations(questions.items(), 2):
        difference = difference_of(str(path), question, str(other), another)
        if difference is not None:
            raise RunFileError(f"{difference}; {advice}")
    return [RunDirectory.open(path) for path in paths]


def open_apart(paths: Sequence[Path]) -> list[list[RunDirectory]]:
    """Return the runs in ``paths`` in groups of comparable runs, with any task versions.

    Raises:
        RunFileError: A folder holds no run, or its run file is malformed.
    """
    groups: list[dict[Path, Question]] = []
    for path in dict.fromkeys(paths):
        question = question_of(path)
        for group in groups:
            if not any(difference_of("", question, "", other) for other in group.values()):
                group[path] = question
                break
        else:
            groups.append({path: question})
    return [[RunDirectory.open(path, any_version=True) for path in group] for group in groups]


def question_of(path: Path) -> Question:
    """Return the seed and the task versions of the run in ``path``.

    Raises:
        RunFileError: The folder holds no run, or its run file is malformed.
    """
    content = RunDirectory.content(path)
    tasks: list[Any] = content.get("tasks", [])
    frozen = [task for task in tasks if isinstance(task, dict) and "version" in task]
    return content.get("seed", 0), {task["name"]: task["version"] for task in frozen}


def difference_of(first: str, before: Question, second: str, after: Question) -> str | None:
    """Return the difference of two runs as a sentence; None if they are comparable.

    Args:
        first: Name of the first run.
        before: Seed and task versions.
        second: Name of the second run.
        after: Seed and task versions.
    """
    for task in sorted(before[1].keys() & after[1].keys()):
        if before[1][task] != after[1][task]:
            return (
                f"{first} has version {before[1][task]} of task {task!r} and {second} has version "
                f"{after[1][task]}: their samples or marks are not the same"
            )
    if before[0] != after[0]:
        return (
            f"{first} has seed {before[0]} and {second} has seed {after[0]}: they met different "
            "samples"
        )
    return None


@dataclass(frozen=True)
class JoinedRuns(RunDirectory):
    """Several runs as one, whose report has a directory of its own.

    Attributes:
        path: Directory of the report; nothing else is written into it.
        runfile: Union of the run files.
        runs: The runs, which are comparable.
    """

    runs: tuple[RunDirectory, ...] = ()

    @classmethod
    def of(cls, runs: Sequence[RunDirectory], path: Path) -> JoinedRuns:
        """Join ``runs`` into one.

        Args:
            runs: Comparable runs, see :func:`open_runs`.
            path: Directory of the report.

        Raises:
            StorageError: ``path`` holds a run, whose own report would be overwritten.
        """
        if cls.holds_run(path):
            raise StorageError(
                f"{path} holds a run, whose own report would be lost; give another --out"
            )
        # A run that is given twice is one run.
        distinct = {run.path.resolve(): run for run in runs}
        return cls(path, _joined_runfile(list(distinct.values())), runs=tuple(distinct.values()))

    @property
    def decodes(self) -> int:
        """The number of decodes of the runs; a decode in several runs counts once."""
        wanted: dict[tuple[str, str, str], set[tuple[int, int]]] = {}
        for run in self.runs:
            own = set(itertools.product(run.samples, range(run.runfile.repeats)))
            for setting in _settings(run.runfile):
                if setting[0] not in run.runfile.published:
                    wanted.setdefault(setting, set()).update(own)
        return sum(map(len, wanted.values()))

    def is_going_on(self) -> bool:
        """Test if a process is currently writing records of one of the runs."""
        return any(run.is_going_on() for run in self.runs)

    @property
    def remarks(self) -> list[str]:
        """Remarks on differences between the runs, in sentences."""
        remarks = []
        if len({len(run.samples) for run in self.runs}) > 1:
            counts = ", ".join(f"{len(run.samples)} in {run.path}" for run in self.runs)
            remarks.append(f"samples of each task: {counts}")
        remarks += [f"{run.path} is shard {run.shard} of a run" for run in self.runs if run.shard]
        held = Counter(task.label for run in self.runs for task in run.runfile.tasks)
        missing = [task for task, count in held.items() if count < len(self.runs)]
        if missing:
            remarks.append(f"not every run has {', '.join(missing)}")
        return remarks

    def located_records(self) -> Iterator[tuple[Record, RecordPlace]]:
        """Yield the records of all runs with their places; a decode in several runs comes once.

        Raises:
            RecordsError: A record is torn or was altered, or two runs have different results of
                one decode, different models of one name, marks by different engines, or different
                samples under one number.
        """
        counts = Counter(itertools.chain(*(_settings(run.runfile) for run in self.runs)))
        consistency = Consistency("report them apart, or see parallelbench compare")
        known: dict[tuple[object, ...], tuple[bytes | None, RunDirectory]] = {}
        for run in self.runs:
            for record, place in run.located_records():
                consistency.record(record, str(run.path))
                setting = (record.model_label, record.task_label, record.decoder_label)
                if counts[setting] < 2 or _is_new(record, run, known):
                    yield record, place

    def environments(self) -> list[dict[str, Any]]:
        """Return the environment of every start of every run."""
        return [start for run in self.runs for start in run.environments()]

    def provenance(self) -> dict[str, Any]:
        """Return the provenance of the figures, run by run."""
        places = self.runfile.places
        return {
            "runs": [str(run.path) for run in self.runs],
            **{name: list(places[kind]) for name, kind in _KINDS.items()},
            "seed": self.runfile.seed,
            "of_each_run": {str(run.path): _own_facts(run) for run in self.runs},
            "command": f"parallelbench report {' '.join(str(run.path) for run in self.runs)}",
        }


_KINDS = {"models": "model", "tasks": "task", "decoders": "decoder"}


def _own_facts(run: RunDirectory) -> dict[str, Any]:
    shared = {*_KINDS, "seed", "command"}
    return {name: fact for name, fact in run.provenance().items() if name not in shared}


def _settings(runfile: RunFile) -> Iterator[tuple[str, str, str]]:
    """Yield the labels of model, task and decoder of every combination in a run."""
    for model in runfile.models:
        for task, decoder in itertools.product(runfile.tasks, runfile.decoders_of(model)):
            yield model.label, task.label, decoder.label


def _is_new(
    record: Record,
    run: RunDirectory,
    known: dict[tuple[object, ...], tuple[bytes | None, RunDirectory]],
) -> bool:
    """Test if no earlier run holds the decode of ``record``, and remember its result."""
    digest = None if record.status == "error" else record_digest(record)
    known_digest, where = known.get(record.key, (None, run))
    if known_digest is not None and where is not run:
        if digest not in {None, known_digest}:
            raise RecordsError(
                f"{run.path} and {where.path} say different things of {record.sample.id} with "
                f"{record.model_label} and {record.decoder_label}: the same decode must give the "
                "same tokens everywhere; find out which is wrong, or report the runs apart"
            )
        return False
    if digest is not None or record.key not in known:
        known[record.key] = digest, run
    return True


def _joined_runfile(runs: Sequence[RunDirectory]) -> RunFile:
    files = [run.runfile for run in runs]
    models = _distinct(setting for file in files for setting in file.models)
    decoders = _distinct(setting for file in files for setting in file.decoders)
    done = {(model, decoder) for file in files for model, _, decoder in _settings(file)}
    left_out = {
        model.label: frozenset(d.label for d in decoders if (model.label, d.label) not in done)
        for model in models
    }
    return RunFile(
        models=models,
        tasks=_distinct(setting for file in files for setting in file.tasks),
        decoders=decoders,
        samples=max(file.samples for file in files),
        seed=files[0].seed,
        repeats=max(file.repeats for file in files),
        left_out={model: labels for model, labels in left_out.items() if labels},
    )


def _distinct(settings: Iterator[Setting]) -> tuple[Setting, ...]:
    distinct: dict[str, Setting] = {}
    for setting in settings:
        distinct.setdefault(setting.label, setting)
    return tuple(distinct.values())
