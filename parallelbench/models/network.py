"""Base class of all loaded networks: batches that fit into memory, padding, provenance."""

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

#: Share of the free memory for one batch.
_SHARE = 0.6
#: Share of that amount for cached keys and values, in addition to the batch.
_STORE_SHARE = 0.25
#: A CPU gains nothing from larger batches, and is slower when they exceed its caches: a small
#: network predicts half as many rows per second with six times as many tokens.
_PROCESSOR_BYTES = 2**30
_PROCESSOR_TOKENS = 2048
#: Bytes per logit of all simultaneous copies: as computed, in float32, as probabilities, and
#: intermediate results of the statistics.
_BYTES_PER_LOGIT = 16


class Padded(NamedTuple):
    """Sequences of different lengths as one tensor, padded on the left.

    Attributes:
        ids: Token ids.
        real: True for tokens, False for padding.
        positions: Position ids, counted from the first token of each sequence.
    """

    ids: Int[Tensor, "rows length"]
    real: Bool[Tensor, "rows length"]
    positions: Int[Tensor, "rows length"]


class _Size(NamedTuple):
    """The numbers of tokens that determine the memory of a row.

    Attributes:
        tokens: Number of computed tokens.
        stored: Number of tokens with cached keys and values.
        canvas: Number of tokens of the canvas.
        recorded: Number of tokens whose attention is recorded.
    """

    tokens: int
    stored: int
    canvas: int
    recorded: int

    @classmethod
    def of(cls, cost: ComputeCost, row: Row) -> _Size:
        canvas = row.canvas.numel()
        return cls(
            cost.tokens, cost.stored, canvas, canvas if row.extras & AttentionRecorder.NAMES else 0
        )

    def padded_with(self, other: _Size) -> _Size:
        """Return the size to which both are padded in one batch."""
        return _Size(*map(max, self, other))


_NO_SIZE = _Size(0, 0, 0, 0)


class NetworkModel(Model):
    """A model whose network was loaded from a checkpoint.

    Args:
        checkpoint: The loaded checkpoint.
        variant: Further options that affect its predictions, such as the kind of cache.
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
        self._bytes = _batch_bytes(self.device)
        self._prompts: WeakKeyDictionary[Prompt, Int[Tensor, " prompt"]] = WeakKeyDictionary()

    def provenance(self) -> dict[str, Any]:
        """Return the origin of the network and the form of its computation."""
        return {
            **self._provenance,
            "blocks": self.blocks and self.blocks._asdict(),
            "stops": self.stops,
            "context_length": self.context_length,
            "batch_bytes": self._bytes,
            "digest": self.digest,
        }

    def batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return batches of rows of similar length that fit into memory, as row indices."""
        sizes = [_Size.of(self.compute_cost(row), row) for row in rows]
        batches: list[list[int]] = [[]]
        padded = _NO_SIZE
        for index in sorted(range(len(rows)), key=lambda index: sizes[index].tokens):
            padded = padded.padded_with(sizes[index])
            if batches[-1] and len(batches[-1]) >= self._fitting(padded):
                batches.append([])
                padded = sizes[index]
            batches[-1].append(index)
        return batches

    def rows_of(self, tokens: int) -> int:
        """Return the batch size for rows of ``tokens`` tokens."""
        return max(1, min(self._bytes // (tokens * self._bytes_per_token), self._useful(tokens)))

    def fitting(self, prefixes: Iterable[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
        """Return batches of sequences of token ids that fit into memory."""
        groups: list[list[tuple[int, ...]]] = []
        for prefix in sorted(prefixes, key=len):
            if not groups or len(groups[-1]) >= self.rows_of(len(prefix)):
                groups.append([])
            groups[-1].append(prefix)
        return groups

    def shrink(self, rows: Sequence[Row]) -> None:
        """Lower the memory limit to half of the estimate for ``rows``, which did not fit."""
        padded = _NO_SIZE
        for row in rows:
            padded = padded.padded_with(_Size.of(self.compute_cost(row), row))
        self._bytes = min(self._bytes, len(rows) * self._bytes_of(padded) // 2)

    def store(self) -> KVStore:
        """Return an empty store of keys and values, limited to a share of a batch's memory."""
        return KVStore(int(_STORE_SHARE * self._bytes))

    def recorder(self, rows: Sequence[Row], queries: int) -> AttentionRecorder | None:
        """Return a recorder for the rows that request attention maps; None if there are none.

        Args:
            rows: Rows of the batch.
            queries: Number of recorded positions of each row, counted from the last.
        """
        names = frozenset[str]().union(*(row.extras for row in rows)) & AttentionRecorder.NAMES
        if not names:
            return None
        recorded = [index for index, row in enumerate(rows) if row.extras & names]
        return AttentionRecorder(self.network.config.num_hidden_layers, names, recorded, queries)

    def attended(
        self,
        recorder: AttentionRecorder | None,
        rows: Sequence[Row],
        recorded: Sequence[int],
        places: Sequence[CanvasLocation],
    ) -> dict[str, list[Tensor]]:
        """Return the recorded attention maps by name, with an entry for each of ``rows``.

        Args:
            recorder: Recorder of a finished pass; None if nothing was recorded.
            rows: Rows of the call.
            recorded: Indices of the recorded rows.
            places: Location of each recorded row's canvas in that pass.
        """
        extras: dict[str, list[Tensor]] = {}
        for name, maps in (recorder.maps(places) if recorder else {}).items():
            # A row whose canvas was not computed has a map of zeros.
            lengths = [len(row.canvas) if name in row.extras else 0 for row in rows]
            extras[name] = [torch.zeros((length, length), device=self.device) for length in lengths]
            for index, each in zip(recorded, maps, strict=True):
                extras[name][index] = each
        return extras

    def run(self, recorder: AttentionRecorder | None, **inputs: Any) -> Any:
        """Return the output of one pass, recorded by ``recorder`` if there is one."""
        if recorder is None:
            return self.network.model(**inputs)
        return recorder.over(self.network, **inputs)

    def empty_prediction(self) -> Prediction:
        """Return the prediction for rows without wanted positions."""
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
        # Padding is masked, so its position ids are arbitrary.
        return Padded(ids, positions >= 0, positions.clamp(min=0))

    def mask(self, allowed: Bool[Tensor, "rows queries keys"]) -> Tensor:
        """Return an attention mask in the form that the attention kernel expects."""
        if self.network.config._attn_implementation == "sdpa":  # noqa: SLF001  it has no other name
            return allowed[:, None]
        dtype = self.network.dtype
        zero = torch.zeros((), dtype=dtype, device=self.device)
        return torch.where(allowed, zero, torch.finfo(dtype).min)[:, None]

    def check_attention(self) -> None:
        """Check that the network obeys masks and attends in both directions, with padding.

        A release of transformers that interprets masks differently would give plausible but
        wrong numbers.

        Raises:
            CheckpointError: It does not obey a mask, or returns NaN or infinity.
        """
        # Two sequences that differ in the last token; the first column is padding.
        ids = torch.tensor([[0, 0, 1, 2], [0, 0, 1, 3]], device=self.device)
        real = torch.tensor([[False, True, True, True]], device=self.device).expand(2, -1)
        earlier = real & (torch.arange(4, device=self.device) < 3)
        with torch.inference_mode():
            obeyed = [
                self._first_differs(ids, real.long()),
                self._first_differs(ids, self.mask(real[:, None].expand(-1, 4, -1))),
                not self._first_differs(ids, self.mask(earlier[:, None].expand(-1, 4, -1))),
            ]
        if not all(obeyed):
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
        # Outputs at the padding are not used.
        self.check_numbers(self.network.get_output_embeddings()(hidden[:, -1]), hidden[:, 1:])
        return not torch.equal(hidden[0, 1], hidden[1, 1])

    def check_numbers(self, *outputs: Tensor) -> None:
        """Refuse a network that returns NaN or infinity; the error names the cause.

        Args:
            outputs: Logits and other outputs, without fully masked positions.

        Raises:
            CheckpointError: One of them holds NaN or infinity.
        """
        if all(bool(output.isfinite().all()) for output in outputs):
            return
        network = type(self.network).__name__
        dtype = self._provenance["dtype"]
        # The weights are checked only after a failure: it takes as long as a pass.
        for name, weight in self.network.named_parameters():
            if bool(weight.isnan().any()):
                raise CheckpointError(
                    f"the weights contain NaN: {name}, by its name in {network}; "
                    "the file is damaged, or its training diverged"
                )
        name = next(
            (name for name, weight in self.network.named_parameters() if weight.isinf().any()), None
        )
        where = f"{name} contains infinity" if name else "no weight contains NaN or infinity"
        if dtype == "float16":
            raise CheckpointError(
                f"{network} overflows in float16 ({where}); try dtype=bfloat16 or dtype=float32"
            )
        raise CheckpointError(f"{network} returns NaN or infinity in {dtype}: {where}")

    def _prompt_ids(self, prompt: Prompt) -> Int[Tensor, " prompt"]:
        if prompt not in self._prompts:
            self._prompts[prompt] = prompt.ids.to(self.device)
        return self._prompts[prompt]

    def _fitting(self, size: _Size) -> int:
        """Return the batch size for rows of this size."""
        return min(self._bytes // self._bytes_of(size), self._useful(size.tokens))

    def _useful(self, tokens: int) -> int:
        """Return the largest batch size that is still efficient, for rows of ``tokens`` tokens."""
        if self.device.type != "cpu":
            return sys.maxsize
        return max(1, _PROCESSOR_TOKENS // max(1, tokens))

    def _bytes_of(self, size: _Size) -> int:
        """Return an upper estimate of the memory to predict a row, in bytes."""
        logits = size.canvas * int(self.network.config.get_text_config().vocab_size)
        cached = size.stored * self._bytes_per_key
        maps = size.recorded * (size.tokens + size.stored) * self._bytes_per_weight
        return size.tokens * self._bytes_per_token + cached + logits * _BYTES_PER_LOGIT + maps

    @cached_property
    def _bytes_per_token(self) -> int:
        """Memory of one token's activations, keys and values, in bytes."""
        config = self.network.config.get_text_config()
        dense = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        expert = getattr(config, "moe_intermediate_size", None) or 0
        inner = max(dense, expert * (getattr(config, "num_experts_per_tok", None) or 8))
        activations = (12 * config.hidden_size + 3 * inner) * self.network.dtype.itemsize
        return int(activations) + self._bytes_per_key

    @cached_property
    def _bytes_per_weight(self) -> int:
        """Memory of one recorded attention weight, in bytes."""
        heads: int = self.network.config.get_text_config().num_attention_heads
        # Scores and weights of one layer in float32, and the sums of all layers.
        return 4 * (3 * heads + 2 * len(AttentionRecorder.NAMES))

    @cached_property
    def _bytes_per_key(self) -> int:
        """Memory of one token's keys and values in all layers, in bytes."""
        # From the matrices: where layers differ, the configuration has no simple field for it.
        projections = (
            module
            for name, module in self.network.named_modules()
            if name.endswith((".k_proj", ".v_proj")) and isinstance(module, nn.Linear)
        )
        widths = sum(module.out_features for module in projections)
        return int(widths * self.network.dtype.itemsize)


def _batch_bytes(device: torch.device) -> int:
    """Return the memory for one batch on ``device``, in bytes."""
    if device.type == "cpu":
        pages = os.sysconf("SC_AVPHYS_PAGES")
        return min(int(_SHARE * pages * os.sysconf("SC_PAGE_SIZE")), _PROCESSOR_BYTES)
    if device.type == "mps":
        return int(
            _SHARE * (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
        )
    free: int = torch.get_device_module(device).mem_get_info(device)[0]
    return int(_SHARE * free)
