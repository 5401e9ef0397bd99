"""Attention maps of a network, averaged over heads and layers during the forward pass.

Each layer's weights are averaged over the heads and added to those of the previous layers, so
that memory holds one map per row at any depth.  Weights are computed for the recorded rows only,
and in addition to what the kernel computes: recording does not change the network's outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from parallelbench.errors import ModelError
from parallelbench.models.capabilities import ATTENTION

#: Number of late layers out of ten; the share is rounded down to whole layers.
_LATE_OF_TEN = 3
#: Number of layers of ``"attention_last_four"``, at any depth.
_LAST = 4
#: Name of the kernel below in the registry of transformers.
_KERNEL = "parallelbench_recording"


class CanvasLocation(NamedTuple):
    """The location of a row's canvas among the queries and keys of a pass.

    Attributes:
        length: Length of the canvas.
        queries: Canvas positions that are the last recorded queries of the row.
        keys: Indices of the keys of the first canvas positions.
    """

    length: int
    queries: slice
    keys: Int[Tensor, " positions"]


class AttentionRecorder:
    """Records the attention maps of some rows in one pass.

    Args:
        layers: Number of layers of the network.
        names: Requested maps: ``"attention"``, ``"attention_late"``,
            ``"attention_last_four"``.
        rows: Indices of the recorded rows of the pass.
        queries: Number of recorded positions of each row, counted from the last.

    Attributes:
        NAMES: Names of the maps that it can record.
        rows: Indices of the recorded rows.
    """

    NAMES: ClassVar[frozenset[str]] = ATTENTION

    def __init__(
        self, layers: int, names: AbstractSet[str], rows: Sequence[int], queries: int
    ) -> None:
        late = max(1, layers * _LATE_OF_TEN // 10)
        first = {
            "attention": 0,
            "attention_late": layers - late,
            "attention_last_four": max(0, layers - _LAST),
        }
        self._layers = {name: range(first[name], layers) for name in names & self.NAMES}
        self.rows = list(rows)
        self._queries = queries
        self._sums: dict[str, Tensor] = {}
        self._recorded: list[int] = []

    def over(self, network: Any, **inputs: Any) -> Any:
        """Return the output of a pass of ``network``, recording its attention.

        Raises:
            ModelError: Layers do not use the attention interface of transformers.
        """
        config = network.config
        kernel = config._attn_implementation  # noqa: SLF001  it has no other name
        config._attn_implementation = _KERNEL  # noqa: SLF001
        try:
            # A compiled forward is bypassed: it would be recompiled for every recorder.
            output = network.model.forward(**inputs, recorder=self)
        finally:
            config._attn_implementation = kernel  # noqa: SLF001
        if self._recorded != list(range(config.num_hidden_layers)):
            raise ModelError(
                f"{type(network).__name__} does not expose the attention of its layers; "
                "install the release of transformers that this package was tested with"
            )
        return output

    def add(
        self,
        layer: int,
        query: Float[Tensor, "rows heads queries width"],
        key: Float[Tensor, "rows key_heads keys width"],
        mask: Shaped[Tensor, "_ 1 queries keys"] | None,
        scaling: float,
    ) -> None:
        """Add the attention weights of one layer."""
        self._recorded.append(layer)
        names = [name for name, layers in self._layers.items() if layer in layers]
        if not names:
            return
        last = slice(-self._queries, None)
        grouped = query[self.rows, :, last].float().unflatten(1, (key.shape[1], -1))
        scores = torch.einsum("ngrqw,ngkw->ngrqk", grouped, key[self.rows].float()) * scaling
        if mask is not None:
            own = mask.expand(len(query), -1, -1, -1)[self.rows, :, None, last]
            # A mask is boolean, or added to the scores, depending on the kernel.
            hidden = ~own if own.dtype == torch.bool else own < 0
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = scores.softmax(dim=-1).mean(dim=(1, 2))
        for name in names:
            self._sums[name] = self._sums[name] + weights if name in self._sums else weights

    def maps(self, places: Sequence[CanvasLocation]) -> dict[str, list[Float[Tensor, "_ _"]]]:
        """Return the attention maps of each recorded row's canvas, by name.

        Args:
            places: Location of the canvas of each recorded row.
        """
        maps: dict[str, list[Tensor]] = {}
        for name, total in self._sums.items():
            means = total / len(self._layers[name])
            maps[name] = [means.new_zeros((place.length, place.length)) for place in places]
            for full, weights, place in zip(maps[name], means, places, strict=True):
                count = place.queries.stop - place.queries.start
                full[place.queries, : len(place.keys)] = weights[len(weights) - count :, place.keys]
        return maps


def _recording_attention(  # noqa: PLR0913  the signature that transformers calls
    module: Any,
    query: Float[Tensor, "rows heads queries width"],
    key: Float[Tensor, "rows key_heads keys width"],
    value: Float[Tensor, "rows key_heads keys width"],
    attention_mask: Shaped[Tensor, "_ 1 queries keys"] | None,
    *,
    recorder: AttentionRecorder,
    scaling: float,
    **others: Any,
) -> tuple[Tensor, None]:
    """Compute attention with the usual kernel, and record it."""
    recorder.add(module.layer_idx, query, key, attention_mask, scaling)
    output: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **others
    )
    return output


AttentionInterface.register(_KERNEL, _recording_attention)
# Masks have the form of the usual kernel.
AttentionMaskInterface.register(_KERNEL, sdpa_mask)
