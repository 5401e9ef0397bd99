"""Progress: the time left follows the last minute, and something is said within five seconds."""

import io
import json
import sys
import time

import pytest

from parallelbench.cli.program import main
from parallelbench.console import progress
from parallelbench.console.progress import ProgressDisplay, duration, shown
from parallelbench.evaluation import evaluate
from parallelbench.run.runner import RunProgress, following

#: Before the tests' own setting.
SOON = progress.FIRST_SECONDS


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def errors_into(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (754.0, "13 min"),
        (3597.0, "1 h 00 min"),
        (7500.0, "2 h 05 min"),
        (172_500.0, "47 h 55 min"),
        (200_000.0, "2 days 7 h"),
    ],
)
def test_a_length_of_time_is_told_in_hours_and_minutes(seconds, said):
    assert duration(seconds) == said


def test_the_time_left_follows_the_last_minute_and_not_the_whole_run(clock):
    told = ProgressDisplay(clock)
    told.begin("decoding", 10_000, "decodes")
    for _ in range(600):  # ten minutes of ten a second
        clock.now += 1
        told.advance(10)
    assert told.sentence() == "decoding: 6,000 of 10,000 decodes, 7 min left"
    for _ in range(120):  # then two of one in two seconds
        clock.now += 2
        told.advance(1)
    assert told.seconds_left() == pytest.approx(2 * 3880)
    assert told.sentence() == "decoding: 6,120 of 10,000 decodes, 2 h 09 min left"


def test_what_was_done_before_says_nothing_of_the_speed(clock):
    told = ProgressDisplay(clock)
    told.begin("decoding", 100, "decodes", done=90)
    assert told.sentence() == "decoding: 90 of 100 decodes, 0 s so far"
    clock.now += 20
    told.reach(91)
    assert told.seconds_left() == pytest.approx(9 * 20)


def test_the_speed_of_one_part_says_nothing_about_the_next(clock):
    told = ProgressDisplay(clock)
    told.begin("decoding", 30, "decodes")
    for done in range(1, 11):
        clock.now += 1
        told.reach_part(done, "fast", 15 - done)
    assert told.sentence() == "decoding: 10 of 30 decodes, 5 s left with fast; then 15 more"
    for done in range(11, 16):
        clock.now += 1
        told.reach_part(done, "fast", 15 - done)
    assert told.seconds_left() == 0
    for done in range(16, 19):
        clock.now += 100
        told.reach_part(done, "slow", 30 - done)
    assert told.seconds_left() == pytest.approx(12 * 100)
    assert told.sentence() == "decoding: 18 of 30 decodes, 20 min left"


def test_a_run_of_two_models_shows_the_time_of_the_one_at_work(clock):
    told = ProgressDisplay(clock)
    reach = following(told, 8)
    reach(RunProgress(2))
    clock.now += 10
    reach(RunProgress(3, "ideal", 1))
    assert told.sentence() == "decoding: 3 of 8 decodes, 10 s left with ideal; then 4 more"


def test_while_nothing_is_finished_the_time_left_grows(clock):
    told = ProgressDisplay(clock)
    told.begin("decoding", 20, "decodes")
    for _ in range(10):
        clock.now += 1
        told.advance()
    assert told.seconds_left() == pytest.approx(10)
    clock.now += 300
    assert told.seconds_left() == pytest.approx(10 * 310 / 10)


@pytest.mark.parametrize("behind", [0, 1, 5])
def test_a_long_step_does_not_make_minutes_days(clock, behind):
    told = ProgressDisplay(clock)
    told.begin("verifying", 20_000, "records")
    for _ in range(1000):
        clock.now += 0.1
        told.advance()
    clock.now += 90
    told.advance(behind)
    # Ninety seconds for next to nothing, and then as fast as before or not at all.
    assert 1900 < told.seconds_left() < 12 * 3600


def test_work_that_ends_in_bursts_is_told_by_the_last_of_them(clock):
    told = ProgressDisplay(clock)
    told.begin("decoding", 20_000, "decodes")
    for seconds in (30, 30, 200, 200):
        clock.now += seconds
        for _ in range(500):
            told.advance()
    assert told.seconds_left() == pytest.approx(18_000 * 200 / 500)


def test_a_stage_that_cannot_be_counted_says_how_long_it_takes(clock):
    told = ProgressDisplay(clock)
    told.begin("loading mini")
    clock.now += 95
    assert told.sentence() == "loading mini, 2 min so far"


def test_few_points_of_the_past_are_kept(clock):
    told = ProgressDisplay(clock)
    told.begin("decoding", 10**6)
    for _ in range(10_000):
        clock.now += 0.05
        told.advance()
    assert len(told._points) < 150
    assert told.seconds_left() == pytest.approx((10**6 - 10_000) * 0.05, rel=0.01)


def test_without_a_terminal_a_line_is_told_soon_and_then_now_and_again(monkeypatch):
    assert SOON < 3
    assert 30 <= progress.LINE_SECONDS <= 60
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    stream = errors_into(monkeypatch, io.StringIO())
    with shown("loading") as told:
        until(lambda: stream.getvalue().count("\n") >= 2)
        told.begin("decoding", 9, "decodes", done=3)
        until(lambda: "decoding" in stream.getvalue())
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["loading, 0 s so far"] * 2
    assert lines[-1] == "decoding: 3 of 9 decodes, 0 s so far"
    time.sleep(0.1)
    assert stream.getvalue().splitlines() == lines


def test_what_takes_no_time_says_nothing(monkeypatch):
    stream = errors_into(monkeypatch, io.StringIO())
    with shown("loading"):
        pass
    assert stream.getvalue() == ""


def test_a_reader_that_went_away_ends_no_work(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    errors_into(monkeypatch, Gone())
    with shown("loading"):
        time.sleep(0.05)


def test_a_terminal_shows_a_bar_that_goes(monkeypatch):
    stream = errors_into(monkeypatch, Terminal())
    with shown("verifying mini") as told:
        told.begin("verifying mini", 200, "records", done=50)
        until(lambda: "50 of 200 records" in stream.getvalue())
    assert stream.getvalue().endswith("\x1b[2K")


def until(holds):
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


# Who shows it.


@pytest.fixture
def at_once(monkeypatch):
    """The first line is told at once."""
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)


def test_an_evaluation_shows_its_progress_and_can_be_silenced(at_once, capsys):
    asked = {"tasks": "waiting_line/shuffle", "decoders": "one_by_one", "samples": 9}
    evaluate(**asked)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("loading ideal, 0 s so far\n")
    evaluate(**asked, progress=False)
    assert capsys.readouterr() == ("", "")


def test_verbs_show_their_progress_and_leave_stdout_to_results(
    at_once, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    asked = ("--tasks", "waiting_line/shuffle", "--samples", "9", "--decoders", "one_by_one")
    assert main(("run", *asked, "--out", "part", "--shard", "1/1")) == 0
    capsys.readouterr()
    for command, said in (
        (("run", *asked, "--out", "one", "--json"), ["loading ideal", "reading one"]),
        (("report", "one", "--json"), ["reading one"]),
        (("compare", "one", "one", "--json"), ["comparing one with one"]),
        (("merge", "part", "--out", "two", "--json"), ["merging 1 shards into two"]),
    ):
        assert main(command) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)
        for sentence in said:
            assert f"\n{sentence}, 0 s so far\n" in f"\n{captured.err}", command
