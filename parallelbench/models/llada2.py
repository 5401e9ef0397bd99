"""LLaDA2's published tensors, converted to those of the GLM-4-MoE class of transformers.

The class computes the same as LLaDA2: group-limited sigmoid routing with a bias, a shared
expert, half-rotary positions, normalised queries and keys.  Only names differ, and the
projections of query, key and value are one matrix in the file.
"""

from __future__ import annotations

from typing import Any, cast

from transformers import Glm4MoeForCausalLM
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.core_model_loading import Split, WeightConverter, WeightRenaming


class LLaDA2ForDiffusion(Glm4MoeForCausalLM):
    """GLM-4-MoE under another name, so that the rules below affect no other model."""


# A rule may have one group at most: a second would leave a literal "\2" in the name.
_RULES: list[WeightConverter | WeightRenaming] = [
    WeightRenaming(r"^model\.word_embeddings\.", "model.embed_tokens."),
    WeightRenaming(r"\.attention\.dense\.", ".self_attn.o_proj."),
    WeightRenaming(r"\.attention\.query_layernorm\.", ".self_attn.q_norm."),
    WeightRenaming(r"\.attention\.key_layernorm\.", ".self_attn.k_norm."),
    WeightRenaming(r"\.mlp\.gate\.expert_bias$", ".mlp.gate.e_score_correction_bias"),
    WeightConverter(
        source_patterns="attention.query_key_value.weight",
        target_patterns=[
            "self_attn.q_proj.weight",
            "self_attn.k_proj.weight",
            "self_attn.v_proj.weight",
        ],
        operations=[Split(dim=0)],
    ),
]

register_checkpoint_conversion_mapping(
    LLaDA2ForDiffusion.__name__,
    # The rules of the stock class stack the experts.
    [*_RULES, *cast("list[Any]", get_checkpoint_conversion_mapping("glm4_moe"))],
    overwrite=True,
)
