"""Canonical forms of laws, equal only for laws that differ in names and order alone.

The future of a law depends on which answers agree where, and on nothing else.  A form
that depends as little as possible on the order of rows and columns lets dynamic programming solve
each kind of law once: of the thousands of states of a Latin square of size 4, fewer than 200 are
different.

The method is that of programs for graph isomorphism: answers and positions get colours, which are
refined by the colours of their neighbours until nothing changes; among ties, one is singled out
and the refinement continues.  The choice among ties is not searched, so two equal laws may
occasionally get two forms, which only costs time.  Two different laws never share a form, because
the form is the whole table.

Source: McKay and Piperno (2014), "Practical graph isomorphism, II", section 2, for colour
refinement and singling out; the mixing is SplitMix64, Steele, Lea and Flood (2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt64

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
#: Digits to which equal probabilities agree.
_DIGITS = 12

#: A table without the names of its symbols, positions and answers.
Form = tuple[bytes, bytes, int]


def form(
    codes: Int[np.ndarray, "answers positions"],
    sizes: Sequence[int],
    shares: Float[np.ndarray, " answers"],
) -> Form:
    """Return a value that only laws which differ in nothing but names have in common.

    Args:
        codes: symbols, numbered from 0 at each position, every number in use.
        sizes: Number of different symbols at each position.
        shares: Probability of each answer.
    """
    colours = _Colours(codes, sizes, shares)
    colours.settle()
    order = np.argsort(colours.answers, kind="stable")
    table = codes[np.ix_(order, np.argsort(colours.positions, kind="stable"))]
    in_order = np.round(shares[order], _DIGITS)
    return _renamed(table).tobytes(), in_order.tobytes(), codes.shape[1]


class _Colours:
    """Colours of answers and positions, as 64-bit numbers: equal where nothing differs yet."""

    def __init__(
        self,
        codes: Int[np.ndarray, "answers positions"],
        sizes: Sequence[int],
        shares: Float[np.ndarray, " answers"],
    ) -> None:
        ends = np.cumsum([0, *sizes])
        self._cells = codes + ends[:-1]  # each symbol of each position has a number
        self._first = ends[:-1]
        self._owner = np.repeat(np.arange(len(sizes)), sizes)
        by_cell = np.argsort(self._cells.T.ravel(), kind="stable")
        self._answer = by_cell % len(codes)
        counts = np.bincount(self._cells.ravel(), minlength=int(ends[-1]))
        self._starts = np.cumsum([0, *counts[:-1]])
        self.answers = np.round(shares * 10.0**_DIGITS).astype(np.uint64)
        self.positions = np.zeros(len(sizes), dtype=np.uint64)

    def settle(self) -> None:
        """Refine, and single out, until all positions and all or many answers differ."""
        self._refine()
        # Singling out one resolves other ties, so that few rounds are enough, except for answers
        # that share nothing, which keep their order.
        for _ in self.positions:
            tied = _tied(self.positions)
            if tied is None:
                break
            self.positions[tied] += np.uint64(1)
            self._refine()
        for _ in self.positions:
            tied = _tied(self.answers)
            if tied is None:
                break
            self.answers[tied] += np.uint64(1)
            self._refine()

    def _refine(self) -> None:
        before = (0, 0)
        while (now := (_different(self.answers), _different(self.positions))) != before:
            before = now
            meets = np.add.reduceat(_mixed(self.answers)[self._answer], self._starts)
            symbols = _mixed(meets + self.positions[self._owner])
            self.positions = _mixed(self.positions + np.add.reduceat(_mixed(symbols), self._first))
            seen = _mixed(symbols ^ self.positions[self._owner])
            self.answers = _mixed(self.answers * _STEP + seen[self._cells].sum(axis=1))


def _tied(colours: UInt64[np.ndarray, " elements"]) -> int | None:
    """Return the index of an element that shares its colour; None if all differ."""
    different, counts = np.unique(colours, return_counts=True)
    if len(different) == len(colours):
        return None
    return int(np.flatnonzero(colours == different[counts > 1][0])[0])


def _different(colours: UInt64[np.ndarray, " elements"]) -> int:
    ordered = np.sort(colours)
    return 1 + int((ordered[1:] != ordered[:-1]).sum())


def _mixed(numbers: UInt64[np.ndarray, " numbers"]) -> UInt64[np.ndarray, " numbers"]:
    numbers = numbers + _STEP
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FACTORS[0]
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _FACTORS[1]
    mixed: UInt64[np.ndarray, " numbers"] = numbers ^ (numbers >> np.uint64(31))
    return mixed


def _renamed(
    table: Int[np.ndarray, "answers positions"],
) -> Int[np.ndarray, "answers positions"]:
    """Return the table with symbols numbered, at each position, as they first appear."""
    renamed = np.empty(table.shape, dtype=np.int32)
    for position, column in enumerate(table.T):
        first = np.full(int(column.max()) + 1, len(column))
        np.minimum.at(first, column, np.arange(len(column)))
        renamed[:, position] = np.argsort(np.argsort(first))[column]
    return renamed
