"""A loaded checkpoint -> the model that predicts with it, by the kind of its family."""

from __future__ import annotations

from typing import cast

from parallelbench.model import Model
from parallelbench.models.autoregressive import AutoregressiveModel
from parallelbench.models.block import BlockModel
from parallelbench.models.capabilities import CacheName
from parallelbench.models.checkpoint import Checkpoint
from parallelbench.models.masked import Cache, MaskedModel
from parallelbench.models.uniform import UniformModel


def model_of(checkpoint: Checkpoint, cache: CacheName | None, block_length: int | None) -> Model:
    """Return the model of ``checkpoint``, ready to predict.

    Args:
        checkpoint: The loaded checkpoint.
        cache: Key-value cache; None is the exact default of the family.
        block_length: Length of the blocks of a block model, in tokens; None is the
            checkpoint's own.

    Raises:
        CheckpointError: The network does not respect masks, or returns NaN or infinity.
    """
    family = checkpoint.family
    if family.kind == "masked":
        return MaskedModel(checkpoint, cache=cast("Cache", cache or "none"))
    if family.kind == "block":
        declared: int = checkpoint.config.get(family.block_field) or family.block_length
        length = block_length or declared
        return BlockModel(checkpoint, block_length=length, keeps=cache != "none")
    if family.kind == "uniform":
        return UniformModel(checkpoint)
    return AutoregressiveModel(checkpoint)
