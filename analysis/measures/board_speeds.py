"""PBx: how fast a strategy is at a mean score of x per cent, as the original's readers know it.

The figure is the public board's, by its own rule
(:func:`~parallelbench.analysis.measures.speed.published_speed_at`), never ours.  It is told for the
original's tasks only, for on others it compares with nothing that is published.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from parallelbench.analysis.measures import cells
from parallelbench.analysis.measures.curves import Curve, curves_of
from parallelbench.analysis.measures.speed import is_adaptive, points_of, published_speed_at
from parallelbench.results.result import Part, Result
from parallelbench.setting import Setting

#: Mean scores, in per cent, at which the original tells speeds.
PERCENTS = (90, 80, 70, 60)
#: What the figures are, for a caption.
MEANING = (
    "Greatest tokens per step with a mean score of at least x %, by the public board's rule: "
    "strategies with a fixed number of tokens at their settings only, adaptive ones on the lines "
    "between them, too; 0 where it is not reached. It compares with published figures, ranks "
    "nobody, and is not the speed at an accuracy that this package reads."
)
_TASKS = frozenset({"original", "original_text"})


@dataclass(frozen=True, slots=True)
class BoardSpeeds:
    """What the public board would tell of a strategy with a model.

    Attributes:
        model: Label of the model.
        strategy: What its settings have in common.
        settings: How many were read.
        speeds: Tokens per step by x; 0.0 where x % is not reached.
    """

    model: str
    strategy: str
    settings: int
    speeds: Mapping[int, float]


def board_speeds(results: Sequence[Result], averages: Sequence[Result]) -> list[BoardSpeeds]:
    """Return PBx of every strategy that was not told the answers.

    Args:
        results: Of every (model, task, decoder setting).
        averages: As :func:`~parallelbench.results.result.average_over_tasks` makes them.

    Returns:
        None for a model that met other tasks than the original's, or whose speed is not known.
    """
    others = {result.model for result in results if result.task not in _TASKS}
    curves = curves_of(results)
    groups: dict[tuple[str, Curve], list[Result]] = {}
    for average in averages:
        told = average.accuracy is not None and average.tokens_per_step is not None
        if told and not average.oracle and average.model not in others:
            groups.setdefault((average.model, curves[average.decoder_label]), []).append(average)
    return [
        BoardSpeeds(model, curve.label, len(own), _speeds(own))
        for (model, curve), own in groups.items()
    ]


def _speeds(settings: Sequence[Result]) -> dict[int, float]:
    first, points = settings[0], points_of(settings)
    adaptive = is_adaptive(Setting(first.decoder, first.fields, first.decoder_label))
    return {
        percent: published_speed_at(percent / 100, points, adaptive=adaptive)
        for percent in PERCENTS
    }


@dataclass(frozen=True, slots=True)
class Agreement:
    """How our marks of published replies to a task stand beside theirs.

    Attributes:
        model: Label of the model.
        task_label: The task's setting.
        replies: How many, of all settings.
        accuracy: Mean of our marks.
        published: Mean of theirs.
        agreement: Share of replies whose two marks are the same.
    """

    model: str
    task_label: str
    replies: int
    accuracy: float
    published: float
    agreement: float


def agreements(results: Iterable[Result]) -> list[Agreement]:
    """Return how marks agree, for every model and task whose replies were published."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if {"published", "agreement"} <= result.parts.keys():
            groups.setdefault((result.model, result.task_label), []).append(result)
    return [
        Agreement(
            model,
            task,
            sum(result.count for result in own),
            _mean([(result.accuracy or 0.0, result.count) for result in own]),
            _mean([(each.value, each.count) for each in _parts(own, "published")]),
            _mean([(each.value, each.count) for each in _parts(own, "agreement")]),
        )
        for (model, task), own in groups.items()
    ]


def _parts(results: Iterable[Result], name: str) -> list[Part]:
    return [result.parts[name] for result in results]


def _mean(weighted: Sequence[tuple[float, int]]) -> float:
    return math.fsum(value * count for value, count in weighted) / sum(n for _, n in weighted)


def name_of(percent: int) -> str:
    """Return what the original calls the speed at a mean score.

    Example:
        >>> name_of(80)
        'PB80'
    """
    return f"PB{percent}"


def board_table(speeds: Iterable[BoardSpeeds]) -> Table:
    """Return PBx as a table for the terminal."""
    drawn = Table(
        title="PBx, by the public board's rule", title_justify="left", box=box.SIMPLE, padding=0
    )
    drawn.add_column("model")
    drawn.add_column("strategy")
    for percent in PERCENTS:
        drawn.add_column(name_of(percent), justify="right", no_wrap=True)
    for each in speeds:
        told = (f"{each.speeds[percent]:.2f}" for percent in PERCENTS)
        drawn.add_row(each.model, each.strategy, *told)
    return drawn


def agreement_table(found: Iterable[Agreement]) -> Table:
    """Return for the terminal how marks of published replies agree, task by task."""
    drawn = Table(title="published, rescored", title_justify="left", box=box.SIMPLE, padding=0)
    drawn.add_column("model, task")
    for heading in ("replies", "right by our\nrules, %", "as published\n%", "marks agree\n%"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        shares = map(cells.percent, (each.accuracy, each.published, each.agreement))
        drawn.add_row(f"{each.model}, {each.task_label}", str(each.replies), *shares)
    return drawn
