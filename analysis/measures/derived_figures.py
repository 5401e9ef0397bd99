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

#: Resamples of the bootstrap: a table shows two digits of an interval.
RESAMPLES = 200

#: Model, task label (or ``"average"``), decoder label.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class OracleReference:
    """The oracle that the efficiencies of a model on a task compare with.

    Attributes:
        oracle: Name of the oracle; None for hindsight over the settings of the run.
        speed: Pooled tokens per step at the accuracy; None if it does not reach that.
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
    """Figures that a report derives from the results.

    Attributes:
        oracles: Points of the hindsight oracles, one per (model, task) each; none for an oracle
            with a single setting to choose from.
        efficiency: Oracle efficiency of each decoder setting that reaches the accuracy and was
            not given the answers.
        references: Oracle of the efficiencies, by model and task label (or ``"average"``).
        losses: Causes of lost accuracy.
        board: PBx, if the tasks are the original's.
        agreements: Agreement of published marks with ours.
        missing: Reason that oracles and efficiency are absent; None if they are present.
    """

    oracles: Sequence[Result] = ()
    efficiency: dict[Key, SpeedEstimate] = field(default_factory=dict)
    references: dict[tuple[str, str], OracleReference] = field(default_factory=dict)
    losses: dict[Key, Loss] = field(default_factory=dict)
    board: Sequence[BoardSpeeds] = ()
    agreements: Sequence[Agreement] = ()
    missing: str | None = None


def derive(records: Sequence[AnyRecord], results: Sequence[Result]) -> DerivedFigures:
    """Return the figures derived from ``records`` and their ``results``.

    Args:
        records: Records of one run; an unfinished run has no oracles.
        results: Results of every (model, task, decoder setting), and their averages.
    """
    split = losses(results)
    # A server shows no model calls, so its replies have no speed to compare.
    steered = [record for record in records if record.steered]
    try:
        oracles = [
            *_with_choice(threshold_oracle(steered), steered, THRESHOLD),
            *_with_choice(sweep_oracle(steered), steered),
        ]
        pairs = _with_oracles(steered)
    except IncompleteSweepError as error:
        return DerivedFigures(losses=split, missing=str(error))
    figures = DerivedFigures(oracles=oracles, losses=split)
    for settings, name, oracle in pairs:
        for task, own, against in _by_task(settings, oracle):
            key = settings.model, task
            speed = oracle_speed(ACCURACY, own, against)
            figures.references[key] = OracleReference(name, speed)
            efficiencies = oracle_efficiencies(ACCURACY, own, against, resamples=RESAMPLES)
            figures.efficiency.update(
                {(*key, s): each for s, each in efficiencies.items() if each.value is not None}
            )
    return figures


def _with_choice(
    points: Iterable[Result], records: Iterable[AnyRecord], decoder: str | None = None
) -> list[Result]:
    """Return the hindsight points of models with at least two settings to choose from.

    A choice among one setting would repeat that setting under another name.

    Args:
        points: Points of a hindsight oracle.
        records: Records that it chose from.
        decoder: Registered name of the only decoder that it chose from; None for all.
    """
    settings: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if (decoder is None and not record.decoder.oracle) or record.decoder.name == decoder:
            settings[record.model_label].add(record.decoder_label)
    return [point for point in points if len(settings[point.model]) > 1]


class _ModelSettings(NamedTuple):
    """The settings of one model, and the oracle that they are compared with.

    Attributes:
        settings: Settings that were not given the answers.
        name: Name of the oracle; None for hindsight.
        oracle: Settings of the oracle on the same samples; None for hindsight.
    """

    settings: Sweep
    name: str | None
    oracle: Sweep | None


def _with_oracles(records: Iterable[AnyRecord]) -> list[_ModelSettings]:
    models: dict[str, list[AnyRecord]] = defaultdict(list)
    of_oracles: dict[str, dict[str, list[AnyRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.decoder.oracle:
            of_oracles[record.model_label][record.decoder.name].append(record)
        else:
            models[record.model_label].append(record)
    pairs = []
    for model, own in models.items():
        settings = sweep_of(own)
        oracles = {name: _on_the_same(each, settings) for name, each in of_oracles[model].items()}
        name = oracle_for(model, [name for name, oracle in oracles.items() if oracle is not None])
        pairs.append(_ModelSettings(settings, name, None if name is None else oracles[name]))
    return pairs


def _on_the_same(records: Sequence[AnyRecord], settings: Sweep) -> Sweep | None:
    """Return the settings of an oracle; None if it lacks a sample that the others have."""
    # Records arrive as they finish, and columns are in the order of the tasks' first records.
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
