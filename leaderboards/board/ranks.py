"""Pairs of rows of which one is surely faster at an accuracy, and the ranks that follow.

Everything is counted in resamples that are the same for all rows, so that each comparison is
paired.  At an accuracy A,

1. a setting *surely reaches* A, or *surely misses* it, if so few resamples put it on the other
   side of A that all settings of its entry together make a false claim of this kind in at most
   2.5 % / E of cases, with E entries in the section (step-down: the level follows from the joint
   distribution of the settings' accuracies over the resamples, so settings that err together cost
   no more than one of them).  What is left *may* reach A;
2. a row is **surely faster** than another if its fastest setting that surely reaches A is surely
   faster than every setting of the other one that may reach A.  The statistic of such a pair is the
   difference of the logarithms of both speeds over its root mean square change in the resamples.
   The pairs of two entries, or of an entry with itself, are a *family*; with F families in the
   section, the statistic must exceed the critical value that the greatest one of the family exceeds
   in 2.5 % / F of resamples when no pair differs; pairs that do are then set aside, and the
   critical value is that of the rest, until nothing changes.  And no more resamples may show the
   pair equal or in the other order than the normal tail beyond the critical value allows.

So the chance of one false claim among all pairs of a section is at most 5 %, as the simulation in
``benchmarks/ranks.py`` confirms.  A speed jumps where another setting comes to reach A; no jump is
part of (2), so a row whose settings lie close to A makes no other row harder to tell.

**Why families.**  Whether two rows are told apart depends on the records of their two entries, and
on nothing that a third one holds but that it is there: an entry has its share of the 5 %, however
many rows it has.  Whoever adds a thousand rows makes their own rows harder to tell apart, not
those of others.  Where few resamples lie beyond a critical value, it is that of the normal law
for as many independent pairs as explain the resamples further in.

**Ranks.**  Rows are sorted by speed, and rows of equal speed by the share of resamples in which
none of their settings reaches A.  From the fastest down, a row shares the rank of the rows before
it unless one of those is surely faster; then it begins a new rank, which is one more than the
number of rows above it.  Therefore no row of a rank is surely faster than another one of that rank,
and no row stands above one with a greater speed.  Two rows of different ranks may still be too
close to be told apart.

Source: Romano and Wolf, "Exact and approximate stepdown methods for multiple hypothesis testing"
(2005) and "Stepwise multiple testing as formalized data snooping" (2005), for the step-down
bootstrap of a greatest statistic; Mandel and Betensky, "Simultaneous confidence intervals based
on the percentile bootstrap approach" (2008), for ranks of resamples in place of a scale in (1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr, ndtri

from parallelbench.analysis.measures.hindsight import TOLERANCE
from parallelbench.results.intervals import CONFIDENCE

#: Chance of a false claim of either kind in a section.
_LEVEL = (1 - CONFIDENCE) / 2
#: Number of the first resamples that give the spread of a pair and the critical value, both
#: within a few per cent; counts use all resamples.
_SPREAD_RESAMPLES = 2500
#: Smallest number of them beyond a critical value that is read from them.
_FEWEST_BEYOND = 20
#: Families whose resamples are held in memory together.
_FAMILIES_AT_ONCE = 1000
#: Differences of logarithms up to here are rounding, in single precision.
_ROUNDING = 1e-6

_Numbers = Int[np.ndarray, " numbers"]


class RowDraws(NamedTuple):
    """The settings of one row: as observed in the first draw, then in resamples.

    Attributes:
        speeds: Tokens per step, above 0.
        marks: Accuracy, in [0, 1].
    """

    speeds: Float[np.ndarray, "draws settings"]
    marks: Float[np.ndarray, "draws settings"]


class SectionComparison(NamedTuple):
    """The rows of a section at one accuracy.

    Attributes:
        speeds: Observed tokens per step; NaN for a row that does not reach the accuracy.
        misses: Share of the draws in which no setting of a row reaches the accuracy.
        surely_faster: True at [i, j] if row i is surely faster than row j.
    """

    speeds: Float[np.ndarray, " rows"]
    misses: Float[np.ndarray, " rows"]
    surely_faster: Bool[np.ndarray, "rows rows"]


def tied_ranks(
    accuracies: Sequence[float] | Float[np.ndarray, " accuracies"],
    rows: Sequence[RowDraws],
    entries: Sequence[str] | None = None,
) -> list[tuple[int | None, ...]]:
    """Return the rank of each row at every accuracy, by the rule at the top of this module.

    Args:
        accuracies: Shares in [0, 1].
        rows: Rows of one section, all with the same resamples.
        entries: The name of the entry that each row is of; None if all are of one.

    Returns:
        From 1; None where a row does not reach the accuracy.

    Example:
        The first two cannot be told apart, and the third is slower in every resample:

        >>> speeds = np.array([[4.0, 5.0, 3.0], [3.9, 4.0, 5.0], [1.0, 1.1, 0.9]])
        >>> rows = [RowDraws(own[:, None], np.ones((3, 1))) for own in speeds]
        >>> tied_ranks([0.8], rows)
        [(1,), (1,), (3,)]
    """
    columns = [_ranks(each) for each in compared(accuracies, rows, entries)]
    return list(zip(*columns, strict=True))


def compared(
    accuracies: Sequence[float] | Float[np.ndarray, " accuracies"],
    rows: Sequence[RowDraws],
    entries: Sequence[str] | None = None,
) -> Iterator[SectionComparison]:
    """Yield the comparison of the rows at every accuracy.

    Args:
        accuracies: Shares in [0, 1].
        rows: Rows of one section, all with the same resamples.
        entries: Name of the entry of each row; None if all are of one.
    """
    speeds, marks = (np.vstack([table.T for table in tables]) for tables in zip(*rows, strict=True))
    owner = np.repeat(np.arange(len(rows)), [row.marks.shape[1] for row in rows])
    best = np.sort([row.marks.max(axis=1) for row in rows], axis=1)
    names = np.array(entries or [""] * len(rows))
    whose: _Numbers = np.unique(names, return_inverse=True)[1]
    reaching, missing = _sure_sides_by_entry(accuracies, marks, whose[owner])
    known: dict[bytes, Bool[np.ndarray, "rows rows"]] = {}
    for column, limit in enumerate(np.asarray(accuracies) - TOLERANCE):
        sure, may = reaching[:, column], ~missing[:, column]
        key = sure.tobytes() + may.tobytes()
        if key not in known:
            known[key] = _told_apart(_Sides(speeds, owner, sure, may), whose)
        observed = np.full(len(rows), np.nan)
        np.fmax.at(observed, owner, np.where(marks[:, 0] >= limit, speeds[:, 0], np.nan))
        misses = np.array([np.searchsorted(own, limit) for own in best]) / best.shape[1]
        yield SectionComparison(observed, misses, known[key])


def _ranks(comparison: SectionComparison) -> list[int | None]:
    speeds, misses, surely = comparison
    reached = np.flatnonzero(np.isfinite(speeds))
    order = reached[np.lexsort((misses[reached], -speeds[reached]))]
    ranks: list[int | None] = [None] * len(speeds)
    first = 0
    for place, row in enumerate(order):
        if surely[order[first:place], row].any():
            first = place
        ranks[row] = first + 1
    return ranks


def _sure_sides_by_entry(
    accuracies: Sequence[float] | Float[np.ndarray, " accuracies"],
    marks: Float[np.ndarray, "settings draws"],
    whose: _Numbers,
) -> tuple[Bool[np.ndarray, "settings accuracies"], Bool[np.ndarray, "settings accuracies"]]:
    """Return :func:`sure_sides` of the settings of every entry, each at its share of the level."""
    held = np.unique(whose)
    sides = np.zeros((2, len(marks), len(accuracies)), dtype=bool)
    for entry in held:
        own = whose == entry
        sides[:, own] = sure_sides(accuracies, marks[own], _LEVEL / len(held))
    return sides[0], sides[1]


def sure_sides(
    accuracies: Sequence[float] | Float[np.ndarray, " accuracies"],
    marks: Float[np.ndarray, "settings draws"],
    level: float = _LEVEL,
) -> tuple[Bool[np.ndarray, "settings accuracies"], Bool[np.ndarray, "settings accuracies"]]:
    """Return tables of the accuracies that settings surely reach, and surely miss: part 1.

    Args:
        accuracies: Shares in [0, 1].
        marks: Accuracy of each setting of one entry: as observed in the first column, then in
            resamples that are the same for all settings.
        level: Chance of a false claim.
    """
    limits = np.asarray(accuracies) - TOLERANCE
    resampled = np.sort(marks[:, 1:], axis=1)
    below = np.array([np.searchsorted(own, limits) for own in resampled])
    above = marks[:, :1] >= limits
    doubts = np.where(above, below, resampled.shape[1] - below)
    counts = _Counts(marks[:, 1:], level)
    # What no resample doubts is sure at any level.
    surely = doubts == 0
    known: dict[bytes, int] = {}
    for column in range(len(limits)):
        own = surely[:, column]
        while not own.all():
            key = own.tobytes() + above[:, column].tobytes()
            if key not in known:
                known[key] = counts.limit(np.flatnonzero(~own), above[:, column])
            more = ~own & (doubts[:, column] < known[key])
            if not more.any():
                break
            own |= more
    return surely & above, surely & ~above


class _Counts:
    """For each resample of a setting, the number of resamples at least as far out on one side.

    Args:
        marks: Accuracy of each setting in the resamples.
        level: Chance of a false claim.
    """

    def __init__(self, marks: Float[np.ndarray, "settings resamples"], level: float) -> None:
        self._marks, self._level = marks, level
        self._low: dict[int, Int[np.ndarray, " resamples"]] = {}
        self._high: dict[int, Int[np.ndarray, " resamples"]] = {}

    def limit(self, pending: Int[np.ndarray, " pending"], above: Bool[np.ndarray, " all"]) -> int:
        """Return the count that the smallest of all ``pending`` falls below in few resamples."""
        own = pending.tolist()
        counts = [self._at_most(each) if above[each] else self._at_least(each) for each in own]
        fewest = np.minimum.reduce(counts)
        place = min(int(self._level * len(fewest)), len(fewest) - 1)
        return int(np.partition(fewest, place)[place])

    def _at_most(self, setting: int) -> Int[np.ndarray, " resamples"]:
        if setting not in self._low:
            self._low[setting] = _counts_at_most(self._marks[setting])
        return self._low[setting]

    def _at_least(self, setting: int) -> Int[np.ndarray, " resamples"]:
        if setting not in self._high:
            self._high[setting] = _counts_at_most(-self._marks[setting])
        return self._high[setting]


def _counts_at_most(values: Float[np.ndarray, " resamples"]) -> Int[np.ndarray, " resamples"]:
    """Return, for each of ``values``, the number of values at most as great."""
    counts = np.searchsorted(np.sort(values), values, side="right")
    return counts.astype(np.int32)


class _Sides(NamedTuple):
    """Speeds of the settings of a section, and their sides of an accuracy.

    Attributes:
        speeds: Tokens per step of every setting.
        owner: The row of each.
        sure: Settings that surely reach the accuracy.
        may: Settings that may reach it, those that surely do among them.
    """

    speeds: Float[np.ndarray, "settings draws"]
    owner: _Numbers
    sure: Bool[np.ndarray, " settings"]
    may: Bool[np.ndarray, " settings"]


def _told_apart(sides: _Sides, whose: _Numbers) -> Bool[np.ndarray, "rows rows"]:
    """Return a table of the rows that are surely faster than others: part 2.

    Args:
        sides: Speeds of the settings and the accuracies that they reach or may reach.
        whose: The entry of each row.
    """
    speeds, owner, sure, may = sides
    found = np.zeros((len(whose), len(whose)), dtype=bool)
    faster, slower = np.unique(owner[sure]), np.unique(owner[may])
    if not faster.size:
        return found
    shown = [np.flatnonzero(sure & (owner == row)) for row in faster]
    fastest = [own[speeds[own, 0].argmax()] for own in shown]
    # In a resample the fastest may be another one than that of the samples themselves.
    upper = np.array([speeds[may & (owner == row)].max(axis=0) for row in slower])
    pair = np.sort(np.stack(np.broadcast_arrays(whose[faster][:, None], whose[slower])), axis=0)
    numbers = pair[0] * len(whose) + pair[1]
    compared_pairs = faster[:, None] != slower
    family = np.full(compared_pairs.shape, -1)
    family[compared_pairs] = np.unique(numbers[compared_pairs], return_inverse=True)[1]
    found[np.ix_(faster, slower)] = surely_faster(speeds[fastest], upper, family)
    return found


def surely_faster(
    lower: Float[np.ndarray, "rows draws"],
    upper: Float[np.ndarray, "others draws"],
    family: Int[np.ndarray, "rows others"],
) -> Bool[np.ndarray, "rows others"]:
    """Return a table that is True where a row of ``lower`` is surely above one of ``upper``.

    Args:
        lower: Speeds that the rows surely have: as observed in the first column, then in
            resamples that are the same for all.
        upper: Speeds that the other rows may have, likewise.
        family: The family of each pair, from 0; -1 for pairs that are not compared.
    """
    below, above = (np.log(table[:, : 1 + _SPREAD_RESAMPLES]) for table in (lower, upper))
    moves, others = ((logs[:, 1:] - logs[:, :1]).astype(np.float32) for logs in (below, above))
    changes = _Changes(moves, others, _spread(moves, others))
    gaps = below[:, :1] - above[None, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        # A pair that no resample moves differs surely, or not at all.
        statistics = np.where(changes.spread > 0, gaps / changes.spread, np.inf)
    # A pair is in question one way round only.
    statistics[(gaps <= _ROUNDING) | (family < 0)] = 0.0
    critical = np.full(1 + max(family.max(), 0), np.inf)
    for first in range(0, len(critical), _FAMILIES_AT_ONCE):
        own = (family >= first) & (family < first + _FAMILIES_AT_ONCE)
        _step_down(changes, np.where(own, statistics, 0.0), family, critical)
    surely: Bool[np.ndarray, "rows others"] = statistics > critical[family]
    surely &= ~_contradicted(lower, upper, surely, critical[family])
    return surely


class _Changes(NamedTuple):
    """Changes of the logarithms of speeds over the resamples.

    Attributes:
        moves: Differences of each row from its observed value.
        others: Differences of each of the others from its observed value.
        spread: Root mean square of the difference of both, of each pair.
    """

    moves: Float[np.ndarray, "rows resamples"]
    others: Float[np.ndarray, "others resamples"]
    spread: Float[np.ndarray, "rows others"]


def _step_down(
    changes: _Changes,
    statistics: Float[np.ndarray, "rows others"],
    family: Int[np.ndarray, "rows others"],
    critical: Float[np.ndarray, " families"],
) -> None:
    """Write the critical values of the families that have a pair with a statistic above 0."""
    level = _LEVEL / len(critical)
    pending = statistics > 0
    left = np.unique(family[pending])
    while left.size:
        pending &= np.isin(family, left)
        critical[left] = _values_beyond(_greatest(changes, pending, family, left), level)
        more = pending & (statistics > critical[family])
        pending &= ~more
        # A family with no more pairs, or none that is told apart now, is done.
        left = np.intersect1d(family[more], family[pending])


def _spread(
    moves: Float[np.ndarray, "rows resamples"], others: Float[np.ndarray, "others resamples"]
) -> Float[np.ndarray, "rows others"]:
    """Return the root mean square of the difference of the changes of each pair."""
    squares = (moves**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None, :]
    total = squares - 2 * (moves @ others.T)
    mean = np.clip(total, 0, None) / moves.shape[1]
    # What is left of equal changes is the rounding of the sums.
    mean[total <= 1e-5 * squares] = 0.0
    spread: Float[np.ndarray, "rows others"] = np.sqrt(mean)
    return spread


def _greatest(
    changes: _Changes,
    pending: Bool[np.ndarray, "rows others"],
    family: Int[np.ndarray, "rows others"],
    left: Int[np.ndarray, " left"],
) -> Float[np.ndarray, "left resamples"]:
    """Return the greatest statistic of the pending pairs of each family in every resample."""
    moves, others, spread = changes
    inverse = np.zeros(spread.shape, dtype=np.float32)
    np.divide(1, spread, out=inverse, where=spread > 0)
    greatest = np.zeros((len(left), moves.shape[1]), dtype=np.float32)
    for row in np.flatnonzero(pending.any(axis=1)):
        own = np.flatnonzero(pending[row])
        own = own[np.argsort(family[row, own], kind="stable")]
        statistics = others[own]
        statistics -= moves[row]
        statistics *= inverse[row, own, None]
        np.abs(statistics, out=statistics)
        numbers, starts = np.unique(family[row, own], return_index=True)
        places = np.searchsorted(left, numbers)
        most = np.maximum.reduceat(statistics, starts, axis=0)
        greatest[places] = np.maximum(greatest[places], most)
    return greatest


def _values_beyond(
    greatest: Float[np.ndarray, "families resamples"], level: float
) -> Float[np.ndarray, " families"]:
    """Return the value that the greatest statistic of each family exceeds with chance ``level``.

    Where too few resamples lie beyond it, as many independent normal statistics as exceed the
    last value that enough of them lie beyond say how far it is.
    """
    resamples = greatest.shape[1]
    share = min(max(level, _FEWEST_BEYOND / resamples), 0.5)
    place = resamples - 1 - min(int(share * resamples), resamples - 1)
    within: Float[np.ndarray, " families"] = np.partition(greatest, place, axis=1)[:, place].astype(
        float
    )
    if share == level:
        return within
    # One of them at least; what no normal statistic exceeds is exceeded by none further out.
    chance = np.clip(2 * ndtr(-within), 1e-12, share)
    count = np.log1p(-share) / np.log1p(-chance)
    beyond = -ndtri(-np.expm1(np.log1p(-level) / count) / 2)
    found: Float[np.ndarray, " families"] = np.maximum(within, beyond)
    return found


def _contradicted(
    lower: Float[np.ndarray, "rows draws"],
    upper: Float[np.ndarray, "others draws"],
    claimed: Bool[np.ndarray, "rows others"],
    critical: Float[np.ndarray, "rows others"],
) -> Bool[np.ndarray, "rows others"]:
    """Return a mask of claimed pairs that too many resamples contradict for the critical value."""
    allowed = ndtr(-critical) * (lower.shape[1] - 1)
    least, most = lower.min(axis=1), upper.max(axis=1)
    contradicted = np.zeros_like(claimed)
    # Pairs whose resamples do not overlap need no count.
    for row, other in np.argwhere(claimed & (least[:, None] <= most[None, :])):
        against = (lower[row, 1:] <= upper[other, 1:]).sum()
        contradicted[row, other] = against > allowed[row, other]
    return contradicted
