"""Truncation and padding saved in a tokenizer's files change no prompt."""

import json
import shutil

import pytest

from parallelbench.leaderboards.entry.tokenizer_file import from_file, to_file
from parallelbench.models.hf import HuggingFace
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS
from support import checkpoints

TRUNCATION = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 256},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<|endoftext|>",
}
#: By file, a state that tokenizers save and that would change what is encoded.
STATES = [
    ("tokenizer.json", {"truncation": TRUNCATION}),
    ("tokenizer.json", {"truncation": {**TRUNCATION, "direction": "Left"}}),
    ("tokenizer.json", {"padding": PADDING}),
    ("tokenizer.json", {"padding": {**PADDING, "strategy": "BatchLongest", "direction": "Left"}}),
    ("tokenizer.json", {"truncation": TRUNCATION, "padding": PADDING}),
    ("tokenizer.json", {"model": {"dropout": 0.5}}),
    ("tokenizer_config.json", {"model_max_length": 8, "truncation_side": "left"}),
    ("tokenizer_config.json", {"padding_side": "left", "pad_to_multiple_of": 64}),
    ("tokenizer_config.json", {"split_special_tokens": True}),
    ("tokenizer_config.json", {"add_bos_token": True, "add_eos_token": True}),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return checkpoints.write_checkpoint("sdar", tmp_path_factory.mktemp("state") / "sdar")


def with_state(sound, target, file, state):
    shutil.copytree(sound, target)
    content = json.loads((target / file).read_text())
    for name, value in state.items():
        inner = content.get(name)
        content[name] = {**inner, **value} if name == "model" else value
    (target / file).write_text(json.dumps(content))
    return target


def prompts(codec):
    (setting,) = parse_settings("waiting_line/copy:canvas_length=96", TASKS)
    task = build(setting, TASKS)
    built = [build_prompt(task, draw_sample(task, 0, index), codec) for index in range(4)]
    return [(prompt.ids.tolist(), prompt.canvas.tolist()) for prompt in built]


@pytest.mark.parametrize(("file", "state"), STATES)
def test_saved_state_changes_neither_prompt_nor_digest(file, state, sound, tmp_path):
    plain = HuggingFace(path=str(sound)).open_codec()
    codec = HuggingFace(path=str(with_state(sound, tmp_path / "c", file, state))).open_codec()
    assert prompts(codec) == prompts(plain)
    assert codec.encode(["<|im_start|>"]) == plain.encode(["<|im_start|>"]) == [[321]]
    assert codec.digest == plain.digest
    assert codec.tokenizer_digest == plain.tokenizer_digest


def test_a_beginning_that_the_tokenizer_would_add_is_not_doubled(sound, tmp_path):
    processor = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [320], "tokens": ["<|endoftext|>"]}
        },
    }
    folder = with_state(sound, tmp_path / "c", "tokenizer.json", {"post_processor": processor})
    codec = HuggingFace(path=str(folder)).open_codec()
    assert codec.tokenizer("x")["input_ids"][0] == 320
    assert prompts(codec) == prompts(HuggingFace(path=str(sound)).open_codec())


def test_an_entry_and_the_ideal_model_read_whole_prompts_too(sound, tmp_path):
    state = {"truncation": TRUNCATION, "padding": PADDING}
    folder = with_state(sound, tmp_path / "c", "tokenizer.json", state)
    plain = HuggingFace(path=str(sound)).open_codec()
    content = {**to_file(plain), "tokenizer": (folder / "tokenizer.json").read_text()}
    assert prompts(from_file(content, "codec-00.json")) == prompts(plain)
    (folder / "config.json").unlink()  # it names remote code, which is never run
    long = ["Anna, Bob and Carla went home. " * 50]
    assert Ideal(tokenizer=str(folder)).open().codec.encode(long) == plain.encode(long)
