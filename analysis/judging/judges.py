r"""Pass rates corrected for the errors of their judge, with intervals.

A grammar checker or a language model that is asked "is this sentence right?" passes some bad
sentences and fails some good ones.  Its *sensitivity* se is the chance that it passes a good
one, its *specificity* sp the chance that it fails a bad one.  Of sentences of which the share
p is good it passes

.. math:: q = se \, p + (1 - sp)(1 - p),

so the raw pass rate q has a bias that more sentences do not remove.  A judge with 80 % on both
sides reports 0.2 + 0.6 p.  Both are estimated from a *calibration set*: sentences whose labels are
known.

All intervals are at 95 % and cover the sampling error of three sets: the judged sentences, and the
good and the bad ones of the calibration set.  They are Fieller's; those of the delta method are
wrong if few calibration examples leave se + sp - 1 uncertain.  In simulations they hold the truth
94 to 98 % of the time (``docs/judges.md``).

Sources: Rogan and Gladen (1978), "Estimating prevalence from the results of a screening
test"; Fieller (1954), "Some problems in interval estimation"; Agresti and Coull (1998) for
the added counts, as Lang and Reiczigel (2014), "Confidence limits for prevalence of
disease adjusted for estimated sensitivity and specificity", add them here; Lee et al. (2025),
"How to correctly report LLM-as-a-judge evaluations", for the question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Shaped

from parallelbench.errors import RequestError
from parallelbench.results.intervals import Estimate, Interval, normal_quantile, wilson

#: Largest number of calibration examples of one class.
_MOST_EXAMPLES = 10**8


#: Number of successes or trials: whole, or effective if samples were repeated.
Count: TypeAlias = float | int


class JudgeError(RequestError, ValueError):
    """A judge, its calibration or a file of verdicts does not allow the request."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Verdict counts of a judge on labelled examples.

    Attributes:
        good_passed: Number of good examples that it passed, in [0, ``good_count``].
        good_count: Number of good examples, at least 1.
        bad_failed: Number of bad examples that it failed, in [0, ``bad_count``].
        bad_count: Number of bad examples, at least 1.

    Raises:
        JudgeError: A count is out of range, or one of the two classes is missing.
    """

    good_passed: int
    good_count: int
    bad_failed: int
    bad_count: int

    def __post_init__(self) -> None:
        for label, count in (("good", self.good_count), ("bad", self.bad_count)):
            if count < 1:
                raise JudgeError(
                    f"the calibration set has no {label} example, so nothing is known of what "
                    f"the judge does with {label} ones: add some (a hundred of each is a start)"
                )
        _refuse_no_share(self.good_passed, self.good_count, "good examples that passed")
        _refuse_no_share(self.bad_failed, self.bad_count, "bad examples that failed")

    @property
    def sensitivity(self) -> Estimate:
        """The probability that a good example passes, with Wilson's interval."""
        return _share(self.good_passed, self.good_count)

    @property
    def specificity(self) -> Estimate:
        """The probability that a bad example fails, with Wilson's interval."""
        return _share(self.bad_failed, self.bad_count)


@dataclass(frozen=True, slots=True)
class JudgedSystem:
    """Verdict counts of a judge on the replies of one system.

    Attributes:
        passed: Number of replies that passed, in [0, ``count``]; fractional if it is a sum over
            samples of the share of their repeats that passed.
        count: Number of judged replies, or of samples, at least 1.
        calibration: Calibration of the same judge.

    Raises:
        JudgeError: A count is out of range, or the judge is no better than chance: its
            sensitivity and specificity add up to 1 or less.
    """

    passed: Count
    count: Count
    calibration: Calibration

    def __post_init__(self) -> None:
        _refuse_no_share(self.passed, self.count, "replies that passed")
        se, sp = self.calibration.sensitivity.value, self.calibration.specificity.value
        if se + sp <= 1:
            raise JudgeError(
                f"this judge passes {100 * se:.0f} % of the good examples and "
                f"{100 * (1 - sp):.0f} % of the bad ones: it does not distinguish them "
                f"(sensitivity {se:.3f} + specificity {sp:.3f} is not above 1), so nothing can be "
                "corrected; take another judge, or check that its labels are not swapped"
            )


class CorrectedRate(NamedTuple):
    """A pass rate, as reported and corrected for the errors of its judge.

    Attributes:
        value: Corrected share of good replies, in [0, 1].
        interval: Interval of ``value``; [0, 1] if the calibration set is too small to distinguish
            the judge from chance.
        raw: Share that passed, with Wilson's interval, which ignores the judge's errors.
        judged: Verdict counts from which it was computed.
    """

    value: float
    interval: Interval
    raw: Estimate
    judged: JudgedSystem


class RateDifference(NamedTuple):
    """The difference of two systems after correction.

    Attributes:
        value: Corrected share of the first less that of the second, in [-1, 1].
        interval: Interval of ``value``.
        raw: Difference of the shares that passed, which compares judges as well as systems.
    """

    value: float
    interval: Interval
    raw: float


class CalibrationSize(NamedTuple):
    """The number of labels and replies needed for an interval of a given width.

    Attributes:
        good: Number of good calibration examples; None if no number is enough.
        bad: Number of bad calibration examples; None if no number is enough.
        judged: Number of replies to judge: as many as were judged, or, if no calibration is
            enough, the least with which a perfect calibration would be.  None if unspecified.
    """

    good: int | None
    bad: int | None
    judged: int | None


class Coverage(NamedTuple):
    """Coverage of the intervals in a simulation.

    Attributes:
        rate: True share of good replies.
        raw: Share of Wilson's intervals of the raw rate that hold it.
        corrected: Share of the intervals of :func:`corrected_rate` that hold it.
        raw_mean: Mean of the raw rates.
        corrected_mean: Mean of the corrected rates.
        repetitions: Number of simulated experiments.
    """

    rate: float
    raw: float
    corrected: float
    raw_mean: float
    corrected_mean: float
    repetitions: int


# Rates


def corrected_rate(*, passed: Count, count: Count, calibration: Calibration) -> CorrectedRate:
    r"""Return the share of good replies among those that a judge passed or failed.

    .. math:: \hat p = \frac{\hat q + \hat{sp} - 1}{\hat{se} + \hat{sp} - 1}

    clipped to [0, 1].  The interval holds every p for which

    .. math:: (\hat q - p \, \hat{se} - (1 - p)(1 - \hat{sp}))^2
              \le z^2 (v_q + p^2 v_{se} + (1 - p)^2 v_{sp})

    where z²/2 successes and failures are added to the judged replies and one of each to the
    two sides of the calibration, which keeps the variances v away from 0.

    Args:
        passed: Number of replies that the judge passed, as in :class:`JudgedSystem`.
        count: Number of judged replies, or of samples, at least 1.
        calibration: Calibration of the same judge.

    Raises:
        JudgeError: A count is out of range, or the judge is no better than chance.

    Example:
        >>> calibration = Calibration(80, 100, 80, 100)
        >>> rate = corrected_rate(passed=140, count=200, calibration=calibration)
        >>> round(rate.raw.value, 2), round(rate.value, 2)
        (0.7, 0.83)
        >>> [round(end, 2) for end in rate.interval]
        [0.69, 1.0]
    """
    judged = JudgedSystem(passed, count, calibration)
    se, sp = calibration.sensitivity.value, calibration.specificity.value
    value = min(1.0, max(0.0, (passed / count + sp - 1) / (se + sp - 1)))
    low, high = _rate_interval(_moments_of(judged))
    # With very few examples, the added counts outweigh the observed ones.
    ends = Interval(min(value, float(low)), max(value, float(high)))
    return CorrectedRate(value, ends, _share(passed, count), judged)


def corrected_difference(
    first: JudgedSystem, second: JudgedSystem, *, same_judge: bool
) -> RateDifference:
    r"""Return the corrected rate of the first system less that of the second.

    Under one judge the errors of its calibration fall on both systems and mostly cancel: by
    Fieller's method for the ratio of q₁ - q₂ to se + sp - 1.  Two judges err independently: the
    two intervals are combined by the method of variance estimates recovery.

    The replies of the two systems count as independent.  If both answered the same questions
    and find the same ones hard, the interval is wider than necessary.

    Args:
        first: Verdict counts of one system.
        second: Verdict counts of another system.
        same_judge: True if one judge with one calibration set judged both; equal counts do not
            show it.

    Raises:
        JudgeError: ``same_judge`` is true and the calibrations differ.

    Source:
        Zou and Donner (2008), "Construction of confidence limits about effect measures: a
        general approach" (two judges).
    """
    one = corrected_rate(passed=first.passed, count=first.count, calibration=first.calibration)
    two = corrected_rate(passed=second.passed, count=second.count, calibration=second.calibration)
    value, raw = one.value - two.value, one.raw.value - two.raw.value
    if not same_judge:
        low = value - math.hypot(one.value - one.interval.low, two.interval.high - two.value)
        high = value + math.hypot(one.interval.high - one.value, two.value - two.interval.low)
        return RateDifference(value, Interval(max(-1.0, low), min(1.0, high)), raw)
    if first.calibration != second.calibration:
        raise JudgeError("one judge has one calibration set, but two different ones were given")
    interval = _difference_interval(_moments_of(first), _moments_of(second))
    return RateDifference(value, Interval(min(value, interval.low), max(value, interval.high)), raw)


# Sample sizes


def calibration_needed(
    width: float, calibration: Calibration, judged: JudgedSystem | None = None
) -> CalibrationSize:
    """Return the number of calibration examples that an interval of ``width`` needs.

    The computation takes the observed error rates of the judge and the observed pass rate as
    true; the first few dozen labels are enough to plan the rest.  The numbers of good and bad
    examples minimize their sum.

    Args:
        width: Width of the whole interval, from its lower to its upper end, in (0, 1).
        calibration: Calibration so far.
        judged: Verdict counts to be corrected.  None plans for every pass rate and an unlimited
            number of replies.

    Raises:
        JudgeError: ``width`` is not in (0, 1), or the judge is no better than chance.

    Example:
        >>> calibration = Calibration(80, 100, 80, 100)
        >>> calibration_needed(0.2, calibration, JudgedSystem(140, 200, calibration))
        CalibrationSize(good=None, bad=None, judged=233)
    """
    if not 0 < width < 1:
        raise JudgeError(f"width must lie in (0, 1), from end to end of the interval, got {width}")
    plan = _Plan.of(calibration, judged)
    if plan.width(_MOST_EXAMPLES, plan.count) > width:
        least = _least(lambda count: plan.width(_MOST_EXAMPLES, count) <= width)
        return CalibrationSize(None, None, least)
    total = _least(lambda total: plan.width(total, plan.count) <= width)
    good, bad = plan.shared_out(total)
    replies = None if judged is None else math.ceil(judged.count)
    return CalibrationSize(math.ceil(good), math.ceil(bad), replies)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Assumed rates, and the split of labels into good and bad.

    Attributes:
        rates: True shares of good replies for which the width must hold.
        sensitivity: Assumed sensitivity of the judge.
        specificity: Assumed specificity of the judge.
        count: Number of judged replies.
        good_share: Share of good ones among the calibration examples.
    """

    rates: Sequence[float]
    sensitivity: float
    specificity: float
    count: Count
    good_share: float

    @classmethod
    def of(cls, calibration: Calibration, judged: JudgedSystem | None) -> _Plan:
        JudgedSystem(1, 1, calibration)  # refuses a judge that is no better than chance
        # Adjusted rates: a judge without an observed error may still err.
        known = _moments((1, 1), *_shares(calibration))
        se, sp = float(known.sensitivity), float(known.specificity)
        spread_good, spread_bad = math.sqrt(se * (1 - se)), math.sqrt(sp * (1 - sp))
        if judged is None:
            rates, count = [step / 10 for step in range(11)], float(_MOST_EXAMPLES)
            good, bad = spread_good**2, spread_bad**2
        else:
            share = float(_moments_of(judged).passing)
            rate = min(1.0, max(0.0, (share + sp - 1) / (se + sp - 1)))
            rates, count = [rate], float(judged.count)
            good, bad = rate * spread_good, (1 - rate) * spread_bad
        return cls(rates, se, sp, count, good / (good + bad))

    def shared_out(self, total: int) -> tuple[float, float]:
        return max(1.0, total * self.good_share), max(1.0, total * (1 - self.good_share))

    def width(self, total: int, count: Count) -> float:
        """Return the width of the widest interval if every observed rate equals the assumed one."""
        good, bad = self.shared_out(total)
        se, sp = self.sensitivity, self.specificity
        rates = np.array(self.rates)
        passing = rates * se + (1 - rates) * (1 - sp)
        moments = _moments((passing * count, count), (se * good, good), (sp * bad, bad))
        low, high = _rate_interval(moments)
        return float(np.max(high - low))


def _least(enough: Callable[[int], bool]) -> int:
    """Return the least whole number for which the monotone test ``enough`` holds."""
    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


# Simulation


def coverage(
    rate: float,
    calibration: tuple[float, float],
    counts: tuple[int, int, int],
    *,
    repetitions: int = 2000,
    seed: int = 0,
) -> Coverage:
    """Return the coverage of the intervals for a known truth, by simulation.

    Args:
        rate: True share of good replies, in [0, 1].
        calibration: True sensitivity and specificity of the judge, together above 1.
        counts: Numbers of judged replies, and of good and bad calibration examples.
        repetitions: Number of simulated experiments, each with its own calibration; an
            experiment whose judge is no better than chance counts as a miss.
        seed: Random seed of the draws.
    """
    (sensitivity, specificity), (count, good, bad) = calibration, counts
    draw = np.random.default_rng(seed).binomial
    passed = draw(count, rate * sensitivity + (1 - rate) * (1 - specificity), repetitions)
    good_passed, bad_failed = (
        draw(good, sensitivity, repetitions),
        draw(bad, specificity, repetitions),
    )
    moments = _moments((passed, count), (good_passed, good), (bad_failed, bad))
    low, high = _rate_interval(moments)
    gain = good_passed / good + bad_failed / bad - 1
    usable = gain > 0
    held = usable & (low <= rate) & (rate <= high)
    raw = np.array([wilson(float(number), float(count)) for number in range(count + 1)])[passed]
    values = (passed / count + bad_failed / bad - 1)[usable] / gain[usable]
    return Coverage(
        rate=rate,
        raw=float(((raw[:, 0] <= rate) & (rate <= raw[:, 1])).mean()),
        corrected=float(held.mean()),
        raw_mean=float(passed.mean()) / count,
        corrected_mean=float(values.clip(0, 1).mean()),
        repetitions=repetitions,
    )


# Intervals

#: One number, or one for each of several cases.
Numbers = float | int | Shaped[np.ndarray, "*cases"]
#: Successes and trials.
_Share: TypeAlias = tuple[Numbers, Numbers]


class _Moments(NamedTuple):
    """Adjusted shares and the variances of their means, case by case."""

    passing: Numbers
    sensitivity: Numbers
    specificity: Numbers
    passing_variance: Numbers
    sensitivity_variance: Numbers
    specificity_variance: Numbers


def _moments(passed: _Share, good_passed: _Share, bad_failed: _Share) -> _Moments:
    """Return the adjusted shares; each argument is a number of successes and one of trials."""
    passing, passing_variance = _adjusted(*passed, normal_quantile() ** 2)
    sensitivity, sensitivity_variance = _adjusted(*good_passed, 2.0)
    specificity, specificity_variance = _adjusted(*bad_failed, 2.0)
    return _Moments(
        passing,
        sensitivity,
        specificity,
        passing_variance,
        sensitivity_variance,
        specificity_variance,
    )


def _moments_of(judged: JudgedSystem) -> _Moments:
    return _moments((judged.passed, judged.count), *_shares(judged.calibration))


def _shares(calibration: Calibration) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        (calibration.good_passed, calibration.good_count),
        (calibration.bad_failed, calibration.bad_count),
    )


def _adjusted(successes: Numbers, count: Numbers, added: float) -> tuple[Numbers, Numbers]:
    """Return a share and its variance after ``added`` trials, half of them successes."""
    share = (successes + added / 2) / (count + added)
    return share, share * (1 - share) / (count + added)


def _rate_interval(moments: _Moments) -> tuple[Numbers, Numbers]:
    """Return both ends, clipped to [0, 1]."""
    passing, se, sp, v_passing, v_se, v_sp = moments
    squared = normal_quantile() ** 2
    gain, above = se + sp - 1, passing + sp - 1
    low, high = _between_roots(
        gain**2 - squared * (v_se + v_sp),
        above * gain - squared * v_sp,
        above**2 - squared * (v_passing + v_sp),
        gain,
    )
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _difference_interval(first: _Moments, second: _Moments) -> Interval:
    squared = normal_quantile() ** 2
    gain = first.sensitivity + first.specificity - 1
    apart = first.passing - second.passing
    low, high = _between_roots(
        gain**2 - squared * (first.sensitivity_variance + first.specificity_variance),
        apart * gain,
        apart**2 - squared * (first.passing_variance + second.passing_variance),
        gain,
    )
    return Interval(max(-1.0, float(low)), min(1.0, float(high)))


def _between_roots(a: Numbers, b: Numbers, c: Numbers, gain: Numbers) -> tuple[Numbers, Numbers]:
    """Return the interval in which a x² - 2 b x + c is at most 0; everything if ``a`` <= 0.

    That happens if the calibration set does not show the judge to be better than chance.
    """
    bounded = (np.asarray(a) > 0) & (np.asarray(gain) > 0)
    divisor = np.where(bounded, a, 1.0)
    half = np.sqrt(np.maximum(b * b - a * c, 0.0)) / divisor
    low = np.where(bounded, b / divisor - half, -np.inf)
    high = np.where(bounded, b / divisor + half, np.inf)
    return low, high


def _share(successes: Count, count: Count) -> Estimate:
    interval = wilson(float(successes), float(count))
    return Estimate(successes / count, interval, math.floor(count))


def _refuse_no_share(successes: Count, count: Count, what: str) -> None:
    if count < 1 or not 0 <= successes <= count:
        raise JudgeError(f"{what}: {successes} of {count} is no share of at least 1")
