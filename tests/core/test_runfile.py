"""The run file: short as people write it, complete and checked when a run begins."""

import pytest
import yaml

from parallelbench.errors import FieldError, RequestError, RunFileError, UnknownNameError
from parallelbench.run.runfile import EMBEDDED, differences, make_runfile, read_content
from parallelbench.run.runner import prepare
from parallelbench.task import TASKS

SMALL = {"models": "ideal", "tasks": "choices/city", "decoders": "random"}


def make(**changes):
    return make_runfile({**SMALL, **changes})


def names(settings):
    return [setting.name for setting in settings]


def test_globs_and_grids_are_expanded_and_every_default_is_spelled_out():
    run = make(tasks="choices/*", decoders="random:k=2|4,confidence")
    assert names(run.tasks) == [name for name in TASKS if name.startswith("choices/")]
    assert [setting.fields["k"] for setting in run.decoders] == [2, 4, 1]
    frozen = run.frozen()
    assert frozen["decoders"][0] == {
        "name": "random",
        "fields": {"block_length": None, "temperature": 0.0, "k": 2},
    }
    assert frozen["tasks"][0]["version"] == TASKS["choices/capital"].version
    assert run.decodes == 6 * 3 * 100


@pytest.mark.parametrize(
    "written",
    [
        {"decoders": ["random:k=1"]},
        {"decoders": "random:temperature=0,k=1"},
        {"decoders": "random,random:k=1"},
        {"decoders": [{"name": "random"}]},
        {"decoders": {"name": "random", "fields": {"k": 1, "temperature": 0}}},
        {"tasks": ["choices/cit*"], "schema_version": 1},
        {"samples": 100, "seed": 0, "repeats": 1},
    ],
)
def test_the_same_run_has_the_same_digest_however_it_is_written(written):
    assert make(**written) == make()
    assert make(**written).digest == make().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"decoders": "random:k=2"},
        {"decoders": "confidence"},
        {"tasks": "choices/capital"},
        {"models": "ideal:noise=0"},
        {"samples": 99},
        {"seed": 1},
        {"repeats": 2},
    ],
)
def test_another_run_has_another_digest(changes):
    assert make(**changes).digest != make().digest


def test_the_order_asked_for_is_kept_and_what_is_asked_twice_is_run_once():
    run = make(
        tasks="choices/sum,choices/c*,choices/*", decoders=["random:k=4", "random:k=2|4", "random"]
    )
    expected = ["choices/sum", "choices/capital", "choices/city", "choices/date"]
    assert names(run.tasks)[:4] == expected
    assert len(run.tasks) == len(set(names(run.tasks)))
    assert [setting.fields["k"] for setting in run.decoders] == [4, 2, 1]


def test_a_frozen_run_reads_back_as_the_same_run(tmp_path):
    run = make(
        models="ideal:noise=1e-05|0,seed=3",
        tasks="waiting_line/*,puzzles/sudoku:size=9,canvas_length=96,list_operations/*:form=infill",
        decoders="entropy_bound:bound=0.1|1e-20,confidence_factor:rule=published,block_length=8",
        samples=7,
        seed=10**30,
    )
    file = tmp_path / "run.yaml"
    file.write_text(run.to_yaml(), encoding="utf-8")
    content = read_content(file)
    assert content == run.frozen()
    assert make_runfile(content) == run
    assert make_runfile(content).digest == run.digest


WINO = "wino:draft=0.6,verify=0.9"


def labels(settings):
    return [setting.label for setting in settings]


@pytest.mark.parametrize("everything", ["*", "*,random", ["w*", "s*", "random"]])
def test_a_glob_leaves_out_what_the_model_cannot_serve_and_says_which_and_why(everything):
    run = make(decoders=everything)
    assert "wino" not in names(run.decoders)
    assert {"saber", "slow_fast", "random"} <= set(names(run.decoders))
    (remark,) = run.remarks
    assert remark.startswith("model 'ideal' is run without what it cannot serve: ")
    assert remark.endswith(f"{WINO} (needs attention_mask, positions, unshifted)")


def test_what_is_left_out_is_not_part_of_the_run():
    short = make(decoders="w*,saber")
    assert short.digest == make(decoders="saber").digest
    assert "left_out" not in short.frozen()


def test_every_model_of_a_run_has_what_it_can_serve(tmp_path):
    run = make(models=["ideal", "mini"], decoders="w*,sa*,sl*")
    ideal, mini = run.models
    assert labels(run.decoders_of(mini)) == [WINO, "saber:least=2", "slow_fast:threshold=0.9"]
    assert labels(run.decoders_of(ideal)) == ["saber:least=2", "slow_fast:threshold=0.9"]
    assert run.decodes == (3 + 2) * 100
    assert run.frozen()["left_out"] == {"ideal": [WINO]}
    file = tmp_path / "run.yaml"
    file.write_text(run.to_yaml(), encoding="utf-8")
    again = make_runfile(read_content(file))
    assert again == run
    assert again.digest == run.digest


@pytest.mark.parametrize("decoders", ["wino,s*", "*,wino", ["*", {"name": "wino"}], "wino:*,*"])
def test_what_is_asked_for_by_name_is_kept_so_that_the_run_refuses_it(decoders):
    run = make(decoders=decoders)
    assert "wino" in names(run.decoders)
    assert not any("wino" in remark for remark in run.remarks)
    with pytest.raises(RunFileError, match="needs attention_mask, positions, unshifted, which"):
        prepare(run)


def test_every_grid_at_once_is_the_grids_of_what_can_be_served():
    run = make(models="mini:cache=prefix", decoders="*:*")
    assert {"wino", "slow_fast"}.isdisjoint(names(run.decoders))
    assert [s.fields["k"] for s in run.decoders if s.name == "confidence"] == [1, 2, 4, 8, 16, 32]
    (remark,) = run.remarks
    assert remark.count("wino:draft=") == remark.count("slow_fast:threshold=") == 6


@pytest.mark.parametrize("models", ["ideal", ["mini", "ideal"]])
def test_a_model_that_is_left_with_no_decoder_is_refused(models):
    with pytest.raises(
        RunFileError, match="no decoder is left for model 'ideal'; model 'ideal' is"
    ):
        make(models=models, decoders="win*")


@pytest.mark.parametrize(
    ("left_out", "sentence"),
    [
        ({"idael": ["random:k=1"]}, "left_out: no model is called 'idael'; did you mean 'ideal'"),
        ({"ideal": ["random"]}, "left_out: no decoder is called 'random'; did you mean 'random:k="),
        ({"ideal": ["random:k=1"]}, "no decoder is left for model 'ideal'"),
    ],
)
def test_what_a_file_leaves_out_must_be_part_of_it(left_out, sentence):
    with pytest.raises(RunFileError, match=sentence):
        make(left_out=left_out)


def test_the_default_run_shows_ideal_and_mini():
    run = make_runfile(read_content("default"))
    assert names(run.models) == ["ideal", "mini"]
    assert {"information", "label"} < set(names(run.decoders))


def test_the_standard_sweep_is_every_task_with_35_settings():
    run = make_runfile(read_content("sweep"))
    assert (len(run.tasks), len(run.decoders), run.samples) == (28, 35, 100)
    assert names(run.models) == ["mini"]


def test_a_run_that_is_nowhere_is_refused_with_the_names_of_those_that_need_no_file():
    with pytest.raises(
        RunFileError, match=r"no run file sweeep: .* one of default, sweep, long, paper"
    ):
        read_content("sweeep")
    assert set(EMBEDDED) == {"default", "sweep", "long", "paper"}


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"sampels": 3}, RunFileError, "it: no key is called 'sampels'; did you mean 'samples'"),
        ({1: 2}, RunFileError, "it: no key is called '1'; known: decoders, left_out, models, "),
        ({"schema_version": 2}, RunFileError, "it: schema_version: input should be 1, got 2"),
        ({"samples": 0}, RunFileError, "samples must be from 1 to 10,000,000, got 0"),
        ({"samples": "3"}, RunFileError, "samples: input should be a valid integer, got '3'"),
        ({"samples": True}, RunFileError, "samples: input should be a valid integer, got True"),
        ({"samples": 2.5}, RunFileError, "samples: input should be a valid integer, got 2.5"),
        ({"seed": -1}, RunFileError, "seed must be from 0 to 340,282,366,920,938,463,"),
        ({"repeats": 0}, RunFileError, "repeats must be from 1 to 100,000, got 0"),
        ({"tasks": []}, RunFileError, "it: tasks must name at least one"),
        ({"tasks": None}, RunFileError, "tasks.0: input should be a valid string, got None"),
        ({"models": 5}, RunFileError, "models.0: input should be a valid string, got 5"),
        (
            {"decoders": {"name": "random", "feilds": {}}},
            RunFileError,
            "no key is called 'feilds'; did you mean 'fields'?",
        ),
        ({"decoders": {"fields": {}}}, RunFileError, "it: decoders.0.name is missing"),
        (
            {"decoders": {"name": "random", "fields": {"k": [1, 2]}}},
            FieldError,
            "decoder 'random': field 'k' must be a whole number, got [1, 2]",
        ),
        (
            {"decoders": {"name": "random", "fields": {"k": True}}},
            FieldError,
            "decoder 'random': field 'k' must be a whole number, got True",
        ),
        ({"tasks": "choices/citi"}, UnknownNameError, "did you mean 'choices/city'"),
        ({"tasks": {"name": "choices/citi"}}, UnknownNameError, "did you mean 'choices/city'"),
        ({"models": "idael"}, UnknownNameError, "no model is called 'idael'"),
    ],
)
def test_a_wrong_run_is_refused_in_one_line_that_says_where(changes, kind, sentence):
    with pytest.raises(kind) as caught:
        make_runfile({**SMALL, **changes}, where="it")
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["models", "tasks", "decoders"])
def test_a_missing_key_is_named(key):
    with pytest.raises(RunFileError, match=f"it: {key} is missing"):
        make_runfile({k: v for k, v in SMALL.items() if k != key}, where="it")


def test_a_value_of_any_size_is_quoted_in_short():
    bomb = ["ha"] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    with pytest.raises(RunFileError) as caught:
        make(tasks=bomb)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"- 1\n", "must hold keys such as models, tasks and decoders"),
        (b"", "must hold keys such as models, tasks and decoders"),
        (b"just text", "must hold keys such as models, tasks and decoders"),
        (b"tasks: [", "cannot be read: while parsing a flow node"),
        (b"tasks: \xff\xfe", "cannot be read: 'utf-8' codec can't decode byte 0xff"),
        (b"a: \0", "cannot be read: unacceptable character"),
        (b"seed: 2024-99-99", "is no value of its kind: month must be in 1..12"),
        (b"[" * 5000, "cannot be read: maximum recursion depth exceeded"),
        (b"seed: " + b"9" * 5000, "is no value of its kind: Exceeds the limit"),
        (b"tasks: a\ntasks: b\n", "the key 'tasks' is given twice"),
        (b"d: {name: x, fields: {k: 1, k: 2}}", "the key 'k' is given twice"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_file_that_is_no_yaml_mapping_is_refused(tmp_path, content, sentence):
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(RunFileError) as caught:
        read_content(file)
    assert f"the run file {file} " in str(caught.value)
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RunFileError, match=r"there is no run file .*missing\.yaml: give the path"):
        read_content(tmp_path / "missing.yaml")
    with pytest.raises(RunFileError, match="cannot be read"):
        read_content(tmp_path)


def test_a_run_file_runs_no_code(tmp_path):
    pwned = tmp_path / "pwned"
    file = tmp_path / "run.yaml"
    for tag in ("python/object/apply:os.mkdir", "python/object/new:os.mkdir"):
        file.write_text(f"models: !!{tag} ['{pwned}']\n")
        with pytest.raises(RunFileError, match="could not determine a constructor for the tag"):
            read_content(file)
    assert not pwned.exists()


def test_yaml_anchors_and_merges_still_work(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("base: &b {k: 1}\nmine: {<<: *b, k: 2}\n")
    assert read_content(file) == {"base": {"k": 1}, "mine": {"k": 2}}


def test_a_task_that_changed_since_is_refused():
    frozen = make().frozen()
    frozen["tasks"][0]["version"] += 1
    with pytest.raises(RunFileError) as caught:
        make_runfile(frozen, where="old.yaml")
    version = TASKS["choices/city"].version
    assert str(caught.value) == (
        f"old.yaml: task 'choices/city' has version {version + 1} there and {version} here; "
        "its samples or marks changed, so begin a new run"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"samples": 5}, "samples 5 instead of 100"),
        ({"tasks": "choices/city,choices/sum"}, "tasks with choices/sum:"),
        ({"decoders": "confidence"}, "decoders without random:.* and with confidence:"),
        ({"models": "ideal:noise=0"}, "models without ideal:noise=0.001.*ideal:noise=0.0"),
    ],
)
def test_what_differs_between_two_runs_is_told_in_words(change, sentence):
    (told,) = differences(make().frozen(), make(**change).frozen())
    import re

    assert re.match(sentence, told)


def test_another_order_and_another_version_are_told_too():
    both = make(tasks="choices/city,choices/sum").frozen()
    turned = make(tasks="choices/sum,choices/city").frozen()
    assert differences(both, turned) == ["tasks in another order"]
    newer = make().frozen()
    newer["tasks"][0]["version"] += 1
    (told,) = differences(make().frozen(), newer)
    version = TASKS["choices/city"].version
    assert f"(version {version}) and with" in told
    assert told.endswith(f"(version {version + 1})")


@pytest.mark.parametrize("item", ["text", {"name": "x"}, {"name": "x", "fields": None}, {"a": 1}])
def test_a_run_file_edited_by_hand_still_has_its_difference_told(item):
    edited = {**make().frozen(), "decoders": [item]}
    assert differences(edited, make().frozen())[0].startswith(f"decoders without {item!r} and with")


def test_every_refusal_can_be_caught_as_one_kind():
    with pytest.raises(RequestError):
        make(samples=0)
    assert yaml.safe_load(make().to_yaml()) == make().frozen()
