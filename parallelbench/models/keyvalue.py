"""Keys and values of attention, kept from earlier passes: row by row, whatever the batch.

What is kept for a sequence is found again by its tokens, so that it can never be that of
another sequence, and so that settings which pass through the same prefix share it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class KVEntry:
    """Keys and values of some positions of one sequence, layer by layer.

    Attributes:
        keys: Of each layer, by heads, positions and width; layers may differ.
        values: Of each layer, likewise.
        last: The network's output at the last of those positions.
    """

    keys: tuple[Float[Tensor, "_ _ _"], ...]
    values: tuple[Float[Tensor, "_ _ _"], ...]
    last: Float[Tensor, " hidden"] | None = None

    @property
    def length(self) -> int:
        """How many positions are kept."""
        return self.keys[0].shape[1] if self.keys else 0

    @property
    def bytes(self) -> int:
        """What keeping them takes."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


#: Of a sequence of which nothing is kept.
EMPTY = KVEntry((), ())


class KVStore:
    """What was kept last, as far as there is room.

    Args:
        room: In bytes.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._taken = 0
        self._kept: OrderedDict[Hashable, KVEntry] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __getitem__(self, key: Hashable) -> KVEntry:
        self._kept.move_to_end(key)
        return self._kept[key]

    def __setitem__(self, key: Hashable, kept: KVEntry) -> None:
        if key in self._kept:
            self._taken -= self._kept.pop(key).bytes
        self._kept[key] = kept
        self._taken += kept.bytes
        # The newest stays in any case: it is about to be used.
        while self._taken > self._room and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._taken -= oldest.bytes


def cache_of(kept: Sequence[KVEntry], config: Any) -> tuple[Any, Bool[Tensor, "rows positions"]]:
    """Return what is kept for some rows as one cache, padded on the left.

    Args:
        kept: Of each row.
        config: Of the network.

    Returns:
        The cache, and True where it holds a key and no padding.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=config)
    longest = max(each.length for each in kept)
    template = next((each for each in kept if each.length), None)
    if template is None:
        return cache, torch.zeros((len(kept), 0), dtype=torch.bool)
    device = template.keys[0].device
    lengths = torch.tensor([each.length for each in kept], device=device)
    for layer in range(len(template.keys)):
        keys = _stacked([each.keys for each in kept], layer, template.keys[layer], longest)
        values = _stacked([each.values for each in kept], layer, template.values[layer], longest)
        cache.update(keys, values, layer)
    return cache, torch.arange(longest, device=device) >= longest - lengths[:, None]


def extract(
    cache: Any, row: int, positions: Bool[Tensor, " positions"], last: Any = None
) -> KVEntry:
    """Return keys and values of one row of a cache, at some of its positions."""
    return KVEntry(
        keys=tuple(layer.keys[row][:, positions] for layer in cache.layers),
        values=tuple(layer.values[row][:, positions] for layer in cache.layers),
        last=last,
    )


def _stacked(
    parts: Sequence[Sequence[Tensor]], layer: int, template: Tensor, longest: int
) -> Float[Tensor, "rows heads positions width"]:
    heads, _, width = template.shape
    full = template.new_zeros((len(parts), heads, longest, width))
    for row, part in enumerate(parts):
        if part:
            full[row, :, longest - part[layer].shape[1] :] = part[layer]
    return full
