"""Speed limits of adaptive decoders, which choose positions by the symbols written so far.

By the chain rule the error of such a policy is the expected sum of the conditional total
correlations of its steps, in bits, and its cost is the expected number of steps; both are exact
for the ideal model.  No decoder does better on that sample than the frontier of these two
numbers, which ends in the *zero-error corner*: the fewest expected
steps in which only independent symbols are ever written together.

Example: inserting a new item anywhere into a list.  The symbol in the middle tells which half
holds the new item, so the best policy is a binary search and its steps grow like the logarithm
of the length; a shuffle can never reveal two items at once without error.

The future depends on the remaining answers only: a position at which they agree is written at
no cost, and sets of answers that differ only in names (of symbols and of positions) are one
state.  That keeps exact dynamic programming over all choices feasible for
small laws.  Beyond the limit only greedy choices are considered: a real policy
reaches the result, but a faster one may exist; it is labelled ``greedy``.

Source: this project; the binary search is the rule Pivot of its decoders.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from parallelbench.analysis.theory.bounds import OverLimitError
from parallelbench.analysis.theory.dependence import Law, packed, total_correlation
from parallelbench.analysis.theory.symmetry import Form, form

#: Most pairs of a state and a set that may be written in it.
STATE_LIMIT = 20_000

Method = Literal["exact", "greedy"]


class ZeroErrorSteps(NamedTuple):
    """The zero-error corner: the fewest expected steps without error.

    Attributes:
        expected_steps: Expected model calls if dependent symbols are never written together.
        method: ``exact`` if no policy needs fewer, ``greedy`` if some policy needs no more.
        choices: Number of (state, set to write) pairs that were examined.
    """

    expected_steps: float
    method: Method
    choices: int


class FrontierPoint(NamedTuple):
    """One trade between speed and error.

    Attributes:
        expected_steps: Expected model calls.
        bits: Expected sum of the conditional total correlations.
    """

    expected_steps: float
    bits: float


class AdaptiveFrontier(NamedTuple):
    """The least error at every expected number of steps, as a falling convex line.

    Attributes:
        points: Corners of the line, from one step to zero error; a policy that picks one of two
            corners at random lies between them.
        method: ``exact``, or ``greedy`` if the line is reached but may not be the lowest.
        choices: Number of (state, set to write) pairs that were examined.
    """

    points: tuple[FrontierPoint, ...]
    method: Method
    choices: int

    def bits_at(self, expected_steps: float) -> float:
        """Return the least bits at a number of expected steps; infinite below one step."""
        steps, bits = zip(*self.points, strict=True)
        if expected_steps < steps[0] - 1e-9:
            return math.inf
        return float(np.interp(expected_steps, steps, bits))


def zero_error_steps(
    law: Law, limit: int = STATE_LIMIT, *, greedy: bool | None = None
) -> ZeroErrorSteps:
    """Return the fewest expected steps in which no dependent symbols are written together.

    Args:
        law: Distribution of the right answers.
        limit: Largest number of (state, set to write) pairs to examine.
        greedy: True examines one set per state: the most uncertain position and, in order of
            uncertainty, every other that stays independent.  False requires the exact result.
            None tries the exact result and falls back to the greedy one over the limit.

    Raises:
        OverLimitError: The result needs more pairs than ``limit``.

    Example:
        >>> import itertools
        >>> zero_error_steps(Law.counted(list(itertools.permutations(range(4))))).expected_steps
        4.0
    """
    if greedy is None:
        try:
            return zero_error_steps(law, limit, greedy=False)
        except OverLimitError:
            return zero_error_steps(law, limit, greedy=True)
    state = _reduced(law.rows, law.probabilities)
    solver = _ZeroErrorSolver(limit, _greedy_independent if greedy else _independent_sets)
    steps = 1.0 if state is None else solver.steps(state)
    return ZeroErrorSteps(steps, "greedy" if greedy else "exact", solver.choices)


def adaptive_frontier(
    law: Law, limit: int = STATE_LIMIT, *, greedy: bool | None = None
) -> AdaptiveFrontier:
    """Return the least error, in bits, for every expected number of steps.

    Args:
        law: Distribution of the right answers.
        limit: Largest number of (state, set to write) pairs to examine.
        greedy: True examines few sets per state: those grown position by position, each time by
            the one that adds the least error.  False requires the exact result, over all sets.
            None tries the exact result and falls back to the greedy one over the limit.

    Raises:
        OverLimitError: The result needs more pairs than ``limit``.
    """
    if greedy is None:
        try:
            return adaptive_frontier(law, limit, greedy=False)
        except OverLimitError:
            return adaptive_frontier(law, limit, greedy=True)
    method: Method = "greedy" if greedy else "exact"
    state = _reduced(law.rows, law.probabilities)
    if state is None:
        return AdaptiveFrontier((FrontierPoint(1.0, 0.0),), method, 0)
    graph = _Graph(limit, _grown_sets if greedy else _all_sets)
    graph.add(state)
    at_once = FrontierPoint(1.0, total_correlation(law))
    # A weight so small that no error is worth any number of steps.
    slowest = graph.best(1e-9 / law.length)
    if at_once.bits <= 1e-9:
        return AdaptiveFrontier((FrontierPoint(1.0, 0.0),), method, graph.choices)
    end = FrontierPoint(slowest.expected_steps, 0.0)
    corners = [at_once, *_between(graph, at_once, end), end]
    return AdaptiveFrontier(tuple(corners), method, graph.choices)


# --- States -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _State:
    """The remaining answers at the positions at which they differ.

    Attributes:
        codes: symbols, numbered from 0 at each position.
        sizes: Number of different symbols at each position.
        shares: Probabilities of the answers, summing to 1.
    """

    codes: Int[np.ndarray, "answers positions"]
    sizes: tuple[int, ...]
    shares: Float[np.ndarray, " answers"]

    @property
    def positions(self) -> int:
        return int(self.codes.shape[1])

    @cached_property
    def key(self) -> Form:
        """A hashable value that equal states share."""
        shares = np.round(self.shares, 12).tobytes()
        return self.codes.astype(np.int32).tobytes(), shares, self.positions

    @cached_property
    def marginals(self) -> Float[np.ndarray, "positions answers"]:
        """The probability of the symbol that each answer has at each position."""
        rows = zip(self.codes.T, self.sizes, strict=True)
        return np.array([np.bincount(row, self.shares, size)[row] for row, size in rows])

    @cached_property
    def uncertainty(self) -> Float[np.ndarray, " positions"]:
        """The entropy of each position, in bits."""
        surprise: Float[np.ndarray, " positions"] = -(np.log2(self.marginals) @ self.shares)
        return surprise

    def write(self, positions: tuple[int, ...]) -> _Written:
        keys = packed(self.codes.T[list(positions)], [self.sizes[one] for one in positions])
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        group = group.ravel()
        return _Written(positions, first, group, np.bincount(group, self.shares))

    def children(self, written: _Written) -> Iterator[tuple[float, _State | None]]:
        """Yield each possible next state with its probability; None if nothing is uncertain."""
        sizes = np.bincount(written.group)
        alone = float(written.masses[sizes == 1].sum())
        if alone:
            yield alone, None
        order = np.argsort(written.group, kind="stable")
        ends = sizes.cumsum()
        for number in np.flatnonzero(sizes > 1):
            rows = order[ends[number] - sizes[number] : ends[number]]
            mass = float(written.masses[number])
            yield mass, _reduced(self.codes[rows], self.shares[rows] / mass)


class _Written(NamedTuple):
    """Positions of a state that are written together.

    Attributes:
        positions: The written positions.
        first: Number of an answer with each combination of symbols.
        group: Number of each answer's combination.
        masses: Probability of each combination.
    """

    positions: tuple[int, ...]
    first: np.ndarray
    group: np.ndarray
    masses: np.ndarray

    def is_free(self, state: _State) -> bool:
        """Test the symbols for independence, as ``dependence.independent`` does."""
        product = state.marginals[list(self.positions)][:, self.first].prod(axis=0)
        return bool(np.allclose(self.masses, product, rtol=1e-9, atol=0))

    def bits(self, state: _State) -> float:
        """Return the total correlation of the symbols, in bits."""
        together = -float(self.masses @ np.log2(self.masses))
        return max(0.0, float(state.uncertainty[list(self.positions)].sum()) - together)


def _reduced(
    rows: Int[np.ndarray, "answers positions"], shares: Float[np.ndarray, " answers"]
) -> _State | None:
    """Return the state of these answers; None if they agree everywhere."""
    varying = (rows != rows[0]).any(axis=0)
    if not varying.any():
        return None
    codes, sizes = _ranked(rows[:, varying])
    order = np.argsort(packed(codes.T, sizes))
    total = shares.sum()
    return _State(np.ascontiguousarray(codes[order]), sizes, shares[order] / total)


def _ranked(
    rows: Int[np.ndarray, "answers positions"],
) -> tuple[Int[np.ndarray, "answers positions"], tuple[int, ...]]:
    """Return symbols as their ranks among those of their position, and how many there are."""
    columns = rows - rows.min(axis=0)
    if columns.max() > 4 * len(rows) + 64:
        columns = np.array([np.unique(one, return_inverse=True)[1].ravel() for one in rows.T]).T
    present = np.zeros((columns.shape[1], int(columns.max()) + 1), dtype=np.int64)
    places = np.arange(columns.shape[1])
    present[places, columns] = 1
    ranks = present.cumsum(axis=1) - 1
    return ranks[places, columns], tuple((ranks[:, -1] + 1).tolist())


# --- Sets that may be written -------------------------------------------------------------


def _by_uncertainty(state: _State) -> list[int]:
    order: list[int] = np.argsort(-np.round(state.uncertainty, 9), kind="stable").tolist()
    return order


def _independent_sets(state: _State) -> Iterator[_Written]:
    """Yield every set of independent positions, beginning with the most uncertain one."""
    order = _by_uncertainty(state)

    def grow(chosen: tuple[int, ...], start: int) -> Iterator[_Written]:
        for index in range(start, len(order)):
            written = state.write((*chosen, order[index]))
            if len(chosen) == 0 or written.is_free(state):
                # Every subset of independent positions is independent, so none is missed.
                yield from grow(written.positions, index + 1)
                yield written

    return grow((), 0)


def _greedy_independent(state: _State) -> Iterator[_Written]:
    """Yield one set: the most uncertain position and all that are independent of it."""
    first, *others = _by_uncertainty(state)
    written = state.write((first,))
    for position in others:
        larger = state.write((*written.positions, position))
        if larger.is_free(state):
            written = larger
    yield written


def _all_sets(state: _State) -> Iterator[_Written]:
    everything = range(state.positions)
    for size in range(1, state.positions + 1):
        for positions in itertools.combinations(everything, size):
            yield state.write(positions)


def _grown_sets(state: _State) -> Iterator[_Written]:
    """Yield sets of every size, each with the position that adds the least error."""
    written = next(_greedy_independent(state))
    yield state.write(written.positions[:1])
    yield written
    while len(written.positions) < state.positions:
        left = set(range(state.positions)) - set(written.positions)
        larger = [state.write((*written.positions, position)) for position in sorted(left)]
        written = min(larger, key=lambda one: round(one.bits(state), 9))
        yield written


# --- Dynamic programming ------------------------------------------------------------------


class _Solver:
    """Counts choices up to a limit, and recognizes states that differ only in names."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.choices = 0
        self._forms: dict[Form, Form] = {}

    def form(self, state: _State) -> Form:
        """Return a value that only states which differ in nothing but names share."""
        cached = self._forms.get(state.key)
        if cached is None:
            cached = self._forms[state.key] = form(state.codes, state.sizes, state.shares)
        return cached

    def count(self) -> None:
        self.choices += 1
        if self.choices > self.limit:
            raise OverLimitError(
                f"this law has more than {self.limit:,} pairs of a state and a set that may be "
                "written in it, over the limit; ask for a smaller size or raise the limit"
            )


class _ZeroErrorSolver(_Solver):
    """Finds the fewest expected steps without error."""

    def __init__(self, limit: int, sets: Callable[[_State], Iterator[_Written]]) -> None:
        super().__init__(limit)
        self._sets = sets
        self._known: dict[Form, float] = {}

    def steps(self, state: _State) -> float:
        key = self.form(state)
        cached = self._known.get(key)
        if cached is None:
            cached = self._known[key] = self._solve(state)
        return cached

    def _solve(self, state: _State) -> float:
        best = math.inf
        for written in self._sets(state):
            self.count()
            best = min(best, self._cost(state, written, best))
            # One step if everything is independent, else at least two.
            if best <= (1 if len(written.positions) == state.positions else 2):
                break
        return best

    def _cost(self, state: _State, written: _Written, bound: float) -> float:
        """Return the expected steps when these are written first; cut short at ``bound``."""
        if len(written.positions) == state.positions:
            return 1.0
        # The remaining positions take at least one step, even if all are certain.
        cost = 2.0
        for mass, child in state.children(written):
            if child is not None:
                cost += mass * (self.steps(child) - 1)
            if cost >= bound:
                break
        return cost


class _Edge(NamedTuple):
    """One choice: its error in bits, the steps that it certainly takes, and its next states."""

    bits: float
    steps: float
    masses: tuple[float, ...]
    children: tuple[int, ...]


class _Graph(_Solver):
    """All reachable states with the choices in each; next states come first."""

    def __init__(self, limit: int, sets: Callable[[_State], Iterator[_Written]]) -> None:
        super().__init__(limit)
        self._sets = sets
        self._numbers: dict[Form, int] = {}
        self._edges: list[list[_Edge]] = []

    def add(self, state: _State) -> int:
        key = self.form(state)
        number = self._numbers.get(key)
        if number is None:
            edges = {self._edge(state, written) for written in self._sets(state)}
            number = self._numbers[key] = len(self._edges)
            self._edges.append(sorted(edges))
        return number

    def _edge(self, state: _State, written: _Written) -> _Edge:
        self.count()
        free = written.is_free(state)
        bits = 0.0 if free else written.bits(state)
        if len(written.positions) == state.positions:
            return _Edge(bits, 1.0, (), ())
        followers: dict[int, float] = {}
        settled = 0.0
        for mass, child in state.children(written):
            if child is None:
                settled += mass
            else:
                number = self.add(child)
                followers[number] = followers.get(number, 0.0) + mass
        return _Edge(bits, 1 + settled, tuple(followers.values()), tuple(followers))

    def best(self, weight: float) -> FrontierPoint:
        """Return the point with the least bits + weight * steps; ties go to the fewest steps."""
        points: list[FrontierPoint] = []
        for edges in self._edges:
            candidates = (_follow(edge, points) for edge in edges)
            points.append(min(candidates, key=lambda one: _price(one, weight)))
        return points[-1]


def _follow(edge: _Edge, points: Sequence[FrontierPoint]) -> FrontierPoint:
    steps, bits = edge.steps, edge.bits
    for mass, child in zip(edge.masses, edge.children, strict=True):
        steps += mass * points[child].expected_steps
        bits += mass * points[child].bits
    return FrontierPoint(steps, bits)


def _price(point: FrontierPoint, weight: float) -> tuple[float, float]:
    return point.bits + weight * point.expected_steps, point.expected_steps


def _between(graph: _Graph, left: FrontierPoint, right: FrontierPoint) -> list[FrontierPoint]:
    """Return the corners between two corners, found by minimizing along their slope."""
    width = right.expected_steps - left.expected_steps
    if width <= 1e-9:
        return []
    weight = (left.bits - right.bits) / width
    middle = graph.best(weight)
    if _price(middle, weight)[0] >= _price(left, weight)[0] - 1e-9:
        return []
    return [*_between(graph, left, middle), middle, *_between(graph, middle, right)]
