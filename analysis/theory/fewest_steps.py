"""The policy with the fewest expected steps whose every step costs at most so many bits.

A policy sees which answers are left and picks the positions to write next.  It may write a
set S in a context c if the total correlation C(S|c) is at most ``eps``; among all such
policies this module finds one with the fewest expected steps, exact by dynamic programming
over the answers that are left and the positions that are open.  At ``eps`` 0 it is the
policy behind :func:`parallelbench.analysis.theory.adaptive.zero_error_steps`; here the choice in
every state is wanted, and for any ``eps``.

What keeps the states few: a position at which the answers that are left agree is written
along for nothing; positions that are functions of each other (the words of one name) count
as one, since whichever is written decides the others; and states that differ in the names
of their symbols or in the order of their positions only are one.

Beyond a limit :func:`largest_set` stands in: greedily the largest set that may be written.

Source: this project; what a set costs is ParallelBench (arXiv:2510.04767), equation 1.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from parallelbench.analysis.theory.bounds import OverLimitError

#: Most pairs of a state and a set that may be written in it, for an exact policy.
CHOICE_LIMIT = 5_000
#: Sets kept at each size while the largest one is sought.
BEAM_WIDTH = 8
#: By how many bits a set may exceed ``eps``: the rounding of a sum of logarithms.
BIT_TOLERANCE = 1e-9
#: By what share a probability may differ from a product, and count as equal.
_RELATIVE_TOLERANCE = 1e-9
#: Policies kept for laws that come again.
_POLICIES_KEPT = 64
#: Tables of at most this many cells per answer are used as they are.
_CELLS_PER_ANSWER = 4


class Choice(NamedTuple):
    """What a policy does in one state.

    Attributes:
        steps: Expected steps from here to the end, this one included; not a number where
            that is not known.
        columns: Of which columns to write a position; one that stands twice, two of them.
        whole: Whether all open positions are written, which ends the decode.
    """

    steps: float
    columns: tuple[int, ...]
    whole: bool


@dataclass(frozen=True, eq=False)
class State:
    """The answers that are left, each once, at the open positions at which they differ.

    Made by :func:`reduced`; equal states have equal policies.

    Attributes:
        columns: For each class of positions that are functions of each other, the symbol of
            every answer, numbered from 0 in order of first appearance; all different.
        copies: How many positions each class has.
        weights: A positive whole number for each answer.
    """

    columns: Int[np.ndarray, "columns answers"]
    copies: tuple[int, ...]
    weights: Int[np.ndarray, " answers"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @cached_property
    def _key(self) -> tuple[bytes, tuple[int, ...], bytes]:
        # Columns and answers have lengths that the last two parts give away.
        return self.columns.tobytes(), self.copies, self.weights.tobytes()

    @cached_property
    def canonical(self) -> CanonicalState:
        """This state with its columns in an order that does not depend on their positions."""
        order = sorted(range(len(self.copies)), key=lambda one: self.columns[one].tobytes())
        copies = tuple(self.copies[one] for one in order)
        return CanonicalState(State(self.columns[order], copies, self.weights), tuple(order))

    @cached_property
    def shares(self) -> Float[np.ndarray, " answers"]:
        """The probability of each answer."""
        return np.asarray(self.weights / self.weights.sum())

    @cached_property
    def symbols(self) -> Int[np.ndarray, " columns"]:
        """How many symbols each column has."""
        return np.asarray(self.columns.max(axis=1) + 1)

    @cached_property
    def marginals(self) -> Float[np.ndarray, "columns answers"]:
        """The probability of the symbol that each answer has in each column."""
        return np.array([np.bincount(one, self.shares)[one] for one in self.columns])

    @cached_property
    def entropies(self) -> Float[np.ndarray, " columns"]:
        """The entropy of each column, in bits."""
        return np.asarray(-(np.log2(self.marginals) @ self.shares))

    @cached_property
    def everything_bits(self) -> float:
        """C of all open positions together: of every column, and of every further copy."""
        further = float(self.entropies @ (np.array(self.copies) - 1))
        together = -float(self.shares @ np.log2(self.shares))
        return max(0.0, float(self.entropies.sum()) - together) + further

    def may_end(self, eps: float) -> bool:
        """Return whether all open positions may be written at once."""
        if eps > 0:
            return self.everything_bits <= eps + BIT_TOLERANCE
        product = self.marginals.prod(axis=0)
        return max(self.copies) == 1 and bool(_equal(self.shares, product).all())


class CanonicalState(NamedTuple):
    """A state with its columns reordered.

    Attributes:
        state: The same state for any order of the positions.
        order: Which column of the original each of its columns is.
    """

    state: State
    order: tuple[int, ...]


class _Set(NamedTuple):
    """Columns of a state, one position of each.

    Attributes:
        columns: Which, ascending.
        group: For each answer, the number of its combination of symbols.
        groups: How many combinations there are.
        product: For each answer, the product of the probabilities of its symbols.
        bits: What writing them at once costs; 0 where they are independent.
        survivors: How many answers are left afterwards, on average.
    """

    columns: tuple[int, ...]
    group: Int[np.ndarray, " answers"]
    groups: int
    product: Float[np.ndarray, " answers"]
    bits: float
    survivors: float


class Policy:
    """The policy with the fewest expected steps, for one law and all that can follow.

    Attributes:
        expected_steps: From the start to the end, for answers drawn from the law.
        choices: How many pairs of a state and a set were looked at.

    Args:
        start: The state to begin with; None if nothing is uncertain.
        eps: Most bits of a step; at 0 only independent positions are written together.
        limit: Most pairs of a state and a set that may be written in it.

    Raises:
        OverLimitError: There are more.
    """

    def __init__(self, start: State | None, eps: float, limit: int = CHOICE_LIMIT) -> None:
        self._eps = eps
        self._limit = limit
        self._known: dict[State, Choice] = {}
        self.choices = 0
        self.expected_steps = 1.0 if start is None else self(start).steps

    def __call__(self, state: State) -> Choice:
        """Return what to do in ``state``."""
        canonical, order = state.canonical
        choice = self._choice(canonical)
        return choice._replace(columns=tuple(order[column] for column in choice.columns))

    def _choice(self, state: State) -> Choice:
        found = self._known.get(state)
        if found is None:
            found = self._known[state] = self._solved(state)
        return found

    def _solved(self, state: State) -> Choice:
        if state.may_end(self._eps):
            return Choice(1.0, tuple(range(len(state.copies))), whole=True)
        best = Choice(math.inf, (), whole=False)
        for candidate in self._candidates(state):
            steps = self._steps(state, candidate, best.steps)
            if steps < best.steps - 1e-12:
                best = Choice(steps, candidate.columns, whole=False)
            if best.steps <= 2:  # fewer would end the decode here
                break
        return best

    def _candidates(self, state: State) -> list[_Set]:
        """Return every set that may be written, those that leave fewer answers first."""
        found = []
        for candidate in _allowed_sets(state, self._eps):
            self.choices += 1
            if self.choices > self._limit:
                raise OverLimitError(
                    f"this law has more than {self._limit:,} pairs of a state and a set that may "
                    f"be written in it at eps={self._eps}, over the limit; take method=greedy, "
                    "or a smaller size"
                )
            found.append(candidate)
        return sorted(found, key=_by_survivors)

    def _steps(self, state: State, written: _Set, bound: float) -> float:
        """Return the expected steps when these are written first; cut short at ``bound``."""
        # Something stays open, and takes one more step even if it is certain.
        steps = 2.0
        for share, child in _children(state, written):
            steps += share * (self._choice(child).steps - 1)
            if steps >= bound:
                break
        return steps


@functools.lru_cache(maxsize=_POLICIES_KEPT)
def policy_within(start: State | None, eps: float, limit: int) -> Policy | None:
    """Return the exact policy from ``start``, or None if it would go over the limit."""
    try:
        return Policy(start, eps, limit)
    except OverLimitError:
        return None


def largest_set(state: State, eps: float) -> Choice:
    """Return greedily the largest set that may be written in ``state``; its steps are unknown.

    The set grows column by column; of each size the ``BEAM_WIDTH`` sets with the fewest
    bits are kept.  Of equally large ones the one that leaves the fewest answers on average
    is taken, then the one of lower columns.  What is left of ``eps`` then goes to further
    copies of the columns that are written.
    """
    if state.may_end(eps):
        return Choice(1.0, tuple(range(len(state.copies))), whole=True)
    beam = _singles(state)
    largest = min(beam, key=_by_survivors)
    while beam:
        largest = min(beam, key=_by_survivors)
        grown = {one.columns: one for each in beam for one in _extended(state, each, eps, start=0)}
        beam = sorted(grown.values(), key=lambda one: (round(one.bits, 9), *_by_survivors(one)))
        beam = beam[:BEAM_WIDTH]
    return Choice(math.nan, _with_copies(state, largest, eps), whole=False)


def reduced(
    symbols: Int[np.ndarray, "positions answers"], weights: Int[np.ndarray, " answers"]
) -> tuple[State | None, tuple[tuple[int, ...], ...]]:
    """Return the state of these answers, and which positions each of its columns stands for.

    Args:
        symbols: What each answer has at each open position, as small numbers from 0; no
            two answers have the same everywhere.
        weights: A positive whole number for each answer.

    Returns:
        The state, None if the answers agree everywhere; and for each of its columns the
        positions (line numbers of ``symbols``), ascending.  The columns are in the order
        of their first positions.
    """
    varying = np.flatnonzero((symbols != symbols[:, :1]).any(axis=1))
    if not len(varying):
        return None, ()
    classes: dict[bytes, list[int]] = {}
    ranked = _ranked(symbols[varying])
    for position, column in zip(varying.tolist(), ranked, strict=True):
        classes.setdefault(column.tobytes(), []).append(position)
    line = {position: number for number, position in enumerate(varying.tolist())}
    ordered = [tuple(members) for members in classes.values()]
    columns = ranked[[line[members[0]] for members in ordered]]
    state = State(columns, tuple(map(len, ordered)), weights // np.gcd.reduce(weights))
    return state, tuple(ordered)


def _children(state: State, written: _Set) -> Iterator[tuple[float, State]]:
    """Yield each state in which something is uncertain still, with its probability."""
    order = np.argsort(written.group, kind="stable")
    sizes = np.bincount(written.group)
    ends = sizes.cumsum()
    for number in np.flatnonzero(sizes > 1):
        rows = order[ends[number] - sizes[number] : ends[number]]
        child, classes = reduced(state.columns[:, rows], state.weights[rows])
        if child is not None:
            copies = tuple(sum(state.copies[one] for one in members) for members in classes)
            counted = State(child.columns, copies, child.weights)
            yield float(state.shares[rows].sum()), counted.canonical.state


def _ranked(symbols: Int[np.ndarray, "lines answers"]) -> Int[np.ndarray, "lines answers"]:
    """Number the symbols of each line in order of first appearance."""
    lines, answers = np.arange(len(symbols))[:, None], np.arange(symbols.shape[1])
    first = np.empty((len(symbols), int(symbols.max()) + 1), dtype=np.int64)
    # Written from behind, so that the first appearance is what stays.
    for_each = np.broadcast_to(answers[::-1], symbols.shape)
    first[lines, symbols[:, ::-1]] = for_each
    appeared = first[lines, symbols]
    rank = (appeared == answers).cumsum(axis=1) - 1
    return np.ascontiguousarray(rank[lines, appeared])


def _allowed_sets(state: State, eps: float) -> Iterator[_Set]:
    # Total correlation never falls as a set grows: no allowed set has a part that is not.
    for single in _singles(state):
        yield single
        yield from _larger_sets(state, single, eps)


def _larger_sets(state: State, smaller: _Set, eps: float) -> Iterator[_Set]:
    for larger in _extended(state, smaller, eps, start=smaller.columns[-1] + 1):
        yield larger
        yield from _larger_sets(state, larger, eps)


def _singles(state: State) -> list[_Set]:
    return [
        _Set((index,), column, int(symbols), marginal, 0.0, _survivors(state, column))
        for index, (column, symbols, marginal) in enumerate(
            zip(state.columns, state.symbols, state.marginals, strict=True)
        )
    ]


def _extended(state: State, smaller: _Set, eps: float, start: int) -> list[_Set]:
    """Return the allowed sets of ``smaller`` and one more column from ``start`` on."""
    others = [one for one in range(start, len(state.copies)) if one not in smaller.columns]
    larger = []
    for column in others:
        group, groups = _joined(smaller, state.columns[column], int(state.symbols[column]))
        masses = np.bincount(group, state.shares, groups)[group]
        product = smaller.product * state.marginals[column]
        bits = _bits(state.shares, masses, product)
        if bits == 0 or (eps > 0 and bits <= eps + BIT_TOLERANCE):
            columns = tuple(sorted((*smaller.columns, column)))
            survivors = _survivors(state, group)
            larger.append(_Set(columns, group, groups, product, bits, survivors))
    return larger


def _joined(
    written: _Set, column: Int[np.ndarray, " answers"], symbols: int
) -> tuple[Int[np.ndarray, " answers"], int]:
    """Return the number of each answer's combination once ``column`` is added, and how many."""
    keys = written.group * symbols + column
    cells = written.groups * symbols
    if cells > _CELLS_PER_ANSWER * len(keys) + 64:
        different, group = np.unique(keys, return_inverse=True)
        return group.ravel(), len(different)
    present = np.zeros(cells, dtype=np.int64)
    present[keys] = 1
    rank = present.cumsum() - 1
    return rank[keys], int(rank[-1]) + 1


def _survivors(state: State, group: Int[np.ndarray, " answers"]) -> float:
    return float(state.shares @ np.bincount(group)[group])


def _bits(
    shares: Float[np.ndarray, " answers"],
    masses: Float[np.ndarray, " answers"],
    product: Float[np.ndarray, " answers"],
) -> float:
    """Return the total correlation, in bits; 0 exactly where all is independent."""
    # Near independence it falls with the square of the deviation, so it cannot tell.
    if _equal(masses, product).all():
        return 0.0
    return max(math.ulp(0.0), float(shares @ np.log2(masses / product)))


def _equal(
    masses: Float[np.ndarray, " answers"], product: Float[np.ndarray, " answers"]
) -> Bool[np.ndarray, " answers"]:
    return np.asarray(np.abs(masses - product) <= _RELATIVE_TOLERANCE * product)


def _with_copies(state: State, written: _Set, eps: float) -> tuple[int, ...]:
    """Return the columns, and once more each whose next copy fits into what is left of eps."""
    further = sorted(
        itertools.chain.from_iterable(
            [(float(state.entropies[one]), one)] * (state.copies[one] - 1)
            for one in written.columns
        )
    )
    columns, bits = list(written.columns), written.bits
    for entropy, column in further:
        bits += entropy
        if bits > eps + BIT_TOLERANCE:
            break
        columns.append(column)
    return tuple(sorted(columns))


def _by_survivors(one: _Set) -> tuple[float, Sequence[int]]:
    return round(one.survivors, 9), one.columns
