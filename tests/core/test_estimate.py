"""What a run will cost: exact where it is fixed, with an honest interval where it is not."""

import dataclasses
import itertools
import json
import math
import re

import numpy as np
import pytest

from parallelbench.cli.program import main
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import Tally, decode
from parallelbench.run import runner
from parallelbench.run.calibration import Batch, CalibrationUnit, UnitCost, calibrate, order, passes
from parallelbench.run.estimate import (
    ExpectedTotal,
    cost_of,
    expected_total,
    fit_speed,
    sum_of_totals,
)
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute, prepare, run
from support.servers import Scripted, says
from support.toys import Revising, Surest, ToyNetwork, Wavering, prompts, toy_codec

FIXED = "confidence:k=1|3|8,random:k=4,left_to_right:k=2"
ADAPTIVE = "confidence_threshold:threshold=0.6,entropy_bound:bound=0.2"


def plan(**changes):
    small = {
        "models": "ideal",
        "tasks": "choices/city:canvas_length=8,list_operations/shuffle:form=infill,length=3|4",
        "decoders": FIXED,
        "samples": 6,
    }
    return make_runfile({**small, **changes})


class Clock:
    """Every look at it costs some seconds."""

    def __init__(self, tick=1.0):
        self.now = 0.0
        self.tick = tick

    def __call__(self):
        self.now += self.tick
        return self.now


def calibrated(runfile, seconds=1e9, **options):
    return list(calibrate(runfile, prepare(runfile), seconds=seconds, **options))


def estimated(runfile, seconds=1e9, **options):
    return cost_of(runfile, runfile.models[0], calibrated(runfile, seconds, **options))


def batch(passes, positions, seconds):
    seen = UnitCost(CalibrationUnit("choices/city", 0), {"random": 8}, (8,), 8, 8, float(positions))
    return Batch((seen,), passes, float(seconds))


# Which samples are decoded.


def test_every_task_is_seen_once_before_any_is_seen_twice():
    asked = plan(samples=5)
    tasks = [task.label for task in asked.tasks]
    units = list(order(asked))
    assert len(set(units)) == len(units) == 15
    for turn in range(5):
        assert [unit.task for unit in units[3 * turn : 3 * turn + 3]] == tasks


def test_tasks_begin_with_different_samples_because_lengths_take_turns():
    first = list(order(plan(samples=5)))[:3]
    assert [unit.sample for unit in first] == [0, 1, 2]


def test_batches_grow_until_two_fill_the_loop():
    asked = plan(samples=40, decoders="random:k=8", tasks="choices/city:canvas_length=8")
    sizes = [len(batch.seen) for batch in calibrated(asked, batch_size=5)]
    assert sizes == [1, 2, 4, 8, 10, 10, 5]


def test_a_calibration_keeps_to_its_time_and_begins_nothing_that_may_not_be_finished():
    asked = plan(samples=100, tasks="choices/city:canvas_length=8", decoders="random:k=4|8")
    clock = Clock()
    found = calibrated(asked, 60.0, clock=clock)
    # Each decode costs a look at the clock, and each batch a few more.
    assert all(batch.seconds == 2 * len(batch.seen) + 1 for batch in found)
    assert sum(batch.seconds for batch in found) > 0.6 * 60
    assert clock.now < 60 + 5


def test_a_batch_that_takes_too_long_is_broken_off_and_counts_for_nothing():
    clock = Clock()
    found = calibrate(plan(), prepare(plan()), seconds=8.0, clock=clock)
    assert len(next(found).seen) == 1
    clock.tick = 4.0
    assert list(found) == []
    (cut,) = calibrated(plan(), 3.0, clock=Clock())
    settings = len(plan().decoders)
    # Each decode costs a second, and the third one ends after the time.
    assert (cut.seen, cut.passes, cut.seconds, cut.needed) == ((), 0, 3.0, settings)


def test_what_is_decoded_are_the_decodes_of_the_run():
    asked = plan(repeats=2, decoders=f"{FIXED},{ADAPTIVE}")
    calls, steps = {}, {}
    for record in execute(asked):
        place = (record.task_label, record.index)
        own = calls.setdefault(place, dict.fromkeys(asked.places["decoder"], 0))
        own[record.decoder_label] += record.decoding.counts.nfe
        steps[place] = steps.get(place, 0) + record.decoding.counts.steps
    seen = [each for batch in calibrated(asked) for each in batch.seen]
    assert {tuple(each.unit): each.calls for each in seen} == calls
    assert {tuple(each.unit): sum(each.steps) for each in seen} == steps
    assert {len(each.steps) for each in seen} == {2 * len(asked.decoders)}


def test_passes_are_the_calls_that_follow_each_other_in_the_loop():
    decoders = [Surest(), Revising(), Wavering()]
    for batch_size in (1, 2, 5, 64):
        model = ToyNetwork()
        jobs = [
            Job(prompt=prompt, decoder=decoder, key=f"{index}/{place}", tag=(index, place))
            for index, prompt in enumerate(prompts(toy_codec(), 4))
            for place, decoder in enumerate(decoders)
        ]
        outcomes = list(decode(jobs, model, batch_size=batch_size, share=False))
        outcomes.sort(key=lambda outcome: outcome.job.tag)
        steps = [len(outcome.trace.rows) for outcome in outcomes]
        assert len(set(steps)) > 1
        assert passes(steps, batch_size) == len(model.calls)


# Counts.


def test_calls_of_fixed_settings_are_exact_after_a_few_samples():
    tasks = "choices/city:canvas_length=8,waiting_line/copy:length=3,canvas_length=16"
    asked = plan(samples=12, tasks=tasks, repeats=2)
    cost = estimated(asked, 80.0, clock=Clock())
    assert all(2 <= task.seen < 12 for task in cost.tasks)
    true = {}
    for record in execute(asked):
        true[record.decoder_label] = true.get(record.decoder_label, 0) + record.decoding.counts.nfe
    assert all(each.calls.exact for each in cost.decoders)
    assert {each.decoder: each.calls.value for each in cost.decoders} == true
    assert cost.total.calls == ExpectedTotal(float(sum(true.values())), 0.0, math.inf, exact=True)


def test_a_calibration_that_sees_all_of_a_run_counts_what_the_run_counts(tmp_path):
    asked = plan(decoders=f"{FIXED},{ADAPTIVE}", repeats=2)
    directory = run(asked, tmp_path / "run")
    counts = [record.decoding.counts for record in directory.records()]
    (*_, note) = directory.environments()
    total = estimated(asked).total
    assert total.calls.value == sum(each.nfe for each in counts)
    assert total.rows_asked.value == sum(each.rows for each in counts) == note["rows_asked"]
    assert total.rows_sent.value == note["rows_sent"] < note["rows_asked"]
    assert total.positions.value < sum(each.token_positions for each in counts)
    assert all(each.exact for each in (total.calls, total.rows_asked, total.rows_sent))
    assert not total.seconds.exact


def test_without_sharing_every_token_that_is_asked_for_is_sent():
    asked = plan(decoders="random:k=2")
    counts = [record.decoding.counts for record in execute(asked)]
    assert estimated(asked).total.positions.value == sum(each.token_positions for each in counts)


def test_rows_are_told_apart_by_sample_though_they_are_decoded_together():
    asked = plan(samples=2)
    for each in itertools.chain.from_iterable(batch.seen for batch in calibrated(asked)):
        tally = Tally()
        task, sample = each.unit
        alone = runner.WorkUnit(asked.models[0].label, task, range(sample, sample + 1))
        list(execute(asked, units=[alone], tally=tally))
        assert (each.rows_asked, each.rows_sent) == (tally.asked, tally.sent)


def test_a_sum_of_which_all_was_seen_is_exact_and_one_sample_says_nothing_of_the_spread():
    assert expected_total([3, 4, 8], 3) == ExpectedTotal(15.0, 0.0, exact=True)
    assert expected_total([3], 7) == ExpectedTotal(21.0, None)
    assert expected_total([3], 7, fixed=True).interval is None
    assert expected_total([3], 1).exact


def test_samples_that_agree_are_exact_only_if_the_number_is_fixed():
    fixed, adaptive = (expected_total([4, 4], 9, fixed=value) for value in (True, False))
    assert (fixed.exact, adaptive.exact) == (True, False)
    assert fixed.interval == adaptive.interval == (36, 36)
    assert not expected_total([4, 5], 9, fixed=True).exact


def test_a_sum_needs_something_observed_and_no_more_than_there_is():
    for observed in ([], [1, 2, 3]):
        with pytest.raises(ValueError, match=f"{len(observed)} samples were observed of 2"):
            expected_total(observed, 2)


def test_the_interval_covers_the_calls_of_adaptive_settings_as_often_as_it_says():
    asked = plan(
        decoders=ADAPTIVE,
        samples=40,
        tasks="choices/sum:canvas_length=8,list_operations/insert_random:form=infill,length=4",
    )
    seen = [each for batch in calibrated(asked) for each in batch.seen]
    true = sum(sum(each.calls.values()) for each in seen)
    by_task = [[each for each in seen if each.unit.task == task.label] for task in asked.tasks]
    rng = np.random.default_rng(5)
    covered = []
    for _ in range(400):
        drawn = [units[place] for units in by_task for place in rng.permutation(40)[:8]]
        calls = cost_of(asked, asked.models[0], [Batch(tuple(drawn), 1, 1.0)]).total.calls
        low, high = calls.interval
        covered.append(low <= true <= high)
        assert not calls.exact
    # Three standard errors of a share of 400.
    assert 0.95 - 0.033 < np.mean(covered) < 0.95 + 0.033


def test_sums_of_normal_values_are_covered_by_their_interval():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1000):
        values = rng.normal(50, 10, size=(2, 20))
        parts = [
            expected_total(list(row[:count]), 20) for row, count in zip(values, (6, 9), strict=True)
        ]
        low, high = sum_of_totals(parts).interval
        covered.append(low <= values.sum() <= high)
    # Three standard errors of a share of 1000.
    assert 0.95 - 0.021 < np.mean(covered) < 0.95 + 0.021


def test_a_sum_with_a_part_of_unknown_spread_has_no_interval():
    assert sum_of_totals([ExpectedTotal(1.0, 2.0, 3.0), ExpectedTotal(5.0, None)]) == ExpectedTotal(
        6.0, None
    )


# Time.


def test_the_pace_is_found_exactly_where_time_is_made_of_passes_and_tokens():
    batches = [
        batch(passes, tokens, 0.01 * passes + 2e-5 * tokens)
        for passes, tokens in ((32, 9000), (32, 20000), (40, 90000), (64, 300000))
    ]
    # The first batch warms up, however long that takes.
    speed = fit_speed([batch(32, 8000, 99.0), *batches])
    assert (speed.per_pass, speed.per_position) == pytest.approx((0.01, 2e-5))
    seconds = speed.seconds(2000, 1e7)
    assert seconds.value == pytest.approx(220)
    assert seconds.interval == pytest.approx((220, 220), abs=1e-3)


def test_with_batches_that_are_filled_alike_all_time_is_that_of_tokens():
    batches = [batch(32, 1000, 1.0), batch(32, 1000, 1.2), batch(64, 2000, 2.2)]
    speed = fit_speed([batch(32, 1000, 9.0), *batches])
    assert (speed.per_pass, speed.per_position) == (0, pytest.approx(4.4 / 4000))
    low, high = speed.seconds(10, 40000.0).interval
    assert low < 44 < high


def test_rows_of_a_network_are_padded_where_tasks_meet_which_they_do_not_in_the_run():
    tasks = "choices/city,waiting_line/shuffle:length=6"
    asked = plan(models="mini", tasks=tasks, decoders="random:k=32", samples=3)
    padding = [batch.padding for batch in calibrated(asked, batch_size=2)]
    assert padding[0] == 1 < padding[1] < 2
    slow, padded = (Batch(batch(10, 500, 2.0).seen, 10, 2.0, share) for share in (1.0, 1.25))
    assert fit_speed([slow]).per_position == 1.25 * fit_speed([padded]).per_position
    assert {batch.padding for batch in calibrated(plan())} == {1.0}


def test_a_single_batch_gives_a_pace_and_no_interval():
    speed = fit_speed([batch(10, 500, 2.0)])
    assert speed.seconds(0, 1000.0) == ExpectedTotal(4.0, None)
    with pytest.raises(ValueError, match="at least one batch"):
        fit_speed([])


def test_neither_a_pass_nor_a_token_takes_less_than_no_time():
    batches = [batch(10, 1000, 1.0), batch(10, 10000, 10.0), batch(20, 30000, 31.0)]
    speed = fit_speed([batches[0], *batches])
    assert speed.per_pass == 0 < speed.per_position


def test_the_interval_of_a_time_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(500):
        batches = []
        for passes_, tokens in [(32, 8e3), (32, 2e4), (32, 4e4), (32, 9e4), (64, 2e5), (64, 2e5)]:
            noise = rng.normal(0, 1e-3 * math.sqrt(tokens))
            batches.append(batch(passes_, tokens, 0.01 * passes_ + 1e-4 * tokens + noise))
        low, high = fit_speed([batches[0], *batches]).seconds(1000, 1e6).interval
        covered.append(low <= 0.01 * 1000 + 1e-4 * 1e6 + rng.normal(0, 1) <= high)
    assert 0.91 < np.mean(covered) < 0.985


def test_a_short_calibration_foretells_the_time_of_the_run():
    """The clock is the work itself, so that no other load disturbs it."""
    asked = plan(
        samples=40,
        decoders="confidence_threshold:threshold=0.6",
        tasks="list_operations/shuffle:form=infill,length=3|4,choices/sum:canvas_length=8",
    )
    parts = prepare(asked)
    (_, model) = parts.models[0]
    work = Clock(0.0)
    predict = model.predict

    def slow(rows):
        work.now += 0.05 + 2e-5 * sum(model.compute_cost(row).tokens for row in rows)
        return predict(rows)

    model.predict = slow
    found = list(calibrate(asked, parts, seconds=4.0, batch_size=30, clock=work))
    assert work.now < 4.5
    speed = fit_speed(found)
    assert (speed.per_pass, speed.per_position) == pytest.approx((0.05, 2e-5))
    expected = cost_of(asked, asked.models[0], found, batch_size=30).total.seconds
    work.now = 0.0
    assert len(list(execute(asked, parts=parts, batch_size=30))) == asked.decodes
    assert expected.value == pytest.approx(work.now, rel=0.1)
    # From batches that are nearly empty, as the first ones are, it would be far from it.
    naive = found[1].seconds / len(found[1].seen) * 120
    assert naive > 1.5 * work.now


def test_the_time_of_a_model_is_divided_among_its_tasks_by_their_tokens():
    cost = estimated(plan(), 60.0, clock=Clock())
    parts = [task.cost for task in cost.tasks]
    assert math.fsum(part.seconds.value for part in parts) == pytest.approx(cost.seen.seconds.value)
    rates = [part.seconds.value / part.positions.value for part in parts]
    assert rates == pytest.approx([rates[0]] * 3)


# What is unknown.


def test_a_task_that_was_not_seen_is_unknown_and_not_zero():
    asked = plan()
    cost = estimated(asked, 8.0, clock=Clock())
    first, *others = cost.tasks
    assert (first.seen, first.cost is None) == (1, False)
    assert [(task.seen, task.cost) for task in others] == [(0, None)] * 2
    assert cost.unseen == [task.label for task in asked.tasks[1:]]
    assert cost.total is None
    assert cost.seen.calls.value == first.cost.calls.value
    # One task of three was seen: the others are taken to be like it, with no claim of how near.
    assert cost.assumed.calls == ExpectedTotal(3 * first.cost.calls.value, None)
    assert cost.assumed.seconds.interval is None
    assert [each.decodes for each in cost.decoders] == [6] * 5


def test_if_nothing_was_seen_nothing_is_known():
    told = json.loads(json.dumps(cost_of(plan(), plan().models[0], []).as_dict()))
    assert told["decodes"] == plan().decodes
    assert told["total"] is told["seen_tasks"] is told["assumed_total"] is None
    assert [task["cost"] for task in told["tasks"]] == [None] * 3
    assert {each["calls"] for each in told["decoders"]} == {None}


# The verb.


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Estimate in an empty folder, in which nothing may be left."""
    monkeypatch.chdir(tmp_path)

    def estimate(*arguments):
        capsys.readouterr()
        before = sorted(tmp_path.rglob("*"))
        status = main(["estimate", *map(str, arguments)])
        assert sorted(tmp_path.rglob("*")) == before
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return estimate


@pytest.fixture
def three_batches(monkeypatch):
    """A calibration ends after three batches, which is after seven samples."""
    from parallelbench.run import calibration

    honest = calibration.calibrate

    def few(*arguments, **options):
        return itertools.islice(honest(*arguments, **options), 3)

    monkeypatch.setattr(calibration, "calibrate", few)


SMALL = ("--tasks", "choices/city", "--decoders", "random:k=4,confidence_threshold")


def test_the_table_says_what_is_exact_and_what_is_not(call, three_batches):
    status, output, errors = call(*SMALL, "--samples", 400)
    assert (status, errors) == (0, "ideal: decoding samples for up to 30 s\n")
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert lines["random:k=4"][1:] == ["8.0", "3,200", "exact"]
    assert lines["choices/city"][2].startswith("~")
    assert "7 of 400 samples (1.8 %) were decoded" in output
    assert "all of the run: 800 decodes, about " in output
    assert max(map(len, output.splitlines())) <= 100


def test_json_says_all_of_it(call):
    status, output, _ = call(*SMALL, "--samples", 3, "--repeats", 2, "--json")
    told = json.loads(output)
    (model,) = told["models"]
    assert (status, told["decodes"]) == (0, 12)
    assert model["total"] == model["seen_tasks"] == model["assumed_total"]
    assert set(model["total"]) == {"calls", "rows_asked", "rows_sent", "positions", "seconds"}
    assert model["unseen_tasks"] == []
    assert model["decoders"][0]["decoder"] == "random:k=4"
    assert model["decoders"][0]["calls"] == {"value": 48, "interval": [48, 48], "exact": True}
    assert model["tasks"][0]["seen"] == model["tasks"][0]["samples"] == 3
    assert told["seconds"]["value"] == pytest.approx(model["total"]["seconds"]["value"])


def test_a_run_file_and_options_mean_what_they_mean_to_run(call, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "models: ideal\ntasks: choices/*\ndecoders: random:k=8\nsamples: 50\n"
    )
    _, output, _ = call("mine.yaml", "--tasks", "choices/city", "--samples", 4, "--json")
    told = json.loads(output)
    assert told["decodes"] == 4
    assert [task["task"] for task in told["models"][0]["tasks"]] == ["choices/city"]


def test_tasks_that_were_not_seen_are_named(call):
    tasks = ("--tasks", "choices/*", "--decoders", "random:k=4|8")
    status, output, _ = call(*tasks, "--samples", 2, "--seconds", 1e-9)
    assert status == 0
    assert "no sample was finished, so the cost is unknown: the first takes about" in output
    assert re.search(r"give at least --seconds \d+, and about \d+ for a sample of each", output)
    assert "24 decodes, how long it takes is unknown" in output


def test_a_time_that_is_too_short_for_all_tasks_still_gives_a_figure(call, monkeypatch):
    from parallelbench.run import calibration

    original = calibration.calibrate

    def slowly(*args, **named):
        return original(*args, **{**named, "clock": Clock(), "seconds": 8.0})

    monkeypatch.setattr(calibration, "calibrate", slowly)
    tasks = ("--tasks", "choices/*", "--decoders", "random:k=4|8")
    _, output, _ = call(*tasks, "--samples", 2)
    assert "24 decodes, about " in output
    assert output.endswith("(if the tasks that were not reached cost as much as the others)\n")


def test_a_server_is_not_asked_anything(call):
    with Scripted(says("New York")) as server:
        model = f"api:{server.url}:model=m"
        options = ("--model", model, "--model", "ideal", *SMALL, "--samples", 4)
        status, output, _ = call(*options, "--json")
        assert (status, server.requests) == (0, [])
        (served, ideal) = json.loads(output)["models"]
        assert (served["requests"], served["decodes"], served["total"]) == (4, 4, None)
        assert ideal["total"] is not None
        assert json.loads(output)["seconds"] is None
        _, output, _ = call(*options)
    assert "4 requests: a server decodes by itself, so calls and time are unknown" in output
    assert server.requests == []


def test_an_interruption_ends_with_what_was_known_by_then(call, monkeypatch):
    from parallelbench.run import calibration

    honest = calibration.calibrate

    def interrupted(*arguments, **options):
        yield from itertools.islice(honest(*arguments, **options), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration, "calibrate", interrupted)
    status, output, errors = call(*SMALL, "--samples", 20)
    assert status == 130
    assert "3 of 20 samples" in output
    assert errors.splitlines()[-1] == "parallelbench: interrupted; this is what was known by then"


def test_decodes_that_end_in_an_error_are_told(call, monkeypatch):
    from parallelbench.decoder import DECODERS

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Broken(Surest):
        def choose(self, step):
            raise ZeroDivisionError("no such luck")

    monkeypatch.setitem(DECODERS._entries, "broken", Broken)
    status, output, _ = call("--tasks", "choices/city", "--decoders", "broken", "--samples", 2)
    assert status == 0
    assert "2 decodes ended in an error; the first: ZeroDivisionError: no such luck" in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--seconds", "0"), "it must be a number above 0, got 0"),
        (("--seconds", "-3"), "it must be a number above 0, got -3"),
        (("--seconds", "nan"), "it must be a number above 0, got nan"),
        (("--seconds", "inf"), "it must be a number above 0, got inf"),
        (("--seconds", "long"), "'long' is not a valid float"),
        (("--tasks", "choices/citi"), "no task is called 'choices/citi'; did you mean 'choices/"),
        (("--decoders", "confidence:k=0"), "k must be at least 1 token per step, got 0"),
        (("--samples", "0"), "it must be 1 to 10,000,000, got 0"),
        (("--tasks", "choices/city:canvas_length=1"), "takes 2 tokens, but the canvas has 1"),
        (("missing.yaml",), "there is no run file missing.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_run_refuses_is_refused_with_the_same_sentence(call, arguments, sentence):
    status, output, errors = call(*SMALL, "--samples", 2, *arguments)
    assert (status, output) == (2, "")
    assert len(errors.splitlines()) == 1
    assert sentence in errors
