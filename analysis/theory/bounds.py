"""Lower bounds, in bits, on the cost of writing an answer in T steps with any model.

A decoder that writes the sets S_1, ..., S_T one after the other, each position of a set
drawn from its own conditional, samples from some Q instead of the law P.  For the ideal
model KL(P||Q) is exactly the sum of the conditional total correlations of the sets, and no
model has less.  This module computes its least value for every
number of steps, and the share of right answers that follows from it.

The least value is exact: positions that are independent of each other fall apart into
components that are solved alone; a component in which only the number of positions counts
is solved by sizes, any other by dynamic programming over all sets of revealed positions.

Source: Kang et al., ParallelBench (arXiv:2510.04767), equations 1 and 2, theorems 1 and 2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from parallelbench.analysis.theory.dependence import Law, entropy, independent, mass_of_each
from parallelbench.errors import RequestError

#: Most positions that depend on each other: 3^16 is 43 million pairs of sets.
POSITION_LIMIT = 16
#: Most numbers held at a time while entropies of many sets are computed.
_BATCH = 2**22

#: Which positions are written in each step, one after the other.
Partition = Sequence[Collection[int]]


class OverLimitError(RequestError, ValueError):
    """A computation needs more states than its limit allows; the message has both numbers."""


class Bound(NamedTuple):
    """The least that writing an answer in a fixed number of steps can cost.

    Attributes:
        bits: KL(P||Q) of the ideal model, in bits.
        partition: An ordered partition that reaches it: positions, step by step.
    """

    bits: float
    partition: tuple[tuple[int, ...], ...]


class SizedBound(NamedTuple):
    """The least cost where it depends only on the number of positions written in each step.

    Attributes:
        bits: KL(P||Q) of the ideal model, in bits.
        sizes: Number of positions to write in each step.
    """

    bits: float
    sizes: tuple[int, ...]


def check_partition(partition: Partition, length: int) -> None:
    """Refuse what is no ordered partition of ``length`` positions.

    Raises:
        ValueError: A step is empty, or a position is missing, foreign or written twice.
    """
    written = sorted(position for step in partition for position in step)
    if written != list(range(length)) or not all(partition):
        raise ValueError(
            f"an ordered partition writes each of the positions 0..{length - 1} in exactly one "
            f"step and leaves no step empty, got {[list(step) for step in partition]}"
        )


def best_partitions(law: Law, limit: int = POSITION_LIMIT) -> list[Bound]:
    """Return L*_T for T = 1, ..., L, each with an ordered partition that reaches it.

    Args:
        law: Distribution of the right answers.
        limit: Largest component to solve over all sets of positions, which takes 3^limit
            operations for every T.

    Returns:
        One bound per number of steps: the first is the total correlation, none is above
        the one before it (theorem 2), the last is 0.

    Raises:
        OverLimitError: More than ``limit`` positions depend on each other, and the cost
            depends on more than their number.
    """
    parts = components(law)
    solved = [_solve_component(law.only(part), part, limit) for part in parts]
    return [_joined(solved, steps) for steps in range(1, law.length + 1)]


def components(law: Law) -> list[tuple[int, ...]]:
    """Return positions in groups that are independent of each other.

    Positions that depend on each other in pairs are joined.  If these groups are still
    dependent (such as three bits with an even sum), all positions form one group: a correct
    partition, but not always the finest one.
    """
    remaining, parts = set(range(law.length)), []
    while remaining:
        part, grown = set(), {min(remaining)}
        while grown:
            remaining -= grown
            part |= grown
            grown = {
                two for two in remaining if any(not independent(law, (one, two)) for one in grown)
            }
        parts.append(tuple(sorted(part)))
    product = np.prod([mass_of_each(law, part) for part in parts], axis=0)
    if np.allclose(product, law.probabilities, rtol=1e-9, atol=0):
        return parts
    certain = [part for part in parts if part[0] not in law.varying]
    return [*certain, law.varying]


def best_sizes(entropies: Sequence[float], most_steps: int | None = None) -> list[SizedBound]:
    r"""Return L*_T where only the number of positions counts, for T = 1, 2, ...

    .. math:: L_T = \sum_t s_t \, (H_{k_t + 1} - H_{k_t}) - H_n, \quad k_t = \sum_{u<t} s_u

    Args:
        entropies: H_0 = 0, H_1, ..., H_n: the entropy of any 0, 1, ..., n positions, bits.
        most_steps: The last T; None for n.

    Returns:
        One bound per T.  A thousand positions with every T take some seconds.

    Raises:
        ValueError: ``entropies`` does not begin with 0 or has no position, or
            ``most_steps`` is not in 1..n, or a position adds more than the one before it.

    Example:
        >>> [round(bound.bits, 3) for bound in best_sizes([0.0, 1.585, 2.585, 2.585])]
        [2.17, 0.585, 0.0]
    """
    positions = len(entropies) - 1
    if positions < 1 or entropies[0] != 0:
        raise ValueError(f"entropies run from 0 bits for no position on, got {list(entropies)[:3]}")
    last = positions if most_steps is None else most_steps
    if not 1 <= last <= positions:
        raise ValueError(f"{positions} positions take 1 to {positions} steps, got {most_steps}")
    gains = [after - before for before, after in itertools.pairwise(entropies)]
    rising = next((i for i, (a, b) in enumerate(itertools.pairwise(gains)) if b > a + 1e-9), None)
    if rising is not None:
        raise ValueError(
            f"no law has these entropies: position {rising + 2} adds {gains[rising + 1]:.6g} bits, "
            f"more than the {gains[rising]:.6g} of the one before it"
        )
    # Rounding may let equal gains rise by a hair; the lines below must come in by falling slope.
    gains = list(itertools.accumulate(gains, min))
    costs = [0.0, *(math.inf,) * positions]
    origins: list[list[int]] = []
    bounds = []
    for _ in range(last):
        costs, origin = _one_more_step(costs, gains)
        origins.append(origin)
        bits = max(0.0, costs[-1] - entropies[-1])
        bounds.append(SizedBound(bits, _sizes(origins, positions)))
    return bounds


def decoded(law: Law, partition: Partition) -> Float[np.ndarray, " answers"]:
    r"""Return Q(y) of each right answer: how often the ideal model writes it.

    .. math:: Q(y) = \prod_t \prod_{j \in S_t} P(y_j \mid y_{S_{<t}})

    The model is sampled at temperature 1.  Q sums to less than 1 if wrong answers are
    written, too.

    Raises:
        ValueError: ``partition`` is no ordered partition of the positions.
    """
    check_partition(partition, law.length)
    known: list[int] = []
    chances = np.ones(len(law))
    for step in partition:
        before = mass_of_each(law, known)
        for position in step:
            chances *= mass_of_each(law, [*known, position]) / before
        known += step
    return chances


def validity(law: Law, partition: Partition) -> float:
    """Return Q(V): the share of right answers at temperature 1, in [0, 1]; exact.

    It is at least 2^-L_T (see :func:`least_validity`), with equality exactly where Q
    restricted to the right answers is proportional to P.
    """
    return min(1.0, float(decoded(law, partition).sum()))


def least_validity(bits: float) -> float:
    r"""Return the least share of right answers of a decoder that costs ``bits``.

    .. math:: Q(V) \ge 2^{-KL(P \,\|\, Q)}

    Example:
        >>> least_validity(1.0)
        0.5
    """
    return math.pow(2, -bits)


def subset_entropies(law: Law, limit: int = POSITION_LIMIT) -> Float[np.ndarray, " sets"]:
    """Return the entropy of every set of positions, in bits.

    Args:
        law: The joint law.
        limit: Most positions.

    Returns:
        At index sum of 2^j over the positions j of a set, its entropy.

    Raises:
        OverLimitError: The law has more than ``limit`` positions.
    """
    _refuse_over(limit, law.length, "the entropies of all sets of")
    # Positions that settle each other (first name and last name) count as one.
    kinds, kind = np.unique(_groupings(law), axis=0, return_inverse=True)
    bits = _set_entropies(np.ascontiguousarray(kinds), law.probabilities)
    sets = np.zeros(1, dtype=np.int64)
    for each in kind.ravel():
        sets = np.concatenate([sets, sets | (1 << int(each))])
    return bits[sets]


def _groupings(law: Law) -> Int[np.ndarray, "positions answers"]:
    """Return each column as numbers in the order of first appearance."""
    columns = []
    for position in range(law.length):
        _, first, group = np.unique(law.keys([position]), return_index=True, return_inverse=True)
        columns.append(np.argsort(np.argsort(first))[group.ravel()])
    return np.array(columns)


def _set_entropies(
    columns: Int[np.ndarray, "columns answers"], probabilities: Float[np.ndarray, " answers"]
) -> Float[np.ndarray, " sets"]:
    small = Law.counted(columns.T, probabilities)  # answers that agree in the columns are merged
    sizes = [int(column.max()) + 1 for column in small.rows.T]
    if math.prod(sizes) > 2**62:
        return np.array([entropy(small, set_) for set_ in _sets(small.length)])
    strides = np.cumprod([1, *sizes[:-1]])
    digits = small.rows.T * strides[:, None]
    inner = max(0, min(small.length, int(math.log2(max(1, _BATCH // len(small))))))
    low = _sums(digits[:inner], len(small))
    high = _sums(digits[inner:], len(small))
    return np.concatenate([_row_entropies(low + each, small.probabilities) for each in high])


def _sums(
    digits: Int[np.ndarray, "columns answers"], answers: int
) -> Int[np.ndarray, "sets answers"]:
    sums = np.zeros((1, answers), dtype=np.int64)
    for column in digits:
        sums = np.concatenate([sums, sums + column])
    return sums


def _row_entropies(
    keys: Int[np.ndarray, "sets answers"], probabilities: Float[np.ndarray, " answers"]
) -> Float[np.ndarray, " sets"]:
    if (probabilities == probabilities[0]).all():
        ordered, masses = np.sort(keys, axis=1), np.broadcast_to(probabilities, keys.shape)
    else:
        order = np.argsort(keys, axis=1)
        ordered, masses = np.take_along_axis(keys, order, axis=1), probabilities[order]
    new = np.ones(keys.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    groups = np.add.reduceat(masses.ravel(), np.flatnonzero(new))
    surprise = -groups * np.log2(groups)
    first = np.concatenate([[0], new.sum(axis=1).cumsum()[:-1]])
    return np.maximum(np.add.reduceat(surprise, first), 0)


def _sets(positions: int) -> Iterator[list[int]]:
    for bits in range(1 << positions):
        yield [position for position in range(positions) if bits >> position & 1]


def _solve_component(law: Law, positions: tuple[int, ...], limit: int) -> list[Bound]:
    if law.length == 1:
        return [Bound(0.0, (positions,))]
    by_size = _entropies_by_size(law) if law.length > limit else None
    if by_size is not None:
        return [_unfolded(bound, positions) for bound in best_sizes(by_size)]
    bits = subset_entropies(law, limit)
    costs = _all_costs(bits, law.length)
    return [
        Bound(
            max(0.0, float(costs[-1, steps] - bits[-1])),
            tuple(
                tuple(positions[one] for one in step)
                for step in _trace_back(costs, bits, law.length, steps)
            ),
        )
        for steps in range(1, law.length + 1)
    ]


def _entropies_by_size(law: Law) -> list[float] | None:
    """Return the entropy of any 0, 1, ... positions if swapping positions changes nothing.

    Symbols are first renamed by their probability at their position, so that a law in which
    position j holds item j or a new item counts as symmetric.
    """
    columns = []
    for position in range(law.length):
        _, first, group = np.unique(law.keys([position]), return_index=True, return_inverse=True)
        masses = np.round(np.bincount(group.ravel(), weights=law.probabilities), 12)
        rank = np.argsort(np.lexsort((law.rows[first, position], masses)))
        columns.append(rank[group.ravel()])
    named = np.array(columns).T

    def listed(order: Sequence[int]) -> list[tuple[object, ...]]:
        shares = np.round(law.probabilities, 12).tolist()
        rows = map(tuple, named[:, list(order)].tolist())
        return sorted(zip(rows, shares, strict=True))

    swapped = [1, 0, *range(2, law.length)]
    turned = [*range(1, law.length), 0]
    # These two permutations generate all others.
    if not listed(range(law.length)) == listed(swapped) == listed(turned):
        return None
    return [0.0, *(entropy(law, range(size)) for size in range(1, law.length + 1))]


def _unfolded(bound: SizedBound, positions: tuple[int, ...]) -> Bound:
    ends = np.cumsum([0, *bound.sizes]).tolist()
    return Bound(bound.bits, tuple(positions[low:high] for low, high in itertools.pairwise(ends)))


def _all_costs(bits: Float[np.ndarray, " sets"], positions: int) -> np.ndarray:
    """Return, for each set and T, the least sum of conditional entropies of T steps to it."""
    costs = np.full((len(bits), positions + 1), np.inf)
    costs[0, 0] = 0.0
    for known in range(len(bits) - 1):
        added, price = _next_sets(bits, known, positions)
        reached = known | added[1:]
        offer = costs[known, :-1] + price[1:, None]
        costs[reached, 1:] = np.minimum(costs[reached, 1:], offer)
    return costs


def _next_sets(
    bits: Float[np.ndarray, " sets"], known: int, positions: int
) -> tuple[Int[np.ndarray, " choices"], Float[np.ndarray, " choices"]]:
    """Return every set that may be added to ``known``, the empty one first, and its price."""
    added, price = np.zeros(1, dtype=np.int64), np.zeros(1)
    for position in range(positions):
        one = 1 << position
        if not known & one:
            gain = bits[known | one] - bits[known]
            added = np.concatenate([added, added | one])
            price = np.concatenate([price, price + gain])
    return added, price


def _trace_back(
    costs: np.ndarray, bits: Float[np.ndarray, " sets"], positions: int, steps: int
) -> list[list[int]]:
    """Return the steps of a partition that has the least cost."""
    reached, partition = len(bits) - 1, []
    for left in range(steps, 0, -1):
        known = np.array([0])
        members = [position for position in range(positions) if reached >> position & 1]
        for member in members:
            known = np.concatenate([known, known | (1 << member)])
        known = known[:-1]
        price = sum(
            np.where(known >> member & 1, 0.0, bits[known | (1 << member)] - bits[known])
            for member in members
        )
        before = int(known[np.argmin(costs[known, left - 1] + price)])
        partition.append([member for member in members if not before >> member & 1])
        reached = before
    return partition[::-1]


def _joined(solved: Sequence[Sequence[Bound]], steps: int) -> Bound:
    """Return the best partition of independent components, all written side by side."""
    bounds = [each[min(steps, len(each)) - 1] for each in solved]
    width = max(len(bound.partition) for bound in bounds)
    partition = [
        sorted(
            position
            for bound in bounds
            if t < len(bound.partition)
            for position in bound.partition[t]
        )
        for t in range(width)
    ]
    # More steps than any component can use: writing a step in two costs nothing.
    while len(partition) < steps:
        large = next(t for t, step in enumerate(partition) if len(step) > 1)
        partition[large : large + 1] = [partition[large][:-1], partition[large][-1:]]
    return Bound(sum(bound.bits for bound in bounds), tuple(map(tuple, partition)))


def _one_more_step(costs: Sequence[float], gains: Sequence[float]) -> tuple[list[float], list[int]]:
    """Return the least costs with one more step, and how many positions stood before it.

    A step from a to b positions costs (b - a) gains[a], a line in b for each a.  The gains
    never increase, so the lines come in by falling slope and the lowest at b moves one way.
    """
    better, origin = [math.inf], [0]
    lines: list[tuple[float, float, int]] = []
    lowest = 0
    for before, gain in enumerate(gains):
        if costs[before] < math.inf:
            _add_line(lines, (gain, costs[before] - before * gain, before))
            lowest = min(lowest, len(lines) - 1)
        reached = before + 1
        while lowest + 1 < len(lines) and _at(lines[lowest + 1], reached) <= _at(
            lines[lowest], reached
        ):
            lowest += 1
        better.append(_at(lines[lowest], reached) if lines else math.inf)
        origin.append(lines[lowest][2] if lines else 0)
    return better, origin


def _at(line: tuple[float, float, int], reached: int) -> float:
    return line[0] * reached + line[1]


def _add_line(lines: list[tuple[float, float, int]], new: tuple[float, float, int]) -> None:
    """Add a line of falling slope; drop those that are nowhere lowest any more."""
    while len(lines) >= 2:
        (slope_1, height_1, _), (slope_2, height_2, _) = lines[-2:]
        if (new[1] - height_1) * (slope_1 - slope_2) > (height_2 - height_1) * (slope_1 - new[0]):
            break
        lines.pop()
    lines.append(new)


def _sizes(origins: Sequence[Sequence[int]], positions: int) -> tuple[int, ...]:
    sizes, reached = [], positions
    for origin in reversed(origins):
        sizes.append(reached - origin[reached])
        reached = origin[reached]
    return tuple(reversed(sizes))


def _refuse_over(limit: int, positions: int, what: str) -> None:
    if positions > limit:
        raise OverLimitError(
            f"{what} {positions} positions needs 2^{positions} sets, over the limit of {limit} "
            "positions; ask for a smaller size or raise the limit"
        )
