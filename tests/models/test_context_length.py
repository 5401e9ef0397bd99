"""A prompt that the network has no room for is refused before a run starts."""

import json
import shutil

import pytest
import torch
import transformers

from parallelbench.cli.program import main
from parallelbench.errors import RunFileError
from parallelbench.models.families import context_length, family_of, stock_config
from parallelbench.models.hf import HuggingFace
from parallelbench.models.mini import FOLDER
from parallelbench.prompt import build_prompt
from parallelbench.run.recording import draw_sample
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import assemble, check, execute
from support import checkpoints

FIELDS = {"llada": "max_sequence_length"}


def mini_with(folder, **fields):
    shutil.copytree(FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))
    return folder


def plan_of(model, tasks="choices/city", samples=2):
    content = {"models": f"hf:{model}", "tasks": tasks, "decoders": "one_by_one"}
    return make_runfile({**content, "samples": samples}, where="the test")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A causal network with a table of 128 positions."""
    root = tmp_path_factory.mktemp("context")
    tokenizer = checkpoints.write_checkpoint("llama", root / "llama")
    config = transformers.GPT2Config(
        vocab_size=448,
        n_embd=32,
        n_layer=1,
        n_head=2,
        n_positions=128,
        eos_token_id=324,
        bos_token_id=320,
    )
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(root / "gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(tokenizer / name, root / "gpt2" / name)
    return root / "gpt2"


def test_a_network_without_room_for_the_prompt_is_refused_before_the_run(gpt2, tmp_path, capsys):
    command = ["run", "--model", f"hf:{gpt2}", "--tasks", "choices/city", "--samples", "2"]
    command += ["--decoders", "one_by_one", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert not (tmp_path / "out").exists()
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has a context of 128 tokens, and sample choices/city" in told
    assert "a canvas of 32; ask for less (the task's canvas_length, shots or length)" in told


def test_prompt_and_canvas_may_fill_the_context_to_the_last_token(tmp_path):
    roomy = plan_of(FOLDER, "waiting_line/copy", samples=1)
    (record,) = execute(roomy)
    needed = record.decoding.prompt_tokens + len(record.decoding.output_ids)
    for length in (needed, needed - 1):
        model = mini_with(tmp_path / str(length), max_sequence_length=length)
        plan = plan_of(model, "waiting_line/copy", samples=1)
        if length == needed:
            (again,) = execute(plan)
            assert again.decoding.output_ids == record.decoding.output_ids
        else:
            with pytest.raises(RunFileError, match=f"context of {length} tokens.*needs {needed}"):
                execute(plan)


def test_the_longest_sample_is_looked_for_beyond_those_that_are_tried(tmp_path):
    tasks, samples = "text_writing/w2s_easy", 40
    plan = plan_of(FOLDER, tasks, samples)
    parts = assemble(plan)
    ((_, model),), ((_, task),) = parts.models, parts.tasks
    built = [
        build_prompt(task, draw_sample(task, plan.seed, index), model.codec) for index in range(40)
    ]
    lengths = [len(prompt.ids) + len(prompt.canvas) for prompt in built]
    assert max(lengths[:4]) < max(lengths)
    model.context_length = max(lengths)
    check(plan, parts)
    model.context_length = max(lengths) - 1
    with pytest.raises(RunFileError, match=f"needs {max(lengths)}: a prompt of"):
        check(plan, parts)
    # One that was not found is not decoded either.
    model.context_length = lengths[0] - 1
    with pytest.raises(RunFileError, match="has a context of"):
        next(execute(plan, parts=parts))


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_every_family_declares_its_context(family, tmp_path):
    checkpoints.write_checkpoint(family, tmp_path, shards=1)
    config = json.loads((tmp_path / "config.json").read_text())
    field = FIELDS.get(family, "max_position_embeddings")
    known = family_of(config, None, "here")
    made = stock_config(known, config, str(tmp_path))
    assert context_length(known, config, made) == config[field]
    assert HuggingFace(path=str(tmp_path)).open().context_length == config[field]
    if known.translate is not None:
        # What the stock class would take for it says nothing of the checkpoint.
        less = {name: value for name, value in config.items() if name != field}
        made = stock_config(known, less, str(tmp_path))
        assert context_length(known, less, made) is None


def test_scaled_rotations_reach_as_far_as_they_were_scaled(tmp_path):
    checkpoints.write_checkpoint("qwen3", tmp_path, shards=1)
    config = json.loads((tmp_path / "config.json").read_text())
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    scaled = {"rope_parameters": {**rope, "rope_theta": 1e6}, "rope_scaling": None}
    (tmp_path / "config.json").write_text(json.dumps({**config, **scaled}))
    known = family_of(config, None, "here")
    made = stock_config(known, config, str(tmp_path))
    assert context_length(known, config, made) == 4 * 32768
