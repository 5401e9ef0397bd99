"""What a notebook shows and takes: tables, frames, runs from disk, classes defined again."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import parallelbench
from parallelbench.errors import RecordsError, RequestError, RunFileError
from parallelbench.evaluation import evaluate, load_run
from parallelbench.registry import Registry
from parallelbench.results.notebook import MOST_ROWS, table_of
from parallelbench.run.recording import draw_sample
from parallelbench.run.rundir import RunDirectory
from parallelbench.setting import build
from parallelbench.task import TASKS

PAGE = (Path(__file__).parents[2] / "docs" / "notebooks.md").read_text(encoding="utf-8")
ASKED = {"tasks": "choices/city", "decoders": ["random:k=8", "random:k=32"], "samples": 6}


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return evaluate(**ASKED, out=tmp_path_factory.mktemp("notebook") / "run")


class _Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


# What is shown


def test_everything_prints_as_one_line(evaluation):
    sample = draw_sample(build(evaluation.runfile.tasks[0], TASKS), 0, 0)
    shown = [evaluation, evaluation.runfile, *evaluation.results, *evaluation.records, sample]
    for each in shown:
        for text in (repr(each), str(each)):
            assert len(text) < 200
            assert "\n" not in text
            assert text.startswith(type(each).__name__)
    folder = evaluation.folder
    assert repr(evaluation) == (
        "Evaluation(12 of 12 decodes of RunFile(1 model, 1 task, 2 decoders, 6 samples, seed 0), "
        f"in {folder})"
    )
    assert repr(evaluation.results[0]).startswith("Result(ideal, choices/city, random:k=8: 6 sam")
    assert "choices/city sample 0, random:k=8: ok" in repr(evaluation.records[0])


def test_an_evaluation_is_a_table_in_a_notebook(evaluation):
    page = _Tags(evaluation._repr_html_())
    assert page.tags.count("tr") == 3
    assert "random:k=32" in page.texts
    assert repr(evaluation) in page.texts
    accuracy = f"{100 * evaluation.results[0].accuracy:.1f}"
    assert accuracy in page.texts
    assert any("per second on cpu" in text for text in page.texts)


def test_text_in_the_table_is_never_markup_and_a_long_one_is_cut(make_long):
    page = _Tags(table_of(make_long, "<b>caption</b>"))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.tags.count("tr") == 1 + MOST_ROWS
    assert "5 more rows: frame() has them all." in page.texts


@pytest.fixture
def make_long(evaluation):
    import dataclasses

    result = dataclasses.replace(evaluation.results[0], model="<script>", accuracy=None)
    return [result] * (MOST_ROWS + 5)


def test_a_frame_has_a_row_per_result_and_both_ends_of_every_interval(evaluation):
    frame = evaluation.frame()
    assert list(frame["decoder_label"]) == ["random:k=8", "random:k=32"]
    assert list(frame["fields"].str.get("k")) == [8, 32]
    for column in ("accuracy_low", "accuracy_high", "tokens_per_step_low", "nfe", "samples"):
        assert column in frame
    assert frame["accuracy"][0] == evaluation.results[0].accuracy
    assert frame["accuracy_low"][0] == evaluation.results[0].interval.low


def test_without_pandas_a_frame_is_refused_in_a_sentence(evaluation, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RequestError, match=r"needs the package pandas, .* 'parallelbench\[datas"):
        evaluation.frame()


# A run from disk


def test_a_run_is_loaded_as_it_was_made(evaluation):
    loaded = load_run(str(evaluation.folder))
    assert loaded == evaluation
    assert loaded.results == evaluation.results
    assert loaded.throughput == evaluation.throughput
    assert parallelbench.load_run is load_run


def test_an_unfinished_run_is_loaded_and_not_continued(evaluation, tmp_path):
    directory = RunDirectory.begin(tmp_path, evaluation.runfile)
    with directory.appending() as writer:
        for record in evaluation.records[:5]:
            writer.append(record)
    loaded = load_run(tmp_path)
    assert loaded.records == evaluation.records[:5]
    assert repr(loaded).startswith("Evaluation(5 of 12 decodes")
    assert loaded.throughput == []
    assert sum(result.count for result in loaded.results) == 5
    with directory.path.joinpath("records-0.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(RecordsError):
        load_run(tmp_path)


def test_where_there_is_no_run_that_is_said(tmp_path):
    with pytest.raises(RunFileError, match="is not a run directory"):
        load_run(tmp_path)


# A class that is defined again


def defined(name="Mine", module="__main__", **attributes):
    return type(name, (), {"__module__": module, **attributes})


@pytest.fixture
def interactive(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.delattr(sys, "ps1", raising=False)


def test_at_a_prompt_a_class_that_is_defined_again_takes_the_place(interactive):
    registry = Registry("fruit")
    registry.register("mine")(defined(presets={"mine-fast": "k=2", "mine-slow": "k=1"}))
    second = registry.register("mine")(defined(presets={"mine-fast": "k=3"}))
    assert registry["mine"] is second
    assert {name: preset.fields for name, preset in registry.presets.items()} == {
        "mine-fast": "k=3"
    }
    renamed = registry.register("mine")(defined("Renamed"))
    assert registry["mine"] is renamed
    assert not registry.presets


def test_at_a_prompt_a_module_that_is_loaded_again_takes_the_place(interactive):
    registry = Registry("fruit")
    registry.register("mine")(defined(module="helpers"))
    second = registry.register("mine")(defined(module="helpers"))
    assert registry["mine"] is second
    with pytest.raises(ValueError, match="fruit 'mine' is already"):
        registry.register("mine")(defined("Other", module="helpers"))


def test_at_a_prompt_what_a_package_registered_is_not_replaced(interactive):
    registry = Registry("fruit")
    held = registry.register("random")(defined(module="parallelbench.decoders.random"))
    with pytest.raises(ValueError, match="fruit 'random' is already"):
        registry.register("random")(defined())
    assert registry["random"] is held


def test_a_name_of_the_suite_is_refused_where_it_is_taken_and_not_later(interactive, monkeypatch):
    registry = Registry("fruit")

    def load():
        registry.register("random")(defined(module="parallelbench.decoders.random"))

    monkeypatch.setattr("parallelbench.registry.load_plugins", load)
    with pytest.raises(ValueError, match="fruit 'random' is already"):
        registry.register("random")(defined())


def test_in_a_script_a_name_is_taken_once(script):
    registry = Registry("fruit")
    held = registry.register("mine")(defined(presets={"mine-fast": "k=2"}))
    with pytest.raises(ValueError, match="fruit 'mine' is already"):
        registry.register("mine")(defined())
    assert registry["mine"] is held
    assert list(registry.presets) == ["mine-fast"]


def test_a_preset_that_another_has_leaves_the_former_version_as_it_was(interactive):
    registry = Registry("fruit")
    registry.register("theirs")(defined("Theirs", presets={"fast": "k=9"}))
    held = registry.register("mine")(defined(presets={"mine-fast": "k=2"}))
    with pytest.raises(ValueError, match="preset 'fast' of fruit 'mine' is already one of"):
        registry.register("mine")(defined(presets={"fast": "k=3"}))
    assert registry["mine"] is held
    assert sorted(registry.presets) == ["fast", "mine-fast"]


# The page


def test_the_page_runs_from_top_to_bottom_and_its_cells_again(
    interactive, tmp_path, monkeypatch, capsys
):
    from parallelbench.decoder import DECODERS

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(DECODERS, "_entries", dict(DECODERS._entries))
    cells = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    names = {"__name__": "__main__"}
    for cell in (*cells, cells[-1].replace("<= self.k", "<= 1")):
        exec(compile(cell, "docs/notebooks.md", "exec"), names)  # noqa: S102  our own page
    assert parallelbench.__version__ in capsys.readouterr().out
    again = evaluate(tasks="choices/city", decoders="first_ones:k=4", samples=2)
    assert again.results[0].tokens_per_step == 1.0
