"""Which row is surely faster than which at an accuracy, and the ranks that follow from it.

Everything is counted in resamples that are the same for all rows, so that each comparison is
paired.  A resample in which a row does not reach the accuracy A is a *miss* of that row: it is
worse than any speed for the row that missed, and speaks against every claim that this row is
the faster one, whatever the other row did.

A row is **surely faster** than another at A if both of these hold.

1. It surely reaches A.  The share of its misses is small enough that all rows together falsely
   claim to reach A in at most 2.5 % of cases (step-down: the level follows from the joint
   distribution of the rows' accuracies over the resamples, so rows that err together cost no
   more than one of them).
2. It surely has the greater speed.  A pair's statistic is the difference of the logarithms of both
   speeds over its root mean square change in the resamples that both rows reach.  It must exceed
   the critical value that the greatest statistic of all pairs exceeds in 2.5 % of resamples when
   no pair differs; pairs that do are then set aside, and the critical value is that of the
   rest, until nothing changes.  And no more resamples may show the pair equal or in the other
   order than the normal tail beyond the critical value allows.

So the chance of one false claim among all pairs of a section is at most 5 %, as the simulation in
``benchmarks/ranks.py`` confirms.  Misses enter no mean and no standard deviation.

**Ranks.**  Rows are sorted by speed, and rows of equal speed by their misses.  From the fastest
down, a row shares the rank of the rows before it unless one of those is surely faster; then it
begins a new rank, which is one more than the number of rows above it.  Therefore no row of a rank
is surely faster than another one of that rank, and no row stands above one with a greater speed.
Two rows of different ranks may still be too close to be told apart.

Source: Romano and Wolf, "Exact and approximate stepdown methods for multiple hypothesis testing"
(2005) and "Stepwise multiple testing as formalized data snooping" (2005), for the step-down
bootstrap of a greatest statistic; Mandel and Betensky, "Simultaneous confidence intervals based
on the percentile bootstrap approach" (2008), for ranks of resamples in place of a scale in (1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from parallelbench.analysis.hindsight import TOLERANCE
from parallelbench.results import CONFIDENCE

#: Chance of a false claim of either kind, among all rows or pairs of a section.
_LEVEL = (1 - CONFIDENCE) / 2
#: So many resamples, the first ones, give the spread of a pair and the critical value, both of
#: which they settle within a few per cent; what is counted is counted in all of them.
_SPREAD_RESAMPLES = 2500
#: Differences of logarithms up to here are rounding, in single precision.
_ROUNDING = 1e-6


def tied_ranks(
    speeds: Float[np.ndarray, "rows draws"], reaching: Bool[np.ndarray, " rows"] | None = None
) -> list[int | None]:
    """Return the rank of each row, by the rule that stands at the top of this module.

    Args:
        speeds: Tokens per step: as observed in the first column, then in resamples that are the
            same for all rows.  NaN where the accuracy is not reached.
        reaching: Rows that surely reach the accuracy, see :func:`surely_reaching`; None for all.

    Returns:
        From 1; None for a row that does not reach the accuracy.

    Example:
        The first two cannot be told apart, and the third is slower in every resample:

        >>> tied_ranks(np.array([[4.0, 5.0, 3.0], [3.9, 4.0, 5.0], [1.0, 1.1, 0.9]]))
        [1, 1, 3]
    """
    observed = speeds[:, 0]
    misses = np.isnan(speeds).mean(axis=1)
    reached = np.flatnonzero(np.isfinite(observed))
    order = reached[np.lexsort((misses[reached], -observed[reached]))]
    surely = surely_faster(speeds[order])
    if reaching is not None:
        surely &= reaching[order, None]
    ranks: list[int | None] = [None] * len(speeds)
    first = 0
    for place, row in enumerate(order):
        if surely[first:place, place].any():
            first = place
        ranks[row] = first + 1
    return ranks


def surely_reaching(
    accuracies: Sequence[float] | Float[np.ndarray, " accuracies"],
    best: Float[np.ndarray, "rows draws"],
) -> Bool[np.ndarray, "rows accuracies"]:
    """Return which rows surely reach which accuracy: part 1 of the rule.

    Args:
        accuracies: Shares in [0, 1].
        best: Accuracy of each row's most accurate setting: as observed in the first column,
            then in resamples that are the same for all rows.
    """
    resampled = np.sort(best[:, 1:], axis=1)
    draws = resampled.shape[1]
    shares = np.empty((len(best), draws), dtype=np.float32)
    for row, values in enumerate(best[:, 1:]):
        shares[row] = np.searchsorted(resampled[row], values, side="right") / draws
    limits = np.asarray(accuracies) - TOLERANCE
    misses = np.array([np.searchsorted(values, limits) for values in resampled]) / draws
    surely: Bool[np.ndarray, "rows accuracies"] = np.zeros(misses.shape, dtype=bool)
    levels: dict[bytes, float] = {}
    for column in range(len(limits)):
        own = surely[:, column]
        while not own.all():
            key = own.tobytes()
            if key not in levels:
                levels[key] = _nth_smallest(shares[~own].min(axis=0))
            more = ~own & (misses[:, column] < levels[key])
            if not more.any():
                break
            own |= more
    surely &= best[:, :1] >= limits
    return surely


def surely_faster(speeds: Float[np.ndarray, "rows draws"]) -> Bool[np.ndarray, "rows rows"]:
    """Return which row surely has a greater speed than which: part 2 of the rule.

    Args:
        speeds: As :func:`tied_ranks` takes them, the fastest row first; every row reaches the
            accuracy as observed.
    """
    logs = np.log(speeds[:, : 1 + _SPREAD_RESAMPLES])
    reached = np.isfinite(logs[:, 1:]).astype(np.float32)
    moves = np.nan_to_num(logs[:, 1:] - logs[:, :1]).astype(np.float32)
    spread = _spread(moves, reached)
    gaps = logs[:, 0, None] - logs[None, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        # A pair that no resample moves differs surely, or not at all.
        statistics = np.where(spread > 0, gaps / spread, np.inf)
    statistics[gaps <= _ROUNDING] = 0.0
    pending = np.triu(np.ones(spread.shape, dtype=bool), k=1)
    surely = np.zeros_like(pending)
    critical = np.inf
    while pending.any():
        critical = _critical_value(moves, reached, spread, pending)
        more = pending & (statistics > critical)
        if not more.any():
            break
        surely |= more
        pending &= ~more
    found: Bool[np.ndarray, "rows rows"] = surely & ~_contradicted(speeds, surely, critical)
    return found


def _spread(
    moves: Float[np.ndarray, "rows resamples"], reached: Float[np.ndarray, "rows resamples"]
) -> Float[np.ndarray, "rows rows"]:
    """Return the root mean square of the difference of two rows' changes, where both reach."""
    squares = (moves**2) @ reached.T
    total = squares + squares.T - 2 * (moves @ moves.T)
    shared = reached @ reached.T
    mean = np.clip(total, 0, None) / np.maximum(shared, 1)
    # What is left of equal rows is the rounding of the sums.
    mean[total <= 1e-5 * (squares + squares.T)] = 0.0
    spread: Float[np.ndarray, "rows rows"] = np.sqrt(mean)
    return spread


def _critical_value(
    moves: Float[np.ndarray, "rows resamples"],
    reached: Float[np.ndarray, "rows resamples"],
    spread: Float[np.ndarray, "rows rows"],
    pending: Bool[np.ndarray, "rows rows"],
) -> float:
    """Return what the greatest statistic of the pending pairs exceeds in few resamples."""
    inverse = np.zeros(spread.shape, dtype=np.float32)
    np.divide(1, spread, out=inverse, where=spread > 0)
    complete = bool(reached.all())
    greatest = np.zeros(moves.shape[1], dtype=np.float32)
    for row in np.flatnonzero(pending.any(axis=1)):
        others = np.flatnonzero(pending[row])
        changes = moves[others]
        changes -= moves[row]
        changes *= inverse[row, others, None]
        if not complete:
            changes *= reached[others]
            changes *= reached[row]
        np.abs(changes, out=changes)
        np.maximum(greatest, changes.max(axis=0), out=greatest)
    return -_nth_smallest(-greatest)


def _contradicted(
    speeds: Float[np.ndarray, "rows draws"], claimed: Bool[np.ndarray, "rows rows"], critical: float
) -> Bool[np.ndarray, "rows rows"]:
    """Return which claimed pairs more resamples contradict than the critical value allows."""
    from scipy.stats import norm

    allowed = float(norm.sf(critical)) * (speeds.shape[1] - 1)
    least, most = np.nanmin(speeds, axis=1), np.nanmax(speeds, axis=1)
    contradicted = np.zeros_like(claimed)
    # Rows whose resamples do not overlap need no count.
    for row, other in np.argwhere(claimed & (least[:, None] <= most[None, :])):
        contradicted[row, other] = (speeds[row, 1:] <= speeds[other, 1:]).sum() > allowed
    return contradicted


def _nth_smallest(values: Float[np.ndarray, " resamples"]) -> float:
    """Return the value below which at most the share :data:`_LEVEL` of all lie."""
    place = min(int(_LEVEL * len(values)), len(values) - 1)
    return float(np.partition(values, place)[place])
