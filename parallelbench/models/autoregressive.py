"""Causal language models of transformers, as a baseline: one token a step, left to right.

Rows of a batch are padded on the left.  Not every class of transformers obeys the mask of that
padding and the positions beside it; such a class would answer otherwise in another batch, so
each one is tried when it is opened.

On the canvas of a diffusion model such a model has a grid of blocks of one token, so every
decoder writes one token a step, in order, and the records are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from parallelbench.errors import CheckpointError
from parallelbench.model import Blocks, ComputeCost, Prediction, Row
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import EMPTY, KVEntry, cache_of, extract
from parallelbench.models.network import NetworkModel
from parallelbench.prompt import Prompt

_NEEDED = (
    "family autoregressive needs a causal language model whose mask, positions and cache are not "
    "disturbed by padding on the left (docs/models.md has the list)"
)
#: Tokens of the prompts that are padded for the check, and of the one that they are padded to.
_SHORT = (3, 19)
_LONG = 60
#: Most that padding may move logits, as a share of their spread over the vocabulary.  Measured
#: on every class of transformers 5.24 at random weights: at most 2e-6 in float32 where a class
#: obeys the mask, at least 4e-2 where it does not.
_MOVED = 1e-3
#: The same in half precision, for the median of the prompts: rounding moves those of 24 layers by
#: 2e-2, a single one by 8e-2 where a token goes to another expert.
_MOVED_HALF = 5e-2
#: A network in half precision with no more parameters than this is tried in float32.
_SMALL = 10**9


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

    Raises:
        CheckpointError: Padding changes what it predicts, it cannot be run with padding, or it
            gives no numbers.
    """

    stops = True
    blocks = Blocks(1, from_prompt=False)

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._store = self.store()
        self._keeps = _has_plain_cache(self.network.config)
        self.check_padding()
        # What was read for the check is of no use to anybody.
        self._store = self.store()

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the prompt for the first token, and what was written since for the others."""
        part = self._part(row)
        return ComputeCost(tokens=len(part.ids) - (part.kept if self._keeps else 0), stored=0)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        parts = [part for part in map(self._part, rows) if part.wanted]
        if not parts:
            return self.nothing()
        return Prediction(logits=self._logits(parts))

    def _logits(self, parts: Sequence[_Part]) -> Float[Tensor, "wanted columns"]:
        """Return the logits of the wanted positions of ``parts``, read as one padded batch."""
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
            if any(layer.keys is None for layer in cache.layers):
                raise CheckpointError(
                    f"{type(self.network).__name__} of transformers keeps no keys and values in "
                    f"the cache that it is given; {_NEEDED}"
                )
            for index, part in enumerate(parts):
                self._store[tuple(part.ids)] = extract(cache, index, seen[index])
        logits: Tensor = output.logits
        lines = [
            logits[index, place - 1 - len(part.ids)]
            for index, part in enumerate(parts)
            for place in part.wanted
        ]
        return torch.stack(lines)

    def check_padding(self) -> None:
        """Try whether a prompt is answered alone as it is when padded to a longer one.

        Raises:
            CheckpointError: It is not, it cannot be run so, or it gives no numbers.
        """
        name = type(self.network).__name__
        try:
            moved, most = self._moved()
        except (CheckpointError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # A class that takes other inputs fails in a way of its own.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(
                f"{name} of transformers cannot be run on a padded batch ({reason}); {_NEEDED}"
            ) from error
        if moved > most:
            raise CheckpointError(
                f"{name} of transformers answers otherwise in another batch: padding before a "
                f"prompt moves its logits by {moved:.2g} of their spread (at most {most:g}); "
                f"{_NEEDED}"
            )

    @torch.inference_mode()
    def _moved(self) -> tuple[float, float]:
        """Return how far padding moves logits, and the most that rounding explains."""
        held = self.network
        half = held.dtype.itemsize < torch.float32.itemsize
        # So that a small fault is not taken for rounding.
        single = half and held.num_parameters() <= _SMALL
        try:
            if single:
                text = self._text(_LONG)
                self.check_numbers(self._logits([_Part(text, [len(text)], 0)]))
                self.network = copy.deepcopy(held).float()
            gaps = self._padding_gaps()
        finally:
            self.network = held
        if single or not half:
            return float(gaps.max()), _MOVED
        return float(gaps.median()), _MOVED_HALF

    def _padding_gaps(self) -> Float[Tensor, " gaps"]:
        """Return how far padding moves the logits of some prompts, each of two next tokens."""
        texts = [self._text(length) for length in (*_SHORT, _LONG)]
        alone = [self._logits([_Part(text[:-1], [len(text) - 1], 0)])[0] for text in texts[:-1]]
        alone += [self._logits([_Part(text, [len(text)], 0)])[0] for text in texts[:-1]]
        self.check_numbers(*alone)
        self._store = self.store()
        padded = [*self._logits([_Part(text[:-1], [len(text) - 1], 0) for text in texts])[:-1]]
        # With the keys that were kept just now.
        padded += self._logits([_Part(text, [len(text)], len(text) - 1) for text in texts])[:-1]
        before, after = torch.stack(alone).float(), torch.stack(padded).float()
        spread = before.std(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        return (before - after).square().mean(dim=1).sqrt() / spread

    def _text(self, length: int) -> list[int]:
        """Return ids of a prompt without a meaning, of tokens that differ."""
        special = {*self.codec.unwritable, *self.codec.ends}
        ordinary = [token for token in range(self.codec.size) if token not in special]
        places = [7 * place * place + 11 * place + 5 for place in range(length)]
        return [ordinary[place % len(ordinary)] for place in places]

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

    def _kept(self, part: _Part) -> KVEntry:
        key = tuple(part.ids[: part.kept])
        return self._store[key] if self._keeps and key in self._store else EMPTY


def _is_prefilled(prompt: Prompt, position: int) -> bool:
    return position < len(prompt.open) and not bool(prompt.open[position])


def _has_plain_cache(config: Any) -> bool:
    """Return whether every layer keeps all keys and values, and nothing else."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
