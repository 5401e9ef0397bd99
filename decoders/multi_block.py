"""Multi-block: the next block begins before the present one is full.

Blocks keep a text in order but stall at their ends: the last, hardest positions of a block
hold up all that comes after.  Here a block joins as soon as the one before it is begun, and
must not hurry until that one is nearly done: until then it commits only what is sure.

Rule: a block is filled to the share of its open positions that are written by now.  Block
k + 1 is active if all blocks up to k are filled to ``joins`` at least, and fully active if
block k is filled to ``forces`` at least; the first block is both.  An active block commits
what passes; a fully active one in which nothing passes commits its best position.

* ``multi_block``, as in D2F: ``c_i > threshold`` passes; the best has the highest c.
* ``multi_block_entropy``, as in d3LLM: ``H_i <= threshold`` passes, in nats; the best has the
  lowest H.

Defaults: length = 32, joins = 0.1, forces = 0.95, threshold = 0.9 (entropy: 0.5 nats).  The
authors call them ``block_add_threshold``, ``decoded_token_threshold`` and
``skip_threshold``.

The model sees the whole canvas; the authors append a block to it when it becomes active,
which is the same to a model whose tokens see no later block, as D2F's.  They append one
block in each step, and so does this: a block that joins is empty.  Positions that were
filled from the start do not count, and a block without others is passed over.  Where the
model or ``block_length`` gives blocks of its own, the rule holds within each of those.

Source: Wang et al., "Diffusion LLMs Can Do Faster-Than-AR Inference via Discrete Diffusion
Forcing" (D2F, 2025, arXiv:2508.09192) and its code; "d3LLM" (2026, arXiv:2601.07568).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import (
    DECODERS,
    BatchDecoder,
    Decoder,
    Statistics,
    StepBatch,
    Updates,
)
from parallelbench.decoders.memory import first_open, in_windows, offsets
from parallelbench.decoders.selection import computed, top


class _Judged(NamedTuple):
    """What of a canvas passes, and a score that ranks all of it."""

    passing: Bool[Tensor, "samples length"]
    score: Float[Tensor, "samples length"]


@dataclass(frozen=True, kw_only=True)
class _Blocks(BatchDecoder):
    """Several active blocks, whatever passes in them.

    Attributes:
        length: Of a block, at least 1 token.
        joins: To what share a block must be filled for the next one to be active, in (0, 1].
        forces: To what share for the next one to commit in every step, in (0, 1].

    Raises:
        ValueError: One of them is out of range.
    """

    adaptive: ClassVar[bool] = True
    labelled: ClassVar[tuple[str, ...]] = ("length", "joins", "forces", "threshold")

    length: int = 32
    joins: float = 0.1
    forces: float = 0.95

    def __post_init__(self) -> None:
        Decoder.__post_init__(self)
        if self.length < 1:
            raise ValueError(f"length must be at least 1 token, got {self.length}")
        for field in ("joins", "forces"):
            if not 0 < getattr(self, field) <= 1:
                raise ValueError(f"{field} must lie in (0, 1], got {getattr(self, field)}")

    @abstractmethod
    def judge(self, statistics: Statistics) -> _Judged:
        """Return what passes, and what is best."""

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what passes in the active blocks, and one position where it must."""
        judged = self.judge(batch.statistics)
        # What lies before the window is in no block of it.
        block = offsets(batch).div(self.length, rounding_mode="floor")
        filled = self._filled(batch, block)
        active = torch.ones_like(filled[:, :1], dtype=torch.bool)
        full = active
        write = torch.zeros_like(batch.open)
        for number, share in enumerate(filled.split(1, dim=1)):
            open_ = batch.open & (block == number) & active
            passing = open_ & judged.passing
            forced = full & ~passing.any(dim=1, keepdim=True)
            write |= passing | (top(judged.score, open_, 1) & forced)
            active = active & ~(share < self.joins)
            full = torch.where(share.isnan(), full, share >= self.forces)
        return Updates(write=write, tokens=batch.statistics.token)

    def _filled(
        self, batch: StepBatch, block: Int[Tensor, "samples length"]
    ) -> Float[Tensor, "samples blocks"]:
        """Return to what share each block is filled; no number where nothing was open in it."""
        own = in_windows(batch, first_open(batch.views, batch.open))
        count = max(1, -(-block.shape[1] // self.length))
        place = block.clamp(0, count - 1)
        # As the authors divide whole numbers: a rounded share would meet a threshold otherwise.
        zeros = torch.zeros((len(block), count), dtype=torch.float64, device=block.device)
        total = zeros.scatter_add(1, place, own.double())
        left = zeros.scatter_add(1, place, batch.open.double())
        return (total - left) / total


@DECODERS.register("multi_block")
@dataclass(frozen=True, kw_only=True)
class MultiBlock(_Blocks):
    """Decode several blocks at once, and commit by confidence in each.

    Attributes:
        threshold: What a confidence must exceed, in (0, 1].

    Raises:
        ValueError: One of the fields is out of range.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "confidence"})
    presets: ClassVar[Mapping[str, str]] = {
        "d2f": "length=32,joins=0.1,forces=0.95,threshold=0.9",
    }
    grid: ClassVar[str] = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    threshold: float = 0.9

    def __post_init__(self) -> None:
        _Blocks.__post_init__(self)
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must lie in (0, 1], got {self.threshold}")

    def judge(self, statistics: Statistics) -> _Judged:
        """Return what is sure enough, and how sure all of it is."""
        confidence = computed(statistics.confidence)
        return _Judged(confidence > self.threshold, confidence)


@DECODERS.register("multi_block_entropy")
@dataclass(frozen=True, kw_only=True)
class MultiBlockEntropy(_Blocks):
    """Decode several blocks at once, and commit by entropy in each.

    Attributes:
        threshold: What an entropy may reach, in nats, in (0, inf).

    Raises:
        ValueError: One of the fields is out of range.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "entropy"})
    presets: ClassVar[Mapping[str, str]] = {
        "d3llm": "length=32,joins=0.1,forces=0.95,threshold=0.5",
    }
    grid: ClassVar[str] = "threshold=0.1|0.2|0.3|0.4|0.5|0.7"

    threshold: float = 0.5

    def __post_init__(self) -> None:
        _Blocks.__post_init__(self)
        if not 0 < self.threshold < math.inf:
            raise ValueError(f"threshold must lie in (0, inf) nats, got {self.threshold}")

    def judge(self, statistics: Statistics) -> _Judged:
        """Return what is settled enough, and how settled all of it is."""
        entropy = computed(statistics.entropy)
        return _Judged(entropy <= self.threshold, -entropy)
