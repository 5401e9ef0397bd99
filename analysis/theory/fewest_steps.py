"""The policy with the fewest expected steps among those that ignore at most eps bits per step.

A policy sees the remaining answers and picks the positions to write next.  It may write a
set S in a context c if the total correlation C(S|c) is at most ``eps``; among all such
policies this module finds one with the fewest expected steps, exact by dynamic programming
over the remaining answers and the open positions.  At ``eps`` 0 it takes the steps that
:func:`parallelbench.analysis.theory.adaptive.zero_error_steps` counts; this module finds the
choice in every state, for any ``eps``.

Three merges keep the states few: a position at which the remaining answers agree is written at
no cost; positions that are functions of each other (the words of one name) count as one, since
each determines the others; and states that differ only in the names of their symbols or in the
order of their positions are one.

Beyond a limit :func:`largest_set` is used instead: greedily the largest set that may be written.

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
#: Sets kept at each size in the search for the largest one.
BEAM_WIDTH = 8
#: Bits by which a set may exceed ``eps``, for the rounding of a sum of logarithms.
BIT_TOLERANCE = 1e-9
#: Relative difference within which a probability equals a product.
_RELATIVE_TOLERANCE = 1e-9
#: Policies cached for repeated laws.
_POLICIES_CACHED = 64
#: Tables of at most this many cells per answer are used as they are.
_CELLS_PER_ANSWER = 4


class Choice(NamedTuple):
    """The choice of a policy in one state.

    Attributes:
        steps: Expected steps from here to the end, this one included; NaN if unknown.
        columns: Columns of which a position is written; a repeated column writes two.
        whole: True if all open positions are written, which ends the decode.
    """

    steps: float
    columns: tuple[int, ...]
    whole: bool


@dataclass(frozen=True, eq=False)
class State:
    """The remaining answers, each once, at the open positions at which they differ.

    Made by :func:`reduced`; equal states have equal policies.

    Attributes:
        columns: Symbols of every answer for each class of positions that are functions of each
            other, numbered from 0 in order of first appearance; all columns differ.
        copies: Number of positions in each class.
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
        # The lengths of the last two parts determine the shape of the first.
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
        """The number of different symbols in each column."""
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
        """Test if all open positions may be written in one step."""
        if eps > 0:
            return self.everything_bits <= eps + BIT_TOLERANCE
        product = self.marginals.prod(axis=0)
        return max(self.copies) == 1 and bool(_equal(self.shares, product).all())


class CanonicalState(NamedTuple):
    """A state with its columns reordered.

    Attributes:
        state: The state with its columns in canonical order.
        order: Number of the original column of each of its columns.
    """

    state: State
    order: tuple[int, ...]


class _Set(NamedTuple):
    """Columns of a state, one position of each.

    Attributes:
        columns: The columns, ascending.
        group: Number of each answer's combination of symbols.
        groups: Number of different combinations.
        product: Product of the probabilities of each answer's symbols.
        bits: Total correlation; 0 if the columns are independent.
        survivors: Expected number of remaining answers after the step.
    """

    columns: tuple[int, ...]
    group: Int[np.ndarray, " answers"]
    groups: int
    product: Float[np.ndarray, " answers"]
    bits: float
    survivors: float


class Policy:
    """The policy with the fewest expected steps, for one law and every state that can follow.

    Attributes:
        expected_steps: Expected steps from start to end, for answers drawn from the law.
        choices: Number of (state, set to write) pairs that were examined.

    Args:
        start: The first state; None if nothing is uncertain.
        eps: Most bits of a step; at 0 only independent positions are written together.
        limit: Largest number of (state, set to write) pairs to examine.

    Raises:
        OverLimitError: There are more pairs.
    """

    def __init__(self, start: State | None, eps: float, limit: int = CHOICE_LIMIT) -> None:
        self._eps = eps
        self._limit = limit
        self._known: dict[State, Choice] = {}
        self.choices = 0
        self.expected_steps = 1.0 if start is None else self(start).steps

    def __call__(self, state: State) -> Choice:
        """Return the choice in ``state``."""
        canonical, order = state.canonical
        choice = self._choice(canonical)
        return choice._replace(columns=tuple(order[column] for column in choice.columns))

    def _choice(self, state: State) -> Choice:
        cached = self._known.get(state)
        if cached is None:
            cached = self._known[state] = self._solved(state)
        return cached

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
        """Return every set that may be written, by ascending expected number of survivors."""
        candidates = []
        for candidate in _allowed_sets(state, self._eps):
            self.choices += 1
            if self.choices > self._limit:
                raise OverLimitError(
                    f"this law has more than {self._limit:,} pairs of a state and a set that may "
                    f"be written in it at eps={self._eps}, over the limit; take method=greedy, "
                    "or a smaller size"
                )
            candidates.append(candidate)
        return sorted(candidates, key=_by_survivors)

    def _steps(self, state: State, written: _Set, bound: float) -> float:
        """Return the expected steps when these are written first; cut short at ``bound``."""
        # Some position stays open and takes one more step, even if it is certain.
        steps = 2.0
        for share, child in _children(state, written):
            steps += share * (self._choice(child).steps - 1)
            if steps >= bound:
                break
        return steps


@functools.lru_cache(maxsize=_POLICIES_CACHED)
def policy_within(start: State | None, eps: float, limit: int) -> Policy | None:
    """Return the exact policy from ``start``, or None if it would go over the limit."""
    try:
        return Policy(start, eps, limit)
    except OverLimitError:
        return None


def largest_set(state: State, eps: float) -> Choice:
    """Return greedily the largest set that may be written in ``state``; its steps are unknown.

    The set grows column by column; of each size the ``BEAM_WIDTH`` sets with the fewest
    bits are kept.  Ties go to the set with the fewest expected remaining answers, then to
    lower columns.  The rest of ``eps`` is spent on further copies of the chosen columns.
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
    """Return the state of these answers, and the positions of each of its columns.

    Args:
        symbols: Symbol of each answer at each open position, as small numbers from 0; all
            answers differ.
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
    """Yield each next state that is still uncertain, with its probability."""
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
    # Assigned in reverse order, so that the first appearance remains.
    for_each = np.broadcast_to(answers[::-1], symbols.shape)
    first[lines, symbols[:, ::-1]] = for_each
    appeared = first[lines, symbols]
    rank = (appeared == answers).cumsum(axis=1) - 1
    return np.ascontiguousarray(rank[lines, appeared])


def _allowed_sets(state: State, eps: float) -> Iterator[_Set]:
    # Total correlation never falls as a set grows: every part of an allowed set is allowed.
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
    """Return each answer's combination with ``column`` added, and the number of combinations."""
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
    """Return the total correlation, in bits; exactly 0 if all columns are independent."""
    # Near independence it falls with the square of the deviation, so it is no test of it.
    if _equal(masses, product).all():
        return 0.0
    return max(math.ulp(0.0), float(shares @ np.log2(masses / product)))


def _equal(
    masses: Float[np.ndarray, " answers"], product: Float[np.ndarray, " answers"]
) -> Bool[np.ndarray, " answers"]:
    return np.asarray(np.abs(masses - product) <= _RELATIVE_TOLERANCE * product)


def _with_copies(state: State, written: _Set, eps: float) -> tuple[int, ...]:
    """Return the columns, repeating each whose next copy fits into the rest of ``eps``."""
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
