"""Block diffusion: SDAR, TraDo, LLaDA2, Fast-dLLM v2, Nemotron-Labs-Diffusion.

A token attends to its own block and all earlier ones.  Cached keys and values of finished blocks
are therefore exact: the predictions are those of a pass over everything.  Each finished block
costs one more pass to cache it, as in the published code; these passes are counted as auxiliary
calls.

Source: Cheng et al., "SDAR" (arXiv:2510.06303); for the causal context the public
description of Nemotron-Labs-Diffusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.model import Blocks, ComputeCost, Prediction, Row
from parallelbench.models.attention import AttentionRecorder, CanvasLocation
from parallelbench.models.capabilities import BLOCK
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import EMPTY, KVEntry, cache_of, extract
from parallelbench.models.network import NetworkModel


class _BlockSpan(NamedTuple):
    """The part of a sequence that is computed for a row.

    Attributes:
        ids: Whole sequence: prompt and canvas.
        prompt: Length of the prompt.
        start: Start of the first unfinished block; earlier positions are cached.
        end: End of the last block with a wanted position.
        wanted: Wanted positions, ascending.
    """

    ids: list[int]
    prompt: int
    start: int
    end: int
    wanted: list[int]

    @property
    def unfinished(self) -> int:
        """Number of computed positions of the canvas, the last before ``end``."""
        return self.end - max(self.start, self.prompt)


class BlockModel(NetworkModel):
    """A network that predicts block by block.

    Args:
        checkpoint: The loaded checkpoint.
        block_length: Length of a block, in tokens.
        keeps: True to cache finished blocks; the predictions are the same.
    """

    stops = True
    capabilities = BLOCK

    def __init__(self, checkpoint: Checkpoint, *, block_length: int, keeps: bool = True) -> None:
        super().__init__(checkpoint, variant=f"block_length={block_length}")
        self._shift = checkpoint.family.shift
        self._causal_context = checkpoint.family.causal_context
        self._length = block_length
        self.blocks = Blocks(block_length, from_prompt=not self._causal_context)
        self._keeps = keeps
        self._store = self.store()
        self.check_attention()

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the cost of the unfinished part of the sequence, after the cached part."""
        part = self._part(row)
        if not self._keeps:
            return ComputeCost(tokens=part.end, stored=0)
        return ComputeCost(tokens=part.end - part.start, stored=part.start)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        spans = [(index, part) for index, part in enumerate(map(self._part, rows)) if part.wanted]
        if not spans:
            return self.empty_prediction()
        numbers, parts = zip(*spans, strict=True)
        cached = self._entries(parts) if self._keeps else [EMPTY] * len(parts)
        recorder = self.recorder([rows[n] for n in numbers], max(part.unfinished for part in parts))
        hidden, _ = self._pass(parts, cached, [part.end for part in parts], recorder=recorder)
        # The output before the computed part comes first: with shifted outputs it predicts the
        # first token of that part.
        count, width = hidden.shape[1:]
        last = [hidden.new_zeros(width) if each.last is None else each.last for each in cached]
        hidden = torch.cat([torch.stack(last)[:, None], hidden], dim=1)
        lines = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=self.device)
        for index, part in enumerate(parts):
            outputs = torch.tensor(part.wanted, device=self.device) - self._shift
            column = outputs - part.end + hidden.shape[1]
            lines[index, torch.where(outputs < cached[index].length, 0, column)] = True
        recorded = recorder.rows if recorder else []
        longest = max(each.length for each in cached)
        places = [_place(parts[index], cached[index].length, longest, count) for index in recorded]
        extras = self.attended(recorder, rows, [numbers[index] for index in recorded], places)
        return Prediction(logits=self.network.lm_head(hidden[lines]), extras=extras)

    def _part(self, row: Row) -> _BlockSpan:
        canvas = row.canvas.tolist()
        first = len(row.prompt.ids)
        places = [first + place for place, wanted in enumerate(row.wanted.tolist()) if wanted]
        masked = [first + p for p, token in enumerate(canvas) if token == self.codec.mask_id]
        start = self._floor(min([*places[:1], *masked[:1]], default=first), first)
        end = self._floor(places[-1], first) + self._length if places else start
        ids = [*row.prompt.ids.tolist(), *canvas]
        return _BlockSpan(ids, first, start, min(end, len(ids)), places)

    def _floor(self, position: int, prompt: int) -> int:
        """Return the start of the block of ``position``."""
        origin = prompt if self._causal_context else 0
        return position - (position - origin) % self._length

    def _entries(self, parts: Sequence[_BlockSpan]) -> list[KVEntry]:
        """Return the cache entry before each part, computed where it is missing."""
        entries: dict[tuple[int, ...], KVEntry] = {(): EMPTY}
        missing: dict[tuple[int, ...], tuple[_BlockSpan, KVEntry]] = {}
        for part in parts:
            key = tuple(part.ids[: part.start])
            if key in self._store:
                entries[key] = self._store[key]
            elif key not in entries:
                missing[key] = (part, self._nearest(part))
        for keys in self.fitting(missing):
            begun, before = zip(*(missing[key] for key in keys), strict=True)
            _, made = self._pass(begun, before, [part.start for part in begun], finished=True)
            for key, kept in zip(keys, made, strict=True):
                entries[key] = self._store[key] = kept
        return [entries[tuple(part.ids[: part.start])] for part in parts]

    def _nearest(self, part: _BlockSpan) -> KVEntry:
        """Return the entry of the longest cached prefix of finished blocks."""
        lowest = part.prompt if self._causal_context else 1
        for length in range(part.start - self._length, lowest - 1, -self._length):
            key = tuple(part.ids[:length])
            if key in self._store:
                return self._store[key]
        return EMPTY

    def _pass(
        self,
        parts: Sequence[_BlockSpan],
        cached: Sequence[KVEntry],
        ends: Sequence[int],
        *,
        finished: bool = False,
        recorder: AttentionRecorder | None = None,
    ) -> tuple[Float[Tensor, "rows length width"], list[KVEntry]]:
        """Run the network over each sequence, from the end of its cached part.

        Args:
            parts: Part of each row.
            cached: Cache entry of each row.
            ends: End of each computed part.
            finished: True if the computed blocks are finished and shall be cached.
            recorder: Recorder of attention maps.

        Returns:
            The outputs, padded on the left, and the new cache entries, if any.
        """
        cut = [
            torch.tensor(part.ids[before.length : end], device=self.device)
            for part, before, end in zip(parts, cached, ends, strict=True)
        ]
        batch = self.padded(cut)
        starts = torch.tensor([each.length for each in cached], device=self.device)
        positions = batch.positions + starts[:, None]
        cache, present = cache_of(cached, self.network.config)
        present = present.to(self.device)
        real = torch.cat([present, batch.real], dim=1)
        places = torch.cat([torch.zeros_like(present, dtype=torch.long), positions], dim=1)
        # Padding gets the mask of its row's first token: a fully masked attention row yields NaN.
        allowed = self._allowed(parts, positions, places) & real[:, None]
        output = self.run(
            recorder,
            input_ids=batch.ids,
            attention_mask=self.mask(allowed),
            position_ids=positions,
            cache=cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        if not finished:
            return hidden, []
        # A copy of the last output: a view would keep the outputs of the whole batch alive.
        made = [
            extract(cache, row, real[row], last=hidden[row, -1].clone())
            for row in range(len(parts))
        ]
        return hidden, made

    def _allowed(
        self,
        parts: Sequence[_BlockSpan],
        queries: Int[Tensor, "rows queries"],
        keys: Int[Tensor, "rows keys"],
    ) -> Bool[Tensor, "rows queries keys"]:
        """Return the attention mask of tokens at positions ``queries`` over ``keys``."""
        length = self._length
        query, key = queries[:, :, None], keys[:, None]
        if not self._causal_context:
            return key // length <= query // length
        first = torch.tensor([part.prompt for part in parts], device=self.device)[:, None, None]
        start = torch.tensor([part.start for part in parts], device=self.device)[:, None, None]
        same = (key - first).div(length, rounding_mode="floor") <= (query - first).div(
            length, rounding_mode="floor"
        )
        return torch.where(query < start, key <= query, same)


def _place(part: _BlockSpan, kept: int, longest: int, count: int) -> CanvasLocation:
    """Return the location of a canvas in a pass.

    Args:
        part: Computed part of the sequence.
        kept: Number of its cached tokens.
        longest: Maximum number of cached tokens of any row.
        count: Maximum number of computed tokens of any row.
    """
    token = torch.arange(part.prompt, part.end)
    keys = torch.where(token < kept, longest - kept + token, longest + count - part.end + token)
    first = max(part.start - part.prompt, 0)
    length = len(part.ids) - part.prompt
    return CanvasLocation(length, slice(first, first + part.unfinished), keys)
