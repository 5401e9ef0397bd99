"""Multi-block: the next block begins before the present one is full.

Blocks keep a text in order but stall at their ends: the last, hardest positions of a block
hold up all that comes after.  Here a block joins as soon as the one before it is begun.

Rule: a block is filled to the share of its open positions that are written by now.  Block
k + 1 is active if all blocks up to k are filled to ``joins`` at least; the first block always
is.

* ``multi_block``, as in D2F: block k + 1 is fully active if block k is filled to ``forces`` at
  least, and so is the first.  An active block commits where ``c_i > threshold``; a fully
  active one in which nothing passes commits its position with the highest c.
* ``multi_block_entropy``, as in d3LLM: of all active blocks together, commit where
  ``H_i <= threshold``, in nats, and in any case the position with the lowest H.  If that is
  nothing in the first block with an open position, commit also the lowest H there.

Defaults: length = 32, joins = 0.1, forces = 0.95, threshold = 0.9 (entropy: 0.5 nats).  The
authors call them ``block_add_threshold``, ``decoded_token_threshold`` and
``skip_threshold``.  d3LLM's code has a ``decoded_token_threshold`` too, and it changes nothing
there: only the first fully active block with an open position is forced, and the first block
with an open position is fully active, since the one before it is full.  So there is no
``forces`` here.

The model sees the whole canvas; the authors append a block to it when it becomes active,
which is the same to a model whose tokens see no later block, as D2F's.  They append one
block in each step, and so does this: a block that joins is empty.  Positions that were
filled from the start do not count, and a block without others is passed over.  Where the
model or ``block_length`` gives blocks of its own, the rule holds within each of those.

Source: Wang et al., "Diffusion LLMs Can Do Faster-Than-AR Inference via Discrete Diffusion
Forcing" (D2F, 2025, arXiv:2508.09192) and its code; "d3LLM" (2026, arXiv:2601.07568) and its
code, ``d3llm/d3llm_LLaDA/d3llm_llada_generate_util.py`` of github.com/hao-ai-lab/d3LLM, commit
e5bfcac, read 2026-11-30: ``generate_multi_block`` and ``get_transfer_index_entropy``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import DECODERS, BatchDecoder, StepBatch, Updates
from parallelbench.decoders.batched import first_open, in_windows, offsets
from parallelbench.decoders.selection import top
from parallelbench.ranges import positive, probability, whole


class _Survey(NamedTuple):
    """The blocks of every sample's window.

    Attributes:
        block: Index of the block of each position; negative before the window.
        filled: Filled share of each block; NaN where nothing was open in it.
        active: True at the open positions of active blocks.
    """

    block: Int[Tensor, "samples length"]
    filled: Float[Tensor, "samples blocks"]
    active: Bool[Tensor, "samples length"]


@dataclass(frozen=True, kw_only=True)
class _Blocks(BatchDecoder):
    """Several active blocks, whatever is committed in them.

    Attributes:
        length: Length of a block, at least 1 token.
        joins: Filled share of a block at which the next one becomes active, in (0, 1].
    """

    adaptive = True

    length: int = whole(1, 32, "token")
    joins: float = probability(0.1)

    def survey(self, batch: StepBatch) -> _Survey:
        """Return the blocks of every sample, and which of them are active."""
        block = offsets(batch).div(self.length, rounding_mode="floor")
        filled = self._filled(batch, block)
        joined = ~(filled < self.joins)
        first = torch.ones_like(joined[:, :1])
        active = torch.cat([first, joined[:, :-1]], dim=1).cumprod(dim=1).bool()
        place = block.clamp(0, filled.shape[1] - 1)
        return _Survey(block, filled, batch.open & active.gather(1, place))

    def _filled(
        self, batch: StepBatch, block: Int[Tensor, "samples length"]
    ) -> Float[Tensor, "samples blocks"]:
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
        forces: Filled share of a block at which the next one commits in every step,
            in (0, 1].
        threshold: Confidence that a committed position must exceed, in (0, 1].
    """

    needs = frozenset({"token", "confidence"})
    labelled = ("length", "joins", "forces", "threshold")
    presets = {
        "d2f": "length=32,joins=0.1,forces=0.95,threshold=0.9",
    }
    grid = "threshold=0.5|0.6|0.7|0.8|0.9|1.0"

    forces: float = probability(0.95)
    threshold: float = probability(0.9)

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what is sure in the active blocks, and one position where it must."""
        confidence = batch.statistics.confidence
        block, filled, active = self.survey(batch)
        full = torch.ones_like(filled[:, :1], dtype=torch.bool)
        write = torch.zeros_like(batch.open)
        for number, share in enumerate(filled.split(1, dim=1)):
            open_ = active & (block == number)
            passing = open_ & (confidence > self.threshold)
            forced = full & ~passing.any(dim=1, keepdim=True)
            write |= passing | (top(confidence, open_, 1) & forced)
            full = torch.where(share.isnan(), full, share >= self.forces)
        return Updates(write=write, tokens=batch.statistics.token)


@DECODERS.register("multi_block_entropy")
@dataclass(frozen=True, kw_only=True)
class MultiBlockEntropy(_Blocks):
    """Decode several blocks at once, and commit by entropy in all of them together.

    Attributes:
        threshold: Greatest entropy that passes, in nats, in (0, inf).
    """

    needs = frozenset({"token", "entropy"})
    labelled = ("length", "joins", "threshold")
    presets = {"d3llm": "length=32,joins=0.1,threshold=0.5"}
    grid = "threshold=0.1|0.2|0.3|0.4|0.5|0.7"

    threshold: float = positive(0.5, "nats")

    def step_batch(self, batch: StepBatch) -> Updates:
        """Commit what is settled, the most settled in any case, and one in the first block."""
        entropy = batch.statistics.entropy
        block, _, active = self.survey(batch)
        write = (active & (entropy <= self.threshold)) | top(-entropy, active, 1)
        # Blocks are numbered from left to right: the first open position is in the first of them.
        leftmost = batch.open.long().argmax(dim=1, keepdim=True)
        first = batch.open & (block == block.gather(1, leftmost))
        none = ~(write & first).any(dim=1, keepdim=True)
        write |= top(-entropy, first, 1) & none
        return Updates(write=write, tokens=batch.statistics.token)
