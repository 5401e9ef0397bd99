"""Captions of figures, for the page and for papers: all that is needed to read the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from parallelbench.results.record_summary import AnyRecord
from parallelbench.results.result import Result

#: Settings or tasks that a caption names one by one.
_LISTED = 8


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """The samples of a page's results, as far as the results do not describe them.

    Attributes:
        versions: Version of each task, by its label.
        seed: Random seed of the samples; None if it is not known.
    """

    versions: Mapping[str, int] = field(default_factory=dict)
    seed: int | None = None


def sample_facts(records: Iterable[AnyRecord], seed: int) -> SampleFacts:
    """Return the facts about the samples of ``records``, of runs with one ``seed``."""
    return SampleFacts({record.task_label: record.task.version for record in records}, seed)


def common_sentences(captions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the sentences that a page states once for all its figures.

    Args:
        captions: Captions of all figures, as :func:`sentences` returns them.

    Returns:
        Of each kind the sentence that more than half of the captions with such a sentence
        share, and at least two of them.
    """
    common: dict[str, str] = {}
    for kind in dict.fromkeys(kind for each in captions for kind in each):
        counts = Counter(each[kind] for each in captions if kind in each)
        (sentence, count) = counts.most_common(1)[0]
        if count > max(1, counts.total() / 2):
            common[kind] = sentence
    return common


def caption(
    results: Sequence[Result],
    tasks: Sequence[str],
    samples: SampleFacts,
    *,
    ideal: bool = False,
) -> str:
    """Return the caption of a figure of accuracy against tokens per step; see :func:`sentences`."""
    return joined(sentences(results, tasks, samples, ideal=ideal).values())


def joined(told: Iterable[str]) -> str:
    """Return sentences, which lack their full stops, as text."""
    return " ".join(f"{sentence}." for sentence in told)


def sentences(
    results: Sequence[Result],
    tasks: Sequence[str],
    samples: SampleFacts,
    *,
    ideal: bool = False,
) -> dict[str, str]:
    """Return the sentences of such a caption by their kind, without full stops.

    Args:
        results: One per point, the ideal model's behind them left out.
        tasks: The labels of the tasks; several where the points or the panels are of several.
        samples: Facts about the samples.
        ideal: True if the ideal model is drawn behind them.
    """
    average = any(result.task == "average" for result in results)
    models = list(dict.fromkeys(result.model for result in results))
    settings = list(dict.fromkeys(result.decoder_label for result in results))
    told = {
        "what": "Accuracy against tokens per step"
        + (f" on average over {len(tasks)} tasks, weighted equally" if average else ""),
        "tasks": f"Task{'s' * (len(tasks) > 1)}: {_tasks(tasks, samples)}",
        "models": f"Model{'s' * (len(models) > 1)}: {', '.join(models)}",
        "settings": f"Decoder settings: {_listed(settings)}",
        "counts": _counts(results, samples),
        "accuracy": "Accuracy is the share of right answers, in the lenient reading, and its bars "
        "are 95 % "
        + ("intervals of the tasks combined" if average else "Wilson intervals")
        + (", in which repeats of a sample count less" * _repeated(results)),
        "speed": "Tokens per step are canvas tokens per model call, mean over samples",
    }
    if ideal:
        told["ideal"] = "Dotted: the ideal model with the same decoder settings"
    if any(result.oracle for result in results):
        told["oracles"] = "Hollow: oracles, which know the right answers"
    return told


def _tasks(tasks: Sequence[str], samples: SampleFacts) -> str:
    versions = {samples.versions.get(task) for task in tasks}
    if len(versions) == 1:
        (version,) = versions
        every = ", all of" if len(tasks) > 1 else ","
        return _listed(tasks) + (f"{every} version {version}" if version is not None else "")
    return ", ".join(
        f"{task} (version {samples.versions[task]})" if task in samples.versions else task
        for task in tasks
    )


def _counts(results: Sequence[Result], samples: SampleFacts) -> str:
    counts, decodes = (
        _range(getattr(result, name) for result in results) for name in ("samples", "count")
    )
    seed = "" if samples.seed is None else f", seed {samples.seed}"
    return f"Samples per point: {counts}, decodes per point: {decodes}{seed}"


def _repeated(results: Sequence[Result]) -> bool:
    return any(result.count > result.samples for result in results)


def _range(counts: Iterable[int]) -> str:
    different = sorted(set(counts))
    if len(different) < 2:
        return "".join(f"{count:,}" for count in different) or "none"
    return f"{different[0]:,} to {different[-1]:,}"


def _listed(labels: Sequence[str]) -> str:
    if len(labels) <= _LISTED:
        return ", ".join(labels)
    rest = len(labels) - _LISTED
    return f"{', '.join(labels[:_LISTED])} and {rest:,} more, listed in its data"
