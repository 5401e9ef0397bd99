"""Loading a checkpoint: every family as it is published, and nothing that is not whole."""

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from parallelbench.errors import CheckpointError, FieldError, UnknownNameError
from parallelbench.model import MODELS
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
from parallelbench.models.families import FAMILIES, family_of, stock_config
from parallelbench.models.hf import HuggingFace
from parallelbench.setting import build, parse_settings
from parallelbench.task import Message
from support import checkpoints, golden

TOLERANCE = 1e-5
AUTOREGRESSIVE = ("llama", "qwen3")
MASKED = ("llada", "illada", "llada-moe", "dream")
DIFFUSION = tuple(family for family in checkpoints.FAMILIES if family not in AUTOREGRESSIVE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoint")
    return {
        family: checkpoints.write_checkpoint(family, root / family)
        for family in checkpoints.FAMILIES
    }


def loaded(folder, **fields):
    return load_checkpoint(CheckpointRequest(path=str(folder), **fields))


def tokens(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(checkpoints.ROWS, (count,), generator=generator)


def gap(first, second):
    return float((first - second).abs().max())


@torch.inference_mode()
def logits_of(network, ids, allowed):
    eager = network.config._attn_implementation == "eager"
    mask = torch.where(allowed, 0.0, torch.finfo(torch.float32).min) if eager else allowed
    return network(ids[None], attention_mask=mask[None, None], use_cache=False).logits[0]


def everybody(length):
    return torch.ones(length, length, dtype=torch.bool)


def copied(folder, target):
    return Path(shutil.copytree(folder, target, dirs_exist_ok=True))


def say(folder, **fields):
    """Write other values into ``config.json``; None removes a field."""
    path = folder / "config.json"
    whole = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in whole.items() if value is not None}))
    return folder


def altered(folder, target, alter):
    """A copy with other tensors, in one file."""
    copied(folder, target)
    weights = {}
    for file in sorted(target.glob("*.safetensors*")):
        if file.suffix == ".safetensors":
            weights |= load_file(file)
        file.unlink()
    alter(weights)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


# Families.


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_every_family_loads_as_published_and_is_golden(family, shards, folders, tmp_path):
    folder = folders[family]
    if shards == 1:
        folder = checkpoints.write_checkpoint(family, tmp_path, shards=1)
    checkpoint = loaded(folder)
    known = "autoregressive" if family in AUTOREGRESSIVE else family
    assert checkpoint.family.name == known
    assert checkpoint.network.dtype == torch.float32
    assert not checkpoint.network.training
    ids, places = tokens(40), torch.arange(40)
    for allowed in (everybody(40), everybody(40).tril()):
        expected = golden.logits(folder, ids, allowed, places)
        assert gap(logits_of(checkpoint.network, ids, allowed), expected) <= TOLERANCE


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_kernels_agree(family, folders):
    ids = tokens(30)
    found = []
    for kernel in ("sdpa", "eager"):
        network = loaded(folders[family], attention=kernel).network
        assert network.config._attn_implementation == kernel
        found.append(logits_of(network, ids, everybody(30)))
    assert gap(*found) <= TOLERANCE


def test_llada_moe_is_recognised_under_the_name_of_the_dense_model(folders, tmp_path):
    folder = say(copied(folders["llada-moe"], tmp_path), architectures=["LLaDAModelLM"])
    checkpoint = loaded(folder)
    assert checkpoint.family.name == "llada-moe"
    expected = golden.logits(folders["llada-moe"], tokens(9), everybody(9), torch.arange(9))
    assert gap(logits_of(checkpoint.network, tokens(9), everybody(9)), expected) <= TOLERANCE


def test_a_family_may_be_named_where_the_name_in_the_file_is_another(folders, tmp_path):
    folder = say(copied(folders["dream"], tmp_path), architectures=["DreamXForMath"])
    with pytest.raises(CheckpointError) as told:
        loaded(folder)
    for name in ("DreamXForMath", "DreamModel", "SDARForCausalLM", "family=NAME", "llada2"):
        assert name in str(told.value)
    assert loaded(folder, family="dream").family.name == "dream"
    with pytest.raises(CheckpointError, match="did you mean 'dream'"):
        loaded(folder, family="dreem")
    with pytest.raises(CheckpointError, match=r"config\.json has no field 'n_heads'"):
        loaded(folder, family="llada")


def test_no_two_families_share_a_name():
    names = [name for family in FAMILIES for name in family.architectures]
    assert len(names) == len(set(names))
    for family in FAMILIES:
        if family.kind != "autoregressive":
            assert family.architectures


NOT_COVERED = [
    ("llada", "block_type", "sequential"),
    ("llada", "include_bias", True),
    ("llada", "include_qkv_bias", True),
    ("llada", "weight_tying", True),
    ("llada", "rope", False),
    ("llada", "alibi", True),
    ("llada", "layer_norm_type", "default"),
    ("llada", "activation_type", "gelu"),
    ("llada", "input_emb_norm", True),
    ("llada", "scale_logits", True),
    ("llada", "block_group_size", 2),
    ("llada", "attention_layer_norm", True),
    ("llada", "multi_query_attention", True),
    ("illada", "layer_norm_eps", 1e-5),
    ("illada", "hidden_act", "gelu"),
    ("llada-moe", "qk_layernorm", False),
    ("llada-moe", "clip_qkv", 8.0),
    ("llada-moe", "shared_expert_intermediate_size", 32),
    ("llada-moe", "partial_rotary_factor", 0.5),
    ("llada-moe", "moe_router_score_function", "sigmoid"),
    ("llada-moe", "moe_router_enable_expert_bias", True),
    ("llada-moe", "routed_scaling_factor", 2.5),
    ("llada-moe", "router_num_group", 4),
    ("llada2", "score_function", "softmax"),
    ("llada2", "moe_router_enable_expert_bias", False),
    ("llada2", "use_rmsnorm", False),
    ("llada2", "use_qkv_bias", True),
    ("llada2", "use_sliding_window", True),
    ("dream", "use_sliding_window", True),
    ("dream", "use_mrope", True),
    ("fast-dllm-v2", "hidden_act", "gelu"),
    ("sdar", "use_sliding_window", True),
    ("sdar-moe", "hidden_act", "gelu"),
    ("nemotron", "sliding_window", 4096),
    ("nemotron", "attention_bias", True),
]


@pytest.mark.parametrize(("family", "field", "value"), NOT_COVERED)
def test_a_field_that_needs_another_network_is_refused(family, field, value, folders, tmp_path):
    folder = copied(folders[family], tmp_path)
    say(folder, **{field: value})
    with pytest.raises(CheckpointError, match=f"{field}={value!r} in config.json needs another"):
        loaded(folder)


#: What no tensor's shape could tell; a default of the stock class would go unnoticed.
NEEDED = {
    "llada": ("n_heads", "rms_norm_eps", "rope_theta"),
    "illada": ("num_attention_heads", "rms_norm_eps", "rope_theta"),
    "llada-moe": ("num_attention_heads", "rms_norm_eps", "rope_theta", "num_experts_per_tok"),
    "llada2": (
        "num_attention_heads",
        "rms_norm_eps",
        "rope_theta",
        "num_experts_per_tok",
        "n_group",
        "topk_group",
        "routed_scaling_factor",
        "partial_rotary_factor",
    ),
    "dream": ("num_attention_heads", "rms_norm_eps", "rope_theta"),
    "fast-dllm-v2": ("num_attention_heads", "rms_norm_eps", "rope_theta"),
    "sdar": ("num_attention_heads", "rms_norm_eps", "rope_theta"),
    "sdar-moe": (
        "num_attention_heads",
        "rms_norm_eps",
        "rope_theta",
        "num_experts_per_tok",
        "norm_topk_prob",
    ),
    "nemotron": ("num_attention_heads", "rms_norm_eps", "rope_parameters"),
}


@pytest.mark.parametrize(
    ("family", "field"), [(family, field) for family in NEEDED for field in NEEDED[family]]
)
def test_a_field_that_is_missing_is_named(family, field, folders, tmp_path):
    folder = say(copied(folders[family], tmp_path), **{field: None})
    missing = "rope_theta" if field == "rope_parameters" else field
    with pytest.raises(CheckpointError, match=f"config.json has no field '{missing}'"):
        loaded(folder)


def stock_told(config, folder):
    """Return the value that the stock class gets; None if it gets none."""
    try:
        return stock_config(family_of(config, None, "here"), config, str(folder)).to_dict()
    except CheckpointError:
        return None


@pytest.mark.parametrize("family", DIFFUSION)
def test_without_any_one_field_a_checkpoint_is_the_same_or_refused(family, folders, tmp_path):
    whole = json.loads((folders[family] / "config.json").read_text())
    sound = logits_of(loaded(folders[family]).network, tokens(20), everybody(20))
    folder = copied(folders[family], tmp_path)
    refused = 0
    for field in whole:
        less = {name: value for name, value in whole.items() if name != field}
        if stock_told(whole, folder) == stock_told(less, folder):
            continue
        (folder / "config.json").write_text(json.dumps(less))
        try:
            network = loaded(folder).network
        except CheckpointError:
            refused += 1
            continue
        assert gap(logits_of(network, tokens(20), everybody(20)), sound) <= TOLERANCE, field
    assert refused >= len(NEEDED[family])


def test_a_configuration_that_the_stock_class_refuses_is_told(folders, tmp_path):
    folder = say(copied(folders["sdar"], tmp_path), rope_scaling=7)
    with pytest.raises(CheckpointError, match=r"config\.json does not fit sdar"):
        loaded(folder)


def test_positions_are_bidirectional_by_configuration(folders):
    for family in DIFFUSION:
        config = json.loads((folders[family] / "config.json").read_text())
        made = stock_config(family_of(config, None, "here"), config, str(folders[family]))
        assert made.is_causal is False


# Weights.


def test_a_missing_tensor_is_named(folders, tmp_path):
    def alter(weights):
        del weights["model.transformer.blocks.1.ff_proj.weight"]

    folder = altered(folders["llada"], tmp_path, alter)
    with pytest.raises(CheckpointError, match=r"missing keys: model\.layers\.1\.mlp\.gate_proj"):
        loaded(folder)


def test_an_unexpected_tensor_is_named(folders, tmp_path):
    def alter(weights):
        weights["model.transformer.blocks.0.q_proj.bias"] = torch.ones(64)

    folder = altered(folders["llada"], tmp_path, alter)
    with pytest.raises(CheckpointError, match=r"unexpected keys: .*q_proj\.bias"):
        loaded(folder)


@pytest.mark.parametrize("family", ["llada", "sdar", "nemotron"])
def test_a_tensor_of_another_shape_is_named(family, folders, tmp_path):
    names = {
        "llada": "model.transformer.blocks.0.up_proj.weight",
        "sdar": "model.layers.0.mlp.up_proj.weight",
        "nemotron": "encoder.layers.0.mlp.up_proj.weight",
    }

    def alter(weights):
        weights[names[family]] = weights[names[family]][:-1].contiguous()

    folder = altered(folders[family], tmp_path, alter)
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.up_proj\.weight"):
        loaded(folder)


@pytest.mark.parametrize("family", ["llada2", "llada-moe"])
@pytest.mark.parametrize("part", ["up_proj", "down_proj", ""])
def test_an_expert_that_is_missing_is_noticed(family, part, folders, tmp_path):
    def alter(weights):
        gone = [n for n in weights if f"layers.1.mlp.experts.3.{part}" in n]
        assert len(gone) == (1 if part else 3)
        for name in gone:
            del weights[name]

    folder = altered(folders[family], tmp_path, alter)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.experts"):
        loaded(folder)


@pytest.mark.parametrize("family", ["llada2", "llada-moe"])
def test_an_expert_of_another_shape_is_noticed(family, folders, tmp_path):
    def alter(weights):
        name = "model.layers.1.mlp.experts.3.up_proj.weight"
        weights[name] = weights[name][:-1].contiguous()

    folder = altered(folders[family], tmp_path, alter)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.experts"):
        loaded(folder)


def test_a_truncated_file_is_refused(folders, tmp_path):
    folder = copied(folders["dream"], tmp_path)
    shard = min(folder.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be loaded as family dream"):
        loaded(folder)


def test_a_missing_shard_is_refused(folders, tmp_path):
    folder = copied(folders["dream"], tmp_path)
    max(folder.glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002"):
        loaded(folder)


def test_a_folder_without_a_checkpoint_is_refused(folders, tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: config\.json: .*No such file"):
        loaded(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: config\.json: "):
        loaded(tmp_path)
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(CheckpointError, match=r"config\.json does not contain a JSON object"):
        loaded(tmp_path)
    copied(folders["sdar"], tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(CheckpointError, match=r"index\.json names 2 file\(s\) that are not in"):
        loaded(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"contains no weights: neither model\.safetensors nor"
    ):
        loaded(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    for path in (str(file), str(tmp_path / "no such folder"), "LLaDA-8B", "a/b/c", "a/"):
        with pytest.raises(CheckpointError, match="is neither a folder nor a hub id of the form"):
            loaded(path)


def test_a_folder_has_no_revision(folders):
    with pytest.raises(CheckpointError, match="is a folder, which has no revision"):
        loaded(folders["sdar"], revision="main")


# Pickles.


def test_plain_tensors_in_a_pickle_load(folders, tmp_path):
    folder = checkpoints.write_pickle_checkpoint("llada", tmp_path)
    checkpoint = loaded(folder)
    expected = golden.logits(folders["llada"], tokens(20), everybody(20), torch.arange(20))
    assert gap(logits_of(checkpoint.network, tokens(20), everybody(20)), expected) <= TOLERANCE
    assert list(checkpoint.provenance["weights"]) == ["pytorch_model.bin"]


class Malicious:
    """Runs a command as it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_is_a_program_is_refused_and_not_run(tmp_path):
    folder = checkpoints.write_pickle_checkpoint("llada", tmp_path / "model")
    marker = tmp_path / "marker"
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({**tensors, "extra": Malicious(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded as family llada"):
        loaded(folder)
    assert not marker.exists()
    # The trap is live: without our caution it would have gone off.
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert marker.exists()
    marker.rmdir()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(CheckpointError, match="cannot be loaded as family llada"):
        loaded(folder)
    assert not marker.exists()


# Code of strangers, standard input, and the hub.

TRAP = "import pathlib\npathlib.Path({marker!r}).touch()\nraise SystemExit('remote code ran')\n"


def set_traps(folder, marker):
    """Plant Python under every name that the configuration points at."""
    code = TRAP.format(marker=str(marker))
    named = json.loads((folder / "config.json").read_text())["auto_map"].values()
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text()).get("auto_map", {})
    files = [*named, *(name for names in tokenizer.values() for name in names if name)]
    assert files
    for name in files:
        (folder / f"{name.partition('.')[0]}.py").write_text(code)
    return folder


OPEN = """if True:
    import sys
    from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
    for path in sys.argv[1:]:
        checkpoint = load_checkpoint(CheckpointRequest(path=path))
        print(checkpoint.family.name, checkpoint.provenance["revision"])
"""


def in_a_program(*paths, home, online=False, **environment):
    """Open checkpoints in a program of its own, whose standard input answers "y"."""
    return subprocess.run(
        [sys.executable, "-c", OPEN, *map(str, paths)],
        input="y\n" * 20,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0" if online else "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
    )


def test_no_code_is_run_nothing_is_asked_and_a_cache_serves_offline(folders, tmp_path):
    marker = tmp_path / "marker"
    plain = [
        set_traps(copied(folders[family], tmp_path / family), marker)
        for family in ("llada", "dream", "sdar")
    ]
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--org--name"
    set_traps(copied(folders["nemotron"], cached / "snapshots" / commit), marker)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    done = in_a_program(
        *plain, "org/name", "org/typo", home=tmp_path, HF_HUB_CACHE=str(tmp_path / "hub")
    )
    assert done.stdout.splitlines() == [
        "llada None",
        "dream None",
        "sdar None",
        f"nemotron {commit}",
    ]
    assert not marker.exists()
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()
    assert any(
        "'org/typo' is not a folder here and cannot be downloaded from the hub" in x for x in last
    )
    assert any("name the folder" in line for line in last)
    # Nothing but the last error was said: no question, no report.
    assert done.stderr.startswith("Traceback")


# Tokenizers.


def test_a_tokenizer_that_knows_more_than_the_network_is_refused(folders, tmp_path):
    def alter(weights):
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[name] = weights[name][:325].contiguous()

    folder = say(altered(folders["sdar"], tmp_path, alter), vocab_size=325, mask_token_id=None)
    with pytest.raises(CheckpointError, match="highest id is 325, but the network has 325"):
        loaded(folder)


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_a_checkpoint_without_a_tokenizer_is_refused(family, folders, tmp_path):
    folder = copied(folders[family], tmp_path)
    for name in ("tokenizer.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match=r"has no tokenizer: neither tokenizer\.json"):
        loaded(folder)


def test_a_broken_tokenizer_is_told(folders, tmp_path):
    folder = copied(folders["llada"], tmp_path)
    (folder / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(CheckpointError, match=r"the tokenizer of .* cannot be loaded"):
        loaded(folder)


TEXTS = ("Put the names back: Anna, Bob's 12 boxes\n\n  x", "<|im_start|>user\nhé<|im_end|>", "")


def test_dreams_tokenizer_is_built_from_its_vocabulary(folders):
    assert not (folders["dream"] / "tokenizer.json").exists()
    codec = loaded(folders["dream"]).codec
    assert codec.mask_id == checkpoints.WORDS + 4
    assert codec.tokenizer.get_vocab()["<|mask|>"] == codec.mask_id
    # Another family ships the same vocabulary in both forms.
    both = loaded(folders["fast-dllm-v2"]).codec
    assert codec.encode(TEXTS) == both.encode(TEXTS)
    assert [codec.decode(ids) for ids in codec.encode(TEXTS[:1])] == [TEXTS[0]]


def test_vocabulary_files_are_enough_only_for_qwens_way_of_splitting(folders, tmp_path):
    folder = copied(folders["qwen3"], tmp_path)
    sound = loaded(folder).codec.encode(TEXTS)
    (folder / "tokenizer.json").unlink()
    assert loaded(folder).codec.encode(TEXTS) == sound
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**told, "tokenizer_class": "GPT2Tokenizer"})
    )
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        loaded(folder)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_the_codec_knows_its_special_ids(family, folders):
    codec = loaded(folders[family]).codec
    vocabulary = codec.tokenizer.get_vocab()
    config = json.loads((folders[family] / "config.json").read_text())
    if family in AUTOREGRESSIVE:
        assert codec.mask_id == checkpoints.ROWS
    else:
        assert codec.mask_id == config["mask_token_id"]
        assert codec.mask_id in codec.unwritable
    assert config["eos_token_id"] in codec.ends
    ends = {"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|role_end|>", "<|end_of_text|>"}
    assert codec.ends >= {vocabulary[name] for name in ends & vocabulary.keys()}
    assert codec.end_id == (
        config["pad_token_id"] if config.get("pad_token_id") in codec.ends else codec.end_id
    )
    assert codec.ends.isdisjoint(codec.unwritable)
    assert max(codec.ends) < codec.size


def test_ids_that_the_tokenizer_leaves_out_are_unwritable(folders):
    codec = loaded(folders["llada"]).codec
    holes = {*range(320, 330), *range(332, 410)} - {400}
    assert set(codec.unwritable) == {*holes, codec.mask_id}
    assert codec.mask_id == 400
    assert codec.size == 413
    assert codec.ends == {331, 412}


def test_the_mask_is_that_of_the_configuration_else_of_the_tokenizer(folders, tmp_path):
    folder = copied(folders["sdar"], tmp_path)
    assert loaded(folder).codec.mask_id == 325
    assert loaded(say(folder, mask_token_id=None)).codec.mask_id == 325
    # LLaDA declares no mask to its tokenizer: it is found by its name.
    folder = say(copied(folders["llada"], tmp_path / "llada"), mask_token_id=None)
    assert loaded(folder).codec.mask_id == 400


def test_without_any_mask_a_checkpoint_is_refused(folders, tmp_path):
    # Nemotron's mask has no name that anybody would look for.
    folder = say(copied(folders["nemotron"], tmp_path), mask_token_id=None)
    with pytest.raises(CheckpointError, match="family nemotron needs the id of its mask token"):
        loaded(folder)


def rewritten(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_reply_ends_at_every_declared_end(folders, tmp_path):
    folder = copied(folders["llama"], tmp_path)
    # By the configuration, by the tokenizer, by the generation's list and by name.
    assert loaded(folder).codec.ends == {321, 324}
    rewritten(folder / "generation_config.json", eos_token_id=3)
    assert loaded(folder).codec.ends == {3, 324}
    rewritten(folder / "generation_config.json", eos_token_id=[4, 5])
    assert loaded(folder).codec.ends == {4, 5, 324}
    (folder / "generation_config.json").unlink()
    assert loaded(folder).codec.ends == {324}
    say(folder, eos_token_id=[8, 9])
    assert loaded(folder).codec.ends == {8, 9, 324}
    assert loaded(folder).codec.end_id == 8
    say(folder, pad_token_id=9)
    assert loaded(folder).codec.end_id == 9
    # A padding that ends nothing fills nothing.
    say(folder, pad_token_id=11)
    assert loaded(folder).codec.end_id == 8


def test_a_checkpoint_that_never_ends_is_refused(folders, tmp_path):
    folder = say(copied(folders["nemotron"], tmp_path), eos_token_id=None)
    (folder / "generation_config.json").unlink()
    rewritten(folder / "tokenizer_config.json", eos_token=None)
    (folder / "special_tokens_map.json").unlink()
    with pytest.raises(CheckpointError, match="name an end-of-text"):
        loaded(folder)


# Chat templates.

CHAT = [Message("user", "What is 2 + 2?")]


def test_a_base_model_without_a_template_is_refused_with_the_way_out(folders, tmp_path):
    folder = copied(folders["llada"], tmp_path)
    rewritten(folder / "tokenizer_config.json", chat_template=None)
    with pytest.raises(CheckpointError, match=r"no chat template .*; give one with --template"):
        loaded(folder)
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}>")
    assert loaded(folder, template=str(template)).codec.render(CHAT) == "[What is 2 + 2?]>"


def test_a_template_given_goes_before_the_checkpoints_own(folders, tmp_path):
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[0].content }}")
    assert loaded(folders["sdar"], template=str(template)).codec.render(CHAT) == CHAT[0].content


def test_a_template_that_cannot_be_read_or_used_is_told(folders, tmp_path):
    template = tmp_path / "chat.jinja"
    with pytest.raises(CheckpointError, match=r"the chat template '.*chat\.jinja' cannot be read"):
        loaded(folders["sdar"], template=str(template))
    template.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(CheckpointError, match="cannot be read"):
        loaded(folders["sdar"], template=str(template))
    for broken in ("{% for m in messages %}", "{{ raise_exception('no user please') }}"):
        template.write_text(broken)
        with pytest.raises(CheckpointError, match=r"chat\.jinja: the chat template cannot render"):
            loaded(folders["sdar"], template=str(template))


def test_the_template_is_told_whether_the_model_may_think(folders):
    silent, thinking = (loaded(folders["sdar"], thinking=flag) for flag in (False, True))
    assert silent.codec.render(CHAT).endswith("assistant\n<think>\n\n</think>\n\n")
    assert thinking.codec.render(CHAT).endswith("assistant\n")
    assert silent.provenance["thinking"] is False
    assert thinking.provenance["thinking"] is True


def test_published_templates_render_as_published(folders):
    rendered = loaded(folders["llada"]).codec.render(CHAT)
    assert rendered == (
        "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nWhat is 2 + 2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    codec = loaded(folders["llada"]).codec
    (ids,) = codec.encode([rendered])
    assert ids.count(codec.tokenizer.get_vocab()["<|startoftext|>"]) == 1


# Digests and facts.


def test_a_digest_is_of_the_bytes_and_not_of_the_place(folders, tmp_path):
    here = HuggingFace(path=str(folders["sdar"])).open()
    there = HuggingFace(path=str(copied(folders["sdar"], tmp_path / "copy"))).open()
    assert here.digest == there.digest
    assert here.weights_digest == there.weights_digest


def test_whatever_changes_the_predictions_changes_the_digest(folders, tmp_path):
    def one_weight(weights):
        weights["model.norm.weight"][3] += 1e-3

    def none(weights):
        pass

    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[0].content }}")
    whole = altered(folders["sdar"], tmp_path / "whole", none)
    other = altered(folders["sdar"], tmp_path / "other", one_weight)
    warmer = say(copied(whole, tmp_path / "warmer"), rope_theta=500000.0)
    plain, *others = (
        HuggingFace(path=str(folder), **fields).open()
        for folder, fields in (
            (whole, {}),
            (whole, {"dtype": "bfloat16"}),
            (whole, {"template": str(template)}),
            (whole, {"thinking": True}),
            (whole, {"block_length": 8}),
            (warmer, {}),
            (other, {}),
        )
    )
    digests = {plain.digest, *(model.digest for model in others)}
    assert len(digests) == 1 + len(others)
    # The weights are the same in all but the last.
    assert [model.weights_digest == plain.weights_digest for model in others] == [True] * 5 + [
        False
    ]
    # What changes no prediction changes no digest.
    for fields in ({"cache": "none"}, {"attention": "eager"}, {"device": "cpu"}):
        assert HuggingFace(path=str(whole), **fields).open().digest == plain.digest


def test_an_inexact_cache_is_another_model(folders):
    digests = {
        HuggingFace(path=str(folders["dream"]), cache=cache).open().digest
        for cache in ("none", "prefix", "dual")
    }
    assert len(digests) == 3
    unsaid = HuggingFace(path=str(folders["dream"])).open()
    assert unsaid.digest == HuggingFace(path=str(folders["dream"]), cache="none").open().digest


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_facts_tell_what_was_loaded_as_json(family, folders):
    model = HuggingFace(path=str(folders[family])).open()
    facts = json.loads(json.dumps(model.provenance()))
    assert facts == model.provenance()
    assert facts["family"] == ("autoregressive" if family in AUTOREGRESSIVE else family)
    assert facts["network"] == type(model.network).__name__
    assert (facts["dtype"], facts["device"], facts["attention"]) == ("float32", "cpu", "sdpa")
    assert facts["revision"] is None
    assert facts["weights"] == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folders[family].glob("*.safetensors")
    }
    assert facts["weights_digest"] == model.weights_digest
    assert facts["digest"] == model.digest
    assert facts["parameters"] == sum(p.numel() for p in model.network.parameters())


# Numbers and devices.


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_half_precision_agrees_with_full_and_turns_in_full(family, folders):
    # Far along a text, rounded frequencies would show.
    ids = tokens(200, seed=4)
    full = loaded(folders[family]).network
    half = loaded(folders[family], dtype="bfloat16").network
    assert half.dtype == torch.bfloat16
    frequencies = [tensor for name, tensor in half.named_buffers() if "inv_freq" in name]
    assert frequencies
    assert all(tensor.dtype == torch.float32 for tensor in frequencies)
    expected = logits_of(full, ids, everybody(200)).argmax(dim=-1)
    found = logits_of(half, ids, everybody(200)).argmax(dim=-1)
    assert float((found == expected).float().mean()) >= 0.9


def test_a_network_made_half_afterwards_would_be_noticed(folders):
    trapped = loaded(folders["llada"]).network.bfloat16()
    frequencies = [tensor for name, tensor in trapped.named_buffers() if "inv_freq" in name]
    assert all(tensor.dtype == torch.bfloat16 for tensor in frequencies)


def test_llada2s_router_keeps_its_bias_in_full(folders):
    network = loaded(folders["llada2"], dtype="bfloat16").network
    biases = [tensor for name, tensor in network.named_buffers() if "e_score_correction" in name]
    biases += [t for name, t in network.named_parameters() if "e_score_correction" in name]
    assert biases
    assert all(bias.dtype == torch.float32 for bias in biases)


def test_a_device_that_is_not_there_is_told(folders):
    with pytest.raises(CheckpointError, match="device 'nonsense' cannot be used here: "):
        loaded(folders["sdar"], device="nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match="device 'cuda' cannot be used here: "):
            loaded(folders["sdar"], device="cuda")


# LoRA adapters.


def lora(folder, target, **fields):
    """Write an adapter of the stock class with random weights; return it and its logits."""
    from peft import LoraConfig, get_peft_model

    network = loaded(folder).network
    config = LoraConfig(
        **{"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"], **fields}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft, at transformers
        adapted = get_peft_model(network, config)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    adapted.save_pretrained(target)
    return target, logits_of(adapted.eval(), tokens(20), everybody(20))


@pytest.mark.parametrize("family", ["llada", "dream", "sdar", "llada2"])
def test_an_adapter_is_merged(family, folders, tmp_path):
    plain = loaded(folders[family])
    # LLaDA2's feed-forward part is a stack of experts, which LoRA leaves alone.
    targets = ["q_proj", "o_proj"] if family == "llada2" else ["q_proj", "down_proj"]
    adapter, expected = lora(folders[family], tmp_path, target_modules=targets)
    merged = loaded(folders[family], peft=str(adapter))
    found = logits_of(merged.network, tokens(20), everybody(20))
    assert gap(found, expected) <= TOLERANCE
    assert gap(found, logits_of(plain.network, tokens(20), everybody(20))) > 0.1
    assert type(merged.network) is type(plain.network)
    assert not [name for name, _ in merged.network.named_parameters() if "lora" in name]
    assert merged.weights_digest != plain.weights_digest
    assert set(merged.provenance["weights"]) - set(plain.provenance["weights"]) == {
        "peft/adapter_config.json",
        "peft/adapter_model.safetensors",
    }


PUBLISHED = {
    "model.layers.": "model.transformer.blocks.",
    "self_attn.q_proj": "q_proj",
    "self_attn.o_proj": "attn_out",
    "mlp.gate_proj": "ff_proj",
    "mlp.down_proj": "ff_out",
}


def under_published_names(adapter):
    path = adapter / "adapter_model.safetensors"
    tensors = {}
    for name, tensor in load_file(path).items():
        for ours, theirs in PUBLISHED.items():
            name = name.replace(ours, theirs)  # noqa: PLW2901  one name after the other
        tensors[name] = tensor
    assert all("transformer.blocks" in name for name in tensors)
    save_file(tensors, path)
    rewritten(adapter / "adapter_config.json", target_modules=["q_proj", "ff_proj", "ff_out"])


def test_an_adapter_under_lladas_published_names_is_merged(folders, tmp_path):
    targets = ["q_proj", "o_proj", "gate_proj", "down_proj"]
    adapter, expected = lora(folders["llada"], tmp_path, target_modules=targets)
    under_published_names(adapter)
    found = loaded(folders["llada"], peft=str(adapter)).network
    assert gap(logits_of(found, tokens(20), everybody(20)), expected) <= TOLERANCE


@pytest.mark.parametrize(
    "fields",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 24}, "rank_pattern": {"down_proj": 2}},
    ],
)
def test_kinds_of_lora_are_merged_as_they_were_trained(fields, folders, tmp_path):
    adapter, expected = lora(folders["sdar"], tmp_path, **fields)
    found = loaded(folders["sdar"], peft=str(adapter)).network
    assert gap(logits_of(found, tokens(20), everybody(20)), expected) <= TOLERANCE


def test_a_module_that_was_trained_whole_is_taken_over(folders, tmp_path):
    adapter, _ = lora(folders["dream"], tmp_path, modules_to_save=["lm_head"])
    name, path = "base_model.model.lm_head.weight", adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    assert tensors[name].shape == (checkpoints.ROWS, 64)
    tensors[name] = tensors[name].flip(0).contiguous()
    found = logits_of(
        loaded(folders["dream"], peft=str(adapter)).network, tokens(20), everybody(20)
    )
    save_file(tensors, path)
    flipped = loaded(folders["dream"], peft=str(adapter)).network
    assert gap(logits_of(flipped, tokens(20), everybody(20)), found.flip(1)) <= TOLERANCE


@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"]])
def test_an_adapter_to_one_of_two_tied_matrices_is_refused(targets, folders, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # peft says so too
        adapter, _ = lora(folders["fast-dllm-v2"], tmp_path, target_modules=targets)
    with pytest.raises(CheckpointError, match="which share a matrix in this network"):
        loaded(folders["fast-dllm-v2"], peft=str(adapter))


def test_patterns_of_published_names_are_refused_rather_than_lost(folders, tmp_path):
    adapter, _ = lora(
        folders["llada"], tmp_path, target_modules=["gate_proj"], alpha_pattern={"gate_proj": 64}
    )
    under_published_names(adapter)
    rewritten(adapter / "adapter_config.json", alpha_pattern={"ff_proj": 64})
    with pytest.raises(CheckpointError, match="alpha_pattern refers to modules by their published"):
        loaded(folders["llada"], peft=str(adapter))


def test_an_adapter_that_changed_the_weights_beneath_it_is_refused(folders, tmp_path):
    adapter, _ = lora(folders["sdar"], tmp_path)
    rewritten(adapter / "adapter_config.json", init_lora_weights="pissa")
    with pytest.raises(CheckpointError, match="init_lora_weights='pissa' changes the checkpoint"):
        loaded(folders["sdar"], peft=str(adapter))


def test_a_changed_strength_of_an_adapter_changes_the_weights_digest(folders, tmp_path):
    adapter, _ = lora(folders["sdar"], tmp_path)
    before = loaded(folders["sdar"], peft=str(adapter)).weights_digest
    rewritten(adapter / "adapter_config.json", lora_alpha=32)
    assert loaded(folders["sdar"], peft=str(adapter)).weights_digest != before


def test_an_adapter_that_does_not_fit_is_refused(folders, tmp_path):
    adapter, _ = lora(folders["dream"], tmp_path / "lora", target_modules=["q_proj"])
    path = adapter / "adapter_model.safetensors"
    sound = load_file(path)
    wrong = {
        "of another width": {name: tensor[..., :3] for name, tensor in sound.items()},
        "for a layer too many": {
            name.replace("layers.1", "layers.7"): tensor for name, tensor in sound.items()
        },
        "one half missing": dict(list(sound.items())[1:]),
        "with a module that is not there": {
            **sound,
            "base_model.model.score.weight": torch.ones(448, 64),
        },
        "of nothing": {},
    }
    for what, tensors in wrong.items():
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        with pytest.raises(CheckpointError, match=r"adapter") as told:
            pytest.fail(f"{what}: {loaded(folders['dream'], peft=str(adapter))}")
        assert str(adapter) in str(told.value), what
        assert "\n" not in str(told.value)


def test_what_is_no_lora_adapter_is_refused(folders, tmp_path):
    with pytest.raises(CheckpointError, match="no LoRA adapter can be loaded from"):
        loaded(folders["sdar"], peft=str(tmp_path))
    adapter, _ = lora(folders["sdar"], tmp_path / "lora")
    rewritten(adapter / "adapter_config.json", peft_type="IA3")
    with pytest.raises(CheckpointError, match="peft_type is 'IA3' and must be 'LORA'"):
        loaded(folders["sdar"], peft=str(adapter))
    (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no LoRA adapter can be loaded from"):
        loaded(folders["sdar"], peft=str(adapter))


def test_without_peft_an_adapter_is_refused_with_the_way_out(folders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CheckpointError, match="needs the package peft: pip install peft"):
        loaded(folders["sdar"], peft=str(tmp_path))


# Settings.


def setting(text):
    (found,) = parse_settings(text, MODELS)
    return found


@pytest.mark.parametrize("name", ["plain", "with:colon", "a=b", "x:y:z"])
def test_a_folder_may_have_any_name_and_its_label_can_be_typed_again(name, folders, tmp_path):
    folder = tmp_path / name
    folder.symlink_to(folders["sdar"])
    for fields in ("", ":dtype=bfloat16,device=cpu", ":cache=none,block_length=8"):
        found = setting(f"hf:{folder}{fields}")
        assert found.fields["path"] == str(folder)
        again = setting(found.label)
        assert again.fields == found.fields
        assert again.label == found.label
    model = build(found, MODELS).open()
    assert model.blocks.length == 8


def test_a_path_that_reads_like_a_field_is_given_by_name(folders, tmp_path):
    folder = tmp_path / "2024:run=3"
    folder.symlink_to(folders["sdar"])
    with pytest.raises(UnknownNameError, match="no field is called 'run'"):
        setting(f"hf:{folder}")
    found = setting(f"hf:path={folder},dtype=float32")
    assert found.fields["path"] == str(folder)
    assert build(found, MODELS).open().provenance()["family"] == "sdar"


def test_fields_of_a_setting_reach_the_checkpoint(folders):
    found = setting(f"hf:{folders['sdar']}:dtype=bfloat16,device=cpu,attention=eager,thinking=true")
    facts = build(found, MODELS).open().provenance()
    assert (facts["dtype"], facts["device"]) == ("bfloat16", "cpu")
    assert (facts["attention"], facts["thinking"]) == ("eager", True)


def test_every_field_of_a_setting_but_the_adapters_own_is_one_of_the_checkpoint():
    ours = {field.name: field for field in dataclasses.fields(HuggingFace)}
    theirs = {field.name: field for field in dataclasses.fields(CheckpointRequest)}
    assert ours.keys() - theirs.keys() == {"cache", "block_length"}
    assert all(ours[name].default == theirs[name].default for name in theirs)


def test_a_setting_without_a_path_is_refused():
    with pytest.raises(FieldError, match="model 'hf' needs a path: write hf:PATH"):
        setting("hf")
    with pytest.raises(UnknownNameError, match="no field is called 'dtpye'; did you mean 'dtype'"):
        setting("hf:here:dtpye=float32")
    with pytest.raises(FieldError, match="must be one of auto, float32, bfloat16, float16"):
        setting("hf:here:dtype=int8")
    with pytest.raises(FieldError, match="block_length must be at least 1 token, got 0"):
        setting("hf:here:block_length=0")


@pytest.mark.parametrize(
    ("family", "fields", "told"),
    [
        ("llada", {"cache": "block"}, "cache=block does not apply to family llada.*none, prefix"),
        ("sdar", {"cache": "dual"}, "cache=dual does not apply to family sdar.*block, none"),
        ("llama", {"cache": "none"}, "cache=none does not apply to family autoregressive"),
        ("dream", {"block_length": 8}, "block_length is the grid of a block model.*family dream"),
        ("qwen3", {"block_length": 8}, "block_length is the grid of a block model"),
    ],
)
def test_a_field_that_does_not_apply_is_refused(family, fields, told, folders):
    with pytest.raises(FieldError, match=told):
        HuggingFace(path=str(folders[family]), **fields).open()
