"""Answer distributions whose right answers are listed, stored so that conditioning is two products.

All sums are of whole numbers below 2^53 and therefore exact, and logarithms come from one table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int

from parallelbench.distributions.contract import (
    AnswerDistribution,
    Conditionals,
    DependenceGraph,
    Entries,
    refuse_unfit,
)
from parallelbench.distributions.logarithms import natural_logarithms

#: float32 holds whole numbers exactly up to here, float64 up to the other.
_EXACT_FLOAT32 = 2**24
_EXACT_FLOAT64 = 2**53
#: Most cells that are compared for the dependence graph.
_GRAPH_LIMIT = 20_000_000


class ListedDistribution(AnswerDistribution):
    """A distribution given by its rows.

    Args:
        rows: Token ids of each right answer, all different.
        weights: Weight of each, a positive whole number; their sum is below 2^53.
        mask_id: Token id of an open position.

    Raises:
        ValueError: A row is repeated, contains the mask id, or a weight is out of range.
    """

    def __init__(
        self,
        rows: Int[np.ndarray, "answers length"],
        weights: Int[np.ndarray, " answers"],
        mask_id: int,
    ) -> None:
        _check(rows, weights, mask_id)
        self.rows = rows
        self.row_weights = weights
        self.length = rows.shape[1]
        self.mask_id = mask_id
        self.total = int(weights.sum())
        vocabulary, column = np.unique(rows, return_inverse=True)
        cells = np.arange(self.length) * len(vocabulary) + column.reshape(rows.shape)
        cell, entry = np.unique(cells, return_inverse=True)
        self.entries = Entries(cell // len(vocabulary), vocabulary[cell % len(vocabulary)])
        self._starts = np.searchsorted(self.entries.positions, np.arange(self.length))
        exact = torch.float32 if self.total < _EXACT_FLOAT32 else torch.float64
        self._has = torch.zeros((len(rows), len(cell)), dtype=exact)
        self._has.scatter_(1, torch.from_numpy(entry.reshape(rows.shape)), 1)
        self._weights = torch.from_numpy(weights).to(exact)
        # The same products, in the same order, for a row in any batch.
        self._surprise = weights * np.array([math.log2(weight) for weight in weights.tolist()])
        self._logarithms = np.array([-math.inf])

    def condition(self, canvases: Int[np.ndarray, "rows length"]) -> Conditionals:
        """Condition on each canvas; the weights and totals are exact whole numbers."""
        surviving, agreements, fits = self._surviving(canvases)
        counted = surviving * self._weights
        weights = (counted @ self._has).double().numpy()
        totals = counted.sum(dim=1, dtype=torch.float64).numpy()
        alive = surviving.numpy()
        surprises = (alive * self._surprise).sum(axis=1)
        entropies = [
            max(0.0, math.log2(total) - surprise / total)
            for total, surprise in zip(totals.tolist(), surprises.tolist(), strict=True)
        ]
        counts = [math.log2(count) for count in alive.sum(axis=1).tolist()]
        return Conditionals(
            weights=weights,
            totals=totals,
            fits=fits,
            agreements=agreements,
            log2_counts=np.where(fits, counts, -math.inf),
            entropies=np.array(entropies),
        )

    def log_weights(self, conditionals: Conditionals) -> Float[np.ndarray, "rows entries"]:
        """Return natural logarithms of the weights, from a table."""
        if self.total >= _EXACT_FLOAT32:
            return natural_logarithms(conditionals.weights)
        if len(self._logarithms) <= self.total:
            self._logarithms = np.array(
                [-math.inf, *(math.log(weight) for weight in range(1, self.total + 1))]
            )
        counts = conditionals.weights.astype(np.intp)
        return np.asarray(np.take(self._logarithms, counts))

    def count(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact number of right answers that fit ``canvas``."""
        surviving, _, fits = self._surviving(canvas[None])
        return int(surviving.sum()) if fits[0] else 0

    def weight(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact sum of the weights of the right answers that fit ``canvas``."""
        surviving, _, fits = self._surviving(canvas[None])
        return int(self.row_weights[surviving.numpy()[0]].sum()) if fits[0] else 0

    def nearest(
        self,
        canvas: Int[np.ndarray, " length"],
        wished: Int[np.ndarray, " length"] | None = None,
    ) -> Int[np.ndarray, " length"]:
        """Return the right answer that agrees with ``canvas`` in the most written positions."""
        surviving, _, _ = self._surviving(canvas[None])
        alive = np.flatnonzero(surviving.numpy()[0])
        if wished is not None:
            self.check_shape(wished[None])
            agreements = (self.rows[alive] == wished).sum(axis=1)
            alive = alive[agreements == agreements.max()]
        weights = self.row_weights[alive]
        heaviest = self.rows[alive[weights == weights.max()]]
        return np.asarray(heaviest[np.lexsort(heaviest.T[::-1])[0]])

    def draw(
        self,
        canvases: Int[np.ndarray, "rows length"],
        uniforms: Float[np.ndarray, "rows length"],
    ) -> Int[np.ndarray, "rows length"]:
        """Draw a right answer for each canvas; only its first uniform number is used."""
        surviving, _, fits = self._surviving(canvases)
        refuse_unfit(fits)
        cumulated = np.cumsum(surviving.numpy() * self.row_weights, axis=1)
        targets = np.floor(uniforms[:, 0] * cumulated[:, -1])
        return np.asarray(self.rows[(cumulated <= targets[:, None]).sum(axis=1)])

    def iterate(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield every right answer with its weight, in the order of the rows."""
        for row, weight in zip(self.rows.tolist(), self.row_weights.tolist(), strict=True):
            yield tuple(row), weight

    def joint_entropy(
        self, canvas: Int[np.ndarray, " length"], positions: Collection[int]
    ) -> float | None:
        """Return the joint entropy of some open positions of ``canvas``, in bits."""
        surviving, _, fits = self._surviving(canvas[None])
        refuse_unfit(fits)
        alive = surviving.numpy()[0]
        tokens = self.rows[alive][:, sorted(positions)]
        if not tokens.size:
            return 0.0
        _, group = np.unique(tokens, axis=0, return_inverse=True)
        masses = np.bincount(group.ravel(), self.row_weights[alive])
        shares = masses / masses.sum()
        return max(0.0, -math.fsum((shares * np.log2(shares)).tolist()))

    def dependence_graph(self) -> DependenceGraph | None:
        """Return the dependent pairs, found by comparing answers that differ in two places."""
        if len(self.rows) == 1:
            return DependenceGraph(self.length, frozenset())
        if self.length**3 * len(self.rows) > _GRAPH_LIMIT:
            return None
        pairs = {
            (low, high)
            for high in range(self.length)
            for low in range(high)
            if self._dependent(low, high)
        }
        return DependenceGraph(self.length, frozenset(pairs))

    def _surviving(
        self, canvases: Int[np.ndarray, "rows length"]
    ) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Return a mask of the answers that agree most, their agreements, and True if they fit."""
        self.check_shape(canvases)
        hits = torch.from_numpy(canvases[:, self.entries.positions] == self.entries.tokens)
        agreements = hits.to(self._has.dtype) @ self._has.T
        most = agreements.amax(dim=1)
        written = (canvases != self.mask_id).sum(axis=1)
        most_agreements = most.long().numpy()
        return agreements == most[:, None], most_agreements, most_agreements == written

    def _dependent(self, low: int, high: int) -> bool:
        others = np.delete(self.rows, [low, high], axis=1)
        order = np.lexsort(others.T) if others.size else np.arange(len(self.rows))
        ends = np.flatnonzero((others[order][1:] != others[order][:-1]).any(axis=1)) + 1
        for group in np.split(order, ends):
            if len(group) > 1 and not self._rank_one(group, low, high):
                return True
        return False

    def _rank_one(self, group: Int[np.ndarray, " answers"], low: int, high: int) -> bool:
        pairs = self.rows[group][:, [low, high]].tolist()
        weight = {
            (one, other): mass
            for (one, other), mass in zip(pairs, self.row_weights[group].tolist(), strict=True)
        }
        first, second = pairs[0]
        ones, others = {one for one, _ in weight}, {other for _, other in weight}
        return all(
            weight.get((one, other), 0) * weight[first, second]
            == weight.get((one, second), 0) * weight.get((first, other), 0)
            for one in ones
            for other in others
        )


def _check(rows: np.ndarray, weights: np.ndarray, mask_id: int) -> None:
    if rows.ndim != 2 or 0 in rows.shape or weights.shape != rows.shape[:1]:
        raise ValueError(
            "a listed distribution needs rows of at least one position and a weight for each, got "
            f"shapes {tuple(rows.shape)} and {tuple(weights.shape)}"
        )
    if (weights < 1).any() or int(weights.sum()) >= _EXACT_FLOAT64:
        raise ValueError(
            "weights must be at least 1 and sum to less than 2^53, got "
            f"{int(weights.min())} to {int(weights.max())}"
        )
    if (rows == mask_id).any():
        raise ValueError(f"a right answer contains the mask id {mask_id}")
    if len(np.unique(rows, axis=0)) < len(rows):
        raise ValueError("a listed distribution lists each right answer once, but one is repeated")
