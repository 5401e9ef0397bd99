"""Answer distributions of independent parts, one after another or interleaved.

Everything is a sum or a product over the parts: the nearest answers too, since agreements add up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from parallelbench.distributions.contract import (
    AnswerDistribution,
    Conditionals,
    DependenceGraph,
    Entries,
)


class ProductDistribution(AnswerDistribution):
    """Independent parts, each at positions of its own.

    Args:
        parts: Distributions of the parts.
        positions: Positions of each part's tokens, in the part's order; None puts one part after
            another.

    Raises:
        ValueError: No part, two mask ids, or positions that do not cover 0, 1, 2, ... once each.
    """

    def __init__(
        self,
        parts: Sequence[AnswerDistribution],
        positions: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if not parts:
            raise ValueError("a product needs at least one part, got none")
        self.parts = tuple(parts)
        self.mask_id = parts[0].mask_id
        self.length = sum(part.length for part in parts)
        places = _in_a_row(parts) if positions is None else [list(each) for each in positions]
        _check(self.parts, places, self.length)
        self.positions = tuple(np.array(each, dtype=np.int64) for each in places)
        pairs = list(zip(self.parts, self.positions, strict=True))
        found = np.concatenate([places[part.entries.positions] for part, places in pairs])
        # A part lists the entries of a position together, and a position belongs to one part.
        self._order = np.argsort(found, kind="stable")
        tokens = np.concatenate([part.entries.tokens for part in self.parts])
        self.entries = Entries(found[self._order], tokens[self._order])

    def condition(self, canvases: Int[np.ndarray, "rows length"]) -> Conditionals:
        """Condition each part on its positions; the weights are probabilities."""
        self.check_shape(canvases)
        parts = [
            part.condition(np.ascontiguousarray(canvases[:, places]))
            for part, places in zip(self.parts, self.positions, strict=True)
        ]
        weights = np.concatenate([part.probabilities for part in parts], axis=1)
        # Python's sum adds the parts in their order, for each row alike.
        return Conditionals(
            weights=np.take(weights, self._order, axis=1),
            totals=np.ones(len(canvases)),
            fits=np.logical_and.reduce([part.fits for part in parts]),
            agreements=np.asarray(sum(part.agreements for part in parts)),
            log2_counts=np.asarray(sum(part.log2_counts for part in parts)),
            entropies=np.asarray(sum(part.entropies for part in parts)),
        )

    def count(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact number of right answers that fit ``canvas``."""
        self.check_shape(canvas[None])
        pairs = zip(self.parts, self.positions, strict=True)
        return math.prod(part.count(canvas[places]) for part, places in pairs)

    def weight(self, canvas: Int[np.ndarray, " length"]) -> int:
        """Return the exact sum of the weights of the right answers that fit ``canvas``."""
        self.check_shape(canvas[None])
        pairs = zip(self.parts, self.positions, strict=True)
        return math.prod(part.weight(canvas[places]) for part, places in pairs)

    def nearest(
        self,
        canvas: Int[np.ndarray, " length"],
        wished: Int[np.ndarray, " length"] | None = None,
    ) -> Int[np.ndarray, " length"]:
        """Return the nearest right answer; its ties go to the first part first."""
        wished = np.full_like(canvas, self.mask_id) if wished is None else wished
        self.check_shape(np.stack([canvas, wished]))
        answer = np.empty_like(canvas)
        for part, places in zip(self.parts, self.positions, strict=True):
            answer[places] = part.nearest(canvas[places], wished[places])
        return answer

    def draw(
        self,
        canvases: Int[np.ndarray, "rows length"],
        uniforms: Float[np.ndarray, "rows length"],
    ) -> Int[np.ndarray, "rows length"]:
        """Draw each part by itself, from the uniform numbers at its positions."""
        self.check_shape(canvases)
        self.check_shape(uniforms)
        drawn = np.empty_like(canvases)
        for part, places in zip(self.parts, self.positions, strict=True):
            drawn[:, places] = part.draw(
                np.ascontiguousarray(canvases[:, places]),
                np.ascontiguousarray(uniforms[:, places]),
            )
        return drawn

    def iterate(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield every right answer with its weight, the last part varying fastest."""
        yield from self._answers(0, [0] * self.length, 1)

    def joint_entropy(
        self, canvas: Int[np.ndarray, " length"], positions: Collection[int]
    ) -> float | None:
        """Return the sum of the joint entropies of the parts, in bits."""
        self.check_shape(canvas[None])
        bits = 0.0
        for part, places in zip(self.parts, self.positions, strict=True):
            own = [index for index, place in enumerate(places.tolist()) if place in positions]
            entropy = part.joint_entropy(canvas[places], own)
            if entropy is None:
                return None
            bits += entropy
        return bits

    def dependence_graph(self) -> DependenceGraph | None:
        """Return the dependent pairs of all parts; None if a part's are not known."""
        pairs: set[tuple[int, int]] = set()
        for part, places in zip(self.parts, self.positions, strict=True):
            graph = part.dependence_graph()
            if graph is None:
                return None
            for pair in graph.pairs:
                low, high = sorted(int(places[position]) for position in pair)
                pairs.add((low, high))
        return DependenceGraph(self.length, frozenset(pairs))

    def _answers(
        self, first: int, row: list[int], weight: int
    ) -> Iterator[tuple[tuple[int, ...], int]]:
        if first == len(self.parts):
            yield tuple(row), weight
            return
        for tokens, factor in self.parts[first].iterate():
            for place, token in zip(self.positions[first].tolist(), tokens, strict=True):
                row[place] = token
            yield from self._answers(first + 1, row, weight * factor)


def _in_a_row(parts: Sequence[AnswerDistribution]) -> list[list[int]]:
    ends = list(itertools.accumulate(part.length for part in parts))
    return [list(range(end - part.length, end)) for part, end in zip(parts, ends, strict=True)]


def _check(
    parts: Sequence[AnswerDistribution], places: Sequence[Sequence[int]], length: int
) -> None:
    masks = {part.mask_id for part in parts}
    if len(masks) > 1:
        raise ValueError(f"the parts of a product need one mask id, got {sorted(masks)}")
    lengths = [part.length for part in parts]
    covered = sorted(itertools.chain.from_iterable(places))
    if [len(each) for each in places] != lengths or covered != list(range(length)):
        raise ValueError(
            f"parts of {lengths} positions need the positions 0 to {length - 1} once each, "
            f"got {[list(each) for each in places]}"
        )
