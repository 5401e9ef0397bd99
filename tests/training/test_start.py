"""The start of a training and its saved weights."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from parallelbench.errors import CheckpointError
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
from parallelbench.models.hf import HuggingFace
from parallelbench.training import Base, Scratch
from parallelbench.training.folder import TrainingFolder
from parallelbench.training.start import open_trainee, write_random
from support import checkpoints

MASKED = ("llada", "illada", "llada-moe", "dream")
SIZES = {"hidden": 32, "layers": 2, "heads": 2, "feed_forward": 40}


def random_network(folder, **changes):
    folder.mkdir()
    start = Scratch(**{**SIZES, **changes})
    write_random(start, ["Ada", "Bob"], 128, 0, TrainingFolder(folder))
    return start


def logits(network):
    ids = torch.tensor([[7, 3, 9, 1, 1, 12]])
    with torch.inference_mode():
        return network(input_ids=ids, use_cache=False).logits


def test_from_scratch_gives_a_checkpoint_of_family_llada(tmp_path):
    random_network(tmp_path / "new")
    checkpoint = load_checkpoint(CheckpointRequest(path=str(tmp_path / "new"), device="cpu"))
    assert checkpoint.family.name == "llada"
    assert checkpoint.network.config.is_causal is False
    codec = checkpoint.codec
    assert codec.tokenizer.mask_token_id == codec.mask_id
    assert codec.tokenizer.eos_token_id == codec.end_id
    assert codec.encode(["Ada Bob"]) == [[len(codec.tokenizer) - 2, len(codec.tokenizer) - 1]]
    HuggingFace(path=str(tmp_path / "new"), device="cpu").open()


def test_the_layout_is_the_published_one(tmp_path):
    random_network(tmp_path / "new")
    published = checkpoints.write_checkpoint("llada", tmp_path / "published", shards=1)
    ours, theirs = (
        set(load_file(folder / "model.safetensors")) for folder in (tmp_path / "new", published)
    )
    assert ours == theirs
    config, known = (
        json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "new", published)
    )
    assert set(config) <= set(known)
    for name in ("architectures", "model_type", "block_type", "layer_norm_type", "weight_tying"):
        assert config[name] == known[name]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 2e-3)])
def test_a_network_is_the_same_when_it_is_loaded_again(dtype, tolerance, tmp_path):
    start = random_network(tmp_path / "new", dtype=dtype)
    trainee = open_trainee(start, TrainingFolder(tmp_path / "new"), "cpu", 0)
    with torch.no_grad():
        for each in trainee.weights.values():
            each.add_(0.01 * torch.randn_like(each))
    trainee.save(trainee.weights, TrainingFolder(tmp_path / "new"))
    wanted = CheckpointRequest(
        path=str(tmp_path / "new"), dtype="float32", device="cpu", attention="eager"
    )
    loaded = load_checkpoint(wanted)
    gap = (logits(loaded.network) - logits(trainee.checkpoint.network)).abs().max()
    assert float(gap) <= tolerance
    held = load_file(tmp_path / "new" / "model.safetensors")
    assert {tensor.dtype for tensor in held.values()} == {getattr(torch, dtype)}


def test_the_random_weights_are_those_of_the_seed(tmp_path):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    digests = []
    for seed in (0, 0, 1):
        folder = tmp_path / str(len(digests))
        folder.mkdir()
        write_random(Scratch(**SIZES), ["Ada"], 128, seed, TrainingFolder(folder))
        digests.append(load_file(folder / "model.safetensors")["model.transformer.wte.weight"])
    assert torch.equal(digests[0], digests[1])
    assert not torch.equal(digests[0], digests[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("family", MASKED)
def test_a_checkpoint_is_saved_under_its_published_names(family, tmp_path):
    base = checkpoints.write_checkpoint(family, tmp_path / "base")
    out = TrainingFolder(tmp_path / "out")
    out.path.mkdir()
    trainee = open_trainee(Base(model=f"hf:{base}"), out, "cpu", 0)
    assert all(each.requires_grad for each in trainee.module.parameters())
    trainee.save(trainee.weights, out)
    published = {}
    for path in base.glob("*.safetensors"):
        published |= load_file(path)
    held = load_file(out.path / "model.safetensors")
    assert held.keys() == published.keys()
    for name, tensor in published.items():
        assert torch.equal(held[name], tensor), name
    first = load_checkpoint(CheckpointRequest(path=str(base), device="cpu"))
    again = load_checkpoint(CheckpointRequest(path=str(out.path), device="cpu"))
    assert again.codec.digest == first.codec.digest
    assert torch.equal(logits(again.network), logits(first.network))


@pytest.mark.parametrize("lora", [None, 2])
def test_on_a_processor_a_checkpoint_is_trained_with_plain_attention(lora, tmp_path):
    base = checkpoints.write_checkpoint("llada", tmp_path / "base")
    out = TrainingFolder(tmp_path / "out")
    out.path.mkdir()
    trainee = open_trainee(Base(model=f"hf:{base}", lora=lora), out, "cpu", 0)
    assert trainee.checkpoint.network.config._attn_implementation == "eager"


def test_a_pickled_checkpoint_is_saved_too(tmp_path):
    base = checkpoints.write_pickle_checkpoint("llada", tmp_path / "base")
    out = TrainingFolder(tmp_path / "out")
    out.path.mkdir()
    trainee = open_trainee(Base(model=f"hf:{base}"), out, "cpu", 0)
    trainee.save(trainee.weights, out)
    again = load_checkpoint(CheckpointRequest(path=str(out.path), device="cpu", attention="eager"))
    assert torch.equal(logits(again.network), logits(trainee.checkpoint.network))


@pytest.mark.parametrize("family", MASKED)
def test_an_adapter_is_merged_as_it_was_trained(family, tmp_path):
    base = checkpoints.write_checkpoint(family, tmp_path / "base")
    out = TrainingFolder(tmp_path / "out")
    out.path.mkdir()
    trainee = open_trainee(Base(model=f"hf:{base}", lora=3), out, "cpu", 0)
    assert all("lora_" in name for name in trainee.weights)
    with torch.no_grad():
        for each in trainee.weights.values():
            each.add_(0.1 * torch.randn_like(each))
    trainee.save(trainee.weights, out)
    merged = load_checkpoint(CheckpointRequest(path=str(base), peft=str(out.path), device="cpu"))
    plain = load_checkpoint(CheckpointRequest(path=str(base), device="cpu"))
    trained = logits(trainee.checkpoint.network)
    assert float((logits(merged.network) - trained).abs().max()) < 1e-4
    assert float((logits(plain.network) - trained).abs().max()) > 1e-2


@pytest.mark.parametrize("family", ["sdar", "llada2", "llama"])
def test_a_family_that_predicts_otherwise_is_refused(family, tmp_path):
    base = checkpoints.write_checkpoint(family, tmp_path / "base")
    with pytest.raises(CheckpointError, match="predict the whole canvas: llada"):
        open_trainee(Base(model=f"hf:{base}"), TrainingFolder(tmp_path), "cpu", 0)


def test_files_are_for_everybody_who_may_read_the_folder(tmp_path):
    random_network(tmp_path / "new")
    modes = {path.stat().st_mode for path in (tmp_path / "new").iterdir()}
    assert len(modes) == 1
    with safe_open(tmp_path / "new" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
