"""Entropy and total correlation of the symbols of a right answer, in bits.

A decoder that writes several positions at once draws each from its own marginal.  The least cost
of doing so is their total correlation given the canvas: no factorised model comes closer to the
law.

All results are exact, for a finite law that is listed answer by answer.  A dense table would need
a cell for every combination of symbols, nearly all of them impossible: the orders of 8 names are
40,320 rows, but 16.8 million cells.

Source: Kang et al., ParallelBench (arXiv:2510.04767), section 4; Watanabe (1960),
"Information theoretical analysis of multivariate correlation".
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from jaxtyping import Float, Int, Num

from parallelbench.prompt import Prompt, lay_out
from parallelbench.score import read_list_strictly
from parallelbench.task import Answers

#: How far from 1 the probabilities of a law may sum.
TOLERANCE = 1e-9
#: Keys beyond this would overflow.
_LARGEST_KEY = 2**62
#: Columns whose values span no more than this are used as they are.
_SMALL_SPAN = 4096

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Law:
    """A finite joint law: the possible rows and the probability of each.

    Row i holds one answer, column j the symbol at position j, as any whole number; equal
    numbers in different columns need not mean the same.  Each row is listed once;
    :meth:`counted` adds up the weights of repeated rows.

    Attributes:
        rows: The answers, all different.
        probabilities: A positive share for each answer, summing to 1 within 1e-9.

    Raises:
        ValueError: There is no row or no position, a row is repeated, or the probabilities are
            not one positive number per row that sum to 1.

    Example:
        >>> agree = Law(np.array([[0, 0], [1, 1]]), np.array([0.5, 0.5]))
        >>> len(agree), agree.length
        (2, 2)
    """

    rows: Int[np.ndarray, "answers positions"]
    probabilities: Float[np.ndarray, " answers"]

    def __post_init__(self) -> None:
        _check_shapes(self.rows, self.probabilities, "probabilities")
        total = float(self.probabilities.sum())
        # "not >" also rejects NaN.
        if not (self.probabilities > 0).all() or not math.isclose(total, 1, abs_tol=TOLERANCE):
            raise ValueError(
                "a law needs positive probabilities that sum to 1: "
                f"smallest {self.probabilities.min():.3g}, sum {total:.12g}"
            )
        _, first = np.unique(packed(*self._coded), return_index=True)
        if len(first) < len(self.rows):
            twice = next(iter(set(range(len(self.rows))) - set(first.tolist())))
            raise ValueError(
                f"a law lists each row once, but row {twice} repeats an earlier one: "
                f"{_shortened(self.rows[twice].tolist())}; Law.counted adds repeated rows up"
            )

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def counted(
        cls,
        rows: Int[np.ndarray, "answers positions"] | Sequence[Sequence[int]],
        weights: Num[np.ndarray, " answers"] | Sequence[float] | None = None,
    ) -> Law:
        """Return the law in which the probability of a row is its share of the weights.

        Args:
            rows: The answers; rows that repeat are merged at the first of them, and their
                weights added.
            weights: A positive number for each; None for equal ones.

        Raises:
            ValueError: Rows of different length, no row, or a weight that is not positive.

        Example:
            >>> Law.counted([[0, 1], [1, 0], [0, 1]]).probabilities.tolist()
            [0.6666666666666666, 0.3333333333333333]
        """
        table = rows if isinstance(rows, np.ndarray) else _table(rows)
        masses = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
        _check_shapes(table, masses, "weights")
        if not (masses > 0).all() or not np.isfinite(masses).all():
            wrong = int(np.flatnonzero(~((masses > 0) & np.isfinite(masses)))[0])
            raise ValueError(f"row {wrong} has weight {masses[wrong]:g}; it must be above 0")
        _, first, group = np.unique(packed(*_coded(table)), return_index=True, return_inverse=True)
        summed = np.bincount(group.ravel(), weights=masses)
        order = np.argsort(first)
        return cls(table[first[order]], summed[order] / summed.sum())

    @property
    def length(self) -> int:
        """The number of positions of an answer."""
        return int(self.rows.shape[1])

    @cached_property
    def varying(self) -> tuple[int, ...]:
        """The positions at which not all answers agree, ascending."""
        return tuple(np.flatnonzero((self.rows != self.rows[0]).any(axis=0)).tolist())

    @cached_property
    def _coded(self) -> tuple[Int[np.ndarray, "positions answers"], tuple[int, ...]]:
        return _coded(self.rows)

    def keys(self, positions: Iterable[int]) -> Int[np.ndarray, " answers"]:
        """Return a number for each answer, equal where the answers agree at ``positions``.

        Raises:
            ValueError: A position is not one of this law's.
        """
        chosen = list(positions)
        self._check(chosen)
        codes, sizes = self._coded
        return packed(codes[chosen], [sizes[position] for position in chosen])

    def masses(self, positions: Iterable[int]) -> Float[np.ndarray, " groups"]:
        """Return the probability of each combination of symbols that ``positions`` can hold."""
        chosen = sorted(set(positions))
        if chosen == list(range(self.length)):
            return self.probabilities
        return _summed(self.keys(chosen), self.probabilities)

    def only(self, positions: Sequence[int]) -> Law:
        """Return the joint law of ``positions``, at least one, in the order given.

        Raises:
            ValueError: No position, or one that is not of this law.
        """
        self._check(positions)
        return Law.counted(self.rows[:, list(positions)], self.probabilities)

    def given(self, values: Mapping[int, int]) -> Law:
        """Return the law of the answers that hold ``values``, by position.

        Raises:
            ValueError: A position is not one of this law's, or no answer fits.

        Example:
            >>> law = Law.counted([[0, 1], [0, 2], [3, 1]])
            >>> law.given({0: 0}).rows.tolist()
            [[0, 1], [0, 2]]
        """
        self._check(values)
        fits = np.ones(len(self), dtype=bool)
        for position, value in values.items():
            fits &= self.rows[:, position] == value
        if not fits.any():
            raise ValueError(f"none of the {len(self):,} answers holds {dict(values)}")
        return self.select(fits)

    def select(self, which: np.ndarray) -> Law:
        """Return the law of the answers that ``which`` picks, their shares kept in proportion."""
        kept = self.probabilities[which]
        return Law(self.rows[which], kept / kept.sum())

    def _check(self, positions: Iterable[int]) -> None:
        for position in positions:
            if not 0 <= position < self.length:
                raise ValueError(
                    f"a position must lie in 0..{self.length - 1}, got position={position}"
                )


def item_law(answers: Answers) -> Law:
    """Return the law of ``answers`` with an item for a symbol.

    The items of a written list, such as ``[Ada Moss, Ben Stone]``, are what its commas
    separate; of any other answer, its words and numbers.  Shorter answers are filled up
    with an end symbol.

    Example:
        >>> item_law(Answers.uniform(["New York", "Mexico City"])).rows.tolist()
        [[0, 1], [2, 3]]
    """
    items = [_items(text) for text in answers.texts]
    numbers = {
        item: number for number, item in enumerate(dict.fromkeys(chain.from_iterable(items)))
    }
    length = max(map(len, items))
    end = len(numbers)
    rows = [[numbers[item] for item in each] + [end] * (length - len(each)) for each in items]
    return Law.counted(np.array(rows), np.array(answers.weights))


def token_law(prompt: Prompt, answers: Answers) -> Law:
    """Return the law of ``answers`` to ``prompt`` with a token of its canvas for a symbol.

    Raises:
        CanvasError: An answer does not fit the canvas, or the tokenizer cannot write it.
    """
    return Law.counted(lay_out(prompt, answers).numpy(), np.array(answers.weights))


def entropy(law: Law, positions: Iterable[int] | None = None) -> float:
    r"""Return the entropy of the symbols at ``positions`` together, in bits.

    .. math:: H(Y_S) = - \sum_{y_S} p(y_S) \log_2 p(y_S)

    Args:
        law: The joint law.
        positions: Positions of the law; None for all.

    Example:
        >>> entropy(Law.counted([[0, 0], [1, 1]]), [0])
        1.0
    """
    return _bits(law.probabilities if positions is None else law.masses(positions))


def total_correlation(
    law: Law, positions: Iterable[int] | None = None, given: Iterable[int] = ()
) -> float:
    r"""Return the (conditional) total correlation of ``positions``, in bits.

    .. math:: C(S \mid A) = \sum_{j \in S} H(Y_j \mid Y_A) - H(Y_S \mid Y_A) \ge 0

    It is the least cost of writing S in one step, averaged over the symbols at A, and 0
    exactly if the symbols at S are independent given those.

    Args:
        law: The joint law.
        positions: The set S; None for all.
        given: The set A, whose symbols are averaged over.  For one particular context, pass
            the law of the remaining answers: ``law.given({position: value})``.

    Returns:
        Bits; never negative (rounding below 0 is lifted to 0).

    Source:
        ParallelBench, equation 1.

    Example:
        Two coins that always agree share one bit:

        >>> total_correlation(Law.counted([[0, 0], [1, 1]]))
        1.0
    """
    known = set(given)
    chosen = set(range(law.length) if positions is None else positions) - known
    before = entropy(law, known)
    alone = sum(entropy(law, known | {position}) - before for position in chosen)
    return max(0.0, alone - (entropy(law, known | chosen) - before))


def independent(law: Law, positions: Collection[int]) -> bool:
    """Test the symbols at ``positions`` for mutual independence.

    Every combination that occurs must be as likely as the product of its parts, within a
    relative 1e-9; then the products sum to 1 already and no other combination has any.
    This is sharper than a total correlation of about 0, which falls with the square of the
    deviation.
    """
    joint = np.ones(len(law))
    for position in positions:
        joint *= mass_of_each(law, [position])
    return bool(np.allclose(mass_of_each(law, positions), joint, rtol=1e-9, atol=0))


def mass_of_each(law: Law, positions: Collection[int]) -> Float[np.ndarray, " answers"]:
    """Return, for each answer, the probability of what it holds at ``positions``."""
    if not positions:
        return np.full(len(law), law.probabilities.sum())
    _, group = np.unique(law.keys(positions), return_inverse=True)
    group = group.ravel()
    return np.bincount(group, weights=law.probabilities)[group]


def _items(text: str) -> list[str]:
    listed = read_list_strictly(text)
    return _WORD.findall(text) if listed is None else list(listed)


def _table(rows: Sequence[Sequence[int]]) -> Int[np.ndarray, "answers positions"]:
    lengths = [len(row) for row in rows]
    other = next((i for i, length in enumerate(lengths) if length != lengths[0]), None)
    if other is not None:
        raise ValueError(
            f"the rows of a law have one length, but row 0 has {lengths[0]} positions and "
            f"row {other} has {lengths[other]}"
        )
    return np.array(rows, dtype=np.int64).reshape(len(lengths), lengths[0] if lengths else 0)


def _check_shapes(rows: np.ndarray, numbers: np.ndarray, noun: str) -> None:
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"a law needs at least one row of at least one position, got shape {rows.shape}"
        )
    if numbers.shape != rows.shape[:1]:
        raise ValueError(f"{len(rows)} rows have {noun} of shape {numbers.shape}")


def _coded(
    rows: Int[np.ndarray, "answers positions"],
) -> tuple[Int[np.ndarray, "positions answers"], tuple[int, ...]]:
    """Return each column as numbers from 0, and how many different ones there can be."""
    codes = np.ascontiguousarray(rows.T.astype(np.int64))
    lowest, highest = codes.min(axis=1), codes.max(axis=1)
    for position in np.flatnonzero((highest - lowest) >= _SMALL_SPAN):
        codes[position] = np.unique(codes[position], return_inverse=True)[1].ravel()
    codes -= codes.min(axis=1)[:, None]
    return codes, tuple((codes.max(axis=1) + 1).tolist())


def packed(
    codes: Int[np.ndarray, "positions answers"], sizes: Sequence[int]
) -> Int[np.ndarray, " answers"]:
    """Return a number for each answer, equal where the answers agree in every column.

    Args:
        codes: Some columns, as numbers from 0.
        sizes: A bound that the numbers of each column stay below.
    """
    key = np.zeros(codes.shape[1], dtype=np.int64)
    range_of_key = 1
    for column, size in zip(codes, sizes, strict=True):
        if range_of_key * size > _LARGEST_KEY:
            # No more different numbers than answers are in use: count them through.
            different, group = np.unique(key, return_inverse=True)
            key, range_of_key = group.ravel().astype(np.int64), len(different)
        key = key * size + column
        range_of_key *= size
    return key


def _summed(
    keys: Int[np.ndarray, " answers"], probabilities: Float[np.ndarray, " answers"]
) -> Float[np.ndarray, " groups"]:
    if int(keys.max()) < 4 * len(keys) + 1024:
        masses = np.bincount(keys, weights=probabilities)
        return masses[masses > 0]
    order = np.argsort(keys)
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return np.add.reduceat(probabilities[order], starts)


def _bits(masses: Float[np.ndarray, " groups"]) -> float:
    return max(0.0, float(-(masses * np.log2(masses)).sum()))


def _shortened(row: Sequence[int]) -> str:
    return str(list(row)) if len(row) <= 12 else f"{str(list(row[:12]))[:-1]}, ...]"
