"""Tiny random checkpoints, laid out as each family publishes its own.

A test cannot download eight billion weights, but it can write a folder that differs from the
published one in nothing but size: the same fields in ``config.json``, the same tensor names,
fused where they are fused, spread over shards, beside the tokenizer files that the family ships.
Ids of special tokens are smaller than the published ones; ``config.json`` names them.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from tokenizers import decoders as token_decoders
from tokenizers import normalizers as token_normalizers

ROWS = 448  # of every embedding: more than the tokenizer has tokens, as published
WORDS = 320  # ordinary tokens: 256 bytes, the rest merges

TEXT = """
Put the names back in another order: Anna, Bob, Carla, David, Emma, Frank, Grace, Henry.
The names are in the order in which they were given. What is the third name in the list?
Sort the list of numbers: 3, 1, 2. The answer is 1, 2, 3. Reverse the list and write it again.
Write one sentence about the sea, then write the same sentence with other words.
Which of the two boxes is the heavier one, the red box or the blue box? The blue one is heavier.
Fill in the missing word: the cat sat on the mat, and the dog lay on the floor of the house.
"""

# As Qwen 2 splits text, so that a tokenizer.json and a vocab.json mean the same tokens.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

LLAMA_TEMPLATE = """\
{%- for message in messages -%}
{%- set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' \
+ message['content'] | trim + '<|eot_id|>' -%}
{%- if loop.index0 == 0 -%}{%- set content = bos_token + content -%}{%- endif -%}
{{- content -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}"""

QWEN2_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

QWEN3_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}"""

ROLE_TEMPLATE = """\
{{- '<role>SYSTEM</role>' -}}
{%- if messages[0].role == 'system' -%}{{- messages[0].content + '\\n' -}}{%- endif -%}
{{- 'detailed thinking off<|role_end|>' -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{{- '<role>HUMAN</role>' + message.content + '<|role_end|>' -}}
{%- elif message.role == 'assistant' -%}
{{- '<role>ASSISTANT</role>' + message.content + '<|role_end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<role>ASSISTANT</role>' -}}{%- endif -%}"""

Config = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What one family publishes, but for the numbers in its tensors.

    Args:
        config: Fields of ``config.json`` except those that hold ids.
        tensors: Gives published tensor names and shapes for a config.
        special: Ids of the special tokens, by their published strings.
        ids: Fields of ``config.json`` that hold an id, each with its special token.
        roles: Fields of ``tokenizer_config.json`` that hold a special token.
        template: The chat template.
        tokenizer_class: As ``tokenizer_config.json`` names it.
        tokenizer_map: Its ``auto_map``, where the class is remote code.
        first_word: Id of the first ordinary token.
        fast: Whether the family ships ``tokenizer.json``.
        slow: Whether it ships ``vocab.json``, ``merges.txt`` and ``added_tokens.json``.
        stops: Special tokens that ``generation_config.json`` stops at; without any, no such file.
    """

    config: Config
    tensors: Callable[[Config], Shapes]
    special: Mapping[str, int]
    ids: Mapping[str, str]
    roles: Mapping[str, str]
    template: str
    tokenizer_class: str = "PreTrainedTokenizerFast"
    tokenizer_map: Mapping[str, list[str | None]] = field(default_factory=dict)
    first_word: int = 0
    fast: bool = True
    slow: bool = False
    stops: tuple[str, ...] = ()


def write_checkpoint(
    family: str, folder: Path, *, seed: int = 0, shards: int = 2, **changes: Any
) -> Path:
    """Write a random checkpoint of ``family`` into ``folder``; return ``folder``.

    Weights are float32 and depend on nothing but ``seed`` and the config.

    Args:
        family: One of ``FAMILIES``.
        folder: Made if it does not exist.
        seed: Of the weights.
        shards: How many safetensors files; one has the short name and no index.
        changes: Fields of ``config.json`` to replace or add; ``None`` leaves a field out of the
            file, while tensors keep the shape that it described.
    """
    tensors = _write_all_but_weights(family, folder, seed, changes)
    _write_shards(tensors, folder, shards)
    return folder


def write_pickle_checkpoint(family: str, folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write the checkpoint of ``write_checkpoint`` with its weights in ``pytorch_model.bin``."""
    tensors = _write_all_but_weights(family, folder, seed, changes)
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def _write_all_but_weights(
    family: str, folder: Path, seed: int, changes: Config
) -> dict[str, torch.Tensor]:
    if family not in _FAMILIES:
        raise ValueError(f"no family is called {family!r}; known: {', '.join(FAMILIES)}")
    published = _FAMILIES[family]
    folder.mkdir(parents=True, exist_ok=True)
    ids = {name: published.special[token] for name, token in published.ids.items()}
    whole = {**published.config, **ids}
    removed = {name for name, value in changes.items() if value is None}
    whole |= {name: value for name, value in changes.items() if name not in removed}
    _write_json(
        folder / "config.json",
        {name: value for name, value in whole.items() if name not in removed},
    )
    _write_generation_config(published, folder)
    _write_tokenizer(published, folder)
    return _random_tensors(published.tensors(whole), seed)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_generation_config(family: Family, folder: Path) -> None:
    if not family.stops:
        return
    stops = [family.special[token] for token in family.stops]
    pad = family.special[family.roles["pad_token"]]
    content = {"do_sample": False, "eos_token_id": stops, "pad_token_id": pad}
    _write_json(folder / "generation_config.json", content)


# Weights


def _random_tensors(shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, shape, generator) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw a tensor whose scale keeps every part of the network visible in the logits."""
    noise = torch.randn(*shape, generator=generator)
    if "norm" in name or "ln_f" in name:
        return 1 + 0.2 * noise
    if name.endswith("expert_bias"):
        return 0.2 * noise
    if name.endswith("bias"):
        return 0.5 * noise
    # Rows of an embedding are shorter than what layers add to them, so every layer counts.
    gain = 2 if "emb" in name or "wte" in name else 1
    return gain * noise / math.sqrt(shape[-1])


def _write_shards(tensors: dict[str, torch.Tensor], folder: Path, count: int) -> None:
    if count == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(tensors)
    weight_map = {}
    for shard in range(count):
        file = f"model-{shard + 1:05d}-of-{count:05d}.safetensors"
        part = names[shard * len(names) // count : (shard + 1) * len(names) // count]
        held = {name: tensors[name] for name in part}
        save_file(held, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    _write_json(folder / "model.safetensors.index.json", index)


# Tokenizers


def _write_tokenizer(family: Family, folder: Path) -> None:
    trained = _trained()
    words = trained["model"]["vocab"]
    vocabulary = {word: family.first_word + number for word, number in words.items()}
    if family.fast:
        _write_json(folder / "tokenizer.json", _with_special(trained, vocabulary, family.special))
    if family.slow:
        _write_json(folder / "vocab.json", vocabulary)
        _write_json(folder / "added_tokens.json", dict(family.special))
        merges = [" ".join(pair) for pair in trained["model"]["merges"]]
        text = "\n".join(["#version: 0.2", *merges])
        (folder / "merges.txt").write_text(text + "\n", encoding="utf-8")
    _write_json(folder / "special_tokens_map.json", dict(family.roles))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(family))


def _tokenizer_config(family: Family) -> dict[str, Any]:
    added = {str(number): _added(token) for token, number in family.special.items()}
    remote = {"auto_map": dict(family.tokenizer_map)} if family.tokenizer_map else {}
    return {
        "added_tokens_decoder": added,
        **remote,
        **family.roles,
        "chat_template": family.template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "tokenizer_class": family.tokenizer_class,
    }


@functools.cache
def _trained() -> dict[str, Any]:
    """Return the content of a tokenizer.json: byte-level BPE of ``TEXT``, no special tokens."""
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = token_normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = token_decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    return json.loads(tokenizer.to_str())


def _with_special(
    trained: Config, vocabulary: Mapping[str, int], special: Mapping[str, int]
) -> dict[str, Any]:
    # Only an id that the model's vocabulary also lists is kept; any other is counted up anew.
    whole = dict(sorted({**vocabulary, **special}.items(), key=lambda entry: entry[1]))
    added = [{"id": number, **_added(token)} for token, number in special.items()]
    return {**trained, "added_tokens": added, "model": {**trained["model"], "vocab": whole}}


def _added(token: str) -> dict[str, Any]:
    places = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    # Qwen 3 marks thinking as ordinary text, so that decoding keeps it.
    special = token not in {"<think>", "</think>"}
    return {"content": token, **places, "special": special}


# Tensor names


def _llada_tensors(config: Config) -> Shapes:
    width, inner = config["d_model"], config["mlp_hidden_size"]
    kv_width = width // config["n_heads"] * config["n_kv_heads"]
    rows = config["embedding_size"]
    shapes: Shapes = {"model.transformer.wte.weight": (rows, width)}
    for layer in range(config["n_layers"]):
        block = f"model.transformer.blocks.{layer}"
        shapes |= {
            f"{block}.attn_norm.weight": (width,),
            f"{block}.attn_out.weight": (width, width),
            f"{block}.ff_norm.weight": (width,),
            f"{block}.ff_out.weight": (width, inner),
            f"{block}.ff_proj.weight": (inner, width),
            f"{block}.k_proj.weight": (kv_width, width),
            f"{block}.q_proj.weight": (width, width),
            f"{block}.up_proj.weight": (inner, width),
            f"{block}.v_proj.weight": (kv_width, width),
        }
    return shapes | {
        "model.transformer.ff_out.weight": (rows, width),
        "model.transformer.ln_f.weight": (width,),
    }


def _llama_tensors(
    config: Config,
    *,
    body: str = "model",
    head: str = "lm_head",
    biased: bool = False,
    normed: bool = False,
) -> Shapes:
    """Name the tensors as Llama does.

    Args:
        config: Of the checkpoint.
        body: What the names begin with, but for the head's.
        head: What the matrix of the logits is called.
        biased: Whether queries, keys and values have biases.
        normed: Whether queries and keys are normalised per head.
    """
    rows, width = config["vocab_size"], config["hidden_size"]
    shapes: Shapes = {f"{body}.embed_tokens.weight": (rows, width)}
    for layer in range(config["num_hidden_layers"]):
        block = f"{body}.layers.{layer}"
        shapes |= {
            f"{block}.input_layernorm.weight": (width,),
            **_attention(f"{block}.self_attn", config, biased=biased, normed=normed),
            f"{block}.post_attention_layernorm.weight": (width,),
            **_feed_forward(f"{block}.mlp", config),
        }
    shapes[f"{body}.norm.weight"] = (width,)
    if not config.get("tie_word_embeddings"):
        shapes[f"{head}.weight"] = (rows, width)
    return shapes


def _attention(path: str, config: Config, *, biased: bool, normed: bool) -> Shapes:
    width, head_width = config["hidden_size"], _head_width(config)
    rows = {
        "q": config["num_attention_heads"] * head_width,
        "k": config["num_key_value_heads"] * head_width,
        "v": config["num_key_value_heads"] * head_width,
    }
    shapes: Shapes = {f"{path}.{name}_proj.weight": (rows[name], width) for name in rows}
    shapes[f"{path}.o_proj.weight"] = (width, rows["q"])
    if biased:
        shapes |= {f"{path}.{name}_proj.bias": (rows[name],) for name in rows}
    if normed:
        shapes |= {f"{path}.{name}_norm.weight": (head_width,) for name in "qk"}
    return shapes


def _head_width(config: Config) -> int:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _feed_forward(path: str, config: Config) -> Shapes:
    width = config["hidden_size"]
    experts = config.get("num_experts")
    if not experts:
        return _gated(path, config["intermediate_size"], width)
    inner = config.get("moe_intermediate_size") or config["expert_intermediate_size"]
    shapes: Shapes = {f"{path}.gate.weight": (experts, width)}
    for expert in range(experts):
        shapes |= _gated(f"{path}.experts.{expert}", inner, width)
    return shapes


def _gated(path: str, inner: int, width: int) -> Shapes:
    return {
        f"{path}.gate_proj.weight": (inner, width),
        f"{path}.up_proj.weight": (inner, width),
        f"{path}.down_proj.weight": (width, inner),
    }


def _qwen2_tensors(config: Config) -> Shapes:
    return _llama_tensors(config, biased=True)


def _qwen3_tensors(config: Config) -> Shapes:
    return _llama_tensors(config, normed=True)


def _nemotron_tensors(config: Config) -> Shapes:
    return _llama_tensors(config, body="encoder", head="diffusion_head")


def _llada2_tensors(config: Config) -> Shapes:
    rows, width = config["vocab_size"], config["hidden_size"]
    shapes: Shapes = {"model.word_embeddings.weight": (rows, width)}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        dense = layer < config["first_k_dense_replace"]
        shapes |= {
            f"{block}.input_layernorm.weight": (width,),
            **_fused_attention(f"{block}.attention", config),
            f"{block}.post_attention_layernorm.weight": (width,),
            **(
                _gated(f"{block}.mlp", config["intermediate_size"], width)
                if dense
                else _shared_and_routed(f"{block}.mlp", config)
            ),
        }
    return shapes | {"model.norm.weight": (width,), "lm_head.weight": (rows, width)}


def _fused_attention(path: str, config: Config) -> Shapes:
    width, head_width = config["hidden_size"], _head_width(config)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    return {
        f"{path}.query_key_value.weight": ((heads + 2 * kv_heads) * head_width, width),
        f"{path}.dense.weight": (width, heads * head_width),
        f"{path}.query_layernorm.weight": (head_width,),
        f"{path}.key_layernorm.weight": (head_width,),
    }


def _shared_and_routed(path: str, config: Config) -> Shapes:
    shared = config["moe_intermediate_size"] * config["num_shared_experts"]
    return {
        f"{path}.gate.expert_bias": (config["num_experts"],),
        **_feed_forward(path, config),
        **_gated(f"{path}.shared_experts", shared, config["hidden_size"]),
    }


# Families


def _remote(stem: str, model: str, config: str, **more: str) -> dict[str, Any]:
    """Name remote code as the Hub does; none of these files exists."""
    return {
        "AutoConfig": f"configuration_{stem}.{config}",
        "AutoModel": f"modeling_{stem}.{model}",
        **{name: f"modeling_{stem}.{value}" for name, value in more.items()},
    }


def _after(first: int, *tokens: str) -> dict[str, int]:
    return {token: first + place for place, token in enumerate(tokens)}


_SIZE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": ROWS,
}

_COMMON = {
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.52.3",
    "use_cache": True,
}

_QWEN = {
    **_SIZE,
    **_COMMON,
    "max_position_embeddings": 32768,
    "max_window_layers": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "use_sliding_window": False,
}

_QWEN3 = {**_QWEN, "attention_bias": False, "head_dim": 32}

_MOE = {
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 32,
    "norm_topk_prob": True,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
}

# Two holes, as published: the largest id is well above the number of tokens.
_LLADA_SPECIAL = {
    **_after(WORDS + 10, "<|startoftext|>", "<|endoftext|>"),
    "<|mdm_mask|>": 400,
    **_after(410, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
}

_LLADA = Family(
    config={
        "activation_type": "silu",
        "alibi": False,
        "alibi_bias_max": 8.0,
        "architectures": ["LLaDAModelLM"],
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "attention_layer_norm_with_affine": True,
        "auto_map": _remote(
            "llada", "LLaDAModelLM", "LLaDAConfig", AutoModelForCausalLM="LLaDAModelLM"
        ),
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": 64,
        "embedding_dropout": 0.0,
        "embedding_size": ROWS,
        "flash_attention": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "init_cutoff_factor": None,
        "init_device": "meta",
        "init_fn": "mitchell",
        "init_std": 0.02,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "max_sequence_length": 4096,
        "mlp_hidden_size": 96,
        "mlp_ratio": 4,
        "model_type": "llada",
        "multi_query_attention": None,
        "n_heads": 4,
        "n_kv_heads": 4,
        "n_layers": 2,
        "precision": "amp_bf16",
        "residual_dropout": 0.0,
        "rms_norm_eps": 1e-05,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 500000.0,
        "scale_logits": False,
        "torch_dtype": "float32",
        "transformers_version": "4.46.3",
        "use_cache": False,
        "vocab_size": ROWS,
        "weight_tying": False,
    },
    tensors=_llada_tensors,
    special=_LLADA_SPECIAL,
    ids={
        "mask_token_id": "<|mdm_mask|>",
        "eos_token_id": "<|endoftext|>",
        "pad_token_id": "<|endoftext|>",
    },
    roles={
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    },
    template=LLAMA_TEMPLATE,
)

_ILLADA = Family(
    config={
        **_SIZE,
        **_COMMON,
        "architectures": ["iLLaDAModelLM"],
        "attention_bias": False,
        "auto_map": _remote(
            "illada", "iLLaDAModelLM", "iLLaDAConfig", AutoModelForCausalLM="iLLaDAModelLM"
        ),
        "layer_norm_eps": None,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "illada",
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
    },
    tensors=_llama_tensors,
    # The published mask is 5: a special token below the ordinary ones.
    special=_after(
        0,
        "<|startoftext|>",
        "<|endoftext|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|mdm_mask|>",
    ),
    first_word=6,
    ids=_LLADA.ids,
    roles=_LLADA.roles,
    template=LLAMA_TEMPLATE,
)

_ROLE_SPECIAL = _after(
    WORDS, "<|startoftext|>", "<|endoftext|>", "<role>", "</role>", "<|role_end|>", "<|mask|>"
)
_ROLE_IDS = {
    "mask_token_id": "<|mask|>",
    "eos_token_id": "<|endoftext|>",
    "pad_token_id": "<|endoftext|>",
}
_ROLE_ROLES = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "mask_token": "<|mask|>",
    "pad_token": "<|endoftext|>",
}

_LLADA_MOE = Family(
    config={
        **_COMMON,
        "architectures": ["LLaDAMoEModelLM"],
        "attention_bias": False,
        "auto_map": _remote(
            "lladamoe", "LLaDAMoEModelLM", "LLaDAConfig", AutoModelForCausalLM="LLaDAMoEModelLM"
        ),
        "clip_qkv": None,
        "dense_intermediate_size": 96,
        "expert_intermediate_size": 32,
        "hidden_size": 64,
        "max_position_embeddings": 8192,
        "model_type": "llada",
        "moe_layer_freq": [1, 1],
        "moe_router_enable_expert_bias": False,
        "moe_router_score_function": "softmax",
        "norm_topk_prob": None,
        "num_attention_heads": 4,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 4,
        "output_router_logits": False,
        "partial_rotary_factor": 1,
        "qk_layernorm": True,
        "rms_norm_eps": 1e-05,
        "rope_theta": 50000,
        "routed_scaling_factor": 1,
        "router_aux_loss_coef": 0.01,
        "router_num_group": None,
        "router_topk_group": None,
        "shared_expert_intermediate_size": None,
        "use_cache": False,
        "vocab_size": ROWS,
    },
    tensors=_qwen3_tensors,
    special=_ROLE_SPECIAL,
    ids=_ROLE_IDS,
    roles=_ROLE_ROLES,
    template=ROLE_TEMPLATE,
)

_LLADA2 = Family(
    config={
        **_SIZE,
        **_COMMON,
        "architectures": ["LLaDA2MoeModelLM"],
        "auto_map": _remote(
            "llada2_moe",
            "LLaDA2MoeModel",
            "LLaDA2MoeConfig",
            AutoModelForCausalLM="LLaDA2MoeModelLM",
        ),
        "embedding_dropout": 0.0,
        "first_k_dense_replace": 1,
        "head_dim": 32,
        "max_position_embeddings": 16384,
        "max_window_layers": 3,
        "model_type": "llada2_moe",
        "moe_intermediate_size": 32,
        "moe_router_enable_expert_bias": True,
        "n_group": 4,
        "norm_topk_prob": True,
        "num_experts": 8,
        "num_experts_per_tok": 3,
        "num_hidden_layers": 3,
        "num_shared_experts": 1,
        "output_dropout": 0.0,
        "output_router_logits": False,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-06,
        "rope_theta": 600000,
        "routed_scaling_factor": 2.5,
        "router_dtype": "fp32",
        "score_function": "sigmoid",
        "sliding_window": 4096,
        "topk_group": 2,
        "use_bias": False,
        "use_cache": False,
        "use_qkv_bias": False,
        "use_rmsnorm": True,
        "use_sliding_window": False,
    },
    tensors=_llada2_tensors,
    special=_ROLE_SPECIAL,
    ids=_ROLE_IDS,
    roles=_ROLE_ROLES,
    template=ROLE_TEMPLATE,
)

_DREAM = Family(
    config={
        **_QWEN,
        "architectures": ["DreamModel"],
        "auto_map": _remote("dream", "DreamModel", "DreamConfig"),
        "max_position_embeddings": 131072,
        "model_type": "Dream",
    },
    tensors=_qwen2_tensors,
    special=_after(
        WORDS, "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"
    ),
    ids={
        "mask_token_id": "<|mask|>",
        "bos_token_id": "<|endoftext|>",
        "eos_token_id": "<|endoftext|>",
        "pad_token_id": "<|endoftext|>",
    },
    roles={
        "bos_token": "<|beginoftext|>",
        "eos_token": "<|endoftext|>",
        "mask_token": "<|mask|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    },
    template=QWEN2_TEMPLATE,
    tokenizer_class="DreamTokenizer",
    tokenizer_map={"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
    fast=False,
    slow=True,
    stops=("<|endoftext|>",),
)

_FAST_DLLM_V2 = Family(
    config={
        **_QWEN,
        "architectures": ["Fast_dLLM_QwenForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration.Fast_dLLM_QwenConfig",
            "AutoModel": "modeling.Fast_dLLM_QwenModel",
            "AutoModelForCausalLM": "modeling.Fast_dLLM_QwenForCausalLM",
        },
        "bd_size": 32,
        "model_type": "Fast_dLLM_Qwen",
        "tie_word_embeddings": True,
    },
    tensors=_qwen2_tensors,
    special=_after(WORDS, "<|endoftext|>", "<|im_start|>", "<|im_end|>", "|<MASK>|"),
    ids={
        "mask_token_id": "|<MASK>|",
        "bos_token_id": "<|endoftext|>",
        "eos_token_id": "<|im_end|>",
        "pad_token_id": "<|endoftext|>",
    },
    roles={"eos_token": "<|im_end|>", "mask_token": "|<MASK>|", "pad_token": "<|endoftext|>"},
    template=QWEN2_TEMPLATE,
    tokenizer_class="Qwen2Tokenizer",
    slow=True,
    stops=("<|im_end|>", "<|endoftext|>"),
)

_QWEN3_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")

_SDAR = Family(
    config={
        **_QWEN3,
        "architectures": ["SDARForCausalLM"],
        "auto_map": _remote(
            "sdar", "SDARModel", "SDARConfig", AutoModelForCausalLM="SDARForCausalLM"
        ),
        "block_size": 4,
        "fuse_cross_entropy": True,
        "model_type": "sdar",
    },
    tensors=_qwen3_tensors,
    special=_after(WORDS, *_QWEN3_SPECIAL, "<|MASK|>"),
    ids={
        "mask_token_id": "<|MASK|>",
        "bos_token_id": "<|endoftext|>",
        "eos_token_id": "<|endoftext|>",
        "pad_token_id": "<|endoftext|>",
    },
    roles={"eos_token": "<|im_end|>", "mask_token": "<|MASK|>", "pad_token": "<|endoftext|>"},
    template=QWEN3_TEMPLATE,
    tokenizer_class="Qwen2Tokenizer",
    slow=True,
    stops=("<|im_end|>", "<|endoftext|>"),
)

_SDAR_MOE = Family(
    config={
        **_QWEN3,
        **_MOE,
        "architectures": ["SDARMoeForCausalLM"],
        "auto_map": _remote(
            "sdar_moe", "SDARMoeModel", "SDARMoeConfig", AutoModelForCausalLM="SDARMoeForCausalLM"
        ),
        "block_size": 4,
        "fuse_cross_entropy": True,
        "model_type": "sdar_moe",
    },
    tensors=_qwen3_tensors,
    special=_SDAR.special,
    ids=_SDAR.ids,
    roles=_SDAR.roles,
    template=QWEN3_TEMPLATE,
    tokenizer_class="Qwen2Tokenizer",
    slow=True,
    stops=_SDAR.stops,
)

_NEMOTRON = Family(
    config={
        **_SIZE,
        "architectures": ["NemotronLabsDiffusionModel"],
        "attention_dropout": 0.0,
        "auto_map": _remote(
            "nemotron_labs_diffusion",
            "NemotronLabsDiffusionModel",
            "NemotronLabsDiffusionConfig",
        ),
        "block_size": 32,
        "head_dim": 32,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 262144,
        "model_type": "nemotron_labs_diffusion",
        "rms_norm_eps": 1e-05,
        "rope_parameters": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 16.0,
            "llama_4_scaling_beta": 0.1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 16384,
            "rope_theta": 1000000.0,
            "rope_type": "yarn",
            "type": "yarn",
        },
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "5.0.0",
        "use_cache": True,
    },
    tensors=_nemotron_tensors,
    special=_after(0, "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<SPECIAL_100>"),
    first_word=6,
    ids={
        "mask_token_id": "<SPECIAL_100>",
        "bos_token_id": "<s>",
        "eos_token_id": "<|im_end|>",
        "pad_token_id": "<unk>",
    },
    roles={
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "pad_token": "<unk>",
        "unk_token": "<unk>",
    },
    template=QWEN3_TEMPLATE,
    stops=("<|im_end|>",),
)

_LLAMA = Family(
    config={
        **_SIZE,
        **_COMMON,
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "max_position_embeddings": 8192,
        "mlp_bias": False,
        "model_type": "llama",
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
    },
    tensors=_llama_tensors,
    special=_after(
        WORDS,
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ),
    ids={"bos_token_id": "<|begin_of_text|>", "eos_token_id": "<|eot_id|>"},
    roles={
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|end_of_text|>",
    },
    template=LLAMA_TEMPLATE,
    stops=("<|end_of_text|>", "<|eot_id|>"),
)

_QWEN3_CAUSAL = Family(
    config={**_QWEN3, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
    tensors=_qwen3_tensors,
    special=_after(WORDS, *_QWEN3_SPECIAL),
    ids={"bos_token_id": "<|endoftext|>", "eos_token_id": "<|im_end|>"},
    roles={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    template=QWEN3_TEMPLATE,
    tokenizer_class="Qwen2Tokenizer",
    slow=True,
    stops=("<|im_end|>", "<|endoftext|>"),
)

_FAMILIES = {
    "llada": _LLADA,
    "illada": _ILLADA,
    "llada-moe": _LLADA_MOE,
    "llada2": _LLADA2,
    "dream": _DREAM,
    "fast-dllm-v2": _FAST_DLLM_V2,
    "sdar": _SDAR,
    "sdar-moe": _SDAR_MOE,
    "nemotron": _NEMOTRON,
    "llama": _LLAMA,
    "qwen3": _QWEN3_CAUSAL,
}

FAMILIES = tuple(_FAMILIES)
