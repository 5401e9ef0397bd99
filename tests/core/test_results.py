"""Records -> results: what is averaged over what, and how sure one may be of it."""

import csv
import dataclasses
import io
import itertools
import json

import numpy as np
import pytest
from scipy import stats

from parallelbench.errors import RecordsError
from parallelbench.record import Counts, RecordedMarks
from parallelbench.record_line import FlatRecord
from parallelbench.results.intervals import Interval, wilson
from parallelbench.results.result import (
    _average,
    _Cluster,
    _proportion_interval,
    average_over_tasks,
    summarize,
    to_csv,
    to_json,
)
from parallelbench.trace import Trace


def record(index=0, right=1.0, *, repeat=0, nfe=8, status="ok", **changes):
    """One decode of 32 canvas tokens with made-up marks."""
    problem = None if right == 1 else ("wrong" if status == "ok" else status)
    marks = RecordedMarks(strict=right, lenient=right, problem=problem, parts={})
    values = {
        "library_version": "0",
        "model": "ideal",
        "model_digest": "",
        "task": "shuffle",
        "task_fields": {"length": 4},
        "task_label": "shuffle",
        "task_version": 1,
        "decoder": "confidence",
        "decoder_fields": {"k": 4},
        "decoder_label": "confidence:k=4",
        "oracle": False,
        "sample": f"shuffle-{index}",
        "sample_digest": "",
        "index": index,
        "seed": 0,
        "repeat": repeat,
        "prompt_digest": "",
        "prompt_tokens": 5,
        "mask_id": 1,
        "end_id": 2,
        "initial_ids": None,
        "output_ids": [3] * 32,
        "text": "",
        "status": status,
        "error": "it broke" if status == "error" else None,
        "marks": None if status == "error" else marks,
        "counts": counts(nfe),
        "trace": Trace(),
        "seconds": 0.5,
    }
    return FlatRecord(**{**values, **changes}).record()


def counts(nfe, answer_tokens=8, off_law_calls=None):
    return Counts(
        nfe=nfe,
        rows=nfe,
        token_positions=nfe,
        auxiliary_calls=0,
        steps=nfe,
        canvas_tokens=32,
        answer_tokens=answer_tokens,
        tokens_after_end=0,
        revisions=0,
        tokens_per_step=32 / nfe if nfe else None,
        answer_tokens_per_step=answer_tokens / nfe if nfe else None,
        off_law_calls=off_law_calls,
    )


def only(records):
    (result,) = summarize(records)
    return result


# What is averaged


def test_tokens_per_step_is_the_mean_of_ratios_and_not_the_ratio_of_means():
    result = only([record(0, nfe=1), record(1, nfe=32)])
    assert result.tokens_per_step == (32 + 1) / 2
    assert result.nfe == 16.5
    assert result.tokens_per_step != pytest.approx(64 / 33)


def test_answer_tokens_are_divided_by_the_same_calls():
    result = only([record(0, nfe=4), record(1, nfe=8)])
    assert result.answer_tokens_per_step == (2 + 1) / 2


def test_repeats_of_a_sample_are_averaged_before_the_samples():
    # Sample 0 is right once of three times, sample 1 its only time.
    result = only([*(record(0, float(n == 0), repeat=n) for n in range(3)), record(1, 1.0)])
    assert result.accuracy == pytest.approx((1 / 3 + 1) / 2)
    assert (result.samples, result.count) == (2, 4)


@pytest.mark.parametrize("status", ["stalled", "unfinished"])
def test_a_decode_that_did_not_end_well_counts_as_wrong(status):
    result = only([record(0), record(1, 0.0, status=status)])
    assert result.accuracy == 0.5
    assert result.statuses == {"ok": 1, status: 1}
    assert result.problems == {status: 1}


def test_an_error_is_counted_and_never_averaged():
    result = only([record(0), record(1, status="error", nfe=1)])
    assert (result.accuracy, result.samples, result.count) == (1.0, 1, 1)
    assert result.tokens_per_step == 4
    assert result.statuses == {"error": 1, "ok": 1}


def test_nothing_marked_is_no_accuracy_at_all():
    result = only([record(0, status="error")])
    assert result.accuracy is None
    assert result.interval is None
    assert result.accuracy_strict is None
    assert result.tokens_per_step is None
    assert result.tokens_per_step_interval is None
    assert result.nfe is None


def test_the_last_record_of_a_decode_replaces_the_others():
    result = only([record(0, status="error"), record(1, 0.0), record(0, 1.0)])
    assert result.statuses == {"ok": 2}
    assert result.accuracy == 0.5


def test_strict_and_lenient_marks_are_kept_apart():
    marks = RecordedMarks(strict=0.0, lenient=1.0, problem=None, parts={})
    result = only([record(0, marks=marks)])
    assert (result.accuracy, result.accuracy_strict) == (1.0, 0.0)


def test_a_decode_without_a_call_has_no_speed_but_a_mark():
    result = only([record(0, nfe=0), record(1, 0.0, nfe=8)])
    assert result.accuracy == 0.5
    assert result.tokens_per_step == 4
    assert result.nfe == 4


def test_the_share_of_calls_off_the_law_is_over_calls_where_the_law_is_known():
    known = [
        record(0, counts=counts(8, off_law_calls=2)),
        record(1, counts=counts(2, off_law_calls=0)),
    ]
    assert only(known).off_law_share == 0.2
    assert only([record(0)]).off_law_share is None


def test_results_are_apart_by_model_task_and_decoder_in_order_of_appearance():
    labels = list(itertools.product("ba", "dc", "fe"))
    results = summarize([record(model=m, task_label=t, decoder_label=d) for m, t, d in labels])
    assert [(r.model_label, r.task_label, r.decoder_label) for r in results] == labels


def test_no_figure_depends_on_the_order_of_finishing():
    rng = np.random.default_rng(1)
    records = [
        record(index, rng.random(), repeat=repeat, counts=counts(*rng.integers(1, 33, 2).tolist()))
        for index in range(20)
        for repeat in range(3)
    ]
    before = to_json(summarize(records))
    for _ in range(20):
        rng.shuffle(records)
        assert to_json(summarize(records)) == before


def test_problems_come_with_the_most_frequent_first_and_ties_by_name():
    def wrong(index, problem):
        marks = RecordedMarks(strict=0.0, lenient=0.0, problem=problem, parts={})
        return record(index, marks=marks)

    result = only([wrong(n, problem) for n, problem in enumerate(["b", "c", "a", "c"])])
    assert list(result.problems.items()) == [("c", 2), ("a", 1), ("b", 1)]


# The parts of the marks


def parted(index, parts, *, status="ok", **changes):
    marks = RecordedMarks(strict=0.0, lenient=0.0, problem="wrong", parts=parts)
    return record(index, status=status, marks=marks, **changes)


def test_a_part_of_the_marks_has_its_mean_its_interval_and_its_count():
    records = [parted(n, {"grammar": float(n < 3), "rouge_l": n / 10}) for n in range(8)]
    parts = only(records).parts
    assert list(parts) == ["grammar", "rouge_l"]
    assert (parts["grammar"].value, parts["grammar"].interval) == (3 / 8, wilson(3.0, 8.0))
    assert parts["rouge_l"].value == pytest.approx(0.35)
    assert {(part.samples, part.count) for part in parts.values()} == {(8, 8)}


def test_a_graded_part_is_known_better_than_a_coin_is():
    graded = only([parted(n, {"rouge_l": 0.4 + n % 3 / 10}) for n in range(30)]).parts["rouge_l"]
    low, high = graded.interval
    assert 0.4 < low < graded.value < high < 0.6
    coin = wilson(graded.value * 30, 30.0)
    assert high - low < (coin.high - coin.low) / 3


def test_a_part_on_which_all_samples_agree_is_not_known_for_sure():
    (alike,) = only([parted(n, {"rouge_l": 0.5}) for n in range(4)]).parts.values()
    assert alike.interval == wilson(2.0, 4.0)


def test_repeats_of_a_sample_are_averaged_before_the_samples_in_parts_too():
    records = [*(parted(0, {"grammar": float(n == 0)}, repeat=n) for n in range(3))]
    part = only([*records, parted(1, {"grammar": 1.0})]).parts["grammar"]
    assert part.value == pytest.approx(2 / 3)
    assert (part.samples, part.count) == (2, 4)


@pytest.mark.parametrize("status", ["stalled", "unfinished"])
def test_a_decode_that_did_not_end_well_has_none_of_any_part(status):
    part = only([parted(0, {"grammar": 1.0}), parted(1, {}, status=status)]).parts["grammar"]
    assert (part.value, part.samples) == (0.5, 2)


def test_a_part_that_a_task_gives_only_now_and_then_is_the_mean_of_those_that_have_it():
    part = only([parted(0, {"bonus": 0.5}), parted(1, {})]).parts["bonus"]
    assert (part.value, part.samples) == (0.5, 1)
    assert only([record(0)]).parts == {}


def test_marks_by_different_engines_are_in_no_result_together():
    old, new = {"grammar": "checker 1.0"}, {"grammar": "checker 2.0"}
    assert only([record(n, engines=old) for n in range(2)]).engines == old
    with pytest.raises(RecordsError, match=r"checker 2\.0.* in sample 1 of .*checker 1\.0"):
        only([record(0, engines=old), record(1, engines=new)])


# Averages over tasks


def two_tasks(*, easy=10, hard=10):
    """Ten easy samples that are all right, ten hard ones that are all wrong; or as many."""
    return [
        *(record(n, 1.0, task_label="easy", nfe=8) for n in range(easy)),
        *(record(n, 0.0, task_label="hard", nfe=32) for n in range(hard)),
    ]


def test_every_task_weighs_the_same():
    (average,) = average_over_tasks(summarize(two_tasks(easy=30, hard=10)))
    assert average.accuracy == 0.5
    assert average.tokens_per_step == (4 + 1) / 2
    assert (average.task, average.task_label) == ("average", "average")
    assert (average.samples, average.count) == (40, 40)
    assert average.statuses == {"ok": 40}
    assert average.problems == {"wrong": 10}


def test_a_setting_that_some_task_lacks_has_no_average():
    records = [*two_tasks(), record(task_label="easy", decoder_label="random")]
    averages = average_over_tasks(summarize(records))
    assert [average.decoder_label for average in averages] == ["confidence:k=4"]


def test_a_setting_with_nothing_but_errors_on_a_task_has_no_average():
    records = [*two_tasks(hard=0), record(task_label="hard", status="error")]
    assert average_over_tasks(summarize(records)) == []


def test_models_are_averaged_apart_and_over_their_own_tasks():
    records = [*two_tasks(), record(model="other", task_label="easy")]
    averages = average_over_tasks(summarize(records))
    assert [(average.model, average.accuracy) for average in averages] == [
        ("ideal", 0.5),
        ("other", 1.0),
    ]


def test_the_average_of_one_task_is_that_task():
    result = only([record(n, float(n % 3 > 0)) for n in range(30)])
    (average,) = average_over_tasks([result])
    assert average.accuracy == pytest.approx(result.accuracy)
    assert average.interval == pytest.approx(result.interval)


def test_the_interval_of_an_average_narrows_with_the_root_of_the_tasks():
    result = only([record(n, float(n % 2)) for n in range(100)])
    tasks = [dataclasses.replace(result, task_label=str(n)) for n in range(4)]
    (average,) = average_over_tasks(tasks)
    one, four = result.interval, average.interval
    assert four.high - four.low == pytest.approx((one.high - one.low) / 2)


# Intervals


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (1, 500)])
def test_wilson_agrees_with_scipy(right, count):
    theirs = stats.binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(float(right), float(count)) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_an_accuracy_without_repeats_has_wilson_s_interval():
    result = only([record(n, float(n < 7)) for n in range(20)])
    assert result.interval == pytest.approx(wilson(7.0, 20.0))


def test_repeats_that_always_agree_tell_no_more_than_one():
    once = [record(n, float(n < 7)) for n in range(20)]
    thrice = [record(n, float(n < 7), repeat=k) for n in range(20) for k in range(3)]
    assert only(thrice).interval == pytest.approx(only(once).interval)


def test_repeats_never_tell_more_than_as_many_fresh_samples():
    spread = [_Cluster(0.5, 2)] * 19 + [_Cluster(1.0, 2)]
    assert _proportion_interval(spread) == pytest.approx(wilson(0.525 * 40, 40.0))


@pytest.mark.parametrize("samples", range(2, 40))
def test_samples_that_are_all_alike_have_the_wide_interval_whatever_the_rounding(samples):
    found = _proportion_interval([_Cluster(1 / 5, 5)] * samples)
    assert found == pytest.approx(wilson(samples / 5, float(samples)))


def test_a_fixed_speed_has_an_interval_of_no_width():
    assert only([record(n) for n in range(5)]).tokens_per_step_interval == Interval(4.0, 4.0)


def test_the_bootstrap_is_the_same_every_time():
    records = [record(n, nfe=1 + n % 7) for n in range(40)]
    first, second = (only(records).tokens_per_step_interval for _ in range(2))
    assert first == second
    assert first.low < only(records).tokens_per_step < first.high


def coverage(interval_of, truth, trials=400):
    rng = np.random.default_rng(7)
    hits = [low <= truth <= high for low, high in (interval_of(rng) for _ in range(trials))]
    return np.mean(hits)


# 400 trials of a true 95 % lie within 91.7 and 98.3 % with probability 0.998.


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_interval_of_an_accuracy_holds_the_truth_in_95_of_100_cases(share):
    def interval_of(rng):
        return _proportion_interval([_Cluster(float(m), 1) for m in rng.random(60) < share])

    assert 0.917 <= coverage(interval_of, share) <= 0.983


@pytest.mark.parametrize("alikeness", [0.1, 1.0, 10.0])
def test_repeats_of_uneven_samples_keep_the_coverage(alikeness):
    def interval_of(rng):
        chances = rng.beta(0.6 * alikeness, 0.4 * alikeness, size=60)
        return _proportion_interval([_Cluster(float(m), 5) for m in rng.binomial(5, chances) / 5])

    assert 0.917 <= coverage(interval_of, 0.6) <= 0.983


def test_the_interval_of_an_average_over_tasks_keeps_the_coverage():
    template = only([record()])

    def interval_of(rng):
        tasks = []
        for share in (0.2, 0.5, 0.8, 0.95):
            right = rng.binomial(60, share)
            interval = wilson(float(right), 60.0)
            tasks.append(dataclasses.replace(template, accuracy=right / 60, interval=interval))
        return _average(tasks).interval

    assert 0.917 <= coverage(interval_of, 2.45 / 4) <= 0.983


def test_the_interval_of_a_speed_keeps_the_coverage():
    def interval_of(rng):
        calls = rng.integers(1, 9, size=60)
        return only([record(n, nfe=int(c)) for n, c in enumerate(calls)]).tokens_per_step_interval

    truth = np.mean([32 / calls for calls in range(1, 9)])
    assert 0.90 <= coverage(interval_of, truth, trials=200) <= 0.99


# Files


def test_json_holds_every_field_and_comes_back_the_same():
    results = summarize([*two_tasks(), record(task_label="none", status="error")])
    back = json.loads(to_json(results))
    assert [set(entry) for entry in back] == [
        {field.name for field in dataclasses.fields(result)} for result in results
    ]
    for entry, result in zip(back, results, strict=True):
        assert entry["accuracy"] == result.accuracy
        assert entry["interval"] == (list(result.interval) if result.interval else None)
        assert entry["fields"] == {"k": 4}


def test_json_and_csv_hold_the_parts_and_what_marked_them():
    engines = {"grammar": "checker 1.0"}
    results = summarize([parted(n, {"grammar": float(n)}, engines=engines) for n in range(2)])
    low, high = wilson(1.0, 2.0)
    told = {"grammar": {"value": 0.5, "interval": [low, high], "samples": 2, "count": 2}}
    (entry,) = json.loads(to_json(results))
    assert (entry["parts"], entry["engines"]) == (told, engines)
    (row,) = csv.DictReader(io.StringIO(to_csv(results)))
    assert (json.loads(row["parts"]), json.loads(row["engines"])) == (told, engines)


def test_csv_has_a_column_per_number_and_blanks_where_there_is_none():
    results = summarize([*two_tasks(), record(task_label="none", status="error")])
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    for row, result in zip(rows, results, strict=True):
        for name in ("accuracy", "accuracy_strict", "tokens_per_step", "nfe"):
            value = getattr(result, name)
            assert row[name] == ("" if value is None else repr(value))
        low = "" if result.interval is None else repr(result.interval.low)
        assert row["accuracy_low"] == low
        assert json.loads(row["statuses"]) == result.statuses
    assert {"accuracy_strict_high", "tokens_per_step_low"} < set(rows[0])


def test_no_results_make_files_without_entries():
    assert json.loads(to_json([])) == []
    assert to_csv([]).strip() == ""
