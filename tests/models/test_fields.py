"""Fields of a configuration: what changes the network is read or refused, and nothing else is."""

import json

import pytest

from parallelbench.errors import CheckpointError, FieldError
from parallelbench.models.families import FAMILIES, family_of, stock_config
from parallelbench.models.fields import without_ignored
from parallelbench.models.mini import FOLDER
from support import checkpoints, diffusion_gemma

#: Of each family, what the published configuration does not have and would need another network.
FOREIGN = {
    "clip_qkv": 8.0,
    "final_logit_softcapping": 30.0,
    "attention_multiplier": 0.1,
    "scale_emb": 12,
    "use_mrope": True,
}
#: What people and programs leave in configurations, and no prediction depends on.
HARMLESS = {
    "_name_or_path": "somewhere/else",
    "attention_dropout": 0.1,
    "dtype": "bfloat16",
    "gradient_checkpointing": True,
    "id2label": {"0": "LABEL_0"},
    "initializer_range": 0.5,
    "max_length": 20,
    "model_max_length": 4096,
    "num_labels": 2,
    "router_aux_loss_coef": 0.01,
    "sep_token_id": 3,
    "some_new_switch": False,
    "some_new_size": None,
    "temperature": 0.7,
    "torch_dtype": "bfloat16",
    "unsloth_version": "2026.1",
    "use_cache": True,
}
#: Fields of published configurations that the tiny ones of the tests do without.
PUBLISHED = {
    "llada": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "llada-moe": {"router_topk_group": None, "num_experts_per_tok": 2},
    "llada2": {
        "norm_head": False,
        "norm_softmax": False,
        "rotary_dim": 16,
        "use_qk_norm": True,
        "moe_router_enable_routed_scaling": True,
        "moe_shared_expert_intermediate_size": 32,
        "num_nextn_predict_layers": 0,
        "using_split_qkv_in_self_attention": False,
    },
    "dream": {"use_mrope": False, "layer_types": ["full_attention"] * 2, "attention_bias": True},
    "fast-dllm-v2": {"layer_types": ["full_attention"] * 2, "sliding_window": 32768},
    "sdar": {"layer_types": ["full_attention"] * 2},
    "sdar-moe": {"debug": False, "ep_size": 1, "micro_forward": False},
    "nemotron": {
        "attn_implementation": "sdpa",
        "dlm_loss_weight": None,
        "dlm_paradigm": "bidirectional",
        "dp_varying_mask_ratio": False,
        "mlp_bias": False,
    },
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    found = {}
    for name, family in checkpoints._FAMILIES.items():
        found[name] = {**family.config, **{f: family.special[t] for f, t in family.ids.items()}}
    diffusion_gemma.write_checkpoint(folder)
    found["diffusion-gemma"] = json.loads((folder / "config.json").read_text())
    return found


def taken(config, *ignored):
    return without_ignored(config, family_of(config, None, "here"), ignored, "here")


@pytest.mark.parametrize("name", [*checkpoints.FAMILIES, "diffusion-gemma"])
def test_a_published_configuration_is_taken_with_all_that_is_harmless(name, configs):
    config = {**configs[name], **PUBLISHED.get(name, {})}
    assert taken(config) == config
    config |= HARMLESS
    assert taken(config) == config


@pytest.mark.parametrize("name", [*checkpoints.FAMILIES, "diffusion-gemma"])
def test_a_field_that_nothing_reads_is_refused_in_every_family(name, configs):
    for field, value in FOREIGN.items():
        if name == "diffusion-gemma" and field == "final_logit_softcapping":
            continue  # it has one
        with pytest.raises(CheckpointError) as told:
            taken({**configs[name], field: value})
        assert f"here: {field}={value!r} in config.json needs another network" in str(told.value)
        assert f"say ignore={field}" in str(told.value)
        assert "\n" not in str(told.value)


def test_every_family_is_tried():
    known = {"autoregressive" if n in {"llama", "qwen3"} else n for n in checkpoints.FAMILIES}
    assert known | {"diffusion-gemma"} == {family.name for family in FAMILIES}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("llada", "rope_scaling", {"rope_type": "linear", "factor": 4.0}),
        ("llada", "partial_rotary_factor", 0.5),
        ("llada", "hidden_size", 65),
        ("llada", "tie_word_embeddings", True),
        ("illada", "sliding_window", 128),
        ("illada", "partial_rotary_factor", 0.5),
        ("dream", "layer_types", ["full_attention", "sliding_attention"]),
        ("dream", "quantization_config", {"quant_method": "awq"}),
        ("sdar", "partial_rotary_factor", 0.5),
        ("llada2", "norm_head", True),
        ("llada2", "use_qk_norm", False),
        ("nemotron", "dlm_paradigm", "autoregressive"),
        ("nemotron", "mlp_bias", True),
        # These classes of transformers keep such a field and do not look at it.
        ("llama", "partial_rotary_factor", 0.5),
        ("llama", "sliding_window", 128),
    ],
)
def test_a_value_that_needs_another_network_is_refused(name, field, value, configs):
    with pytest.raises(CheckpointError, match=f"{field}=.* in config.json needs another network"):
        taken({**configs[name], field: value})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("illada", "tie_word_embeddings", True),
        ("illada", "head_dim", 32),
        ("dream", "rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("sdar", "attention_bias", True),
        ("llama", "rope_scaling", {"rope_type": "linear", "factor": 4.0}),
        ("qwen3", "sliding_window", 128),
    ],
)
def test_a_value_that_the_class_takes_is_left_to_it(name, field, value, configs):
    config = {**configs[name], field: value}
    assert taken(config) == config


def test_a_part_of_the_rotation_that_contradicts_itself_is_refused(configs):
    config = {**configs["llada2"], "rotary_dim": 8}
    with pytest.raises(CheckpointError, match=r"rotary_dim=8 .*partial_rotary_factor=0\.5"):
        stock_config(family_of(config, None, "here"), config, "here")


def test_a_nested_field_is_refused_by_its_path(configs):
    config = configs["diffusion-gemma"]
    config = {**config, "text_config": {**config["text_config"], "clip_qkv": 8.0}}
    with pytest.raises(CheckpointError, match=r"text_config\.clip_qkv=8\.0"):
        taken(config)
    assert taken(config, "text_config.clip_qkv") == config


def test_fields_to_ignore_are_named_and_nothing_else_is(configs):
    config = {**configs["llada"], "clip_qkv": 8.0, "scale_emb": 12}
    with pytest.raises(CheckpointError, match=r"so does scale_emb; .*say ignore=clip_qkv\+scale_e"):
        taken(config)
    with pytest.raises(CheckpointError, match=r"scale_emb=12 .*say ignore=clip_qkv\+scale_emb"):
        taken(config, "clip_qkv")
    assert taken(config, "clip_qkv", "scale_emb") == configs["llada"]
    with pytest.raises(FieldError, match=r"ignore=rope_theta: .*; refused are: clip_qkv, scale_em"):
        taken(config, "rope_theta")
    with pytest.raises(FieldError, match=r"ignore=clip_qkv: .*; none is refused"):
        taken(configs["llada"], "clip_qkv")


def test_the_model_at_hand_is_taken():
    config = json.loads((FOLDER / "config.json").read_text())
    assert taken(config) == config
