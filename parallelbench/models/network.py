"""What every adapter of a loaded network shares: batches that fit, padding, provenance."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from parallelbench.errors import CheckpointError
from parallelbench.model import ComputeCost, Model, Prediction, Row
from parallelbench.models.attention import AttentionRecorder, CanvasLocation
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.keyvalue import KVStore
from parallelbench.prompt import Prompt

#: Share of the free memory that one batch may take.
_SHARE = 0.6
#: Share of that room which keys and values may take beside it, between batches.
_STORE_SHARE = 0.25
#: A processor gains nothing from larger batches, and loses when they outgrow its caches: a
#: small network predicts half as many rows in a second at six times as many tokens.
_PROCESSOR_BYTES = 2**30
_PROCESSOR_TOKENS = 2048
#: Copies of the logits that live at a time, in bytes per logit: as computed, in float32,
#: as probabilities, and what the statistics need between.
_BYTES_PER_LOGIT = 16


class Padded(NamedTuple):
    """Sequences of different lengths as one tensor, padded on the left.

    Attributes:
        ids: Token ids.
        real: True where a token stands, False where padding does.
        positions: Counted from the first token of each sequence.
    """

    ids: Int[Tensor, "rows length"]
    real: Bool[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]


class _Size(NamedTuple):
    """What decides how much memory a row takes: each in tokens.

    Attributes:
        tokens: Those that are computed.
        stored: Those whose keys and values are kept.
        canvas: Those of the canvas.
        watched: Those of which somebody asks what they attend to.
    """

    tokens: int
    stored: int
    canvas: int
    watched: int

    @classmethod
    def of(cls, load: ComputeCost, row: Row) -> _Size:
        canvas = row.canvas.numel()
        return cls(
            load.tokens, load.stored, canvas, canvas if row.extras & AttentionRecorder.NAMES else 0
        )

    def beside(self, other: _Size) -> _Size:
        """Return the size to which both are padded."""
        return _Size(*map(max, self, other))


_NO_SIZE = _Size(0, 0, 0, 0)


class NetworkModel(Model):
    """A loaded checkpoint.

    Args:
        checkpoint: As loaded.
        variant: What else decides its predictions, such as the kind of cache.
    """

    pads = True

    def __init__(self, checkpoint: Checkpoint, variant: str = "") -> None:
        self.checkpoint = checkpoint
        self.network: Any = checkpoint.network
        self.codec = checkpoint.codec
        self.device = checkpoint.device
        self.weights_digest = checkpoint.weights_digest
        self.context_length = checkpoint.context_length
        provenance = checkpoint.provenance
        self._provenance = {**provenance, "variant": variant or None}
        decisive = [
            self.weights_digest,
            dict(checkpoint.config),
            self.codec.digest,
            provenance["family"],
            provenance["dtype"],
            variant,
        ]
        self.digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
        self._bytes = _room(self.device)
        self._prompts: WeakKeyDictionary[Prompt, Int[Tensor, " prompt"]] = WeakKeyDictionary()

    def provenance(self) -> dict[str, Any]:
        """Return what was loaded, from where, and how it is computed."""
        return {
            **self._provenance,
            "blocks": self.blocks and self.blocks._asdict(),
            "stops": self.stops,
            "context_length": self.context_length,
            "batch_bytes": self._bytes,
            "digest": self.digest,
        }

    def batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return rows of similar length together, as many as memory has room for."""
        sizes = [_Size.of(self.compute_cost(row), row) for row in rows]
        batches: list[list[int]] = [[]]
        padded = _NO_SIZE
        for index in sorted(range(len(rows)), key=lambda index: sizes[index].tokens):
            padded = padded.beside(sizes[index])
            if batches[-1] and len(batches[-1]) >= self._fitting(padded):
                batches.append([])
                padded = sizes[index]
            batches[-1].append(index)
        return batches

    def rows_of(self, tokens: int) -> int:
        """Return how many rows of so many tokens go through the network together."""
        return max(1, min(self._bytes // (tokens * self._bytes_per_token), self._useful(tokens)))

    def fitting(self, prefixes: Iterable[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
        """Return which sequences of token ids go through the network together."""
        groups: list[list[tuple[int, ...]]] = []
        for prefix in sorted(prefixes, key=len):
            if not groups or len(groups[-1]) >= self.rows_of(len(prefix)):
                groups.append([])
            groups[-1].append(prefix)
        return groups

    def shrink(self, rows: Sequence[Row]) -> None:
        """Take less room than ``rows``, which did not fit, were thought to need."""
        padded = _NO_SIZE
        for row in rows:
            padded = padded.beside(_Size.of(self.compute_cost(row), row))
        self._bytes = min(self._bytes, len(rows) * self._bytes_of(padded) // 2)

    def store(self) -> KVStore:
        """Return an empty store of keys and values, with room beside that of a batch."""
        return KVStore(int(_STORE_SHARE * self._bytes))

    def watch(self, rows: Sequence[Row], queries: int) -> AttentionRecorder | None:
        """Return what looks at the rows that ask what they attend to, if there is any.

        Args:
            rows: Of the batch.
            queries: How many positions of each are looked at, counted from the last.
        """
        names = frozenset[str]().union(*(row.extras for row in rows)) & AttentionRecorder.NAMES
        if not names:
            return None
        watched = [index for index, row in enumerate(rows) if row.extras & names]
        return AttentionRecorder(self.network.config.num_hidden_layers, names, watched, queries)

    def attended(
        self,
        watch: AttentionRecorder | None,
        rows: Sequence[Row],
        watched: Sequence[int],
        places: Sequence[CanvasLocation],
    ) -> dict[str, list[Tensor]]:
        """Return what ``watch`` saw, with an entry for each of ``rows``.

        Args:
            watch: Looked on in a pass.
            rows: Of which something is to be told.
            watched: Which of them were watched.
            places: Where the canvas of each watched one stood in that pass.
        """
        told: dict[str, list[Tensor]] = {}
        for name, maps in (watch.maps(places) if watch else {}).items():
            # One in whose canvas nothing was computed attends to nothing.
            lengths = [len(row.canvas) if name in row.extras else 0 for row in rows]
            told[name] = [torch.zeros((length, length), device=self.device) for length in lengths]
            for index, seen in zip(watched, maps, strict=True):
                told[name][index] = seen
        return told

    def run(self, watch: AttentionRecorder | None, **inputs: Any) -> Any:
        """Return the output of one pass, looked at by ``watch`` if there is one."""
        if watch is None:
            return self.network.model(**inputs)
        return watch.over(self.network, **inputs)

    def nothing(self) -> Prediction:
        """Return what is said of rows that ask for nothing."""
        width = self.network.get_output_embeddings().out_features
        return Prediction(logits=torch.empty((0, width), device=self.device))

    def sequences(self, rows: Sequence[Row]) -> list[Int[Tensor, " _"]]:
        """Return prompt and canvas of each row as one sequence."""
        return [torch.cat([self._prompt_ids(row.prompt), row.canvas]) for row in rows]

    def padded(self, sequences: Sequence[Int[Tensor, " _"]]) -> Padded:
        """Return ``sequences`` as one tensor, padded on the left."""
        lengths = torch.tensor([len(each) for each in sequences], device=self.device)
        ids = torch.nn.utils.rnn.pad_sequence(
            list(sequences), batch_first=True, padding_value=self.codec.end_id, padding_side="left"
        )
        positions = torch.arange(ids.shape[1], device=self.device) - (
            ids.shape[1] - lengths[:, None]
        )
        # What stands at padding is masked, so any position will do.
        return Padded(ids, positions >= 0, positions.clamp(min=0))

    def mask(self, allowed: Bool[Tensor, "rows queries keys"]) -> Tensor:
        """Return which keys each query sees, in the form that the attention kernel takes."""
        if self.network.config._attn_implementation == "sdpa":  # noqa: SLF001  it has no other name
            return allowed[:, None]
        dtype = self.network.dtype
        zero = torch.zeros((), dtype=dtype, device=self.device)
        return torch.where(allowed, zero, torch.finfo(dtype).min)[:, None]

    def check_attention(self) -> None:
        """Try whether each token sees those that it should, with padding before them.

        A release of transformers that took masks otherwise would give numbers that look
        like any other.

        Raises:
            CheckpointError: It does not, or the network gives no numbers.
        """
        # Two sequences that differ in the last token; the first column is padding.
        ids = torch.tensor([[0, 0, 1, 2], [0, 0, 1, 3]], device=self.device)
        real = torch.tensor([[False, True, True, True]], device=self.device).expand(2, -1)
        earlier = real & (torch.arange(4, device=self.device) < 3)
        with torch.inference_mode():
            seen = [
                self._first_differs(ids, real.long()),
                self._first_differs(ids, self.mask(real[:, None].expand(-1, 4, -1))),
                not self._first_differs(ids, self.mask(earlier[:, None].expand(-1, 4, -1))),
            ]
        if not all(seen):
            raise CheckpointError(
                f"{type(self.network).__name__} of the installed transformers does not obey the "
                f"attention that family {self.checkpoint.family.name} needs; install the release "
                "that this package was tested with (see pyproject.toml)"
            )

    def _first_differs(self, ids: Int[Tensor, "rows length"], mask: Tensor) -> bool:
        positions = torch.arange(-1, ids.shape[1] - 1, device=self.device).clamp(min=0)
        hidden = self.network.model(
            input_ids=ids, attention_mask=mask, position_ids=positions[None], use_cache=False
        ).last_hidden_state
        # Not at the padding, whose numbers nobody reads.
        self.check_numbers(self.network.get_output_embeddings()(hidden[:, -1]), hidden[:, 1:])
        return not torch.equal(hidden[0, 1], hidden[1, 1])

    def check_numbers(self, *outputs: Tensor) -> None:
        """Refuse a network that gives no numbers, with the cause.

        Args:
            outputs: What it gave, logits and others, without a position that sees nothing.

        Raises:
            CheckpointError: One of them holds NaN or infinity.
        """
        if all(bool(output.isfinite().all()) for output in outputs):
            return
        network = type(self.network).__name__
        dtype = self._provenance["dtype"]
        # The weights are only read when something is wrong: that takes as long as a pass.
        for name, weight in self.network.named_parameters():
            if bool(weight.isnan().any()):
                raise CheckpointError(
                    f"the weights give no numbers: {name}, as {network} calls it, holds NaN; "
                    "the file is damaged, or its training diverged"
                )
        name = next(
            (name for name, weight in self.network.named_parameters() if weight.isinf().any()), None
        )
        where = f"{name} holds infinity" if name else "no weight holds NaN or infinity"
        if dtype == "float16":
            raise CheckpointError(
                f"{network} overflows in float16 ({where}); try dtype=bfloat16 or dtype=float32"
            )
        raise CheckpointError(f"{network} gives no numbers in {dtype}: {where}")

    def _prompt_ids(self, prompt: Prompt) -> Int[Tensor, " prompt"]:
        if prompt not in self._prompts:
            self._prompts[prompt] = prompt.ids.to(self.device)
        return self._prompts[prompt]

    def _fitting(self, size: _Size) -> int:
        """Return how many rows of that size go through the network together."""
        return min(self._bytes // self._bytes_of(size), self._useful(size.tokens))

    def _useful(self, tokens: int) -> int:
        """Return how many rows of so many tokens are worth sending together."""
        if self.device.type != "cpu":
            return sys.maxsize
        return max(1, _PROCESSOR_TOKENS // max(1, tokens))

    def _bytes_of(self, size: _Size) -> int:
        """Return what it takes to predict a row, roughly and rather too much."""
        logits = size.canvas * int(self.network.config.get_text_config().vocab_size)
        kept = size.stored * self._bytes_per_key
        seen = size.watched * (size.tokens + size.stored) * self._bytes_per_weight
        return size.tokens * self._bytes_per_token + kept + logits * _BYTES_PER_LOGIT + seen

    @cached_property
    def _bytes_per_token(self) -> int:
        """What the activations of one token take, with its keys and values."""
        config = self.network.config.get_text_config()
        dense = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        expert = getattr(config, "moe_intermediate_size", None) or 0
        inner = max(dense, expert * (getattr(config, "num_experts_per_tok", None) or 8))
        activations = (12 * config.hidden_size + 3 * inner) * self.network.dtype.itemsize
        return int(activations) + self._bytes_per_key

    @cached_property
    def _bytes_per_weight(self) -> int:
        """What it takes to know how much a token attends to another."""
        heads: int = self.network.config.get_text_config().num_attention_heads
        # Scores and weights of one layer in float32, and the sums of all layers.
        return 4 * (3 * heads + 2 * len(AttentionRecorder.NAMES))

    @cached_property
    def _bytes_per_key(self) -> int:
        """What the keys and values of one token take, in all layers."""
        # Read off the matrices: where layers differ, the configuration does not say it simply.
        projections = (
            module
            for name, module in self.network.named_modules()
            if name.endswith((".k_proj", ".v_proj")) and isinstance(module, nn.Linear)
        )
        widths = sum(module.out_features for module in projections)
        return int(widths * self.network.dtype.itemsize)


def _room(device: torch.device) -> int:
    """Return how many bytes one batch may take on ``device``."""
    if device.type == "cpu":
        pages = os.sysconf("SC_AVPHYS_PAGES")
        return min(int(_SHARE * pages * os.sysconf("SC_PAGE_SIZE")), _PROCESSOR_BYTES)
    if device.type == "mps":
        return int(
            _SHARE * (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
        )
    free: int = torch.get_device_module(device).mem_get_info(device)[0]
    return int(_SHARE * free)
