"""Measured speed: what is counted, what adds up, and what stays absent."""

import json
import time

import pytest

from parallelbench.cli.program import main
from parallelbench.decode.loop import Tally
from parallelbench.errors import RecordsError
from parallelbench.evaluation import evaluate
from parallelbench.results.result import average_over_tasks
from parallelbench.results.throughput import throughput_of, throughput_of_settings
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import Finished, measured_by, run
from parallelbench.run.stopwatch import Stopwatch

CITY = {"models": "ideal", "tasks": "choices/city", "samples": 20}
TWO = {**CITY, "decoders": "random:k=8|32"}


def finished(model="ideal", task="city", decoder="random", tokens=5, error=None):
    return Finished((model, task, 0, decoder, 0), "", error, tokens)


def timed(events, *, models=("ideal",), in_turn=True):
    """Spans of decodes that arrive after so many seconds, with so many calls of two rows each."""
    clock, tally = [100.0], Tally()
    stopwatch = Stopwatch(models, tally, in_turn=in_turn, clock=lambda: clock[0])
    clock[0] += 50.0  # loading

    def arriving():
        for seconds, calls, each in events:
            clock[0] += seconds
            for _ in range(calls):
                tally.sent += 2
                tally.add_call(seconds / 4)
            yield each

    assert list(measured_by(stopwatch, arriving())) == [each for *_, each in events]
    return stopwatch.spans()


def environment(*spans, **changes):
    models = {"ideal": {"device": "cpu"}, "mini": {"device_name": "A GPU", "dtype": "float16"}}
    return {"batch_size": 4, "cores": 2, "models": models, "decoding": list(spans), **changes}


# What is measured


def test_time_and_calls_belong_to_the_model_whose_record_they_led_to():
    ideal, mini = timed(
        [
            (2.0, 3, finished()),
            (1.0, 1, finished(decoder="wino")),
            (8.0, 5, finished("mini", tokens=7)),
        ],
        models=("ideal", "mini"),
    )
    assert (ideal["models"], ideal["seconds"], ideal["calls"]) == (["ideal"], 3.0, 4)
    assert (ideal["decodes"], ideal["answer_tokens"], ideal["settings"]) == (2, 10, 2)
    assert (mini["models"], mini["seconds"], mini["calls"], mini["rows"]) == (["mini"], 8.0, 5, 10)
    assert (mini["decodes"], mini["answer_tokens"], mini["decoder"]) == (1, 7, "random")


def test_models_that_workers_decode_at_the_same_time_share_one_span():
    (span,) = timed(
        [(2.0, 1, finished()), (1.0, 1, finished("mini"))],
        models=("ideal", "mini"),
        in_turn=False,
    )
    assert (span["models"], span["seconds"], span["decodes"]) == (["ideal", "mini"], 3.0, 2)
    (both,) = throughput_of([environment(span, workers=2)])
    assert str(both).startswith("ideal, mini: measured 0.667 decodes and 3.33 answer tokens per")
    assert not throughput_of_settings([environment(span)])


def test_an_error_takes_time_and_is_no_finished_decode():
    (span,) = timed([(2.0, 1, finished(error="it broke", tokens=None)), (2.0, 1, finished())])
    assert (span["seconds"], span["decodes"], span["answer_tokens"]) == (4.0, 1, 5)


def test_tokens_that_a_server_did_not_count_are_absent_and_its_calls_are_replies():
    (span,) = timed([(2.0, 0, finished(tokens=3)), (2.0, 0, finished(tokens=None))])
    models = {"ideal": {"concurrency": 8}}
    (server,) = throughput_of(
        [environment({**span, "calls": 2, "call_seconds": 6.0}, models=models)]
    )
    assert server.answer_tokens_per_second is None
    assert server.decodes_per_second == 0.5
    assert server.seconds_per_call == 3.0
    assert server.rows_per_call is None
    assert "measured 0.500 decodes per second on a server (8 requests at a time)" in str(server)
    assert str(server).endswith("3.00 s per reply")


def test_the_sentence_says_machine_batch_and_that_the_time_was_shared():
    events = [(2.0, 3, finished("mini")), (2.0, 1, finished("mini", decoder="wino"))]
    (span,) = timed(events, models=("mini",))
    (mini,) = throughput_of([environment(span)])
    assert str(mini) == (
        "mini: measured 0.500 decodes and 2.50 answer tokens per second on A GPU (float16, batch "
        "size 4); 2 decodes in 4.00 s, 500 ms per model call of 2.00 rows; measured over 2 "
        "settings together, not the speed of a single one"
    )


def test_overlapping_times_of_decodes_are_never_added_up():
    began = time.perf_counter()
    evaluation = evaluate(tasks="choices/city", decoders="random:k=8|32", samples=20)
    passed = time.perf_counter() - began
    (measured,) = evaluation.throughput
    assert measured.decodes == 40
    assert measured.answer_tokens == sum(
        r.decoding.counts.answer_tokens for r in evaluation.records
    )
    assert 0 < measured.call_seconds < measured.seconds < passed
    assert measured.decodes_per_second > 40 / passed
    assert 1 <= measured.calls <= 4
    assert measured.conditions.device == "cpu"
    assert measured.conditions.batch_size == 512
    # What results used to add up: each decode waits for the others of its batch.
    assert sum(record.seconds for record in evaluation.records) > measured.seconds


# What adds up


def interrupted(folder, after):
    """Begin the run of two settings, and break it off after some records."""

    def stop(reached):
        if reached.recorded == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_runfile(TWO), folder, batch_size=4, progress=stop)


def test_sessions_of_a_continued_run_add_up(tmp_path):
    interrupted(tmp_path, after=13)
    first, *_ = RunDirectory.open(tmp_path).throughput()
    assert (first.decodes, first.sessions) == (13, 1)
    directory = run(make_runfile(TWO), tmp_path, batch_size=4)
    whole, *_ = directory.throughput()
    assert (whole.decodes, whole.sessions) == (40, 2)
    assert whole.seconds > first.seconds
    # Another batch size is another speed.
    other = {**directory.environments()[0], "batch_size": 8}
    assert len(throughput_of([*directory.environments(), other])) == 2


def test_a_long_session_is_noted_while_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("parallelbench.run.runner._NOTED_EVERY", 0.0)
    seen = []

    def look(_):
        seen.append(sum(each.decodes for each in RunDirectory.open(tmp_path).throughput()))

    run(make_runfile({**CITY, "samples": 3, "decoders": "random:k=32"}), tmp_path, progress=look)
    assert seen == [0, 0, 1, 2]


@pytest.mark.parametrize(
    "altered",
    [[{"models": ["ideal"]}], {"seconds": 1}, [{"seconds": float("nan")}], "fast", 3, None],
)
def test_an_altered_measurement_is_refused_in_a_sentence(altered):
    with pytest.raises(RecordsError, match=r"environment\.json was altered: its entry 'decoding'"):
        throughput_of([{"decoding": altered}])


# What belongs to one setting


def test_a_setting_has_a_speed_of_its_own_only_where_it_was_decoded_alone(tmp_path):
    shared = evaluate(tasks="choices/city", decoders="random:k=8|32", samples=5)
    assert [result.throughput for result in shared.results] == [None, None]
    assert shared.throughput[0].settings == 2
    (one,) = timed([(2.0, 1, finished())])
    (other,) = timed([(1.0, 1, finished(decoder="wino"))])
    assert throughput_of([environment(one), environment(other)])[0].settings == 2
    assert [each.settings for each in throughput_of_settings([environment(one)] * 2).values()] == [
        1
    ]
    alone = evaluate(tasks="choices/city", decoders="random:k=8", samples=5)
    (result,) = alone.results
    assert result.throughput == alone.throughput[0]
    assert result.as_dict()["throughput"]["decodes_per_second"] > 0
    assert json.loads(json.dumps(result.as_dict()))["throughput"]["conditions"]["device"] == "cpu"
    assert average_over_tasks(alone.results)[0].throughput is None


def test_the_tail_of_a_run_is_not_the_speed_of_its_last_setting(tmp_path):
    interrupted(tmp_path, after=39)
    directory = run(make_runfile(TWO), tmp_path, batch_size=4)
    tail = directory.environments()[1]["decoding"][0]
    assert (tail["decodes"], tail["settings"]) == (1, 1)
    evaluation = evaluate(
        tasks="choices/city", decoders="random:k=8|32", samples=20, out=tmp_path, batch_size=4
    )
    assert [result.throughput for result in evaluation.results] == [None, None]


# Where it is shown


def test_every_form_of_results_shows_it_once_and_ranks_nothing(tmp_path, capsys):
    folder = str(tmp_path / "run")
    arguments = ["--tasks", "choices/city", "--decoders", "random:k=32", "--samples", "3"]
    assert main(["run", *arguments, "--out", folder]) == 0
    printed = capsys.readouterr().out
    (measured,) = json.loads((tmp_path / "run" / "throughput.json").read_text())
    (result,) = json.loads((tmp_path / "run" / "results.json").read_text())
    assert printed.count("answer tokens per second on cpu") == 1
    assert result["throughput"] == measured
    assert measured["decodes"] == 3
    assert "seconds" not in result
    assert "decodes_per_second" in (tmp_path / "run" / "results.csv").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("Measured speed, which is never ranked.") == 1
    # A run of an earlier release was not measured: that is absent, not zero.
    directory = RunDirectory.open(tmp_path / "run")
    starts = directory.environments()
    for start in starts:
        del start["decoding"]
    directory.write_text("environment.json", json.dumps(starts))
    assert main(["report", folder]) == 0
    assert "per second" not in capsys.readouterr().out
    assert "Measured speed" not in (tmp_path / "run" / "report.html").read_text()
    (result,) = json.loads((tmp_path / "run" / "results.json").read_text())
    assert result["throughput"] is None
