"""Cache of predictions that several settings decode the same sample with.

A prediction depends on its row alone and, without drawn tokens, so do the statistics of it.  The
settings of a sweep pass through the same canvases, so each is sent once and its statistics are
read as often as they are requested: no token and no count of any decode changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from parallelbench.decode.statistics import FlatStatistics
from parallelbench.decoder import Decoder
from parallelbench.model import Row
from parallelbench.prompt import Prompt

#: Statistics that are cached of each position; the rest is too large, or the model's own.
_KEPT = frozenset({"token", "confidence", "margin", "logit_margin", "entropy"})
#: Needs that take no prediction, or that only the row itself shows.
_ELSEWHERE = frozenset({"uniform", "answers", "shorter_rows"})
#: Canvases of one sample that are kept at most: 20 to 30 bytes for each open position.
_MOST_CANVASES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class RowPrediction:
    """The statistics of one row.

    Attributes:
        flat: Statistics of many rows.
        first: First line of the row.
        count: Number of lines of the row.
        off_support: True if no right answer fits the row; None if the model cannot tell.
        extras: Statistics that the model provides, by name.
    """

    flat: FlatStatistics
    first: int
    count: int
    off_support: bool | None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class PredictionCache:
    """Predictions for the canvases of each sample, kept as long as its prompt is referenced."""

    def __init__(self) -> None:
        self._predictions: WeakKeyDictionary[
            Prompt, dict[Hashable, tuple[AbstractSet[str], RowPrediction]]
        ]
        self._predictions = WeakKeyDictionary()

    def find(self, row: Row, key: Hashable, decoder: Decoder) -> RowPrediction | None:
        """Return the cached prediction of ``row`` if it has all that ``decoder`` needs."""
        needs, prediction = self._predictions.get(row.prompt, {}).get(key, (frozenset(), None))
        return prediction if decoder.needs & _KEPT <= needs else None

    def store(
        self, row: Row, key: Hashable, prediction: RowPrediction, needs: AbstractSet[str]
    ) -> None:
        """Store the prediction of ``row``: the statistics named in ``needs``."""
        kept = self._predictions.setdefault(row.prompt, {})
        if key not in kept and len(kept) >= _MOST_CANVASES:
            del kept[next(iter(kept))]
        kept[key] = (
            needs,
            replace(prediction, flat=prediction.flat.without_distribution(), extras={}),
        )


def is_cacheable(decoder: Decoder) -> bool:
    """Return True if all statistics that ``decoder`` reads can be cached for others."""
    return decoder.temperature == 0 and decoder.needs - _ELSEWHERE <= _KEPT


def cache_keys(rows: Sequence[Row]) -> list[Hashable]:
    """Return a key that determines each row's prediction for its prompt; None if there is none.

    A row that brings its own positions, attention or conditioning is like no other.  The requested
    extras are no part of the key: of equal rows, one is sent that requests them all.
    """
    canvases = _bytes_of([row.canvas for row in rows])
    wanted = _bytes_of([row.wanted for row in rows])
    entered = iter(
        _bytes_of([row.window_snapshot for row in rows if row.window_snapshot is not None])
    )
    return [
        (canvas, want, row.window, None if row.window_snapshot is None else next(entered))
        if all(own is None for own in (row.positions, row.attention, row.unseen, row.conditioning))
        else None
        for row, canvas, want in zip(rows, canvases, wanted, strict=True)
    ]


def concatenate(predictions: Sequence[RowPrediction]) -> FlatStatistics:
    """Return the statistics of some rows, of different times, one after the other."""
    members: dict[int, list[int]] = defaultdict(list)
    for place, each in enumerate(predictions):
        members[id(each.flat)].append(place)
    parts: list[FlatStatistics] = []
    for places in members.values():
        flat = predictions[places[0]].flat
        first = [predictions[place].first for place in places]
        counts = [predictions[place].count for place in places]
        parts.append(flat.at(index_ranges(first, counts).to(flat.token.device)))
    joined = FlatStatistics.joined(parts)
    order = [place for places in members.values() for place in places]
    if order == sorted(order):
        return joined
    lengths = np.array([predictions[place].count for place in order])
    starts = lengths.cumsum() - lengths
    back = np.argsort(order)
    return joined.at(index_ranges(starts[back], lengths[back]).to(joined.token.device))


def index_ranges(
    first: Sequence[int] | np.ndarray, counts: Sequence[int] | np.ndarray
) -> Int[Tensor, " lines"]:
    """Return ``counts`` numbers from each of ``first`` on, one range after the other."""
    lengths = np.asarray(counts, dtype=np.int64)
    shifts = np.asarray(first, dtype=np.int64) - (lengths.cumsum() - lengths)
    return torch.from_numpy(np.arange(lengths.sum()) + shifts.repeat(lengths))


def _bytes_of(tensors: Sequence[Tensor]) -> list[bytes]:
    if not tensors:
        return []
    # One transfer for all of them, wherever the canvases are.
    values = torch.cat(list(tensors)).cpu().numpy()
    # A tensor's len() takes as long as all the rest.
    ends = [0, *accumulate(each.numel() for each in tensors)]
    return [values[low:high].tobytes() for low, high in pairwise(ends)]
