"""The files of a checkpoint's folder, told for what they are."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from parallelbench.errors import CheckpointError
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint, load_codec_alone
from parallelbench.models.files import weight_files
from parallelbench.models.hf import HuggingFace
from support import checkpoints

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 4977222960\n"
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return checkpoints.write_checkpoint("llada", tmp_path_factory.mktemp("files") / "llada")


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published, tmp_path / "model")


def loaded(folder, **fields):
    return load_checkpoint(CheckpointRequest(path=str(folder), **fields))


def tensors(folder):
    return {k: v for file in folder.glob("model-*.safetensors") for k, v in load_file(file).items()}


def left_over(folder, alter):
    weights = tensors(folder)
    alter(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def test_a_left_over_file_beside_shards_is_refused_unless_it_holds_the_same(folder):
    sound = loaded(folder)
    assert list(sound.provenance["weights"]) == SHARDS
    left_over(folder, dict)
    same = loaded(folder)
    assert list(same.provenance["weights"]) == ["model.safetensors"]
    assert all(
        torch.equal(one, other)
        for one, other in zip(sound.network.parameters(), same.network.parameters(), strict=True)
    )
    name = "model.transformer.ln_f.weight"
    for alter in (
        lambda weights: weights[name].add_(1e-6),
        lambda weights: weights.pop(name),
        lambda weights: weights.update(extra=torch.ones(1)),
        lambda weights: weights.update({name: weights[name].half()}),
    ):
        left_over(folder, alter)
        with pytest.raises(CheckpointError, match=r"two sets of weights, model\.safetensors and"):
            loaded(folder)


def test_what_no_index_names_is_not_read_and_not_in_the_digest(folder):
    sound = loaded(folder).weights_digest
    (folder / "consolidated.safetensors").write_text(POINTER)
    (folder / "model-00003-of-00003.safetensors").write_bytes(b"of another save")
    assert loaded(folder).weights_digest == sound


def test_an_index_whose_files_are_gone_is_left_over_and_one_that_is_half_there_is_not(folder):
    left_over(folder, dict)
    (folder / SHARDS[0]).unlink()
    with pytest.raises(CheckpointError, match=f"names 1 file.* not in the folder: {SHARDS[0]}"):
        weight_files(folder, "here")
    (folder / SHARDS[1]).unlink()
    assert [path.name for path in weight_files(folder, "here")] == ["model.safetensors"]


def test_an_adapter_beside_the_weights_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"LoRA adapter .*say peft=FOLDER"):
        weight_files(folder, "here")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors.index.json",
        *SHARDS,
    ],
)
def test_a_git_lfs_pointer_is_told_with_its_size_and_the_way_out(name, folder):
    (folder / name).write_text(POINTER)
    expected = rf"{name} is a git-lfs pointer to a file of 4,977,222,960 bytes .*git lfs pull"
    with pytest.raises(CheckpointError, match=expected) as told:
        loaded(folder)
    assert "\n" not in str(told.value)


def test_a_byte_order_mark_has_no_effect_or_is_told(folder):
    stops = [checkpoints._LLADA_SPECIAL[name] for name in ("<|endoftext|>", "<|eot_id|>")]
    content = json.dumps({"eos_token_id": [7, *stops]})
    (folder / "generation_config.json").write_text(content, encoding="utf-8")
    plain = load_codec_alone(CheckpointRequest(path=str(folder)), fetch=False)
    assert 7 in plain.stop_ids
    (folder / "generation_config.json").write_text(content, encoding="utf-8-sig")
    marked = load_codec_alone(CheckpointRequest(path=str(folder)), fetch=False)
    assert (marked.stop_ids, marked.mask_id) == (plain.stop_ids, plain.mask_id)
    assert loaded(folder).codec.stop_ids == plain.stop_ids
    for name in ("config.json", "tokenizer.json", "model.safetensors.index.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8-sig")
        with pytest.raises(CheckpointError, match=f"{name} begins with a byte-order mark"):
            loaded(folder)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("content", ["{", "[1]", b"\xff\xfe"])
def test_an_unreadable_generation_config_is_refused_and_not_passed_over(content, folder):
    raw = content if isinstance(content, bytes) else content.encode()
    (folder / "generation_config.json").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        loaded(folder)


# Weights that give no numbers.


def altered(folder, alter):
    for shard in SHARDS:
        weights = load_file(folder / shard)
        alter(weights)
        save_file(weights, folder / shard, metadata={"format": "pt"})
    return folder


def of_model(folder, **fields):
    return HuggingFace(path=str(folder), **fields).open()


@pytest.mark.parametrize("family", ["llada", "sdar", "qwen3"])
@pytest.mark.parametrize("part", ["down_proj", "lm_head"])
def test_nan_in_a_weight_is_told_with_the_tensor(family, part, tmp_path):
    published = {"down_proj": "blocks.1.ff_out", "lm_head": "transformer.ff_out"}
    name = published[part] if family == "llada" else part

    def alter(weights):
        for held, tensor in weights.items():
            if name in held:
                tensor[5, 7] = torch.nan

    checkpoints.write_checkpoint(family, tmp_path)
    with pytest.raises(
        CheckpointError, match=rf"the weights contain NaN: \S*{part}\S*, by its name in"
    ):
        of_model(altered(tmp_path, alter))


@pytest.mark.parametrize("family", ["dream", "llama"])
def test_what_overflows_in_half_precision_is_told_with_the_way_out(family, tmp_path):
    def grow(weights):
        for held, tensor in weights.items():
            if "up_proj" in held or "down_proj" in held:
                tensor.mul_(1000)

    folder = altered(checkpoints.write_checkpoint(family, tmp_path), grow)
    with pytest.raises(CheckpointError, match=r"overflows in float16 \(no weight.*dtype=bfloat16"):
        of_model(folder, dtype="float16")
    of_model(folder, dtype="float32")

    def exceed(weights):
        for held, tensor in weights.items():
            if "up_proj" in held:
                tensor[0, 0] = 1e6

    with pytest.raises(CheckpointError, match=r"overflows in float16 \(\S+up_proj\S+ contains inf"):
        of_model(altered(folder, exceed), dtype="float16")


def test_infinity_in_float32_is_told(tmp_path):
    def alter(weights):
        if "lm_head.weight" in weights:
            weights["lm_head.weight"][3, 3] = torch.inf

    checkpoints.write_checkpoint("sdar", tmp_path)
    with pytest.raises(
        CheckpointError, match=r"NaN or infinity in float32: lm_head\.weight contains inf"
    ):
        of_model(altered(tmp_path, alter))


def test_ignored_fields_are_recorded(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "clip_qkv": 8.0}))
    with pytest.raises(CheckpointError, match=r"clip_qkv=8\.0"):
        of_model(folder)
    assert of_model(folder, ignore="clip_qkv").provenance()["ignored_fields"] == ["clip_qkv"]
