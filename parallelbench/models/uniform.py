"""Uniform diffusion: DiffusionGemma, whose canvas starts as random tokens and has no mask.

Decoders use a canvas of masks.  The network has no mask: every open position holds a random
token of its vocabulary, as in its own sampler, which redraws all tokens that it did not accept in
every step.  These tokens are a hash of the sample and its canvas, so that a row has the same
prediction in any batch and run, and any change of the canvas redraws the noise.  Written tokens
are passed unchanged; remasked positions become noise again.

For mask decoders two things differ from the published sampler.  The sampler conditions the
network on the predictions of the previous step (self-conditioning); rows of mask decoders have no
earlier predictions, so every call has the form of a first step, with a signal of zeros.  And the
sampler accepts tokens afresh in every step, whereas a mask decoder keeps a token until it remasks
or replaces it.  The decoder ``renoise`` is the published sampler: its rows contain its own noise
and the earlier predictions.

A causal encoder reads the prompt once, and each finished block of a canvas that is longer
than the network's own; that pass is counted as an auxiliary call.  The canvas attends to all of
itself, and to the encoded tokens within each layer's attention span.

Source: the public description of DiffusionGemma and its class in transformers; for noise of
random tokens Austin et al., "Structured Denoising Diffusion Models in Discrete State-Spaces"
(arXiv:2107.03006); for self-conditioning Chen et al., "Analog Bits" (arXiv:2208.04202).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache

from parallelbench.errors import CheckpointError
from parallelbench.model import Blocks, ComputeCost, Prediction, Row
from parallelbench.models.capabilities import UNIFORM
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import KVEntry
from parallelbench.models.network import NetworkModel, Padded

#: Attention span of a layer with full attention, in tokens.
_EVERYTHING = 2**40


class _EncodedCanvas(NamedTuple):
    """The parts of a row's sequence: the encoded context and the denoised canvas.

    Attributes:
        context: Token ids of the prompt and the finished blocks, which are encoded.
        shown: Canvas after them, with noise at open positions.
        wanted: True for the wanted tokens of ``shown``.
    """

    context: tuple[int, ...]
    shown: Int[Tensor, " length"]
    wanted: Bool[Tensor, " length"]


class _Keys(NamedTuple):
    """The positions of some rows' keys, in all layers of one kind.

    Attributes:
        places: Positions of the keys, counted from the first token of each sequence.
        real: True for keys, False for padding.
    """

    places: Int[Tensor, "rows keys"]
    real: Bool[Tensor, "rows keys"]


class UniformModel(NetworkModel):
    """A network that denoises a canvas of random tokens.

    Args:
        checkpoint: The loaded checkpoint.

    Raises:
        CheckpointError: Encoder is not causal, or it returns NaN or infinity.
    """

    capabilities = UNIFORM

    def __init__(self, checkpoint: Checkpoint) -> None:
        whole: Any = checkpoint.network.config
        self._length: int = whole.canvas_length
        super().__init__(checkpoint, variant=f"canvas_length={self._length}")
        config = whole.get_text_config()
        if config.use_bidirectional_attention == "all":
            raise CheckpointError(
                "use_bidirectional_attention='all' in config.json needs another encoder than the "
                "causal one of family diffusion-gemma; covered: None, 'vision'"
            )
        # A canvas no longer than this has one block: itself.
        self.blocks = Blocks(self._length, from_prompt=False)
        self._vocabulary: int = config.vocab_size
        self._kinds: list[str] = config.layer_types
        self._reach = {
            "full_attention": _EVERYTHING,
            "sliding_attention": config.sliding_window - 1,
        }
        self._nothing = self._empty()
        self._store = self.store()
        self._check_pass()
        self._store = self.store()

    def provenance(self) -> dict[str, Any]:
        """Return the origin of the network and the form of its calls."""
        source = "by decoders that bring it"
        return {**super().provenance(), "self_conditioning": source, "canvas_length": self._length}

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the cost of the canvas, after the encoded prompt and finished blocks."""
        start, end = self._span(row)
        return ComputeCost(tokens=end - start, stored=row.prompt.ids.numel() + start)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the logits of the wanted positions of ``rows``."""
        parts = [self._part(row) for row in rows]
        encoded = self._encoded([part.context for part in parts])
        hidden = self._denoised(parts, encoded, [row.conditioning for row in rows])
        lines = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=self.device)
        for index, part in enumerate(parts):
            lines[index, hidden.shape[1] - len(part.wanted) :] = part.wanted
        # The end of the network's own forward, which cannot skip positions.
        logits = self.network.lm_head(hidden[lines]).float()
        cap = self.network.final_logit_softcapping
        return Prediction(logits=torch.tanh(logits / cap) * cap)

    @torch.inference_mode()
    def _check_pass(self) -> None:
        """Check that a short context and canvas give finite outputs."""
        shown = torch.arange(2, device=self.device)
        part = _EncodedCanvas((0, 1), shown, torch.ones_like(shown, dtype=torch.bool))
        hidden = self._denoised([part], self._encoded([part.context]), [None])
        self.check_numbers(self.network.lm_head(hidden[:, -1]), hidden)

    def _span(self, row: Row) -> tuple[int, int]:
        """Return start and end of the denoised canvas, from the first unfinished block on."""
        size = len(row.canvas)
        if size <= self._length:
            return 0, size
        wanted = row.wanted.nonzero().flatten().tolist()
        masked = (row.canvas == self.codec.mask_id).nonzero().flatten().tolist()
        first = min([*wanted[:1], *masked[:1]], default=0)
        last = wanted[-1] if wanted else first
        start, end = (place - place % self._length for place in (first, last + self._length))
        return start, min(end, size)

    def _part(self, row: Row) -> _EncodedCanvas:
        start, end = self._span(row)
        canvas = row.canvas.cpu()
        noise = noise_tokens(row.prompt.sample.id, canvas, self._vocabulary)
        shown = torch.where(canvas == self.codec.mask_id, noise, canvas)[start:end]
        context = (*row.prompt.ids.tolist(), *canvas[:start].tolist())
        return _EncodedCanvas(context, shown.to(self.device), row.wanted[start:end].to(self.device))

    def _denoised(
        self,
        parts: Sequence[_EncodedCanvas],
        kept: Sequence[KVEntry],
        conditioning: Sequence[Float[Tensor, "_ known"] | None],
    ) -> Float[Tensor, "rows length width"]:
        """Return the outputs at the shown tokens, padded on the left."""
        batch = self.padded([part.shown for part in parts])
        starts = self._lengths([part.context for part in parts])
        positions = batch.positions + starts[:, None]
        cache, held = self._cache(kept, starts)
        masks = {}
        for kind, keys in _joined(held, positions, batch).items():
            masks[kind] = self.mask(keys.real[:, None].expand(-1, positions.shape[1], -1))
        output = self.network.model(
            cache=cache,
            decoder_input_ids=batch.ids,
            decoder_attention_mask=masks,
            decoder_position_ids=positions,
            **self._conditions(parts, conditioning, positions.shape[1]),
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _conditions(
        self,
        parts: Sequence[_EncodedCanvas],
        conditioning: Sequence[Float[Tensor, "_ known"] | None],
        length: int,
    ) -> dict[str, Tensor]:
        """Return the earlier predictions as the inputs of the network's class."""
        conditioned = [each is not None for each in conditioning]
        if not any(conditioned):
            return {}
        # The network applies a softmax to its input.  Padding is arbitrary.
        logs = torch.zeros((len(parts), length, self._vocabulary), device=self.device)
        for line, part, given in zip(logs, parts, conditioning, strict=True):
            if given is None:
                continue
            own = torch.full((len(part.shown), self._vocabulary), -torch.inf, device=self.device)
            # Tokens that are not wanted have probability 1.
            own.scatter_(1, part.shown[:, None], 0.0)
            own[part.wanted] = -torch.inf
            known = given.shape[1]
            own[part.wanted, :known] = given.log()
            line[length - len(own) :] = own
        return {
            "self_conditioning_logits": logs,
            "self_conditioning_mask": torch.tensor(conditioned, device=self.device),
        }

    def _encoded(self, contexts: Sequence[tuple[int, ...]]) -> list[KVEntry]:
        """Return the cache entry of each context, computed where it is missing."""
        entries = {context: self._store[context] for context in contexts if context in self._store}
        missing = [context for context in dict.fromkeys(contexts) if context not in entries]
        for group in self.fitting(missing):
            for context, kept in zip(group, self._encode(group), strict=True):
                entries[context] = self._store[context] = kept
        return [entries[context] for context in contexts]

    def _encode(self, contexts: Sequence[tuple[int, ...]]) -> list[KVEntry]:
        """Run the encoder over each context, from the end of its cached part."""
        begun = [self._begun(context) for context in contexts]
        rest = [context[len(known) :] for context, known in zip(contexts, begun, strict=True)]
        batch = self.padded([torch.tensor(ids, device=self.device) for ids in rest])
        starts = self._lengths(begun)
        positions = batch.positions + starts[:, None]
        kept = [self._store[known] if known else self._nothing for known in begun]
        cache, held = self._cache(kept, starts)
        seen = _joined(held, positions, batch)
        masks = {}
        for kind, keys in seen.items():
            back = positions[:, :, None] - keys.places[:, None]
            # Padding has the position of the first token, and so attends to that one at least.
            near = (back >= 0) & (back <= self._reach[kind])
            masks[kind] = self.mask(near & keys.real[:, None])
        self.network.model.encoder(
            input_ids=batch.ids,
            attention_mask=masks,
            position_ids=positions,
            cache=cache,
        )
        return [self._keep(cache, row, seen) for row in range(len(contexts))]

    def _begun(self, context: tuple[int, ...]) -> tuple[int, ...]:
        """Return the longest cached prefix of a context, by whole blocks from its end."""
        for end in range(len(context) - self._length, 0, -self._length):
            if context[:end] in self._store:
                return context[:end]
        return ()

    def _cache(
        self, kept: Sequence[KVEntry], lengths: Int[Tensor, " rows"]
    ) -> tuple[Any, dict[str, _Keys]]:
        """Return the entries as one cache, padded on the left, and the positions of its keys.

        Args:
            kept: Cache entry of each row.
            lengths: Number of encoded tokens of each row; sliding layers cache the last ones.
        """
        held = {}
        for kind, reach in self._reach.items():
            counts = lengths.clamp(max=reach)
            column = torch.arange(int(counts.max()), device=self.device) - int(counts.max())
            held[kind] = _Keys(lengths[:, None] + column, column >= -counts[:, None])
        # Without a configuration a cache stores everything, in layers of either kind.
        cache = DynamicCache()
        for layer, kind in enumerate(self._kinds):
            width = held[kind].real.shape[1]
            keys = _stacked([each.keys[layer] for each in kept], width)
            cache.update(keys, _stacked([each.values[layer] for each in kept], width), layer)
        return cache, held

    def _keep(self, cache: Any, row: int, seen: Mapping[str, _Keys]) -> KVEntry:
        """Return the entry of a row that later passes attend to: the end, for sliding layers."""
        columns = {}
        for kind, keys in seen.items():
            real = keys.real[row].nonzero().flatten()
            columns[kind] = real[max(0, len(real) - self._reach[kind]) :]
        layers = list(zip(cache.layers, self._kinds, strict=True))
        return KVEntry(
            keys=tuple(layer.keys[row][:, columns[kind]] for layer, kind in layers),
            values=tuple(layer.values[row][:, columns[kind]] for layer, kind in layers),
        )

    def _empty(self) -> KVEntry:
        """Return the cache entry of an empty sequence."""
        attentions = [layer.self_attn for layer in self.network.model.decoder.layers]
        shapes = [(a.k_proj.out_features // a.head_dim, 0, a.head_dim) for a in attentions]
        empty = tuple(
            torch.zeros(shape, dtype=self.network.dtype, device=self.device) for shape in shapes
        )
        return KVEntry(keys=empty, values=empty)

    def _lengths(self, sequences: Sequence[tuple[int, ...]]) -> Int[Tensor, " rows"]:
        return torch.tensor([len(each) for each in sequences], device=self.device)


def noise_tokens(
    sample: str, canvas: Int[Tensor, " length"], vocabulary: int
) -> Int[Tensor, " length"]:
    """Return a random token for every position; it depends only on sample and canvas.

    Args:
        sample: Id of the sample.
        canvas: Token ids, with the mask id at open positions.
        vocabulary: Size of the vocabulary; all ids below it are equally likely.

    Source:
        Philox, a counter-based generator: Salmon et al. (2011), "Parallel random numbers:
        as easy as 1, 2, 3".
    """
    content = f"{sample} {canvas.tolist()}".encode()
    key = int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "little")
    # Its raw output is the same in every release of numpy, and the remainder of 64 bits is
    # uniform up to one part in 10^13.
    numbers = np.random.Philox(key=key).random_raw(len(canvas)) % np.uint64(vocabulary)
    return torch.from_numpy(numbers.astype(np.int64))


def _joined(
    held: Mapping[str, _Keys], positions: Int[Tensor, "rows length"], batch: Padded
) -> dict[str, _Keys]:
    """Return all keys of a pass: the cached ones, then those of its own tokens."""
    return {
        kind: _Keys(
            torch.cat([keys.places, positions], dim=1),
            torch.cat([keys.real, batch.real], dim=1),
        )
        for kind, keys in held.items()
    }


def _stacked(
    tensors: Sequence[Float[Tensor, "heads _ width"]], length: int
) -> Float[Tensor, "rows heads {length} width"]:
    """Stack ``tensors``, each padded on the left to ``length`` positions."""
    pad = torch.nn.functional.pad
    return torch.stack([pad(each, (0, 0, length - each.shape[1], 0)) for each in tensors])
