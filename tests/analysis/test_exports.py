"""Exports, read back by the tools that they are for."""

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from parallelbench import evaluate
from parallelbench.analysis.exports import every_eval_ever, hugging_face, lm_eval, parquet
from parallelbench.analysis.exports.export import (
    Publisher,
    by_sample,
    export,
    file_name,
    in_order,
    lenient,
    model_id,
    standard_error,
)
from parallelbench.cli.program import main
from parallelbench.errors import RequestError, StorageError
from parallelbench.results.result import summarize, to_csv
from parallelbench.run.rundir import RunDirectory
from parallelbench.setting import Setting
from support.fabricated import altered

NOBODY = Publisher()
SOMEBODY = Publisher("ACME", "third_party", "acme/parallelbench", "https://example.org/run")
NOT_INSTALLED = "`make test` installs it without its dependencies, which would replace ours"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two tasks, an oracle among the decoders, two repeats, and one decode that broke."""
    path = tmp_path_factory.mktemp("exports") / "run"
    evaluate(
        model="ideal",
        tasks=["choices/city", "waiting_line/shuffle:length=3"],
        decoders=["one_by_one", "random:k=32", "label"],
        samples=4,
        repeats=2,
        out=path,
    )
    directory = RunDirectory.open(path)
    fast = [r for r in directory.records() if r.decoder_label == "random:k=32"]
    # Marked wrong before it broke: were it counted, every mean would be lower.
    wrong = next(r for r in fast if r.task.name == "choices/city" and r.marks.lenient == 0)
    with directory.appending() as writer:
        writer.append(
            wrong.model_copy(update={"status": "error", "error": "it broke", "marks": None})
        )
    return directory


@pytest.fixture(scope="module")
def results(run):
    found = {(r.task_label, r.decoder_label): r for r in summarize(in_order(run))}
    assert found["choices/city", "random:k=32"].count == 7
    return found


def written(run, form, folder, publisher=NOBODY, **options):
    return export(run, form.write, folder / "exported", publisher, **options)


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


# lm-evaluation-harness.


@pytest.fixture(scope="module")
def harness(run, tmp_path_factory):
    return written(run, lm_eval, tmp_path_factory.mktemp("harness")).files


def aggregates(files):
    return {
        read(f)["config"]["model_args"]["decoder"]: read(f) for f in files if f.suffix == ".json"
    }


def test_the_harness_tables_our_results(harness, results):
    utils = pytest.importorskip("lm_eval.utils", reason=NOT_INSTALLED)
    for decoder, content in aggregates(harness).items():
        table = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in utils.make_table(content).splitlines()
        ]
        rows = {(row[2], row[4]): row for row in table[2:5]}
        result = results["choices/city", decoder]
        assert float(rows["flexible-extract", "exact_match"][6]) == pytest.approx(
            result.accuracy, abs=1e-4
        )
        assert float(rows["none", "tokens_per_step"][6]) == pytest.approx(result.tokens_per_step)


def test_the_harness_finds_our_files_by_their_names(harness):
    utils = pytest.importorskip("lm_eval.utils", reason=NOT_INSTALLED)
    names = [str(file) for file in harness]
    found = utils.get_results_filenames(names)
    samples = utils.get_sample_results_filenames(names)
    assert [len(found), len(samples), len(names)] == [2, 4, 6]
    (date,) = {utils.get_file_datetime(name) for name in samples}
    assert utils.get_file_datetime(found[0]) == f"{date}.json"
    assert {utils.get_file_task_name(Path(name).name) for name in samples} == {
        "choices_city",
        "waiting_line_shuffle_length_3",
    }


def test_every_key_is_one_that_the_harness_knows(harness):
    schema = pytest.importorskip("lm_eval.result_schema", reason=NOT_INSTALLED)
    for content in aggregates(harness).values():
        assert content.keys() - schema.EvalResults.__annotations__ == {"parallelbench"}
        assert content["config"].keys() <= schema._EvalConfig.__annotations__.keys()
    for file in harness:
        if file.suffix == ".jsonl":
            line = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
            assert line.keys() - schema.SampleResult.__annotations__ == {"exact_match"}


def test_a_mean_in_the_harness_form_follows_from_its_samples(harness, results):
    for file in harness:
        if file.suffix != ".jsonl":
            continue
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        content = next(read(f) for f in harness if f.parent == file.parent and f.suffix == ".json")
        task = "choices/city" if "city" in file.name else "waiting_line/shuffle:length=3"
        told = content["results"][task]
        for name in ("strict-match", "flexible-extract"):
            marks = [line["exact_match"] for line in lines if line["filter"] == name]
            assert told[f"exact_match,{name}"] == pytest.approx(np.mean(marks))
            error = np.std(marks, ddof=1) / np.sqrt(len(marks))
            assert told[f"exact_match_stderr,{name}"] == pytest.approx(error)


def test_the_harness_form_holds_interval_count_and_digest(harness, run, results):
    for decoder, content in aggregates(harness).items():
        result = results["choices/city", decoder]
        kept = content["configs"]["choices/city"]["metadata"]
        assert kept["run_digest"] == run.runfile.digest
        assert kept["decodes"] == str(result.count)
        low, high = map(float, kept["accuracy_95_interval"].split(" to "))
        assert (low, high) == pytest.approx(result.interval, abs=1e-5)
        assert content["n-samples"]["choices/city"] == {"original": 4, "effective": result.samples}


def test_one_sample_has_no_standard_error(tmp_path):
    evaluate(tasks="choices/city", decoders="one_by_one", samples=1, out=tmp_path / "run")
    files = written(RunDirectory.open(tmp_path / "run"), lm_eval, tmp_path).files
    (content,) = aggregates(files).values()
    assert content["results"]["choices/city"]["exact_match_stderr,strict-match"] == "N/A"


# Every Eval Ever.


def test_its_own_validator_takes_what_we_write(run, tmp_path):
    core = pytest.importorskip("every_eval_ever.validator.validation_core", reason=NOT_INSTALLED)
    files = written(run, every_eval_ever, tmp_path, SOMEBODY).files
    assert len(files) == 2
    for file in files:
        place = file.relative_to(tmp_path / "exported").as_posix()
        report = core.validate_file(file)
        assert report.valid, report.errors
        assert not report.errors
        assert not report.warnings
        assert not core.check_path_structure(place)
    (aggregate,) = [file for file in files if file.suffix == ".json"]
    place = aggregate.relative_to(tmp_path / "exported").as_posix()
    assert not core.check_score_metadata(read(aggregate))
    assert not core.check_model_deployment(read(aggregate))
    assert not core.check_model_identity_path(place, read(aggregate))


def test_its_converter_reads_our_harness_form_too(harness, results):
    adapters = pytest.importorskip(
        "every_eval_ever.converters.lm_eval.adapter", reason=NOT_INSTALLED
    )
    for decoder, content in aggregates(harness).items():
        read_back = adapters.LMEvalAdapter()._build_evaluation_results(content, "choices/city")
        scores = {each.evaluation_result_id: each.score_details.score for each in read_back}
        result = results["choices/city", decoder]
        assert scores["exact_match:flexible-extract"] == result.accuracy
        assert {each.source_data.source_type for each in read_back} == {"other"}


def test_results_and_lines_belong_together(run, results, tmp_path):
    files = written(run, every_eval_ever, tmp_path, SOMEBODY).files
    lines_file, aggregate_file = files
    aggregate = read(aggregate_file)
    lines = [json.loads(line) for line in lines_file.read_text(encoding="utf-8").splitlines()]
    beside = aggregate["detailed_evaluation_results"]
    assert beside["total_rows"] == len(lines)
    assert beside["checksum"] == hashlib.sha256(lines_file.read_bytes()).hexdigest()
    assert tmp_path / "exported" / beside["file_path"] == lines_file
    assert aggregate["source_metadata"]["evaluator_relationship"] == "third_party"
    told = {each["evaluation_result_id"]: each for each in aggregate["evaluation_results"]}
    for (task, decoder), result in results.items():
        name = f"{task} | {decoder} | accuracy"
        assert (name in told) == (not result.oracle)
        own = [line for line in lines if line["evaluation_result_id"] == name]
        assert len(own) == (0 if result.oracle else result.count)
        if result.oracle:
            continue
        uncertainty = told[name]["score_details"]["uncertainty"]
        assert told[name]["score_details"]["score"] == result.accuracy
        assert uncertainty["num_samples"] == result.samples
        interval = uncertainty["confidence_interval"]
        assert (interval["lower"], interval["upper"]) == tuple(result.interval)
        right = {
            line["evaluation"]["is_correct"] for line in own if line["evaluation"]["score"] < 1
        }
        assert right <= {False}


# Hugging Face.


def test_the_hub_library_reads_what_we_write(run, results, tmp_path):
    from huggingface_hub import parse_eval_result_entries

    files = written(run, hugging_face, tmp_path, SOMEBODY).files
    entries = [
        entry
        for file in files
        if file.parent.name == ".eval_results"
        for entry in parse_eval_result_entries(yaml.safe_load(file.read_text(encoding="utf-8")))
    ]
    assert len(entries) == sum(not result.oracle for result in results.values())
    for entry in entries:
        decoder = re.match(r"decoder (.*?); ", entry.notes)[1]
        result = results[entry.task_id, decoder]
        assert entry.value == result.accuracy
        assert entry.dataset_id == "acme/parallelbench"
        assert entry.source_url == "https://example.org/run"
        assert f"decodes {result.count};" in entry.notes
        assert f"accuracy 95 interval {result.interval.low:.6g} to" in entry.notes
        assert entry.notes.endswith(run.runfile.digest)


def test_the_hub_library_reads_the_older_index(run, results, tmp_path):
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard_data import model_index_to_eval_results

    files = written(run, hugging_face, tmp_path, SOMEBODY).files
    content = yaml.safe_load(files[-1].read_text(encoding="utf-8"))
    name, found = model_index_to_eval_results(content["model-index"])
    assert name == "ideal"
    for each in found:
        result = results[each.dataset_name, each.dataset_config]
        assert not result.oracle
        assert each.metric_value == result.accuracy
        assert each.metric_args["run_digest"] == run.runfile.digest
    card = ModelCardData(model_name=name, eval_results=found)
    assert yaml.safe_load(card.to_yaml()) == content


def test_a_data_set_of_the_hub_must_be_named(run, tmp_path):
    with pytest.raises(RequestError, match="--to hf needs --dataset OWNER/NAME"):
        written(run, hugging_face, tmp_path)


# Parquet.


def test_datasets_reads_every_record_back(run, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(parquet, "_AT_A_TIME", 7)
    files = written(run, parquet, tmp_path, everything=True).files
    rows = datasets.Dataset.from_parquet(str(files[0]), cache_dir=str(tmp_path / "cache"))
    records = in_order(run)
    assert len(rows) == len(records) == 48
    for row, record in zip(rows, records, strict=True):
        assert row["run_digest"] == run.runfile.digest
        assert row["output_ids"] == record.decoding.output_ids
        assert row["trace_positions"] == record.decoding.trace.positions
        assert row["trace_ids"] == record.decoding.trace.ids
        assert row["counts_nfe"] == record.decoding.counts.nfe
        assert row["oracle"] == record.decoder.oracle
        assert row["lenient"] == (None if record.marks is None else record.marks.lenient)
        assert json.loads(row["decoder_fields"]) == record.decoder.fields
        assert json.loads(row["question"])[-1]["role"] == "user"
    (broken,) = [row for row in rows if row["status"] == "error"]
    assert broken["error"] == "it broke"
    assert broken["strict"] is None


def test_the_table_of_results_is_that_of_the_report(run, results, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = written(run, parquet, tmp_path, everything=True).files
    rows = datasets.Dataset.from_parquet(str(files[1]), cache_dir=str(tmp_path / "cache"))
    for row, kept in zip(
        rows, csv.DictReader(to_csv([*results.values()]).splitlines()), strict=True
    ):
        for name, text in kept.items():
            value = row[name]
            assert ("" if value is None else str(value)) == text, name


# All of them.


@pytest.mark.parametrize("form", [lm_eval, every_eval_ever, hugging_face])
def test_what_is_left_out_is_said(run, form, tmp_path):
    remarks = written(run, form, tmp_path, SOMEBODY).remarks
    assert any("oracles are told the right answers and left out: label" in each for each in remarks)
    assert any("1 decodes ended in an error; they count nowhere" in each for each in remarks)
    assert any("47 of 48 decodes are marked" in each for each in remarks)


def test_an_unfinished_run_says_so_in_the_files(run, tmp_path):
    for form in (lm_eval, every_eval_ever, hugging_face):
        folder = tmp_path / form.__name__
        files = written(run, form, folder, SOMEBODY).files
        texts = "".join(file.read_text(encoding="utf-8") for file in files)
        assert "47 of 48 decodes are marked" in " ".join(texts.split())


def test_a_sample_that_is_another_now_has_no_question(run, tmp_path, monkeypatch):
    changed = [altered(r, sample_digest="0") for r in run.records()]
    monkeypatch.setattr(RunDirectory, "records", lambda _: iter(changed))
    done = written(run, every_eval_ever, tmp_path)
    assert [file.suffix for file in done.files] == [".json"]
    assert "what 48 decodes were asked is absent" in done.remarks[-1]
    done = written(run, lm_eval, tmp_path / "other")
    assert {read(f)["n-shot"]["choices/city"] for f in done.files if f.suffix == ".json"} == {None}


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "mine").write_text("mine")
    with pytest.raises(StorageError, match="is not empty; give a new or empty folder as --out"):
        written(run, lm_eval, tmp_path)
    assert [path.name for path in (tmp_path / "exported").iterdir()] == ["mine"]


def test_a_run_without_a_result_is_refused(run, tmp_path, monkeypatch):
    oracles = [r for r in run.records() if r.decoder.oracle]
    monkeypatch.setattr(RunDirectory, "records", lambda _: iter(oracles))
    with pytest.raises(RequestError, match="no decode that is marked and of no oracle"):
        written(run, lm_eval, tmp_path)
    assert written(run, parquet, tmp_path, everything=True).files


def test_labels_that_differ_in_little_have_files_of_their_own():
    labels = ["random:k=1", "random-k=1", "Random-k=1", "random|k=1", "", "x" * 200, "x" * 201]
    names = [file_name(label).lower() for label in labels]
    assert len(set(names)) == len(labels)
    assert all(re.fullmatch(r"[a-z0-9_.=-]{1,90}", name) for name in names)


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        (Setting("hf", {"path": "GSAI-ML/LLaDA-8B"}, "hf:GSAI-ML/LLaDA-8B"), "GSAI-ML/LLaDA-8B"),
        (Setting("hf", {"path": "/home/x/mine"}, "hf:/home/x/mine"), "local/mine"),
        (Setting("hf", {"path": "./a/mine"}, "hf:./a/mine"), "local/mine"),
        (Setting("ideal", {}, "ideal"), "parallelbench/ideal"),
    ],
)
def test_a_model_has_the_name_that_the_hub_gives_it(setting, name):
    assert model_id(setting) == name


def test_a_folder_that_is_there_is_no_model_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    setting = Setting("hf", {"path": "checkpoints/mine"}, "hf:checkpoints/mine")
    assert model_id(setting) == "local/mine"


def test_a_mean_over_samples_counts_a_sample_once(run):
    city = [r for r in in_order(run) if (r.task.name, r.decoder.name) == ("choices/city", "random")]
    assert len(by_sample(city, lenient)) == 4
    assert standard_error([1.0]) is None
    assert standard_error([0.0, 0.0, 1.0, 1.0]) == pytest.approx(np.std([0, 0, 1, 1], ddof=1) / 2)


# The verb.


@pytest.mark.parametrize("form", ["lm-eval", "every-eval-ever", "hf", "parquet"])
def test_the_verb_writes_every_form(run, form, capsys, tmp_path):
    if form == "parquet":
        pytest.importorskip("datasets")
    out = tmp_path / "out"
    arguments = ["--to", form, "--out", str(out), *(["--dataset", "a/b"] if form == "hf" else [])]
    assert main(["export", str(run.path), *arguments]) == 0
    captured = capsys.readouterr()
    assert sorted(captured.out.split()) == sorted(str(f) for f in out.rglob("*") if f.is_file())
    assert "47 of 48 decodes are marked" in captured.err


def test_the_verb_refuses_in_a_line(run, capsys, tmp_path):
    assert main(["export", str(run.path), "--to", "hf", "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
