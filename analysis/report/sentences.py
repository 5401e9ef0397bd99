"""The result of a run in two sentences per model: the best setting, and the fastest good one."""

from __future__ import annotations

from collections.abc import Sequence

from parallelbench.analysis.measures import cells
from parallelbench.results.result import Result

#: Least accuracy, in percent, of the settings whose speeds are compared.
ENOUGH = 80


def result_sentences(
    model: str, results: Sequence[Result], averages: Sequence[Result]
) -> list[str]:
    """Return at most two sentences: the most accurate setting, and the fastest accurate one.

    Accuracies and speeds of several tasks are averages over them.  Oracles are left out: they
    are told the right answers.

    Args:
        model: Label of the model that they are about.
        results: One result per (model, task, decoder setting).
        averages: Averages over tasks, see :func:`~parallelbench.results.result.average_over_tasks`.
    """
    own = [result for result in results if result.model == model and not result.oracle]
    if not own:
        return []
    tasks = len({result.task_label for result in own})
    if all(result.accuracy is None for result in own):
        failed = sum(sum(result.statuses.values()) for result in own)
        return [f"Nothing is marked: all {failed} decodes ended in an error."]
    if tasks > 1:
        own = [each for each in averages if each.model == model and not each.oracle]
    marked = [result for result in own if result.accuracy is not None]
    if not marked:
        return [f"No setting is marked on all {tasks} tasks yet."]
    best = max(marked, key=lambda each: (each.accuracy or 0.0, each.tokens_per_step or 0.0))
    over = f", averaged over {tasks} tasks" if tasks > 1 else ""
    lead = "" if len(marked) == 1 else f", the highest accuracy of {len(marked)} settings"
    speed = "" if best.tokens_per_step is None else f", at {_speed(best)}"
    return [
        f"{best.decoder_label} has {_accuracy(best)}{over}{speed}{lead}.",
        *_fastest(marked, best),
    ]


def _fastest(marked: Sequence[Result], best: Result) -> list[str]:
    if len(marked) == 1:
        return []
    enough = f"an accuracy of at least {ENOUGH} %"
    good = [each for each in marked if 100 * (each.accuracy or 0.0) >= ENOUGH]
    if not good:
        return [f"No setting has {enough}."]
    if good == [best]:
        return [f"No other setting has {enough}."]
    timed = [each for each in good if each.tokens_per_step is not None]
    if not timed:
        return []
    fastest = max(timed, key=lambda each: each.tokens_per_step or 0.0)
    told = f"Of the {len(good)} settings with {enough}, {fastest.decoder_label} is the fastest"
    own = "" if fastest is best else f"; it has {_accuracy(fastest)}"
    return [f"{told}, with {_speed(fastest)}{own}."]


def _accuracy(result: Result) -> str:
    samples = f"{result.samples:,} samples" if result.samples != 1 else "1 sample"
    decodes = "" if result.count == result.samples else f" in {result.count:,} decodes"
    interval = cells.percent_range(result.interval)
    return (
        f"an accuracy of {cells.percent(result.accuracy)} % (95 % interval {interval}) on "
        f"{samples}{decodes}"
    )


def _speed(result: Result) -> str:
    return f"{cells.number(result.tokens_per_step)} tokens per step"
