"""The figures that a curve of accuracy against tokens per step is summed up by.

Tokens per step are canvas tokens per model call throughout, and accuracy is a share in
[0, 1].  A *curve* is a :class:`~parallelbench.analysis.measures.sweep.Sweep` of one decoder whose
settings differ in a dial.

Two rules say how fast a decoder is at an accuracy.  :func:`published_speed_at` is the
public board's, and serves to compare with it: it takes the mean of each sample's own ratio,
a number that is not reached is 0, and adaptive strategies count between their settings, too.
:func:`speed_at` is ours.  It takes *pooled* tokens per step, all canvas tokens over all calls
with each sample's weight in the accuracy, so that a few samples decoded in no time buy nothing.
It reads every strategy at its settings only, so that leaving settings out never raises a speed.
It tells how sure one may be, and what is not reached is absent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from parallelbench.analysis.measures.hindsight import TOLERANCE, frontier_of
from parallelbench.analysis.measures.losses import LABEL, is_ideal
from parallelbench.analysis.measures.sweep import Sweep
from parallelbench.decoder import DECODERS
from parallelbench.errors import RequestError
from parallelbench.results.intervals import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Interval,
    percentile_interval,
)
from parallelbench.results.result import Result
from parallelbench.setting import Setting, build

#: Share of right answers at which the oracle efficiency of a decoder setting is taken.
EFFICIENCY_ACCURACY = 0.8
EFFICIENCY_PERCENT = round(100 * EFFICIENCY_ACCURACY)

INFORMATION = "information"


class Point(NamedTuple):
    """One decoder setting, averaged over samples; either kind of tokens per step."""

    tokens_per_step: float
    accuracy: float


class SpeedEstimate(NamedTuple):
    """A speed, or a ratio of speeds, at an accuracy that may not be reached.

    Attributes:
        value: None if the accuracy is not reached.
        interval: By bootstrap over samples, see :func:`interval_if_reached`: None if more than
            2.5 % of the resamples do not reach the accuracy, with ``value``, or with one sample.
        reached: Share of the resamples that reach the accuracy, in [0, 1]; of a ratio,
            those in which both speeds exist.
        samples: How many.
    """

    value: float | None
    interval: Interval | None
    reached: float
    samples: int


# Speed at an accuracy


def points_of(results: Iterable[Result]) -> list[Point]:
    """Return the points of the results that were measured, for :func:`published_speed_at`."""
    return [
        Point(result.tokens_per_step, result.accuracy)
        for result in results
        if result.tokens_per_step is not None and result.accuracy is not None
    ]


def published_speed_at(accuracy: float, points: Iterable[Point], *, adaptive: bool) -> float:
    """Return the greatest tokens per step at ``accuracy``, by the public board's rule.

    Args:
        accuracy: At least this share, in [0, 1].
        points: Of one decoder, averaged over tasks.
        adaptive: Whether the curve between two points counts as well: linear in tokens
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
        >>> curve = [Point(2.0, 0.9), Point(4.0, 0.7)]
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
        accuracy: At least this share, in [0, 1].
        curve: The settings of one decoder.
        resamples: Of the bootstrap over samples, within each task.
        seed: Of its draws.

    Raises:
        ValueError: ``accuracy`` is not in [0, 1].
    """
    _refuse_no_share(accuracy)
    speeds = _speeds_at(accuracy, curve, drawn_weights(curve, resamples, seed))
    return _speed_estimate(speeds, curve.samples)


def hindsight_efficiency(
    accuracy: float, curve: Sweep, candidates: Sweep, *, resamples: int = RESAMPLES, seed: int = 0
) -> SpeedEstimate:
    """Return the decoder's speed at ``accuracy`` over that of choosing per sample afterwards.

    It is at most 1 if the curve's settings are among the candidates and all of them have the
    same canvas to fill; 1 says that no choice among them for each sample would have been faster
    at this accuracy.

    Args:
        accuracy: In [0, 1].
        curve: The settings of one decoder.
        candidates: What hindsight may choose from, on the same samples: the settings of
            ``confidence_threshold``, or all that were run.
        resamples: Of the bootstrap, which draws the same samples for both.
        seed: Of its draws.

    Raises:
        ValueError: ``accuracy`` is not in [0, 1], or the samples differ.
    """
    _refuse_no_share(accuracy)
    _refuse_other_columns(curve, candidates)
    weights = drawn_weights(curve, resamples, seed)
    best = frontier_of(candidates).speeds_at(accuracy, weights)
    return _speed_estimate(_speeds_at(accuracy, curve, weights) / best, curve.samples)


def oracle_efficiency(
    accuracy: float, curve: Sweep, oracle: Sweep, *, resamples: int = RESAMPLES, seed: int = 0
) -> SpeedEstimate:
    """Return the decoder's speed at ``accuracy`` over that of an oracle that was run.

    Both are read as :func:`speed_at` does.  An oracle counts at its own settings, a floor, so
    the ratio may exceed 1 at low accuracies.

    Args:
        accuracy: In [0, 1].
        curve: The settings of one decoder.
        oracle: The settings of an oracle on the same samples, such as ``label``.
        resamples: Of the bootstrap, which draws the same samples for both.
        seed: Of its draws.

    Raises:
        ValueError: ``accuracy`` is not in [0, 1], or the samples differ.
    """
    _refuse_no_share(accuracy)
    _refuse_other_columns(curve, oracle)
    weights = drawn_weights(curve, resamples, seed)
    best = _speeds_at(accuracy, oracle, weights)
    return _speed_estimate(_speeds_at(accuracy, curve, weights) / best, curve.samples)


def efficiencies_of_settings(
    accuracy: float,
    settings: Sweep,
    oracle: Sweep | None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, SpeedEstimate]:
    """Return the oracle efficiency at ``accuracy`` of every setting, as a curve of one point.

    The speed of a setting is its own pooled tokens per step where its accuracy is at least
    ``accuracy``; a setting below that has no efficiency.

    Args:
        accuracy: In [0, 1].
        settings: Decoder settings that were not told the right answers.
        oracle: The settings of an oracle on the same samples, as in :func:`oracle_efficiency`;
            None for the choice among ``settings`` for each sample afterwards, as in
            :func:`hindsight_efficiency`.
        resamples: Of the bootstrap, which draws the same samples for all.
        seed: Of its draws.

    Returns:
        By the setting's label.

    Raises:
        ValueError: ``accuracy`` is not in [0, 1], or the samples differ.
    """
    _refuse_no_share(accuracy)
    weights = drawn_weights(settings, resamples, seed)
    best = _oracle_speeds(accuracy, settings, oracle, weights)
    speeds, marks = drawn_means(settings, weights)
    wanted = np.array([accuracy])
    return {
        setting.label: _speed_estimate(
            speeds_at(wanted, speeds[:, [row]], marks[:, [row]])[:, 0] / best, settings.samples
        )
        for row, setting in enumerate(settings.settings)
    }


def oracle_speed(accuracy: float, settings: Sweep, oracle: Sweep | None) -> float | None:
    """Return the pooled tokens per step at ``accuracy`` that efficiencies are against.

    Args:
        accuracy: In [0, 1].
        settings: As in :func:`efficiencies_of_settings`.
        oracle: Likewise.

    Returns:
        As observed, without resampling; None if the oracle does not reach ``accuracy``.
    """
    weights = settings.weights[None]
    speed = float(_oracle_speeds(accuracy, settings, oracle, weights)[0])
    return None if math.isnan(speed) else speed


def oracle_for(model: str, ran: Collection[str]) -> str | None:
    """Return the decoder that is the oracle of a model's efficiency.

    Args:
        model: Label of the model.
        ran: Names of the oracles that were run with it.

    Returns:
        The label oracle, which goes by the predictions of the model; for the ideal model the
        information oracle, which goes by their law; the other one if that was not run.  None
        if neither was: the efficiency is then against hindsight.

    Example:
        >>> oracle_for("mini", {"information", "label"}), oracle_for("mini", set())
        ('label', None)
    """
    names = (INFORMATION, LABEL) if is_ideal(model) else (LABEL, INFORMATION)
    return next((name for name in names if name in ran), None)


def _oracle_speeds(
    accuracy: float,
    settings: Sweep,
    oracle: Sweep | None,
    weights: Float[np.ndarray, "draws samples"],
) -> Float[np.ndarray, " draws"]:
    if oracle is None:
        return frontier_of(settings).speeds_at(accuracy, weights)
    _refuse_other_columns(settings, oracle)
    return _speeds_at(accuracy, oracle, weights)


def _refuse_other_columns(curve: Sweep, other: Sweep) -> None:
    if (curve.tasks, curve.indices) != (other.tasks, other.indices):
        raise ValueError(
            "efficiency compares decoders on the same samples, got "
            f"{curve.samples} and {other.samples} samples that are not the same"
        )


def drawn_weights(
    curve: Sweep, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "draws samples"]:
    """Return what each sample counts: as observed in the first row, then resampled.

    Curves on the same samples get the same draws, which keeps their comparison paired.
    """
    return np.vstack([curve.weights, curve.resampled_weights(resamples, seed)])


def drawn_means(
    curve: Sweep, weights: Float[np.ndarray, "draws samples"]
) -> tuple[Float[np.ndarray, "draws settings"], Float[np.ndarray, "draws settings"]]:
    """Return pooled tokens per step and accuracy of every setting, resampled and doubted.

    Samples that are all right are so in every resample, however few they are, and would claim
    every accuracy for sure.  In half of the draws such a setting therefore errs, as far as the
    Jeffreys interval of that many samples reaches; all such settings err in the same draws.
    Oracles are told what is right, and do not.

    Args:
        curve: Settings of one model.
        weights: As :func:`drawn_weights` gives them.

    Source:
        Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001).
    """
    speeds, marks = resampled_means(curve, weights)
    doubtful = [
        row
        for row, setting in enumerate(curve.settings)
        if (curve.accuracy[row] == 1).all() and not _is_told(setting)
    ]
    if doubtful:
        # Tasks may have unlike numbers of samples: what weighs unlike counts for less.
        count = 1 / float(weights[0] @ weights[0])
        marks[1:, doubtful] -= _missed(len(weights) - 1, count)[:, None]
    return speeds, marks


def resampled_means(
    curve: Sweep, weights: Float[np.ndarray, "draws samples"]
) -> tuple[Float[np.ndarray, "draws settings"], Float[np.ndarray, "draws settings"]]:
    """Return pooled tokens per step and accuracy of every setting, without dust of rounding.

    Args:
        curve: Settings of one model.
        weights: As :func:`drawn_weights` gives them.
    """
    speeds = curve.pooled_tokens_per_step(weights)
    return np.round(speeds, 12), np.round(weights @ curve.accuracy.T, 12)


def is_adaptive(setting: Setting) -> bool:
    """Return whether the public board would read a strategy between its settings, too."""
    try:
        return build(setting, DECODERS).adaptive
    except RequestError:  # a strategy of somebody's own, which is not installed here
        return True


def _is_told(setting: Setting) -> bool:
    try:
        return "answers" in build(setting, DECODERS).needs
    except RequestError:  # a strategy of somebody's own, which is not installed here
        return False


@lru_cache(maxsize=32)
def _missed(draws: int, samples: float) -> Float[np.ndarray, " draws"]:
    """Return what share of errors may have been missed in ``samples`` that are all right."""
    from scipy.stats import beta

    # Another stream than that of the resamples, which begins at the same seed.
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
        speeds: Tokens per step of each setting in each draw, as :func:`drawn_means` gives them.
        marks: Accuracy, likewise.

    Returns:
        NaN where the accuracy is not reached.
    """
    speeds, best = _staircase(speeds, marks)
    # The best marks fall with speed, so those that reach an accuracy stand first.
    reaching = np.zeros((len(speeds), len(accuracies)), dtype=np.intp)
    for column in best.T:
        reaching += column[:, None] >= accuracies - TOLERANCE
    found = np.take_along_axis(speeds, np.maximum(reaching - 1, 0), axis=1)
    return np.where(reaching > 0, found, np.nan)


def _staircase(
    speeds: Float[np.ndarray, "draws settings"], marks: Float[np.ndarray, "draws settings"]
) -> tuple[Float[np.ndarray, "draws settings"], Float[np.ndarray, "draws settings"]]:
    """Sort every draw by speed; each setting gets the best mark of those at least as fast."""
    order = np.argsort(speeds, axis=1, kind="stable")
    speeds, marks = (np.take_along_axis(table, order, axis=1) for table in (speeds, marks))
    return speeds, np.maximum.accumulate(marks[:, ::-1], axis=1)[:, ::-1]


def _speed_estimate(speeds: Float[np.ndarray, " draws"], samples: int) -> SpeedEstimate:
    observed, replicates = float(speeds[0]), speeds[1:]
    reached = float(np.isfinite(replicates).mean())
    if math.isnan(observed):
        return SpeedEstimate(None, None, reached, samples)
    interval = interval_if_reached(replicates) if samples > 1 else None
    return SpeedEstimate(observed, interval, reached, samples)


def interval_if_reached(replicates: Float[np.ndarray, " resamples"]) -> Interval | None:
    """Return the interval of a speed, or of a ratio of speeds; None if it has no lower end.

    A resample that does not reach the accuracy stands below every speed.  If more than 2.5 % of
    them do not, nothing bounds the speed from below: what is to be told then is the share of the
    resamples that reach it.

    Args:
        replicates: Of the resamples; NaN where the accuracy is not reached.
    """
    missed = np.isnan(replicates)
    # The quantile lies between two replicates, and both must have reached it.
    if missed.sum() > (1 - CONFIDENCE) / 2 * (len(replicates) - 1):
        return None
    return percentile_interval(np.where(missed, 0.0, replicates))


def _merged(points: Iterable[Point]) -> list[Point]:
    """Sort by speed; of points of equal speed keep the most accurate."""
    merged: list[Point] = []
    for point in sorted(points):
        if merged and math.isclose(
            merged[-1].tokens_per_step, point.tokens_per_step, rel_tol=TOLERANCE
        ):
            best = max(merged[-1].accuracy, point.accuracy)
            merged[-1] = merged[-1]._replace(accuracy=best)
        else:
            merged.append(point)
    return merged


def _downward_crossings(accuracy: float, curve: Sequence[Point]) -> list[float]:
    return [
        a.tokens_per_step
        + (a.accuracy - accuracy)
        / (a.accuracy - b.accuracy)
        * (b.tokens_per_step - a.tokens_per_step)
        for a, b in itertools.pairwise(curve)
        if a.accuracy >= accuracy > b.accuracy
    ]


def _refuse_no_share(accuracy: float) -> None:
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is a share in [0, 1], got {accuracy}")


# The curve as a whole


def area_under(points: Iterable[Point], *, low: float, high: float) -> float | None:
    r"""Return the area under accuracy over log2(tokens_per_step), in doublings of speed.

    .. math:: \int_{\log_2 low}^{\log_2 high} accuracy(2^u) \, du

    The accuracy at a speed is the best of the points that are at least so fast: whoever has
    time may idle.  Beyond the fastest point it is 0: nothing was shown there.

    Args:
        points: Of one decoder.
        low: Tokens per step where the range begins, above 0; 1 is one by one.
        high: Where it ends, above ``low``; the canvas length is one step for everything.
            Two areas compare only with the same range.

    Returns:
        In [0, log2(high / low)]; divided by that width it is a mean accuracy.  None
        without a point.

    Raises:
        ValueError: The range is none.

    Example:
        >>> area_under([Point(2.0, 1.0), Point(4.0, 0.5)], low=1.0, high=8.0)
        1.5
    """
    held = list(points)
    speeds, marks = np.array(held, dtype=float).reshape(1, -1, 2).transpose(2, 0, 1)
    areas = areas_under(speeds, marks, low=low, high=high)
    return float(areas[0]) if held else None


def areas_under(
    speeds: Float[np.ndarray, "draws settings"],
    marks: Float[np.ndarray, "draws settings"],
    *,
    low: float,
    high: float,
) -> Float[np.ndarray, " draws"]:
    """Return :func:`area_under` of many curves at once; 0 without a setting.

    Args:
        speeds: Tokens per step of each setting in each draw.
        marks: Accuracy, likewise.
        low: Where the range begins.
        high: Where it ends.

    Raises:
        ValueError: The range is none.
    """
    if not 0 < low < high:
        raise ValueError(f"an area needs 0 < low < high, got low={low}, high={high}")
    speeds, best = _staircase(speeds, marks)
    start = math.log2(low)
    ends = np.clip(np.log2(speeds), start, math.log2(high))
    areas: Float[np.ndarray, " draws"] = (np.diff(ends, axis=1, prepend=start) * best).sum(axis=1)
    return areas


def area_estimate(
    curve: Sweep, *, low: float, high: float, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return :func:`area_under` of a curve, with a bootstrap interval over samples.

    Raises:
        ValueError: The range is none.
    """
    areas = areas_under(
        *drawn_means(curve, drawn_weights(curve, resamples, seed)), low=low, high=high
    )
    interval = percentile_interval(areas[1:]) if curve.samples > 1 else None
    return Estimate(float(areas[0]), interval, curve.samples)


def parallelizability(
    tokens: Float[np.ndarray, " settings"], scores: Float[np.ndarray, " settings"]
) -> float | None:
    r"""Return how many tokens per step a task bears, in tokens per step.

    .. math:: \sum_k k \, score_k / \sum_k score_k

    Args:
        tokens: k, the tokens that each setting commits per step.
        scores: The accuracy at each k, in [0, 1].

    Returns:
        In [min k, max k]; None if every score is 0.  It depends on the grid of k: compare
        tasks on one grid.

    Source:
        ParallelBench, appendix G.1.

    Example:
        >>> parallelizability(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 0.0]))
        1.5
    """
    total = float(scores.sum())
    return float(tokens @ scores) / total if total > 0 else None


def parallelizability_estimate(
    curve: Sweep, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate | None:
    """Return :func:`parallelizability` along the dial ``k``, with a bootstrap interval.

    Args:
        curve: Settings of one decoder with a field ``k``, nothing else varying.
        resamples: Of the bootstrap over samples.
        seed: Of its draws.

    Returns:
        None if every score is 0.

    Raises:
        ValueError: A setting has no ``k``, or two have the same.
    """
    tokens = np.array(_dial(curve, "k"), dtype=float)
    return _estimate(curve, lambda _, marks: parallelizability(tokens, marks), resamples, seed)


def order_preference(
    block_length: Float[np.ndarray, " settings"], scores: Float[np.ndarray, " settings"]
) -> float | None:
    """Return the slope of the score over the block length, in accuracy per token.

    Short blocks force the order from left to right: a negative slope says that the task
    prefers it, a positive one that it prefers to choose.  The line is that of least
    squares.

    Args:
        block_length: In tokens.
        scores: The accuracy at each block length, in [0, 1]; the paper takes 2 tokens per
            step.

    Returns:
        None with fewer than two different block lengths.

    Source:
        ParallelBench, appendix G.1.
    """
    centred = block_length - block_length.mean()
    spread = float(centred @ centred)
    return float(centred @ scores) / spread if spread > 0 else None


def order_preference_estimate(
    curve: Sweep, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate | None:
    """Return :func:`order_preference` along the dial ``block_length``, with an interval.

    Args:
        curve: Settings of one decoder at k=2, only ``block_length`` varying; none means
            the whole canvas.
        resamples: Of the bootstrap over samples.
        seed: Of its draws.

    Returns:
        None with fewer than two different block lengths.

    Raises:
        ValueError: Two settings have the same block length, or one is the whole canvas
            and the canvases differ in length.
    """
    lengths = _dial(curve, "block_length", default=_canvas_length(curve))
    blocks = np.array(lengths, dtype=float)
    return _estimate(curve, lambda _, marks: order_preference(blocks, marks), resamples, seed)


def _canvas_length(curve: Sweep) -> int | None:
    lengths = set(curve.canvas.tolist())
    return lengths.pop() if len(lengths) == 1 else None


def _dial(curve: Sweep, field: str, default: int | None = None) -> list[int]:
    values = [setting.fields.get(field) for setting in curve.settings]
    known = [default if value is None else value for value in values]
    found = [value for value in known if type(value) is int]
    if len(found) < len(known) or len(set(found)) < len(found):
        raise ValueError(
            f"a curve along {field!r} needs settings that each have another whole number of it, "
            f"got {values} with canvas lengths {sorted(set(curve.canvas.tolist()))}"
        )
    return found


def _estimate(
    curve: Sweep, figure: Callable[..., float | None], resamples: int, seed: int
) -> Estimate | None:
    """Return ``figure`` of the mean speeds and marks; resamples without it are passed over."""
    weights = drawn_weights(curve, resamples, seed)
    speeds, marks = drawn_means(curve, weights)
    found = [figure(*row) for row in zip(speeds, marks, strict=True)]
    if found[0] is None:
        return None
    replicates = np.array([value for value in found[1:] if value is not None])
    interval = percentile_interval(replicates) if curve.samples > 1 and replicates.size else None
    return Estimate(found[0], interval, curve.samples)
