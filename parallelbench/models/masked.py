"""Full-canvas masked diffusion: LLaDA, LLaDA-MoE, Dream, DiffuCoder and their like.

Every position sees every other, so one pass predicts all open positions.  Whatever was
computed for a canvas is out of date as soon as a token is written; the caches of Fast-dLLM
use it all the same, within a block, and are therefore settings of their own: they predict
otherwise than the model does.

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
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.families import Family
from parallelbench.models.keyvalue import EMPTY, KVEntry, cache_of, extract
from parallelbench.models.network import NetworkModel, Padded

Cache = Literal["none", "prefix", "dual"]


class MaskedModel(NetworkModel):
    """A network that predicts every open position of the canvas at once.

    Args:
        checkpoint: As loaded.
        cache: ``none`` computes every position anew.  ``prefix`` takes what stands before
            the active window, ``dual`` all that stands outside of it, as it was when the
            window became active.
    """

    capabilities = (
        frozenset({"positions", "attention_mask", "shorter_rows"}) | AttentionRecorder.NAMES
    )

    def __init__(self, checkpoint: Checkpoint, cache: Cache = "none") -> None:
        super().__init__(checkpoint, variant=f"cache={cache}")
        self._shift = checkpoint.family.shift
        self._cache = cache
        self.uses_window_snapshot = cache != "none"
        self.capabilities = self.given_by(checkpoint.family, cache)
        self._store = self.store()
        self.check_attention()

    @classmethod
    def given_by(cls, family: Family, cache: Cache) -> frozenset[str]:
        """Return what a network of ``family`` gives beside logits, with such a cache."""
        if cache != "none":
            # What an approximate cache holds was computed under the model's own attention.
            return frozenset()
        return cls.capabilities if family.shift else cls.capabilities | {"unshifted"}

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the whole sequence, or the part of it that the cache leaves to compute."""
        span = self._span(row)
        whole = row.prompt.ids.numel() + row.canvas.numel()
        return ComputeCost(tokens=whole if span is None else span[1] - span[0], stored=0)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        spans = [self._span(row) for row in rows]
        whole = [index for index, span in enumerate(spans) if span is None]
        if len(whole) == len(rows):
            watch = self.watch(rows, max(len(row.canvas) for row in rows))
            logits = self._head(self._whole(rows, watch)[0])
            return Prediction(logits, extras=self._attended(watch, rows))
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
        self, rows: Sequence[Row], watch: AttentionRecorder | None = None
    ) -> tuple[Float[Tensor, "wanted width"], dict[Hashable, KVEntry]]:
        """Compute all positions.

        Args:
            rows: To compute.
            watch: Looks on.

        Returns:
            The outputs that describe the wanted ones; and what is kept now, by key.
        """
        batch = self.padded(self.sequences(rows))
        cache, _ = cache_of([EMPTY] * len(rows), self.network.config)
        output = self.run(
            watch,
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
        return hidden[self._describing(rows, hidden.shape[1])], made

    def _attended(
        self, watch: AttentionRecorder | None, rows: Sequence[Row]
    ) -> dict[str, list[Tensor]]:
        watched = watch.rows if watch else []
        lengths = [len(rows[index].canvas) for index in watched]
        # Every row ends with its canvas.
        places = [
            CanvasLocation(n, slice(0, n), torch.arange(-n, 0, device=self.device)) for n in lengths
        ]
        return self.attended(watch, rows, watched, places)

    def _parts(self, rows: Sequence[Row]) -> Float[Tensor, "wanted width"]:
        """Return the same, with only each row's span computed."""
        cut = [slice(*span) for span in map(self._span, rows) if span is not None]
        sequences = self.sequences(rows)
        batch = self.padded([ids[part] for ids, part in zip(sequences, cut, strict=True)])
        starts = torch.tensor([part.start for part in cut], device=self.device)
        cache, present = cache_of(self._kept(rows), self.network.config)
        seen = torch.cat([present.to(self.device), batch.real], dim=1)
        output = self.network.model(
            input_ids=batch.ids,
            attention_mask=self.mask(seen[:, None].expand(-1, batch.ids.shape[1], -1)),
            position_ids=batch.positions + starts[:, None],
            cache=cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        wanted = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=self.device)
        for index, (row, part) in enumerate(zip(rows, cut, strict=True)):
            described = row.wanted.nonzero().flatten() + len(row.prompt.ids) - self._shift
            wanted[index, described - part.stop + hidden.shape[1]] = True
        return hidden[wanted]

    def _kept(self, rows: Sequence[Row]) -> list[KVEntry]:
        """Return what was computed when each row's window became active."""
        found = {_key(row): self._store[_key(row)] for row in rows if _key(row) in self._store}
        # The others had to make room, or were begun by another process.
        missing = {_key(row): _as_entered(row) for row in rows if _key(row) not in found}
        begun = list(missing.values())
        room = self.rows_of(max((self.compute_cost(row).tokens for row in begun), default=1))
        for low in range(0, len(begun), room):
            found |= self._whole(begun[low : low + room])[1]
        return [found[_key(row)] for row in rows]

    def _head(self, hidden: Float[Tensor, "wanted width"]) -> Float[Tensor, "wanted vocabulary"]:
        logits: Tensor = self.network.lm_head(hidden)
        return logits

    def _span(self, row: Row) -> tuple[int, int] | None:
        """Return which part of a sequence is computed; None for all of it."""
        if not self.uses_window_snapshot or row.window is None or row.window_snapshot is None:
            return None
        low, high = row.window
        end = len(row.canvas) if self._cache == "prefix" else high
        outside = row.wanted.clone()
        outside[low:end] = False
        if bool(outside.any()) or torch.equal(row.canvas, row.window_snapshot):
            return None
        prompt = len(row.prompt.ids)
        # The output that describes the window's first token may stand before it.
        return prompt + low - self._shift, prompt + end

    def _outside(self, row: Row, real: Bool[Tensor, " length"]) -> Bool[Tensor, " length"]:
        """Return the positions of a padded sequence that a later span leaves out."""
        low, high = row.window or (0, len(row.canvas))
        end = len(row.canvas) if self._cache == "prefix" else high
        kept = real.clone()
        first = len(real) - len(row.canvas)
        kept[first + low - self._shift : first + end] = False
        return kept

    def _describing(self, rows: Sequence[Row], length: int) -> Bool[Tensor, "rows length"]:
        """Return which outputs describe a wanted position."""
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
        """Return who sees whom; None where everybody sees everybody."""
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
    entered = () if row.window_snapshot is None else tuple(row.window_snapshot.tolist())
    return tuple(row.prompt.ids.tolist()), entered, row.window


def _as_entered(row: Row) -> Row:
    return row if row.window_snapshot is None else replace(row, canvas=row.window_snapshot)
