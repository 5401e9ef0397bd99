"""Positions at which all right answers have one token: taken out of a trellis.

Much of a long answer is fixed: the keys of JSON, the words between choices, the end of the canvas.
Every call pays for each position of a trellis, so the fixed ones become a part of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.distributions.layer import TrellisLayer
from parallelbench.distributions.listed import ListedDistribution
from parallelbench.distributions.paths import trim
from parallelbench.distributions.product import ProductDistribution
from parallelbench.distributions.trellis import TrellisDistribution

#: State before each state, at a position that changes no more than its number.
_Renumbering = Int[np.ndarray, " states"]


def trellis_without_constants(
    layers: Sequence[TrellisLayer], mask_id: int, places: Sequence[int] | None = None
) -> AnswerDistribution:
    """Return the distribution of a trellis, as a product if some of its positions are constant.

    Args:
        layers: Edges of each position of the paths.
        mask_id: Token id of an open position.
        places: Canvas position of each position of the paths; None if they are equal.

    Raises:
        ValueError: As :class:`~parallelbench.distributions.trellis.TrellisDistribution` does.
    """
    split = _split(trim(layers))
    order = list(range(len(layers)) if places is None else places)
    if not split.kept:
        constants = _constants(split, mask_id)
        inverse = np.argsort([order[position] for position in split.positions])
        return ListedDistribution(constants.rows[:, inverse], constants.row_weights, mask_id)
    varying = TrellisDistribution(split.kept, mask_id)
    if not split.tokens:
        return varying if places is None else ProductDistribution([varying], [order])
    is_constant = set(split.positions)
    kept = [place for position, place in enumerate(order) if position not in is_constant]
    fixed = [order[position] for position in split.positions]
    return ProductDistribution([varying, _constants(split, mask_id)], [kept, fixed])


class _Split(NamedTuple):
    """A trellis without its constant positions.

    Attributes:
        kept: Layers of the other positions.
        positions: The constant positions.
        tokens: Token of each of them.
    """

    kept: list[TrellisLayer]
    positions: list[int]
    tokens: list[int]


def _constants(split: _Split, mask_id: int) -> ListedDistribution:
    return ListedDistribution(np.array([split.tokens]), np.array([1]), mask_id)


def _split(layers: Sequence[TrellisLayer]) -> _Split:
    split = _Split([], [], [])
    known: dict[int, _Renumbering | None] = {}
    renumbered: dict[tuple[int, bytes], TrellisLayer] = {}
    earlier: _Renumbering | None = None
    for position, layer in enumerate(layers):
        if id(layer) not in known:
            known[id(layer)] = _renumbering(layer)
        own = known[id(layer)]
        if own is not None:
            split.positions.append(position)
            split.tokens.append(int(layer.tokens[0]))
            earlier = own if earlier is None else earlier[own]
        elif earlier is None:
            split.kept.append(layer)
        else:
            key = id(layer), earlier.tobytes()
            if key not in renumbered:
                sources = earlier[layer.sources]
                renumbered[key] = TrellisLayer(
                    sources, layer.tokens, layer.targets, layer.weights
                ).sort()
            split.kept.append(renumbered[key])
            earlier = None
    return split


def _renumbering(layer: TrellisLayer) -> _Renumbering | None:
    """Return the state before each state after a constant position; None for any other."""
    edges = len(layer.sources)
    is_constant = (
        (layer.tokens == layer.tokens[0]).all()
        and (layer.weights == 1).all()
        and len(np.unique(layer.sources)) == len(np.unique(layer.targets)) == edges
    )
    if not is_constant:
        return None
    before = np.empty(edges, dtype=np.int64)
    before[layer.targets] = layer.sources
    return before
