"""Hindsight oracles: the best setting for each sample, chosen after the run.

The ``threshold`` oracle chooses among the thresholds of ``confidence_threshold``, the ``sweep``
oracle among all decoder settings of the run.  Each takes, for every sample, the fewest model calls
among the settings with the best mark.  That is one point; the :class:`HindsightFrontier` is the
whole trade-off: the fewest mean calls with which any choice per sample reaches a given mean
accuracy.  No setting and no mixture of settings needs fewer.

A sample's repeats are averaged before the choice, so that a lucky draw does not decide it.

Source: Kang et al., ParallelBench (arXiv:2510.04767), appendix G.2, for the threshold
oracle; the other two are ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from parallelbench.analysis.measures.sweep import Sweep, sweep_of
from parallelbench.record import RecordedDecoder, latest_records
from parallelbench.results.record_summary import AnyRecord, RecordSummaries, RecordSummary
from parallelbench.results.result import Result, summarize

#: The registered name whose settings the threshold oracle chooses among.
THRESHOLD = "confidence_threshold"
#: Accuracies closer than this are equal: means are sums of rounded numbers.
TOLERANCE = 1e-9


def threshold_oracle(records: Iterable[AnyRecord]) -> list[Result]:
    """Return the threshold oracle's point for each (model, task).

    Args:
        records: Records of a finished run; those of other decoders are ignored.

    Returns:
        One result per (model, task), labelled ``threshold_oracle``; none for a model
        that was not run with ``confidence_threshold``.

    Raises:
        IncompleteSweepError: A setting lacks some decodes.
    """
    grid = [record for record in records if record.decoder.name == THRESHOLD]
    return summarize(_chosen(grid, "threshold_oracle"))


def sweep_oracle(records: Iterable[AnyRecord]) -> list[Result]:
    """Return the sweep oracle's point for each (model, task).

    Args:
        records: Records of a finished run; those of oracles are ignored.

    Returns:
        One result per (model, task), labelled ``sweep_oracle``.

    Raises:
        IncompleteSweepError: A setting lacks some decodes.
    """
    return summarize(
        _chosen([record for record in records if not record.decoder.oracle], "sweep_oracle")
    )


def best_rows(sweep: Sweep) -> Int[np.ndarray, " samples"]:
    """Return for each sample the row with the fewest calls among those with its best mark.

    Ties go to the first row.
    """
    best = sweep.accuracy.max(axis=0)
    rows: Int[np.ndarray, " samples"] = np.where(
        sweep.accuracy == best, sweep.calls, np.inf
    ).argmin(axis=0)
    return rows


def _chosen(records: Sequence[AnyRecord], name: str) -> Iterator[RecordSummary]:
    """Yield the records of each sample's best setting, under the oracle's own name."""
    oracle = RecordedDecoder(name=name, label=name, fields={}, oracle=True)
    summaries = RecordSummaries()
    latest = latest_records(map(summaries.of, records))
    models: dict[str, list[RecordSummary]] = defaultdict(list)
    for record in latest:
        models[record.model_label].append(record)
    for of_model in models.values():
        sweep = sweep_of(of_model)
        labels = [sweep.settings[row].label for row in best_rows(sweep)]
        choice = dict(zip(zip(sweep.tasks, sweep.indices, strict=True), labels, strict=True))
        for record in of_model:
            if record.decoder_label == choice[record.task_label, record.index]:
                yield replace(record, decoder=oracle)


class _Trade(NamedTuple):
    """A switch of one sample to a setting with more calls and a better mark.

    Attributes:
        price: ``cost / gain``.
        sample: Column of the sample.
        gain: Increase of the mark, above 0.
        cost: Increase of the model calls, 0 or more.
        written: Change of the canvas tokens.
    """

    price: float
    sample: int
    gain: float
    cost: float
    written: float


@dataclass(frozen=True, slots=True, eq=False)
class HindsightFrontier:
    """The fewest mean calls at every mean accuracy, by choice per sample.

    Every sample starts with its setting of the fewest calls; then calls are added where they
    gain the most accuracy.  Between two such trades a sample is decoded with one setting or
    the other by a coin, which makes the frontier the exact solution of the linear
    programme "fewest calls subject to an accuracy of at least A".  Its speed is the canvas
    tokens of that choice over its calls, the greatest speed where all settings have the same
    canvas to fill.  Where a model ends early, a setting that wrote more may be faster.

    Attributes:
        accuracy: Mark of each sample with its setting of the fewest calls.
        canvas_tokens: Canvas tokens of each sample with that setting.
        calls: Model calls of each sample with that setting.
        sample: Sample of each trade, cheapest trade first.
        gain: Increase of that sample's mark, above 0.
        cost: Increase of its calls, 0 or more.
        written: Change of its canvas tokens.
    """

    accuracy: Float[np.ndarray, " samples"]
    canvas_tokens: Float[np.ndarray, " samples"]
    calls: Float[np.ndarray, " samples"]
    sample: Int[np.ndarray, " trades"]
    gain: Float[np.ndarray, " trades"]
    cost: Float[np.ndarray, " trades"]
    written: Float[np.ndarray, " trades"]

    def speeds_along(
        self,
        accuracies: Float[np.ndarray, " accuracies"],
        weights: Float[np.ndarray, "resamples samples"],
    ) -> Float[np.ndarray, "resamples accuracies"]:
        """Return pooled tokens per step at each mean accuracy; NaN where no choice reaches it.

        Args:
            accuracies: Shares in [0, 1].
            weights: Weight of each sample, one row per resample.
        """
        accuracy = np.tile(accuracies, (len(weights), 1))
        own = weights[:, self.sample]
        marks, tokens, calls = (
            np.hstack([weights @ first[:, None], own * added]).cumsum(axis=1)
            for first, added in (
                (self.accuracy, self.gain),
                (self.canvas_tokens, self.written),
                (self.calls, self.cost),
            )
        )
        # Beyond either end ``interp`` holds the end's value: an accuracy below that of the
        # choice with the fewest calls brings no more speed.
        tokens, calls = (
            np.array([np.interp(*row) for row in zip(accuracy, marks, table, strict=True)])
            for table in (tokens, calls)
        )
        return np.where(accuracy <= marks[:, -1:] + TOLERANCE, tokens / calls, np.nan)


def frontier_of(sweep: Sweep) -> HindsightFrontier:
    """Return the frontier of choosing one of the sweep's settings for every sample."""
    # Of settings with equal calls any one serves: the trade for a better one costs nothing.
    fastest = sweep.calls.argmin(axis=0)
    columns = np.arange(sweep.samples)
    trades = sorted(
        (
            trade
            for column in columns
            for trade in _trades(sweep, int(column), int(fastest[column]))
        ),
        key=lambda trade: trade.price,
    )
    return HindsightFrontier(
        accuracy=sweep.accuracy[fastest, columns],
        canvas_tokens=sweep.canvas_tokens[fastest, columns],
        calls=sweep.calls[fastest, columns],
        sample=np.array([trade.sample for trade in trades], dtype=int),
        gain=np.array([trade.gain for trade in trades], dtype=float),
        cost=np.array([trade.cost for trade in trades], dtype=float),
        written=np.array([trade.written for trade in trades], dtype=float),
    )


def _trades(sweep: Sweep, column: int, row: int) -> Iterator[_Trade]:
    """Walk the hull of one sample's settings from the fewest calls to the most accurate."""
    marks, calls = sweep.accuracy[:, column], sweep.calls[:, column]
    tokens = sweep.canvas_tokens[:, column]
    while (better := np.flatnonzero(marks > marks[row])).size:
        gains, costs = marks[better] - marks[row], calls[better] - calls[row]
        # Of equally cheap trades the one that gains the most, which includes the others.
        best = np.lexsort((-gains, costs / gains))[0]
        after = int(better[best])
        gain, cost = float(gains[best]), float(costs[best])
        yield _Trade(cost / gain, column, gain, cost, float(tokens[after] - tokens[row]))
        row = after
