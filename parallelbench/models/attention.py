"""Who attends to whom in a network: averaged over heads and layers while it runs.

Each layer's weights are averaged over the heads as soon as they are known and added to those
of the layers before, so what is held is one map per row, whatever the depth.  Weights are
computed for the rows that are watched only, and beside what the kernel computes: the outputs
of the network are those that it has when nobody watches.
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

#: Layers that count as late, of ten; the share is rounded down to whole layers.
_LATE_OF_TEN = 3
#: Layers of ``"attention_last_four"``, whatever the depth.
_LAST = 4
#: What the kernel below is called among those of transformers.
_KERNEL = "parallelbench_watched"


class CanvasLocation(NamedTuple):
    """Where the canvas of one row stands in a pass.

    Attributes:
        length: Of the canvas.
        queries: Which of its positions the last of those that are watched are.
        keys: Which keys of the pass its first positions are.
    """

    length: int
    queries: slice
    keys: Int[Tensor, " positions"]


class AttentionRecorder:
    """Who attends to whom in some rows of one pass.

    Args:
        layers: Of the network.
        names: What is asked for: ``"attention"``, ``"attention_late"``,
            ``"attention_last_four"``.
        rows: Which rows of the pass are watched.
        queries: How many positions of each row are, counted from the last.

    Attributes:
        NAMES: What it can tell.
        rows: As given.
    """

    NAMES: ClassVar[frozenset[str]] = frozenset(
        {"attention", "attention_late", "attention_last_four"}
    )

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
        self._seen: list[int] = []

    def over(self, network: Any, **inputs: Any) -> Any:
        """Return the output of a pass of ``network`` that is watched.

        Raises:
            ModelError: Its layers do not compute attention as those of transformers do.
        """
        config = network.config
        kernel = config._attn_implementation  # noqa: SLF001  it has no other name
        config._attn_implementation = _KERNEL  # noqa: SLF001
        try:
            # A compiled network is passed by: it would be compiled anew for every watch.
            output = network.model.forward(**inputs, watch=self)
        finally:
            config._attn_implementation = kernel  # noqa: SLF001
        if self._seen != list(range(config.num_hidden_layers)):
            raise ModelError(
                f"{type(network).__name__} does not show what its layers attend to; "
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
        """Add what one layer attends to."""
        self._seen.append(layer)
        names = [name for name, layers in self._layers.items() if layer in layers]
        if not names:
            return
        last = slice(-self._queries, None)
        grouped = query[self.rows, :, last].float().unflatten(1, (key.shape[1], -1))
        scores = torch.einsum("ngrqw,ngkw->ngrqk", grouped, key[self.rows].float()) * scaling
        if mask is not None:
            own = mask.expand(len(query), -1, -1, -1)[self.rows, :, None, last]
            # The form of the mask is the kernel's: whether, or how much is added.
            hidden = ~own if own.dtype == torch.bool else own < 0
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = scores.softmax(dim=-1).mean(dim=(1, 2))
        for name in names:
            self._sums[name] = self._sums[name] + weights if name in self._sums else weights

    def maps(self, places: Sequence[CanvasLocation]) -> dict[str, list[Float[Tensor, "_ _"]]]:
        """Return by name who attends to whom in the canvas of each watched row.

        Args:
            places: Where that row's canvas stands in the pass.
        """
        told: dict[str, list[Tensor]] = {}
        for name, total in self._sums.items():
            means = total / len(self._layers[name])
            told[name] = [means.new_zeros((place.length, place.length)) for place in places]
            for full, seen, place in zip(told[name], means, places, strict=True):
                count = place.queries.stop - place.queries.start
                full[place.queries, : len(place.keys)] = seen[len(seen) - count :, place.keys]
        return told


def _watched(  # noqa: PLR0913  transformers calls it so
    module: Any,
    query: Float[Tensor, "rows heads queries width"],
    key: Float[Tensor, "rows key_heads keys width"],
    value: Float[Tensor, "rows key_heads keys width"],
    attention_mask: Shaped[Tensor, "_ 1 queries keys"] | None,
    *,
    watch: AttentionRecorder,
    scaling: float,
    **others: Any,
) -> tuple[Tensor, None]:
    """Compute attention as usual, in the signature that transformers gives to kernels."""
    watch.add(module.layer_idx, query, key, attention_mask, scaling)
    output: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **others
    )
    return output


AttentionInterface.register(_KERNEL, _watched)
# Masks come in the form that the usual kernel takes.
AttentionMaskInterface.register(_KERNEL, sdpa_mask)
