"""What stands beside every result: oracles, oracle efficiency, and where accuracy was lost.

*Oracle efficiency* of a decoder setting is its tokens per step over those of the best choice
of a setting for each sample, made afterwards among all settings that were run, at the same
accuracy.  It is at most 1; 1 says that this run holds no better schedule at that accuracy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from parallelbench.analysis.hindsight import THRESHOLD, frontier_of, sweep_oracle, threshold_oracle
from parallelbench.analysis.losses import Loss, losses
from parallelbench.analysis.statistics import percentile_interval
from parallelbench.analysis.sweep import IncompleteSweepError, Sweep, sweep_of
from parallelbench.record import Record
from parallelbench.results import Interval, Result

#: Of the bootstrap: a table needs no more than two digits of an interval.
RESAMPLES = 200

#: Model, task label (or ``"average"``), decoder label.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Efficiency:
    """A decoder's speed over that of hindsight at the same accuracy.

    Attributes:
        value: In (0, 1].
        interval: 95 %, by bootstrap over samples; None with one sample.
    """

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Beside:
    """What a report shows beside the results.

    Attributes:
        oracles: The hindsight oracles' points, one per (model, task) each; none where an oracle
            had a single setting to choose.
        efficiency: Of each decoder setting that was not told the answers.
        losses: Where each result's accuracy was lost.
        missing: Why there are no oracles and no efficiency; None if there are.
    """

    oracles: Sequence[Result] = ()
    efficiency: dict[Key, Efficiency] = field(default_factory=dict)
    losses: dict[Key, Loss] = field(default_factory=dict)
    missing: str | None = None


def beside(records: Sequence[Record], results: Sequence[Result]) -> Beside:
    """Return what stands beside the ``results`` of ``records``.

    Args:
        records: Of one run; unfinished runs have no oracles.
        results: Of every (model, task, decoder setting), and their averages.
    """
    split = losses(results)
    # A server shows no speed, so nothing can be faster than it.
    steered = [record for record in records if record.trace is not None]
    try:
        oracles = [
            *_with_choice(threshold_oracle(steered), steered, THRESHOLD),
            *_with_choice(sweep_oracle(steered), steered),
        ]
        efficiency = dict(_efficiencies(steered))
    except IncompleteSweepError as error:
        return Beside(losses=split, missing=str(error))
    return Beside(oracles=oracles, efficiency=efficiency, losses=split)


def _with_choice(
    points: Iterable[Result], records: Iterable[Record], decoder: str | None = None
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


def _efficiencies(records: Iterable[Record]) -> Iterable[tuple[Key, Efficiency]]:
    models: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if not record.oracle:
            models[record.model].append(record)
    for model, own in models.items():
        sweep = sweep_of(own)
        for task, part in {**sweep.by_task(), "average": sweep}.items():
            for label, efficiency in _of_settings(part):
                yield (model, task, label), efficiency


def _of_settings(sweep: Sweep) -> Iterable[tuple[str, Efficiency]]:
    frontier = frontier_of(sweep)
    # As observed in the first row, then resampled.
    weights = np.vstack([sweep.weights, sweep.resampled_weights(RESAMPLES)])
    speeds, marks = weights @ sweep.tokens_per_step.T, weights @ sweep.accuracy.T
    for row, setting in enumerate(sweep.settings):
        # Each resample compares at the accuracy that the setting has in it.
        ratios = speeds[:, row] / frontier.speeds_at(marks[:, row], weights)
        interval = percentile_interval(ratios[1:]) if sweep.samples > 1 else None
        yield setting.label, Efficiency(float(ratios[0]), interval)
