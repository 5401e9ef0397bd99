"""The network that ships: what it is made of, and that it does what its card says."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from scipy import stats

from parallelbench import evaluate
from parallelbench.model import MODELS
from parallelbench.models.mini import FOLDER
from parallelbench.prompt import build_prompt
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

ROOT = Path(__file__).parents[2]
SAMPLES = 24


@pytest.fixture(scope="module")
def mini():
    load_plugins()
    (setting,) = parse_settings("mini", MODELS)
    return build(setting, MODELS).open()


def test_it_is_small_and_brings_no_code_and_no_pickle():
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12e6
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja", ".md"}


def test_it_has_the_layout_that_llada_publishes(mini):
    config = json.loads((FOLDER / "config.json").read_text())
    assert (config["architectures"], config["model_type"]) == (["LLaDAModelLM"], "llada")
    with safe_open(FOLDER / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        types = {file.get_slice(name).get_dtype() for name in names}
    assert types == {"F16"}
    assert {"model.transformer.wte.weight", "model.transformer.blocks.3.ff_proj.weight"} < names
    facts = mini.provenance()
    assert (facts["family"], facts["kind"], facts["dtype"]) == ("llada", "masked", "float32")
    by_path = parse_settings(f"hf:{FOLDER}:dtype=float32", MODELS)[0]
    assert build(by_path, MODELS).open().digest == mini.digest


def test_every_first_and_last_name_is_one_token(mini):
    (setting,) = parse_settings("waiting_line/copy", TASKS)
    words = build(setting, TASKS).words
    assert len(words) >= 200
    assert {len(ids) for ids in mini.codec.encode(words)} == {1}


def test_it_is_shown_the_last_message_only(mini):
    built = [
        build(parse_settings(f"waiting_line/sort:shots={shots}", TASKS)[0], TASKS)
        for shots in (0, 1)
    ]
    without, shown = (build_prompt(task, draw_sample(task, 0, 0), mini.codec) for task in built)
    assert without.text == shown.text


def said(part):
    """One of the tables of the card: a mapping from task to its cells by column."""
    text = (FOLDER / "README.md").read_text()
    lines = text.split(f"<!-- {part} -->\n")[1].split("\n<!-- end -->")[0].splitlines()
    head, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def within(cells, column, right, count):
    """Return True if ``right`` of ``count`` agrees with the counts of the model card."""
    counted = int(cells["samples"])
    then = round(counted * float(cells[column].split()[0]) / 100)
    table = [[then, counted - then], [right, count - right]]
    return stats.fisher_exact(table).pvalue > 1e-4


def test_it_does_what_its_card_says_one_by_one():
    tasks = ["waiting_line/copy", "waiting_line/shuffle", "choices/dice", "choices/city"]
    orders = {"one_by_one": "most confident first", "left_to_right:k=1": "left to right"}
    found = evaluate(model="mini", tasks=tasks, decoders=list(orders), samples=SAMPLES, seed=1)
    card = said("one by one")
    for result in found.results:
        right = round(result.accuracy * SAMPLES)
        column = f"{orders[result.decoder_label]}, right in % (95 % interval)"
        told = (result.task, result.decoder_label)
        assert within(card[result.task], column, right, SAMPLES), told


def test_it_does_what_its_card_says_in_parallel():
    tasks = ["waiting_line/copy", "waiting_line/shuffle", "waiting_line/replace_random"]
    decoders = ["confidence:k=8", "random:k=8", "random:k=32"]
    found = evaluate(model="mini", tasks=tasks, decoders=decoders, samples=SAMPLES, seed=1)
    card = said("in parallel")
    for result in found.results:
        right = round(result.accuracy * SAMPLES)
        told = (result.task, result.decoder_label)
        assert within(card[result.task], result.decoder_label, right, SAMPLES), told
