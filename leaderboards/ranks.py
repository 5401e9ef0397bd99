"""Which row is surely faster than which at an accuracy, and the ranks that follow from it.

Everything is counted in resamples that are the same for all rows, so that each comparison is
paired.  A resample in which a row does not reach the accuracy A is a *miss* of that row: it is
worse than any speed for the row that missed, and speaks against every claim that this row is
the faster one, whatever the other row did.

A row is **surely faster** than another at A if both of these hold.

1. It surely reaches A.  The share of its misses is small enough that all rows of its entry
   together falsely claim to reach A in at most 2.5 % / E of cases, with E entries in the section
   (step-down: the level follows from the joint distribution of the rows' accuracies over the
   resamples, so rows that err together cost no more than one of them).
2. It surely has the greater speed.  A pair's statistic is the difference of the logarithms of both
   speeds over its root mean square change in the resamples that both rows reach.  The pairs of
   two entries, or of an entry with itself, are a *family*; with F families in the section, the
   statistic must exceed the critical value that the greatest one of the family exceeds in
   2.5 % / F of resamples when no pair differs; pairs that do are then set aside, and the critical
   value is that of the rest, until nothing changes.  And no more resamples may show the pair
   equal or in the other order than the normal tail beyond the critical value allows.

So the chance of one false claim among all pairs of a section is at most 5 %, as the simulation in
``benchmarks/ranks.py`` confirms.  Misses enter no mean and no standard deviation.

**Why families.**  Whether two rows are told apart depends on the records of their two entries, and
on nothing that a third one holds but that it is there: an entry has its share of the 5 %, however
many rows it has.  Whoever adds a thousand rows makes their own rows harder to tell apart, not
those of others.  Where few resamples lie beyond a critical value, it is that of the normal law
for as many independent pairs as explain the resamples further in.

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
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from parallelbench.analysis.hindsight import TOLERANCE
from parallelbench.results import CONFIDENCE

#: Chance of a false claim of either kind, among all rows or pairs of a section.
_LEVEL = (1 - CONFIDENCE) / 2
#: So many resamples, the first ones, give the spread of a pair and the critical value, both of
#: which they settle within a few per cent; what is counted is counted in all of them.
_SPREAD_RESAMPLES = 2500
#: Of them that many must lie beyond a critical value that is read from them.
_FEWEST_BEYOND = 20
#: Differences of logarithms up to here are rounding, in single precision.
_ROUNDING = 1e-6

_Rows = Int[np.ndarray, " rows"]
_Pairs = Bool[np.ndarray, "rows rows"]


class _Changes(NamedTuple):
    """How the logarithms of the speeds of some rows change over the resamples.

    Attributes:
        moves: What each differs by from what was observed; 0 where the accuracy is not reached.
        reached: Where it is: 1 or 0.
        spread: Root mean square of the difference of two rows' changes, where both reach.
    """

    moves: Float[np.ndarray, "rows resamples"]
    reached: Float[np.ndarray, "rows resamples"]
    spread: Float[np.ndarray, "rows rows"]


class _Families(NamedTuple):
    """The families of one entry: with itself, and with every one behind it.

    Attributes:
        own: Its rows.
        others: The same, then those of the entries behind it, entry by entry.
        number: Of the family that own rows have with each of ``others``, from 0.
    """

    own: _Rows
    others: _Rows
    number: _Rows


def tied_ranks(
    speeds: Float[np.ndarray, "rows draws"],
    reaching: Bool[np.ndarray, " rows"] | None = None,
    entries: _Rows | None = None,
) -> list[int | None]:
    """Return the rank of each row, by the rule that stands at the top of this module.

    Args:
        speeds: Tokens per step: as observed in the first column, then in resamples that are the
            same for all rows.  NaN where the accuracy is not reached.
        reaching: Rows that surely reach the accuracy, see :func:`surely_reaching`; None for all.
        entries: A number for the entry that each row is of; None if all are of one.

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
    surely = surely_faster(speeds[order], None if entries is None else entries[order])
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
    entries: _Rows | None = None,
) -> Bool[np.ndarray, "rows accuracies"]:
    """Return which rows surely reach which accuracy: part 1 of the rule.

    Args:
        accuracies: Shares in [0, 1].
        best: Accuracy of each row's most accurate setting: as observed in the first column,
            then in resamples that are the same for all rows.
        entries: As for :func:`tied_ranks`.
    """
    whose = np.zeros(len(best), dtype=int) if entries is None else entries
    surely: Bool[np.ndarray, "rows accuracies"] = np.zeros((len(best), len(accuracies)), dtype=bool)
    held = np.unique(whose)
    for entry in held:
        own = whose == entry
        surely[own] = _surely_reaching(accuracies, best[own], _LEVEL / len(held))
    return surely


def _surely_reaching(
    accuracies: Sequence[float] | Float[np.ndarray, " accuracies"],
    best: Float[np.ndarray, "rows draws"],
    level: float,
) -> Bool[np.ndarray, "rows accuracies"]:
    """Return which rows of one entry surely reach which accuracy."""
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
                levels[key] = _nth_smallest(shares[~own].min(axis=0), level)
            more = ~own & (misses[:, column] < levels[key])
            if not more.any():
                break
            own |= more
    surely &= best[:, :1] >= limits
    return surely


def surely_faster(
    speeds: Float[np.ndarray, "rows draws"], entries: _Rows | None = None
) -> Bool[np.ndarray, "rows rows"]:
    """Return which row surely has a greater speed than which: part 2 of the rule.

    Args:
        speeds: As :func:`tied_ranks` takes them, the fastest row first; every row reaches the
            accuracy as observed.
        entries: As for :func:`tied_ranks`.
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
    whose = np.zeros(len(speeds), dtype=int) if entries is None else entries
    critical = _critical_values(_Changes(moves, reached, spread), statistics, whose)
    surely: _Pairs = np.triu(statistics > critical, k=1)
    return surely & ~_contradicted(speeds, surely, critical)


def _critical_values(
    changes: _Changes, statistics: Float[np.ndarray, "rows rows"], whose: _Rows
) -> Float[np.ndarray, "rows rows"]:
    """Return what the statistic of each pair must exceed, by the step-down rule of its family.

    Args:
        changes: Of all rows.
        statistics: Of every pair, the faster row first.
        whose: The entry of each row.
    """
    held, sizes = np.unique(whose, return_counts=True)
    count = len(held) * (len(held) - 1) // 2 + int((sizes > 1).sum())
    critical = np.full(statistics.shape, np.inf)
    both = np.maximum(statistics, statistics.T)
    by_entry = np.argsort(whose, kind="stable")
    for place, first in enumerate(np.cumsum(sizes) - sizes):
        families = _Families(
            own=by_entry[first : first + sizes[place]],
            others=by_entry[first:],
            number=np.repeat(np.arange(len(held) - place), sizes[place:]),
        )
        block = np.ix_(families.own, families.others)
        critical[block] = _stepped_down(changes, both[block], families, _LEVEL / max(count, 1))
        critical[block[1].T, block[0].T] = critical[block].T
    return critical


def _stepped_down(
    changes: _Changes,
    statistics: Float[np.ndarray, "own others"],
    families: _Families,
    level: float,
) -> Float[np.ndarray, "own others"]:
    """Return the critical values of the families that an entry has with itself and others.

    Args:
        changes: Of all rows.
        statistics: Of own rows with others.
        families: Which they are.
        level: Chance of a false claim in each of them.
    """
    own, number = families.own, families.number
    pending = np.ones(statistics.shape, dtype=bool)
    # Of two rows of one entry only one order is a pair.
    pending[:, : len(own)] = np.triu(pending[:, : len(own)], k=1)
    critical = np.full(number[-1] + 1, np.inf)
    left = np.unique(number[pending.any(axis=0)])
    while left.size:
        among = pending & np.isin(number, left)
        critical[left] = _values_beyond(_greatest(changes, families, among)[left], level)
        more = among & (statistics > critical[number])
        pending &= ~more
        # A family with no more pairs, or none that is told apart now, is done.
        left = np.intersect1d(number[more.any(axis=0)], number[pending.any(axis=0)])
    return np.broadcast_to(critical[number], statistics.shape)


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


def _greatest(
    changes: _Changes, families: _Families, pending: Bool[np.ndarray, "own others"]
) -> Float[np.ndarray, "families resamples"]:
    """Return the greatest statistic of the pending pairs of each family in every resample."""
    moves, reached, spread = changes
    inverse = np.zeros(spread.shape, dtype=np.float32)
    np.divide(1, spread, out=inverse, where=spread > 0)
    complete = bool(reached.all())
    greatest = np.zeros((families.number[-1] + 1, moves.shape[1]), dtype=np.float32)
    for row, asked in zip(families.own, pending, strict=True):
        if not asked.any():
            continue
        others = families.others[asked]
        statistics = moves[others]
        statistics -= moves[row]
        statistics *= inverse[row, others, None]
        if not complete:
            statistics *= reached[others]
            statistics *= reached[row]
        np.abs(statistics, out=statistics)
        numbers, starts = np.unique(families.number[asked], return_index=True)
        most = np.maximum.reduceat(statistics, starts, axis=0)
        greatest[numbers] = np.maximum(greatest[numbers], most)
    return greatest


def _values_beyond(
    greatest: Float[np.ndarray, "families resamples"], level: float
) -> Float[np.ndarray, " families"]:
    """Return what the greatest statistic of each family exceeds with chance ``level``.

    Where too few resamples lie beyond it, as many independent normal statistics as exceed the
    last value that enough of them lie beyond say how far it is.
    """
    from scipy.special import ndtr, ndtri

    resamples = greatest.shape[1]
    share = max(level, _FEWEST_BEYOND / resamples)
    place = resamples - 1 - min(int(share * resamples), resamples - 1)
    within = np.partition(greatest, place, axis=1)[:, place].astype(float)
    if share == level:
        return within
    # One of them at least; what no normal statistic exceeds is exceeded by none further out.
    chance = np.clip(2 * ndtr(-within), 1e-12, share)
    count = np.log1p(-share) / np.log1p(-chance)
    beyond: Float[np.ndarray, " families"] = -ndtri(-np.expm1(np.log1p(-level) / count) / 2)
    return np.maximum(within, beyond)


def _contradicted(
    speeds: Float[np.ndarray, "rows draws"],
    claimed: _Pairs,
    critical: Float[np.ndarray, "rows rows"],
) -> _Pairs:
    """Return which claimed pairs more resamples contradict than the critical value allows."""
    from scipy.special import ndtr

    allowed = ndtr(-critical) * (speeds.shape[1] - 1)
    least, most = np.nanmin(speeds, axis=1), np.nanmax(speeds, axis=1)
    contradicted = np.zeros_like(claimed)
    # Rows whose resamples do not overlap need no count.
    for row, other in np.argwhere(claimed & (least[:, None] <= most[None, :])):
        contradicted[row, other] = (speeds[row, 1:] <= speeds[other, 1:]).sum() > allowed[
            row, other
        ]
    return contradicted


def _nth_smallest(values: Float[np.ndarray, " resamples"], level: float) -> float:
    """Return the value below which at most the share ``level`` of all lie."""
    place = min(int(level * len(values)), len(values) - 1)
    return float(np.partition(values, place)[place])
