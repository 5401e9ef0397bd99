"""Files that nobody writes by accident: each is refused in a sentence, and none holds us up."""

import json
import os
import shutil
import sys

import pytest

from parallelbench.cli.program import main
from parallelbench.errors import (
    CheckpointError,
    FieldError,
    RecordsError,
    RequestError,
    RunFileError,
    StorageError,
)
from parallelbench.models.config_numbers import check_numbers
from parallelbench.models.files import read_json_file
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile, read_content
from parallelbench.run.runner import run
from parallelbench.run.shard import Shard
from parallelbench.setting import parse_settings
from parallelbench.task import TASKS
from parallelbench.tasks.text_sources import _as_list
from support import checkpoints

DEEP = "[" * 100_000
NUMBERS = {
    "decimal": "9" * 5000,
    "negative": "-" + "9" * 5000,
    "with underscores": "1" + "_000" * 2000,
    "hexadecimal": "0x" + "f" * 5000,
    "octal": "0" + "7" * 6000,
    "binary": "0b" + "1" * 20_000,
    "of base 60": ":".join(["59"] * 3000),
    "tagged": f"!!int '{'9' * 5000}'",
    "a key": f"{{0x{'f' * 5000}: 1}}",
    "within a list": f"[1, 0x{'f' * 5000}]",
    "a float of base 60": ":".join(["59"] * 3000) + ".5",
    "an empty number": "!!int ''",
    "an empty float": "!!float ''",
    "no truth": "!!bool maybe",
    "no time": "!!timestamp soon",
    "a set that is a list": "!!set [1]",
}
pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture
def begun(tmp_path):
    asked = {"models": "ideal", "tasks": "choices/sum", "decoders": "random:k=32", "samples": 2}
    return run(make_runfile(asked), tmp_path / "run")


@pytest.mark.parametrize("name", NUMBERS)
def test_a_yaml_value_that_python_cannot_hold_is_refused_where_it_stands(name, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(f"samples: {NUMBERS[name]}\n")
    with pytest.raises(RunFileError, match=r"run\.yaml cannot be read: ") as refusal:
        read_content(file)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("text", ["1000", "0x1F", str(10**30), "1:59"])
def test_numbers_that_a_run_may_have_are_read(text, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(f"samples: {text}\n")
    assert 0 < read_content(file)["samples"] <= 2**128


@pytest.mark.parametrize(
    "content",
    [DEEP, "{}", "3", "[3]", '[{"models": []}]', '[{"models": [1]}]', '[{"models": {"a": 1}}]'],
)
def test_an_environment_of_another_form_is_refused(begun, content):
    (begun.path / "environment.json").write_text(content)
    if content == '[{"models": []}]':  # says nothing of any model
        assert begun.environments() == [{"models": []}]
        return
    with pytest.raises(RecordsError, match=r"environment\.json was altered.*delete it"):
        begun.environments()


@pytest.mark.parametrize(
    "content", [DEEP, "[]", "3", '{"shard": 2}', '{"shard": [1]}', f'{{"shard": "{"9" * 5000}/1"}}']
)
def test_a_shard_of_another_form_is_refused(begun, content):
    (begun.path / "shard.json").write_text(content)
    with pytest.raises(RunFileError, match=r"shard\.json was altered"):
        RunDirectory.open(begun.path)


@pytest.mark.parametrize("text", ["9" * 5000 + "/1", "1/" + "9" * 5000])
def test_a_shard_of_five_thousand_digits_is_refused(text):
    with pytest.raises(RunFileError, match="written like 2/4") as refusal:
        Shard.parse(text)
    assert len(str(refusal.value)) < 200


@pipes
@pytest.mark.parametrize("name", ["environment.json", "shard.json", "history.json"])
def test_a_pipe_in_a_run_folder_is_waited_for_by_nobody(begun, name):
    (begun.path / name).unlink(missing_ok=True)
    os.mkfifo(begun.path / name)
    with pytest.raises(StorageError, match="it is no regular file"):
        RunDirectory.open(begun.path).provenance()


@pipes
def test_a_pipe_in_a_checkpoint_is_waited_for_by_nobody(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_json_file(tmp_path / "config.json", "hf:it")


def test_a_checkpoint_nested_to_the_depths_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(DEEP)
    with pytest.raises(CheckpointError, match=r"config\.json: brackets are nested too deep"):
        read_json_file(tmp_path / "config.json", "hf:it")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"text_config": [1]}, r"text_config=\[1\] in config.json is no object"),
        ({"text_config": "small"}, "text_config='small' in config.json is no object"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers=1000000 in config.json is not a size"),
        ({"num_layers": 10**6}, "num_layers=1000000 in config.json is not a size"),
        ({"text_config": {"n_layer": 10**6}}, "text_config.n_layer=1000000"),
    ],
)
def test_a_config_that_no_network_has_is_refused(config, told):
    with pytest.raises(CheckpointError, match=told):
        check_numbers(config, "hf:it")


def test_a_size_that_is_a_list_is_left_to_the_network():
    check_numbers({"vocab_size": [7], "eos_token_id": 3}, "hf:it")


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": [["LLaDAModelLM"]]},
        {"architectures": {"LLaDAModelLM": 1}},
        {"text_config": [1]},
    ],
)
def test_a_checkpoint_with_an_odd_config_is_refused_in_a_line(config, tmp_path, capsys):
    path = checkpoints.write_checkpoint("llada", tmp_path / "checkpoint")
    held = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**held, **config}))
    (name,) = config
    assert main(["doctor", "--model", f"hf:{path}"]) == 2
    assert name in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("after", [1, 3])
def test_a_run_whose_folder_is_removed_meanwhile_says_so(tmp_path, after):
    asked = {"models": "ideal", "tasks": "choices/sum", "decoders": "random:k=32", "samples": 4}
    path = tmp_path / "run"

    def removing(reached):
        if reached.recorded == after:
            shutil.rmtree(path)

    with pytest.raises(StorageError, match=r"was removed while the run .*put the folder back"):
        run(make_runfile(asked), path, progress=removing)


@pytest.mark.parametrize(
    "told", ["[" * 100_000, "[" + "-" * 100_000 + "1]", "[1" + "+1" * 100_000 + "]", "[\0]"]
)
def test_a_list_of_references_that_python_cannot_read_is_one_text(told):
    assert _as_list(told) == [told]


@pytest.mark.parametrize(
    ("metric", "facts", "told"),
    [
        ("list_match_score", {}, "'answer' is missing"),
        ("list_shuffle_score", {"answer": []}, "'items' is missing"),
        ("list_random_insert_score", {"answer": ["a"], "items": ["a"]}, "'new' is missing"),
        ("latin_square_score", {"answer": [["A"]]}, "'symbols' is missing"),
        ("latin_square_score", {"symbols": 3}, ""),
        ("sentence_to_words_score", {}, "'words' is missing"),
        ("summary_score", {"references": "one"}, "'references' is of another kind"),
        ("paraphrase_score", {}, "'text' is missing"),
    ],
)
def test_a_line_of_a_bundle_without_its_facts_is_refused(metric, facts, told, tmp_path):
    line = {
        "task": "group/task",
        "index": 0,
        "metric": metric,
        "messages": [["user", "?"]],
        "reference": "[a]",
        "facts": facts,
        "max_tokens": 32,
    }
    file = tmp_path / "bundle.jsonl"
    file.write_text(json.dumps(line) + "\n")
    kind = "original_text" if metric in {"summary_score", "paraphrase_score"} else "original"
    with pytest.raises((FieldError, RequestError), match=f"{metric} cannot score .*{told}"):
        parse_settings(f"{kind}:{file}:task=group/task", TASKS)
