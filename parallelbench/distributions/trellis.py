"""Answer distributions given by a trellis: one layer of edges for each position.

A right answer is a path from the start to the end, its probability in proportion to the product
of the weights on it.  No two paths write the same tokens, so counting paths counts answers, and
the forward and backward recursions over the states give every conditional exactly.

A call costs positions times edges for a row; its memory grows with positions times states.
For the nearest answers a written token is worth so many powers of two that one more agreement
outweighs any number of answers: the same recursions then sum only the paths that agree most.

Source: Rabiner (1989), "A tutorial on hidden Markov models", section III, for the recursions;
Goodman (1999), "Semiring parsing", for the other sums they allow.
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from parallelbench.distributions.beliefs import joint_entropy
from parallelbench.distributions.contract import (
    AnswerDistribution,
    Conditionals,
    DependenceGraph,
    Entries,
    refuse_unfit,
)
from parallelbench.distributions.independence import trellis_graph
from parallelbench.distributions.layer import OPEN, EdgeSums, TrellisLayer
from parallelbench.distributions.paths import check_unambiguous, trim
from parallelbench.distributions.scaled import Scaled, ones, product

#: Powers of two by which one more agreement outweighs all answers with fewer.
_MARGIN = 1200
#: Canvases whose conditionals are kept.  Where constant positions are written one by one, the rest
#: of the canvas stays as it is for many calls.
_ROWS_KEPT = 32
#: Whole numbers are exact in float64 up to here.
_LARGEST_WEIGHT = 2**53


class TrellisDistribution(AnswerDistribution):
    """A distribution given by layers of edges; paths start in state 0 and may end anywhere.

    Args:
        layers: Edges of each position; positions with the same edges share one object.
        mask_id: Token id of an open position.

    Raises:
        ValueError: No layer, no path, two paths with the same tokens, an edge that writes the
            mask id, or a weight that is not a whole number from 1 to 2^53.
    """

    def __init__(self, layers: Sequence[TrellisLayer], mask_id: int) -> None:
        _check(layers, mask_id)
        self.length = len(layers)
        self.mask_id = mask_id
        self.layers = trim(layers)
        check_unambiguous(self.layers)
        self._sums = _shared_sums(self.layers)
        sizes = [len(sums.tokens) for sums in self._sums]
        self._bounds = [0, *np.cumsum(sizes).tolist()]
        self.entries = Entries(
            np.repeat(np.arange(self.length), sizes),
            np.concatenate([sums.tokens for sums in self._sums]),
        )
        self._weighted = any(sums.weighted for sums in self._sums)
        total = self._backward(self._sums, np.full((self.length, 1), OPEN), bonus=0)[0]
        self._bonus = int(total.exponents[0, 0]) + _MARGIN
        self._kept: OrderedDict[bytes, Conditionals] = OrderedDict()

    def condition(self, canvases: Int[np.ndarray, "rows length"]) -> Conditionals:
        """Condition on each canvas; the weights are probabilities."""
        self.check_shape(canvases)
        keys = [canvas.tobytes() for canvas in canvases]
        rows = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: number for number, key in enumerate(keys) if key not in rows}
        if new:
            found = self._condition(canvases[list(new.values())])
            if len(new) == len(keys) > _ROWS_KEPT:
                return found
            computed = {key: found.rows(slice(row, row + 1)) for row, key in enumerate(new)}
            rows |= computed
            self._keep(computed)
        return Conditionals.stack([rows[key] for key in keys])

    def _keep(self, rows: Mapping[bytes, Conditionals]) -> None:
        self._kept |= rows
        while len(self._kept) > _ROWS_KEPT:
            self._kept.popitem(last=False)

    def _condition(self, canvases: Int[np.ndarray, "rows length"]) -> Conditionals:
        columns = self._columns(canvases)
        after = self._backward(self._sums, columns, bonus=0)
        fits = after[0].fractions[0] > 0
        rows = len(canvases)
        weights = np.zeros((rows, len(self.entries.tokens)))
        agreements = (canvases != self.mask_id).sum(axis=1)
        entropies = np.zeros(rows)
        log2_counts = np.full(rows, -math.inf)
        chosen = np.flatnonzero(fits)
        if len(chosen):
            if len(chosen) < rows:
                after = [numbers.rows(chosen) for numbers in after]
            weights[chosen], entropies[chosen] = self._posterior(columns[:, chosen], after, bonus=0)
            log2_counts[chosen] = self._log2_counts(columns[:, chosen], after[0])
        chosen = np.flatnonzero(~fits)
        if len(chosen):
            after = self._backward(self._sums, columns[:, chosen], bonus=self._bonus)
            agreements[chosen] = (after[0].exponents[0] - 1) // self._bonus
            weights[chosen], entropies[chosen] = self._posterior(
                columns[:, chosen], after, bonus=self._bonus
            )
        return Conditionals(weights, np.ones(rows), fits, agreements, log2_counts, entropies)

    def count(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact number of right answers that fit ``canvas``."""
        return self._sum(canvas, weighted=False)

    def weight(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact sum of the weights of the right answers that fit ``canvas``."""
        return self._sum(canvas, weighted=True)

    def _sum(self, canvas: Int[np.ndarray, " length"], *, weighted: bool) -> int:
        self.check_shape(canvas[None])
        paths = {0: 1}
        for layer, token in zip(self.layers, canvas.tolist(), strict=True):
            reached: dict[int, int] = defaultdict(int)
            for source, written, target, weight in _edges(layer):
                if source in paths and token in (written, self.mask_id):
                    reached[target] += paths[source] * (weight if weighted else 1)
            paths = reached
        return sum(paths.values())

    def nearest(
        self,
        canvas: Int[np.ndarray, " length"],
        wished: Int[np.ndarray, " length"] | None = None,
    ) -> Int[np.ndarray, " length"]:
        """Return the right answer that agrees with ``canvas`` in the most written positions."""
        wished = np.full_like(canvas, self.mask_id) if wished is None else wished
        self.check_shape(np.stack([canvas, wished]))
        # One more agreement with the canvas outweighs all with the wish.
        worth = list(zip(canvas.tolist(), wished.tolist(), strict=True))
        # Agreements and weight of the best rest of a path from each state, before each position.
        best: list[dict[int, tuple[int, int]]] = [defaultdict(lambda: (0, 1))]
        for layer, tokens in zip(reversed(self.layers), reversed(worth), strict=True):
            after, before = best[-1], dict[int, tuple[int, int]]()
            for source, written, target, weight in _edges(layer):
                rest = _joined(after[target], self._agreements(written, tokens), weight)
                before[source] = max(before.get(source, rest), rest)
            best.append(before)
        best.reverse()
        answer, states = [], {0}
        for position, (layer, tokens) in enumerate(zip(self.layers, worth, strict=True)):
            after = best[position + 1]
            chosen = [
                (written, target)
                for source, written, target, weight in _edges(layer)
                if source in states
                and _joined(after[target], self._agreements(written, tokens), weight)
                == best[position][source]
            ]
            answer.append(min(chosen)[0])
            states = {target for written, target in chosen if written == answer[-1]}
        return np.array(answer, dtype=canvas.dtype)

    def _agreements(self, token: int, tokens: tuple[int, int]) -> int:
        return (self.length + 1) * (token == tokens[0]) + (token == tokens[1])

    def draw(
        self,
        canvases: Int[np.ndarray, "rows length"],
        uniforms: Float[np.ndarray, "rows length"],
    ) -> Int[np.ndarray, "rows length"]:
        """Draw a right answer for each canvas, position by position."""
        columns = self._columns(canvases)
        if uniforms.shape != canvases.shape:
            raise ValueError(f"uniforms need shape {canvases.shape}, got {uniforms.shape}")
        after = self._backward(self._sums, columns, bonus=0)
        refuse_unfit(after[0].fractions[0] > 0)
        drawn = np.empty_like(canvases)
        states = np.zeros(len(canvases), dtype=np.int64)
        for position, sums in enumerate(self._sums):
            edges = _draw_edges(
                sums, states, columns[position], after[position + 1], uniforms[:, position]
            )
            drawn[:, position] = sums.layer.tokens[edges]
            states = sums.layer.targets[edges]
        return drawn

    def iterate(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield every right answer with its weight, in the order of the edges."""
        leaving = [_by_source(layer) for layer in self.layers]
        waiting: list[tuple[tuple[int, ...], int, int]] = [((), 0, 1)]
        while waiting:
            written, state, weight = waiting.pop()
            if len(written) == self.length:
                yield written, weight
                continue
            for token, target, factor in reversed(leaving[len(written)][state]):
                waiting.append(((*written, token), target, weight * factor))

    def joint_entropy(
        self, canvas: Int[np.ndarray, " length"], positions: Collection[int]
    ) -> float | None:
        """Return the joint entropy of some open positions of ``canvas``, in bits."""
        columns = self._columns(canvas[None])
        after = self._backward(self._sums, columns, bonus=0)
        refuse_unfit(after[0].fractions[0] > 0)
        return joint_entropy(self._sums, after, columns[:, 0], positions)

    def dependence_graph(self) -> DependenceGraph | None:
        """Return the dependent pairs, found by walking four paths at once."""
        return trellis_graph(self.layers)

    def _columns(self, canvases: Int[np.ndarray, "rows length"]) -> Int[np.ndarray, "length rows"]:
        self.check_shape(canvases)
        by_position = np.ascontiguousarray(canvases.T)
        return np.stack(
            [
                sums.column_of(ids, self.mask_id)
                for sums, ids in zip(self._sums, by_position, strict=True)
            ]
        )

    def _backward(
        self, sums: Sequence[EdgeSums], columns: Int[np.ndarray, "length rows"], bonus: int
    ) -> list[Scaled]:
        """Return, before each position and at the end, the sums over the paths from each state."""
        after = [ones(sums[-1].states[1], columns.shape[1])]
        for layer, column in zip(reversed(sums), reversed(columns), strict=True):
            after.append(layer.backward(after[-1], column, bonus))
        return after[::-1]

    def _posterior(
        self, columns: Int[np.ndarray, "length rows"], after: Sequence[Scaled], bonus: int
    ) -> tuple[Float[np.ndarray, "rows entries"], Float[np.ndarray, " rows"]]:
        """Return the probability of each entry, and the entropy of the answers counted."""
        total = after[0]
        before = ones(1, columns.shape[1])
        weights = np.zeros((columns.shape[1], len(self.entries.tokens)))
        surprise = np.zeros(columns.shape[1])
        for position, sums in enumerate(self._sums):
            column, following = columns[position], after[position + 1]
            part = weights[:, self._bounds[position] : self._bounds[position + 1]]
            _fill(part, sums, column, (before, following, total), bonus)
            if sums.weighted:
                heavy = sums.surprise.forward(before, column, bonus)
                shares = _shares(product(heavy, following), total)
                # A running sum adds in order; the sum of a single row would add in pairs.
                surprise += np.cumsum(shares, axis=0)[-1]
            before = sums.forward(before, column, bonus)
        excess = bonus * ((total.exponents[0] - 1) // bonus) if bonus else 0
        logs = _log2(total.fractions[0], total.exponents[0] - excess)
        return weights, np.maximum(0.0, logs - surprise)

    def _log2_counts(
        self, columns: Int[np.ndarray, "length rows"], total: Scaled
    ) -> Float[np.ndarray, " rows"]:
        if self._weighted:
            total = self._backward([sums.unit for sums in self._sums], columns, bonus=0)[0]
        return _log2(total.fractions[0], total.exponents[0])


def _fill(
    part: Float[np.ndarray, "rows tokens"],
    sums: EdgeSums,
    column: Int[np.ndarray, " rows"],
    paths: tuple[Scaled, Scaled, Scaled],
    bonus: int,
) -> None:
    """Fill in the probabilities at one position.

    Args:
        part: Array to fill.
        sums: Edges of the position.
        column: Column of each row's token.
        paths: Sums over the paths before and after the position, and over all paths.
        bonus: Powers of two that a written token is worth; 0 if no other token may stand there.
    """
    if bonus:
        part[:] = sums.token_shares(*paths, column, bonus).T
        return
    written = np.flatnonzero(column >= 0)
    part[written, column[written]] = 1.0
    is_open = np.flatnonzero(column == OPEN)
    if len(is_open) == len(column):
        part[:] = sums.token_shares(*paths, column, bonus).T
    elif len(is_open):
        before, after, total = (numbers.rows(is_open) for numbers in paths)
        part[is_open] = sums.token_shares(before, after, total, column[is_open], bonus).T


def _shares(numbers: Scaled, total: Scaled) -> Float[np.ndarray, "places rows"]:
    powers = np.maximum(numbers.exponents - total.exponents, -2000)
    return np.asarray(np.ldexp(numbers.fractions / total.fractions, powers))


def _log2(fractions: np.ndarray, exponents: np.ndarray) -> Float[np.ndarray, " rows"]:
    # One by one: a vectorised logarithm may depend on the place in the batch.
    pairs = zip(fractions.tolist(), exponents.tolist(), strict=True)
    return np.array([math.log2(fraction) + power for fraction, power in pairs])


def _draw_edges(
    sums: EdgeSums,
    states: Int[np.ndarray, " rows"],
    column: Int[np.ndarray, " rows"],
    after: Scaled,
    uniforms: Float[np.ndarray, " rows"],
) -> Int[np.ndarray, " rows"]:
    """Draw the next edge of each row, in proportion to the paths that continue it."""
    layer = sums.layer  # sorted by source
    starts = np.searchsorted(layer.sources, np.arange(sums.states[0] + 1))
    most = int(np.diff(starts).max())
    edges = starts[states][:, None] + np.arange(most)
    exists = edges < starts[states + 1][:, None]
    edges = np.where(exists, edges, 0)
    exists &= (column == OPEN)[:, None] | (sums.columns[edges] == column[:, None])
    rows = np.arange(len(states))[:, None]
    fractions = np.where(exists, after.fractions[layer.targets[edges], rows], 0.0)
    exponents = after.exponents[layer.targets[edges], rows]
    top = np.where(fractions > 0, exponents, np.iinfo(np.int32).min // 2).max(axis=1)
    powers = np.minimum(exponents - top[:, None], 0)
    cumulated = np.cumsum(np.ldexp(fractions, powers) * layer.weights[edges], axis=1)
    target = uniforms * cumulated[:, -1]
    # Rounding may lift the target to the sum itself; the last possible edge takes it.
    last = (cumulated < cumulated[:, -1:]).sum(axis=1)
    place = np.minimum((cumulated <= target[:, None]).sum(axis=1), last)
    return np.asarray(edges[rows[:, 0], place])


def _edges(layer: TrellisLayer) -> Iterator[tuple[int, int, int, int]]:
    """Yield the source, token, target and weight of each edge."""
    parts = (layer.sources, layer.tokens, layer.targets, layer.weights)
    return zip(*(part.tolist() for part in parts), strict=True)


def _joined(rest: tuple[int, int], agreements: int, weight: int) -> tuple[int, int]:
    return rest[0] + agreements, rest[1] * weight


def _by_source(layer: TrellisLayer) -> dict[int, list[tuple[int, int, int]]]:
    leaving: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for source, token, target, weight in _edges(layer):
        leaving[source].append((token, target, weight))
    return leaving


def _shared_sums(layers: Sequence[TrellisLayer]) -> list[EdgeSums]:
    """Return the sums of each layer; equal positions share them."""
    known: dict[int, EdgeSums] = {}
    sums = []
    for layer in layers:
        if id(layer) not in known:
            states = int(layer.sources.max()) + 1, int(layer.targets.max()) + 1
            known[id(layer)] = EdgeSums(layer, states)
        sums.append(known[id(layer)])
    return sums


def _check(layers: Sequence[TrellisLayer], mask_id: int) -> None:
    if not layers:
        raise ValueError("a trellis needs at least one layer, got none")
    for position, layer in enumerate(layers):
        if layer.weights.dtype.kind not in "iu":
            raise ValueError(f"the weights of position {position} must be whole numbers")
        low, high = int(layer.weights.min()), int(layer.weights.max())
        if low < 1 or high > _LARGEST_WEIGHT:
            raise ValueError(
                f"weights must be whole numbers from 1 to 2^53, but those of position {position} "
                f"run from {low} to {high}"
            )
        if (layer.tokens == mask_id).any():
            raise ValueError(f"an edge of position {position} writes the mask id {mask_id}")
