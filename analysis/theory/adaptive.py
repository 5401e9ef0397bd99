"""Speed limits of decoders that look at what they have written.

A policy picks the next positions from the symbols that stand already, not only from where
they stand.  By the chain rule its error is the expected sum of the conditional total
correlations of what it writes at once, in bits, and its cost is the expected number of
steps; both are exact for the ideal model.  No decoder does better on that sample than the
frontier of these two numbers, which ends in the *zero-error corner*: the fewest expected
steps in which only independent symbols are ever written together.

The example to think of is putting a new item anywhere into a list.  The symbol in the
middle tells in which half the new item stands, so the best policy is a binary search and
its steps grow like the logarithm of the length; shuffling can never reveal two items at
once without error.

Only the answers that are left matter for what is to come: a position at which they agree is
written along for nothing, and sets of answers that differ only in names (of symbols and of
positions) are one state.  That keeps exact dynamic programming over all choices feasible for
small laws.  Beyond the limit the choices are cut down to greedy ones: the result is then
reached by a real policy, is no proof that nothing is faster, and is labelled ``greedy``.

Source: this project; the binary search is the rule Pivot of its decoders.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from parallelbench.analysis.theory.bounds import OverLimitError, Partition, check_partition
from parallelbench.analysis.theory.dependence import Law, independent, packed, total_correlation
from parallelbench.analysis.theory.symmetry import Form, form
from parallelbench.results.intervals import wilson

#: Most pairs of a state and a set that may be written in it.
STATE_LIMIT = 20_000
#: Most contexts that an exact account of a policy passes through.
CONTEXT_LIMIT = 200_000

Method = Literal["exact", "greedy"]

#: What to write next, given the law of the answers that are left and the open positions.
Policy = Callable[[Law, tuple[int, ...]], Collection[int]]


class ZeroErrorSteps(NamedTuple):
    """The zero-error corner.

    Attributes:
        expected_steps: Model calls, on average over the law, without ever writing dependent
            symbols together.
        method: ``exact``: nothing needs fewer.  ``greedy``: some policy needs no more.
        choices: How many pairs of a state and a set to write were looked at.
    """

    expected_steps: float
    method: Method
    choices: int


class FrontierPoint(NamedTuple):
    """One trade between speed and error.

    Attributes:
        expected_steps: Model calls, on average over the law.
        bits: Expected sum of the conditional total correlations.
    """

    expected_steps: float
    bits: float


class AdaptiveFrontier(NamedTuple):
    """What no policy goes below, as a falling convex line.

    Attributes:
        points: Its corners, from one step to zero error; between two corners lie policies
            that choose one of both at random.
        method: ``exact``; ``greedy``: reached, but maybe not the lowest.
        choices: How many pairs of a state and a set to write were looked at.
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


class Outcome(NamedTuple):
    """What one policy comes to on one law.

    Attributes:
        expected_steps: Model calls, on average over the law.
        bits: Expected sum of the conditional total correlations: KL(P||Q) at temperature 1.
        validity: Q(V), the share of right answers, in [0, 1].
    """

    expected_steps: float
    bits: float
    validity: float


class Simulated(NamedTuple):
    """A share of right answers that was measured.

    Attributes:
        validity: In [0, 1].
        low: Lower end of the interval.
        high: Upper end.
        decodes: How many.
    """

    validity: float
    low: float
    high: float
    decodes: int


def zero_error_steps(
    law: Law, limit: int = STATE_LIMIT, *, greedy: bool | None = None
) -> ZeroErrorSteps:
    """Return the fewest expected steps in which no dependent symbols are written together.

    Args:
        law: Of the right answers.
        limit: Most pairs of a state and a set to write.
        greedy: True looks at one set per state: the most uncertain position and, one by
            one from the most uncertain down, every other that stays independent.  False
            insists on the exact answer.  None tries the exact answer and takes the greedy
            one where that would go over the limit.

    Raises:
        OverLimitError: The limit does not allow for what was asked.

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
        law: Of the right answers.
        limit: Most pairs of a state and a set to write.
        greedy: True looks at few sets per state: those grown position by position, each
            time by the one that adds least error.  False insists on the exact answer, over
            all sets.  None tries the exact answer and takes the greedy one where that would
            go over the limit.

    Raises:
        OverLimitError: The limit does not allow for what was asked.
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


def outcome(
    law: Law, policy: Policy, *, greedy: bool = False, limit: int = CONTEXT_LIMIT
) -> Outcome:
    """Return what ``policy`` comes to with the ideal model; exact.

    Args:
        law: Of the right answers.
        policy: What to write next.
        greedy: Whether each position takes its likeliest symbol, ties broken at random; or
            else a draw from its conditional (temperature 1).  It bears on the validity
            only: steps and bits are those of temperature 1.
        limit: Most contexts on the way.

    Raises:
        ValueError: The policy chose nothing, or a position that is not open.
        OverLimitError: There are more contexts than ``limit``.

    Example:
        >>> agree = Law.counted([[0, 0], [1, 1]])
        >>> outcome(agree, in_order([{0, 1}], law=agree))
        Outcome(expected_steps=1.0, bits=1.0, validity=0.5)
    """
    account = _Account(policy, greedy, limit)
    return account.of(law, tuple(range(law.length)))


def simulate(
    law: Law, policy: Policy, rng: np.random.Generator, count: int, *, greedy: bool = False
) -> Simulated:
    """Return the share of right answers among ``count`` decodes with the ideal model.

    Args:
        law: Of the right answers.
        policy: What to write next.
        rng: Draws the symbols.
        count: How many decodes, at least 1.
        greedy: As for :func:`outcome`.

    Returns:
        The share, with its 95 % Wilson interval.

    Raises:
        ValueError: ``count`` is below 1, or the policy chose nothing, or a position that
            is not open.
    """
    if count < 1:
        raise ValueError(f"a share is measured over at least 1 decode, got count={count}")
    right = sum(_decodes_right(law, policy, rng, greedy=greedy) for _ in range(count))
    interval = wilson(float(right), float(count))
    return Simulated(right / count, interval.low, interval.high, count)


def in_order(partition: Partition, law: Law) -> Policy:
    """Return the policy that writes ``partition`` step by step, whatever comes out.

    Raises:
        ValueError: ``partition`` is no ordered partition of the positions of ``law``.
    """
    check_partition(partition, law.length)
    left = list(itertools.accumulate(len(step) for step in reversed(partition)))[::-1]
    steps = dict(zip(left, partition, strict=True))
    return lambda _, still_open: steps[len(still_open)]


def without_error(law: Law, still_open: tuple[int, ...]) -> Collection[int]:
    """Choose what is certain, the most uncertain position and what is independent of it.

    This is the policy behind the greedy zero-error corner.
    """
    certain = [position for position in still_open if position not in law.varying]
    uncertain = [position for position in still_open if position in law.varying]
    state = _State(*_ranked(law.rows[:, uncertain]), law.probabilities) if uncertain else None
    chosen = next(_greedy_independent(state)).positions if state else ()
    return [*certain, *(uncertain[index] for index in chosen)]


# --- States -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _State:
    """The answers that are left, at the positions at which they differ.

    Attributes:
        codes: Symbols, numbered from 0 at each position.
        sizes: How many symbols each position has.
        shares: Of the answers, summing to 1.
    """

    codes: Int[np.ndarray, "answers positions"]
    sizes: tuple[int, ...]
    shares: Float[np.ndarray, " answers"]

    @property
    def positions(self) -> int:
        return int(self.codes.shape[1])

    @cached_property
    def key(self) -> Form:
        """The state as it stands: equal for states that differ in nothing."""
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
        """Yield what may be left, with its probability; None where nothing is uncertain."""
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
        positions: Which.
        first: For each combination of symbols, an answer that has it.
        group: For each answer, the number of its combination.
        masses: The probability of each combination.
    """

    positions: tuple[int, ...]
    first: np.ndarray
    group: np.ndarray
    masses: np.ndarray

    def is_free(self, state: _State) -> bool:
        """Return whether the symbols are independent, as in ``dependence.independent``."""
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
    """Yield one set: the most uncertain position and all that can join it for nothing."""
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
    """Yield sets of every size, each the one before and the position that adds least error."""
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
    """Counts choices up to a limit, and knows states again."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.choices = 0
        self._forms: dict[Form, Form] = {}

    def form(self, state: _State) -> Form:
        """Return what only states that differ in names have in common."""
        found = self._forms.get(state.key)
        if found is None:
            found = self._forms[state.key] = form(state.codes, state.sizes, state.shares)
        return found

    def count(self) -> None:
        self.choices += 1
        if self.choices > self.limit:
            raise OverLimitError(
                f"this law has more than {self.limit:,} pairs of a state and a set that may be "
                "written in it, over the limit; ask for a smaller size or raise the limit"
            )


class _ZeroErrorSolver(_Solver):
    """Solves for the fewest expected steps without error."""

    def __init__(self, limit: int, sets: Callable[[_State], Iterator[_Written]]) -> None:
        super().__init__(limit)
        self._sets = sets
        self._known: dict[Form, float] = {}

    def steps(self, state: _State) -> float:
        key = self.form(state)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._solve(state)
        return found

    def _solve(self, state: _State) -> float:
        best = math.inf
        for written in self._sets(state):
            self.count()
            best = min(best, self._cost(state, written, best))
            # One step if all is independent, else two at least.
            if best <= (1 if len(written.positions) == state.positions else 2):
                break
        return best

    def _cost(self, state: _State, written: _Written, bound: float) -> float:
        """Return the expected steps when these are written first; cut short at ``bound``."""
        if len(written.positions) == state.positions:
            return 1.0
        # What is left takes one step at least, certain as it may be.
        cost = 2.0
        for mass, child in state.children(written):
            if child is not None:
                cost += mass * (self.steps(child) - 1)
            if cost >= bound:
                break
        return cost


class _Edge(NamedTuple):
    """One choice: its error in bits, the steps it surely takes, and what may follow."""

    bits: float
    steps: float
    masses: tuple[float, ...]
    children: tuple[int, ...]


class _Graph(_Solver):
    """All states that can be reached, with the choices in each; children come first."""

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
        """Return the point with the least bits + weight * steps, the fewest steps of equals."""
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
    """Return the corners of the convex line between two of them, by asking along its slope."""
    width = right.expected_steps - left.expected_steps
    if width <= 1e-9:
        return []
    weight = (left.bits - right.bits) / width
    found = graph.best(weight)
    if _price(found, weight)[0] >= _price(left, weight)[0] - 1e-9:
        return []
    return [*_between(graph, left, found), found, *_between(graph, found, right)]


# --- What a policy comes to -----------------------------------------------------------------


class _Account:
    """Follows a policy through every context that the law can lead it to."""

    def __init__(self, policy: Policy, greedy: bool, limit: int) -> None:  # noqa: FBT001
        self._policy = policy
        self._greedy = greedy
        self._limit = limit
        self._contexts = 0

    def of(self, law: Law, still_open: tuple[int, ...]) -> Outcome:
        if not still_open:
            return Outcome(0.0, 0.0, 1.0)
        self._contexts += 1
        if self._contexts > self._limit:
            raise OverLimitError(
                f"the policy passes through more than {self._limit:,} contexts, over the limit; "
                "simulate it, or raise the limit"
            )
        chosen = _chosen(self._policy, law, still_open)
        left = tuple(position for position in still_open if position not in chosen)
        steps, valid = 1.0, 0.0
        bits = 0.0 if independent(law, chosen) else total_correlation(law, chosen)
        _, first, group = np.unique(law.keys(chosen), return_index=True, return_inverse=True)
        group = group.ravel()
        masses = np.bincount(group, weights=law.probabilities)
        chances = np.prod([self._chances(law, position)[first] for position in chosen], axis=0)
        for number, (mass, chance) in enumerate(zip(masses, chances, strict=True)):
            after = self.of(law.select(group == number), left)
            steps += float(mass) * after.expected_steps
            bits += float(mass) * after.bits
            valid += float(chance) * after.validity
        return Outcome(steps, bits, min(1.0, valid))

    def _chances(self, law: Law, position: int) -> Float[np.ndarray, " answers"]:
        """Return how likely the symbol of each answer is written at ``position``."""
        _, group = np.unique(law.keys([position]), return_inverse=True)
        return _drawn(np.bincount(group.ravel(), law.probabilities), self._greedy)[group.ravel()]


def _drawn(masses: Float[np.ndarray, " symbols"], greedy: bool) -> Float[np.ndarray, " symbols"]:  # noqa: FBT001
    """Return how likely each symbol is written, from how likely it is right."""
    written = masses
    if greedy:
        written = (masses >= masses.max() * (1 - 1e-9)).astype(float)
    shares: Float[np.ndarray, " symbols"] = written / written.sum()
    return shares


def _chosen(policy: Policy, law: Law, still_open: tuple[int, ...]) -> list[int]:
    chosen = sorted(set(policy(law, still_open)))
    if not chosen or not set(chosen) <= set(still_open):
        raise ValueError(
            f"a policy chooses at least one of the open positions {list(still_open)}, got {chosen}"
        )
    return chosen


def _decodes_right(law: Law, policy: Policy, rng: np.random.Generator, *, greedy: bool) -> bool:
    still_open = tuple(range(law.length))
    while still_open:
        chosen = _chosen(policy, law, still_open)
        fits = np.ones(len(law), dtype=bool)
        for position in chosen:
            symbols, group = np.unique(law.rows[:, position], return_inverse=True)
            masses = np.bincount(group.ravel(), law.probabilities)
            symbol = rng.choice(symbols, p=_drawn(masses, greedy))
            fits &= law.rows[:, position] == symbol
        if not fits.any():
            # Nothing written is ever taken back: no right answer can come of this.
            return False
        law = law.select(fits)
        still_open = tuple(position for position in still_open if position not in chosen)
    return True
