"""In which order a decoder writes: when each position was committed, and how often again.

Left to right is the order of reading; a diffusion model is free to choose another.  Kendall's
and Spearman's correlation between a position and the step of its commit say how near the
order is to left to right: 1 is left to right, -1 right to left.  Positions of one step are
tied (Kendall's tau-b, Spearman on mean ranks), and an answer that was written in one step
has no order at all.

Steps are counted from 0.  A position that was opened again has a first and a last commit;
the public board's order is the first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from parallelbench.analysis.measures.statistics import bootstrap_mean
from parallelbench.record import Record, latest_records
from parallelbench.results.intervals import Estimate


class Correlation(NamedTuple):
    """How near an order is to left to right; both in [-1, 1]."""

    kendall: float
    spearman: float


@dataclass(frozen=True, slots=True)
class DecodingOrder:
    """When one decode wrote what.

    Attributes:
        first_commit: The step in which each position was first written; None where never,
            or where the position was not asked about.
        last_commit: The step in which it last changed; None where it is open at the end.
        first: Correlation of the first commits with left to right; None without an order:
            fewer than two positions, or all in one step.
        last: The same of the last commits.
        revisions: How often a written token was opened again or replaced.
    """

    first_commit: tuple[int | None, ...]
    last_commit: tuple[int | None, ...]
    first: Correlation | None
    last: Correlation | None
    revisions: int


@dataclass(frozen=True, slots=True)
class OrderSummary:
    """The decoding orders of one (model, task, decoder setting), averaged over samples.

    An average is over the decodes that have the figure and carries their number of
    samples; it is None if none has.

    Attributes:
        model: The model's setting.
        task_label: The task's setting.
        decoder_label: The decoder's setting.
        first_commit: Mean step of the first commit, per position.
        last_commit: Mean step of the last, per position.
        first_kendall: Of first commits with left to right, in [-1, 1].
        first_spearman: The same by ranks.
        last_kendall: Of last commits.
        last_spearman: The same by ranks.
        revisions: Per decode.
        decodes: How many were looked at.
    """

    model: str
    task_label: str
    decoder_label: str
    first_commit: tuple[Estimate | None, ...]
    last_commit: tuple[Estimate | None, ...]
    first_kendall: Estimate | None
    first_spearman: Estimate | None
    last_kendall: Estimate | None
    last_spearman: Estimate | None
    revisions: Estimate
    decodes: int


def decoding_order(record: Record, *, answer_only: bool = False) -> DecodingOrder:
    """Return in which order one decode wrote its canvas.

    Args:
        record: With its trace.
        answer_only: Leave out the first end-of-text of the finished canvas and all behind
            it, which say little of how an answer is made.  Revisions are counted everywhere.

    Raises:
        RecordsError: The model decoded by itself, so there is no trace.
    """
    trace, _, ids, mask_id, end_id = record.decoding
    ends = {end_id, *record.stop_ids}
    asked = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    shown = asked if answer_only else len(ids)
    first = trace.first_commit(len(ids), mask_id)[:shown]
    last = trace.last_commit(len(ids), mask_id)[:shown]
    correlation = left_to_right_correlation(first)
    return DecodingOrder(
        first_commit=tuple(first),
        last_commit=tuple(last),
        first=correlation,
        # Few decoders revise: the same commits are not correlated twice.
        last=correlation if last == first else left_to_right_correlation(last),
        revisions=trace.revisions(mask_id),
    )


def left_to_right_correlation(steps: Sequence[int | None]) -> Correlation | None:
    r"""Return the correlation of positions with the steps of their commits.

    With :math:`s_{ij}` the sign of the difference of two steps and :math:`p_{ij}` that of
    their positions, Kendall's tau-b correlates :math:`s_{ij}` with :math:`p_{ij}`, and
    Spearman's rho the sums of both over j, which are twice the centred mean ranks.

    Args:
        steps: One per position; None for one that does not count.

    Returns:
        None with fewer than two positions or with all of them in one step.

    Source:
        Kendall (1945), "The treatment of ties in ranking problems" (tau-b); Spearman
        (1904), "The proof and measurement of association between two things".

    Example:
        >>> left_to_right_correlation([0, 1, None, 2])
        Correlation(kendall=1.0, spearman=1.0)
    """
    # Not by scipy, which computes p-values as well: many times slower over a whole run.
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


def order_summaries(records: Iterable[Record], *, answer_only: bool = False) -> list[OrderSummary]:
    """Return the average order of each (model, task, decoder setting) that was marked.

    Args:
        records: Of any runs; those that ended in an error are passed over.
        answer_only: See :func:`decoding_order`.
    """
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in latest_records(records):
        if record.marks is not None:
            groups[record.model, record.task_label, record.decoder_label].append(record)
    return [_summary(*key, group, answer_only=answer_only) for key, group in groups.items()]


def _summary(
    model: str, task: str, decoder: str, records: Sequence[Record], *, answer_only: bool
) -> OrderSummary:
    orders = [decoding_order(record, answer_only=answer_only) for record in records]
    samples = [record.index for record in records]
    return OrderSummary(
        model=model,
        task_label=task,
        decoder_label=decoder,
        first_commit=_by_position([order.first_commit for order in orders], samples),
        last_commit=_by_position([order.last_commit for order in orders], samples),
        first_kendall=_mean([o.first and o.first.kendall for o in orders], samples),
        first_spearman=_mean([o.first and o.first.spearman for o in orders], samples),
        last_kendall=_mean([o.last and o.last.kendall for o in orders], samples),
        last_spearman=_mean([o.last and o.last.spearman for o in orders], samples),
        revisions=bootstrap_mean(
            np.array([float(order.revisions) for order in orders]), np.array(samples)
        ),
        decodes=len(orders),
    )


def _by_position(
    commits: Sequence[Sequence[int | None]], samples: Sequence[int]
) -> tuple[Estimate | None, ...]:
    def steps(position: int) -> list[float | None]:
        return [_step(own, position) for own in commits]

    return tuple(_mean(steps(place), samples) for place in range(max(map(len, commits))))


def _step(commits: Sequence[int | None], position: int) -> float | None:
    step = commits[position] if position < len(commits) else None
    return None if step is None else float(step)


def _mean(values: Sequence[float | None], samples: Sequence[int]) -> Estimate | None:
    known = [(v, sample) for v, sample in zip(values, samples, strict=True) if v is not None]
    if not known:
        return None
    present, owners = zip(*known, strict=True)
    return bootstrap_mean(np.array(present, dtype=float), np.array(owners))
