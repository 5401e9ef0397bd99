"""The golden forwards against the stock classes of transformers, loaded here by hand.

``golden.py`` judges the adapters, so it must not be judged by them: every family's tensors are
renamed, split and stacked in this file, and the stock class is told its config field by field.
"""

import json
import re

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from support import checkpoints, golden

TOLERANCE = 1e-5
BATCH, LENGTH, BLOCK = 4, 24, 8

SAME_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "rms_norm_eps",
    "tie_word_embeddings",
    "max_position_embeddings",
)


def plain_rope(config, **more):
    return {"rope_type": "default", "rope_theta": config["rope_theta"], **more}


def same(config, **more):
    shared = {name: config[name] for name in SAME_FIELDS if name in config}
    if "rope_theta" in config:
        shared["rope_parameters"] = plain_rope(config)
    return {**shared, **more}


def llada(config):
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(
        vocab_size=config["embedding_size"],
        hidden_size=config["d_model"],
        intermediate_size=config["mlp_hidden_size"],
        num_hidden_layers=config["n_layers"],
        num_attention_heads=config["n_heads"],
        num_key_value_heads=config["n_kv_heads"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_parameters=plain_rope(config),
        tie_word_embeddings=False,
    )


def llama(config):
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(**same(config))


def qwen2(config):
    return transformers.Qwen2ForCausalLM, transformers.Qwen2Config(**same(config))


def qwen3(config):
    whole = same(config, head_dim=config["head_dim"])
    return transformers.Qwen3ForCausalLM, transformers.Qwen3Config(**whole)


def experts(config, *, inner, renormalised):
    return {
        "num_experts": config["num_experts"],
        "num_experts_per_tok": config["num_experts_per_tok"],
        "moe_intermediate_size": inner,
        "norm_topk_prob": renormalised,
    }


def llada_moe(config):
    sparse = experts(config, inner=config["expert_intermediate_size"], renormalised=False)
    head_width = config["hidden_size"] // config["num_attention_heads"]
    whole = same(config, head_dim=head_width, **sparse)
    return transformers.Qwen3MoeForCausalLM, transformers.Qwen3MoeConfig(**whole)


def sdar_moe(config):
    sparse = experts(config, inner=config["moe_intermediate_size"], renormalised=True)
    whole = same(config, head_dim=config["head_dim"], **sparse)
    return transformers.Qwen3MoeForCausalLM, transformers.Qwen3MoeConfig(**whole)


def llada2(config):
    whole = same(
        config,
        head_dim=config["head_dim"],
        rope_parameters=plain_rope(config, partial_rotary_factor=config["partial_rotary_factor"]),
        moe_intermediate_size=config["moe_intermediate_size"],
        num_experts_per_tok=config["num_experts_per_tok"],
        n_routed_experts=config["num_experts"],
        n_shared_experts=config["num_shared_experts"],
        routed_scaling_factor=config["routed_scaling_factor"],
        n_group=config["n_group"],
        topk_group=config["topk_group"],
        first_k_dense_replace=config["first_k_dense_replace"],
        norm_topk_prob=True,
        use_qk_norm=True,
        num_mtp_layers=0,
    )
    return transformers.Glm4MoeForCausalLM, transformers.Glm4MoeConfig(**whole)


def nemotron(config):
    whole = same(
        config, head_dim=config["head_dim"], rope_parameters=dict(config["rope_parameters"])
    )
    return transformers.Ministral3ForCausalLM, transformers.Ministral3Config(**whole)


STOCK = {
    "llada": llada,
    "illada": llama,
    "llada-moe": llada_moe,
    "llada2": llada2,
    "dream": qwen2,
    "fast-dllm-v2": qwen2,
    "sdar": qwen3,
    "sdar-moe": sdar_moe,
    "nemotron": nemotron,
    "llama": llama,
    "qwen3": qwen3,
}

# Published name to stock name; the pattern that matches the whole name is applied.
BLOCKS = r"model\.transformer\.blocks\.(\d+)\."
RENAMED = {
    "llada": {
        r"model\.transformer\.wte\.weight": "model.embed_tokens.weight",
        r"model\.transformer\.ln_f\.weight": "model.norm.weight",
        r"model\.transformer\.ff_out\.weight": "lm_head.weight",
        BLOCKS + r"attn_norm\.weight": r"model.layers.\1.input_layernorm.weight",
        BLOCKS + r"ff_norm\.weight": r"model.layers.\1.post_attention_layernorm.weight",
        BLOCKS + r"([qkv]_proj)\.weight": r"model.layers.\1.self_attn.\2.weight",
        BLOCKS + r"attn_out\.weight": r"model.layers.\1.self_attn.o_proj.weight",
        BLOCKS + r"ff_proj\.weight": r"model.layers.\1.mlp.gate_proj.weight",
        BLOCKS + r"up_proj\.weight": r"model.layers.\1.mlp.up_proj.weight",
        BLOCKS + r"ff_out\.weight": r"model.layers.\1.mlp.down_proj.weight",
    },
    "llada2": {
        r"model\.word_embeddings\.(.*)": r"model.embed_tokens.\1",
        r"(.*)\.attention\.dense\.(.*)": r"\1.self_attn.o_proj.\2",
        r"(.*)\.attention\.query_layernorm\.(.*)": r"\1.self_attn.q_norm.\2",
        r"(.*)\.attention\.key_layernorm\.(.*)": r"\1.self_attn.k_norm.\2",
        r"(.*)\.attention\.([qkv]_proj)\.(.*)": r"\1.self_attn.\2.\3",
        r"(.*)\.gate\.expert_bias": r"\1.gate.e_score_correction_bias",
    },
    "nemotron": {
        r"encoder\.(.*)": r"model.\1",
        r"diffusion_head\.(.*)": r"lm_head.\1",
    },
}


def renamed(family, name):
    for pattern, replacement in RENAMED.get(family, {}).items():
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name


def split_queries_keys_values(config, weights):
    for name in [name for name in weights if "query_key_value" in name]:
        counts = [config["num_attention_heads"], *[config["num_key_value_heads"]] * 2]
        parts = weights.pop(name).split([count * config["head_dim"] for count in counts])
        for letter, part in zip("qkv", parts, strict=True):
            weights[name.replace("query_key_value", f"{letter}_proj")] = part


def stack_experts(config, weights):
    paths = {name.partition(".experts.")[0] for name in weights if ".experts." in name}
    for path in paths:
        pile = {"gate": [], "up": [], "down": []}
        for expert in range(config["num_experts"]):
            for part, matrices in pile.items():
                matrices.append(weights.pop(f"{path}.experts.{expert}.{part}_proj.weight"))
        gate_up = [torch.cat(pair) for pair in zip(pile["gate"], pile["up"], strict=True)]
        weights[f"{path}.experts.gate_up_proj"] = torch.stack(gate_up)
        weights[f"{path}.experts.down_proj"] = torch.stack(pile["down"])


def read(folder):
    config = json.loads((folder / "config.json").read_text())
    weights = {}
    for file in folder.glob("*.safetensors"):
        weights |= load_file(file)
    return config, weights


def stock_model(family, folder):
    config, weights = read(folder)
    split_queries_keys_values(config, weights)
    weights = {renamed(family, name): tensor for name, tensor in weights.items()}
    stack_experts(config, weights)
    if config.get("tie_word_embeddings"):
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    stock_class, stock_config = STOCK[family](config)
    model = stock_class(stock_config).eval()
    model.load_state_dict(weights, strict=True)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("golden")
    return {
        family: checkpoints.write_checkpoint(family, root / family)
        for family in checkpoints.FAMILIES
    }


def random_ids():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(checkpoints.ROWS, (BATCH, LENGTH), generator=generator)


ONE = torch.ones(LENGTH, LENGTH, dtype=torch.bool)
PLACES = torch.arange(LENGTH)
ALLOWED = {
    "full": ONE,
    "causal": ONE.tril(),
    "block-causal": PLACES[None, :] // BLOCK <= PLACES[:, None] // BLOCK,
}


def golden_rows(folder, ids, allowed, positions=PLACES):
    return torch.stack([golden.logits(folder, row, allowed, positions) for row in ids])


@torch.no_grad()
def stock_rows(family, folder, ids, attention, positions=PLACES):
    model = stock_model(family, folder)
    model.config.is_causal = attention == "causal"
    # Only the mask that no switch can describe is handed over.
    mask = ALLOWED[attention].expand(len(ids), 1, -1, -1) if attention == "block-causal" else None
    where = positions.expand(len(ids), -1)
    return model(ids, attention_mask=mask, position_ids=where, use_cache=False).logits


def gap(first, second):
    return float((first - second).abs().max())


@pytest.mark.parametrize("attention", ALLOWED)
@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_golden_logits_are_those_of_the_stock_class(family, attention, folders):
    ids = random_ids()
    expected = stock_rows(family, folders[family], ids, attention)
    assert gap(golden_rows(folders[family], ids, ALLOWED[attention]), expected) <= TOLERANCE


# Past the 16384 positions that Nemotron first saw, its queries grow with their position.
@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_positions_far_along_are_those_of_the_stock_class(family, folders):
    ids, far = random_ids(), PLACES + 49140
    expected = stock_rows(family, folders[family], ids, "full", far)
    assert gap(golden_rows(folders[family], ids, ONE, far), expected) <= TOLERANCE


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_who_attends_to_whom_moves_the_logits(family, folders):
    full, causal, blocks = (
        golden_rows(folders[family], random_ids(), allowed) for allowed in ALLOWED.values()
    )
    assert min(gap(full, causal), gap(full, blocks), gap(causal, blocks)) > 0.1


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_logits_neither_tie_nor_saturate(family, folders):
    assert 0.8 < float(golden_rows(folders[family], random_ids(), ONE).std()) < 3


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_another_seed_is_another_network(family, folders, tmp_path):
    other = checkpoints.write_checkpoint(family, tmp_path, seed=1)
    ids = random_ids()
    assert gap(golden_rows(folders[family], ids, ONE), golden_rows(other, ids, ONE)) > 0.1


def test_shards_change_no_logit(folders, tmp_path):
    whole = checkpoints.write_checkpoint("sdar", tmp_path, shards=1)
    ids = random_ids()
    assert torch.equal(golden_rows(folders["sdar"], ids, ONE), golden_rows(whole, ids, ONE))


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_one_seed_writes_one_checkpoint(family, folders, tmp_path):
    again = checkpoints.write_checkpoint(family, tmp_path)
    files = sorted(path.name for path in folders[family].iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert all(
        (folders[family] / file).read_bytes() == (again / file).read_bytes() for file in files
    )


def test_a_pickle_holds_the_same_weights(folders, tmp_path):
    pickled = checkpoints.write_pickle_checkpoint("llada", tmp_path)
    held = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    _, published = read(folders["llada"])
    assert held.keys() == published.keys()
    assert all(torch.equal(held[name], published[name]) for name in held)


def test_a_query_without_a_key_is_refused(folders):
    allowed = ONE.clone()
    allowed[[3, 5]] = False
    with pytest.raises(ValueError, match=r"rows \[3, 5\] of allowed are empty"):
        golden.logits(folders["llama"], random_ids()[0], allowed, PLACES)


# What an adapter may get wrong, each done here on purpose.


def exchange(first, second):
    """Give each tensor the other's name."""

    def alter(config, weights):
        names = [name for name in weights if first in name]
        assert names
        for name in names:
            other = name.replace(first, second)
            weights[name], weights[other] = weights[other], weights[name]

    return alter


def drop(part):
    """Leave out every tensor that has ``part`` in its name."""

    def alter(config, weights):
        names = [name for name in weights if part in name]
        assert names
        for name in names:
            del weights[name]

    return alter


def blank(part):
    """Set every tensor that has ``part`` in its name to zero."""

    def alter(config, weights):
        tensors = [tensor for name, tensor in weights.items() if part in name]
        assert tensors
        for tensor in tensors:
            tensor.zero_()

    return alter


def say(**fields):
    """Write other values into the config."""

    def alter(config, weights):
        assert all(config[name] != value for name, value in fields.items())
        config.update(fields)

    return alter


def say_of_positions(**fields):
    """Write other values into the config's ``rope_parameters``."""

    def alter(config, weights):
        assert all(config["rope_parameters"][name] != value for name, value in fields.items())
        config["rope_parameters"].update(fields)

    return alter


LLAMA_NAMED = tuple(family for family in checkpoints.FAMILIES if family != "llada")
PLAIN_ROPE = tuple(family for family in checkpoints.FAMILIES if family != "nemotron")
NORMED = ("llada-moe", "sdar", "sdar-moe", "qwen3")
BIASED = ("dream", "fast-dllm-v2")

FAULTS = {
    "gate and up exchanged": (LLAMA_NAMED, exchange("gate_proj", "up_proj")),
    "LLaDA's gate and up exchanged": (("llada",), exchange("ff_proj", "up_proj")),
    "norms of a layer exchanged": (
        LLAMA_NAMED,
        exchange("input_layernorm", "post_attention_layernorm"),
    ),
    "LLaDA's norms of a layer exchanged": (("llada",), exchange("attn_norm", "ff_norm")),
    "other rotary base": (PLAIN_ROPE, say(rope_theta=10000.0)),
    "no norm of queries": (NORMED, drop("q_norm")),
    "no norm of keys": (NORMED, drop("k_norm")),
    "LLaDA2's queries not normed": (("llada2",), drop("query_layernorm")),
    "LLaDA2's keys not normed": (("llada2",), drop("key_layernorm")),
    "no bias of queries": (BIASED, drop("q_proj.bias")),
    "no bias of keys": (BIASED, drop("k_proj.bias")),
    "no bias of values": (BIASED, drop("v_proj.bias")),
    "shares made to sum to one": (("llada-moe",), say(norm_topk_prob=True)),
    "shares left as they are": (("sdar-moe", "llada2"), say(norm_topk_prob=False)),
    "one expert more": (("llada-moe", "sdar-moe"), say(num_experts_per_tok=3)),
    "router without a bias": (("llada2",), blank("expert_bias")),
    "router without groups": (("llada2",), say(n_group=1, topk_group=1)),
    "experts not scaled": (("llada2",), say(routed_scaling_factor=1.0)),
    "no shared expert": (("llada2",), blank("shared_experts.down_proj")),
    "whole heads turned": (("llada2",), say(partial_rotary_factor=1.0)),
    "other YaRN factor": (("nemotron",), say_of_positions(factor=1.0)),
    "other YaRN ramp": (("nemotron",), say_of_positions(beta_fast=4.0)),
    "other YaRN gain": (("nemotron",), say_of_positions(mscale=2.0)),
    "queries not scaled by position": (("nemotron",), say_of_positions(llama_4_scaling_beta=0.0)),
}


def altered(folder, target, alter):
    config, weights = read(folder)
    alter(config, weights)
    (target / "config.json").write_text(json.dumps(config))
    save_file(weights, target / "model.safetensors")
    return target


@pytest.mark.parametrize(
    ("family", "fault"), [(family, fault) for fault in FAULTS for family in FAULTS[fault][0]]
)
def test_a_fault_shows_in_the_logits(family, fault, folders, tmp_path):
    wrong = altered(folders[family], tmp_path, FAULTS[fault][1])
    ids, far = random_ids(), PLACES + 49140
    sound = golden_rows(folders[family], ids, ONE, far)
    assert gap(golden_rows(wrong, ids, ONE, far), sound) > 1e-2


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_the_epsilon_of_the_norms_shows_far_above_the_tolerance(family, folders, tmp_path):
    def tenfold(config, weights):
        config["rms_norm_eps"] *= 10

    wrong = altered(folders[family], tmp_path, tenfold)
    ids = random_ids()
    sound = golden_rows(folders[family], ids, ONE)
    assert gap(golden_rows(wrong, ids, ONE), sound) > 10 * TOLERANCE
