"""Free text in a report: score by score, as judged and corrected, and how its tokens depend."""

import json
import math
import re

import pytest

from parallelbench.analysis.judging.calibration_set import SHIPPED
from parallelbench.analysis.judging.engine_calibration import (
    SHIPPED_ENGINES,
    EngineCalibration,
    read_calibrations,
    shipped_calibrations,
    written_calibrations,
)
from parallelbench.analysis.judging.judges import Calibration, JudgeError, corrected_rate
from parallelbench.analysis.judging.verdicts import read_items
from parallelbench.analysis.measures.text_dependence import (
    KINDS,
    Effort,
    TaskDependence,
    estimate_run,
    estimates_of_models,
    read_estimates,
    write_estimates,
)
from parallelbench.analysis.report.page import PageContent, write_report
from parallelbench.analysis.report.text_report import TextReport, judged_rates, score_tables
from parallelbench.analysis.theory.estimate import ORDERS
from parallelbench.cli.program import main
from parallelbench.errors import RecordsError, RunFileError
from parallelbench.results.intervals import wilson
from parallelbench.results.result import Part
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.tasks.grammar import open_engine
from support.checkpoints import write_checkpoint

ENGINE = "checker 1.0"
FAIR = EngineCalibration(Calibration(90, 100, 80, 100), "some sentences")
TASK = "text_writing/w2s_easy"


def part(passed, samples=100, count=None):
    interval = wilson(float(passed), float(samples))
    return Part(passed / samples, interval, samples, count or samples)


@pytest.fixture
def make_text(make_result):
    def make(passed=70, *, engine=ENGINE, name="grammar", **changes):
        values = {"parts": {name: part(passed), "words": part(40)}, "engines": {name: engine}}
        return make_result(task=TASK, **{**values, **changes})

    return make


def table_of(results, known):
    (table,) = score_tables(results, known).values()
    return table


# As judged and corrected


def test_a_rate_as_judged_stands_beside_the_one_that_is_corrected(make_text):
    table = table_of([make_text(70)], {ENGINE: FAIR})
    (row,) = table.rows
    assert (table.grammar, table.judge, table.names) == ("grammar", ENGINE, ["grammar", "words"])
    assert row.corrected == corrected_rate(passed=70.0, count=100, calibration=FAIR.calibration)
    assert row.corrected.value == pytest.approx((0.7 + 0.8 - 1) / (0.9 + 0.8 - 1))
    assert "passes 90.0 % " in table.told[0]
    assert "of 100 good sentences (its sensitivity)" in table.told[0]
    assert "fails 80.0 % " in table.told[0]
    assert "are not those that this model writes" in table.told[1]
    (told,) = judged_rates({("ideal", TASK): table})
    assert (told["raw"]["value"], told["corrected"]["samples"]) == (0.7, 100)
    assert (told["judge"], told["sensitivity"]["value"]) == (ENGINE, 0.9)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"checker 1.1": FAIR}, "how often checker 1.0 errs is not known here"),
        ({}, "report RUN --calibration FILE.csv"),
        (
            {ENGINE: EngineCalibration(Calibration(50, 100, 50, 100), "some")},
            r"Not corrected: this judge passes 50 % .* it does not distinguish them",
        ),
    ],
)
def test_without_a_calibration_that_helps_there_is_no_corrected_rate(make_text, known, why):
    table = table_of([make_text()], known)
    assert table.known is None
    assert [row.corrected for row in table.rows] == [None]
    (sentence,) = table.told
    assert re.search(why, sentence)
    (told,) = judged_rates({("ideal", TASK): table})
    assert (told["corrected"], told["missing"]) == (None, sentence)
    assert "sensitivity" not in told


def test_a_name_that_tells_the_engine_is_a_verdict_on_grammar_too(make_text):
    table = table_of([make_text(name="grammar@checker")], {ENGINE: FAIR})
    assert (table.grammar, table.judge) == ("grammar@checker", ENGINE)
    assert table.rows[0].corrected is not None


def test_repeats_of_a_sample_do_not_narrow_the_corrected_interval(make_text):
    often = make_text(parts={"grammar": part(70, count=300)})
    once = table_of([make_text(70)], {ENGINE: FAIR}).rows[0].corrected
    assert table_of([often], {ENGINE: FAIR}).rows[0].corrected.interval == once.interval


def test_a_setting_without_a_marked_decode_has_no_row(make_text, make_result):
    table = table_of([make_text(), make_result("random:k=2", TASK, right=None)], {ENGINE: FAIR})
    assert [row.result.decoder_label for row in table.rows] == ["confidence:k=2"]


def test_tasks_that_only_our_rules_mark_have_no_table_but_the_originals_have(make_result):
    parts = {"rows": part(50)}
    assert score_tables([make_result(parts=parts)], {}) == {}
    parts = {"original": part(50), "ours": part(60)}
    table = table_of([make_result(parts=parts)], {})
    assert (table.grammar, table.judge, table.told) == (None, None, ())


def test_names_of_scores_and_engines_and_reasons_are_never_markup(tmp_path, make_result):
    evil = "<script>alert(1)</script>"
    result = make_result(parts={f"grammar@{evil}": part(7)}, engines={f"grammar@{evil}": evil})
    place = (result.model, result.task_label)
    found = TaskDependence(result.model, evil, result.task_label, "model", "random", missing=evil)
    texts = TextReport(score_tables([result], {}), {place: [found]})
    page = write_report(tmp_path, PageContent(results=[result], texts=texts)).read_text(
        encoding="utf-8"
    )
    assert page.count("<script") == 2  # the page's own, and the values of its marks
    assert "grammar<br>@&lt;script&gt;alert(1)" in page


def test_what_was_not_corrected_has_no_column_of_zeros(tmp_path, make_text):
    pages = []
    for known in ({}, {ENGINE: FAIR}):
        result = make_text(70)
        texts = TextReport(score_tables([result], known))
        page = write_report(tmp_path, PageContent(results=[result], texts=texts))
        pages.append(page.read_text(encoding="utf-8").partition("Score by score")[2])
    without, corrected = pages
    assert "grammar<br>corrected %" not in without
    assert "grammar<br>corrected %" in corrected
    assert "<td>70.0</td>" in without
    assert "<td>70.0</td>\n<td>60.4\N{EN DASH}78.1</td>\n<td>71.4</td>" in corrected


# What is known of engines


@pytest.mark.parametrize("name", ["harper", "lingotweaker"])
def test_the_shipped_rates_are_what_the_engine_says_of_the_shipped_set(name):
    engine, items = open_engine(name), read_items(SHIPPED)
    shipped = shipped_calibrations()[f"{name} {engine.version}"]
    verdicts = [not found for found in engine.problems([item.text for item in items])]
    good = [verdict for verdict, item in zip(verdicts, items, strict=True) if item.label]
    bad = [not verdict for verdict, item in zip(verdicts, items, strict=True) if not item.label]
    assert shipped.calibration == Calibration(sum(good), len(good), sum(bad), len(bad))


def test_the_shipped_rates_are_written_as_they_are_read():
    known = {judge: each.calibration for judge, each in shipped_calibrations().items()}
    assert written_calibrations(known) == SHIPPED_ENGINES.read_text(encoding="utf-8")


def verdict_file(path, judges):
    """Two of three good texts passed, one of two bad ones failed, by each judge."""
    pairs = ["good,pass", "good,pass", "good,fail", "bad,fail", "bad,pass"]
    lines = [f"{number},{pair},{judge}\n" for judge in judges for number, pair in enumerate(pairs)]
    path.write_text("".join(["text,label,verdict,judge\n", *lines]), encoding="utf-8")
    return path


def test_a_file_of_verdicts_says_what_is_known_of_each_judge_in_it(tmp_path):
    known = read_calibrations([verdict_file(tmp_path / "v.csv", ["one 1", "two 2"])])
    assert known == {
        judge: EngineCalibration(Calibration(2, 3, 1, 2), "v.csv") for judge in ("one 1", "two 2")
    }


def test_verdicts_of_nobody_and_of_a_judge_in_two_files_are_refused(tmp_path):
    nameless = verdict_file(tmp_path / "n.csv", [""])
    with pytest.raises(JudgeError, match=r"n\.csv line 2 does not say whose verdict it is"):
        read_calibrations([nameless])
    files = [verdict_file(tmp_path / f"{name}.csv", ["one 1"]) for name in "ab"]
    with pytest.raises(JudgeError, match=r"b\.csv and a\.csv both hold verdicts of one 1"):
        read_calibrations(files)


# A run of a real model, from decoding to the page


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    model = f"hf:{write_checkpoint('llada', folder / 'llada')}"
    plan = make_runfile(
        {
            "models": model,
            "tasks": f"{TASK}:canvas_length=48",
            "decoders": "random:k=48",
            "samples": 3,
        }
    )
    return run(plan, folder / "run")


@pytest.fixture(scope="module")
def estimates(directory):
    return list(estimate_run(directory, Effort(samples=2, completions=2)))


def test_dependence_is_estimated_for_each_kind_of_text_and_each_order(directory, estimates):
    asked = [(each.kind, each.order) for each in estimates]
    assert asked == [(kind, order) for kind in KINDS for order in ORDERS]
    digest = next(directory.records()).model.digest
    for each in estimates:
        assert each.missing is None
        assert (each.model_digest, each.samples) == (digest, 2)
        assert each.count == (4 if each.kind == "model" else 2)
        assert each.bits == pytest.approx(each.at_once - each.one_by_one)
        assert each.standard_error > 0
        assert each.calls >= 49  # the whole canvas, then position by position


def test_estimates_come_back_as_they_were_written_and_altered_ones_are_refused(
    directory, estimates
):
    write_estimates(directory, estimates)
    assert read_estimates(directory) == estimates
    file = directory.path / "dependence.json"
    text = file.read_text()
    for wrong in ("[1]", "{", text.replace('"bits": ', '"bits": null, "bit": ')):
        file.write_text(wrong)
        with pytest.raises(RecordsError, match=r"dependence\.json was altered"):
            read_estimates(directory)
    file.unlink()
    assert read_estimates(directory) == []


def test_estimates_by_another_model_are_not_shown(estimates):
    (first, *_) = estimates
    own, missing = estimates_of_models(estimates, {first.model: first.model_digest})
    assert (own, missing) == (estimates, None)
    own, missing = estimates_of_models(estimates, {first.model: "0" * 64})
    assert own == []
    assert f"with digest {first.model_digest[:12]}, which made no record of this run" in missing


def test_too_few_texts_and_tasks_with_a_law_are_refused(directory, tmp_path):
    with pytest.raises(RunFileError, match="at least 2 completions, got 1"):
        Effort(completions=1)
    with pytest.raises(RunFileError, match="has 3 samples of each task, and 8 were requested"):
        next(estimate_run(directory, Effort()))
    plan = make_runfile({"models": "ideal", "tasks": "choices/city", "decoders": "one_by_one"})
    with pytest.raises(RunFileError, match="bounds --task choices/city` computes"):
        next(estimate_run(RunDirectory.begin(tmp_path / "run", plan), Effort()))


def test_the_command_line_estimates_corrects_and_shows(directory, capsys, tmp_path):
    path = str(directory.path)
    few = ("--samples", "2", "--completions", "2", "--order", "random")
    assert main(["dependence", path, *few, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in printed] == list(KINDS)
    assert all(math.isfinite(each["bits"]) for each in printed)

    engine = f"lingotweaker {open_engine('lingotweaker').version}"
    file = verdict_file(tmp_path / "mine.csv", [engine])
    assert main(["report", path, "--calibration", str(file)]) == 0
    page = (directory.path / "report.html").read_text(encoding="utf-8")
    assert f"Score by score: grammar by {engine}" in page
    assert "by mine.csv" in page
    assert "How the tokens of a reply depend on each other" in page
    assert printed[0]["model_digest"][:12] in page
    (told,) = json.loads((directory.path / "judges.json").read_text())
    assert (told["calibration"], told["judge"]) == ("mine.csv", engine)

    other = verdict_file(tmp_path / "other.csv", ["harper 9"])
    capsys.readouterr()
    assert main(["report", path, "--calibration", str(other)]) == 2
    assert f"'harper 9' marked none of the runs; their grammar is judged by {engine}" in (
        capsys.readouterr().err
    )
