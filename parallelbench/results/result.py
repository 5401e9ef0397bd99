"""Records -> results: one line per (model, task, decoder setting), with its uncertainty."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from parallelbench.record import latest_records
from parallelbench.results.consistency import Consistency
from parallelbench.results.intervals import (
    Interval,
    bootstrap_interval,
    interval_of_mean,
    mean_if_complete,
    wilson,
)
from parallelbench.results.record_summary import AnyRecord, counts_of
from parallelbench.results.throughput import Throughput, throughput_of_settings
from parallelbench.storage.csv_text import csv_text

#: What to do about records that do not belong together.
_ANEW = "do the run again in another folder"


@dataclass(frozen=True, slots=True)
class Part:
    """One of the named parts of a result's marks.

    Attributes:
        value: Mean over samples, in [0, 1]; a decode that stalled or ended unfinished
            counts as 0.
        interval: 95 % interval of ``value``: Wilson's where every mark is 0 or 1, and where all
            samples agree; else by bootstrap over samples.
        samples: Distinct samples that have it.
        count: Decodes that have it.
    """

    value: float
    interval: Interval | None
    samples: int
    count: int


@dataclass(frozen=True, slots=True)
class Result:
    """Accuracy and speed of one decoder on one task with one model.

    Every mean is over samples; a sample's repeats are averaged first.  A decode that
    stalled or ended unfinished counts as wrong; an error is counted in ``statuses`` and
    nowhere else.

    Attributes:
        model: The model's setting.
        task: Registered name of the task.
        task_fields: All its fields.
        task_label: Setting, as typed.
        decoder: Registered name of the decoder.
        fields: All its fields.
        decoder_label: Setting, as typed.
        oracle: True if the decoder knew the right answers.
        samples: Distinct samples that were marked.
        count: Decodes that were marked: samples times repeats.
        accuracy: Mean lenient mark in [0, 1]; None if nothing was marked.
        interval: 95 % interval of ``accuracy``: Wilson, widened for repeats.
        accuracy_strict: Mean strict mark.
        interval_strict: Interval.
        tokens_per_step: Mean over samples of canvas tokens per model call.
        tokens_per_step_interval: Interval, by bootstrap over samples.
        pooled_tokens_per_step: Mean canvas tokens over mean model calls: what speeds at an
            accuracy are read from.  None where a decode made no call.
        pooled_tokens_per_step_interval: Interval, by bootstrap over samples.
        answer_tokens_per_step: Mean over samples of answer tokens per model call.
        nfe: Mean model calls.
        statuses: Number of decodes by status.
        problems: Number of marked decodes by problem.
        off_law_share: Share of model calls on a canvas that no right answer fits; None for a
            model that does not know the answer distribution.
        parts: The parts of the marks, by name; of an average over tasks none.
        engines: Versions of external scoring engines, by score.
        finishes: Number of replies of a server by the reason that it gave for their end, those
            without an answer included.
        throughput: Measured speed of these decodes; None where they shared their time with
            those of other settings, or where it was not measured.
    """

    model: str
    task: str
    task_fields: Mapping[str, Any]
    task_label: str
    decoder: str
    fields: Mapping[str, Any]
    decoder_label: str
    oracle: bool
    samples: int
    count: int
    accuracy: float | None
    interval: Interval | None
    accuracy_strict: float | None
    interval_strict: Interval | None
    tokens_per_step: float | None
    tokens_per_step_interval: Interval | None
    pooled_tokens_per_step: float | None
    pooled_tokens_per_step_interval: Interval | None
    answer_tokens_per_step: float | None
    nfe: float | None
    statuses: Mapping[str, int]
    problems: Mapping[str, int]
    off_law_share: float | None
    parts: Mapping[str, Part] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    finishes: Mapping[str, int] = field(default_factory=dict)
    throughput: Throughput | None = None

    @property
    def model_label(self) -> str:
        """The model's setting, as typed."""
        return self.model

    def __repr__(self) -> str:
        told = [f"{self.samples} samples"]
        if self.accuracy is not None:
            told.append(f"{100 * self.accuracy:.1f} % right")
        if self.tokens_per_step is not None:
            told.append(f"{self.tokens_per_step:.2f} tokens per step")
        oracle = " (oracle)" if self.oracle else ""
        setting = f"{self.model}, {self.task_label}, {self.decoder_label}{oracle}"
        return f"Result({setting}: {', '.join(told)})"

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            **asdict(self),
            "statuses": dict(self.statuses),
            "problems": dict(self.problems),
            "throughput": None if self.throughput is None else self.throughput.as_dict(),
        }


def summarize(records: Iterable[AnyRecord]) -> list[Result]:
    """Return one result per (model, task, decoder setting), in order of first appearance.

    Of several records of the same decode only the last counts: it replaced an error.

    Raises:
        RecordsError: Replies of one result were marked by different engines, or decodes of one
            task met different samples under the same number.
    """
    latest = latest_records(records)
    consistency = Consistency(_ANEW)
    for record in latest:
        consistency.sample_of(
            record, f"the decode of {record.model_label} with {record.decoder_label}"
        )
    groups: dict[tuple[str, str, str], list[AnyRecord]] = defaultdict(list)
    for record in latest:
        groups[record.model_label, record.task_label, record.decoder_label].append(record)
    return [_result(group) for group in groups.values()]


def with_throughput(
    results: Sequence[Result], environments: Iterable[Mapping[str, Any]]
) -> list[Result]:
    """Return ``results`` with the throughput of those all of whose decodes were measured alone.

    Args:
        results: Results of every (model, task, decoder setting).
        environments: Environments of the sessions of their run.

    Raises:
        RecordsError: A measurement was altered.
    """
    measured = throughput_of_settings(environments)
    having = []
    for result in results:
        own = measured.get((result.model, result.task_label, result.decoder_label))
        whole = own is not None and own.decodes >= result.count
        having.append(replace(result, throughput=own if whole else None))
    return having


def average_over_tasks(results: Sequence[Result]) -> list[Result]:
    """Return one result per (model, decoder setting): the unweighted mean over tasks.

    Its ``task`` is ``"average"``.  Only decoder settings that were marked on every task of
    their model are averaged: a mean over fewer tasks is another quantity.
    """
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    tasks: dict[str, set[str]] = defaultdict(set)
    for result in results:
        tasks[result.model].add(result.task_label)
        if result.accuracy is not None:
            groups[result.model, result.decoder_label].append(result)
    return [
        _average(group)
        for (model, _), group in groups.items()
        if {result.task_label for result in group} == tasks[model]
    ]


def to_json(results: Sequence[Result]) -> str:
    """Return ``results`` as a JSON array, one object per line."""
    lines = ",\n".join(json.dumps(result.as_dict()) for result in results)
    return f"[\n{lines}\n]\n"


def to_csv(results: Sequence[Result]) -> str:
    """Return ``results`` as CSV: one column per scalar, JSON in the columns of mappings."""
    rows = [
        {
            name: json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else value
            for name, value in to_row(result).items()
        }
        for result in results
    ]
    return csv_text(list(rows[0]) if rows else [], (row.values() for row in rows))


def to_row(result: Result) -> dict[str, Any]:
    """Return ``result`` as one row: each interval in two columns, ``_low`` and ``_high``."""
    row: dict[str, Any] = {}
    for name, value in result.as_dict().items():
        if name.startswith("interval") or name.endswith("interval"):
            stem = name.replace("interval_strict", "accuracy_strict").removesuffix("_interval")
            stem = "accuracy" if stem == "interval" else stem
            row[f"{stem}_low"], row[f"{stem}_high"] = value or (None, None)
        else:
            row[name] = value
    return row


def _result(records: Sequence[AnyRecord]) -> Result:
    first = records[0]
    marked = [record for record in records if record.marks is not None]
    lenient = _by_sample(marked, [r.marks.lenient for r in marked if r.marks])
    strict = _by_sample(marked, [r.marks.strict for r in marked if r.marks])
    problems = Counter(r.marks.problem for r in marked if r.marks and r.marks.problem)
    return Result(
        model=first.model.label,
        task=first.task.name,
        task_fields=first.task.fields,
        task_label=first.task.label,
        decoder=first.decoder.name,
        fields=first.decoder.fields,
        decoder_label=first.decoder.label,
        oracle=first.decoder.oracle,
        samples=len(lenient),
        count=len(marked),
        accuracy=_mean(lenient),
        interval=_proportion_interval(lenient),
        accuracy_strict=_mean(strict),
        interval_strict=_proportion_interval(strict),
        **_costs(marked),
        statuses=dict(sorted(Counter(r.status for r in records).items())),
        problems=_by_frequency(problems),
        parts=_parts(marked),
        engines=_engines(marked),
        finishes=_by_frequency(Counter(r.finish for r in records if r.finish)),
    )


def _costs(marked: Sequence[AnyRecord]) -> dict[str, Any]:
    """Return the fields of a result that are made of counts: calls and tokens per step."""
    # A server shows no steps, and nobody publishes all: what follows is absent, not zero.
    counted = [(r, c) for r in marked if (c := counts_of(r.costs)) is not None]
    moving = [(r, c) for r, c in counted if c.tokens_per_step is not None]
    speed = _by_sample([r for r, _ in moving], [c.tokens_per_step or 0.0 for _, c in moving])
    tokens, calls = (
        _by_sample([r for r, _ in counted], [float(getattr(c, name)) for _, c in counted])
        for name in ("canvas_tokens", "nfe")
    )
    pooled = 0 < len(moving) == len(counted)
    answering = [(r, c.answer_tokens_per_step) for r, c in moving]
    answer_speeds = [(r, value) for r, value in answering if value is not None]
    off_support = [c for _, c in counted if c.off_law_calls is not None]
    judged = sum(c.nfe for c in off_support)
    return {
        "tokens_per_step": _mean(speed),
        "tokens_per_step_interval": _bootstrap(speed),
        "pooled_tokens_per_step": _ratio_of_means(tokens, calls) if pooled else None,
        "pooled_tokens_per_step_interval": _bootstrap(tokens, calls) if pooled else None,
        "answer_tokens_per_step": _mean(
            _by_sample([r for r, _ in answer_speeds], [value for _, value in answer_speeds])
        ),
        "nfe": _mean(calls),
        "off_law_share": sum(c.off_law_calls or 0 for c in off_support) / judged
        if judged
        else None,
    }


def _parts(marked: Sequence[AnyRecord]) -> dict[str, Part]:
    found = [(r, r.marks.parts, r.status == "ok") for r in marked if r.marks]
    parts = {}
    for name in dict.fromkeys(name for _, own, _ in found for name in own):
        # A canvas with holes was not judged: it is no answer, whatever stands around them.
        having = [(r, own.get(name, 0.0)) for r, own, ended in found if name in own or not ended]
        values = [value for _, value in having]
        by_sample = _by_sample([r for r, _ in having], values)
        parts[name] = Part(
            value=math.fsum(c.mean for c in by_sample) / len(by_sample),
            interval=_part_interval(by_sample, set(values)),
            samples=len(by_sample),
            count=len(values),
        )
    return parts


def _part_interval(clusters: Sequence[_Cluster], values: AbstractSet[float]) -> Interval | None:
    # Samples that agree show no spread to draw from; a share varies at most as a coin does.
    plain = values <= {0.0, 1.0} or len({cluster.mean for cluster in clusters}) == 1
    return _proportion_interval(clusters) if plain else _bootstrap(clusters)


def _engines(marked: Sequence[AnyRecord]) -> dict[str, str]:
    consistency = Consistency(_ANEW)
    for record in marked:
        decode = f"sample {record.index} of {record.model_label} with {record.decoder_label}"
        consistency.engines(record.task_label, record.task.engines, decode)
    return dict(marked[0].task.engines) if marked else {}


def _by_frequency(counts: Mapping[str, int]) -> dict[str, int]:
    # Ties in alphabetical order, not in the order of finishing.
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class _Cluster(NamedTuple):
    """One sample: the mean over its repeats, and how many there are."""

    mean: float
    repeats: int


def _by_sample(records: Sequence[AnyRecord], values: Sequence[float]) -> list[_Cluster]:
    groups: dict[int, list[float]] = defaultdict(list)
    for record, value in zip(records, values, strict=True):
        groups[record.index].append(value)
    # In order of index and exactly summed: no figure depends on the order of finishing.
    return [_Cluster(math.fsum(g) / len(g), len(g)) for _, g in sorted(groups.items())]


def _mean(clusters: Sequence[_Cluster]) -> float | None:
    return math.fsum(c.mean for c in clusters) / len(clusters) if clusters else None


def _ratio_of_means(above: Sequence[_Cluster], below: Sequence[_Cluster]) -> float:
    return math.fsum(c.mean for c in above) / math.fsum(c.mean for c in below)


def _proportion_interval(clusters: Sequence[_Cluster]) -> Interval | None:
    mean = _mean(clusters)
    if mean is None:
        return None
    samples = len(clusters)
    repeats = sum(cluster.repeats for cluster in clusters)
    # Repeats of a sample are alike, so they count for less than fresh samples: the
    # effective count divides p(1-p) by the variance between samples, and lies between
    # the number of samples and the number of decodes.
    between = sum((cluster.mean - mean) ** 2 for cluster in clusters) / samples**2
    # Equal means are told by comparison: rounding may leave ``between`` a hair above 0.
    alike = len({cluster.mean for cluster in clusters}) == 1
    effective = samples if alike else mean * (1 - mean) / between
    count = float(min(max(effective, samples), repeats))
    return wilson(mean * count, count)


def _bootstrap(
    clusters: Sequence[_Cluster], below: Sequence[_Cluster] | None = None
) -> Interval | None:
    """Return the interval of the mean of ``clusters``; over the mean of ``below``, if given."""
    if not clusters:
        return None
    return bootstrap_interval(
        [cluster.mean for cluster in clusters],
        None if below is None else [cluster.mean for cluster in below],
    )


def _average(group: Sequence[Result]) -> Result:
    pooled, pooled_interval = _pooled_over_tasks(group)
    return replace(
        group[0],
        task="average",
        task_fields={},
        task_label="average",
        samples=sum(result.samples for result in group),
        count=sum(result.count for result in group),
        accuracy=mean_if_complete([result.accuracy for result in group]),
        interval=interval_of_mean([r.accuracy for r in group], [r.interval for r in group]),
        accuracy_strict=mean_if_complete([result.accuracy_strict for result in group]),
        interval_strict=interval_of_mean(
            [r.accuracy_strict for r in group], [r.interval_strict for r in group]
        ),
        tokens_per_step=mean_if_complete([result.tokens_per_step for result in group]),
        tokens_per_step_interval=interval_of_mean(
            [r.tokens_per_step for r in group], [r.tokens_per_step_interval for r in group]
        ),
        pooled_tokens_per_step=pooled,
        pooled_tokens_per_step_interval=pooled_interval,
        answer_tokens_per_step=mean_if_complete(
            [result.answer_tokens_per_step for result in group]
        ),
        nfe=mean_if_complete([result.nfe for result in group]),
        statuses=dict(sum((Counter(result.statuses) for result in group), Counter())),
        problems=_by_frequency(sum((Counter(result.problems) for result in group), Counter())),
        off_law_share=mean_if_complete([result.off_law_share for result in group]),
        parts={},
        engines={},
        finishes=_by_frequency(sum((Counter(result.finishes) for result in group), Counter())),
        throughput=None,
    )


def _pooled_over_tasks(group: Sequence[Result]) -> tuple[float | None, Interval | None]:
    """Return the pooled tokens per step of a mean over tasks, and its interval.

    The canvas tokens of each task are taken as known, and its calls as uncertain, which is exact
    where all its canvases have the same length.
    """
    held = [
        (r.pooled_tokens_per_step, r.pooled_tokens_per_step_interval, r.nfe)
        for r in group
        if r.pooled_tokens_per_step is not None and r.nfe is not None
    ]
    if len(held) < len(group):
        return None, None
    tokens = [pooled * calls for pooled, _, calls in held]
    total = math.fsum(tokens) / len(tokens)
    calls = interval_of_mean(
        [nfe for _, _, nfe in held],
        [
            Interval(canvas / interval.high, canvas / interval.low) if interval else None
            for canvas, (_, interval, _) in zip(tokens, held, strict=True)
        ],
    )
    interval = Interval(total / calls.high, total / calls.low) if calls else None
    return total / (math.fsum(nfe for _, _, nfe in held) / len(held)), interval
