"""Block diffusion: SDAR, TraDo, LLaDA2, Fast-dLLM v2, Nemotron-Labs-Diffusion.

A token sees its own block and all earlier ones.  What stands in finished blocks is
therefore never out of date: their keys and values are kept, and the predictions are those
of a pass over everything.  Each block that is finished costs one more pass to keep it, as
it does in the published code; these passes are counted as auxiliary calls.

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
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import EMPTY, KVEntry, cache_of, extract
from parallelbench.models.network import NetworkModel


class _Part(NamedTuple):
    """What of a sequence is computed for a row.

    Attributes:
        ids: The whole sequence: prompt and canvas.
        prompt: Length of the prompt.
        start: Where the first unfinished block begins; what stands before it is kept.
        end: Where the last block with a wanted position ends.
        wanted: The wanted positions, ascending.
    """

    ids: list[int]
    prompt: int
    start: int
    end: int
    wanted: list[int]

    @property
    def unfinished(self) -> int:
        """How many positions of the canvas are computed, the last before ``end``."""
        return self.end - max(self.start, self.prompt)


class BlockModel(NetworkModel):
    """A network that predicts block by block.

    Args:
        checkpoint: As loaded.
        block_length: Of the grid, in tokens.
        keeps: Whether finished blocks are kept; the predictions are the same.
    """

    stops = True
    capabilities = AttentionRecorder.NAMES

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
        """Return the unfinished part of the sequence, behind the kept one."""
        part = self._part(row)
        if not self._keeps:
            return ComputeCost(tokens=part.end, stored=0)
        return ComputeCost(tokens=part.end - part.start, stored=part.start)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        asked = [(index, part) for index, part in enumerate(map(self._part, rows)) if part.wanted]
        if not asked:
            return self.nothing()
        numbers, parts = zip(*asked, strict=True)
        kept = self._kept(parts) if self._keeps else [EMPTY] * len(parts)
        watch = self.watch([rows[n] for n in numbers], max(part.unfinished for part in parts))
        hidden, _ = self._pass(parts, kept, [part.end for part in parts], watch=watch)
        # The output before the computed part stands first: it describes that part's first
        # token where outputs are shifted.
        count, width = hidden.shape[1:]
        last = [hidden.new_zeros(width) if each.last is None else each.last for each in kept]
        hidden = torch.cat([torch.stack(last)[:, None], hidden], dim=1)
        lines = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=self.device)
        for index, part in enumerate(parts):
            described = torch.tensor(part.wanted, device=self.device) - self._shift
            column = described - part.end + hidden.shape[1]
            lines[index, torch.where(described < kept[index].length, 0, column)] = True
        watched = watch.rows if watch else []
        longest = max(each.length for each in kept)
        places = [_place(parts[index], kept[index].length, longest, count) for index in watched]
        extras = self.attended(watch, rows, [numbers[index] for index in watched], places)
        return Prediction(logits=self.network.lm_head(hidden[lines]), extras=extras)

    def _part(self, row: Row) -> _Part:
        canvas = row.canvas.tolist()
        first = len(row.prompt.ids)
        places = [first + place for place, asked in enumerate(row.wanted.tolist()) if asked]
        masked = [first + p for p, token in enumerate(canvas) if token == self.codec.mask_id]
        start = self._floor(min([*places[:1], *masked[:1]], default=first), first)
        end = self._floor(places[-1], first) + self._length if places else start
        ids = [*row.prompt.ids.tolist(), *canvas]
        return _Part(ids, first, start, min(end, len(ids)), places)

    def _floor(self, position: int, prompt: int) -> int:
        """Return where the block of ``position`` begins."""
        origin = prompt if self._causal_context else 0
        return position - (position - origin) % self._length

    def _kept(self, parts: Sequence[_Part]) -> list[KVEntry]:
        """Return keys and values of what stands before each part, computed where need be."""
        found: dict[tuple[int, ...], KVEntry] = {(): EMPTY}
        missing: dict[tuple[int, ...], tuple[_Part, KVEntry]] = {}
        for part in parts:
            key = tuple(part.ids[: part.start])
            if key in self._store:
                found[key] = self._store[key]
            elif key not in found:
                missing[key] = (part, self._nearest(part))
        for keys in self.fitting(missing):
            begun, before = zip(*(missing[key] for key in keys), strict=True)
            _, made = self._pass(begun, before, [part.start for part in begun], finished=True)
            for key, kept in zip(keys, made, strict=True):
                found[key] = self._store[key] = kept
        return [found[tuple(part.ids[: part.start])] for part in parts]

    def _nearest(self, part: _Part) -> KVEntry:
        """Return the longest prefix of finished blocks that is kept."""
        lowest = part.prompt if self._causal_context else 1
        for length in range(part.start - self._length, lowest - 1, -self._length):
            key = tuple(part.ids[:length])
            if key in self._store:
                return self._store[key]
        return EMPTY

    def _pass(
        self,
        parts: Sequence[_Part],
        kept: Sequence[KVEntry],
        ends: Sequence[int],
        *,
        finished: bool = False,
        watch: AttentionRecorder | None = None,
    ) -> tuple[Float[Tensor, "rows length width"], list[KVEntry]]:
        """Run the network over each sequence from what is kept to its end.

        Args:
            parts: One per row.
            kept: What stands before.
            ends: Where each computed part ends.
            finished: Whether what is computed is finished, and to be kept.
            watch: Looks on.

        Returns:
            The outputs, padded on the left; and what is kept now, if anything.
        """
        cut = [
            torch.tensor(part.ids[before.length : end], device=self.device)
            for part, before, end in zip(parts, kept, ends, strict=True)
        ]
        batch = self.padded(cut)
        starts = torch.tensor([each.length for each in kept], device=self.device)
        positions = batch.positions + starts[:, None]
        cache, present = cache_of(kept, self.network.config)
        present = present.to(self.device)
        seen = torch.cat([present, batch.real], dim=1)
        places = torch.cat([torch.zeros_like(present, dtype=torch.long), positions], dim=1)
        # Padding stands where its row begins, and sees what is seen from there: a row of
        # attention that sees nothing would be no number.
        allowed = self._allowed(parts, positions, places) & seen[:, None]
        output = self.run(
            watch,
            input_ids=batch.ids,
            attention_mask=self.mask(allowed),
            position_ids=positions,
            cache=cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        if not finished:
            return hidden, []
        # A copy of the last: a view would hold the outputs of the whole batch.
        made = [
            extract(cache, row, seen[row], last=hidden[row, -1].clone())
            for row in range(len(parts))
        ]
        return hidden, made

    def _allowed(
        self,
        parts: Sequence[_Part],
        queries: Int[Tensor, "rows queries"],
        keys: Int[Tensor, "rows keys"],
    ) -> Bool[Tensor, "rows queries keys"]:
        """Return which keys the tokens at ``queries`` may see, by their positions."""
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


def _place(part: _Part, kept: int, longest: int, count: int) -> CanvasLocation:
    """Return where a canvas stands in a pass.

    Args:
        part: What of it is computed.
        kept: How many of its leading tokens are not.
        longest: Most that is kept of any row.
        count: Most that is computed of any row.
    """
    token = torch.arange(part.prompt, part.end)
    keys = torch.where(token < kept, longest - kept + token, longest + count - part.end + token)
    first = max(part.start - part.prompt, 0)
    length = len(part.ids) - part.prompt
    return CanvasLocation(length, slice(first, first + part.unfinished), keys)
