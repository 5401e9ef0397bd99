"""The contract of answer distributions over token ids.

A distribution conditions a batch of partly written canvases exactly.  The results of a row do not
depend on the other rows of its batch: every sum runs in an order fixed by the distribution.

A canvas that no right answer fits has no conditional distribution.  It gets that of the right
answers that agree with it in the most written positions, the nearest answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from parallelbench.distributions.logarithms import natural_logarithms


class Entries(NamedTuple):
    """The tokens that some right answer has at some position, by position, then by token id.

    Attributes:
        positions: Canvas position of each entry, ascending.
        tokens: Token id of each entry, ascending within a position.
    """

    positions: Int[np.ndarray, " entries"]
    tokens: Int[np.ndarray, " entries"]


@dataclass(frozen=True, eq=False)
class Conditionals:
    """An answer distribution given each canvas of a batch.

    Attributes:
        weights: Weight of each entry, proportional to its probability.  At a written position of
            a canvas that some answer fits, only the written token has any.
        totals: Sum of the weights of a position, the same at every position of a row up to
            rounding.
        fits: True for canvases that some right answer fits; the others have the weights of the
            nearest answers.
        agreements: Number of written positions in which the answers counted agree.
        log2_counts: Base-2 logarithm of the number of right answers that fit; -inf for none.
        entropies: Joint entropy of the answers counted, in bits.  For a canvas that fits, it is
            that of all open positions together.
    """

    weights: Float[np.ndarray, "rows entries"]
    totals: Float[np.ndarray, " rows"]
    fits: Bool[np.ndarray, " rows"]
    agreements: Int[np.ndarray, " rows"]
    log2_counts: Float[np.ndarray, " rows"]
    entropies: Float[np.ndarray, " rows"]

    @property
    def probabilities(self) -> Float[np.ndarray, "rows entries"]:
        """The conditional probability of each entry at its position."""
        return np.asarray(self.weights / self.totals[:, None])

    def rows(self, chosen: slice) -> Conditionals:
        """Return a copy of some rows."""
        return Conditionals(**{name: part[chosen].copy() for name, part in vars(self).items()})

    @classmethod
    def stack(cls, parts: Sequence[Conditionals]) -> Conditionals:
        """Return the rows of all ``parts``, one after another."""
        columns = {name: [vars(part)[name] for part in parts] for name in vars(parts[0])}
        return cls(**{name: np.concatenate(arrays) for name, arrays in columns.items()})


class DependenceGraph(NamedTuple):
    """Pairs of positions that are dependent for some values of all other positions.

    Attributes:
        length: Number of positions.
        pairs: Dependent pairs, the lower position first.
    """

    length: int
    pairs: frozenset[tuple[int, int]]


class AnswerDistribution(ABC):
    """A distribution over rows of token ids with whole-number weights.

    Attributes:
        length: Number of positions.
        mask_id: Token id of an open position.
        entries: Tokens that can stand at each position.
    """

    length: int
    mask_id: int
    entries: Entries

    @abstractmethod
    def condition(self, canvases: Int[np.ndarray, "rows length"]) -> Conditionals:
        """Condition on each canvas, with :attr:`mask_id` at its open positions.

        Raises:
            ValueError: The canvases have another length.
        """

    @abstractmethod
    def count(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact number of right answers that fit ``canvas``."""

    @abstractmethod
    def weight(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact sum of the weights of the right answers that fit ``canvas``."""

    @abstractmethod
    def nearest(
        self,
        canvas: Int[np.ndarray, " length"],
        wished: Int[np.ndarray, " length"] | None = None,
    ) -> Int[np.ndarray, " length"]:
        """Return the right answer that agrees with ``canvas`` in the most written positions.

        Ties go to the answer that agrees with ``wished`` in the most positions, then to the most
        probable one, then to the lowest tokens from the left.

        Args:
            canvas: Token ids, with :attr:`mask_id` at open positions.
            wished: Token ids, with :attr:`mask_id` where none is wished; None for no wish.

        Raises:
            ValueError: A row has another length.
        """

    @abstractmethod
    def draw(
        self,
        canvases: Int[np.ndarray, "rows length"],
        uniforms: Float[np.ndarray, "rows length"],
    ) -> Int[np.ndarray, "rows length"]:
        """Draw a right answer for each canvas, from its conditional distribution.

        Args:
            canvases: Token ids, with :attr:`mask_id` at open positions.
            uniforms: Independent numbers, uniform on [0, 1); equal numbers give equal draws.

        Raises:
            ValueError: The shapes differ, or a canvas fits no right answer.
        """

    @abstractmethod
    def iterate(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield every right answer once, with its weight, in a fixed order."""

    @abstractmethod
    def dependence_graph(self) -> DependenceGraph | None:
        """Return the pairs that are dependent given all others; None if that takes too long."""

    @abstractmethod
    def joint_entropy(
        self, canvas: Int[np.ndarray, " length"], positions: Collection[int]
    ) -> float | None:
        """Return the joint entropy of some open positions of ``canvas``, in bits.

        Args:
            canvas: Token ids, with :attr:`mask_id` at open positions.
            positions: Open positions, each once.

        Returns:
            0 or more; None if it would take too long.

        Raises:
            ValueError: No right answer fits the canvas.
        """

    def contains(self, rows: Int[np.ndarray, "rows length"]) -> Bool[np.ndarray, " rows"]:
        """Test each row of token ids for being a right answer."""
        is_whole = (rows != self.mask_id).all(axis=1)
        return np.asarray(self.condition(rows).fits & is_whole)

    def log_weights(self, conditionals: Conditionals) -> Float[np.ndarray, "rows entries"]:
        """Return natural logarithms of the weights, -inf for 0; the same bits in any batch."""
        return natural_logarithms(conditionals.weights)

    def check_shape(self, canvases: np.ndarray) -> None:
        """Refuse canvases of another length.

        Raises:
            ValueError: They have.
        """
        if canvases.ndim != 2 or canvases.shape[1] != self.length:
            raise ValueError(
                f"canvases need shape (rows, {self.length}), got {tuple(canvases.shape)}"
            )


def refuse_unfit(fits: Bool[np.ndarray, " rows"]) -> None:
    """Refuse to draw an answer for a canvas that none fits.

    Raises:
        ValueError: Some canvas does not fit.
    """
    if not fits.all():
        raise ValueError(f"no right answer fits canvas {int(np.flatnonzero(~fits)[0])}")
