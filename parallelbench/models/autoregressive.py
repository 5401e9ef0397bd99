"""Causal language models of transformers, as a baseline: one token a step, left to right.

On the canvas of a diffusion model such a model has a grid of blocks of one token, so every
decoder writes one token a step, in order, and the records are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from parallelbench.decoder import Row
from parallelbench.model import Blocks, Load, Prediction
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import NOTHING, Kept, cache_of, keep
from parallelbench.models.network import NetworkModel
from parallelbench.prompt import Prompt


class _Part(NamedTuple):
    """What of a sequence is read for a row.

    Attributes:
        ids: The tokens before its last wanted position.
        wanted: The wanted positions, ascending.
        kept: How many of those tokens were read for the open position before.
    """

    ids: list[int]
    wanted: list[int]
    kept: int


class AutoregressiveModel(NetworkModel):
    """A network that predicts the next token.

    Args:
        checkpoint: As loaded.
    """

    stops = True
    blocks = Blocks(1, from_prompt=False)

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._store = self.store()
        self._keeps = _has_plain_cache(self.network.config)

    def load(self, row: Row) -> Load:
        """Return the prompt for the first token, and what was written since for the others."""
        part = self._part(row)
        return Load(tokens=len(part.ids) - (part.kept if self._keeps else 0), stored=0)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        parts = [part for part in map(self._part, rows) if part.wanted]
        if not parts:
            return self.nothing()
        kept = [self._kept(part) for part in parts]
        cut = [
            torch.tensor(part.ids[before.length :], device=self.device)
            for part, before in zip(parts, kept, strict=True)
        ]
        batch = self.padded(cut)
        starts = torch.tensor([each.length for each in kept], device=self.device)
        cache, present = cache_of(kept, self.network.config)
        seen = torch.cat([present.to(self.device), batch.real], dim=1)
        columns = max(len(part.ids) - part.wanted[0] + 1 for part in parts)
        output = self.network(
            input_ids=batch.ids,
            attention_mask=seen.long(),
            position_ids=batch.positions + starts[:, None],
            cache=cache if self._keeps else None,
            use_cache=self._keeps,
            logits_to_keep=columns,
        )
        if self._keeps:
            for index, part in enumerate(parts):
                self._store[tuple(part.ids)] = keep(cache, index, seen[index])
        logits: Tensor = output.logits
        lines = [
            logits[index, place - 1 - len(part.ids)]
            for index, part in enumerate(parts)
            for place in part.wanted
        ]
        return Prediction(logits=torch.stack(lines))

    def _part(self, row: Row) -> _Part:
        prompt = row.prompt.ids.tolist()
        wanted = [len(prompt) + p for p, asked in enumerate(row.wanted.tolist()) if asked]
        if not wanted:
            return _Part([], [], 0)
        ids = [*prompt, *row.canvas.tolist()][: wanted[-1]]
        # Where a decoder asks beyond an open position, the network reads an end there.
        read = [self.codec.end_id if token == self.codec.mask_id else token for token in ids]
        kept = wanted[0] - 1
        # Pre-filled tokens are read together with what is written behind them.
        while kept >= len(prompt) and _is_prefilled(row.prompt, kept - len(prompt)):
            kept -= 1
        return _Part(read, wanted, kept if kept >= len(prompt) else 0)

    def _kept(self, part: _Part) -> Kept:
        key = tuple(part.ids[: part.kept])
        return self._store[key] if self._keeps and key in self._store else NOTHING


def _is_prefilled(prompt: Prompt, position: int) -> bool:
    return position < len(prompt.open) and not bool(prompt.open[position])


def _has_plain_cache(config: Any) -> bool:
    """Return whether every layer keeps all keys and values, and nothing else."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
