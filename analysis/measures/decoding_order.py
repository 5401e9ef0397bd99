"""Decoding order: how near the commits of a decode are to left to right, and how often it revises.

Kendall's and Spearman's correlation between a position and the step of its commit are 1 for left
to right and -1 for right to left.  Positions committed in one step are tied (Kendall's tau-b,
Spearman on mean ranks); an answer committed in one step has no order.

A position that was opened again has a first and a last commit; the public board's order is the
first.  Positions from the first end-of-text of the finished canvas on are left out: they say little
about how an answer is made.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from parallelbench.analysis.measures.statistics import bootstrap_mean
from parallelbench.record import Record
from parallelbench.results.intervals import Estimate

#: Resamples of the bootstrap: a table shows two digits of an interval.
RESAMPLES = 200


class Correlation(NamedTuple):
    """Rank correlations of positions with the steps of their commits.

    Attributes:
        kendall: Kendall's tau-b, in [-1, 1].
        spearman: Spearman's rho, in [-1, 1].
    """

    kendall: float
    spearman: float


class DecodingOrder(NamedTuple):
    """Order statistics of one decode.

    Attributes:
        first: Correlation of first commits with left to right; None without an order: fewer than
            two positions, or all in one step.
        last: Correlation of last commits with left to right; None without an order.
        revisions: Number of written tokens that were opened again or replaced.
    """

    first: Correlation | None
    last: Correlation | None
    revisions: int


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """Order statistics of one (model, task, decoder setting), averaged over samples.

    Each average is over the decodes that have an order, and None if none has.

    Attributes:
        model: The model's setting.
        task_label: The task's setting.
        decoder_label: The decoder's setting.
        first_kendall: Kendall's tau-b of first commits, in [-1, 1].
        first_spearman: Spearman's rho of first commits, in [-1, 1].
        last_kendall: Kendall's tau-b of last commits, in [-1, 1].
        last_spearman: Spearman's rho of last commits, in [-1, 1].
        revisions: Tokens opened again or replaced, per decode.
        decodes: Number of decodes, with and without an order.
    """

    model: str
    task_label: str
    decoder_label: str
    first_kendall: Estimate | None
    first_spearman: Estimate | None
    last_kendall: Estimate | None
    last_spearman: Estimate | None
    revisions: Estimate
    decodes: int

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes as JSON values; an estimate is a mapping of its three fields."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value._asdict() if isinstance(value, Estimate) else value
            for name, value in fields.items()
        }


class OrderStatistics:
    """Collects the decoding orders of a run record by record, without keeping the records."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, str, str], dict[tuple[int, int], DecodingOrder]] = (
            defaultdict(dict)
        )

    def add(self, record: Record) -> None:
        """Take in one record; a record without marks or without a trace has no order."""
        if record.steered and record.marks is not None:
            setting = record.model_label, record.task_label, record.decoder_label
            self._orders[setting][record.index, record.repeat] = decoding_order(record)

    def summaries(self) -> list[OrderSummary]:
        """Return the average order of each (model, task, decoder setting), in order of arrival."""
        return [_summary(*setting, orders) for setting, orders in self._orders.items()]


def decoding_order(record: Record) -> DecodingOrder:
    """Return the order in which one decode wrote its answer.

    Args:
        record: A decode with a trace.

    Raises:
        RecordsError: The record has no trace, because a server decoded by itself.
    """
    decoding = record.require_decoding()
    trace, ids, mask_id = decoding.trace, decoding.output_ids, decoding.mask_id
    ends = decoding.ends
    answer = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    first = trace.first_commit(len(ids), mask_id)[:answer]
    correlation = left_to_right_correlation(first)
    revisions = trace.revisions(mask_id)
    if not revisions:
        return DecodingOrder(correlation, correlation, 0)
    last = trace.last_commit(len(ids), mask_id)[:answer]
    return DecodingOrder(correlation, left_to_right_correlation(last), revisions)


def left_to_right_correlation(steps: Sequence[int | None]) -> Correlation | None:
    r"""Return the correlation of positions with the steps of their commits.

    With :math:`s_{ij}` the sign of the difference of two steps and :math:`p_{ij}` that of
    their positions, Kendall's tau-b correlates :math:`s_{ij}` with :math:`p_{ij}`, and
    Spearman's rho the sums of both over j, which are twice the centred mean ranks.

    Args:
        steps: One per position; None for a position that does not count.

    Returns:
        None with fewer than two positions or with all of them in one step.

    Source:
        Kendall (1945), "The treatment of ties in ranking problems" (tau-b); Spearman
        (1904), "The proof and measurement of association between two things".

    Example:
        >>> left_to_right_correlation([0, 1, None, 2])
        Correlation(kendall=1.0, spearman=1.0)
    """
    # scipy computes p-values as well, which is many times slower over a whole run.
    commits = np.array([step for step in steps if step is not None], dtype=int)
    if len(np.unique(commits)) < 2:
        return None
    later = np.sign(commits[:, None] - commits[None, :])
    places = np.arange(len(commits))
    right = np.sign(places[:, None] - places[None, :])
    return Correlation(
        _cosine(later.ravel(), right.ravel()), _cosine(later.sum(axis=1), right.sum(axis=1))
    )


def _cosine(first: Int[np.ndarray, " length"], second: Int[np.ndarray, " length"]) -> float:
    # Whole numbers under the root: a perfect agreement is exactly 1.
    return float(first @ second) / math.sqrt(int(first @ first) * int(second @ second))


def _summary(
    model: str, task: str, decoder: str, orders: dict[tuple[int, int], DecodingOrder]
) -> OrderSummary:
    samples = [index for index, _ in orders]
    first = [order.first for order in orders.values()]
    last = [order.last for order in orders.values()]
    revisions = [order.revisions for order in orders.values()]
    return OrderSummary(
        model=model,
        task_label=task,
        decoder_label=decoder,
        first_kendall=_average([each and each.kendall for each in first], samples),
        first_spearman=_average([each and each.spearman for each in first], samples),
        last_kendall=_average([each and each.kendall for each in last], samples),
        last_spearman=_average([each and each.spearman for each in last], samples),
        revisions=bootstrap_mean(
            np.array(revisions, dtype=float), np.array(samples), resamples=RESAMPLES
        ),
        decodes=len(orders),
    )


def _average(values: Sequence[float | None], samples: Sequence[int]) -> Estimate | None:
    known = [
        (value, sample) for value, sample in zip(values, samples, strict=True) if value is not None
    ]
    if not known:
        return None
    present, owners = zip(*known, strict=True)
    return bootstrap_mean(np.array(present, dtype=float), np.array(owners), resamples=RESAMPLES)
