"""Oracles that look back at what was run: the best setting for each sample, chosen afterwards.

How far could one go by setting a decoder's dial anew for every sample?  The ``threshold``
oracle turns only the dial of ``confidence_threshold``; the ``sweep`` oracle chooses among
all decoder settings of the run.  Each takes, for every sample, the greatest tokens per
step among the settings with the best mark.  That is one point; the :class:`Frontier` is
the whole trade: the greatest mean speed that any choice per sample reaches at a given
mean accuracy.  No setting lies beyond it, nor any mixture of settings.

A sample's repeats are averaged before the choice, which therefore profits from a setting
and not from a lucky draw.

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

from parallelbench.analysis.sweep import Sweep, sweep_of
from parallelbench.record_summary import AnyRecord, RecordSummaries, RecordSummary
from parallelbench.results import Result, summarize

#: The registered name whose settings the threshold oracle chooses among.
THRESHOLD = "confidence_threshold"
#: Accuracies closer than this are equal: means are sums of rounded numbers.
TOLERANCE = 1e-9


def threshold_oracle(records: Iterable[AnyRecord]) -> list[Result]:
    """Return the threshold oracle's point for each (model, task).

    Args:
        records: Of a finished run.  Records of other decoders are passed over.

    Returns:
        One result per (model, task), labelled ``threshold_oracle``; none for a model
        that was not run with ``confidence_threshold``.

    Raises:
        IncompleteSweepError: A setting lacks some decodes.
    """
    grid = [record for record in records if record.decoder == THRESHOLD]
    return summarize(_chosen(grid, "threshold_oracle"))


def sweep_oracle(records: Iterable[AnyRecord]) -> list[Result]:
    """Return the sweep oracle's point for each (model, task).

    Args:
        records: Of a finished run.  Decoders that are oracles are passed over.

    Returns:
        One result per (model, task), labelled ``sweep_oracle``.

    Raises:
        IncompleteSweepError: A setting lacks some decodes.
    """
    return summarize(_chosen([record for record in records if not record.oracle], "sweep_oracle"))


def best_rows(sweep: Sweep) -> Int[np.ndarray, " samples"]:
    """Return for each sample the fastest row among those with its best mark.

    The first row wins among equals.
    """
    best = sweep.accuracy.max(axis=0)
    rows: Int[np.ndarray, " samples"] = np.where(
        sweep.accuracy == best, sweep.tokens_per_step, -np.inf
    ).argmax(axis=0)
    return rows


def _chosen(records: Sequence[AnyRecord], name: str) -> Iterator[RecordSummary]:
    """Yield the records of each sample's best setting, under the oracle's own name."""
    summaries = RecordSummaries()
    latest = {record.key: summaries.of(record) for record in records}.values()
    models: dict[str, list[RecordSummary]] = defaultdict(list)
    for record in latest:
        models[record.model].append(record)
    for of_model in models.values():
        sweep = sweep_of(of_model)
        labels = [sweep.settings[row].label for row in best_rows(sweep)]
        choice = dict(zip(zip(sweep.tasks, sweep.indices, strict=True), labels, strict=True))
        for record in of_model:
            if record.decoder_label == choice[record.task_label, record.index]:
                yield replace(
                    record, decoder=name, decoder_label=name, decoder_fields={}, oracle=True
                )


class _Trade(NamedTuple):
    """One sample gives up speed for a better mark.

    Attributes:
        price: ``loss / gain``.
        sample: The column.
        gain: What the mark rises by, above 0.
        loss: What the tokens per step fall by, 0 or more.
    """

    price: float
    sample: int
    gain: float
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """The greatest mean tokens per step at every mean accuracy, by choice per sample.

    Every sample starts with its fastest setting; then speed is given up for accuracy
    where it costs least.  Between two such trades a sample is decoded with one setting or
    the other by a coin, which makes the frontier the exact solution of the linear
    programme "most speed subject to an accuracy of at least A".

    Attributes:
        accuracy: Of each sample with its fastest setting.
        tokens_per_step: The same.
        sample: Which sample each trade is of, cheapest trade first.
        gain: What each trade adds to that sample's mark, above 0.
        loss: What it takes from its tokens per step, 0 or more.
    """

    accuracy: Float[np.ndarray, " samples"]
    tokens_per_step: Float[np.ndarray, " samples"]
    sample: Int[np.ndarray, " trades"]
    gain: Float[np.ndarray, " trades"]
    loss: Float[np.ndarray, " trades"]

    def speeds_at(
        self,
        accuracy: float | Float[np.ndarray, " resamples"],
        weights: Float[np.ndarray, "resamples samples"],
    ) -> Float[np.ndarray, " resamples"]:
        """Return the tokens per step at a mean ``accuracy``; NaN where no choice reaches it.

        Args:
            accuracy: In [0, 1]; one for all, or one for each resample.
            weights: What each sample counts, one row per resample.
        """
        wanted = np.broadcast_to(np.asarray(accuracy, dtype=float), (len(weights),))
        return self._speeds(wanted[:, None], weights)[:, 0]

    def speeds_along(
        self,
        accuracies: Float[np.ndarray, " accuracies"],
        weights: Float[np.ndarray, "resamples samples"],
    ) -> Float[np.ndarray, "resamples accuracies"]:
        """Return the tokens per step at each of several accuracies, as :meth:`speeds_at` does."""
        return self._speeds(np.tile(accuracies, (len(weights), 1)), weights)

    def _speeds(
        self,
        accuracy: Float[np.ndarray, "resamples accuracies"],
        weights: Float[np.ndarray, "resamples samples"],
    ) -> Float[np.ndarray, "resamples accuracies"]:
        needed = accuracy - (weights @ self.accuracy)[:, None]
        fastest = weights @ self.tokens_per_step
        start = np.zeros((len(weights), 1))
        own = weights[:, self.sample]
        gains = np.hstack([start, (own * self.gain).cumsum(axis=1)])
        losses = np.hstack([start, (own * self.loss).cumsum(axis=1)])
        # Beyond either end ``interp`` holds the end's value: a lower accuracy than the
        # fastest choice has buys no more speed.
        paid = np.array([np.interp(*row) for row in zip(needed, gains, losses, strict=True)])
        return np.where(needed <= gains[:, -1:] + TOLERANCE, fastest[:, None] - paid, np.nan)


def frontier_of(sweep: Sweep) -> Frontier:
    """Return the frontier of choosing one of the sweep's settings for every sample."""
    # Of equally fast settings any will do: the trade for the better one costs nothing.
    fastest = sweep.tokens_per_step.argmax(axis=0)
    columns = np.arange(sweep.samples)
    trades = sorted(
        (
            trade
            for column in columns
            for trade in _trades(sweep, int(column), int(fastest[column]))
        ),
        key=lambda trade: trade.price,
    )
    return Frontier(
        accuracy=sweep.accuracy[fastest, columns],
        tokens_per_step=sweep.tokens_per_step[fastest, columns],
        sample=np.array([trade.sample for trade in trades], dtype=int),
        gain=np.array([trade.gain for trade in trades], dtype=float),
        loss=np.array([trade.loss for trade in trades], dtype=float),
    )


def _trades(sweep: Sweep, column: int, row: int) -> Iterator[_Trade]:
    """Walk the upper hull of one sample's settings from the fastest to the most accurate."""
    marks, speeds = sweep.accuracy[:, column], sweep.tokens_per_step[:, column]
    while (better := np.flatnonzero(marks > marks[row])).size:
        gains, losses = marks[better] - marks[row], speeds[row] - speeds[better]
        # Of equally cheap trades the one that gains most: the others lie on its way.
        best = np.lexsort((-gains, losses / gains))[0]
        yield _Trade(
            float(losses[best] / gains[best]), column, float(gains[best]), float(losses[best])
        )
        row = int(better[best])
