"""One position of a trellis: its edges, and the sums over them.

Arrays of states have the rows of a batch as their last axis.  An edge sum of a row takes its
edges in the order of the layer, whatever the other rows are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from parallelbench.distributions.scaled import (
    Scaled,
    add,
    apply_linear,
    shifted,
)

#: Column of an open position, and of a token that no edge of the layer writes.
OPEN = -1
FOREIGN = -2
#: Powers of two below which a share is 0.
_NEGLIGIBLE = -2000


@dataclass(frozen=True, eq=False)
class TrellisLayer:
    """The edges of one position.

    Equal positions share one object, which is then prepared only once.

    Attributes:
        sources: State before the token of each edge, from 0.
        tokens: Token id of each edge.
        targets: State after it, from 0.
        weights: Positive number for each edge: whole in a distribution.

    Raises:
        ValueError: No edge, arrays of different lengths, or a negative state.
    """

    sources: Int[np.ndarray, " edges"]
    tokens: Int[np.ndarray, " edges"]
    targets: Int[np.ndarray, " edges"]
    weights: Int[np.ndarray, " edges"] | Float[np.ndarray, " edges"]

    def __post_init__(self) -> None:
        shapes = {part.shape for part in (self.sources, self.tokens, self.targets, self.weights)}
        if len(shapes) != 1 or self.sources.ndim != 1 or not len(self.sources):
            raise ValueError(
                "a trellis layer needs at least one edge, and a source, token, target and weight "
                f"for each, got shapes {sorted(shapes)}"
            )
        if self.sources.min() < 0 or self.targets.min() < 0:
            raise ValueError("the states of a trellis are numbered from 0; one is negative")

    @classmethod
    def of(cls, edges: list[tuple[int, int, int, int]]) -> TrellisLayer:
        """Return the layer with ``edges``: (source, token, target, weight)."""
        table = np.array(edges, dtype=np.int64).reshape(len(edges), 4)
        return cls(*np.ascontiguousarray(table.T))

    def select(self, edges: np.ndarray) -> TrellisLayer:
        """Return the layer with only the chosen edges."""
        return TrellisLayer(
            self.sources[edges], self.tokens[edges], self.targets[edges], self.weights[edges]
        )

    def sort(self) -> TrellisLayer:
        """Return the layer with its edges by source, then token, then target."""
        return self.select(np.lexsort((self.targets, self.tokens, self.sources)))


class EdgeSums:
    """Sums over the edges of one layer, for a batch of partly written canvases.

    Args:
        layer: Edges, in the order of summation; its states are numbered without gaps.
        states: Number of states before and after.
    """

    def __init__(self, layer: TrellisLayer, states: tuple[int, int]) -> None:
        self.layer = layer
        self.states = states
        self.tokens, self.columns = np.unique(layer.tokens, return_inverse=True)
        self._by_token = np.argsort(self.columns, kind="stable")
        self._counts = np.bincount(self.columns)
        self._starts = np.cumsum(self._counts) - self._counts

    @cached_property
    def weighted(self) -> bool:
        """True if some edge has another weight than 1."""
        return bool((self.layer.weights != 1).any())

    @cached_property
    def unit(self) -> EdgeSums:
        """The sums that count paths: every weight is 1."""
        layer = self.layer
        units = np.ones_like(layer.weights)
        return EdgeSums(
            TrellisLayer(layer.sources, layer.tokens, layer.targets, units), self.states
        )

    @cached_property
    def surprise(self) -> EdgeSums:
        """The sums with ``w log2 w`` in place of each weight ``w``; there must be one above 1."""
        heavy = self.layer.select(np.flatnonzero(self.layer.weights > 1))
        weights = heavy.weights * np.log2(heavy.weights)
        sums = EdgeSums(
            TrellisLayer(heavy.sources, heavy.tokens, heavy.targets, weights), self.states
        )
        sums.recolumn(self)
        return sums

    def recolumn(self, other: EdgeSums) -> None:
        """Number the tokens as ``other`` does, whose tokens include those of this layer."""
        self.columns = np.searchsorted(other.tokens, self.layer.tokens)
        self.tokens = other.tokens
        self._by_token = np.argsort(self.columns, kind="stable")
        self._counts = np.bincount(self.columns, minlength=len(self.tokens))
        self._starts = np.cumsum(self._counts) - self._counts

    def column_of(self, ids: Int[np.ndarray, " rows"], mask_id: int) -> Int[np.ndarray, " rows"]:
        """Return the column of each token id; OPEN for the mask, FOREIGN for any other token."""
        columns = np.minimum(np.searchsorted(self.tokens, ids), len(self.tokens) - 1)
        columns = np.where(self.tokens[columns] == ids, columns, FOREIGN)
        return np.where(ids == mask_id, OPEN, columns)

    def forward(self, before: Scaled, columns: np.ndarray, bonus: int) -> Scaled:
        """Return the sum over the paths to each state after this position.

        Args:
            before: Sum over the paths to each state before it.
            columns: Column of each row's token.
            bonus: Powers of two that a written token is worth; 0 if no other token may stand there.
        """
        return self._pass(before, columns, bonus, backward=False)

    def backward(self, after: Scaled, columns: np.ndarray, bonus: int) -> Scaled:
        """Return the sum over the paths from each state before this position to the end."""
        return self._pass(after, columns, bonus, backward=True)

    def token_shares(
        self, before: Scaled, after: Scaled, total: Scaled, columns: np.ndarray, bonus: int
    ) -> Float[np.ndarray, "tokens rows"]:
        """Return the share of the paths that have each token.

        Args:
            before: Sum over the paths to each state before this position.
            after: Sum over the paths from each state after it.
            total: Sum over all paths.
            columns: Column of each row's token.
            bonus: Powers of two that a written token is worth; other tokens may stand there too.
        """
        layer = self.layer
        fractions = np.take(before.fractions, layer.sources, axis=0)
        fractions *= np.take(after.fractions / total.fractions, layer.targets, axis=0)
        powers = np.take(before.exponents, layer.sources, axis=0)
        powers += np.take(after.exponents - total.exponents, layer.targets, axis=0)
        if bonus:
            powers[self.edges_of(columns)] += np.int32(bonus)
        np.maximum(powers, _NEGLIGIBLE, out=powers)
        return np.asarray(self._to_tokens @ np.ldexp(fractions, powers, out=fractions))

    @cached_property
    def _to_tokens(self) -> sparse.csr_array:
        """The map from edges to tokens, with the weights of the edges."""
        edges = np.arange(len(self.columns))
        return _matrix(
            self.layer.weights, self.columns, edges, (len(self.tokens), len(self.columns))
        )

    @cached_property
    def to_targets(self) -> sparse.csr_array:
        """The map from edges to the states after them, without weights."""
        return self._of_edges(self.layer.targets, self.states[1])

    @cached_property
    def to_tokens_and_targets(self) -> sparse.csr_array:
        """The map from edges to pairs of a token and a state after it, without weights."""
        states = self.states[1]
        places = self.columns * states + self.layer.targets
        return self._of_edges(places, len(self.tokens) * states)

    def _of_edges(self, places: np.ndarray, size: int) -> sparse.csr_array:
        count = len(places)
        starts = np.arange(count + 1)
        return sparse.csr_array((np.ones(count), places, starts), shape=(count, size))

    @cached_property
    def _forward(self) -> sparse.csr_array:
        layer, (before, after) = self.layer, self.states
        return _matrix(layer.weights, layer.targets, layer.sources, (after, before))

    @cached_property
    def _backward(self) -> sparse.csr_array:
        layer = self.layer
        return _matrix(layer.weights, layer.sources, layer.targets, self.states)

    def _pass(self, numbers: Scaled, columns: np.ndarray, bonus: int, *, backward: bool) -> Scaled:
        matrix = self._backward if backward else self._forward
        is_open = columns == OPEN
        if is_open.all():
            return apply_linear(matrix.__matmul__, numbers)
        written = _WrittenEdges(self, columns, backward=backward)
        if bonus:
            everywhere = apply_linear(matrix.__matmul__, numbers)
            return add(everywhere, shifted(apply_linear(written, numbers), bonus))
        return apply_linear(_Mixed(matrix, is_open, written), numbers)

    def edges_of(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the edges that write the token of each row, and the row of each."""
        rows = np.flatnonzero(columns >= 0)
        counts = self._counts[columns[rows]]
        ends = np.cumsum(counts)
        first = np.repeat(self._starts[columns[rows]] - ends + counts, counts)
        return self._by_token[first + np.arange(len(first))], np.repeat(rows, counts)


class _WrittenEdges:
    """The linear map of the rows whose token is written; other rows get 0."""

    def __init__(self, sums: EdgeSums, columns: np.ndarray, *, backward: bool) -> None:
        layer = sums.layer
        edges, rows = sums.edges_of(columns)
        start, end = (layer.targets, layer.sources) if backward else (layer.sources, layer.targets)
        self._shape = sums.states[0 if backward else 1], len(columns)
        self._from = start[edges] * len(columns) + rows
        self._to = end[edges] * len(columns) + rows
        self._weights = layer.weights[edges] if sums.weighted else None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        moved = values.ravel()[self._from]
        if self._weights is not None:
            moved = moved * self._weights
        # Without edges bincount returns whole numbers, which could not take those of open rows.
        summed = np.bincount(self._to, moved, self._shape[0] * self._shape[1])
        return summed.astype(np.float64, copy=False).reshape(self._shape)


class _Mixed:
    """The linear map of a layer at which some rows are open and others written."""

    def __init__(
        self, matrix: sparse.csr_array, is_open: Bool[np.ndarray, " rows"], written: _WrittenEdges
    ) -> None:
        self._matrix = matrix
        self._open = np.flatnonzero(is_open)
        self._written = written

    def __call__(self, values: np.ndarray) -> np.ndarray:
        result = self._written(values)
        if len(self._open):
            result[:, self._open] = self._matrix @ np.take(values, self._open, axis=1)
        return result


def _matrix(
    weights: np.ndarray, lines: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> sparse.csr_array:
    """Return a matrix of sums of weights, each line with its columns in ascending order."""
    keys, place = np.unique(lines * shape[1] + columns, return_inverse=True)
    values = np.bincount(place, weights)
    starts = np.searchsorted(keys, np.arange(shape[0] + 1) * shape[1])
    return sparse.csr_array((values, keys % shape[1], starts), shape=shape)
