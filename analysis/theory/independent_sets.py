"""Sets of positions that can be written at once: independent, or dependent by few bits.

Pairs are compared first, by writing values at one position and looking at all others.  Of the
positions that no pair shows to be dependent, as many are taken as their joint entropy allows:
check digits depend on each other though no pair does.

One order of preference puts separators first.  Pairs are joined, the most dependent first, to a
tree; then comes the position that leaves the smallest parts of this tree, then those of the parts.
On a chain, a cycle or a tree of dependent entries this writes the middle, then the middles of the
parts, which no longer depend on each other.

Source: Chow and Liu (1968), "Approximating discrete probability distributions with dependence
trees", for a tree of the strongest dependences; the order is our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from parallelbench.analysis.theory.exact_bits import position_entropies
from parallelbench.distributions.contract import AnswerDistribution

#: Bits below this are rounding.
ROUNDING = 1e-7
#: Changes of a probability below this are rounding.
_SAME = 1e-11
#: Values of a position that are written to see the others change.
_VALUES = 4
#: Canvases conditioned on in one call.
_ROWS = 256
#: Canvases on which pairs are compared; joint entropies are looked at on all.
_COMPARED = 4
#: Most positions that are left out because they depend on several others.
_LEFT_OUT = 32
#: Dependences that are equal in so many decimals are equal.
_DECIMALS = 6
#: Steps of a halving of a dependence by which pairs are told apart.
_PARTS_OF_A_HALVING = 8

_Canvases = Int[np.ndarray, "rows length"]
#: Tells whether a position may be written together with others.
JoinTest = Callable[[int, Sequence[int]], bool]
#: Order in which positions are preferred.
Order = Literal["separators", "halves", "rising"]
ORDERS: tuple[Order, ...] = ("separators", "halves", "rising")


class IndependentSets:
    """Sets of open positions to write at once, on every one of some canvases.

    Args:
        distribution: Distribution of the right answers.
        canvases: Canvases that right answers fit, with the same open positions.
        positions: Open positions to choose from, at least one.

    Attributes:
        certain: Positions that are certain on all canvases.
        varying: The others.
    """

    def __init__(
        self, distribution: AnswerDistribution, canvases: _Canvases, positions: Sequence[int]
    ) -> None:
        self._distribution = distribution
        self._canvases = canvases
        self._bits = position_entropies(distribution, distribution.condition(canvases))
        varies = self._bits.max(axis=0) > ROUNDING
        self.certain = [position for position in positions if not varies[position]]
        self.varying = [position for position in positions if varies[position]]

    def chosen(
        self,
        order: Order,
        *,
        eps: float = 0.0,
        joins: JoinTest | None = None,
        more_than: int = 0,
    ) -> list[int]:
        """Return the certain positions and those of a set, in a given order of preference.

        Args:
            order: ``separators``: the separators of the tree of the strongest dependences;
                ``halves``: the middle position, then those of both halves; ``rising``: from left
                to right.
            eps: Most bits of total correlation on each canvas, in [0, inf).
            joins: A further test of a position against those chosen before; None for no other.
            more_than: Return no position if there cannot be more than so many.
        """
        if len(self.varying) <= 1:
            return self.certain + self.varying
        if len(self.certain) + len(self.varying) <= more_than:
            return []
        places = self._order(order)
        apart: list[int] = []
        for place in places:
            others = [self.varying[other] for other in apart]
            is_apart = all(self._change[place, other] <= _SAME for other in apart)
            if is_apart and (joins is None or joins(self.varying[place], others)):
                apart.append(place)
        if eps > 0:
            apart += [place for place in places if place not in apart]
        if len(self.certain) + len(apart) <= more_than:
            return []
        return self.certain + self._joined([self.varying[place] for place in apart], eps)

    def _order(self, order: Order) -> list[int]:
        if order == "separators":
            return _separators_first(self._change)
        places = range(len(self.varying))
        return dissected(places) if order == "halves" else list(places)

    @cached_property
    def _change(self) -> Float[np.ndarray, "varying varying"]:
        return _changes(self._distribution, self._canvases[:_COMPARED], self.varying)

    def _joined(self, ranked: Sequence[int], eps: float) -> list[int]:
        """Return those of ``ranked`` that may be written with all of them before."""
        chosen, waiting = [ranked[0]], list(ranked[1:])
        # Beyond a few bits nearly every further position goes over the limit.
        for _ in range(_LEFT_OUT if eps == 0 else 1):
            if not waiting or self._fits(chosen + waiting, eps):
                return chosen + waiting
            low, high = 0, len(waiting)
            while high - low > 1:  # total correlation only grows with the set
                middle = (low + high) // 2
                if self._fits(chosen + waiting[:middle], eps):
                    low = middle
                else:
                    high = middle
            # The first one that does not fit is left out.
            chosen, waiting = chosen + waiting[:low], waiting[high:]
        return chosen

    def _fits(self, chosen: list[int], eps: float) -> bool:
        for canvas, alone in zip(self._canvases, self._bits, strict=True):
            joint = self._distribution.joint_entropy(canvas, chosen)
            if joint is None or math.fsum(alone[chosen].tolist()) - joint > eps + ROUNDING:
                return False
        return True


def dissected(positions: Sequence[int]) -> list[int]:
    """Return ``positions`` with the middle one first, then the middles of both halves, and so on.

    Example:
        >>> dissected([0, 1, 2, 3, 4, 5, 6])
        [3, 1, 5, 0, 2, 4, 6]
    """
    order: list[int] = []
    waiting = [list(positions)]
    while waiting:
        part = waiting.pop(0)
        if part:
            middle = len(part) // 2
            order.append(part[middle])
            waiting += [part[:middle], part[middle + 1 :]]
    return order


def _changes(
    distribution: AnswerDistribution, canvases: _Canvases, positions: Sequence[int]
) -> Float[np.ndarray, "positions positions"]:
    """Return the mean change of the probabilities at one position by a value of another one.

    It falls along a chain of dependent positions, as their mutual information does.
    """
    places = np.array(positions)
    starts = np.searchsorted(distribution.entries.positions, np.arange(distribution.length))
    change = np.zeros((len(places), len(places)))
    for canvas in canvases:
        now = distribution.condition(canvas[None]).probabilities[0]
        values = _values(distribution, canvas, now, positions)
        for low in range(0, len(values.source), _ROWS):
            part = slice(low, low + _ROWS)
            after = distribution.condition(values.canvases[part]).probabilities
            moved = np.add.reduceat(np.abs(after - now), starts, axis=1)[:, places]
            np.add.at(change, values.source[part], moved * values.shares[part, None])
    np.fill_diagonal(change, 0.0)
    return np.maximum(change, change.T) / len(canvases)


class _Values(NamedTuple):
    """Values of positions, each written on a canvas.

    Attributes:
        canvases: The canvas with one value written.
        source: Index of the position of each.
        shares: Probability of each value.
    """

    canvases: _Canvases
    source: Int[np.ndarray, " rows"]
    shares: Float[np.ndarray, " rows"]


def _values(
    distribution: AnswerDistribution,
    canvas: Int[np.ndarray, " length"],
    shares: Float[np.ndarray, " entries"],
    positions: Sequence[int],
) -> _Values:
    """Return the likeliest values of each position."""
    starts = np.searchsorted(distribution.entries.positions, np.arange(distribution.length + 1))
    # Rounded, so that equal shares keep their order anywhere.
    rank = -shares.round(9)
    likeliest = [
        starts[position]
        + np.argsort(rank[starts[position] : starts[position + 1]], kind="stable")[:_VALUES]
        for position in positions
    ]
    source = np.repeat(np.arange(len(positions)), [len(each) for each in likeliest])
    entries = np.concatenate(likeliest)
    possible = shares[entries] > _SAME
    source, entries = source[possible], entries[possible]
    canvases = np.repeat(canvas[None], len(entries), axis=0)
    canvases[np.arange(len(entries)), distribution.entries.positions[entries]] = (
        distribution.entries.tokens[entries]
    )
    return _Values(canvases, source, shares[entries])


def _separators_first(change: Float[np.ndarray, "positions positions"]) -> list[int]:
    """Return the positions with separators of the tree of the strongest dependences first."""
    neighbours = _strongest_tree(change)
    strength = change.sum(axis=1).round(_DECIMALS).tolist()
    order: list[int] = []
    waiting = _parts(neighbours, set(range(len(change))))
    while waiting:
        part = waiting.pop(0)
        middle = _centroid(neighbours, part, strength)
        order.append(middle)
        waiting += _parts(neighbours, part - {middle})
    return order


def _strongest_tree(change: Float[np.ndarray, "positions positions"]) -> list[list[int]]:
    """Return the neighbours of each position in a tree, or in one for each independent part."""
    size = len(change)
    is_pair = np.triu(change > _SAME)
    # Rounded, with ties in the order of the positions, so that the tree is the same anywhere.
    halvings = -np.log2(np.where(is_pair, change, 1.0))
    number = np.arange(size)[:, None] * size + np.arange(size)
    cost = np.round(halvings * _PARTS_OF_A_HALVING) * size**2 + number + 1
    tree = minimum_spanning_tree(csr_array(np.where(is_pair, cost, 0.0))).tocoo()
    neighbours: list[list[int]] = [[] for _ in range(size)]
    for one, other in sorted(zip(tree.row.tolist(), tree.col.tolist(), strict=True)):
        neighbours[one].append(other)
        neighbours[other].append(one)
    return neighbours


def _parts(neighbours: Sequence[Sequence[int]], left: set[int]) -> list[set[int]]:
    found: list[set[int]] = []
    seen: set[int] = set()
    for start in sorted(left):
        if start in seen:
            continue
        part, waiting = {start}, [start]
        while waiting:
            near = neighbours[waiting.pop()]
            further = [each for each in near if each in left and each not in part]
            part.update(further)
            waiting += further
        seen |= part
        found.append(part)
    return found


def _centroid(
    neighbours: Sequence[Sequence[int]], part: set[int], strength: Sequence[float]
) -> int:
    """Return the position that leaves the smallest parts.

    Of several it is the one on which the others depend most, then the lowest.
    """

    def rank(position: int) -> tuple[int, float]:
        parts = _parts(neighbours, part - {position})
        return max(map(len, parts), default=0), -strength[position]

    return min(sorted(part), key=rank)
