r"""Bits that a decoder ignores along its traces, to compare with the adaptive frontier.

The error of a decoder is :math:`KL(P \| Q) = E_P[\sum_t C(S_t \mid ctx_t)]`: the conditional total
correlation of the positions that it writes in each step, summed along its trace and averaged over
the answer distribution P.  A run samples from the decoder's own distribution Q instead.  Each trace
that ends in a right answer therefore has the weight :math:`P / Q`, the product over its
steps of the joint probability of the written tokens over the product of their marginals; a trace
that no right answer agrees with has weight 0.  The weights average 1, so weighted means estimate
expectations under P, like the frontier of :mod:`~parallelbench.analysis.theory.adaptive`.

:func:`trace_bits` adds up the bits of any trace; weights need the ideal model, whose draws follow
the marginals, at temperature 1.

Source: this project; the chain rule is equation 2 of Kang et al., ParallelBench
(arXiv:2510.04767), for positions that may depend on the written tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from parallelbench.analysis.measures.losses import is_ideal
from parallelbench.analysis.theory.remaining_answers import RemainingAnswers
from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.record import Record
from parallelbench.results.intervals import RESAMPLES, Interval, percentile_interval


class TraceBits(NamedTuple):
    """Bits that one decode ignored by writing dependent tokens in the same step.

    Attributes:
        steps: Conditional total correlation of the positions written in each step; None for a
            step without a model call, and if no right answer agreed with the canvas before it.
        total: Sum over the steps with a model call; None if one of them has no value.
        weight: P / Q of the trace; 0 if no right answer agrees with its end.  None unless the
            ideal model was sampled at temperature 1 and no position was opened again.
        calls: Number of model calls.
    """

    steps: tuple[float | None, ...]
    total: float | None
    weight: float | None
    calls: int


class ExpectedBits(NamedTuple):
    """Expected model calls and bits of one decoder setting, over the right answers.

    Attributes:
        expected_steps: Model calls.
        steps_interval: 95 % interval of ``expected_steps``.
        bits: Sum of the conditional total correlations of all steps.
        bits_interval: 95 % interval of ``bits``.
        traces: Number of traces.
        right: Number of traces that end in a right answer.
    """

    expected_steps: float
    steps_interval: Interval
    bits: float
    bits_interval: Interval
    traces: int
    right: int


def trace_bits(record: Record, distribution: AnswerDistribution) -> TraceBits:
    """Return the bits that each step of a decode ignored, and their sum.

    Args:
        record: A decode with a trace.
        distribution: Distribution of the right answers over the tokens of the record's canvas.

    Raises:
        RecordsError: The record has no trace, because a server decoded by itself.
    """
    decoding = record.require_decoding()
    trace, mask_id = decoding.trace, decoding.mask_id
    remaining = RemainingAnswers.of(record, distribution)
    canvas = list(decoding.canvas)
    remaining.look_ahead((each, ()) for each in trace.canvases(canvas))
    steps: list[float | None] = []
    log2_weight, before = 0.0, remaining.mass(canvas)
    for positions, ids, rows in zip(trace.positions, trace.ids, trace.rows, strict=True):
        written = [at for at, token in zip(positions, ids, strict=True) if token != mask_id]
        steps.append(remaining.unmodelled_bits(canvas, written) if rows else None)
        alone = remaining.probabilities(canvas, positions, ids)
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
        after = remaining.mass(canvas)
        if after and before:
            log2_weight += math.log2(after / before)
            log2_weight -= math.fsum(math.log2(each) for each in alone if each is not None)
        before = after
    bits = [each for each, rows in zip(steps, trace.rows, strict=True) if rows]
    known = [each for each in bits if each is not None]
    sampled = is_ideal(record.model_label) and record.decoder.fields.get("temperature") == 1
    weight = 2**log2_weight if before else 0.0
    return TraceBits(
        steps=tuple(steps),
        total=math.fsum(known) if len(known) == len(bits) else None,
        weight=weight if sampled and not decoding.counts.revisions else None,
        calls=trace.nfe,
    )


def expected_bits(traces: Sequence[TraceBits], seed: int = 0) -> ExpectedBits:
    """Return the expected model calls and bits of a decoder setting from its traces.

    Args:
        traces: Decodes of one decoder setting by the ideal model at temperature 1, on samples of
            one answer distribution or of distributions that differ only in their symbols.
        seed: Random seed of the bootstrap.

    Raises:
        ValueError: A trace has no weight, there is no trace, or none ends in a right answer.
    """
    table = np.array([_row(trace) for trace in traces]).reshape(-1, 3)
    right = int((table[:, 0] > 0).sum())
    if not right:
        raise ValueError(
            f"none of {len(traces)} traces ended in a right answer, so nothing is known of the "
            "decoder's bits on right answers; decode more samples"
        )
    picks = np.random.default_rng(seed).integers(len(table), size=(RESAMPLES, len(table)))
    drawn = table[picks]
    # A resample without a right answer has no weighted mean.
    drawn = drawn[drawn[:, :, 0].sum(axis=1) > 0]
    bits, steps = _weighted(table[None])
    resampled_bits, resampled_steps = _weighted(drawn)
    return ExpectedBits(
        expected_steps=float(steps[0]),
        steps_interval=percentile_interval(resampled_steps),
        bits=float(bits[0]),
        bits_interval=percentile_interval(resampled_bits),
        traces=len(traces),
        right=right,
    )


def _row(trace: TraceBits) -> tuple[float, float, int]:
    if trace.weight is None:
        raise ValueError(
            "expected bits need decodes of the ideal model at temperature 1 that never open a "
            "position again; run such a decoder with model ideal and temperature=1"
        )
    return trace.weight, trace.total or 0.0, trace.calls


def _weighted(tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted means of bits and of model calls, one per table."""
    weights = tables[:, :, 0]
    total = weights.sum(axis=1)
    return (
        (weights * tables[:, :, 1]).sum(axis=1) / total,
        (weights * tables[:, :, 2]).sum(axis=1) / total,
    )
