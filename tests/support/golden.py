"""What each family's network computes, written once more from the papers.

A referee for the adapters: it reads ``config.json`` and the tensors by their published names,
knows neither transformers nor our own loader, and takes a sequence at a time with no cache, no
padding and no fused kernel.  It counts in float64, so that whatever differs is the adapter's
rounding; only angles are float32, for far along a text their rounding is part of the network.

Letters in shapes: T tokens, W width of the model, H heads, G heads of keys (each serves H / G
heads of queries), D width of a head, R frequencies, V rows of the vocabulary.

Sources: RMSNorm (arXiv:1910.07467); rotary positions (arXiv:2104.09864); SwiGLU
(arXiv:2002.05202); grouped queries (arXiv:2305.13245); YaRN (arXiv:2309.00071); group-limited
sigmoid routing (DeepSeek-V3, arXiv:2412.19437, equations 12 to 16).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import silu

Config = Mapping[str, Any]
Weights = Mapping[str, Tensor]
FeedForward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """How a position turns queries and keys.

    Args:
        frequencies: Radians per position, [R]; the first 2 R entries of a head turn.
        gain: Stretches what is turned.
        query_gain: Stretches queries by their position: [T] to [T].
    """

    frequencies: Tensor
    gain: float = 1.0
    query_gain: Callable[[Tensor], Tensor] = torch.ones_like


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The tensors of one layer; those that a family lacks are ``None``."""

    attention_norm: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    feed_norm: Tensor
    feed_forward: FeedForward
    query_bias: Tensor | None = None
    key_bias: Tensor | None = None
    value_bias: Tensor | None = None
    query_norm: Tensor | None = None
    key_norm: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Network:
    """A whole network: every family here differs from the others in no more than this."""

    embedding: Tensor
    layers: list[Layer]
    norm: Tensor
    head: Tensor
    head_width: int
    epsilon: float
    rotary: Rotary


def logits(folder: Path, ids: Tensor, allowed: Tensor, positions: Tensor) -> Tensor:
    """Return what the network puts out at each token, [T, V] float32; no row is shifted.

    Args:
        folder: A checkpoint in its family's published layout, with safetensors.
        ids: Tokens, [T] long.
        allowed: [T, T] bool; true where query t attends to key s.
        positions: [T] long.

    Raises:
        ValueError: A query has no key to attend to, or nobody taught this module the network.
    """
    network = _read(folder)
    hidden, _ = _passed(network, ids, allowed, positions)
    return (_normalise(hidden, network.norm, network.epsilon) @ network.head.T).float()


def attention(folder: Path, ids: Tensor, allowed: Tensor, positions: Tensor) -> Tensor:
    """Return how much each token attends to each, [layers, H, T, T] float32.

    The arguments are those of ``logits``, and so are the errors.
    """
    return _passed(_read(folder), ids, allowed, positions)[1].float()


def _passed(
    network: Network, ids: Tensor, allowed: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the last hidden states, [T, W], and who attends to whom, [layers, H, T, T]."""
    if not allowed.any(dim=1).all():
        alone = (~allowed.any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"every query needs a key, but rows {alone} of allowed are empty")
    hidden = network.embedding[ids]
    each = []
    for layer in network.layers:
        seen = _normalise(hidden, layer.attention_norm, network.epsilon)
        added, shares = _attend(seen, layer, network, allowed, positions)
        each.append(shares)
        hidden = hidden + added
        seen = _normalise(hidden, layer.feed_norm, network.epsilon)
        hidden = hidden + layer.feed_forward(seen)
    return hidden, torch.stack(each)


def _read(folder: Path) -> Network:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= {name: tensor.double() for name, tensor in load_file(file).items()}
    (architecture,) = config["architectures"]
    if architecture not in _NETWORKS:
        raise ValueError(f"no network is called {architecture!r}; known: {', '.join(_NETWORKS)}")
    return _NETWORKS[architecture](config, weights)


# Blocks


def _normalise(vectors: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Divide by the root mean square over the last axis (RMSNorm)."""
    return weight * vectors / (vectors.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()


def _attend(
    hidden: Tensor, layer: Layer, network: Network, allowed: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what attention adds to the hidden states, [T, W], and its shares, [H, T, T]."""

    def heads(weight: Tensor, bias: Tensor | None) -> Tensor:
        projected = hidden @ weight.T if bias is None else hidden @ weight.T + bias
        return projected.unflatten(-1, (-1, network.head_width))

    query = heads(layer.query, layer.query_bias)
    key = heads(layer.key, layer.key_bias)
    value = heads(layer.value, layer.value_bias)
    if layer.query_norm is not None:
        query = _normalise(query, layer.query_norm, network.epsilon)
    if layer.key_norm is not None:
        key = _normalise(key, layer.key_norm, network.epsilon)
    query = _turn(query, positions, network.rotary)
    query = query * network.rotary.query_gain(positions.double())[:, None, None]
    key = _turn(key, positions, network.rotary)
    mixed, shares = _mix(query, key, value, allowed)
    return mixed @ layer.output.T, shares


def _turn(vectors: Tensor, positions: Tensor, rotary: Rotary) -> Tensor:
    """Turn entry i of each head against entry i + R by the angle of its position, [T, H, D]."""
    half = len(rotary.frequencies)
    angles = (positions[:, None].float() * rotary.frequencies)[:, None, :].double()
    cosine, sine = rotary.gain * angles.cos(), rotary.gain * angles.sin()
    first, second, rest = vectors.split((half, half, vectors.shape[-1] - 2 * half), dim=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine, rest)
    return torch.cat(turned, dim=-1)


def _mix(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values as the queries weigh them, [T, H D], and the weights, [H, T, T].

    Args:
        query: [T, H, D]; heads g H / G to (g + 1) H / G read keys of head g.
        key: [T, G, D].
        value: [T, G, D].
        allowed: [T, T] bool, queries by keys.
    """
    grouped = query.unflatten(1, (key.shape[1], -1))
    scores = torch.einsum("tgrd,sgd->grts", grouped, key) / math.sqrt(key.shape[-1])
    shares = scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    return torch.einsum("grts,sgd->tgrd", shares, value).flatten(1), shares.flatten(0, 1)


# Feed-forward parts


def _gated(gate: Tensor, up: Tensor, down: Tensor) -> FeedForward:
    """Return SwiGLU with these matrices."""
    return lambda hidden: (silu(hidden @ gate.T) * (hidden @ up.T)) @ down.T


def _dense(weights: Weights, path: str) -> FeedForward:
    gate, up, down = (weights[f"{path}.{part}_proj.weight"] for part in ("gate", "up", "down"))
    return _gated(gate, up, down)


def _routed(
    weights: Weights, path: str, experts: int, shares: Callable[[Tensor], Tensor]
) -> FeedForward:
    """Return a sum of experts, each weighed by its share.

    Args:
        weights: Of the checkpoint.
        path: What the experts' names begin with.
        experts: How many.
        shares: Gives each expert's weight at each token, 0 for one not chosen: [T, W] to
            [T, experts].
    """
    each = [_dense(weights, f"{path}.experts.{expert}") for expert in range(experts)]

    def feed_forward(hidden: Tensor) -> Tensor:
        answers = torch.stack([expert(hidden) for expert in each], dim=1)
        return torch.einsum("te,tew->tw", shares(hidden), answers)

    return feed_forward


def _softmax_shares(router: Tensor, kept: int, *, renormalised: bool) -> Callable:
    """Return the router of Qwen3-MoE: the likeliest ``kept`` experts share the token."""

    def shares(hidden: Tensor) -> Tensor:
        probability = (hidden @ router.T).softmax(dim=-1)
        chosen = _largest(probability, kept) * probability
        return chosen / chosen.sum(dim=-1, keepdim=True) if renormalised else chosen

    return shares


def _grouped_shares(router: Tensor, bias: Tensor, config: Config) -> Callable:
    """Return the router of LLaDA2: the best experts of the best groups share the token.

    The bias has a say in who is chosen and none in the weight of the chosen.
    """

    def shares(hidden: Tensor) -> Tensor:
        affinity = (hidden @ router.T).sigmoid()
        biased = (affinity + bias).unflatten(-1, (config["n_group"], -1))
        best_two = biased.topk(2, dim=-1).values.sum(dim=-1)
        open_groups = _largest(best_two, config["topk_group"])[:, :, None]
        candidates = biased.masked_fill(~open_groups, -torch.inf).flatten(1)
        chosen = _largest(candidates, config["num_experts_per_tok"]) * affinity
        if config["norm_topk_prob"]:
            chosen = chosen / (chosen.sum(dim=-1, keepdim=True) + 1e-20)
        return config["routed_scaling_factor"] * chosen

    return shares


def _largest(values: Tensor, count: int) -> Tensor:
    """Return true at the ``count`` largest entries of each row."""
    found = torch.zeros_like(values, dtype=torch.bool)
    return found.scatter(-1, values.topk(count, dim=-1).indices, value=True)


# Positions


def _plain_rotary(theta: float, width: int) -> Rotary:
    """Return rotary positions over ``width`` entries of a head."""
    exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
    return Rotary(frequencies=1 / theta**exponents)


def _yarn(parameters: Config, width: int) -> Rotary:
    """Return YaRN's positions: slow frequencies are divided by the factor, fast ones are kept.

    Between them runs a ramp over i in [0, R), from the frequency that makes ``beta_fast`` whole
    turns within the original context to the one that makes ``beta_slow`` (section 3.2, NTK by
    parts; as there, the ends of the ramp are rounded outwards).
    """
    theta, factor = parameters["rope_theta"], parameters["factor"]
    context = parameters["original_max_position_embeddings"]

    def place(turns: float) -> float:
        return width * math.log(context / (2 * math.pi * turns)) / (2 * math.log(theta))

    start = max(math.floor(place(parameters["beta_fast"])), 0)
    end = min(math.ceil(place(parameters["beta_slow"])), width - 1)
    ramp = ((torch.arange(width // 2) - start) / (end - start)).clamp(0, 1)
    fast = _plain_rotary(theta, width).frequencies
    stretch = {
        name: 0.1 * parameters[name] * math.log(factor) + 1 for name in ("mscale", "mscale_all_dim")
    }
    return Rotary(
        frequencies=fast * (1 - ramp) + fast / factor * ramp,
        gain=stretch["mscale"] / stretch["mscale_all_dim"],
        query_gain=_llama4_gain(parameters["llama_4_scaling_beta"], context),
    )


def _llama4_gain(beta: float, context: int) -> Callable[[Tensor], Tensor]:
    """Return Llama 4's gain of queries: 1 within the original context, then slowly more."""
    return lambda positions: 1 + beta * (1 + (positions / context).floor()).log()


# Networks, by the names in config.json


def _llada(config: Config, weights: Weights) -> Network:
    root = "model.transformer"
    head_width = config["d_model"] // config["n_heads"]
    return Network(
        embedding=weights[f"{root}.wte.weight"],
        layers=[
            _llada_layer(weights, f"{root}.blocks.{layer}") for layer in range(config["n_layers"])
        ],
        norm=weights[f"{root}.ln_f.weight"],
        head=weights[f"{root}.ff_out.weight"],
        head_width=head_width,
        epsilon=config["rms_norm_eps"],
        rotary=_plain_rotary(config["rope_theta"], head_width),
    )


def _llada_layer(weights: Weights, path: str) -> Layer:
    return Layer(
        attention_norm=weights[f"{path}.attn_norm.weight"],
        query=weights[f"{path}.q_proj.weight"],
        key=weights[f"{path}.k_proj.weight"],
        value=weights[f"{path}.v_proj.weight"],
        output=weights[f"{path}.attn_out.weight"],
        feed_norm=weights[f"{path}.ff_norm.weight"],
        feed_forward=_gated(
            weights[f"{path}.ff_proj.weight"],
            weights[f"{path}.up_proj.weight"],
            weights[f"{path}.ff_out.weight"],
        ),
    )


def _llama(
    config: Config, weights: Weights, *, body: str = "model", head: str = "lm_head"
) -> Network:
    """Read any network that names its tensors as Llama does, with or without experts."""
    head_width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    parameters = config.get("rope_parameters")
    embedding = weights[f"{body}.embed_tokens.weight"]
    return Network(
        embedding=embedding,
        layers=[
            _llama_layer(config, weights, f"{body}.layers.{layer}")
            for layer in range(config["num_hidden_layers"])
        ],
        norm=weights[f"{body}.norm.weight"],
        head=embedding if config["tie_word_embeddings"] else weights[f"{head}.weight"],
        head_width=head_width,
        epsilon=config["rms_norm_eps"],
        rotary=_yarn(parameters, head_width)
        if parameters
        else _plain_rotary(config["rope_theta"], head_width),
    )


def _llama_layer(config: Config, weights: Weights, path: str) -> Layer:
    attention = f"{path}.self_attn"
    return Layer(
        attention_norm=weights[f"{path}.input_layernorm.weight"],
        query=weights[f"{attention}.q_proj.weight"],
        key=weights[f"{attention}.k_proj.weight"],
        value=weights[f"{attention}.v_proj.weight"],
        query_bias=weights.get(f"{attention}.q_proj.bias"),
        key_bias=weights.get(f"{attention}.k_proj.bias"),
        value_bias=weights.get(f"{attention}.v_proj.bias"),
        query_norm=weights.get(f"{attention}.q_norm.weight"),
        key_norm=weights.get(f"{attention}.k_norm.weight"),
        output=weights[f"{attention}.o_proj.weight"],
        feed_norm=weights[f"{path}.post_attention_layernorm.weight"],
        feed_forward=_llama_feed_forward(config, weights, f"{path}.mlp"),
    )


def _llama_feed_forward(config: Config, weights: Weights, path: str) -> FeedForward:
    if "num_experts" not in config:
        return _dense(weights, path)
    shares = _softmax_shares(
        weights[f"{path}.gate.weight"],
        config["num_experts_per_tok"],
        # LLaDA-MoE publishes null, which its code reads as no.
        renormalised=bool(config["norm_topk_prob"]),
    )
    return _routed(weights, path, config["num_experts"], shares)


def _nemotron(config: Config, weights: Weights) -> Network:
    return _llama(config, weights, body="encoder", head="diffusion_head")


def _llada2(config: Config, weights: Weights) -> Network:
    head_width = config["head_dim"]
    turned = int(head_width * config["partial_rotary_factor"])
    return Network(
        embedding=weights["model.word_embeddings.weight"],
        layers=[
            _llada2_layer(config, weights, layer) for layer in range(config["num_hidden_layers"])
        ],
        norm=weights["model.norm.weight"],
        head=weights["lm_head.weight"],
        head_width=head_width,
        epsilon=config["rms_norm_eps"],
        rotary=_plain_rotary(config["rope_theta"], turned),
    )


def _llada2_layer(config: Config, weights: Weights, number: int) -> Layer:
    path = f"model.layers.{number}"
    attention = f"{path}.attention"
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    rows = [count * config["head_dim"] for count in (heads, key_heads, key_heads)]
    query, key, value = weights[f"{attention}.query_key_value.weight"].split(rows)
    dense = number < config["first_k_dense_replace"]
    return Layer(
        attention_norm=weights[f"{path}.input_layernorm.weight"],
        query=query,
        key=key,
        value=value,
        query_norm=weights.get(f"{attention}.query_layernorm.weight"),
        key_norm=weights.get(f"{attention}.key_layernorm.weight"),
        output=weights[f"{attention}.dense.weight"],
        feed_norm=weights[f"{path}.post_attention_layernorm.weight"],
        feed_forward=_dense(weights, f"{path}.mlp")
        if dense
        else _shared_and_routed(config, weights, f"{path}.mlp"),
    )


def _shared_and_routed(config: Config, weights: Weights, path: str) -> FeedForward:
    shared = _dense(weights, f"{path}.shared_experts")
    router, bias = weights[f"{path}.gate.weight"], weights[f"{path}.gate.expert_bias"]
    routed = _routed(weights, path, config["num_experts"], _grouped_shares(router, bias, config))
    return lambda hidden: shared(hidden) + routed(hidden)


_NETWORKS: dict[str, Callable[[Config, Weights], Network]] = {
    "LLaDAModelLM": _llada,
    "iLLaDAModelLM": _llama,
    "LLaDAMoEModelLM": _llama,
    "LLaDA2MoeModelLM": _llada2,
    "DreamModel": _llama,
    "Fast_dLLM_QwenForCausalLM": _llama,
    "SDARForCausalLM": _llama,
    "SDARMoeForCausalLM": _llama,
    "NemotronLabsDiffusionModel": _nemotron,
    "LlamaForCausalLM": _llama,
    "Qwen3ForCausalLM": _llama,
}
