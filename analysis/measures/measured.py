r"""What the traces of a run cost in bits: where a decoder stands against the speed limit.

The error of a decoder is :math:`KL(P \| Q) = E_P[\sum_t C(S_t \mid ctx_t)]`: the conditional
total correlation of what it writes in each step, summed along its path and averaged over
the law P of the right answers.  A run samples from the decoder's own law Q instead.  Each
trace that ends in a right answer therefore counts with its weight :math:`P / Q`, the product
over its steps of the joint probability of what was written over the product of the
marginals; a trace that left the law has weight 0.  The weights average 1, so the figures are
those of P, as they are for the frontier of :mod:`~parallelbench.analysis.theory.adaptive`.

This needs the ideal model, whose draws follow the marginals, and temperature 1, at which it
draws.

Source: this project; the chain rule is equation 2 of Kang et al., ParallelBench
(arXiv:2510.04767), for positions that may depend on what was written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from parallelbench.analysis.measures.losses import is_ideal
from parallelbench.analysis.theory.dependence import Law, total_correlation
from parallelbench.record import Record
from parallelbench.results.intervals import RESAMPLES, Interval, percentile_interval


class Path(NamedTuple):
    """One trace under the law of the right answers.

    Attributes:
        weight: P / Q of the trace; 0 if it left the law.
        bits: Sum of the conditional total correlations of its steps; 0 if it left the law.
        steps: Model calls.
    """

    weight: float
    bits: float
    steps: int


class Measured(NamedTuple):
    """Where one decoder setting stands on one law.

    Attributes:
        expected_steps: Model calls, on average over the right answers.
        steps_interval: Its 95 % interval.
        bits: Expected sum of the conditional total correlations.
        bits_interval: Its 95 % interval.
        traces: How many.
        right: Those of them that never left the law.
    """

    expected_steps: float
    steps_interval: Interval
    bits: float
    bits_interval: Interval
    traces: int
    right: int


def path_of(record: Record, law: Law) -> Path:
    """Return what one trace cost.

    Args:
        record: Of the ideal model, at temperature 1.
        law: Of the right answers, with a token of the record's canvas for a symbol.

    Raises:
        ValueError: The record is not of the ideal model at temperature 1, or opened a
            position again.
    """
    _check(record)
    bits = log2_weight = 0.0
    left = law
    trace = record.decoding.trace
    for positions, ids in zip(trace.positions, trace.ids, strict=True):
        if not positions:
            continue
        bits += total_correlation(left, positions)
        written = left.rows[:, positions] == np.array(ids)
        alone = [float(left.probabilities[column].sum()) for column in written.T]
        fits = written.all(axis=1)
        together = float(left.probabilities[fits].sum())
        if not together:
            return Path(0.0, 0.0, trace.nfe)
        log2_weight += math.log2(together) - math.fsum(map(math.log2, alone))
        left = left.select(fits)
    return Path(2**log2_weight, bits, trace.nfe)


def measured(paths: Sequence[Path], seed: int = 0) -> Measured:
    """Return where a decoder stands, from its paths.

    Args:
        paths: Of one decoder setting, on samples of one law or of laws that differ in the
            names of their symbols only.
        seed: Of the bootstrap.

    Raises:
        ValueError: No path at all, or none that stayed within the law.
    """
    right = sum(path.weight > 0 for path in paths)
    if not right:
        raise ValueError(
            f"none of {len(paths)} traces ended in a right answer, so nothing is known of the "
            "decoder's bits on right answers; decode more samples"
        )
    table = np.array([(path.weight, path.bits, path.steps) for path in paths])
    picks = np.random.default_rng(seed).integers(len(table), size=(RESAMPLES, len(table)))
    drawn = table[picks]
    # A resample without a right answer tells nothing.
    drawn = drawn[drawn[:, :, 0].sum(axis=1) > 0]
    bits, steps = _weighted(table[None])
    resampled_bits, resampled_steps = _weighted(drawn)
    return Measured(
        expected_steps=float(steps[0]),
        steps_interval=percentile_interval(resampled_steps),
        bits=float(bits[0]),
        bits_interval=percentile_interval(resampled_bits),
        traces=len(paths),
        right=right,
    )


def _weighted(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted means of bits and steps of each table."""
    weights = tables[:, :, 0]
    total = weights.sum(axis=1)
    return (
        (weights * tables[:, :, 1]).sum(axis=1) / total,
        (weights * tables[:, :, 2]).sum(axis=1) / total,
    )


def _check(record: Record) -> None:
    temperature = record.decoder_fields.get("temperature")
    if not is_ideal(record.model) or temperature != 1:
        raise ValueError(
            "bits are measured on draws of the ideal model at temperature 1, got a record of "
            f"{record.model!r} at temperature {temperature}; run the decoder with temperature=1"
        )
    if record.decoding.counts.revisions:
        raise ValueError(
            f"a trace that revises ({record.decoder_label}) has no chain rule to add its bits up by"
        )
