"""Causal language models of transformers, as a baseline: one token per step, left to right.

Rows of a batch are padded on the left.  Not every class of transformers respects the padding mask
and the position ids; its predictions would depend on the batch, so each class is checked when it
is opened.

On a canvas such a model has blocks of one token, so every decoder writes one token per step, in
order, and records have the same form as for diffusion models.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from parallelbench.errors import CheckpointError
from parallelbench.model import Blocks, ComputeCost, Prediction, Row
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import EMPTY, KVEntry, cache_of, extract
from parallelbench.models.network import NetworkModel
from parallelbench.prompt import Prompt

_NEEDED = (
    "family autoregressive needs a causal language model whose predictions do not depend on "
    "padding on the left (docs/models.md has the list)"
)
#: Lengths of the prompts that are padded in the check, and of the longest, in tokens.
_SHORT = (3, 19)
_LONG = 60
#: Maximum change of logits by padding, relative to their spread over the vocabulary.  Measured
#: on every class of transformers 5.24 with random weights: at most 2e-6 in float32 if a class
#: respects the mask, at least 4e-2 if it does not.
_MOVED = 1e-3
#: Maximum in half precision, for the median of the prompts: with 24 layers rounding changes
#: logits by 2e-2, and by 8e-2 for a prompt with a token that is routed to another expert.
_MOVED_HALF = 5e-2
#: Maximum parameters of a half-precision network that is checked in float32.
_SMALL = 10**9


class _Prefix(NamedTuple):
    """The part of a sequence that is read for a row.

    Attributes:
        ids: Tokens before its last wanted position.
        wanted: Wanted positions, ascending.
        kept: Number of those tokens that were read for the previous open position.
    """

    ids: list[int]
    wanted: list[int]
    kept: int


class AutoregressiveModel(NetworkModel):
    """A network that predicts the next token.

    Args:
        checkpoint: The loaded checkpoint.

    Raises:
        CheckpointError: Padding changes its predictions, it cannot be run with padding, or it
            returns NaN or infinity.
    """

    stops = True
    blocks = Blocks(1, from_prompt=False)

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._store = self.store()
        self._keeps = _has_plain_cache(self.network.config)
        self.check_padding()
        # Entries of the check are not needed any more.
        self._store = self.store()

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the cost of the tokens that are not cached: all of the prompt at first."""
        part = self._part(row)
        return ComputeCost(tokens=len(part.ids) - (part.kept if self._keeps else 0), stored=0)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        parts = [part for part in map(self._part, rows) if part.wanted]
        if not parts:
            return self.empty_prediction()
        return Prediction(logits=self._logits(parts))

    def _logits(self, parts: Sequence[_Prefix]) -> Float[Tensor, "wanted columns"]:
        """Return the logits of the wanted positions of ``parts``, read as one padded batch."""
        cached = [self._entry(part) for part in parts]
        cut = [
            torch.tensor(part.ids[before.length :], device=self.device)
            for part, before in zip(parts, cached, strict=True)
        ]
        batch = self.padded(cut)
        starts = torch.tensor([each.length for each in cached], device=self.device)
        cache, present = cache_of(cached, self.network.config)
        real = torch.cat([present.to(self.device), batch.real], dim=1)
        columns = max(len(part.ids) - part.wanted[0] + 1 for part in parts)
        output = self.network(
            input_ids=batch.ids,
            attention_mask=real.long(),
            position_ids=batch.positions + starts[:, None],
            cache=cache if self._keeps else None,
            use_cache=self._keeps,
            logits_to_keep=columns,
        )
        if self._keeps:
            if any(layer.keys is None for layer in cache.layers):
                raise CheckpointError(
                    f"{type(self.network).__name__} of transformers does not store keys and values "
                    f"in the cache that it is given; {_NEEDED}"
                )
            for index, part in enumerate(parts):
                self._store[tuple(part.ids)] = extract(cache, index, real[index])
        logits: Tensor = output.logits
        lines = [
            logits[index, place - 1 - len(part.ids)]
            for index, part in enumerate(parts)
            for place in part.wanted
        ]
        return torch.stack(lines)

    def check_padding(self) -> None:
        """Check that padding to a longer prompt does not change predictions.

        Raises:
            CheckpointError: It does, the network cannot be run with padding, or it returns NaN
                or infinity.
        """
        name = type(self.network).__name__
        try:
            moved, most = self._moved()
        except (CheckpointError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # A class with other inputs may raise anything.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(
                f"{name} of transformers cannot be run on a padded batch ({reason}); {_NEEDED}"
            ) from error
        if moved > most:
            raise CheckpointError(
                f"{name} of transformers depends on the batch: padding before a prompt changes "
                f"its logits by {moved:.2g} of their spread (at most {most:g} is allowed); "
                f"{_NEEDED}"
            )

    @torch.inference_mode()
    def _moved(self) -> tuple[float, float]:
        """Return the change of logits by padding, and the maximum that rounding explains."""
        held = self.network
        half = held.dtype.itemsize < torch.float32.itemsize
        # In float32 a small fault cannot be mistaken for rounding.
        single = half and held.num_parameters() <= _SMALL
        try:
            if single:
                text = self._text(_LONG)
                self.check_numbers(self._logits([_Prefix(text, [len(text)], 0)]))
                self.network = copy.deepcopy(held).float()
            gaps = self._padding_gaps()
        finally:
            self.network = held
        if single or not half:
            return float(gaps.max()), _MOVED
        return float(gaps.median()), _MOVED_HALF

    def _padding_gaps(self) -> Float[Tensor, " gaps"]:
        """Return the changes of logits by padding, for two next tokens of some prompts."""
        texts = [self._text(length) for length in (*_SHORT, _LONG)]
        alone = [self._logits([_Prefix(text[:-1], [len(text) - 1], 0)])[0] for text in texts[:-1]]
        alone += [self._logits([_Prefix(text, [len(text)], 0)])[0] for text in texts[:-1]]
        self.check_numbers(*alone)
        self._store = self.store()
        padded = [*self._logits([_Prefix(text[:-1], [len(text) - 1], 0) for text in texts])[:-1]]
        # With the entries that were cached just now.
        padded += self._logits([_Prefix(text, [len(text)], len(text) - 1) for text in texts])[:-1]
        before, after = torch.stack(alone).float(), torch.stack(padded).float()
        spread = before.std(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        return (before - after).square().mean(dim=1).sqrt() / spread

    def _text(self, length: int) -> list[int]:
        """Return the ids of an arbitrary prompt of varied tokens."""
        special = {*self.codec.unwritable, *self.codec.ends}
        ordinary = [token for token in range(self.codec.size) if token not in special]
        places = [7 * place * place + 11 * place + 5 for place in range(length)]
        return [ordinary[place % len(ordinary)] for place in places]

    def _part(self, row: Row) -> _Prefix:
        prompt = row.prompt.ids.tolist()
        wanted = [len(prompt) + p for p, is_wanted in enumerate(row.wanted.tolist()) if is_wanted]
        if not wanted:
            return _Prefix([], [], 0)
        ids = [*prompt, *row.canvas.tolist()][: wanted[-1]]
        # If a decoder wants a position after an open one, the network reads end-of-text there.
        read = [self.codec.end_id if token == self.codec.mask_id else token for token in ids]
        kept = wanted[0] - 1
        # Pre-filled tokens are read together with the next written token.
        while kept >= len(prompt) and _is_prefilled(row.prompt, kept - len(prompt)):
            kept -= 1
        return _Prefix(read, wanted, kept if kept >= len(prompt) else 0)

    def _entry(self, part: _Prefix) -> KVEntry:
        key = tuple(part.ids[: part.kept])
        return self._store[key] if self._keeps and key in self._store else EMPTY


def _is_prefilled(prompt: Prompt, position: int) -> bool:
    return position < len(prompt.open) and not bool(prompt.open[position])


def _has_plain_cache(config: Any) -> bool:
    """Return True if every layer caches all keys and values, and nothing else."""
    layers = DynamicCache(config=config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
