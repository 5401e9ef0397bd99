"""The published families of checkpoints, and the stock transformers class that each equals.

These checkpoints come with Python code for one old release of transformers.  It is not needed:
with a translated configuration and renamed tensors, each family computes the same logits in a
class of transformers.  A configuration field that the translation does not cover is refused,
never ignored.

Source: the published configurations and modeling files; :attr:`Family.evidence` says which were
run and which were only read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from parallelbench.errors import CheckpointError
from parallelbench.models.config_numbers import check_numbers
from parallelbench.models.diffusion_signs import diffusion_signs, remote_classes, stem
from parallelbench.registry import unknown

Config = Mapping[str, Any]

Kind = Literal["masked", "block", "uniform", "autoregressive"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """The loading and decoding rules of one family of checkpoints.

    Attributes:
        name: Name of the family.
        members: Published checkpoints of the family.
        architectures: Class names in ``config.json``.
        kind: Form of its predictions: on the whole canvas (``masked``), block by block
            (``block``), from a canvas of noise (``uniform``), or token by token
            (``autoregressive``).
        network: Class in transformers; None is the one that ``config.json`` names.
        translate: Function from the published configuration fields to those of the class; None
            leaves them unchanged.
        covers: Allowed values of published fields; any other value, if present, would need
            another network.
        idle: Published fields that do not affect predictions, in addition to those of every
            family: the published code does not read them, or tensor names and shapes imply them.
        aliases: Fields with the meaning of another field; their values must agree.
        renames: Replacements of tensor names, by regular expressions with one group at most.
        shift: 1 if the output at a position predicts the next token, else 0.
        mask_tokens: Names of the mask in the tokenizer, if ``config.json`` has no id.
        stop_tokens: Tokens that end a reply, in addition to the declared end-of-text.
        block_length: Block length in training, in tokens; 0 if it has no blocks.
        block_field: Field of ``config.json`` that overrides it.
        causal_context: True if finished tokens attend only to earlier ones, and blocks are
            counted from the canvas; else they attend to their whole block, and blocks are
            counted from the prompt.
        evidence: Check of its equality with the published network, as in README.
    """

    name: str
    members: str
    architectures: tuple[str, ...]
    kind: Kind
    network: str | None = None
    translate: Callable[[Config], dict[str, Any]] | None = None
    covers: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    shift: Literal[0, 1] = 0
    mask_tokens: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    block_length: int = 0
    block_field: str = ""
    causal_context: bool = False
    evidence: str

    def stock_name(self, name: str) -> str:
        """Return the class's name of a published tensor, or of a part of its name."""
        for pattern, replacement in self.renames.items():
            name = re.sub(pattern, replacement, name)
        return name


def family_of(config: Config, name: str | None, path: str) -> Family:
    """Return the family of a checkpoint.

    Args:
        config: Content of ``config.json``.
        name: Name of a family, which overrides ``config.json``; None for none.
        path: Path of the checkpoint, for error messages.

    Raises:
        CheckpointError: The family is unknown.
    """
    if name is not None:
        known = {family.name: family for family in FAMILIES}
        if name not in known:
            raise CheckpointError(f"{path}: {unknown('family', name, known)}")
        family = known[name]
    else:
        family = _found(config, path)
    check_numbers(config, path)
    return family


def _found(config: Config, path: str) -> Family:
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise CheckpointError(
            f"{path}: architectures={named!r:.80} in config.json is not a list of class names"
        )
    # Some uploads of LLaDA-MoE carry the name of the dense model.
    if "LLaDAModelLM" in named and config.get("num_experts"):
        return _LLADA_MOE
    for family in FAMILIES:
        if set(named) & set(family.architectures):
            return family
    if any(_is_causal_language_model(name) for name in named):
        _check_causal(config, path)
        return AUTOREGRESSIVE
    names = ", ".join(name for family in FAMILIES for name in family.architectures)
    raise CheckpointError(
        f"{path} is of an unknown family: its config.json has architectures {named}; known are "
        f"{names} and every causal language model of transformers; if it is one of them under "
        f"another name, say family=NAME ({', '.join(each.name for each in FAMILIES)})"
    )


def _check_causal(config: Config, path: str) -> None:
    """Refuse a diffusion model with the class name of a causal model."""
    own = stock_class(AUTOREGRESSIVE, config)
    diffusion = [family for family in FAMILIES if family.architectures]
    stems = {stem(name): family for family in diffusion for name in family.architectures}
    fields = sorted({family.block_field for family in diffusion if family.block_field})
    signs = list(diffusion_signs(config, own.config_class, stems, fields))
    if signs:
        seen = {stem(name) for name in (*remote_classes(config), str(config.get("model_type")))}
        likely = [stems[name].name for name in stems if name in seen] or [
            family.name for family in diffusion if family.network == own.__name__
        ]
        choices = " or ".join(f"family={name}" for name in dict.fromkeys(likely)) or "family=NAME"
        raise CheckpointError(
            f"{path}: config.json names the causal class {own.__name__}, and also has "
            f"{', '.join(signs)}, as a diffusion model does; say {choices} to decode it as one, or "
            "family=autoregressive to decode one token after another"
        )


def _is_causal_language_model(name: str) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def _renamed(config: Config, names: Mapping[str, str], **fixed: Any) -> dict[str, Any]:
    renamed = {ours: config[theirs] for ours, theirs in names.items() if theirs in config}
    return {**renamed, **fixed}


_SAME = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "rms_norm_eps",
    "max_position_embeddings",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "tie_word_embeddings",
    "hidden_act",
    "attention_bias",
)


#: Not implied by the shapes of tensors: without them a class would use its own defaults.
_NEEDED = ("num_attention_heads", "rms_norm_eps")


def _taken(
    config: Config, *names: str, needed: tuple[str, ...] = (), **fixed: Any
) -> dict[str, Any]:
    rope = "rope_parameters" if "rope_parameters" in config else "rope_theta"
    required = {name: config[name] for name in (*_NEEDED, rope, *needed)}
    return _renamed(config, {name: name for name in (*_SAME, *names)}, **required, **fixed)


def _llada(config: Config) -> dict[str, Any]:
    names = {
        "hidden_size": "d_model",
        "intermediate_size": "mlp_hidden_size",
        "num_hidden_layers": "n_layers",
        "max_position_embeddings": "max_sequence_length",
    }
    return _renamed(
        config,
        names,
        num_attention_heads=config["n_heads"],
        rope_theta=config["rope_theta"],
        rms_norm_eps=config["rms_norm_eps"],
        # The matrices are padded beyond the vocabulary.
        vocab_size=config.get("embedding_size") or config["vocab_size"],
        num_key_value_heads=config.get("n_kv_heads") or config["n_heads"],
        tie_word_embeddings=False,
    )


def _illada(config: Config) -> dict[str, Any]:
    return _taken(config, "intermediate_size", "head_dim", "mlp_bias")


def _llada_moe(config: Config) -> dict[str, Any]:
    dense = [layer for layer, sparse in enumerate(config.get("moe_layer_freq") or ()) if not sparse]
    return _taken(
        config,
        "num_experts",
        needed=("num_experts_per_tok",),
        moe_intermediate_size=config["expert_intermediate_size"],
        intermediate_size=config.get("dense_intermediate_size")
        or config["expert_intermediate_size"],
        head_dim=config["hidden_size"] // config["num_attention_heads"],
        norm_topk_prob=bool(config.get("norm_topk_prob")),
        mlp_only_layers=dense,
        decoder_sparse_step=1,
    )


def _qwen2(config: Config) -> dict[str, Any]:
    taken = _taken(config, "intermediate_size", "head_dim")
    return {name: value for name, value in taken.items() if name != "attention_bias"}


def _qwen3(config: Config) -> dict[str, Any]:
    return _taken(config, "intermediate_size", "head_dim")


def _qwen3_moe(config: Config) -> dict[str, Any]:
    return _taken(
        config,
        "intermediate_size",
        "head_dim",
        "moe_intermediate_size",
        "num_experts",
        "decoder_sparse_step",
        "mlp_only_layers",
        needed=("num_experts_per_tok", "norm_topk_prob"),
    )


def _llada2(config: Config) -> dict[str, Any]:
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rotated, share = config.get("rotary_dim"), config["partial_rotary_factor"]
    if rotated is not None and rotated != int(width * share):
        raise CheckpointError(
            f"rotary_dim={rotated!r} in config.json is not the share partial_rotary_factor="
            f"{share!r} of head_dim={width}; one of them is wrong"
        )
    return _taken(
        config,
        "intermediate_size",
        "head_dim",
        "moe_intermediate_size",
        "first_k_dense_replace",
        needed=(
            "num_experts_per_tok",
            "n_group",
            "topk_group",
            "routed_scaling_factor",
            "partial_rotary_factor",
        ),
        n_routed_experts=config["num_experts"],
        n_shared_experts=config["num_shared_experts"],
        norm_topk_prob=bool(config.get("norm_topk_prob", True)),
        use_qk_norm=True,
        num_mtp_layers=0,
        attention_bias=False,
    )


def _ministral3(config: Config) -> dict[str, Any]:
    taken = _taken(config, "intermediate_size", "head_dim")
    return {name: value for name, value in taken.items() if name != "attention_bias"}


_ABSENT = (None, False)

#: Read only where ``use_sliding_window`` is true, which no family covers.
_WINDOW = frozenset({"sliding_window", "max_window_layers"})

#: Every layer sees everything.
_FULL = ("full_attention", None)

_LLADA_MOE = Family(
    name="llada-moe",
    members="LLaDA-MoE-7B-A1B Base, Instruct",
    architectures=("LLaDAMoEModelLM", "LLaDAMoEModel"),
    kind="masked",
    network="Qwen3MoeForCausalLM",
    translate=_llada_moe,
    covers={
        "qk_layernorm": (True,),
        "clip_qkv": (None,),
        "shared_expert_intermediate_size": (None, 0),
        "moe_router_score_function": ("softmax", None),
        "moe_router_enable_expert_bias": _ABSENT,
        "routed_scaling_factor": (1, None),
        "router_num_group": (None, 1),
        "partial_rotary_factor": (1, None),
        "hidden_act": ("silu",),
        "attention_bias": _ABSENT,
        "tie_word_embeddings": _ABSENT,
        "use_sliding_window": _ABSENT,
    },
    # Without groups, their number that is kept decides nothing; shapes of tensors tell the other.
    idle=_WINDOW | {"router_topk_group", "head_dim"},
    mask_tokens=("<|mask|>",),
    stop_tokens=("<|role_end|>", "<|endoftext|>"),
    evidence="golden forward; published file, within 1.2e-6",
)

_QWEN_COVERS: Mapping[str, tuple[Any, ...]] = {
    "use_sliding_window": _ABSENT,
    "layer_types": _FULL,
    "hidden_act": ("silu",),
    "use_mrope": _ABSENT,
}

#: The tensors show whether there are biases.
_QWEN2_IDLE = _WINDOW | {"attention_bias"}

AUTOREGRESSIVE = Family(
    name="autoregressive",
    members="causal language models of transformers whose answers padding does not move (142 of "
    "185 classes: docs/models.md)",
    architectures=(),
    kind="autoregressive",
    stop_tokens=("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>"),
    evidence="golden forward of Llama and Qwen3; same tokens as `generate`",
)

#: In the order of the table in README.
FAMILIES: tuple[Family, ...] = (
    Family(
        name="llada",
        members="LLaDA-8B Base, Instruct; LLaDA-1.5",
        architectures=("LLaDAModelLM",),
        kind="masked",
        network="LlamaForCausalLM",
        translate=_llada,
        covers={
            "block_type": ("llama",),
            "block_group_size": (1, None),
            "layer_norm_type": ("rms",),
            "activation_type": ("silu",),
            "rope": (True,),
            "alibi": _ABSENT,
            "include_bias": _ABSENT,
            "include_qkv_bias": _ABSENT,
            "bias_for_layer_norm": _ABSENT,
            "attention_layer_norm": _ABSENT,
            "input_emb_norm": _ABSENT,
            "scale_logits": _ABSENT,
            "multi_query_attention": _ABSENT,
            "weight_tying": _ABSENT,
            "tie_word_embeddings": _ABSENT,
            "layer_norm_with_affine": (True, None),
        },
        # The first is read with alibi, the second with attention_layer_norm, the third without
        # mlp_hidden_size, the fourth without embedding_size; shapes of tensors tell the last.
        idle=frozenset(
            {
                "alibi_bias_max",
                "attention_layer_norm_with_affine",
                "mlp_ratio",
                "vocab_size",
                "head_dim",
            }
        ),
        aliases={
            "hidden_size": "d_model",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "num_key_value_heads": "n_kv_heads",
            "intermediate_size": "mlp_hidden_size",
        },
        renames={
            r"^model\.transformer\.wte\.": "model.embed_tokens.",
            r"^model\.transformer\.ln_f\.": "model.norm.",
            r"^model\.transformer\.ff_out\.": "lm_head.",
            r"^model\.transformer\.blocks\.(\d+)\.attn_norm\.": r"model.layers.\1.input_layernorm.",
            r"^model\.transformer\.blocks\.(\d+)\.ff_norm\.": (
                r"model.layers.\1.post_attention_layernorm."
            ),
            r"^model\.transformer\.blocks\.(\d+)\.q_proj\.": r"model.layers.\1.self_attn.q_proj.",
            r"^model\.transformer\.blocks\.(\d+)\.k_proj\.": r"model.layers.\1.self_attn.k_proj.",
            r"^model\.transformer\.blocks\.(\d+)\.v_proj\.": r"model.layers.\1.self_attn.v_proj.",
            r"^model\.transformer\.blocks\.(\d+)\.attn_out\.": r"model.layers.\1.self_attn.o_proj.",
            r"^model\.transformer\.blocks\.(\d+)\.ff_proj\.": r"model.layers.\1.mlp.gate_proj.",
            r"^model\.transformer\.blocks\.(\d+)\.up_proj\.": r"model.layers.\1.mlp.up_proj.",
            r"^model\.transformer\.blocks\.(\d+)\.ff_out\.": r"model.layers.\1.mlp.down_proj.",
        },
        mask_tokens=("<|mdm_mask|>",),
        stop_tokens=("<|eot_id|>", "<|endoftext|>"),
        evidence="golden forward; published file, within 1.8e-6",
    ),
    Family(
        name="illada",
        members="iLLaDA-8B Base, Instruct",
        architectures=("iLLaDAModelLM", "ILLaDAModelLM", "iLLaDAForCausalLM"),
        kind="masked",
        network="LlamaForCausalLM",
        translate=_illada,
        covers={"layer_norm_eps": (None,), "hidden_act": ("silu",), "layer_types": _FULL},
        mask_tokens=("<|mdm_mask|>",),
        stop_tokens=("<|eot_id|>", "<|endoftext|>"),
        evidence="golden forward; published file read, its config.json not seen: if it is not "
        "recognised, say family=illada",
    ),
    _LLADA_MOE,
    Family(
        name="dream",
        members="Dream-v0 Base, Instruct 7B; Dream-Coder; DiffuCoder",
        architectures=("DreamModel",),
        kind="masked",
        network="Qwen2ForCausalLM",
        translate=_qwen2,
        covers=_QWEN_COVERS,
        idle=_QWEN2_IDLE,
        shift=1,
        mask_tokens=("<|mask|>",),
        stop_tokens=("<|im_end|>", "<|endoftext|>", "<|dlm_pad|>"),
        evidence="golden forward; published file, within 1.8e-6",
    ),
    Family(
        name="sdar",
        members="SDAR 1.7B, 4B, 8B Chat; TraDo 4B, 8B",
        architectures=("SDARForCausalLM",),
        kind="block",
        network="Qwen3ForCausalLM",
        translate=_qwen3,
        covers=_QWEN_COVERS,
        idle=_WINDOW,
        mask_tokens=("<|MASK|>", "<MASK>"),
        stop_tokens=("<|im_end|>", "<|endoftext|>"),
        block_length=4,
        block_field="block_size",
        evidence="golden forward; published file, within 1.8e-6",
    ),
    Family(
        name="sdar-moe",
        members="SDAR-30B-A3B Chat, Sci",
        architectures=("SDARMoeForCausalLM",),
        kind="block",
        network="Qwen3MoeForCausalLM",
        translate=_qwen3_moe,
        covers=_QWEN_COVERS,
        idle=_WINDOW,
        mask_tokens=("<|MASK|>", "<MASK>"),
        stop_tokens=("<|im_end|>", "<|endoftext|>"),
        block_length=4,
        block_field="block_size",
        evidence="golden forward; published file not run",
    ),
    Family(
        name="llada2",
        members="LLaDA2.0, LLaDA2.1 mini, flash",
        architectures=("LLaDA2MoeModelLM",),
        kind="block",
        network="Glm4MoeForCausalLM",
        translate=_llada2,
        covers={
            "score_function": ("sigmoid",),
            "use_rmsnorm": (True,),
            "moe_router_enable_expert_bias": (True,),
            "use_bias": _ABSENT,
            "use_qkv_bias": _ABSENT,
            "tie_word_embeddings": _ABSENT,
            "hidden_act": ("silu",),
            "use_sliding_window": _ABSENT,
            "layer_types": _FULL,
            "use_qk_norm": (True, None),
            "norm_head": _ABSENT,
            "norm_softmax": _ABSENT,
            "topk_method": ("noaux_tc", None),
            "moe_router_enable_routed_scaling": (True, None),
            "moe_router_enable_shared_expert": (True, None),
        },
        # The translation compares the first; the shapes of tensors tell the second.
        idle=_WINDOW | {"rotary_dim", "moe_shared_expert_intermediate_size"},
        mask_tokens=("<|mask|>",),
        stop_tokens=("<|role_end|>", "<|endoftext|>"),
        block_length=32,
        block_field="block_size",
        evidence="golden forward; published file of 2.0, within 2.2e-6; LLaDA2.2 routes otherwise "
        "and is not supported",
    ),
    Family(
        name="fast-dllm-v2",
        members="Fast_dLLM_v2 1.5B, 7B",
        architectures=("Fast_dLLM_QwenForCausalLM",),
        kind="block",
        network="Qwen2ForCausalLM",
        translate=_qwen2,
        covers=_QWEN_COVERS,
        idle=_QWEN2_IDLE,
        shift=1,
        mask_tokens=("|<MASK>|",),
        stop_tokens=("<|im_end|>", "<|endoftext|>"),
        block_length=32,
        block_field="bd_size",
        evidence="golden forward; published file read, not run",
    ),
    Family(
        name="nemotron",
        members="Nemotron-Labs-Diffusion 3B, 8B, 14B",
        architectures=("NemotronLabsDiffusionModel", "NemotronLabsDiffusionForCausalLM"),
        kind="block",
        network="Ministral3ForCausalLM",
        translate=_ministral3,
        covers={
            "sliding_window": (None,),
            "hidden_act": ("silu",),
            "attention_bias": _ABSENT,
            "mlp_bias": _ABSENT,
            "layer_types": _FULL,
            "dlm_paradigm": ("bidirectional", "block_diff", None),
        },
        # Of training.
        idle=frozenset({"dp_varying_mask_ratio"}),
        renames={r"^encoder\.": "model.", r"^diffusion_head\.": "lm_head."},
        mask_tokens=("<mask>", "<|mask|>"),
        block_length=32,
        block_field="block_size",
        causal_context=True,
        evidence="golden forward; published file not run, its config.json not seen: if it is not "
        "recognised, say family=nemotron",
    ),
    Family(
        name="diffusion-gemma",
        members="DiffusionGemma 26B-A4B",
        architectures=("DiffusionGemmaForBlockDiffusion",),
        kind="uniform",
        network="DiffusionGemmaForBlockDiffusion",
        stop_tokens=("<turn|>", "<end_of_turn>"),
        evidence="golden forward; the class is transformers' own",
    ),
    AUTOREGRESSIVE,
)


def stock_config(family: Family, config: Config, folder: str) -> Any:
    """Return the configuration of the stock class that a checkpoint is loaded into.

    Raises:
        CheckpointError: A field is missing, or the class does not accept its value.
    """
    kind = stock_class(family, config).config_class
    try:
        if family.translate is None:
            made = kind.from_pretrained(folder, local_files_only=True)
        else:
            made = kind(**family.translate(config))
    except KeyError as error:
        raise CheckpointError(f"{folder}: config.json has no field {error}") from error
    except CheckpointError:
        raise
    except Exception as error:
        # Configuration classes raise various types.
        raise CheckpointError(
            f"{folder}: config.json does not fit {family.name}: {' '.join(str(error).split())}"
        ) from error
    if family.kind in {"masked", "block"}:
        # On the configuration, not on the layers: only then are padding masks correct too.
        made.is_causal = False
    return made


def context_length(family: Family, config: Config, made: Any) -> int | None:
    """Return the context length of a checkpoint in tokens; None if it declares none.

    Args:
        family: Family of the checkpoint.
        config: Content of ``config.json``.
        made: Configuration of its stock class.
    """
    if family.translate is not None and not {*config} & {
        "max_position_embeddings",
        "max_sequence_length",
    }:
        return None  # the value in the stock class is only its default
    text = made.get_text_config()
    length = getattr(text, "max_position_embeddings", None)
    if not isinstance(length, int) or length < 1:
        return None
    # Scaled rotary positions reach farther than the length that some checkpoints still declare.
    rope = getattr(text, "rope_parameters", None) or {}
    factor = rope.get("factor") if isinstance(rope, Mapping) else None
    if not isinstance(factor, (int, float)):
        return length
    return max(length, int(factor * (rope.get("original_max_position_embeddings") or length)))


def stock_class(family: Family, config: Config) -> Any:
    """Return the class in transformers that a checkpoint is loaded into."""
    import transformers

    if family.name == "llada2":
        from parallelbench.models.llada2 import LLaDA2ForDiffusion

        return LLaDA2ForDiffusion
    if family.network is not None:
        return getattr(transformers, family.network)
    named = config.get("architectures") or []
    for name in named:
        if _is_causal_language_model(name):
            return getattr(transformers, name)
    raise CheckpointError(
        f"family {family.name} takes causal language models of transformers, but config.json says "
        f"architectures {named}"
    )
