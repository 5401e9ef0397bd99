"""How sure one may be: intervals, paired tests and estimates from samples.

No mark without an interval and a count, and no difference without a test on the same
samples.  All functions take plain arrays; :func:`pair` makes them from records.  Where
randomness is needed it comes from a seed, so the same data always give the same figures.
Every interval is at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from parallelbench.analysis.measures.sweep import mark_of, refuse_other_samples
from parallelbench.record import Record
from parallelbench.results.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Interval,
    bootstrap_interval,
)

#: Of a test by flipping signs: its smallest p-value is one over this and one.
FLIPS = 9999
#: So many of them at a time: all of them would fill the memory.
_BLOCK = 1000


class McNemar(NamedTuple):
    """How two decoders differ on the same samples.

    Attributes:
        only_first: Samples that the first got right and the second wrong.
        only_second: The opposite.
        samples: All of them.
        p_value: Of the hypothesis that either is as likely, two-sided, in (0, 1].
    """

    only_first: int
    only_second: int
    samples: int
    p_value: float


class PairedTest(NamedTuple):
    """What a paired test says of a difference.

    Attributes:
        p_value: Of no difference in either direction, in (0, 1].
        interval: Of the difference.  It holds 0 if and only if ``p_value`` is greater than the
            error that the interval allows.  An end is infinite where nothing bounds it.
    """

    p_value: float
    interval: Interval


class Dependence(NamedTuple):
    """Total correlation of answers, estimated from samples.

    Attributes:
        plug_in_bits: Of the empirical law; 0 or more, and too high on average.
        corrected_bits: After Miller and Madow; it may lie below 0.
        standard_error_bits: Of either, from the spread of the pointwise values; it goes to
            0 under independence, where ``p_value`` is to be asked instead.
        interval: Of ``corrected_bits``, by the normal approximation.
        p_value: Of independence, by permutation, in (0, 1].
        permutations: How many.
        samples: How many answers.
    """

    plug_in_bits: float
    corrected_bits: float
    standard_error_bits: float
    interval: Interval
    p_value: float
    permutations: int
    samples: int


class Pairs(NamedTuple):
    """Decodes of two settings, paired by (task, sample, repeat).

    Attributes:
        first: What was measured with the first setting.
        second: With the second.
        cluster: The number of each pair's sample: its repeats share one.
        unpaired: Decodes of either that had no partner, or no measurement on a side.
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
        successes: How many, in [0, count].
        count: Of how many, at least 1.

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
    from scipy.stats import binomtest

    if not 0 <= successes <= count or count < 1:
        raise ValueError(f"{successes} of {count} is no proportion: give 0 <= successes <= count")
    found = binomtest(successes, count).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(found.low), float(found.high))


def mcnemar(first: Bool[np.ndarray, " samples"], second: Bool[np.ndarray, " samples"]) -> McNemar:
    """Test whether two decoders are right equally often on the same samples, exactly.

    Samples on which both are right or both wrong say nothing; the others are a fair coin
    under the hypothesis.  Without any of those the p-value is 1.

    Args:
        first: True where the first decoder is right.
        second: The same of the second; one decode per sample, for repeats are not
            independent.

    Source:
        McNemar (1947), "Note on the sampling error of the difference between correlated
        proportions or percentages"; the exact binomial form.
    """
    from scipy.stats import binomtest

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

    Unlike a bootstrap it has a width where the two never differ, which a hundred samples do
    not prove for all others.

    .. math:: p_{12} - p_{21} \pm z \sqrt{\frac{p_{12} + p_{21} - (p_{12} - p_{21})^2}{n + 2}},
              \qquad p_{ij} = \frac{n_{ij} + 1}{n + 2}

    with the numbers of samples that only the first (12) or only the second (21) gets right.  The
    p-value is that of the interval which ends at 0.

    Args:
        first: True where the first is right; at least one sample.
        second: The same of the second; one decode per sample.
        error: Share of intervals that may miss the truth, in (0, 1).

    Source:
        Bonett and Price (2012), "Adjusted Wald confidence interval for a difference of
        binomial proportions based on paired data".
    """
    from scipy.stats import norm

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
    """Test whether two decoders are right equally often, by both :func:`mcnemar` and an interval.

    McNemar's exact test and the interval of :func:`bonett_price` may differ where few samples
    tell the two apart.  Here neither says more than both: the p-value is the greater one, and
    the interval reaches to 0 where McNemar's test finds no difference.

    Args:
        first: True where the first is right; at least one sample.
        second: The same of the second; one decode per sample.
        error: Share of intervals that may miss the truth, in (0, 1).
    """
    exact, found = mcnemar(first, second).p_value, bonett_price(first, second, error=error)
    low, high = found.interval
    if exact > error:
        low, high = min(low, 0.0), max(high, 0.0)
    return PairedTest(max(exact, found.p_value), Interval(low, high))


def sign_flips(
    differences: Float[np.ndarray, " samples"],
    *,
    error: float = 1 - CONFIDENCE,
    flips: int = FLIPS,
    seed: int = 0,
) -> PairedTest:
    """Test whether a mean difference is 0, by flipping signs.

    Without a difference each sample's could as well have had the other sign.  Where all are
    -1, 0 or 1 that is the hypothesis of :func:`mcnemar`, which counts all flips; here some
    are drawn.  The interval holds every difference that the same flips do not refuse: flipping
    a subset of the samples refuses a difference that lies beyond both the subset's mean and
    that of the other samples.

    Args:
        differences: One per sample; a sample's repeats are averaged before.
        error: Share of intervals that may miss the truth, in (0, 1).
        flips: How many are drawn, at least 1.
        seed: Of the draws.

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
    # So many flips must reach a difference that is not refused.
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

    For speeds and other marks without a known law.  For accuracy prefer
    :func:`parallelbench.results.intervals.wilson`: samples that are all right leave the bootstrap
    no spread.  Few samples make it a little too narrow: 40 of them cover 93.5 %.

    Args:
        values: One per decode.
        cluster: The sample of each decode; a sample's repeats are averaged first.  None
            makes every decode a sample of its own.
        resamples: How many.
        seed: Of the draws.

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


def clustered_standard_error(
    values: Float[np.ndarray, " decodes"], cluster: Shaped[np.ndarray, " decodes"]
) -> float | None:
    r"""Return the cluster-robust standard error of the plain mean of ``values``.

    .. math:: \frac{1}{N} \sqrt{\frac{G}{G-1} \sum_g \Big(\sum_{i \in g} (x_i - \bar x)\Big)^2}

    With one decode per cluster it is the usual standard error.

    Args:
        values: One per decode; each counts alike, unlike in :func:`bootstrap_mean`, which
            lets samples count alike.  With equal repeats the two means agree.
        cluster: The sample of each decode.

    Returns:
        In the unit of ``values``; None with fewer than two clusters.

    Source:
        Liang and Zeger (1986), "Longitudinal data analysis using generalized linear
        models"; the factor G/(G-1) as in Cameron and Miller (2015), "A practitioner's
        guide to cluster-robust inference".
    """
    names, group = np.unique(cluster, return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(group.ravel(), weights=values - values.mean())
    return float(np.sqrt(len(names) / (len(names) - 1) * (sums**2).sum()) / len(values))


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
        first: Of one model and decoder setting.
        second: Of another.
        measure: What is compared; None where it is absent.

    Raises:
        IncompleteSweepError: The two met different samples under the same number.
        ValueError: A side holds two decodes of the same sample and repeat: it mixes
            settings or models.
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
    found: dict[tuple[str, int, int], Record] = {}
    for record in {record.key: record for record in records}.values():
        decode = (record.task_label, record.index, record.repeat)
        if decode in found:
            raise ValueError(
                f"{record.task_label} sample {record.index} repeat {record.repeat} was decoded by "
                f"{found[decode].decoder_label} with {found[decode].model} and by "
                f"{record.decoder_label} with {record.model}: give one setting at a time"
            )
        found[decode] = record
    return found


# Dependence


def estimated_dependence(
    answers: Shaped[np.ndarray, "samples length"], *, permutations: int = 1000, seed: int = 0
) -> Dependence:
    r"""Estimate the total correlation of answers from samples of them, in bits.

    .. math:: \hat C = \sum_j \hat H(Y_j) - \hat H(Y), \qquad
              \hat H_{MM} = \hat H + \frac{K - 1}{2 N \ln 2}

    with K the number of different outcomes that were seen.  The permutation test shuffles
    each position on its own, which leaves the marginals as they are.

    Args:
        answers: One answer per row, one symbol per position; all of one prompt.
        permutations: How many, at least 1.
        seed: Of the shuffles.

    Raises:
        ValueError: There are fewer than two answers, no position, or no permutation.

    Source:
        Miller (1955), "Note on the bias of information estimates".
    """
    if min(answers.shape) < 1 or len(answers) < 2 or permutations < 1:
        raise ValueError(
            "an estimate needs at least 2 answers of 1 position and 1 permutation, got "
            f"{len(answers)} answers of {answers.shape[1]} and {permutations} permutations"
        )
    codes = np.stack([np.unique(symbols, return_inverse=True)[1].ravel() for symbols in answers.T])
    pointwise, extra = _pointwise_bits(codes)
    count = len(answers)
    plug_in = max(0.0, float(pointwise.mean()))
    corrected = plug_in + extra / (2 * count * math.log(2))
    error = float(pointwise.std(ddof=1)) / math.sqrt(count)
    half = _normal_quantile() * error
    return Dependence(
        plug_in_bits=plug_in,
        corrected_bits=corrected,
        standard_error_bits=error,
        interval=Interval(corrected - half, corrected + half),
        p_value=_independence_p_value(codes, plug_in, permutations, np.random.default_rng(seed)),
        permutations=permutations,
        samples=count,
    )


def _pointwise_bits(
    codes: Int[np.ndarray, "length samples"],
) -> tuple[Float[np.ndarray, " samples"], int]:
    """Return log2 p(y) / prod p(y_j) of every sample, and the correction's count of outcomes."""
    count = codes.shape[1]
    bits, outcomes = _log_shares(_joined(codes))
    extra = -(outcomes - 1)
    for symbols in codes:
        logs, outcomes = _log_shares(symbols)
        bits = bits - logs
        extra += outcomes - 1
    return bits.reshape(count), extra


def _log_shares(codes: Int[np.ndarray, " samples"]) -> tuple[Float[np.ndarray, " samples"], int]:
    _, group, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    logs: Float[np.ndarray, " samples"] = np.log2(sizes / len(codes))[group.ravel()]
    return logs, len(sizes)


def _joined(codes: Int[np.ndarray, "length samples"]) -> Int[np.ndarray, " samples"]:
    """Return one number per sample, the same for equal answers."""
    joined: Int[np.ndarray, " samples"] = codes[0]
    for symbols in codes[1:]:
        # Numbered anew at every position, so that no long answer overflows.
        joined = np.unique(joined * (symbols.max() + 1) + symbols, return_inverse=True)[1].ravel()
    return joined


def _independence_p_value(
    codes: Int[np.ndarray, "length samples"],
    observed: float,
    permutations: int,
    rng: np.random.Generator,
) -> float:
    reached = 0
    for _ in range(permutations):
        # The first position may stay: only the pairing matters.
        shuffled = np.stack([codes[0], *(rng.permutation(symbols) for symbols in codes[1:])])
        bits, _ = _pointwise_bits(shuffled)
        reached += bool(bits.mean() >= observed - 1e-12)
    return (1 + reached) / (1 + permutations)


def _normal_quantile() -> float:
    from scipy.stats import norm

    return float(norm.ppf((1 + CONFIDENCE) / 2))
