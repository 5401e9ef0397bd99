"""PBx: the speed of a strategy at a mean score of x per cent, as the original board reports it.

The figure is the public board's, by its own rule
(:func:`~parallelbench.analysis.measures.speed.published_speed_at`), never ours.  It is computed for
the original's tasks only, since nothing is published for others.
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

#: Mean scores, in per cent, at which the original reports speeds.
PERCENTS = (90, 80, 70, 60)
#: Meaning of the figures, for a caption.
MEANING = (
    "Greatest tokens per step with a mean score of at least x %, by the public board's rule: "
    "strategies with a fixed number of tokens at their settings only, adaptive ones on the lines "
    "between them, too; 0 where it is not reached. It compares with published figures, ranks "
    "nobody, and is not the speed at an accuracy that this package reads."
)
_TASKS = frozenset({"original", "original_text"})


@dataclass(frozen=True, slots=True)
class BoardSpeeds:
    """PBx of one strategy with one model, by the public board's rule.

    Attributes:
        model: Label of the model.
        strategy: Label of the curve that its settings form.
        settings: Number of settings.
        speeds: Tokens per step by x; 0.0 if x % is not reached.
    """

    model: str
    strategy: str
    settings: int
    speeds: Mapping[int, float]


def board_speeds(results: Sequence[Result], averages: Sequence[Result]) -> list[BoardSpeeds]:
    """Return PBx of every strategy that was not given the answers.

    Args:
        results: Results of every (model, task, decoder setting).
        averages: Their :func:`~parallelbench.results.result.average_over_tasks`.

    Returns:
        One entry per strategy and model; none for a model that was run on tasks other than the
        original's, or whose speed is not known.
    """
    others = {result.model for result in results if result.task not in _TASKS}
    curves = curves_of(results)
    groups: dict[tuple[str, Curve], list[Result]] = {}
    for average in averages:
        measured = average.accuracy is not None and average.tokens_per_step is not None
        if measured and not average.oracle and average.model not in others:
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
    """Agreement of our marks of published replies with the published marks.

    Attributes:
        model: Label of the model.
        task_label: The task's setting.
        replies: Number of replies, of all decoder settings.
        accuracy: Mean of our marks.
        published: Mean of the published marks.
        agreement: Share of replies whose two marks are equal.
    """

    model: str
    task_label: str
    replies: int
    accuracy: float
    published: float
    agreement: float


def agreements(results: Iterable[Result]) -> list[Agreement]:
    """Return the agreement of marks for every model and task with published replies."""
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


def speed_name(percent: int) -> str:
    """Return the original's name of the speed at a mean score.

    Example:
        >>> speed_name(80)
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
        drawn.add_column(speed_name(percent), justify="right", no_wrap=True)
    for each in speeds:
        cells_of_speeds = (f"{each.speeds[percent]:.2f}" for percent in PERCENTS)
        drawn.add_row(each.model, each.strategy, *cells_of_speeds)
    return drawn


def agreement_table(agreements: Iterable[Agreement]) -> Table:
    """Return the agreement of marks, task by task, as a table for the terminal."""
    drawn = Table(title="published, rescored", title_justify="left", box=box.SIMPLE, padding=0)
    drawn.add_column("model, task")
    for heading in ("replies", "right by our\nrules, %", "as published\n%", "marks agree\n%"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for each in agreements:
        shares = map(cells.percent, (each.accuracy, each.published, each.agreement))
        drawn.add_row(f"{each.model}, {each.task_label}", str(each.replies), *shares)
    return drawn
