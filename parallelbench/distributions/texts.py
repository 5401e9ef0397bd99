"""Answer distributions over texts: right answers as paths through stages of text pieces.

A task whose right answers are too many to list describes them by a text trellis: a sequence of
stages, each with edges from a node to the next one that write a piece of text.  Every path from
the start through all stages is a right answer, and its probability is in proportion to the product
of the weights on it.  Different paths write different texts.

Numbers here are Python integers, exact at any length.

Example:
    Two days, nobody works twice in a row::

        >>> names = ("Mia", "Leo", "Ida")
        >>> first = Stage(Edge(None, name, name) for name in names)
        >>> later = Stage(
        ...     Edge(before, f", {name}", name)
        ...     for before in names for name in names if name != before
        ... )
        >>> plan = TextTrellis([first, later])
        >>> plan.count, next(plan.texts())[0]
        (6, 'Mia, Leo')
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

#: The node before the first stage.
START = None


class Edge(NamedTuple):
    """A piece of text that a right answer may have at a stage.

    Attributes:
        source: Node before the piece.
        text: Piece of text.  It begins with the space before its first word, so that tokenizers
            with spaces before words never merge across pieces.
        target: Node after it.
        weight: Positive whole number that multiplies the weight of the answers through the edge.
    """

    source: Hashable
    text: str
    target: Hashable
    weight: int = 1


class Stage:
    """The edges of one stage.

    Equal stages share one object, which is then turned into tokens only once.

    Args:
        edges: Edges of the stage, in a fixed order.

    Attributes:
        edges: The same.

    Raises:
        ValueError: No edge, an empty piece, a weight that is not a whole number of 1 or more, or
            two edges from one node with the same text.
    """

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.edges = tuple(edges)
        if not self.edges:
            raise ValueError("a stage of a text trellis needs at least one edge, got none")
        known: set[tuple[Hashable, str]] = set()
        for edge in self.edges:
            # Sums of other integers, such as NumPy's, overflow.
            if not edge.text or type(edge.weight) is not int or edge.weight < 1:
                raise ValueError(
                    "an edge needs a text and a weight that is a Python integer of at least 1, "
                    f"got {edge}"
                )
            if edge[:2] in known:
                raise ValueError(
                    f"two edges of a stage leave the node {edge.source!r} with the text "
                    f"{edge.text!r}, but different paths must write different texts; keep one of "
                    "them, with the sum of their weights if both lead to the same node"
                )
            known.add(edge[:2])

    @cached_property
    def weighted(self) -> bool:
        """True if some edge has another weight than 1."""
        return any(edge.weight != 1 for edge in self.edges)

    @cached_property
    def by_source(self) -> Mapping[Hashable, tuple[Edge, ...]]:
        """The edges that leave each node."""
        leaving: dict[Hashable, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            leaving[edge.source].append(edge)
        return {source: tuple(edges) for source, edges in leaving.items()}


def constant_stage(text: str, nodes: Iterable[Hashable] = (START,)) -> Stage:
    """Return a stage that writes ``text`` and stays at each of ``nodes``."""
    return Stage(Edge(node, text, node) for node in nodes)


class TextTrellis:
    """A distribution over texts, given by stages of pieces.

    Paths start at :data:`START`, take one edge of each stage, and may end at any node.  Edges to a
    node that no edge of the next stage leaves are on no path, and are ignored.

    Args:
        stages: Stages, in the order of the paths.
        places: Place of each stage's piece in the text, from 0; None for the order of the paths.
            With places, the pieces of a stage need equal numbers of tokens.

    Attributes:
        stages: Stages, in the order of the paths.
        places: Place of each stage's piece in the text; None for the order of the paths.

    Raises:
        ValueError: No stage, no path, or places that are not 0, 1, 2, ... once each.
    """

    def __init__(self, stages: Sequence[Stage], places: Sequence[int] | None = None) -> None:
        if not stages:
            raise ValueError("a text trellis needs at least one stage, got none")
        self.stages = tuple(stages)
        self.places = None if places is None else tuple(places)
        if self.places is not None and sorted(self.places) != list(range(len(self.stages))):
            raise ValueError(
                f"{len(self.stages)} stages need the places 0 to {len(self.stages) - 1} once each, "
                f"got {list(self.places)}"
            )
        if not self._weights_after[0].get(START):
            raise ValueError("no path of the text trellis leads through all stages")

    def __repr__(self) -> str:
        return f"TextTrellis({len(self.stages)} stages)"

    @cached_property
    def count(self) -> int:
        """Number of right answers."""
        if not any(stage.weighted for stage in self.stages):
            return self.total
        return self._sums(weighted=False)[0][START]

    @cached_property
    def total(self) -> int:
        """Sum of the weights of the right answers."""
        return self._weights_after[0][START]

    @cached_property
    def entropy(self) -> float:
        r"""Entropy of the answer, in bits: :math:`\log_2 W - E[\log_2 w]`."""
        if not any(stage.weighted for stage in self.stages):
            return math.log2(self.total)
        # Expected log2 of the weights on the rest of a path from each node.
        rest = dict.fromkeys(self._weights_after[-1], 0.0)
        for index in reversed(range(len(self.stages))):
            before, after = self._weights_after[index : index + 2]
            leaving = self.stages[index].by_source
            rest = {
                node: math.fsum(
                    edge.weight
                    * after[edge.target]
                    / total
                    * (math.log2(edge.weight) + rest[edge.target])
                    for edge in leaving[node]
                    if edge.target in after
                )
                for node, total in before.items()
            }
        return max(0.0, math.log2(self.total) - rest[START])

    def draw(self, rng: random.Random) -> tuple[Edge, ...]:
        """Draw a right answer; return its path."""
        node: Hashable = START
        path = []
        for stage, after in zip(self.stages, self._weights_after[1:], strict=True):
            edges = [edge for edge in stage.by_source[node] if edge.target in after]
            sums = list(accumulate(edge.weight * after[edge.target] for edge in edges))
            path.append(edges[bisect_right(sums, rng.randrange(sums[-1]))])
            node = path[-1].target
        return tuple(path)

    def pieces(self, path: Sequence[Edge]) -> list[str]:
        """Return the pieces of text that a path writes, in the order of the text.

        Raises:
            ValueError: The path does not have one edge of each stage.
        """
        if len(path) != len(self.stages):
            raise ValueError(
                f"a path through {len(self.stages)} stages has one edge of each, got {len(path)}"
            )
        pieces = [edge.text for edge in path]
        if self.places is None:
            return pieces
        return [piece for _, piece in sorted(zip(self.places, pieces, strict=True))]

    def text(self, path: Sequence[Edge]) -> str:
        """Return the text that a path writes.

        Raises:
            ValueError: The path does not have one edge of each stage.
        """
        return "".join(self.pieces(path))

    def texts(self) -> Iterator[tuple[str, int]]:
        """Yield every right answer once, with its weight, in the order of the edges."""
        waiting: list[tuple[Edge, ...]] = [()]
        while waiting:
            path = waiting.pop()
            if len(path) == len(self.stages):
                yield self.text(path), math.prod(edge.weight for edge in path)
                continue
            leaving = self.stages[len(path)].by_source[path[-1].target if path else START]
            after = self._weights_after[len(path) + 1]
            waiting += [(*path, edge) for edge in reversed(leaving) if edge.target in after]

    @cached_property
    def _weights_after(self) -> tuple[Mapping[Hashable, int], ...]:
        """Before each stage and at the end, the sum of the weights of all rests of a path."""
        return self._sums(weighted=True)

    def _sums(self, *, weighted: bool) -> tuple[Mapping[Hashable, int], ...]:
        after: Mapping[Hashable, int] = {edge.target: 1 for edge in self.stages[-1].edges}
        sums = [after]
        for stage in reversed(self.stages):
            before: dict[Hashable, int] = defaultdict(int)
            for edge in stage.edges:
                if edge.target in after:
                    before[edge.source] += after[edge.target] * (edge.weight if weighted else 1)
            after = dict(before)
            sums.append(after)
        return tuple(reversed(sums))
