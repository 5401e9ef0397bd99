"""Speed at an accuracy, and the other figures that sum up a curve of accuracy and speed.

Tokens per step are canvas tokens per model call throughout, and accuracy is a share in
[0, 1].  A *curve* is a :class:`~parallelbench.analysis.measures.sweep.Sweep` of one decoder whose
settings differ in a dial.

Two rules define the speed of a decoder at an accuracy.  :func:`published_speed_at` is the public
board's rule, for comparison with it: it averages the ratios of the samples, an accuracy that is not
reached gives 0, and adaptive strategies also count between their settings.  :func:`speed_at` is
ours.  It takes *pooled* tokens per step, all canvas tokens over all calls with each sample's weight
in the accuracy, so that a few very fast samples gain nothing.  It reads every strategy at its
settings only, so that leaving settings out never raises a speed.  It has an interval, and an
accuracy that is not reached has no speed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import beta

from parallelbench.analysis.measures.hindsight import TOLERANCE
from parallelbench.analysis.measures.sweep import Sweep
from parallelbench.decoder import DECODERS
from parallelbench.errors import RequestError
from parallelbench.results.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Interval,
    percentile_interval,
)
from parallelbench.results.result import Result
from parallelbench.setting import Setting, build


class SpeedPoint(NamedTuple):
    """One decoder setting, averaged over samples, with either kind of tokens per step."""

    tokens_per_step: float
    accuracy: float


class SpeedEstimate(NamedTuple):
    """A speed, or a ratio of speeds, at an accuracy that may not be reached.

    Attributes:
        value: The speed or ratio; None if the accuracy is not reached.
        interval: Bootstrap interval over samples, see :func:`interval_if_reached`; None without
            ``value``, with one sample, and if more than 2.5 % of the resamples do not reach the
            accuracy.
        reached: Share of the resamples that reach the accuracy, in [0, 1]; for a ratio, the share
            in which both speeds exist.
        samples: Number of samples.
    """

    value: float | None
    interval: Interval | None
    reached: float
    samples: int


# Speed at an accuracy


def points_of(results: Iterable[Result]) -> list[SpeedPoint]:
    """Return the points of the results that were measured, for :func:`published_speed_at`."""
    return [
        SpeedPoint(result.tokens_per_step, result.accuracy)
        for result in results
        if result.tokens_per_step is not None and result.accuracy is not None
    ]


def published_speed_at(accuracy: float, points: Iterable[SpeedPoint], *, adaptive: bool) -> float:
    """Return the greatest tokens per step at ``accuracy``, by the public board's rule.

    Args:
        accuracy: Least share of right answers, in [0, 1].
        points: Settings of one decoder, averaged over tasks.
        adaptive: True if the curve between two points counts as well: linear in tokens
            per step, with the best accuracy kept at equal speed.  The board does so for
            confidence-threshold, confidence-factor, klass, slowfast, dus and wino, and
            takes only points for random, l2r, confidence-topk, entropy-topk and
            topk-margin.

    Returns:
        0.0 if nothing qualifies.  Nothing is extrapolated: a curve that ends above
        ``accuracy`` counts as far as it goes, so such a figure is a floor that is set by
        the grid.

    Source:
        The ParallelBench leaderboard's published cells, from which the rule was recovered.

    Example:
        >>> curve = [SpeedPoint(2.0, 0.9), SpeedPoint(4.0, 0.7)]
        >>> published_speed_at(0.8, curve, adaptive=False)
        2.0
        >>> round(published_speed_at(0.8, curve, adaptive=True), 9)
        3.0
    """
    curve = _merged(points)
    speeds = [p.tokens_per_step for p in curve if p.accuracy >= accuracy - TOLERANCE]
    if adaptive:
        speeds += _downward_crossings(accuracy, curve)
    return max(speeds, default=0.0)


def speed_at(
    accuracy: float, curve: Sweep, *, resamples: int = RESAMPLES, seed: int = 0
) -> SpeedEstimate:
    """Return the greatest pooled tokens per step of the settings that reach ``accuracy``.

    Args:
        accuracy: Least share of right answers, in [0, 1].
        curve: The settings of one decoder.
        resamples: Number of bootstrap resamples over samples, within each task.
        seed: Random seed of the resamples.

    Raises:
        ValueError: ``accuracy`` is not in [0, 1].
    """
    check_accuracy(accuracy)
    speeds = _speeds_at(accuracy, curve, drawn_weights(curve, resamples, seed))
    return estimate_of_draws(speeds, curve.samples)


def drawn_weights(
    curve: Sweep, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "draws samples"]:
    """Return the weight of each sample: as observed in the first row, then resampled.

    Curves on the same samples get the same draws, which keeps their comparison paired.
    """
    return np.vstack([curve.weights, curve.resampled_weights(resamples, seed)])


def drawn_means(
    curve: Sweep, weights: Float[np.ndarray, "draws samples"]
) -> tuple[Float[np.ndarray, "draws settings"], Float[np.ndarray, "draws settings"]]:
    """Return pooled tokens per step and accuracy of every setting, resampled.

    If all samples are right, they are right in every resample, and a few samples would prove
    every accuracy.  In half of the draws such a setting therefore errs, as far as the Jeffreys
    interval of that many samples reaches; all such settings err in the same draws.  Oracles are
    given the answers and do not.

    Args:
        curve: Settings of one model.
        weights: Weight of each sample in each draw, see :func:`drawn_weights`.

    Source:
        Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001).
    """
    speeds, marks = resampled_means(curve, weights)
    doubtful = [
        row
        for row, setting in enumerate(curve.settings)
        if (curve.accuracy[row] == 1).all() and not _is_oracle(setting)
    ]
    if doubtful:
        # Tasks may differ in their numbers of samples: unequal weights count as fewer samples.
        count = 1 / float(weights[0] @ weights[0])
        marks[1:, doubtful] -= _missed(len(weights) - 1, count)[:, None]
    return speeds, marks


def resampled_means(
    curve: Sweep, weights: Float[np.ndarray, "draws samples"]
) -> tuple[Float[np.ndarray, "draws settings"], Float[np.ndarray, "draws settings"]]:
    """Return pooled tokens per step and accuracy of every setting, rounded to 12 digits.

    Args:
        curve: Settings of one model.
        weights: Weight of each sample in each draw, see :func:`drawn_weights`.
    """
    speeds = curve.pooled_tokens_per_step(weights)
    return np.round(speeds, 12), np.round(weights @ curve.accuracy.T, 12)


def is_adaptive(setting: Setting) -> bool:
    """Test if the public board reads a strategy between its settings, too."""
    try:
        return build(setting, DECODERS).adaptive
    except RequestError:  # an external strategy that is not installed here
        return True


def _is_oracle(setting: Setting) -> bool:
    try:
        return "answers" in build(setting, DECODERS).needs
    except RequestError:  # an external strategy that is not installed here
        return False


@lru_cache(maxsize=32)
def _missed(draws: int, samples: float) -> Float[np.ndarray, " draws"]:
    """Return the share of errors that ``samples`` without an error may hide, per draw."""
    # A stream other than that of the resamples, which starts from the same seed.
    chance = np.random.default_rng([0, 1]).random(draws)
    share = beta.isf(chance, 0.5, samples + 0.5)
    return np.round(np.where(chance < 0.5, share, 0.0), 12)


def _speeds_at(
    accuracy: float, curve: Sweep, weights: Float[np.ndarray, "draws samples"]
) -> Float[np.ndarray, " draws"]:
    """Return the speed in every draw; NaN where the accuracy is not reached."""
    return speeds_at(np.array([accuracy]), *drawn_means(curve, weights))[:, 0]


def speeds_at(
    accuracies: Float[np.ndarray, " accuracies"],
    speeds: Float[np.ndarray, "draws settings"],
    marks: Float[np.ndarray, "draws settings"],
) -> Float[np.ndarray, "draws accuracies"]:
    """Return the speeds of many curves at many accuracies, by the rule of :func:`speed_at`.

    Args:
        accuracies: Shares in [0, 1].
        speeds: Tokens per step of each setting in each draw, see :func:`drawn_means`.
        marks: Accuracy of each setting in each draw.

    Returns:
        NaN where the accuracy is not reached.
    """
    speeds, best = _staircase(speeds, marks)
    # The best marks fall with speed, so those that reach an accuracy stand first.
    reaching = np.zeros((len(speeds), len(accuracies)), dtype=np.intp)
    for column in best.T:
        reaching += column[:, None] >= accuracies - TOLERANCE
    fastest = np.take_along_axis(speeds, np.maximum(reaching - 1, 0), axis=1)
    return np.where(reaching > 0, fastest, np.nan)


def _staircase(
    speeds: Float[np.ndarray, "draws settings"], marks: Float[np.ndarray, "draws settings"]
) -> tuple[Float[np.ndarray, "draws settings"], Float[np.ndarray, "draws settings"]]:
    """Sort every draw by speed; each setting gets the best mark of those at least as fast."""
    order = np.argsort(speeds, axis=1, kind="stable")
    speeds, marks = (np.take_along_axis(table, order, axis=1) for table in (speeds, marks))
    return speeds, np.maximum.accumulate(marks[:, ::-1], axis=1)[:, ::-1]


def estimate_of_draws(speeds: Float[np.ndarray, " draws"], samples: int) -> SpeedEstimate:
    """Return a speed, or a ratio of speeds, with its interval.

    Args:
        speeds: Observed value, then one per resample; NaN where the accuracy is not reached.
        samples: Number of samples.
    """
    observed, replicates = float(speeds[0]), speeds[1:]
    reached = float(np.isfinite(replicates).mean())
    if math.isnan(observed):
        return SpeedEstimate(None, None, reached, samples)
    interval = interval_if_reached(replicates) if samples > 1 else None
    return SpeedEstimate(observed, interval, reached, samples)


def interval_if_reached(replicates: Float[np.ndarray, " resamples"]) -> Interval | None:
    """Return the interval of a speed, or of a ratio of speeds; None if it has no lower end.

    A resample that does not reach the accuracy counts as slower than any speed.  If more than
    2.5 % of them do not, nothing bounds the speed from below; report the share of the resamples
    that reach it instead.

    Args:
        replicates: Speeds in the resamples; NaN where the accuracy is not reached.
    """
    missed = np.isnan(replicates)
    # The quantile lies between two replicates, and both must have reached it.
    if missed.sum() > (1 - CONFIDENCE) / 2 * (len(replicates) - 1):
        return None
    return percentile_interval(np.where(missed, 0.0, replicates))


def _merged(points: Iterable[SpeedPoint]) -> list[SpeedPoint]:
    """Sort points by speed; of equal speeds keep the most accurate."""
    merged: list[SpeedPoint] = []
    for point in sorted(points):
        if merged and math.isclose(
            merged[-1].tokens_per_step, point.tokens_per_step, rel_tol=TOLERANCE
        ):
            best = max(merged[-1].accuracy, point.accuracy)
            merged[-1] = merged[-1]._replace(accuracy=best)
        else:
            merged.append(point)
    return merged


def _downward_crossings(accuracy: float, curve: Sequence[SpeedPoint]) -> list[float]:
    return [
        a.tokens_per_step
        + (a.accuracy - accuracy)
        / (a.accuracy - b.accuracy)
        * (b.tokens_per_step - a.tokens_per_step)
        for a, b in itertools.pairwise(curve)
        if a.accuracy >= accuracy > b.accuracy
    ]


def check_accuracy(accuracy: float) -> None:
    """Raise ValueError unless ``accuracy`` is a share in [0, 1]."""
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is a share in [0, 1], got {accuracy}")


# The curve as a whole


def areas_under(
    speeds: Float[np.ndarray, "draws settings"],
    marks: Float[np.ndarray, "draws settings"],
    *,
    low: float,
    high: float,
) -> Float[np.ndarray, " draws"]:
    r"""Return the area under each curve of accuracy over log2(tokens_per_step).

    .. math:: \int_{\log_2 low}^{\log_2 high} accuracy(2^u) \, du

    The accuracy at a speed is the best of the settings that are at least so fast, because a
    decoder may always idle.  Beyond the fastest setting it is 0: nothing was shown there.

    Args:
        speeds: Tokens per step of each setting in each draw.
        marks: Accuracy of each setting in each draw, in [0, 1].
        low: Tokens per step where the range begins, above 0; 1 is one by one.
        high: Tokens per step where the range ends, above ``low``.  Two areas compare only with
            the same range.

    Returns:
        In doublings of speed, in [0, log2(high / low)]; divided by that width it is a mean
        accuracy.

    Raises:
        ValueError: ``low`` is not above 0 and below ``high``.

    Example:
        >>> areas_under(np.array([[2.0, 4.0]]), np.array([[1.0, 0.5]]), low=1.0, high=8.0)
        array([1.5])
    """
    if not 0 < low < high:
        raise ValueError(f"an area needs 0 < low < high, got low={low}, high={high}")
    speeds, best = _staircase(speeds, marks)
    start = math.log2(low)
    ends = np.clip(np.log2(speeds), start, math.log2(high))
    areas: Float[np.ndarray, " draws"] = (np.diff(ends, axis=1, prepend=start) * best).sum(axis=1)
    return areas
