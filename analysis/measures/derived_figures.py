"""Figures that a report derives from results: oracles, oracle efficiency, and lost accuracy.

Hindsight oracles choose a setting for each sample after the run;
:mod:`~parallelbench.analysis.measures.oracle_efficiency` defines oracle efficiency, and
:mod:`~parallelbench.analysis.measures.losses` attributes lost accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from parallelbench.analysis.measures.board_speeds import Agreement, BoardSpeeds
from parallelbench.analysis.measures.hindsight import THRESHOLD, sweep_oracle, threshold_oracle
from parallelbench.analysis.measures.losses import Loss, losses
from parallelbench.analysis.measures.oracle_efficiency import (
    ACCURACY,
    PERCENT,
    oracle_efficiencies,
    oracle_for,
    oracle_speed,
)
from parallelbench.analysis.measures.speed import SpeedEstimate
from parallelbench.analysis.measures.sweep import IncompleteSweepError, Sweep, sweep_of
from parallelbench.results.record_summary import AnyRecord
from parallelbench.results.result import Result

#: Of the bootstrap: a table needs no more than two digits of an interval.
RESAMPLES = 200

#: Model, task label (or ``"average"``), decoder label.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class OracleReference:
    """What the efficiencies of a model on a task are against.

    Attributes:
        oracle: Name of the oracle; None for the choice of a setting for each sample, made
            afterwards among the settings of the run.
        speed: Its pooled tokens per step at the accuracy; None if it does not reach that.
    """

    oracle: str | None
    speed: float | None

    def __str__(self) -> str:
        name = (
            "the best choice of a setting for each sample, made afterwards,"
            if self.oracle is None
            else f"the oracle {self.oracle}"
        )
        if self.speed is None:
            return (
                f"Oracle efficiency is absent: {name} has fewer than {PERCENT} % of "
                "the answers right."
            )
        return (
            f"Oracle efficiency compares speed at {PERCENT} % right answers, where "
            f"{name} writes {self.speed:.2f} pooled tokens per step. A setting with fewer right "
            f"answers has none; writing one by one has 1 / {self.speed:.2f} = "
            f"{1 / self.speed:.2f}, however right it is."
        )


@dataclass(frozen=True, slots=True)
class DerivedFigures:
    """What a report shows beside the results.

    Attributes:
        oracles: The hindsight oracles' points, one per (model, task) each; none where an oracle
            had a single setting to choose.
        efficiency: Of each decoder setting that was not told the answers and reaches the
            accuracy.
        references: What it is against, by model and task label (or ``"average"``).
        losses: Where each result's accuracy was lost.
        board: PBx, where the tasks are the original's.
        agreements: How marks of published replies agree with ours.
        missing: Why there are no oracles and no efficiency; None if there are.
    """

    oracles: Sequence[Result] = ()
    efficiency: dict[Key, SpeedEstimate] = field(default_factory=dict)
    references: dict[tuple[str, str], OracleReference] = field(default_factory=dict)
    losses: dict[Key, Loss] = field(default_factory=dict)
    board: Sequence[BoardSpeeds] = ()
    agreements: Sequence[Agreement] = ()
    missing: str | None = None


def derive(records: Sequence[AnyRecord], results: Sequence[Result]) -> DerivedFigures:
    """Return what stands beside the ``results`` of ``records``.

    Args:
        records: Of one run; unfinished runs have no oracles.
        results: Of every (model, task, decoder setting), and their averages.
    """
    split = losses(results)
    # A server shows no speed, so nothing can be faster than it.
    steered = [record for record in records if record.steered]
    try:
        oracles = [
            *_with_choice(threshold_oracle(steered), steered, THRESHOLD),
            *_with_choice(sweep_oracle(steered), steered),
        ]
        pairs = _with_oracles(steered)
    except IncompleteSweepError as error:
        return DerivedFigures(losses=split, missing=str(error))
    aside = DerivedFigures(oracles=oracles, losses=split)
    for settings, name, oracle in pairs:
        for task, own, against in _by_task(settings, oracle):
            key = settings.model, task
            speed = oracle_speed(ACCURACY, own, against)
            aside.references[key] = OracleReference(name, speed)
            efficiencies = oracle_efficiencies(ACCURACY, own, against, resamples=RESAMPLES)
            aside.efficiency.update(
                {(*key, s): each for s, each in efficiencies.items() if each.value is not None}
            )
    return aside


def _with_choice(
    points: Iterable[Result], records: Iterable[AnyRecord], decoder: str | None = None
) -> list[Result]:
    """Return the hindsight points of models with at least two settings to choose from.

    A choice of one setting is that setting's own row again, under another name.

    Args:
        points: Of a hindsight oracle.
        records: What it chose from.
        decoder: Registered name of the only decoder that it chose from; None for all.
    """
    settings: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if (decoder is None and not record.oracle) or record.decoder == decoder:
            settings[record.model].add(record.decoder_label)
    return [point for point in points if len(settings[point.model]) > 1]


class _ModelSettings(NamedTuple):
    """The settings of one model, and the oracle that they are compared with.

    Attributes:
        settings: Those that were not told the answers.
        name: Of the oracle; None for hindsight.
        oracle: Its settings on the same samples; None for hindsight.
    """

    settings: Sweep
    name: str | None
    oracle: Sweep | None


def _with_oracles(records: Iterable[AnyRecord]) -> list[_ModelSettings]:
    models: dict[str, list[AnyRecord]] = defaultdict(list)
    told: dict[str, dict[str, list[AnyRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.oracle:
            told[record.model][record.decoder].append(record)
        else:
            models[record.model].append(record)
    pairs = []
    for model, own in models.items():
        settings = sweep_of(own)
        oracles = {name: _on_the_same(each, settings) for name, each in told[model].items()}
        name = oracle_for(model, [name for name, oracle in oracles.items() if oracle is not None])
        pairs.append(_ModelSettings(settings, name, None if name is None else oracles[name]))
    return pairs


def _on_the_same(records: Sequence[AnyRecord], settings: Sweep) -> Sweep | None:
    """Return the settings of an oracle; None if it lacks a sample that the others have."""
    # Records come as they were finished, and columns in the order of the tasks' first record.
    places = {task: place for place, task in enumerate(dict.fromkeys(settings.tasks))}
    ordered = sorted(records, key=lambda record: places.get(record.task_label, len(places)))
    try:
        oracle = sweep_of(ordered)
    except IncompleteSweepError:
        return None
    same = (oracle.tasks, oracle.indices) == (settings.tasks, settings.indices)
    return oracle if same else None


def _by_task(settings: Sweep, oracle: Sweep | None) -> Iterator[tuple[str, Sweep, Sweep | None]]:
    against = {} if oracle is None else oracle.by_task()
    for task, own in settings.by_task().items():
        yield task, own, against.get(task)
    yield "average", settings, oracle
