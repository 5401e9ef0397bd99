"""The paths of a trellis: which edges lie on one, and whether two write the same tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from parallelbench.distributions.layer import TrellisLayer

_States = Bool[np.ndarray, " states"]
#: Most pairs of states that two paths with equal tokens may lead to.
_PAIR_LIMIT = 1_000_000


def trim(layers: Sequence[TrellisLayer]) -> list[TrellisLayer]:
    """Return layers with only the edges on a path, their states numbered without gaps.

    Positions that share a layer and the states before and after it share the result.

    Raises:
        ValueError: No path leads from state 0 to the end.
    """
    sizes = _sizes(layers)
    alive = _on_a_path(layers, sizes)
    trimmed: dict[tuple[int, bytes, bytes], TrellisLayer] = {}
    result = []
    for position, layer in enumerate(layers):
        before, after = alive[position], alive[position + 1]
        key = id(layer), before.tobytes(), after.tobytes()
        if key not in trimmed:
            trimmed[key] = _compact(layer, before, after)
        result.append(trimmed[key])
    return result


def check_unambiguous(layers: Sequence[TrellisLayer]) -> None:
    """Refuse a trellis in which two paths write the same tokens.

    Args:
        layers: Edges on a path only, sorted by source, token and target.

    Raises:
        ValueError: There are two such paths; the message has their tokens and states.
    """
    forks = {id(layer): _forks(layer) for layer in layers}
    if not any(forks.values()):
        return
    steps = {id(layer): _steps(layer) for layer in layers}
    # Of each pair of different states that equal tokens lead to: these tokens and both paths.
    pairs: dict[tuple[int, int], _Twins] = {}
    for position, layer in enumerate(layers):
        following: dict[tuple[int, int], _Twins] = {}
        for source, token, one, other in forks[id(layer)]:
            _meet(following, (one, other), (position, (token,), (source, one), (source, other)))
        for (left, right), (start, tokens, one_path, other_path) in pairs.items():
            shared = steps[id(layer)][left].keys() & steps[id(layer)][right].keys()
            for token in sorted(shared):
                for one in steps[id(layer)][left][token]:
                    for other in steps[id(layer)][right][token]:
                        twins = start, (*tokens, token), (*one_path, one), (*other_path, other)
                        _meet(following, (one, other), twins)
        pairs = following
        if len(pairs) > _PAIR_LIMIT:
            raise ValueError(
                f"more than {_PAIR_LIMIT:,} pairs of states share their tokens, too many to tell "
                "whether a text has two paths; give each state and token one next state"
            )
    if pairs:
        _refuse(next(iter(pairs.values())))


_Twins = tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _meet(pairs: dict[tuple[int, int], _Twins], pair: tuple[int, int], twins: _Twins) -> None:
    if pair[0] == pair[1]:
        _refuse(twins)
    pairs.setdefault((min(pair), max(pair)), twins if pair[0] < pair[1] else _swapped(twins))


def _swapped(twins: _Twins) -> _Twins:
    start, tokens, one, other = twins
    return start, tokens, other, one


def _refuse(twins: _Twins) -> None:
    start, tokens, one, other = twins
    raise ValueError(
        f"two paths of the trellis write the same tokens {list(tokens)} from position {start} on: "
        f"through the states {_arrows(one)} and {_arrows(other)} (numbered without the states on "
        "no path); a text needs a single path"
    )


def _arrows(states: tuple[int, ...]) -> str:
    return " > ".join(map(str, states))


def _forks(layer: TrellisLayer) -> list[tuple[int, int, int, int]]:
    """Return the pairs of edges with one source and token: source, token, both targets."""
    same = (np.diff(layer.sources) == 0) & (np.diff(layer.tokens) == 0)
    if not same.any():
        return []
    return [
        (source, token, targets[one], targets[other])
        for source, leaving in _steps(layer).items()
        for token, targets in leaving.items()
        for other in range(len(targets))
        for one in range(other)
    ]


def _steps(layer: TrellisLayer) -> dict[int, dict[int, list[int]]]:
    """Return the targets of each source and token."""
    steps: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    parts = (layer.sources.tolist(), layer.tokens.tolist(), layer.targets.tolist())
    for source, token, target in zip(*parts, strict=True):
        steps[source][token].append(target)
    return steps


def _sizes(layers: Sequence[TrellisLayer]) -> list[int]:
    """Return the number of states before each position, and at the end."""
    highest: dict[int, tuple[int, int]] = {}
    for layer in layers:
        if id(layer) not in highest:
            highest[id(layer)] = int(layer.sources.max()) + 1, int(layer.targets.max()) + 1
    before = [highest[id(layer)][0] for layer in layers] + [1]
    after = [1] + [highest[id(layer)][1] for layer in layers]
    return [max(pair) for pair in zip(before, after, strict=True)]


def _on_a_path(layers: Sequence[TrellisLayer], sizes: Sequence[int]) -> list[_States]:
    reached = np.zeros(sizes[0], dtype=bool)
    reached[0] = True
    states = [reached]
    known: dict[tuple[int, int, bytes], _States] = {}
    for layer, size in zip(layers, sizes[1:], strict=True):
        key = id(layer), size, states[-1].tobytes()
        if key not in known:
            known[key] = np.zeros(size, dtype=bool)
            known[key][layer.targets[states[-1][layer.sources]]] = True
        states.append(known[key])
    alive: dict[tuple[int, bytes, bytes], _States] = {}
    for position in reversed(range(len(layers))):
        layer, reached, after = layers[position], states[position], states[position + 1]
        pair = id(layer), reached.tobytes(), after.tobytes()
        if pair not in alive:
            leads_on = np.zeros_like(reached)
            leads_on[layer.sources[after[layer.targets]]] = True
            alive[pair] = leads_on & reached
        states[position] = alive[pair]
    if not states[0][0]:
        raise ValueError("no path of the trellis leads from state 0 to the end")
    return states


def _compact(layer: TrellisLayer, before: np.ndarray, after: np.ndarray) -> TrellisLayer:
    edges = np.flatnonzero(before[layer.sources] & after[layer.targets])
    kept = layer.select(edges)
    numbers = np.cumsum(before) - 1, np.cumsum(after) - 1
    return TrellisLayer(
        numbers[0][kept.sources], kept.tokens, numbers[1][kept.targets], kept.weights
    ).sort()
