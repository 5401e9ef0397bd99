"""From a text trellis to token ids: one layer for each position of a canvas.

The pieces of a stage become a small automaton over tokens, merged where the rest is equal.  A
position of the canvas holds the states that some right answer can be in after that many tokens;
pieces may have different numbers of tokens.  After an answer the canvas is end-of-text.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from parallelbench.distributions.constant_positions import trellis_without_constants
from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.distributions.layer import TrellisLayer
from parallelbench.distributions.texts import START, Stage, TextTrellis

#: Token ids of a piece of text.
PieceIds = Mapping[str, tuple[int, ...]]
#: Most edges of all positions together.
MOST_EDGES = 4_000_000


class TooLongError(ValueError):
    """A right answer has more tokens than the canvas.

    Args:
        longest: Number of tokens of the longest right answer.
    """

    def __init__(self, longest: int) -> None:
        super().__init__(f"the longest right answer has {longest} tokens")
        self.longest = longest


class TooManyEdgesError(ValueError):
    """The layers have more edges than :data:`MOST_EDGES`."""


def token_distribution(
    trellis: TextTrellis, ids: PieceIds, length: int, end_id: int, mask_id: int
) -> AnswerDistribution:
    """Return the distribution of the right answers over token ids.

    Args:
        trellis: Distribution over texts.
        ids: Token ids of each piece.
        length: Number of positions of the canvas.
        end_id: Token id of end-of-text, which fills the canvas after an answer.
        mask_id: Token id of an open position.

    Raises:
        TooLongError: Some right answer does not fit the canvas.
        TooManyEdgesError: The layers would have too many edges.
        ValueError: The trellis has places and a stage whose pieces differ in their numbers of
            tokens, or two of its paths write the same tokens.
    """
    longest = longest_answer(trellis, ids)
    if longest > length:
        raise TooLongError(longest)
    layers = _layers(trellis, ids, length, end_id)
    places = trellis.places and _positions(trellis, trellis.places, ids, length)
    return trellis_without_constants(layers, mask_id, places)


def longest_answer(trellis: TextTrellis, ids: PieceIds) -> int:
    """Return the number of tokens of the longest right answer."""
    sizes = {
        id(stage): {len(ids[edge.text]) for edge in stage.edges}
        for stage in dict.fromkeys(trellis.stages)
    }
    if all(len(each) == 1 for each in sizes.values()):
        return sum(next(iter(sizes[id(stage)])) for stage in trellis.stages)
    reached: dict[Hashable, int] = {START: 0}
    for stage in trellis.stages:
        following: dict[Hashable, int] = {}
        for edge in stage.edges:
            if edge.source in reached:
                tokens = reached[edge.source] + len(ids[edge.text])
                following[edge.target] = max(tokens, following.get(edge.target, 0))
        reached = following
    return max(reached.values())


def _positions(
    trellis: TextTrellis, places: Sequence[int], ids: PieceIds, length: int
) -> list[int]:
    """Return the canvas position of each token of the paths."""
    sizes = [_one_size(stage, ids) for stage in trellis.stages]
    starts = [0] * len(sizes)
    first = 0
    for _, index in sorted(zip(places, range(len(sizes)), strict=True)):
        starts[index] = first
        first += sizes[index]
    written = [
        start + offset for start, size in zip(starts, sizes, strict=True) for offset in range(size)
    ]
    return [*written, *range(len(written), length)]


def _one_size(stage: Stage, ids: PieceIds) -> int:
    texts = {len(ids[edge.text]): edge.text for edge in stage.edges}
    if len(texts) > 1:
        least, most = min(texts), max(texts)
        raise ValueError(
            f"the pieces {texts[least]!r} and {texts[most]!r} have {least} and {most} tokens, but "
            "pieces that are written in another order than they are drawn need equal numbers"
        )
    return next(iter(texts))


@dataclass(frozen=True, eq=False)
class _Automaton:
    """The token edges of one stage.

    States are numbered from 0: the sources of the stage, then the states within pieces.  Nodes
    that a piece leads to are numbered separately.

    Attributes:
        sources: State before the token of each edge.
        tokens: Token id of each edge.
        targets: State after it; for the last token of a piece, the number of its node.
        ends: True for the last token of a piece.
        weights: Weight of each edge.
        states: Number of states.
        source_numbers: Number of each source node.
        nodes: Nodes after the stage, by number.
    """

    sources: Int[np.ndarray, " edges"]
    tokens: Int[np.ndarray, " edges"]
    targets: Int[np.ndarray, " edges"]
    ends: Bool[np.ndarray, " edges"]
    weights: Int[np.ndarray, " edges"]
    states: int
    source_numbers: Mapping[Hashable, int]
    nodes: tuple[Hashable, ...]


#: The rest of a piece: its token ids, the number of the node after it, and its weight.
_Rest = tuple[tuple[int, ...], int, int]
#: An edge that leaves a state: token, target, whether a piece ends, weight.
_Leaving = tuple[int, int, bool, int]


def _chains(stage: Stage, ids: PieceIds) -> _Automaton | None:
    """Return the automaton of a stage with one edge from each source, to a node of its own.

    None for any other stage.  No two states of this one have equal rests.
    """
    nodes = tuple(edge.target for edge in stage.edges)
    if not len(nodes) == len(set(nodes)) == len(stage.by_source):
        return None
    sizes = np.array([len(ids[edge.text]) for edge in stage.edges])
    owner = np.repeat(np.arange(len(nodes)), sizes)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # The states within the pieces follow the sources, piece by piece.
    inner = len(nodes) + np.cumsum(sizes - 1) - (sizes - 1)
    ends = place == sizes[owner] - 1
    weights = np.array([edge.weight for edge in stage.edges])
    return _Automaton(
        sources=np.where(place == 0, owner, inner[owner] + place - 1),
        tokens=np.array([token for edge in stage.edges for token in ids[edge.text]]),
        targets=np.where(ends, owner, inner[owner] + place),
        ends=ends,
        weights=np.where(ends, weights[owner], 1),
        states=int(len(nodes) + (sizes - 1).sum()),
        source_numbers={edge.source: state for state, edge in enumerate(stage.edges)},
        nodes=nodes,
    )


class _AutomatonBuilder:
    """Merges the states of a stage that have equal rests."""

    def __init__(self, stage: Stage, ids: PieceIds) -> None:
        nodes: dict[Hashable, int] = {}
        for edge in stage.edges:
            nodes.setdefault(edge.target, len(nodes))
        self._source_numbers = {source: state for state, source in enumerate(stage.by_source)}
        self._nodes = tuple(nodes)
        self._leaving: list[tuple[_Leaving, ...]] = [()] * len(self._source_numbers)
        self._known: dict[tuple[_Leaving, ...], int] = {}
        for source, edges in stage.by_source.items():
            rests = [(ids[edge.text], nodes[edge.target], edge.weight) for edge in edges]
            self._leaving[self._source_numbers[source]] = self._edges(rests)

    def automaton(self) -> _Automaton:
        """Return the automaton."""
        table = np.array(
            [(state, *edge) for state, edges in enumerate(self._leaving) for edge in edges],
            dtype=np.int64,
        )
        sources, tokens, targets, ends, weights = np.ascontiguousarray(table.T)
        return _Automaton(
            sources,
            tokens,
            targets,
            ends.astype(bool),
            weights,
            len(self._leaving),
            self._source_numbers,
            self._nodes,
        )

    def _edges(self, rests: Sequence[_Rest]) -> tuple[_Leaving, ...]:
        inner: dict[int, list[_Rest]] = {}
        edges: list[_Leaving] = []
        for ids, node, weight in rests:
            if len(ids) == 1:
                edges.append((ids[0], node, True, weight))
            else:
                inner.setdefault(ids[0], []).append((ids[1:], node, weight))
        edges += [(token, self._state(further), False, 1) for token, further in inner.items()]
        return tuple(sorted(edges))

    def _state(self, rests: Sequence[_Rest]) -> int:
        edges = self._edges(rests)
        if edges not in self._known:
            self._known[edges] = len(self._leaving)
            self._leaving.append(edges)
        return self._known[edges]


class _Active(NamedTuple):
    """States of one stage that some right answer can be in before a position.

    Attributes:
        stage: Index of the stage; the number of stages after the end of the answer.
        states: True for the possible states of its automaton.
    """

    stage: int
    states: Bool[np.ndarray, " states"]


def _layers(trellis: TextTrellis, ids: PieceIds, length: int, end_id: int) -> list[TrellisLayer]:
    unroller = _Unroller(trellis, ids, end_id)
    active = [unroller.start()]
    layers: list[TrellisLayer] = []
    edges = 0
    for _ in range(length):
        layer, active = unroller.step(active)
        layers.append(layer)
        edges += len(layer.sources)
        if edges > MOST_EDGES:
            raise TooManyEdgesError(
                f"{len(layers)} of {length} positions have more than {MOST_EDGES:,} edges together"
            )
    return layers


class _Unroller:
    """Turns the automata of the stages into layers; equal positions share one layer."""

    def __init__(self, trellis: TextTrellis, ids: PieceIds, end_id: int) -> None:
        built: dict[int, _Automaton] = {}
        for stage in trellis.stages:
            if id(stage) not in built:
                chains = _chains(stage, ids)
                built[id(stage)] = chains or _AutomatonBuilder(stage, ids).automaton()
        self._automata = [built[id(stage)] for stage in trellis.stages]
        links: dict[tuple[int, int], np.ndarray] = {}
        pairs = list(zip(self._automata, self._automata[1:], strict=False))
        for pair in pairs:
            key = id(pair[0]), id(pair[1])
            if key not in links:
                numbers = [pair[1].source_numbers.get(node, -1) for node in pair[0].nodes]
                links[key] = np.array(numbers, dtype=np.int64)
        self._links = [links[id(one), id(other)] for one, other in pairs]
        self._end_id = end_id
        self._known: dict[tuple[object, ...], tuple[TrellisLayer, list[_Active]]] = {}

    def start(self) -> _Active:
        """Return the state before the first position."""
        first = self._automata[0]
        states = np.zeros(first.states, dtype=bool)
        states[first.source_numbers[START]] = True
        return _Active(0, states)

    def step(self, active: Sequence[_Active]) -> tuple[TrellisLayer, list[_Active]]:
        """Return the layer of a position, and the possible states after it."""
        base = active[0].stage
        key = tuple(
            (each.stage - base, *self._identity(each.stage), each.states.tobytes())
            for each in active
        )
        if key not in self._known:
            layer, after = self._built(active)
            self._known[key] = layer, [_Active(each.stage - base, each.states) for each in after]
        layer, relative = self._known[key]
        return layer, [_Active(each.stage + base, each.states) for each in relative]

    def _identity(self, stage: int) -> tuple[int | None, int | None]:
        """Return the identity of the automata of a stage and of the next one."""
        one, other = (
            id(self._automata[index]) if index < len(self._automata) else None
            for index in (stage, stage + 1)
        )
        return one, other

    def _built(self, active: Sequence[_Active]) -> tuple[TrellisLayer, list[_Active]]:
        parts = [self._moves(each) for each in active]
        reached: dict[int, list[np.ndarray]] = {}
        for part in parts:
            for stage, states in part.reached:
                reached.setdefault(stage, []).append(states)
        after = [_Active(stage, self._mask(stage, reached[stage])) for stage in sorted(reached)]
        sizes = np.cumsum([0, *(len(each.states) for each in after)])
        first = {each.stage: int(low) for each, low in zip(after, sizes, strict=False)}
        before = np.cumsum([0, *(len(each.states) for each in active)])
        sources = [part.sources + low for part, low in zip(parts, before, strict=False)]
        targets = [states + first[stage] for part in parts for stage, states in part.reached]
        layer = TrellisLayer(
            np.concatenate(sources),
            np.concatenate([part.tokens for part in parts]),
            np.concatenate(targets),
            np.concatenate([part.weights for part in parts]),
        )
        return layer, after

    def _mask(self, stage: int, states: Sequence[np.ndarray]) -> Bool[np.ndarray, " states"]:
        is_end = stage == len(self._automata)
        mask = np.zeros(1 if is_end else self._automata[stage].states, dtype=bool)
        mask[np.concatenate(states)] = True
        return mask

    def _moves(self, active: _Active) -> _Moves:
        """Return the edges that leave the possible states of one stage."""
        if active.stage == len(self._automata):
            zero = np.zeros(1, dtype=np.int64)
            return _Moves(zero, zero + self._end_id, zero + 1, [(active.stage, zero)])
        automaton = self._automata[active.stage]
        possible = active.states[automaton.sources]
        targets = automaton.targets
        if active.stage + 1 < len(self._automata):
            linked = np.where(
                automaton.ends,
                self._links[active.stage][np.where(automaton.ends, targets, 0)],
                targets,
            )
            possible = possible & (linked >= 0)
        else:
            linked = np.where(automaton.ends, 0, targets)
        inner, ending = (
            np.flatnonzero(possible & chosen) for chosen in (~automaton.ends, automaton.ends)
        )
        edges = np.concatenate([inner, ending])
        return _Moves(
            automaton.sources[edges],
            automaton.tokens[edges],
            automaton.weights[edges],
            [
                (stage, linked[part])
                for stage, part in ((active.stage, inner), (active.stage + 1, ending))
                if len(part)
            ],
        )


class _Moves(NamedTuple):
    """Edges that leave the possible states of one stage.

    Attributes:
        sources: State before the token of each edge.
        tokens: Token id of each edge.
        weights: Weight of each edge.
        reached: Stages and states of them that the edges lead to, in the order of the edges.
    """

    sources: Int[np.ndarray, " edges"]
    tokens: Int[np.ndarray, " edges"]
    weights: Int[np.ndarray, " edges"]
    reached: list[tuple[int, Int[np.ndarray, " edges"]]]
