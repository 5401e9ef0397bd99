"""A run in the form of another tool: the contract that every form of export fills.

A decode that ended in an error is no wrong answer, so it counts nowhere; oracles, which know the
right answers, are in no file that ranks models.  Every number comes with its count, its interval
and the digest of its run.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from parallelbench.errors import RequestError
from parallelbench.record import Record, latest_records
from parallelbench.results.result import Result, summarize, with_throughput
from parallelbench.run.recording import draw_sample
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting, build
from parallelbench.storage.folders import refuse_occupied, storage
from parallelbench.task import TASKS, Sample, Task


@dataclass(frozen=True)
class Publisher:
    """Facts about the publication of a run that its directory does not hold.

    Attributes:
        organization: Name of the person or group that made the run.
        relationship: Their relationship to the models: ``first_party``, ``third_party``,
            ``collaborative`` or ``other``.
        dataset: The hub's id of the benchmark's data set; None if there is none.
        source: A page that holds the run or tells of it; None if there is none.
    """

    organization: str = "unknown"
    relationship: str = "other"
    dataset: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Exported:
    """A run that is written in another form.

    Attributes:
        run: Run directory.
        records: Decodes, one each, in the order of the run file; oracles among them.
        publisher: Facts about the publication.
    """

    run: RunDirectory
    records: Sequence[Record]
    publisher: Publisher

    @cached_property
    def results(self) -> list[Result]:
        """One per (model, task, decoder setting), oracles among them."""
        return with_throughput(summarize(self.records), self.run.environments())

    @cached_property
    def ranked(self) -> list[Result]:
        """The results that are measurements: marked, and not of an oracle."""
        return [r for r in self.results if not r.oracle and r.accuracy is not None]

    @cached_property
    def questions(self) -> Questions:
        """The samples of the run."""
        return Questions(self.run.runfile)

    @cached_property
    def marked(self) -> Mapping[tuple[str, str, str], Sequence[Record]]:
        """The marked decodes by model, task label and decoder label."""
        groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
        for record in self.records:
            if record.marks is not None:
                groups[record.model_label, record.task_label, record.decoder_label].append(record)
        return groups

    def of(self, result: Result) -> Sequence[Record]:
        """Return the marked decodes behind ``result``."""
        return self.marked[result.model, result.task_label, result.decoder_label]

    @property
    def began(self) -> datetime | None:
        """Time of the first start of the run; None if it was not recorded."""
        starts = [each["started"] for each in self.run.environments() if "started" in each]
        return datetime.fromisoformat(starts[0]) if starts else None

    @property
    def shortfall(self) -> str | None:
        """Sentence about the decodes that the run still lacks; None if it is complete."""
        marked = sum(result.count for result in self.results)
        if marked == self.run.decodes and self.run.shard is None:
            return None
        part = "" if self.run.shard is None else f"only shard {self.run.shard} of a run; "
        return f"{part}{marked} of {self.run.decodes} decodes are marked"

    def provenance(self, result: Result) -> dict[str, str]:
        """Return the origin and the uncertainty of a result, as texts by name."""
        first = self.of(result)[0]
        facts = {
            "run_digest": self.run.runfile.digest,
            "parallelbench_version": first.library_version,
            "model_digest": first.model.digest,
            "weights_digest": first.model.weights_digest,
            "task": result.task_label,
            "task_version": first.task.version,
            "engines": ", ".join(f"{name} {v}" for name, v in sorted(first.task.engines.items())),
            "decoder": result.decoder_label,
            "samples": result.samples,
            "decodes": result.count,
            "seed": self.run.runfile.seed,
            "accuracy_95_interval": _interval(result.interval),
            "accuracy_strict": result.accuracy_strict,
            "accuracy_strict_95_interval": _interval(result.interval_strict),
            "tokens_per_step": result.tokens_per_step,
            "tokens_per_step_95_interval": _interval(result.tokens_per_step_interval),
            "statuses": ", ".join(f"{count} {name}" for name, count in result.statuses.items()),
            "unfinished_run": self.shortfall,
        }
        return {name: str(value) for name, value in facts.items() if value not in (None, "")}


class Questions:
    """The samples of a run, drawn again.

    Args:
        runfile: Run file of the run.
    """

    def __init__(self, runfile: RunFile) -> None:
        self._seed = runfile.seed
        self._settings = {setting.label: setting for setting in runfile.tasks}
        self._tasks: dict[str, Task] = {}
        self._drawn = functools.cache(self._draw)

    def of(self, record: Record) -> Sample | None:
        """Return the sample of ``record``; None if it cannot be drawn again."""
        try:
            sample = self._drawn(record.task_label, record.index)
        except RequestError:
            return None  # the texts are not on this machine
        return sample if sample.digest == record.sample_digest else None

    def _draw(self, label: str, index: int) -> Sample:
        if label not in self._tasks:
            self._tasks[label] = build(self._settings[label], TASKS)
        return draw_sample(self._tasks[label], self._seed, index)


class Written(NamedTuple):
    """The outcome of an export.

    Attributes:
        files: Paths of the files, in the order of writing.
        remarks: Sentences about what is left out of the files, and why.
    """

    files: list[Path]
    remarks: list[str]


#: Writes an export into a folder that is there and empty; returns the files.
Form = Callable[[Exported, Path], list[Path]]


def export(
    run: RunDirectory, form: Form, folder: Path, publisher: Publisher, *, everything: bool = False
) -> Written:
    """Write ``run`` into ``folder`` in another form.

    Args:
        run: Run directory, finished or not; the files say what is missing.
        form: Such as ``parallelbench.analysis.exports.lm_eval.write``.
        folder: New or empty.
        publisher: Facts about the publication.
        everything: True for a form that holds errors and oracles too, and labels them.

    Raises:
        RecordsError: A record is torn or was altered.
        RequestError: There is nothing to export, or the form asks for what was not given.
        StorageError: The folder is not empty, or cannot be written.
    """
    exported = Exported(run, in_order(run), publisher)
    if not (exported.records if everything else exported.ranked):
        raise RequestError(
            f"{run.path} holds no decode that is marked and of no oracle, so there is no result "
            "to export; parallelbench run, with the same --out, goes on with it"
        )
    with storage(folder):
        refuse_occupied(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = form(exported, folder)
    return Written(files, list(_remarks(exported, everything=everything)))


def _remarks(exported: Exported, *, everything: bool) -> Iterator[str]:
    if exported.shortfall is not None:
        yield f"the run is not whole, and the files say so: {exported.shortfall}"
    if everything:
        return
    oracles = sorted({result.decoder_label for result in exported.results if result.oracle})
    if oracles:
        yield f"oracles are told the right answers and left out: {', '.join(oracles)}"
    unmarked = sum(record.marks is None for record in exported.records)
    if unmarked:
        yield f"{unmarked} decodes ended in an error; they count nowhere"
    unasked = sum(exported.questions.of(record) is None for record in exported.records)
    if unasked:
        yield f"what {unasked} decodes were asked is absent: their samples cannot be drawn again"


def in_order(run: RunDirectory) -> list[Record]:
    """Return the decodes of ``run``, one each, in the order of the run file."""
    runfile = run.runfile
    return sorted(
        latest_records(run.records()),
        key=lambda record: (*runfile.setting_order(record), record.index, record.repeat),
    )


def model_id(setting: Setting) -> str:
    """Return a model's name as ``OWNER/NAME``, as the hub writes it.

    Example:
        >>> model_id(Setting("mini", {}, "mini"))
        'parallelbench/mini'
    """
    path = str(setting.fields.get("path", ""))
    if (
        re.fullmatch(r"[\w.-]+/[\w.-]+", path)
        and not path.startswith(".")
        and not Path(path).exists()
    ):
        return path
    owner = "local" if path else "parallelbench"
    return f"{owner}/{file_name(Path(path).name if path else setting.label)}"


def file_name(label: str) -> str:
    """Return a name for ``label`` that fits file systems; different labels have different names.

    Example:
        >>> file_name("mini")
        'mini'
    """
    safe = re.sub(r"[^A-Za-z0-9_.=-]+", "-", label).strip("-.")[:80]
    if safe and safe == label.lower() == label:
        return safe
    return f"{safe or 'unnamed'}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def grouped(results: Iterable[Result], *attributes: str) -> dict[tuple[str, ...], list[Result]]:
    """Return ``results`` by the values of some of their attributes."""
    groups: dict[tuple[str, ...], list[Result]] = defaultdict(list)
    for result in results:
        groups[tuple(getattr(result, name) for name in attributes)].append(result)
    return dict(groups)


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of a mean of independent values; None of fewer than two.

    Example:
        >>> standard_error([0.0, 1.0])
        0.5
    """
    count = len(values)
    if count < 2:
        return None
    mean = math.fsum(values) / count
    return math.sqrt(math.fsum((each - mean) ** 2 for each in values) / (count - 1) / count)


def by_sample(records: Iterable[Record], value: Callable[[Record], float | None]) -> list[float]:
    """Return a mean of every sample over its repeats, of those that have a value."""
    groups: dict[int, list[float]] = defaultdict(list)
    for record in records:
        found = value(record)
        if found is not None:
            groups[record.index].append(found)
    return [math.fsum(own) / len(own) for _, own in sorted(groups.items())]


def lenient(record: Record) -> float | None:
    """Return the lenient mark."""
    return None if record.marks is None else record.marks.lenient


def strict(record: Record) -> float | None:
    """Return the strict mark."""
    return None if record.marks is None else record.marks.strict


def tokens_per_step(record: Record) -> float | None:
    """Return canvas tokens per call."""
    return None if record.costs is None else record.costs.tokens_per_step


def asked_text(sample: Sample) -> str:
    """Return the whole chat in which ``sample`` is put, a turn behind the other."""
    return "\n\n".join(f"{message.role}: {message.content}" for message in sample.messages)


def text_digest(text: str) -> str:
    """Return the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()


def _interval(interval: Any) -> str | None:
    return None if interval is None else f"{interval[0]:.6g} to {interval[1]:.6g}"
