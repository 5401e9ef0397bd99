"""Paired comparison of two decoders, or of two models, on the same samples.

Decodes are paired by (task, sample, repeat), so that both sides decode the same question.  Each
line is one task, and one more is the mean over tasks, in which all tasks have equal weight; its
test uses the pairs of all tasks together.

Marks that are right or wrong, one per sample, are tested by McNemar's exact test and Bonett and
Price's interval.  Graded marks, samples with repeats and speeds are tested by flipping the signs
of the samples' differences, and the interval holds the differences that those flips do not reject.

With m lines, p-values are multiplied by m, and intervals miss the truth in 5 % / m of cases
(Bonferroni): the chance that any interval of a comparison misses is at most 5 %.  A line claims a
difference if and only if its adjusted p-value is at most 5 %, and if and only if its interval
does not hold 0.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from parallelbench.analysis.measures.joined_runs import difference_of, open_runs
from parallelbench.analysis.measures.statistics import (
    PairedTest,
    Pairs,
    mcnemar_of,
    pair,
    paired_proportions,
    sign_flips,
)
from parallelbench.analysis.measures.sweep import speed_of
from parallelbench.decoder import DECODERS
from parallelbench.errors import RunFileError, UnknownNameError
from parallelbench.evaluation import Evaluation
from parallelbench.model import MODELS
from parallelbench.record import Record
from parallelbench.registry import Registry, load_plugins, unknown
from parallelbench.results.consistency import Consistency
from parallelbench.results.intervals import CONFIDENCE, Estimate, Interval
from parallelbench.results.result import Result, average_over_tasks, summarize
from parallelbench.run.runfile import RunFile
from parallelbench.setting import parse_settings, split_settings
from parallelbench.storage.csv_text import csv_text
from parallelbench.trace import Trace

#: Source of decodes: a run directory, or a result of ``evaluate``.
Source = str | Path | Evaluation

RIGHT_TO_WRONG = "right to wrong"
WRONG_TO_RIGHT = "wrong to right"
AVERAGE = "average"


class Side(NamedTuple):
    """One side of a comparison, by the labels of the report.

    Attributes:
        run: Directory of the run, or ``the first run`` and ``the second run``.
        model: The model's setting.
        decoder: The decoder's setting.
    """

    run: str
    model: str
    decoder: str


class PairedDecode(NamedTuple):
    """One decode of a sample by each side.

    Attributes:
        task: The task's setting.
        sample: Id of the sample.
        number: Number of the sample within the task.
        repeat: Number of the decode of this sample.
        first_mark: Lenient mark of the first side, in [0, 1].
        second_mark: Lenient mark of the second side, in [0, 1].
        first_reply: Text of the first reply.
        second_reply: Text of the second reply.
        first_problem: Reason that the first reply is wrong; None if it is right.
        second_problem: Reason that the second reply is wrong; None if it is right.
        first_tokens_per_step: Speed of the first decode; None without known steps.
        second_tokens_per_step: Speed of the second decode; None without known steps.
    """

    task: str
    sample: str
    number: int
    repeat: int
    first_mark: float
    second_mark: float
    first_reply: str
    second_reply: str
    first_problem: str | None
    second_problem: str | None
    first_tokens_per_step: float | None
    second_tokens_per_step: float | None

    @property
    def change(self) -> str | None:
        """``right to wrong``, ``wrong to right``, or None if neither."""
        right = self.first_mark == 1, self.second_mark == 1
        return {(True, False): RIGHT_TO_WRONG, (False, True): WRONG_TO_RIGHT}.get(right)


class DifferenceTest(NamedTuple):
    """Two-sided test that both sides are right equally often.

    Attributes:
        name: ``McNemar, exact`` or ``sign flips``.
        p_value: p-value of this line alone.
        adjusted: p-value adjusted for the number of lines (Bonferroni), as the intervals are.
        lines: Number of lines that it is adjusted for.
    """

    name: str
    p_value: float
    adjusted: float
    lines: int


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """Two sides on one task, or on the average over tasks.

    Attributes:
        task: The task's setting, or ``average`` over several tasks.
        version: Version of the task; None for the average.
        first: The first side.
        second: The second side.
        pairs: Number of decodes with marks on both sides.
        samples: Number of distinct samples in the pairs.
        unpaired: Number of decodes without a partner, or without a mark on one side.
        first_accuracy: Accuracy of the first side on the pairs, in [0, 1]; None without a pair.
        second_accuracy: Accuracy of the second side on the pairs; None without a pair.
        difference: Second less first: above 0 the second is better.  Its interval is adjusted
            for the number of lines, and holds 0 if and only if the test finds no difference.
        test: Test of the difference; None without a pair.
        first_tokens_per_step: Speed of the first side on the pairs; None without known steps.
        second_tokens_per_step: Speed of the second side on the pairs; None without known steps.
        tokens_per_step_difference: Second less first, with an interval adjusted in the same way.
        decodes: The pairs, by sample; empty for the average.
    """

    task: str
    version: int | None
    first: Side
    second: Side
    pairs: int
    samples: int
    unpaired: int
    first_accuracy: Estimate | None
    second_accuracy: Estimate | None
    difference: Estimate | None
    test: DifferenceTest | None
    first_tokens_per_step: float | None
    second_tokens_per_step: float | None
    tokens_per_step_difference: Estimate | None
    decodes: tuple[PairedDecode, ...] = ()

    @property
    def changed(self) -> list[PairedDecode]:
        """The pairs that are right on one side and wrong on the other."""
        return [each for each in self.decodes if each.change is not None]

    @property
    def verdict(self) -> str:
        """The conclusion in words: A is the first side, B the second."""
        if self.test is None or self.difference is None:
            return "nothing was marked on both sides"
        if self.test.adjusted > 1 - CONFIDENCE:
            plural = "s" if self.samples != 1 else ""
            return f"no difference that {self.samples:,} sample{plural} can show"
        return "B is better" if self.difference.value > 0 else "A is better"

    @property
    def speed_verdict(self) -> str | None:
        """The conclusion about tokens per step, by their interval; None if they are not known."""
        difference = self.tokens_per_step_difference
        if difference is None:
            return None
        if difference.interval is None or difference.interval.low <= 0 <= difference.interval.high:
            plural = "s" if self.samples != 1 else ""
            return f"no difference in speed that {self.samples:,} sample{plural} can show"
        return f"B is {'faster' if difference.value > 0 else 'slower'}"

    def as_dict(self) -> dict[str, Any]:
        """Return the line as JSON values, with the pairs that changed."""
        content: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            content[field.name] = value._asdict() if hasattr(value, "_asdict") else value
        content |= {"verdict": self.verdict, "speed_verdict": self.speed_verdict}
        del content["decodes"]
        return {**content, "changed": [{"change": e.change, **e._asdict()} for e in self.changed]}


@dataclass(frozen=True, slots=True)
class RunComparison:
    """The comparison of two sides on the samples that both have.

    Attributes:
        lines: One per pair of settings and task, then the average if there are several tasks.
        remarks: Remarks on the comparison, in sentences.
    """

    lines: Sequence[ComparisonLine]
    remarks: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {"lines": [line.as_dict() for line in self.lines], "remarks": list(self.remarks)}

    def to_csv(self) -> str:
        """Return every pair as CSV, from which each line can be computed again."""
        sides = [f"{which}_{name}" for which in ("first", "second") for name in Side._fields]
        return csv_text(
            [*sides, "change", *PairedDecode._fields],
            (
                [*line.first, *line.second, each.change, *each]
                for line in self.lines
                for each in line.decodes
            ),
        )


def compare(
    first: Source,
    second: Source | None = None,
    *,
    models: str | Sequence[str] = (),
    decoders: str | Sequence[str] = (),
) -> RunComparison:
    """Compare two runs, or two decoders or models of one run, on the samples that both have.

    Args:
        first: A run.
        second: Another run; None compares within the first run, which requires two models or two
            decoders.
        models: One model that both sides have, or two, for the first and the second side.
            Without it every model that both runs have is compared with itself, or, if they
            share none, the only model of one run with the only one of the other.
        decoders: decoders, chosen in the same way.

    Raises:
        RunFileError: The runs differ in seed or task version, share nothing, or a name is
            missing.
        UnknownNameError: A model or decoder is in neither run.
        RecordsError: A record is torn or was altered, or marks are by different engines.
        IncompleteSweepError: The runs have different samples under the same number.

    Example:
        >>> from parallelbench import evaluate
        >>> run = evaluate(
        ...     tasks="choices/city", decoders="one_by_one,random:k=32", samples=50
        ... )
        >>> compare(run, decoders="one_by_one,random:k=32").lines[0].verdict
        'A is better'
    """
    runs = _opened(first, second)
    matches = itertools.product(
        _matched(runs, "model", models), _matched(runs, "decoder", decoders)
    )
    sides = [
        (Side(runs[0].name, model, decoder), Side(runs[-1].name, other_model, other_decoder))
        for (model, other_model), (decoder, other_decoder) in matches
    ]
    if len(runs) == 1 and any(one == other for one, other in sides):
        raise RunFileError(
            f"{runs[0].name} alone is compared by naming two of its decoders or two of its models; "
            f"it has the decoders {runs[0].listed('decoder')} and the models "
            f"{runs[0].listed('model')}"
        )
    tasks = [task for task in runs[0].labels("task") if task in runs[-1].labels("task")]
    if not tasks:
        raise RunFileError(
            f"{runs[0].name} and {runs[-1].name} share no task: one has {runs[0].listed('task')}, "
            f"the other {runs[-1].listed('task')}"
        )
    decodes = [_decodes(run, sides) for run in runs]
    _refuse_other_engines(runs, decodes)
    lines = [each for one, other in sides for each in _measured_lines(one, other, tasks, decodes)]
    if not lines:
        raise RunFileError(
            f"{runs[0].name} and {runs[-1].name} share no sample: one has "
            f"{_sample_range(decodes[0])}, the other {_sample_range(decodes[-1])}"
        )
    remarks = [*_remarks_on_sides(runs, sides, models, decoders), *_remarks(runs, decodes)]
    return RunComparison(_tested(lines), remarks)


# Selection of runs, models and decoders


class _Run(NamedTuple):
    """A run in a comparison; its records can be read once."""

    name: str
    runfile: RunFile
    records: Iterable[Record]

    def labels(self, kind: str) -> list[str]:
        """Return the labels of its models, tasks or decoders."""
        return list(self.runfile.places[kind])

    def listed(self, kind: str) -> str:
        """Return these labels as text."""
        return ", ".join(self.labels(kind))


#: The decodes of a run, without their traces, by (model, decoder, task).
_Decodes = dict[tuple[str, str, str], list[Record]]


def _opened(first: Source, second: Source | None) -> list[_Run]:
    sources = [first] if second is None else [first, second]
    advice = "compare runs with the same seed and versions"
    paths = [Path(source) for source in sources if not isinstance(source, Evaluation)]
    opened = iter(open_runs(paths, advice))
    runs = []
    for source, name in zip(sources, ("the first run", "the second run"), strict=False):
        if isinstance(source, Evaluation):
            runs.append(_Run(name, source.runfile, source.records))
        else:
            run = next(opened)
            runs.append(_Run(str(run.path), run.runfile, run.records()))
    if runs[0].runfile.seed != runs[-1].runfile.seed:
        questions = [(run.runfile.seed, dict[str, int]()) for run in runs]
        difference = difference_of(runs[0].name, questions[0], runs[1].name, questions[1])
        raise RunFileError(f"{difference}; {advice}")
    return runs


def _matched(
    runs: Sequence[_Run], kind: Literal["model", "decoder"], requested: str | Sequence[str]
) -> list[tuple[str, str]]:
    """Return the pairs of labels to compare, of the first run and of the last."""
    first, last = runs[0], runs[-1]
    named = _named(runs, kind, requested)
    if len(named) > 2:
        raise RunFileError(
            f"at most two {kind}s are compared at a time, got {len(named)}: {', '.join(named)}"
        )
    if named:
        for run, label in ((first, named[0]), (last, named[-1])):
            if label not in run.labels(kind):
                raise RunFileError(f"{run.name} has no {kind} {label!r}; it has {run.listed(kind)}")
        return [(named[0], named[-1])]
    common = [(label, label) for label in first.labels(kind) if label in last.labels(kind)]
    alone = [(one, other) for one in first.labels(kind) for other in last.labels(kind)]
    if common or len(alone) == 1:
        return common or alone
    raise RunFileError(
        f"{first.name} and {last.name} share no {kind}, so name two of them: one has "
        f"{first.listed(kind)}, the other {last.listed(kind)}"
    )


def _named(
    runs: Sequence[_Run], kind: Literal["model", "decoder"], requested: str | Sequence[str]
) -> list[str]:
    """Return the labels of the requested models or decoders."""
    load_plugins()
    registry: Registry[type[Any]] = MODELS if kind == "model" else DECODERS
    known = list(dict.fromkeys(label for run in runs for label in run.labels(kind)))
    texts = [requested] if isinstance(requested, str) else requested
    labels: list[str] = []
    for text in (part for each in texts for part in split_settings(each)):
        # Either the label in the report, or another spelling of the same setting.
        matching = [text] if text in known else [s.label for s in parse_settings(text, registry)]
        for label in matching:
            if label not in known:
                raise UnknownNameError(unknown(kind, label, known))
        labels += matching
    return labels


def _decodes(run: _Run, sides: Sequence[tuple[Side, Side]]) -> _Decodes:
    wanted = {(side.model, side.decoder) for pair_of_sides in sides for side in pair_of_sides}
    latest: dict[tuple[str, str, int, str, int], Record] = {}
    for record in run.records:
        if (record.model_label, record.decoder_label) in wanted:
            latest[record.key] = _without_trace(record)
    decodes: _Decodes = defaultdict(list)
    for record in latest.values():
        decodes[record.model_label, record.decoder_label, record.task_label].append(record)
    return decodes


def _without_trace(record: Record) -> Record:
    """Return a record without its steps, which are most of it and not needed here."""
    if record.decoding is None:
        return record
    decoding = record.decoding.model_copy(update={"trace": Trace()})
    return record.model_copy(update={"decoding": decoding})


def _refuse_other_engines(runs: Sequence[_Run], decodes: Sequence[_Decodes]) -> None:
    consistency = Consistency("only the same can be compared")
    for run, own in zip(runs, decodes, strict=True):
        for record in itertools.chain.from_iterable(own.values()):
            consistency.engines(record.task_label, record.task.engines, run.name)
            if record.task.sources:
                consistency.sample_of(record, run.name)


def _sample_range(decodes: _Decodes) -> str:
    """Return the range of sample numbers in words."""
    numbers = [record.index for records in decodes.values() for record in records]
    return f"samples {min(numbers)} to {max(numbers)}" if numbers else "none yet"


def _remarks_on_sides(
    runs: Sequence[_Run],
    sides: Sequence[tuple[Side, Side]],
    models: str | Sequence[str],
    decoders: str | Sequence[str],
) -> list[str]:
    """Return a sentence for models, and for decoders, that differ although none were named."""
    remarks = []
    for kind, requested in (("model", models), ("decoder", decoders)):
        first, second = (getattr(side, kind) for side in sides[0])
        if not requested and first != second:
            remarks.append(
                f"{runs[0].name} and {runs[-1].name} share no {kind}, so {kind} {first} is "
                f"compared with {second}: a difference may come from the {kind}s"
            )
    return remarks


def _remarks(runs: Sequence[_Run], decodes: Sequence[_Decodes]) -> list[str]:
    digests = [
        {record.model_label: record.model.digest for records in own.values() for record in records}
        for own in decodes
    ]
    return [
        f"{model} is not the same in {runs[0].name} and {runs[-1].name}: other weights, another "
        "tokenizer, or other installed tasks"
        for model, digest in digests[0].items()
        if digests[-1].get(model, digest) != digest
    ]


# Differences of the pairs


class _Differences(NamedTuple):
    """Differences of the two sides of a line, sample by sample.

    Attributes:
        values: Second side less first; their mean is the difference of the line.
        right: True where the first and where the second side is right; None unless marks are
            right or wrong, one per sample, with equal weights.
    """

    values: Float[np.ndarray, " samples"]
    right: tuple[Bool[np.ndarray, " samples"], Bool[np.ndarray, " samples"]] | None


class _UntestedLine(NamedTuple):
    """A line before its test.

    Attributes:
        line: The line without differences.
        marks: Differences of the marks; None without a pair.
        speeds: Differences of the speeds; None without a pair, and without known steps.
        results: Results of both sides on the pairs; None without a pair, and for an average.
    """

    line: ComparisonLine
    marks: _Differences | None = None
    speeds: _Differences | None = None
    results: tuple[Result, Result] | None = None


def _measured_lines(
    first: Side, second: Side, tasks: Sequence[str], decodes: Sequence[_Decodes]
) -> list[_UntestedLine]:
    """Return a line for each task that both sides have, and the average over tasks."""
    lines: list[_UntestedLine] = []
    for task in tasks:
        left = decodes[0].get((first.model, first.decoder, task), [])
        right = decodes[-1].get((second.model, second.decoder, task), [])
        if not _by_number(left).keys() & _by_number(right).keys():
            continue
        marks = pair(left, right)
        line = _empty(task, left[0].task.version, first, second, marks.unpaired)
        lines.append(
            _measured(line, marks, left, right) if len(marks.first) else _UntestedLine(line)
        )
    marked = [each for each in lines if each.marks is not None]
    return [*lines, _average(marked)] if len(marked) > 1 else lines


def _empty(
    task: str, version: int | None, first: Side, second: Side, unpaired: int
) -> ComparisonLine:
    return ComparisonLine(
        task=task,
        version=version,
        first=first,
        second=second,
        pairs=0,
        samples=0,
        unpaired=unpaired,
        first_accuracy=None,
        second_accuracy=None,
        difference=None,
        test=None,
        first_tokens_per_step=None,
        second_tokens_per_step=None,
        tokens_per_step_difference=None,
    )


def _measured(
    line: ComparisonLine, marks: Pairs, left: Sequence[Record], right: Sequence[Record]
) -> _UntestedLine:
    one, other = _by_number(left), _by_number(right)
    numbers = sorted(n for n in one.keys() & other.keys() if one[n].marks and other[n].marks)
    speeds = pair(left, right, speed_of)
    results = (
        summarize(one[number] for number in numbers)[0],
        summarize(other[number] for number in numbers)[0],
    )
    filled = replace(
        _with_results(line, results),
        pairs=len(numbers),
        decodes=tuple(_paired(one[number], other[number]) for number in numbers),
    )
    return _UntestedLine(
        line=filled,
        marks=_differences(marks),
        speeds=_differences(speeds)._replace(right=None) if len(speeds.first) else None,
        results=results,
    )


def _average(measured: Sequence[_UntestedLine]) -> _UntestedLine:
    """Return the mean over tasks with equal weights."""
    lines = [each.line for each in measured]
    first, second = (
        average_over_tasks([each.results[side] for each in measured if each.results])[0]
        for side in (0, 1)
    )
    empty = _empty(
        f"{AVERAGE} over {len(lines)} tasks",
        None,
        lines[0].first,
        lines[0].second,
        sum(line.unpaired for line in lines),
    )
    filled = replace(_with_results(empty, (first, second)), pairs=sum(line.pairs for line in lines))
    return _UntestedLine(
        line=filled,
        marks=_together([each.marks for each in measured]),
        speeds=_together([each.speeds for each in measured]),
    )


def _with_results(line: ComparisonLine, results: tuple[Result, Result]) -> ComparisonLine:
    accuracies = [
        Estimate(result.accuracy, result.interval, result.samples)
        for result in results
        if result.accuracy is not None
    ]
    return replace(
        line,
        samples=results[0].samples,
        first_accuracy=accuracies[0],
        second_accuracy=accuracies[1],
        first_tokens_per_step=results[0].tokens_per_step,
        second_tokens_per_step=results[1].tokens_per_step,
    )


def _differences(pairs: Pairs) -> _Differences:
    sums = np.bincount(pairs.cluster, pairs.second - pairs.first)
    right = None if mcnemar_of(pairs) is None else (pairs.first == 1, pairs.second == 1)
    return _Differences(sums / np.bincount(pairs.cluster), right)


def _together(parts: Sequence[_Differences | None]) -> _Differences | None:
    """Return the differences of several tasks with equal weights; None if one is absent."""
    present = [each for each in parts if each is not None]
    if len(present) < len(parts):
        return None
    sizes = [len(each.values) for each in present]
    share = sum(sizes) / len(sizes)
    # Tasks have equal weights, whatever their numbers of samples.
    values = np.concatenate([each.values * share / len(each.values) for each in present])
    sides = [each.right for each in present if each.right is not None]
    if len(sides) < len(present) or len(set(sizes)) > 1:
        return _Differences(values, None)
    return _Differences(
        values,
        (np.concatenate([side[0] for side in sides]), np.concatenate([side[1] for side in sides])),
    )


def _tested(measured: Sequence[_UntestedLine]) -> list[ComparisonLine]:
    """Return the lines with differences and tests, adjusted for the number of lines."""
    several = sum(each.marks is not None for each in measured)
    error = (1 - CONFIDENCE) / max(1, several)
    tested = []
    for line, marks, speeds, _ in measured:
        if marks is None:
            tested.append(line)
            continue
        test = _test(marks, error)
        name = "sign flips" if marks.right is None else "McNemar, exact"
        tested.append(
            replace(
                line,
                difference=_estimate(marks, test.interval, within=1.0),
                test=DifferenceTest(name, test.p_value, min(1.0, several * test.p_value), several),
                tokens_per_step_difference=(
                    None if speeds is None else _estimate(speeds, _test(speeds, error).interval)
                ),
            )
        )
    return tested


def _test(differences: _Differences, error: float) -> PairedTest:
    if differences.right is None:
        return sign_flips(differences.values, error=error)
    first, second = differences.right
    return paired_proportions(second, first, error=error)


def _estimate(differences: _Differences, interval: Interval, within: float = np.inf) -> Estimate:
    """Return the mean difference; its interval is None if an end is infinite.

    Args:
        differences: Differences of a line.
        interval: Interval of their mean.
        within: Largest possible difference.
    """
    ends = Interval(max(-within, interval.low), min(within, interval.high))
    bounded = bool(np.isfinite(ends).all()) and len(differences.values) > 1
    return Estimate(
        float(differences.values.mean()), ends if bounded else None, len(differences.values)
    )


def _by_number(records: Iterable[Record]) -> dict[tuple[int, int], Record]:
    return {(record.index, record.repeat): record for record in records}


def _paired(one: Record, other: Record) -> PairedDecode:
    problems = [record.marks.problem if record.marks else None for record in (one, other)]
    marks = [record.marks.lenient if record.marks else 0.0 for record in (one, other)]
    return PairedDecode(
        task=one.task_label,
        sample=one.sample.id,
        number=one.index,
        repeat=one.repeat,
        first_mark=marks[0],
        second_mark=marks[1],
        first_reply=one.text,
        second_reply=other.text,
        first_problem=problems[0],
        second_problem=problems[1],
        first_tokens_per_step=speed_of(one),
        second_tokens_per_step=speed_of(other),
    )
