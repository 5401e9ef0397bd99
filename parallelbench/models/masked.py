"""Full-canvas masked diffusion: LLaDA, LLaDA-MoE, Dream, DiffuCoder and similar models.

Every position attends to every other, so one pass predicts all open positions.  Cached keys and
values of a canvas are outdated as soon as a token is written; the caches of Fast-dLLM use them
nevertheless, within a block, and are therefore separate settings: they change the predictions.

Source: Nie et al., "Large Language Diffusion Models" (arXiv:2502.09992); Ye et al., "Dream
7B" (arXiv:2508.15487); for the caches Wu et al., "Fast-dLLM" (arXiv:2505.22618), section 3.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.model import ComputeCost, Prediction, Row
from parallelbench.models.attention import AttentionRecorder, CanvasLocation
from parallelbench.models.capabilities import MASKED, masked_capabilities
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import EMPTY, KVEntry, cache_of, extract
from parallelbench.models.network import NetworkModel, Padded

Cache = Literal["none", "prefix", "dual"]


class MaskedModel(NetworkModel):
    """A network that predicts every open position of the canvas at once.

    Args:
        checkpoint: The loaded checkpoint.
        cache: ``none`` computes every position in every call.  ``prefix`` reuses the positions
            before the active window, ``dual`` all positions outside of it, as computed when the
            window became active.
    """

    capabilities = MASKED

    def __init__(self, checkpoint: Checkpoint, cache: Cache = "none") -> None:
        super().__init__(checkpoint, variant=f"cache={cache}")
        self._shift = checkpoint.family.shift
        self._cache = cache
        self.uses_window_snapshot = cache != "none"
        self.capabilities = masked_capabilities(checkpoint.family, cache, type(self).capabilities)
        self._store = self.store()
        self.check_attention()

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the cost of the whole sequence, or of the part outside the cache."""
        span = self._span(row)
        whole = row.prompt.ids.numel() + row.canvas.numel()
        return ComputeCost(tokens=whole if span is None else span[1] - span[0], stored=0)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        spans = [self._span(row) for row in rows]
        whole = [index for index, span in enumerate(spans) if span is None]
        if len(whole) == len(rows):
            recorder = self.recorder(rows, max(len(row.canvas) for row in rows))
            logits = self._head(self._whole(rows, recorder)[0])
            return Prediction(logits, extras=self._attended(recorder, rows))
        parts = [index for index, span in enumerate(spans) if span is not None]
        computed = [(parts, self._parts([rows[index] for index in parts]))]
        if whole:
            computed.append((whole, self._whole([rows[index] for index in whole])[0]))
        hidden: dict[int, Tensor] = {}
        for indices, lines in computed:
            counts = [int(rows[index].wanted.sum()) for index in indices]
            hidden.update(zip(indices, lines.split(counts), strict=True))
        return Prediction(logits=self._head(torch.cat([hidden[i] for i in range(len(rows))])))

    def _whole(
        self, rows: Sequence[Row], recorder: AttentionRecorder | None = None
    ) -> tuple[Float[Tensor, "wanted width"], dict[Hashable, KVEntry]]:
        """Compute all positions.

        Args:
            rows: Rows to compute.
            recorder: Recorder of attention maps.

        Returns:
            The outputs that predict the wanted positions, and the new cache entries by key.
        """
        batch = self.padded(self.sequences(rows))
        cache, _ = cache_of([EMPTY] * len(rows), self.network.config)
        output = self.run(
            recorder,
            input_ids=batch.ids,
            attention_mask=self._mask(rows, batch),
            position_ids=self._positions(rows, batch),
            cache=cache if self.uses_window_snapshot else None,
            use_cache=self.uses_window_snapshot,
        )
        made: dict[Hashable, KVEntry] = {}
        for index, row in enumerate(rows):
            if row.window_snapshot is not None and torch.equal(row.canvas, row.window_snapshot):
                made[_key(row)] = extract(cache, index, self._outside(row, batch.real[index]))
                self._store[_key(row)] = made[_key(row)]
        hidden: Tensor = output.last_hidden_state
        return hidden[self._predicting(rows, hidden.shape[1])], made

    def _attended(
        self, recorder: AttentionRecorder | None, rows: Sequence[Row]
    ) -> dict[str, list[Tensor]]:
        recorded = recorder.rows if recorder else []
        lengths = [len(rows[index].canvas) for index in recorded]
        # Every row ends with its canvas.
        places = [
            CanvasLocation(n, slice(0, n), torch.arange(-n, 0, device=self.device)) for n in lengths
        ]
        return self.attended(recorder, rows, recorded, places)

    def _parts(self, rows: Sequence[Row]) -> Float[Tensor, "wanted width"]:
        """Return the outputs that predict the wanted positions, computing each row's span only."""
        cut = [slice(*span) for span in map(self._span, rows) if span is not None]
        sequences = self.sequences(rows)
        batch = self.padded([ids[part] for ids, part in zip(sequences, cut, strict=True)])
        starts = torch.tensor([part.start for part in cut], device=self.device)
        cache, present = cache_of(self._entries(rows), self.network.config)
        attended = torch.cat([present.to(self.device), batch.real], dim=1)
        output = self.network.model(
            input_ids=batch.ids,
            attention_mask=self.mask(attended[:, None].expand(-1, batch.ids.shape[1], -1)),
            position_ids=batch.positions + starts[:, None],
            cache=cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        wanted = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=self.device)
        for index, (row, part) in enumerate(zip(rows, cut, strict=True)):
            outputs = row.wanted.nonzero().flatten() + len(row.prompt.ids) - self._shift
            wanted[index, outputs - part.stop + hidden.shape[1]] = True
        return hidden[wanted]

    def _entries(self, rows: Sequence[Row]) -> list[KVEntry]:
        """Return the cache entry of each row's window, computed where it is missing."""
        entries = {_key(row): self._store[_key(row)] for row in rows if _key(row) in self._store}
        # Missing entries were evicted, or the decode was started by another process.
        missing = {_key(row): _with_snapshot(row) for row in rows if _key(row) not in entries}
        snapshots = list(missing.values())
        count = self.rows_of(max((self.compute_cost(row).tokens for row in snapshots), default=1))
        for low in range(0, len(snapshots), count):
            entries |= self._whole(snapshots[low : low + count])[1]
        return [entries[_key(row)] for row in rows]

    def _head(self, hidden: Float[Tensor, "wanted width"]) -> Float[Tensor, "wanted vocabulary"]:
        logits: Tensor = self.network.lm_head(hidden)
        return logits

    def _span(self, row: Row) -> tuple[int, int] | None:
        """Return start and end of the computed part of a sequence; None for all of it."""
        if not self.uses_window_snapshot or row.window is None or row.window_snapshot is None:
            return None
        low, high = row.window
        end = len(row.canvas) if self._cache == "prefix" else high
        outside = row.wanted.clone()
        outside[low:end] = False
        if bool(outside.any()) or torch.equal(row.canvas, row.window_snapshot):
            return None
        prompt = len(row.prompt.ids)
        # The output that predicts the window's first token may be one position earlier.
        return prompt + low - self._shift, prompt + end

    def _outside(self, row: Row, real: Bool[Tensor, " length"]) -> Bool[Tensor, " length"]:
        """Return a mask of the positions of a padded sequence that are outside of its span."""
        low, high = row.window or (0, len(row.canvas))
        end = len(row.canvas) if self._cache == "prefix" else high
        kept = real.clone()
        first = len(real) - len(row.canvas)
        kept[first + low - self._shift : first + end] = False
        return kept

    def _predicting(self, rows: Sequence[Row], length: int) -> Bool[Tensor, "rows length"]:
        """Return a mask of the outputs that predict a wanted position."""
        wanted = torch.zeros((len(rows), length), dtype=torch.bool, device=self.device)
        for index, row in enumerate(rows):
            first = length - len(row.canvas) - self._shift
            wanted[index, first : first + len(row.canvas)] = row.wanted
        return wanted

    def _positions(self, rows: Sequence[Row], batch: Padded) -> Tensor:
        positions = batch.positions
        for index, row in enumerate(rows):
            if row.positions is not None:
                positions[index, -len(row.canvas) :] = row.positions + len(row.prompt.ids)
        return positions

    def _mask(self, rows: Sequence[Row], batch: Padded) -> Tensor | None:
        """Return the attention mask; None if every position attends to every other."""
        if any(row.attention is not None or row.unseen is not None for row in rows):
            length = batch.ids.shape[1]
            allowed = batch.real[:, None].expand(-1, length, -1).clone()
            for index, row in enumerate(rows):
                canvas = len(row.canvas)
                if row.attention is not None:
                    allowed[index, -canvas:, -canvas:] &= row.attention
                if row.unseen is not None:
                    allowed[index, :-canvas, -canvas:] &= ~row.unseen
            return self.mask(allowed)
        return None if bool(batch.real.all()) else batch.real.long()


def _key(row: Row) -> Hashable:
    snapshot = () if row.window_snapshot is None else tuple(row.window_snapshot.tolist())
    return tuple(row.prompt.ids.tolist()), snapshot, row.window


def _with_snapshot(row: Row) -> Row:
    return row if row.window_snapshot is None else replace(row, canvas=row.window_snapshot)
