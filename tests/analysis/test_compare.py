"""Two sides on the same samples: the verdict is that of scipy's tests on the same table."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from parallelbench.analysis.measures.compare import compare
from parallelbench.cli.program import main
from parallelbench.errors import RecordsError, RunFileError, UnknownNameError
from parallelbench.evaluation import Evaluation, evaluate
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from support.fabricated import altered, fabricated_record

TASKS = ["choices/city", "waiting_line/shuffle:length=3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "first"
    decoders = ["one_by_one", "random:k=4|16"]
    run(
        make_runfile({"models": "ideal", "tasks": TASKS, "decoders": decoders, "samples": 40}),
        place,
    )
    return place


@pytest.fixture(scope="module")
def found(folder):
    return compare(folder, decoders="random:k=16,random:k=4")


def marks_of(folder, decoder, task):
    records = RunDirectory.open(folder).records()
    own = [r for r in records if (r.decoder_label, r.task_label) == (decoder, task)]
    return {r.index: (r.marks.lenient, r.decoding.counts.tokens_per_step) for r in own}


def test_the_verdict_is_that_of_scipy_on_the_same_table(folder, found):
    p_values = []
    for line in found.lines[:2]:
        first = marks_of(folder, "random:k=16", line.task)
        second = marks_of(folder, "random:k=4", line.task)
        table = np.array([[first[index][0], second[index][0]] for index in range(40)])
        only = [int((table @ [1, -1] == sign).sum()) for sign in (1, -1)]
        p_values.append(stats.binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0)
        assert line.test.p_value == pytest.approx(p_values[-1])
        assert line.first_accuracy.value == pytest.approx(table[:, 0].mean())
        assert line.difference.value == pytest.approx((table @ [-1, 1]).mean())
        assert [each.change for each in line.changed].count("right to wrong") == only[0]
        assert len(line.changed) == sum(only)
    assert found.lines[0].verdict == "B is better"
    # McNemar's test and the sign test of Wilcoxon's statistic look at the same pairs.
    differences = table @ [-1, 1]
    signed = stats.wilcoxon(differences, correction=True, method="asymptotic").pvalue
    assert (signed <= 0.05) == (p_values[-1] <= 0.05)
    assert (stats.ttest_rel(table[:, 1], table[:, 0]).pvalue <= 0.05) == (p_values[-1] <= 0.05)


def test_the_average_weighs_tasks_alike_and_is_tested_on_all_pairs(found):
    *lines, average = found.lines
    assert average.task == "average over 2 tasks"
    assert average.version is None
    assert average.pairs == 80
    assert average.difference.value == pytest.approx(
        np.mean([line.difference.value for line in lines])
    )
    changes = [each.change for line in lines for each in line.changed]
    worse = changes.count("right to wrong")
    assert average.test.p_value == pytest.approx(stats.binomtest(worse, len(changes)).pvalue)


def test_all_lines_are_adjusted_together(found):
    for line in found.lines:
        assert line.test.lines == 3
        assert line.test.adjusted == pytest.approx(min(1.0, 3 * line.test.p_value))
    alone = compared([1.0] * 40, [0.0] * 9 + [1.0] * 31)
    records = [
        altered(record, task_label=task, task=task, sample_digest=task)
        for record in [*side("random:k=1", [1.0] * 40), *side("random:k=2", [0.0] * 9 + [1.0] * 31)]
        for task in ("choices/city", "choices/dice")
    ]
    run = run_of(records, tasks=["choices/city", "choices/dice"])
    one, *_ = compare(run, decoders="random:k=1,random:k=2").lines
    assert one.test.p_value == alone.test.p_value == alone.test.adjusted == one.test.adjusted / 3
    assert one.difference.interval.low < alone.difference.interval.low


def test_a_verdict_agrees_with_its_interval_and_its_p_value_whatever_the_table():
    rng = np.random.default_rng(2)
    seen = set()
    for number in range(24):
        graded, count, rate = number % 3 == 0, int(rng.integers(2, 70)), rng.choice([0.1, 0.4])
        records = []
        for task in ("choices/city", "choices/dice", "choices/sum")[: rng.integers(1, 4)]:
            first = rng.choice([0.0, 0.5, 1.0] if graded else [0.0, 1.0], size=count)
            second = np.where(rng.random(count) < rate, np.minimum(1.0, first + rate), first)
            second = second if graded else np.where(second > 0, 1.0, 0.0)
            for decoder, marks in (("random:k=1", first), ("random:k=2", second)):
                records += side(decoder, marks, task=task, nfe=int(rng.choice([7, 8])))
        labelled = [altered(r, task_label=r.task.name) for r in records]
        run = run_of(labelled, tasks=["choices/city", "choices/dice", "choices/sum"])
        for line in compare(run, decoders="random:k=1,random:k=2").lines:
            low, high = line.difference.interval
            nothing = line.verdict.startswith("no difference")
            assert nothing == (low <= 0 <= high) == (line.test.adjusted > 0.05)
            assert nothing or line.verdict == ("B is better" if low > 0 else "A is better")
            seen.add((nothing, line.test.name))
    assert len(seen) == 4


def test_speeds_are_compared_as_scipy_s_bootstrap_does(folder):
    line = compare(folder, decoders="one_by_one,random:k=16").lines[1]
    assert line.tokens_per_step_difference.value == pytest.approx(15)
    assert line.speed_verdict == "B is faster"
    assert line.verdict == "A is better"


def run_of(records, **changes):
    settings = {
        "models": "ideal",
        "tasks": "choices/city",
        "decoders": "random:k=1|2",
        "samples": 50,
    }
    return Evaluation(make_runfile({**settings, **changes}), records, None)


def side(decoder, marks, **changes):
    return [
        fabricated_record(decoder, index, mark, task_label="choices/city", **changes)
        for index, mark in enumerate(marks)
    ]


def compared(first, second, **changes):
    records = [*side("random:k=1", first), *side("random:k=2", second)]
    return compare(run_of(records, **changes), decoders="random:k=1,random:k=2").lines[0]


@pytest.mark.parametrize("turned", [False, True])
def test_graded_marks_agree_with_a_paired_bootstrap_and_a_t_test(turned):
    rng = np.random.default_rng(0)
    first = rng.choice([0.0, 0.25, 0.5, 1.0], size=40)
    second = np.minimum(1.0, first + rng.choice([0.0, 0.25], size=40))
    sides = (second, first) if turned else (first, second)
    line = compared(*sides)
    assert line.test.name == "sign flips"
    assert line.verdict == ("A is better" if turned else "B is better")
    assert stats.ttest_rel(*sides).pvalue < 0.05
    wanted = stats.bootstrap(
        sides,
        lambda a, b, axis: np.mean(b - a, axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert line.difference.interval == pytest.approx(tuple(wanted), abs=0.01)


def test_what_cannot_be_told_is_said_so():
    line = compared([1.0] * 50, [1.0] * 48 + [0.0] * 2)
    assert line.verdict == "no difference that 50 samples can show"
    assert line.difference.interval.low < line.difference.value < 0 < line.difference.interval.high
    assert line.speed_verdict == "no difference in speed that 50 samples can show"


def test_decodes_without_a_partner_count_nowhere_but_are_told():
    line = compared([1.0, 1.0, None, 1.0], [0.0, 1.0, 1.0])
    assert (line.pairs, line.samples, line.unpaired) == (2, 2, 2)
    assert line.first_accuracy.value == 1
    nothing = compared([None, None], [1.0, 1.0])
    assert nothing.verdict == "nothing was marked on both sides"
    assert nothing.as_dict()["difference"] is None


def test_repeats_of_a_sample_are_one_sample():
    records = [
        record
        for decoder, mark in (("random:k=1", 1.0), ("random:k=2", 0.0))
        for repeat in range(9)
        for record in side(decoder, [mark], repeat=repeat)
    ]
    line = compare(run_of(records, repeats=9), decoders="random:k=1,random:k=2").lines[0]
    assert (line.pairs, line.samples) == (9, 1)
    assert line.verdict == "no difference that 1 sample can show"


def test_the_same_decoders_of_two_models_are_compared(folder):
    other = evaluate(model="ideal:noise=0", tasks=TASKS, decoders="one_by_one,klass", samples=20)
    found = compare(folder, other)
    assert [(line.first.model, line.second.model) for line in found.lines] == [
        ("ideal", "ideal:noise=0.0")
    ] * 3
    assert {line.second.decoder for line in found.lines} == {"one_by_one"}
    assert [line.unpaired for line in found.lines] == [20, 20, 40]
    (remark,) = found.remarks
    assert remark == (
        f"{folder} and the second run share no model, so model ideal is compared with "
        "ideal:noise=0.0: a difference may come from the models"
    )
    named = compare(folder, other, models=["ideal", "ideal:noise=0"])
    assert (named.lines, named.remarks) == (found.lines, [])
    assert len(compare(folder, other, decoders="random:k=4,klass").lines) == 3


def test_another_model_of_the_same_name_is_told(folder):
    records = [
        altered(record, model_digest="another") for record in RunDirectory.open(folder).records()
    ]
    other = Evaluation(RunDirectory.open(folder).runfile, records, None)
    (remark,) = compare(folder, other).remarks
    assert remark.startswith(f"ideal is not the same in {folder} and the second run")


REFUSED = {
    "names are missing": ({}, r"alone is compared by naming two of its decoders or two of its mod"),
    "one name": ({"decoders": "random:k=4"}, "alone is compared by naming two"),
    "three names": ({"decoders": "random:k=4|16,one_by_one"}, "at most two decoders .* got 3"),
    "another model": ({"models": "mini"}, "no model is called 'mini'; known: ideal"),
    "a misspelt decoder": ({"decoders": "randon:k=4"}, "did you mean"),
    "another value": ({"decoders": "random:k=5"}, "no decoder is called 'random:k=5'; did you"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused_by_name(folder, case):
    asked, told = REFUSED[case]
    with pytest.raises((RunFileError, UnknownNameError), match=told):
        compare(folder, **asked)


def test_runs_that_met_other_samples_are_refused_by_name(folder):
    def other(**changes):
        asked = {"tasks": TASKS[0], "decoders": "one_by_one", "samples": 1, **changes}
        return evaluate(**asked)

    with pytest.raises(RunFileError, match=rf"{folder} has seed 0 and the second run has seed 3"):
        compare(folder, other(seed=3))
    with pytest.raises(RunFileError, match=r"share no task: one has .*, the other choices/dice"):
        compare(folder, other(tasks="choices/dice"))
    with pytest.raises(RunFileError, match="share no decoder, so name two of them"):
        compare(folder, other(decoders="klass"))
    early = run_of(side("random:k=1", [1.0] * 5))
    late = run_of(side("random:k=1", [1.0] * 9)[5:])
    with pytest.raises(
        RunFileError, match="no sample: one has samples 0 to 4, the other samples 5 to 8"
    ):
        compare(early, late)
    engines = run_of(side("random:k=1", [1.0], engines={"grammar": "2"}))
    with pytest.raises(RecordsError, match=r"is marked by \{'grammar': '2'\} in the second run"):
        compare(early, engines)


def copied(folder, to, version):
    to.mkdir()
    for file in ("run.yaml", "records-0.jsonl"):
        (to / file).write_bytes((folder / file).read_bytes())
    text = (to / "run.yaml").read_text().replace("  version: 1", f"  version: {version}")
    (to / "run.yaml").write_text(text)
    return to


def test_another_version_of_a_task_is_refused_with_both(folder, tmp_path, capsys):
    other = copied(folder, tmp_path / "other", 7)
    assert main(["compare", str(folder), str(other)]) == 2
    told = capsys.readouterr().err
    assert f"{folder} has version 1 of task 'choices/city' and {other} has version 7" in told


def test_the_verb_shows_numbers_words_and_some_of_what_changed(folder, capsys, tmp_path):
    out = tmp_path / "new" / "pairs.csv"
    names = ["--decoders", "random:k=16,random:k=4"]
    assert main(["compare", str(folder), *names, "--changed", "1", "--out", str(out)]) == 0
    told, _ = capsys.readouterr()
    assert told.startswith(f"A  ideal with random:k=16 in {folder}\nB  ideal with random:k=4 in")
    assert "\n  B is better\n  B is slower\n    tokens per step: A 16.00, B 4.00, B - A -12" in told
    assert "more: --json and --out FILE.csv have all of them" in told
    assert max(map(len, told.splitlines()[2:-1])) <= 80
    with out.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 80
    assert main(["compare", str(folder), *names, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    changed = [each for line in told["lines"] for each in line["changed"]]
    assert [each["first_reply"] for each in changed] == [
        row["first_reply"] for row in rows if row["change"]
    ]
    assert told["lines"][0]["first"]["decoder"] == "random:k=16"
    assert told["lines"][0]["test"]["name"] == "McNemar, exact"
    assert dataclasses.is_dataclass(compare(folder, decoders=names[1]))
