"""Statistics of samples: intervals, paired tests and means with their uncertainty.

All functions take plain arrays; :func:`pair` makes them from records.  Randomness comes from a
seed, so that the same data always give the same figures.  Every interval is at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.stats import binomtest, norm

from parallelbench.analysis.measures.sweep import mark_of, refuse_other_samples
from parallelbench.record import Record, latest_records
from parallelbench.results.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Interval,
    bootstrap_interval,
)

#: Number of random sign flips; the smallest p-value of the test is 1 / (FLIPS + 1).
FLIPS = 9999
#: Number of flips held in memory at a time.
_BLOCK = 1000


class McNemar(NamedTuple):
    """McNemar's test of two decoders on the same samples.

    Attributes:
        only_first: Number of samples that only the first gets right.
        only_second: Number of samples that only the second gets right.
        samples: Number of all samples.
        p_value: two-sided p-value of the hypothesis that both are equally likely, in (0, 1].
    """

    only_first: int
    only_second: int
    samples: int
    p_value: float


class PairedTest(NamedTuple):
    """Result of a paired test of a difference.

    Attributes:
        p_value: two-sided p-value of no difference, in (0, 1].
        interval: Interval of the difference.  It holds 0 if and only if ``p_value`` is greater
            than the error that the interval allows.  An end is infinite if nothing bounds it.
    """

    p_value: float
    interval: Interval


class Pairs(NamedTuple):
    """Decodes of two settings, paired by (task, sample, repeat).

    Attributes:
        first: Measurement of each pair with the first setting.
        second: Measurement of each pair with the second setting.
        cluster: Number of each pair's sample, which its repeats share.
        unpaired: Number of decodes without a partner, or without a measurement on one side.
    """

    first: Float[np.ndarray, " pairs"]
    second: Float[np.ndarray, " pairs"]
    cluster: Int[np.ndarray, " pairs"]
    unpaired: int


# Proportions


def clopper_pearson(successes: int, count: int) -> Interval:
    """Return the exact interval of a proportion: it covers at least 95 % of the time.

    It is wider than :func:`parallelbench.results.intervals.wilson`, which covers 95 % on average.

    Args:
        successes: Number of successes, in [0, count].
        count: Number of trials, at least 1.

    Raises:
        ValueError: ``successes`` or ``count`` is out of range.

    Source:
        Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated
        in the case of the binomial".

    Example:
        >>> interval = clopper_pearson(10, 10)
        >>> round(interval.low, 3), interval.high
        (0.692, 1.0)
    """
    if not 0 <= successes <= count or count < 1:
        raise ValueError(f"{successes} of {count} is no proportion: give 0 <= successes <= count")
    exact = binomtest(successes, count).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(exact.low), float(exact.high))


def mcnemar(first: Bool[np.ndarray, " samples"], second: Bool[np.ndarray, " samples"]) -> McNemar:
    """Test exactly if two decoders are right equally often on the same samples.

    Samples on which both are right or both are wrong carry no information; the others are a fair
    coin under the hypothesis.  Without any of those the p-value is 1.

    Args:
        first: True where the first decoder is right.
        second: True where the second decoder is right; one decode per sample, because repeats are
            not independent.

    Source:
        McNemar (1947), "Note on the sampling error of the difference between correlated
        proportions or percentages"; the exact binomial form.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    apart = only_first + only_second
    p_value = float(binomtest(only_first, apart).pvalue) if apart else 1.0
    return McNemar(only_first, only_second, len(first), p_value)


def bonett_price(
    first: Bool[np.ndarray, " samples"],
    second: Bool[np.ndarray, " samples"],
    *,
    error: float = 1 - CONFIDENCE,
) -> PairedTest:
    r"""Return the interval of the share that the first gets right, less that of the second.

    Unlike a bootstrap it has a width where the two never differ.

    .. math:: p_{12} - p_{21} \pm z \sqrt{\frac{p_{12} + p_{21} - (p_{12} - p_{21})^2}{n + 2}},
              \qquad p_{ij} = \frac{n_{ij} + 1}{n + 2}

    with the numbers of samples that only the first (12) or only the second (21) gets right.  The
    p-value is that of the interval which ends at 0.

    Args:
        first: True where the first is right; at least one sample.
        second: True where the second is right; one decode per sample.
        error: Share of intervals that may miss the truth, in (0, 1).

    Source:
        Bonett and Price (2012), "Adjusted Wald confidence interval for a difference of
        binomial proportions based on paired data".
    """
    count = len(first) + 2
    only_first = (int((first & ~second).sum()) + 1) / count
    only_second = (int((second & ~first).sum()) + 1) / count
    middle = only_first - only_second
    deviation = math.sqrt((only_first + only_second - middle**2) / count)
    half = float(norm.isf(error / 2)) * deviation
    interval = Interval(max(-1.0, middle - half), min(1.0, middle + half))
    return PairedTest(float(2 * norm.sf(abs(middle) / deviation)), interval)


def paired_proportions(
    first: Bool[np.ndarray, " samples"],
    second: Bool[np.ndarray, " samples"],
    *,
    error: float = 1 - CONFIDENCE,
) -> PairedTest:
    """Test if two decoders are right equally often, by both :func:`mcnemar` and an interval.

    McNemar's exact test and the interval of :func:`bonett_price` may disagree where few samples
    distinguish the two.  This test is the more cautious of both: the p-value is the greater one,
    and the interval reaches to 0 where McNemar's test finds no difference.

    Args:
        first: True where the first is right; at least one sample.
        second: True where the second is right; one decode per sample.
        error: Share of intervals that may miss the truth, in (0, 1).
    """
    exact, approximate = mcnemar(first, second).p_value, bonett_price(first, second, error=error)
    low, high = approximate.interval
    if exact > error:
        low, high = min(low, 0.0), max(high, 0.0)
    return PairedTest(max(exact, approximate.p_value), Interval(low, high))


def sign_flips(
    differences: Float[np.ndarray, " samples"],
    *,
    error: float = 1 - CONFIDENCE,
    flips: int = FLIPS,
    seed: int = 0,
) -> PairedTest:
    """Test if a mean difference is 0, by flipping signs.

    Without a difference, each sample's sign is arbitrary.  Where all are
    -1, 0 or 1 that is the hypothesis of :func:`mcnemar`, which counts all flips; here some
    are drawn.  The interval holds every difference that the same flips do not refuse: flipping
    a subset of the samples refuses a difference that lies beyond both the subset's mean and
    that of the other samples.

    Args:
        differences: One per sample; a sample's repeats are averaged before.
        error: Share of intervals that may miss the truth, in (0, 1).
        flips: Number of random flips, at least 1.
        seed: Random seed of the flips.

    Source:
        Fisher (1935), "The design of experiments", section 21; Hartigan (1969), "Using subsample
        values as typical values".
    """
    count, total = len(differences), float(differences.sum())
    lower, upper = np.empty(flips), np.empty(flips)
    rng = np.random.default_rng(seed)
    for start in range(0, flips, _BLOCK):
        part = slice(start, min(start + _BLOCK, flips))
        chosen = rng.integers(2, size=(part.stop - start, count))
        sizes, sums = chosen.sum(axis=1), chosen @ differences
        # A subset without samples refuses nothing.
        sizes, sums = np.stack([sizes, count - sizes]), np.stack([sums, total - sums])
        means = sums / np.maximum(sizes, 1)
        lower[part] = np.where(sizes > 0, means, -np.inf).min(axis=0)
        upper[part] = np.where(sizes > 0, means, np.inf).max(axis=0)
    return _flipped(total / count, np.sort(lower), np.sort(-upper), error)


def _flipped(
    mean: float,
    lower: Float[np.ndarray, " flips"],
    upper: Float[np.ndarray, " flips"],
    error: float,
) -> PairedTest:
    """Return the test from the bounds of all flips, in ascending order; the upper ones negated."""
    flips = len(lower)
    # The sums of the same differences in another order are the same but for rounding.
    rounding = 1e-12 * max(1.0, abs(mean))
    bounds = lower if mean >= 0 else upper
    reached = flips if mean == 0 else int(np.searchsorted(bounds, rounding, side="right"))
    # Number of flips that must reach a difference that is not rejected.
    place = int(error * (flips + 1) + 1e-9) - 1
    if place < 0:
        interval = Interval(-math.inf, math.inf)
    else:
        low, high = float(lower[place]), -float(upper[place])
        interval = Interval(
            *(0.0 if abs(end) <= rounding else end for end in (min(low, mean), max(high, mean)))
        )
    return PairedTest((1 + reached) / (1 + flips), interval)


# Means over samples


def bootstrap_mean(
    values: Float[np.ndarray, " decodes"],
    cluster: Shaped[np.ndarray, " decodes"] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean over samples, with a percentile bootstrap over samples.

    Suited to speeds and other marks without a known distribution.  For accuracy prefer
    :func:`parallelbench.results.intervals.wilson`: samples that are all right leave the bootstrap
    no spread.  Few samples make it a little too narrow: 40 of them cover 93.5 %.

    Args:
        values: One value per decode.
        cluster: The sample of each decode; a sample's repeats are averaged first.  None makes
            every decode a sample of its own.
        resamples: Number of resamples.
        seed: Random seed of the resamples.

    Raises:
        ValueError: ``values`` is empty.

    Source:
        Efron (1979), "Bootstrap methods: another look at the jackknife".
    """
    means = _cluster_means(values, cluster)
    value = math.fsum(means) / len(means)
    if len(means) == 1:
        return Estimate(value, None, 1)
    interval = bootstrap_interval(means, resamples=resamples, seed=seed)
    return Estimate(value, interval, len(means))


def _cluster_means(
    values: Float[np.ndarray, " decodes"], cluster: Shaped[np.ndarray, " decodes"] | None
) -> Float[np.ndarray, " clusters"]:
    if len(values) == 0:
        raise ValueError("a mean needs at least one value, got none")
    if cluster is None:
        return values
    _, group = np.unique(cluster, return_inverse=True)
    group = group.ravel()
    return np.bincount(group, weights=values) / np.bincount(group)


# Pairs of records


def pair(
    first: Iterable[Record],
    second: Iterable[Record],
    measure: Callable[[Record], float | None] = mark_of,
) -> Pairs:
    """Pair the decodes of two settings by (task, sample, repeat).

    Args:
        first: Records of one model and decoder setting.
        second: Records of another one.
        measure: Function that measures a record; None where the measurement is absent.

    Raises:
        IncompleteSweepError: The two have different samples under the same number.
        ValueError: A side holds two decodes of the same sample and repeat: it mixes settings or
            models.
    """
    sides = [_by_decode(first), _by_decode(second)]
    refuse_other_samples(record for side in sides for record in side.values())
    rows: list[tuple[float, float]] = []
    clusters: dict[tuple[str, int], int] = {}
    owners: list[int] = []
    for decode in sorted(sides[0].keys() & sides[1].keys()):
        one, other = (measure(side[decode]) for side in sides)
        if one is not None and other is not None:
            rows.append((one, other))
            owners.append(clusters.setdefault(decode[:2], len(clusters)))
    table = np.array(rows, dtype=float).reshape(-1, 2)
    unpaired = len(sides[0].keys() | sides[1].keys()) - len(rows)
    return Pairs(table[:, 0], table[:, 1], np.array(owners, dtype=int), unpaired)


def mcnemar_of(pairs: Pairs) -> McNemar | None:
    """Return :func:`mcnemar` of paired marks; None where it does not apply.

    It applies to marks that are all 0 or 1, with one decode per sample.
    """
    marks = np.concatenate([pairs.first, pairs.second])
    repeated = len(np.unique(pairs.cluster)) < len(pairs.cluster)
    if repeated or not np.isin(marks, (0.0, 1.0)).all() or len(marks) == 0:
        return None
    return mcnemar(pairs.first == 1, pairs.second == 1)


def _by_decode(records: Iterable[Record]) -> dict[tuple[str, int, int], Record]:
    first: dict[tuple[str, int, int], Record] = {}
    for record in latest_records(records):
        decode = (record.task_label, record.index, record.repeat)
        if decode in first:
            raise ValueError(
                f"{record.task_label} sample {record.index} repeat {record.repeat} was decoded by "
                f"{first[decode].decoder_label} with {first[decode].model_label} and by "
                f"{record.decoder_label} with {record.model_label}: give one setting at a time"
            )
        first[decode] = record
    return first
