"""The dependence graph of a trellis: pairs of positions dependent given all others.

Two positions are independent given all others if, for every choice of the other tokens, the
weights of the tokens at both form a table of rank 1: ``f(a, b) f(a', b') = f(a, b') f(a', b)``.
The four rows of this equation differ in two places, so four paths are walked at once, with one
token for all of them at every other position.  Paths that met stay together, which keeps the
walk short in trellises with a short memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

from parallelbench.distributions.contract import DependenceGraph
from parallelbench.distributions.layer import TrellisLayer

#: Most pairs and quadruples of states that are looked at.
_WORK_LIMIT = 2_000_000

_Pair = tuple[int, int]
#: Target and weight of each token, for each state.
_Steps = list[dict[int, tuple[int, int]]]


class _Quadruple(NamedTuple):
    """Four paths: the two whose weights are multiplied on each side of the equation.

    Attributes:
        position: Number of tokens written.
        left: States of the paths on the left, ascending; None if one of them ended.
        right: States of those on the right.
        ratio: Weights so far on the left over those on the right.
    """

    position: int
    left: _Pair | None
    right: _Pair | None
    ratio: Fraction


def trellis_graph(layers: Sequence[TrellisLayer]) -> DependenceGraph | None:
    """Return the dependent pairs of positions.

    Args:
        layers: Edges on a path only, sorted by source and token.

    Returns:
        The graph; None if some state and token have two next states, or if more than 2 million
        pairs and quadruples of states would be looked at.
    """
    known: dict[int, _Steps | None] = {}
    steps: list[_Steps] = []
    for layer in layers:
        if id(layer) not in known:
            known[id(layer)] = _steps(layer)
        found = known[id(layer)]
        if found is None:
            return None
        steps.append(found)
    walker = _Walker(steps)
    try:
        return DependenceGraph(len(layers), frozenset(walker.dependent_pairs()))
    except _TooMuchError:
        return None


def _steps(layer: TrellisLayer) -> _Steps | None:
    steps: _Steps = [{} for _ in range(int(layer.sources.max()) + 1)]
    parts = (layer.sources, layer.tokens, layer.targets, layer.weights)
    for source, token, target, weight in zip(*(part.tolist() for part in parts), strict=True):
        if token in steps[source]:
            return None
        steps[source][token] = target, weight
    return steps


class _TooMuchError(Exception):
    """The walk is over its limit."""


class _Walker:
    def __init__(self, steps: Sequence[_Steps]) -> None:
        self._steps = steps
        self._unequal: dict[_Quadruple, bool] = {}
        self._work = 0

    def dependent_pairs(self) -> Iterator[_Pair]:
        answers: dict[tuple[int, frozenset[_Pair]], bool] = {}
        for low in range(len(self._steps)):
            pairs = self._forked(low)
            for high in range(low + 1, len(self._steps)):
                if not pairs:
                    break
                key = high, pairs
                if key not in answers:
                    answers[key] = any(self._any_unequal(high, pair) for pair in sorted(pairs))
                if answers[key]:
                    yield low, high
                pairs = self._moved(high, pairs)

    def _forked(self, position: int) -> frozenset[_Pair]:
        """Return the pairs of states that two tokens at one position lead to."""
        pairs: set[_Pair] = set()
        for leaving in self._steps[position]:
            targets = sorted({target for target, _ in leaving.values()})
            self._count(len(targets) ** 2)
            pairs.update(combinations(targets, 2))
        return frozenset(pairs)

    def _moved(self, position: int, pairs: frozenset[_Pair]) -> frozenset[_Pair]:
        """Return the pairs of different states that one token for both leads to."""
        moved: set[_Pair] = set()
        for one, other in pairs:
            left, right = self._steps[position][one], self._steps[position][other]
            self._count(len(left))
            for token in left.keys() & right.keys():
                if left[token][0] != right[token][0]:
                    moved.add(_ordered(left[token][0], right[token][0]))
        return frozenset(moved)

    def _any_unequal(self, position: int, pair: _Pair) -> bool:
        """Test whether some two tokens at ``position`` break the equation for ``pair``."""
        one, other = (self._steps[position][state] for state in pair)
        for token, following in combinations(sorted(one.keys() | other.keys()), 2):
            left = _joint(one.get(token), other.get(following))
            right = _joint(one.get(following), other.get(token))
            quadruple = _quadruple(position + 1, left, right, Fraction(1))
            if self._is_unequal(quadruple):
                return True
        return False

    def _is_unequal(self, start: _Quadruple) -> bool:
        """Test whether some tokens after ``start`` end with different products."""
        came_from: dict[_Quadruple, _Quadruple | None] = {start: None}
        waiting = [start]
        while waiting:
            quadruple = waiting.pop()
            self._count(1)
            if self._settled(quadruple):
                trail: _Quadruple | None = quadruple
                while trail is not None:
                    self._unequal[trail] = True
                    trail = came_from[trail]
                return True
            if quadruple in self._unequal or quadruple.position == len(self._steps):
                continue
            for following in self._following(quadruple):
                if following not in came_from:
                    came_from[following] = quadruple
                    waiting.append(following)
        self._unequal.update(dict.fromkeys(came_from, False))
        return False

    def _settled(self, quadruple: _Quadruple) -> bool:
        """Test for products known to be different: at the end, or known from before."""
        if quadruple.position < len(self._steps):
            return self._unequal.get(quadruple, False)
        left, right = quadruple.left is not None, quadruple.right is not None
        return left != right or (left and quadruple.ratio != 1)

    def _following(self, quadruple: _Quadruple) -> Iterator[_Quadruple]:
        position, left, right, ratio = quadruple
        # Equal states have equal futures: only the ratio could tell the two sides apart.
        if (left is None and right is None) or (left == right and ratio == 1):
            return
        steps = self._steps[position]
        tokens: set[int] = set()
        for pair in (left, right):
            if pair is not None:
                tokens |= steps[pair[0]].keys() & steps[pair[1]].keys()
        for token in sorted(tokens):
            moved_left, moved_right = (
                None if pair is None else _joint(*(steps[state].get(token) for state in pair))
                for pair in (left, right)
            )
            yield _quadruple(position + 1, moved_left, moved_right, ratio)

    def _count(self, work: int) -> None:
        self._work += work
        if self._work > _WORK_LIMIT:
            raise _TooMuchError


_Step = tuple[int, int]


def _joint(one: _Step | None, other: _Step | None) -> tuple[_Pair, int] | None:
    """Return the states of two paths and the product of their weights; None if one ended."""
    if one is None or other is None:
        return None
    return _ordered(one[0], other[0]), one[1] * other[1]


def _quadruple(
    position: int,
    left: tuple[_Pair, int] | None,
    right: tuple[_Pair, int] | None,
    ratio: Fraction,
) -> _Quadruple:
    if left is None or right is None:
        ratio = Fraction(1)
    elif left[1] != right[1]:
        ratio *= Fraction(left[1], right[1])
    return _Quadruple(
        position,
        None if left is None else left[0],
        None if right is None else right[0],
        ratio,
    )


def _ordered(one: int, other: int) -> _Pair:
    return (one, other) if one <= other else (other, one)
