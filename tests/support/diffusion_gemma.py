"""A tiny random DiffusionGemma, and what it computes, written once more.

The checkpoint is what ``save_pretrained`` of the class in transformers writes, which is how the
family is published: weights that encoder and decoder share stand there once, under the decoder's
names, and each has layer scalars of its own.  Every tensor that plays a part is random, so that
leaving one out shows.

The golden forward reads that folder and knows neither transformers nor our own code.  It counts
in float64, takes one sequence at a time and has neither cache nor padding.  Letters in shapes:
P tokens of the context, C of the canvas, T of either, W width of the model, H heads, G heads of
keys, D width of a head, R frequencies, E experts, V rows of the vocabulary.

Sources: RMSNorm (arXiv:1910.07467); rotary positions (arXiv:2104.09864); GELU (arXiv:1606.08415)
in gated layers (arXiv:2002.05202); grouped queries (arXiv:2305.13245); queries and keys normed
(arXiv:2010.04245); self-conditioning (arXiv:2208.04202); for how they are put together the
modeling file in transformers 5.23, read and not copied.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from support import checkpoints

WINDOW = 12  # tokens that a sliding layer sees, itself included
CANVAS = 16  # tokens of the network's own canvas
CAP = 3.0  # of the logits; published is 30, which ours would hardly feel

SPECIAL = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<|turn>": 4, "<turn|>": 5}

TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{- '<|turn>' + role + '\\n' + message['content'] | trim + '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|turn>model\\n' -}}{%- endif -%}"""

TEXT = {
    "vocab_size": checkpoints.ROWS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_global_key_value_heads": 1,
    "head_dim": 16,
    "global_head_dim": 32,
    "sliding_window": WINDOW,
    "num_experts": 6,
    "top_k_experts": 2,
    "moe_intermediate_size": 32,
    "max_position_embeddings": 4096,
    "final_logit_softcapping": CAP,
    "pad_token_id": SPECIAL["<pad>"],
    "eos_token_id": SPECIAL["<eos>"],
    "bos_token_id": SPECIAL["<bos>"],
}

VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "patch_size": 4,
    "position_embedding_size": 16,
}

Config = Mapping[str, Any]
Weights = Mapping[str, Tensor]


# The checkpoint


def write_checkpoint(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a random DiffusionGemma into ``folder``; return ``folder``.

    Weights are float32 and depend on nothing but ``seed`` and the config.

    Args:
        folder: Made if it does not exist.
        seed: Of the weights.
        changes: Fields of the config's ``text_config`` to replace or add.
    """
    network = random_network(seed, **changes)
    network.generation_config.eos_token_id = [SPECIAL["<eos>"], SPECIAL["<turn|>"]]
    network.generation_config.pad_token_id = SPECIAL["<pad>"]
    network.save_pretrained(folder, max_shard_size="800KB")
    checkpoints._write_tokenizer(_tokenizer(), folder)
    return folder


def random_network(seed: int, **changes: Any) -> Any:
    """Return the class of transformers, tiny and random."""
    from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion

    config = DiffusionGemmaConfig(
        text_config={**TEXT, **changes}, vision_config=VISION, canvas_length=CANVAS
    )
    with torch.random.fork_rng():
        network = DiffusionGemmaForBlockDiffusion(config).eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(seed)
    scalars = {name: t for name, t in network.named_buffers() if name.endswith("layer_scalar")}
    for name, tensor in sorted({**dict(network.named_parameters()), **scalars}.items()):
        tensor.copy_(_random(name, tensor.shape, generator))
    return network


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith(("scale", "scalar")):
        return 1 + 0.2 * torch.randn(*shape, generator=generator)
    gain = 1.0
    if "router" in name:
        gain = math.sqrt(shape[-1])  # it divides by that, and should still prefer some experts
    elif "embed_tokens" in name:
        gain = 0.5  # it is also what makes logits of the last outputs
    elif "q_norm" in name or "k_norm" in name:
        gain = 0.5  # scores are not divided by the square root of a head's width
    return gain * checkpoints._random(name, shape, generator)


def _tokenizer() -> checkpoints.Family:
    return checkpoints.Family(
        config={},
        tensors=lambda _: {},
        special=SPECIAL,
        ids={},
        roles={
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        },
        template=TEMPLATE,
        tokenizer_class="GemmaTokenizer",
        first_word=len(SPECIAL),
    )


# What it computes


class Layer(NamedTuple):
    """One layer of encoder or decoder.

    Args:
        weights: By their names within the layer.
        scalar: What its output is multiplied by.
        width: Of a head.
        reach: How many tokens back it sees.
        frequencies: Radians per position, [D / 2].
    """

    weights: Weights
    scalar: Tensor
    width: int
    reach: float
    frequencies: Tensor


class Network(NamedTuple):
    """All that both halves share."""

    config: Config
    weights: Weights


def golden_logits(folder: Path, prompt_ids: Tensor, canvas_ids: Tensor) -> Tensor:
    """Return what the network says of each token of a canvas, [C, V] float32.

    Args:
        folder: A checkpoint as :func:`write_checkpoint` writes it.
        prompt_ids: What the encoder reads, [P] long: the prompt, and finished blocks behind it.
        canvas_ids: What the decoder sees, [C] long; nothing is known of an earlier step.
    """
    network = _read(folder)
    epsilon = network.config["rms_norm_eps"]
    context = _encode(network, prompt_ids)
    hidden = _embed(network, canvas_ids)
    signal = _conditioning(network, torch.zeros_like(hidden))
    hidden = _normalise(hidden + signal, epsilon)
    positions = torch.arange(len(prompt_ids), len(prompt_ids) + len(canvas_ids))
    for layer, (keys, values) in zip(_layers(network, "decoder"), context, strict=True):
        query, key, value = _heads(layer, hidden, positions, epsilon)
        # The canvas sees all of itself, whatever the window, and the end of the context.
        first = max(0, len(prompt_ids) - layer.reach) if layer.reach < math.inf else 0
        all_keys, all_values = torch.cat([keys[first:], key]), torch.cat([values[first:], value])
        allowed = torch.ones(len(query), len(all_keys), dtype=torch.bool)
        hidden = _finish(network, layer, hidden, _mix(query, all_keys, all_values, allowed))
    hidden = _normalise(hidden, epsilon) * network.weights["model.decoder.norm.weight"]
    logits = hidden @ network.weights["model.decoder.embed_tokens.weight"].T
    cap = network.config["final_logit_softcapping"]
    return (cap * torch.tanh(logits / cap)).float()


def _read(folder: Path) -> Network:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= {name: tensor.double() for name, tensor in load_file(file).items()}
    return Network(config["text_config"], weights)


def _encode(network: Network, ids: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return keys and values of each layer, both [P, G, D]: no token sees a later one."""
    epsilon = network.config["rms_norm_eps"]
    hidden, positions = _embed(network, ids), torch.arange(len(ids))
    back = positions[:, None] - positions[None, :]
    context = []
    for layer in _layers(network, "encoder.language_model"):
        query, key, value = _heads(layer, hidden, positions, epsilon)
        context.append((key, value))
        allowed = (back >= 0) & (back <= layer.reach)
        hidden = _finish(network, layer, hidden, _mix(query, key, value, allowed))
    return context


def _embed(network: Network, ids: Tensor) -> Tensor:
    table = network.weights["model.decoder.embed_tokens.weight"]
    return table[ids] * math.sqrt(table.shape[1])


def _conditioning(network: Network, signal: Tensor) -> Tensor:
    """Return what the decoder adds for what it is told of an earlier step, [C, W]."""
    part = _within(network.weights, "model.decoder.self_conditioning.")
    normed = part["pre_norm.weight"] * _normalise(signal, network.config["rms_norm_eps"])
    return _gated(normed, *(part[f"{name}_proj.weight"] for name in ("gate", "up", "down")))


def _layers(network: Network, half: str) -> list[Layer]:
    config = network.config
    layers = []
    for number, kind in enumerate(config["layer_types"]):
        own = {**config, **config["per_layer_config"].get(str(number), {})}
        sliding = kind == "sliding_attention"
        layer = Layer(
            weights=_within(network.weights, f"model.decoder.layers.{number}."),
            scalar=network.weights[f"model.{half}.layers.{number}.layer_scalar"],
            width=own["head_dim"],
            reach=config["sliding_window"] - 1 if sliding else math.inf,
            frequencies=_frequencies(config["rope_parameters"][kind], own["head_dim"]),
        )
        layers.append(layer)
    return layers


def _frequencies(parameters: Config, width: int) -> Tensor:
    """Return how fast each pair of entries turns; in a proportional rotary some stand still."""
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    frequencies = 1 / parameters["rope_theta"] ** exponents
    if parameters["rope_type"] == "proportional":
        turning = int(parameters["partial_rotary_factor"] * width / 2)
        frequencies[turning:] = 0
    return frequencies


def _heads(
    layer: Layer, hidden: Tensor, positions: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries [T, H, D], keys and values, both [T, G, D]."""
    seen = layer.weights["input_layernorm.weight"] * _normalise(hidden, epsilon)

    def heads(name: str) -> Tensor:
        projected = seen @ layer.weights[f"self_attn.{name}_proj.weight"].T
        return _normalise(projected.unflatten(-1, (-1, layer.width)), epsilon)

    query = layer.weights["self_attn.q_norm.weight"] * heads("q")
    key = layer.weights["self_attn.k_norm.weight"] * heads("k")
    # Where a layer has no matrix for values, they are its keys before scale and rotation.
    value = heads("v") if "self_attn.v_proj.weight" in layer.weights else heads("k")
    turn = positions[:, None, None].float() * layer.frequencies
    return _turned(query, turn.double()), _turned(key, turn.double()), value


def _turned(vectors: Tensor, angles: Tensor) -> Tensor:
    """Turn entry i of each head against entry i + D / 2, [T, H, D]."""
    first, second = vectors.chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def _mix(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """Return the values as the queries weigh them, [T, H D]; scores are not scaled."""
    grouped = query.unflatten(1, (key.shape[1], -1))
    scores = torch.einsum("tgrd,sgd->grts", grouped, key)
    shares = scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    return torch.einsum("grts,sgd->tgrd", shares, value).flatten(1)


def _finish(network: Network, layer: Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
    """Return a layer's output [T, W] from what its attention has mixed."""
    epsilon = network.config["rms_norm_eps"]

    def normed(name: str, vectors: Tensor) -> Tensor:
        return layer.weights[f"{name}.weight"] * _normalise(vectors, epsilon)

    attended = mixed @ layer.weights["self_attn.o_proj.weight"].T
    hidden = hidden + normed("post_attention_layernorm", attended)
    matrices = [layer.weights[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down")]
    dense = _gated(normed("pre_feedforward_layernorm", hidden), *matrices)
    sparse = _experts(
        layer.weights,
        normed("pre_feedforward_layernorm_2", hidden),
        _shares(network.config, layer.weights, hidden),
    )
    both = normed("post_feedforward_layernorm_1", dense)
    both = both + normed("post_feedforward_layernorm_2", sparse)
    return layer.scalar * (hidden + normed("post_feedforward_layernorm", both))


def _shares(config: Config, weights: Weights, hidden: Tensor) -> Tensor:
    """Return each expert's weight at each token, 0 for one not chosen, [T, E]."""
    seen = _normalise(hidden, config["rms_norm_eps"]) * weights["router.scale"]
    scores = seen / math.sqrt(hidden.shape[-1]) @ weights["router.proj.weight"].T
    best = scores.softmax(dim=-1).topk(config["top_k_experts"], dim=-1)
    shares = torch.zeros_like(scores).scatter(-1, best.indices, best.values)
    return shares / shares.sum(dim=-1, keepdim=True) * weights["router.per_expert_scale"]


def _experts(weights: Weights, hidden: Tensor, shares: Tensor) -> Tensor:
    """Return the sum of all experts as they are weighed, [T, W]."""
    answers = []
    for number, down in enumerate(weights["experts.down_proj"]):
        gate, up = weights["experts.gate_up_proj"][number].chunk(2)
        answers.append(_gated(hidden, gate, up, down))
    return torch.einsum("te,etw->tw", shares, torch.stack(answers))


def _gated(hidden: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Return GEGLU, with GELU by its approximation with tanh."""
    opened = torch.nn.functional.gelu(hidden @ gate.T, approximate="tanh")
    return opened * (hidden @ up.T) @ down.T


def _normalise(vectors: Tensor, epsilon: float) -> Tensor:
    """Divide by the root mean square over the last axis (RMSNorm), without a scale."""
    return vectors / (vectors.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()


def _within(weights: Weights, path: str) -> dict[str, Tensor]:
    return {name.removeprefix(path): w for name, w in weights.items() if name.startswith(path)}
