"""The treedepth of a dependence graph: the fewest steps without an error for a fixed schedule.

Writing a set of positions that separates the graph makes the parts independent, so a schedule can
go on in all parts at once.  The fewest steps are then the treedepth: 1 for no edge; for a
connected graph, one more than the least treedepth that is left when one position is removed; for
several parts, the largest of theirs.  An adaptive policy, which looks at the tokens written, may
need fewer.

Source: Nesetril and Ossona de Mendez (2012), "Sparsity", chapter 6; Schaffer (1989), "Optimal node
ranking of trees in linear time".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from parallelbench.distributions.contract import DependenceGraph

#: Most positions of a connected part that is solved by branch and bound.
EXACT_POSITIONS = 24
#: Most pairs of a part and a depth that are tested for one of them.
_TEST_LIMIT = 100_000

TreedepthMethod = Literal["closed form", "tree ranking", "branch and bound", "balanced separators"]

#: Neighbours of each position, as bits.
_Neighbours = Sequence[int]


class Treedepth(NamedTuple):
    """The treedepth of a graph, or an upper bound of it.

    Attributes:
        depth: Number of steps.
        exact: False if it is only an upper bound.
        method: Method for the connected part with the largest depth.
    """

    depth: int
    exact: bool
    method: TreedepthMethod


def treedepth(graph: DependenceGraph) -> Treedepth:
    """Return the treedepth of ``graph``.

    It is exact for paths, cycles, cliques and trees of any size, and for connected parts of at
    most 24 positions that take no more than 100,000 tests; beyond, it is the bound of recursively
    removing balanced separators.

    Raises:
        ValueError: The graph has no position.

    Example:
        >>> treedepth(DependenceGraph(7, frozenset((i, i + 1) for i in range(6)))).depth
        3
    """
    if graph.length < 1:
        raise ValueError("the treedepth of a graph without positions is not defined")
    neighbours = [0] * graph.length
    for low, high in graph.pairs:
        neighbours[low] |= 1 << high
        neighbours[high] |= 1 << low
    everything = (1 << graph.length) - 1
    solved = [_solve(neighbours, part) for part in _components(neighbours, everything)]
    # An upper bound decides only where no exact part is as deep.
    return max(solved, key=lambda part: (part.depth, part.exact))


def _solve(neighbours: _Neighbours, part: int) -> Treedepth:
    size = part.bit_count()
    degrees = [(neighbours[place] & part).bit_count() for place in _places(part)]
    edges = sum(degrees) // 2
    if edges == size - 1 and max(degrees) <= 2:
        return Treedepth(size.bit_length(), exact=True, method="closed form")
    if edges == size and max(degrees) == 2:
        return Treedepth(1 + (size - 1).bit_length(), exact=True, method="closed form")
    if edges == size * (size - 1) // 2:
        return Treedepth(size, exact=True, method="closed form")
    if edges == size - 1:
        return Treedepth(_tree_depth(neighbours, part), exact=True, method="tree ranking")
    depth = _Search(neighbours).depth(part) if size <= EXACT_POSITIONS else None
    if depth is not None:
        return Treedepth(depth, exact=True, method="branch and bound")
    return Treedepth(_separated_depth(neighbours, part), exact=False, method="balanced separators")


def _tree_depth(neighbours: _Neighbours, part: int) -> int:
    """Return the treedepth of a tree.

    Each position takes the lowest rank that keeps every path between two equal ranks through a
    higher one.  A rank is visible from a root if no higher one lies on the way.
    """
    root = next(_places(part))
    parents = {root: root}
    order = [root]
    for place in order:
        for child in _places(neighbours[place] & part):
            if child not in parents:
                parents[child] = place
                order.append(child)
    visible = dict.fromkeys(order, 0)
    twice = dict.fromkeys(order, 0)
    highest = 0
    for place in reversed(order):
        taken = visible[place] | ((1 << twice[place].bit_length()) - 1)
        rank = (~taken & (taken + 1)).bit_length() - 1
        highest = max(highest, rank)
        mine = (visible[place] >> rank | 1) << rank
        above = parents[place]
        if above != place:
            twice[above] |= visible[above] & mine
            visible[above] |= mine
    return highest + 1


class _Search:
    """Branch and bound over the position to remove first from each connected part."""

    def __init__(self, neighbours: _Neighbours) -> None:
        self._neighbours = neighbours
        self._within: dict[tuple[int, int], bool] = {}

    def depth(self, part: int) -> int | None:
        """Return the treedepth of a connected part; None if the limit of tests is reached."""
        depth = _least_depth(self._neighbours, part)
        while not self._fits(part, depth):
            depth += 1
        return None if len(self._within) >= _TEST_LIMIT else depth

    def _fits(self, part: int, depth: int) -> bool:
        """Test whether the treedepth of a connected part is at most ``depth``."""
        size = part.bit_count()
        if size <= depth:
            return True
        if depth < _least_depth(self._neighbours, part):
            return False
        key = part, depth
        if len(self._within) >= _TEST_LIMIT:
            return True  # ends the search, whose result does not count
        if key not in self._within:
            self._within[key] = any(
                all(
                    self._fits(rest, depth - 1)
                    for rest in _components(self._neighbours, part & ~(1 << place))
                )
                for place in self._candidates(part)
            )
        return self._within[key]

    def _candidates(self, part: int) -> Iterator[int]:
        """Yield the positions that may have to be removed first, those of most neighbours first.

        A position whose neighbours are all neighbours of another one need never be removed
        before that one.
        """
        near = {place: self._neighbours[place] & part for place in _places(part)}
        for place in sorted(near, key=lambda each: (-near[each].bit_count(), each)):
            bit = 1 << place
            if not any(
                near[place] & ~(1 << other) & ~near[other] == 0
                and (near[other] & ~bit & ~near[place] != 0 or other < place)
                for other in near
                if other != place
            ):
                yield place


def _least_depth(neighbours: _Neighbours, part: int) -> int:
    """Return a lower bound: a part whose positions all have d neighbours needs d + 1 steps."""
    size = part.bit_count()
    degrees = {place: (neighbours[place] & part).bit_count() for place in _places(part)}
    most, left = 1 + bool(size > 1), part
    while left:
        place = min(degrees, key=lambda each: degrees[each])
        most = max(most, degrees.pop(place) + 1)
        left &= ~(1 << place)
        for other in _places(neighbours[place] & left):
            degrees[other] -= 1
    return most


def _separated_depth(neighbours: _Neighbours, part: int) -> int:
    """Return the depth of removing a balanced separator, then of the parts in turn."""
    depths: dict[int, int] = {}

    def depth(left: int) -> int:
        if left not in depths:
            size = left.bit_count()
            if size <= 2:
                return size
            separator = _separator(neighbours, left)
            rest = _components(neighbours, left & ~separator)
            depths[left] = separator.bit_count() + max(map(depth, rest), default=0)
        return depths[left]

    return depth(part)


def _separator(neighbours: _Neighbours, part: int) -> int:
    """Return a small set of positions whose removal leaves no more than half in one part.

    It is the smallest level of a walk outward from a far end that has at most half of the
    positions on either side; of equally small ones the most balanced.
    """
    start = next(_places(part))
    for _ in range(2):  # the last level of a walk holds a far end
        *_, last = _levels(neighbours, part, start)
        start = next(_places(last))
    half = part.bit_count() / 2
    best, before = (part.bit_count() + 1, 0.0, part), 0
    for level in _levels(neighbours, part, start):
        size = level.bit_count()
        if before <= half and part.bit_count() - before - size <= half:
            best = min(best, (size, abs(before + size / 2 - half), level))
        before += size
    return best[2]


def _levels(neighbours: _Neighbours, part: int, start: int) -> Iterator[int]:
    level, left = 1 << start, part & ~(1 << start)
    while level:
        yield level
        reached = 0
        for place in _places(level):
            reached |= neighbours[place]
        level = reached & left
        left &= ~level


def _components(neighbours: _Neighbours, part: int) -> list[int]:
    found = []
    while part:
        whole = 0
        for level in _levels(neighbours, part, next(_places(part))):
            whole |= level
        found.append(whole)
        part &= ~whole
    return found


def _places(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
