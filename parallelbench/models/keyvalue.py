"""Cached keys and values of attention, stored per row independently of the batch.

Entries are looked up by their tokens: they can never belong to another sequence, and settings
that decode the same prefix share them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import DynamicCache


@dataclass(frozen=True, slots=True, eq=False)
class KVEntry:
    """Keys and values of some positions of one sequence, layer by layer.

    Attributes:
        keys: Keys of each layer, of shape (heads, positions, width); layers may differ.
        values: Values of each layer, of the same shapes.
        last: Network output at the last of those positions.
    """

    keys: tuple[Float[Tensor, "_ _ _"], ...]
    values: tuple[Float[Tensor, "_ _ _"], ...]
    last: Float[Tensor, " hidden"] | None = None

    @property
    def length(self) -> int:
        """Number of cached positions."""
        return self.keys[0].shape[1] if self.keys else 0

    @property
    def bytes(self) -> int:
        """Memory of the entry, in bytes."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


#: Entry of a sequence without cached positions.
EMPTY = KVEntry((), ())


class KVStore:
    """The most recently used entries, up to a limit of memory.

    Args:
        capacity: Maximum memory in bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._used = 0
        self._entries: OrderedDict[Hashable, KVEntry] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __getitem__(self, key: Hashable) -> KVEntry:
        self._entries.move_to_end(key)
        return self._entries[key]

    def __setitem__(self, key: Hashable, entry: KVEntry) -> None:
        if key in self._entries:
            self._used -= self._entries.pop(key).bytes
        self._entries[key] = entry
        self._used += entry.bytes
        # The newest entry always stays: it is about to be used.
        while self._used > self._capacity and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._used -= oldest.bytes


def cache_of(entries: Sequence[KVEntry], config: Any) -> tuple[Any, Bool[Tensor, "rows positions"]]:
    """Return the entries of some rows as one cache, padded on the left.

    Args:
        entries: Entry of each row.
        config: Configuration of the network.

    Returns:
        The cache, and a mask that is True for keys and False for padding.
    """
    cache = DynamicCache(config=config)
    longest = max(each.length for each in entries)
    template = next((each for each in entries if each.length), None)
    if template is None:
        return cache, torch.zeros((len(entries), 0), dtype=torch.bool)
    device = template.keys[0].device
    lengths = torch.tensor([each.length for each in entries], device=device)
    for layer in range(len(template.keys)):
        keys = _stacked([each.keys for each in entries], layer, template.keys[layer], longest)
        values = _stacked([each.values for each in entries], layer, template.values[layer], longest)
        cache.update(keys, values, layer)
    return cache, torch.arange(longest, device=device) >= longest - lengths[:, None]


def extract(
    cache: Any, row: int, positions: Bool[Tensor, " positions"], last: Any = None
) -> KVEntry:
    """Return the entry of some positions of one row of a cache."""
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
