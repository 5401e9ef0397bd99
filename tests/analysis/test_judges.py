"""Corrected pass rates: what simulated judges with known error rates leave of the truth."""

import csv
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parallelbench.analysis.figures.coverage import (
    JUDGES,
    RATES,
    REPETITIONS,
    SimulatedJudge,
    coverage_figure,
    simulate_judges,
)
from parallelbench.analysis.judging.judges import (
    Calibration,
    JudgedSystem,
    JudgeError,
    calibration_needed,
    corrected_difference,
    corrected_rate,
    coverage,
)
from parallelbench.cli.program import main
from parallelbench.results.intervals import percentile_interval, wilson

FAIR = Calibration(good_passed=90, good_count=100, bad_failed=80, bad_count=100)


@pytest.fixture(scope="module")
def rows():
    return simulate_judges()


# Coverage


def test_in_2000_repetitions_intervals_of_corrected_rates_hold_the_truth_95_times_in_100(rows):
    assert len(rows) == len(JUDGES) * len(RATES)
    for row in rows:
        assert row.repetitions == REPETITIONS == 2000
        assert 0.93 <= row.corrected <= 0.97, row


def test_intervals_of_raw_rates_do_not_but_where_the_errors_happen_to_cancel(rows):
    for row in rows:
        bias = abs(row.sensitivity * row.rate + (1 - row.specificity) * (1 - row.rate) - row.rate)
        assert row.raw < 0.93 or bias < 0.015, row
    assert sum(row.raw < 0.5 for row in rows) > len(rows) / 2


def test_corrected_rates_are_right_on_average_and_raw_ones_are_not(rows):
    for row in rows:
        told = row.sensitivity * row.rate + (1 - row.specificity) * (1 - row.rate)
        assert row.raw_mean == pytest.approx(told, abs=0.005)
        assert row.corrected_mean == pytest.approx(row.rate, abs=0.02)


def test_more_replies_do_not_mend_a_raw_rate():
    few, many = (coverage(0.6, (0.9, 0.8), (count, 100, 100)) for count in (200, 20_000))
    assert many.raw < 0.1 < few.raw
    assert 0.93 <= many.corrected <= 0.97


@pytest.mark.parametrize(("good", "bad"), [(30, 30), (200, 50), (50, 400)])
def test_few_and_unequal_calibration_examples_cover_as_well(good, bad):
    for rate in (0.2, 0.5, 0.8):
        assert 0.93 <= coverage(rate, (0.85, 0.75), (300, good, bad)).corrected <= 0.98


def test_at_the_ends_of_the_scale_intervals_hold_the_truth_at_least_so_often():
    for rate in (0.0, 1.0):
        assert coverage(rate, (0.9, 0.8), (200, 100, 100)).corrected >= 0.94


def test_the_interval_of_a_difference_covers_with_one_judge_and_with_two():
    rng = np.random.default_rng(3)
    se, sp, count, examples, rates = 0.85, 0.75, 300, 80, (0.7, 0.5)
    held = {True: 0, False: 0}
    for _ in range(400):
        passed = [rng.binomial(count, se * p + (1 - sp) * (1 - p)) for p in rates]
        one, two = (
            Calibration(rng.binomial(examples, se), examples, rng.binomial(examples, sp), examples)
            for _ in range(2)
        )
        for same, other in ((True, one), (False, two)):
            found = corrected_difference(
                JudgedSystem(passed[0], count, one),
                JudgedSystem(passed[1], count, other),
                same_judge=same,
            )
            held[same] += found.interval.low <= 0.2 <= found.interval.high
    assert 0.92 <= held[True] / 400 <= 0.98
    assert 0.92 <= held[False] / 400 <= 0.98


# Estimates


def test_a_judge_that_is_right_four_times_in_five_reports_a_fifth_and_three_fifths_of_the_truth():
    judge = Calibration(8000, 10_000, 8000, 10_000)
    for share in (0.0, 0.25, 0.5, 1.0):
        passed = round(1000 * (0.2 + 0.6 * share))
        assert corrected_rate(passed=passed, count=1000, calibration=judge).value == pytest.approx(
            share
        )


def test_a_rate_below_what_bad_replies_alone_would_give_is_0_and_above_good_ones_1():
    assert corrected_rate(passed=10, count=200, calibration=FAIR).value == 0.0
    assert corrected_rate(passed=199, count=200, calibration=FAIR).value == 1.0


counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, counts, counts)
def test_a_corrected_rate_lies_in_its_interval_and_the_interval_in_0_to_1(judged, good, bad):
    assume(good[0] / good[1] + bad[0] / bad[1] > 1.01)
    rate = corrected_rate(passed=judged[0], count=judged[1], calibration=Calibration(*good, *bad))
    assert 0 <= rate.interval.low <= rate.value <= rate.interval.high <= 1
    assert rate.raw.value == judged[0] / judged[1]
    assert rate.raw.interval == wilson(*map(float, judged))


def test_with_a_judge_that_never_errs_the_interval_is_nearly_that_of_the_raw_rate():
    perfect = Calibration(10**7, 10**7, 10**7, 10**7)
    rate = corrected_rate(passed=130, count=200, calibration=perfect)
    assert rate.value == pytest.approx(0.65)
    assert rate.interval == pytest.approx(rate.raw.interval, abs=0.003)


def test_with_many_examples_the_interval_is_that_of_the_delta_method():
    judge = Calibration(9000, 10_000, 16_000, 20_000)
    rate = corrected_rate(passed=12_000, count=20_000, calibration=judge)
    se, sp, q, p = 0.9, 0.8, 0.6, rate.value
    variance = q * (1 - q) / 20_000 + p**2 * se * (1 - se) / 10_000
    variance += (1 - p) ** 2 * sp * (1 - sp) / 20_000
    half = 1.959964 * math.sqrt(variance) / (se + sp - 1)
    assert rate.interval == pytest.approx((p - half, p + half), abs=3e-4)


def test_the_bootstrap_agrees():
    rng, draws = np.random.default_rng(0), 20_000
    q = rng.binomial(500, 0.6, draws) / 500
    se, sp = rng.binomial(200, 0.9, draws) / 200, rng.binomial(300, 0.8, draws) / 300
    referee = percentile_interval(((q + sp - 1) / (se + sp - 1)).clip(0, 1))
    rate = corrected_rate(passed=300, count=500, calibration=Calibration(180, 200, 240, 300))
    assert rate.interval == pytest.approx(referee, abs=0.012)


def test_the_fewer_the_calibration_examples_the_wider_the_interval():
    widths = []
    for times in (1, 4, 40):
        judge = Calibration(9 * times, 10 * times, 8 * times, 10 * times)
        interval = corrected_rate(passed=120, count=200, calibration=judge).interval
        widths.append(interval.high - interval.low)
    assert widths[0] > widths[1] > widths[2] > 0.15


def test_where_the_judge_may_be_no_better_than_chance_nothing_is_excluded():
    rate = corrected_rate(passed=120, count=200, calibration=Calibration(4, 6, 3, 6))
    assert rate.interval == (0.0, 1.0)


def test_one_judge_compares_two_systems_more_sharply_than_two_judges():
    first, second = JudgedSystem(140, 200, FAIR), JudgedSystem(100, 200, FAIR)
    same = corrected_difference(first, second, same_judge=True)
    two = corrected_difference(first, second, same_judge=False)
    assert same.value == two.value == pytest.approx(0.2 / 0.7)
    assert same.raw == pytest.approx(0.2)
    assert two.interval.low < same.interval.low
    assert same.interval.high < two.interval.high


def test_a_lenient_judge_makes_the_worse_system_look_better_until_it_is_corrected():
    strict, lenient = Calibration(80, 100, 98, 100), Calibration(99, 100, 50, 100)
    better, worse = JudgedSystem(560, 1000, strict), JudgedSystem(750, 1000, lenient)
    found = corrected_difference(better, worse, same_judge=False)
    assert found.raw < 0 < found.interval.low < found.value


# How much to label


@pytest.mark.parametrize("width", [0.2, 0.3])
def test_so_many_examples_as_are_needed_give_the_wished_width_and_fewer_do_not(width):
    seen = Calibration(900, 1000, 800, 1000)
    needed = calibration_needed(width, seen, JudgedSystem(360, 600, seen))
    assert needed.judged == 600

    def width_with(good, bad):
        judge = Calibration(round(0.9 * good), good, round(0.8 * bad), bad)
        low, high = corrected_rate(passed=360, count=600, calibration=judge).interval
        return high - low

    assert width_with(needed.good, needed.bad) == pytest.approx(width, abs=0.006)
    assert width_with(needed.good // 2, needed.bad // 2) > width + 0.006


def test_examples_are_shared_out_so_that_their_sum_is_least():
    seen = Calibration(900, 1000, 800, 1000)
    judged = JudgedSystem(360, 600, seen)
    needed = calibration_needed(0.15, seen, judged)
    total = needed.good + needed.bad

    def width_with(good):
        judge = Calibration(round(0.9 * good), good, round(0.8 * (total - good)), total - good)
        low, high = corrected_rate(passed=360, count=600, calibration=judge).interval
        return high - low

    assert width_with(needed.good) < width_with(needed.good // 3)
    assert width_with(needed.good) < width_with(needed.good + needed.bad // 2)


def test_a_width_that_the_judged_replies_do_not_allow_says_how_many_would():
    needed = calibration_needed(0.05, FAIR, JudgedSystem(120, 200, FAIR))
    assert (needed.good, needed.bad) == (None, None)
    perfect = Calibration(9 * 10**6, 10**7, 8 * 10**6, 10**7)
    for count, enough in ((needed.judged + 20, True), (needed.judged - 200, False)):
        rate = corrected_rate(passed=round(0.6 * count), count=count, calibration=perfect)
        assert (rate.interval.high - rate.interval.low <= 0.05) == enough


def test_without_verdicts_the_examples_suffice_at_any_pass_rate():
    needed = calibration_needed(0.2, FAIR)
    assert needed.judged is None
    judge = Calibration(round(0.9 * needed.good), needed.good, round(0.8 * needed.bad), needed.bad)
    for share in (0.2, 0.5, 0.8):
        passed = round(10**6 * (0.9 * share + 0.2 * (1 - share)))
        low, high = corrected_rate(passed=passed, count=10**6, calibration=judge).interval
        assert high - low < 0.21


# Refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((0, 0, 5, 10), "has no good example"),
        ((5, 10, 0, 0), "has no bad example"),
        ((11, 10, 5, 10), "good examples that passed: 11 of 10"),
        ((5, 10, -1, 10), "bad examples that failed: -1 of 10"),
    ],
)
def test_a_calibration_of_one_class_or_of_no_shares_is_refused(fields, message):
    with pytest.raises(JudgeError, match=message):
        Calibration(*fields)


@pytest.mark.parametrize("fields", [(50, 100, 50, 100), (20, 100, 30, 100)])
def test_a_judge_no_better_than_chance_corrects_nothing(fields):
    judge = Calibration(*fields)
    with pytest.raises(JudgeError, match="does not distinguish them"):
        corrected_rate(passed=1, count=2, calibration=judge)
    with pytest.raises(JudgeError, match="does not distinguish them"):
        calibration_needed(0.1, judge)


def test_what_is_no_share_or_no_width_is_refused():
    with pytest.raises(JudgeError, match="replies that passed: 3 of 2"):
        corrected_rate(passed=3, count=2, calibration=FAIR)
    with pytest.raises(JudgeError, match=r"width must lie in \(0, 1\)"):
        calibration_needed(5.0, FAIR)


def test_one_judge_with_two_calibrations_is_refused():
    first, second = JudgedSystem(1, 2, FAIR), JudgedSystem(1, 2, Calibration(80, 100, 80, 100))
    with pytest.raises(JudgeError, match="one calibration set"):
        corrected_difference(first, second, same_judge=True)


# The picture


def test_the_picture_is_made_by_a_command_with_its_data(rows, tmp_path, capsys):
    assert main(["judge", "--figure", str(tmp_path)]) == 0
    files = {"judges.csv", "judges.svg", "judges-dark.svg", "judges.png"}
    assert {path.name for path in tmp_path.iterdir()} == files
    told = list(csv.DictReader((tmp_path / "judges.csv").read_text().splitlines()))
    assert [float(line["corrected"]) for line in told] == [row.corrected for row in rows]


def test_the_picture_has_a_column_for_every_judge_and_the_lines_hold_the_numbers():
    rows = [
        SimulatedJudge(se, sp, rate, 0.5, 0.95, 0.4, rate, 2000)
        for se, sp, _ in JUDGES
        for rate in RATES
    ]
    figure = coverage_figure(rows)
    assert len(figure.axes) == 2 * len(JUDGES)
    for axes in figure.axes[len(JUDGES) :]:
        assert set(axes.lines[1].get_ydata()) == {0.5}
        assert set(axes.lines[2].get_ydata()) == {0.95}
