"""Declarations of a checkpoint: ids, sizes, mask and family."""

import json
import shutil

import pytest

from parallelbench.cli.program import main
from parallelbench.errors import CheckpointError
from parallelbench.models import config_numbers
from parallelbench.models.config_numbers import check_numbers
from parallelbench.models.families import family_of
from parallelbench.models.hf import HuggingFace
from parallelbench.models.ideal import Ideal
from support import checkpoints, diffusion_gemma

DIFFUSION = tuple(name for name in checkpoints.FAMILIES if name not in {"llama", "qwen3"})
IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")
NO_IDS = (-1, checkpoints.ROWS, 912, True, 4.0, "4", {"id": 4}, [4.0])
NO_SIZES = (0, -4, True, 4.0, "4", 2**63)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("declared")
    written = {
        name: checkpoints.write_checkpoint(name, root / name, shards=1)
        for name in checkpoints.FAMILIES
    }
    diffusion_gemma.write_checkpoint(root / "diffusion-gemma")
    return {**written, "diffusion-gemma": root / "diffusion-gemma"}


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def changed(folder, target, file="config.json", **fields):
    """Return a copy with other values in one file; None takes a field out."""
    if folder != target:
        shutil.copytree(folder, target, dirs_exist_ok=True)
    content = {**json.loads((target / file).read_text()), **fields}
    kept = {name: value for name, value in content.items() if value is not None}
    (target / file).write_text(json.dumps(kept))
    return target


def refused(folder, **fields):
    with pytest.raises(CheckpointError) as told:
        HuggingFace(path=str(folder), **fields).open()
    assert "\n" not in str(told.value)
    return str(told.value)


# Ids and sizes.


@pytest.mark.parametrize("family", [*checkpoints.FAMILIES, "diffusion-gemma"])
def test_an_impossible_number_is_named_with_its_value_in_every_family(family, folders):
    config = config_of(folders[family])
    check_numbers(config, "here")
    within = config.get("text_config") or config
    prefix = "text_config." if "text_config" in config else ""
    wrong = dict.fromkeys(IDS, NO_IDS)
    sizes = config_numbers._SIZES.keys() & within.keys() - {"max_window_layers"}
    assert len(sizes) >= 7
    wrong |= {name: NO_SIZES for name in sizes if within[name] is not None}
    for name, values in wrong.items():
        for value in values:
            bad = {**config, "text_config": {**within, name: value}}
            bad = bad if prefix else {**config, name: value}
            with pytest.raises(CheckpointError) as told:
                check_numbers(bad, "here")
            assert f"here: {prefix}{name}={value!r} in config.json" in str(told.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"eos_token_id": [331, 412]},
        {"eos_token_id": None, "pad_token_id": None, "bos_token_id": None},
        {"vocab_size": 413, "embedding_size": 448, "bos_token_id": 447},
        {"n_kv_heads": None, "embedding_size": None},
        {"max_sequence_length": 10**7},
    ],
)
def test_oddities_of_published_files_are_no_faults(fields, folders):
    check_numbers({**config_of(folders["llada"]), **fields}, "here")


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("config.json", {"eos_token_id": -1, "pad_token_id": None}, "eos_token_id=-1 in config"),
        ("generation_config.json", {"eos_token_id": [324, 912]}, "eos_token_id=[324, 912] in gen"),
        ("generation_config.json", {"pad_token_id": True}, "pad_token_id=True in generation_c"),
        ("tokenizer_config.json", {"eos_token": 324}, "eos_token"),
        ("config.json", {"architectures": "LlamaForCausalLM"}, "is not a list of class names"),
    ],
)
def test_an_impossible_id_is_told_before_weights_are_read(file, fields, words, folders, tmp_path):
    folder = changed(folders["llama"], tmp_path, file, **fields)
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert words in refused(folder)


@pytest.mark.parametrize(
    ("family", "fields", "words"),
    [
        ("llada", {"d_model": 2**14}, "d_model=16384"),
        ("llada", {"mlp_hidden_size": 10**6}, "mlp_hidden_size=1000000"),
        ("qwen3", {"hidden_size": 10**5}, "hidden_size=100000"),
        ("llada2", {"num_experts": 60000}, "num_experts=60000"),
    ],
)
def test_sizes_that_no_weight_file_holds_take_no_memory(family, fields, words, folders, tmp_path):
    told = refused(changed(folders[family], tmp_path, **fields))
    assert "config.json describes a network of" in told
    assert words in told


@pytest.mark.parametrize(
    ("family", "fields", "words"),
    [
        ("llada2", {"num_experts_per_tok": 9}, "num_experts_per_tok=9 in config.json is more than"),
        ("llada2", {"topk_group": 5}, "topk_group=5 in config.json is more than n_group=4"),
        ("llada2", {"n_group": 3}, "num_experts=8 in config.json do not make n_group=3 equal"),
        ("llada2", {"partial_rotary_factor": 2.0}, "partial_rotary_factor=2.0 in config.json"),
        ("llada", {"rope_theta": 0}, "rope_theta=0 in config.json is out of range"),
        ("llada", {"rope_theta": True}, "rope_theta=True in config.json is out of range"),
        ("sdar", {"rms_norm_eps": "x"}, "rms_norm_eps='x' in config.json is out of range"),
        ("llada", {"n_heads": 3}, "does not fit llada"),
    ],
)
def test_numbers_that_do_not_go_together_are_told(family, fields, words, folders, tmp_path):
    assert words in refused(changed(folders[family], tmp_path, **fields))


# The mask.

MASK_ENDS = {"mask_token": "<|im_end|>"}


@pytest.mark.parametrize("family", DIFFUSION)
def test_another_mask_than_the_tokenizers_is_refused(family, folders, tmp_path):
    config = config_of(folders[family])
    mask, end = config["mask_token_id"], config["eos_token_id"]
    ordinary = refused(changed(folders[family], tmp_path, mask_token_id=40))
    assert "mask_token_id=40" in ordinary
    assert str(mask) in ordinary or "ordinary token" in ordinary
    ended = refused(changed(folders[family], tmp_path, mask_token_id=end))
    assert "the mask token is ambiguous" in ended or "are one id" in ended
    # A hole between the tokenizer and the embedding is a mask that no tokenizer names.
    if family == "nemotron":
        folder = changed(folders[family], tmp_path, mask_token_id=checkpoints.ROWS - 1)
        assert HuggingFace(path=str(folder)).open_codec().mask_id == checkpoints.ROWS - 1


def test_mask_and_end_of_text_are_never_one_id(folders, tmp_path):
    folder = changed(folders["sdar"], tmp_path, "tokenizer_config.json", **MASK_ENDS)
    changed(folder, tmp_path, "special_tokens_map.json", **MASK_ENDS)
    end = 322
    assert "the mask token is ambiguous" in refused(changed(folder, tmp_path, mask_token_id=None))
    told = refused(changed(folder, tmp_path, mask_token_id=end))
    assert f"mask and end-of-text are one id, {end} (<|im_end|>)" in told


def test_the_ideal_model_never_takes_a_token_for_its_mask(folders, tmp_path):
    folder = changed(folders["sdar"], tmp_path, "tokenizer_config.json", **MASK_ENDS)
    changed(folder, tmp_path, "special_tokens_map.json", **MASK_ENDS)
    (folder / "config.json").unlink()
    codec = Ideal(tokenizer=str(folder)).open().codec
    assert codec.mask_id not in codec.ends
    assert codec.mask_id not in codec.tokenizer.get_vocab().values()


# The family.

SIGNS = [
    {"mask_token_id": 5},
    {"block_size": 4},
    {"bd_size": 32},
    {"model_type": "Dream"},
    {"model_type": "llada2_moe"},
    {"auto_map": {"AutoModel": "modeling_dream.DreamModel"}},
    {"auto_map": {"AutoModelForCausalLM": "org/name--modeling_mine.MineForCausalLM"}},
    {"is_causal": False},
]


@pytest.mark.parametrize("sign", SIGNS)
def test_a_causal_class_name_on_a_diffusion_model_is_refused(sign, folders, tmp_path):
    folder = changed(folders["qwen3"], tmp_path, **sign)
    told = refused(folder)
    assert "names the causal class Qwen3ForCausalLM, and also has" in told
    assert "say family=" in told
    assert "or family=autoregressive to decode one token after another" in told
    with pytest.raises(CheckpointError, match="names the causal class"):
        HuggingFace(path=str(folder)).capabilities()
    assert family_of(config_of(folder), "autoregressive", "here").kind == "autoregressive"


@pytest.mark.parametrize("family", DIFFUSION)
def test_every_family_under_a_causal_name_is_refused_with_its_own_name(family, folders, tmp_path):
    known = family_of(config_of(folders[family]), None, "here")
    if known.network == "Glm4MoeForCausalLM":
        return
    told = refused(changed(folders[family], tmp_path, architectures=[known.network]))
    assert f"family={family}" in told
    assert HuggingFace(path=str(tmp_path), family=family).open().provenance()["family"] == family


def test_a_mask_token_in_the_tokenizer_gives_a_diffusion_model_away(folders, tmp_path):
    plain = {"mask_token_id": None, "auto_map": None, "block_size": None}
    names = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
    folder = changed(folders["sdar"], tmp_path, **plain, **names)
    told = refused(folder)
    assert "the tokenizer has <|MASK|>, as a diffusion model's does; say family=sdar" in told
    named = HuggingFace(path=str(folder), family="autoregressive").open()
    assert named.provenance()["family"] == "autoregressive"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"auto_map": {"AutoModelForCausalLM": "modeling_qwen3.Qwen3ForCausalLM"}},
        {"auto_map": {"AutoConfig": "configuration_x.X", "AutoTokenizer": ["x.Y", None]}},
        {"mask_token_id": None},
        {"is_causal": True},
    ],
)
def test_a_causal_model_is_taken_for_one(fields, folders):
    config = {**config_of(folders["qwen3"]), **fields}
    assert family_of(config, None, "here").kind == "autoregressive"


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("BigBirdForCausalLM", "block_size", 64), ("XLMWithLMHeadModel", "mask_token_id", 0)],
)
def test_a_field_of_the_causal_class_itself_is_no_sign(name, field, value):
    config = {"architectures": [name], field: value}
    assert family_of(config, None, "here").kind == "autoregressive"


def test_a_refusal_is_one_line_and_no_run(folders, tmp_path, capsys):
    folder = changed(folders["dream"], tmp_path / "c", architectures=["Qwen2ForCausalLM"])
    command = ["run", "--model", f"hf:{folder}", "--tasks", "choices/city", "--samples", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
