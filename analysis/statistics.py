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

from parallelbench.analysis.sweep import mark_of, refuse_other_samples
from parallelbench.record import Record
from parallelbench.results import CONFIDENCE, RESAMPLES, Interval

#: Of a test by flipping signs: its smallest p-value is one over this and one.
FLIPS = 9999
#: So many of them at a time: all of them would fill the memory.
_BLOCK = 1000


class Estimate(NamedTuple):
    """A number with its uncertainty.

    Attributes:
        value: In the unit that the function tells.
        interval: None if nothing is known of the spread: a single sample.
        samples: How many independent ones it rests on.
    """

    value: float
    interval: Interval | None
    samples: int


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

    It is wider than :func:`parallelbench.results.wilson`, which covers 95 % on average.

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
    first: Bool[np.ndarray, " samples"], second: Bool[np.ndarray, " samples"]
) -> Interval:
    r"""Return the interval of the share that the first gets right, less that of the second.

    Unlike a bootstrap it has a width where the two never differ, which a hundred samples do
    not prove for all others.

    .. math:: p_{12} - p_{21} \pm z \sqrt{\frac{p_{12} + p_{21} - (p_{12} - p_{21})^2}{n + 2}},
              \qquad p_{ij} = \frac{n_{ij} + 1}{n + 2}

    with the numbers of samples that only the first (12) or only the second (21) gets right.

    Args:
        first: True where the first is right; at least one sample.
        second: The same of the second; one decode per sample.

    Source:
        Bonett and Price (2012), "Adjusted Wald confidence interval for a difference of
        binomial proportions based on paired data".
    """
    count = len(first) + 2
    only_first = (int((first & ~second).sum()) + 1) / count
    only_second = (int((second & ~first).sum()) + 1) / count
    middle = only_first - only_second
    half = _normal_quantile() * math.sqrt((only_first + only_second - middle**2) / count)
    return Interval(max(-1.0, middle - half), min(1.0, middle + half))


def sign_flips(
    differences: Float[np.ndarray, " samples"], *, flips: int = FLIPS, seed: int = 0
) -> float:
    """Return the p-value of no difference in either direction, by flipping signs, in (0, 1].

    Without a difference each sample's could as well have had the other sign.  Where all are
    -1, 0 or 1 that is the hypothesis of :func:`mcnemar`, which counts all flips; here some
    are drawn.

    Args:
        differences: One per sample; a sample's repeats are averaged before.
        flips: How many are drawn, at least 1.
        seed: Of the draws.

    Source:
        Fisher (1935), "The design of experiments", section 21.
    """
    apart = differences[differences != 0]
    rng = np.random.default_rng(seed)
    observed = abs(float(apart.sum()))
    reached = 0
    for start in range(0, flips, _BLOCK):
        signs = 2 * rng.integers(2, size=(min(_BLOCK, flips - start), len(apart))) - 1
        reached += int((np.abs(signs @ apart) >= observed - 1e-12).sum())
    return (1 + reached) / (1 + flips)


def holm(p_values: Float[np.ndarray, " comparisons"]) -> Float[np.ndarray, " comparisons"]:
    """Return the p-values adjusted for being several, in their order, in [0, 1].

    Refusing where the adjusted value is at most alpha makes any false refusal at all as
    rare as alpha, however the comparisons depend on each other.

    Raises:
        ValueError: A p-value is not in [0, 1].

    Source:
        Holm (1979), "A simple sequentially rejective multiple test procedure".

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], got {p_values.tolist()}")
    order = np.argsort(p_values, kind="stable")
    left = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(left * p_values[order]))
    return adjusted


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
    :func:`parallelbench.results.wilson`: samples that are all right leave the bootstrap
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
    if np.ptp(means) == 0:
        return Estimate(value, Interval(value, value), len(means))
    picks = np.random.default_rng(seed).integers(len(means), size=(resamples, len(means)))
    return Estimate(value, percentile_interval(means[picks].mean(axis=1)), len(means))


def paired_difference(
    first: Float[np.ndarray, " pairs"],
    second: Float[np.ndarray, " pairs"],
    cluster: Shaped[np.ndarray, " pairs"] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean of ``first - second`` over samples, with a paired bootstrap.

    Args:
        first: One value per decode of the first decoder.
        second: Of the second decoder on the same samples, in the same order.
        cluster: The sample of each pair; see :func:`bootstrap_mean`.
        resamples: How many.
        seed: Of the draws.

    Raises:
        ValueError: There is no pair.
    """
    return bootstrap_mean(first - second, cluster, resamples=resamples, seed=seed)


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


def percentile_interval(replicates: Float[np.ndarray, " resamples"]) -> Interval:
    """Return the interval that holds the middle 95 % of bootstrap replicates."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(float(low), float(high))


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
