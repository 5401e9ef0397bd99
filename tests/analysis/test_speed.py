"""Speed at an accuracy by both rules, efficiency, and the figures of a whole curve."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from parallelbench.analysis.measures.speed import (
    SpeedPoint,
    areas_under,
    drawn_means,
    drawn_weights,
    interval_if_reached,
    points_of,
    published_speed_at,
    resampled_means,
    speed_at,
    speeds_at,
)
from parallelbench.analysis.measures.sweep import sweep_of
from support.fabricated import altered, fabricated_records, fabricated_sweep

shares = st.integers(0, 20).map(lambda twentieths: twentieths / 20)
curves = st.lists(
    st.builds(SpeedPoint, st.integers(1, 32).map(float), shares), min_size=1, max_size=8
)


def area_under(points, low, high):
    speeds, marks = np.array(points).reshape(1, -1, 2).transpose(2, 0, 1)
    return float(areas_under(speeds, marks, low=low, high=high)[0])


def adaptive(accuracy, *points):
    return published_speed_at(accuracy, itertools.starmap(SpeedPoint, points), adaptive=True)


def fixed(accuracy, *points):
    return published_speed_at(accuracy, itertools.starmap(SpeedPoint, points), adaptive=False)


@given(st.lists(curves.filter(len), min_size=1, max_size=4), st.lists(shares, min_size=1))
def test_many_curves_at_once_are_read_as_one_by_one(many, accuracies):
    size = min(map(len, many))
    speeds, marks = np.array([curve[:size] for curve in many]).transpose(2, 0, 1)
    found = speeds_at(np.array(accuracies), speeds, marks)
    areas = areas_under(speeds, marks, low=2.0, high=16.0)
    for row, area, curve in zip(found, areas, many, strict=True):
        # With the same speeds, what the public board reads of strategies of fixed speed.
        one_by_one = [
            published_speed_at(accuracy, curve[:size], adaptive=False) for accuracy in accuracies
        ]
        assert np.nan_to_num(row, nan=0.0) == pytest.approx(one_by_one)
        assert area == pytest.approx(area_under(curve[:size], low=2.0, high=16.0))


# The published rule (decoders.md, section 1.4)


def test_a_fixed_strategy_is_read_at_its_points_only():
    # confidence-topk of llada15: 1, 1 and 2 tokens per step at 80, 75 and 70 %.
    points = [(1.0, 0.83), (2.0, 0.72), (4.0, 0.5)]
    assert [fixed(accuracy, *points) for accuracy in (0.80, 0.75, 0.70)] == [1, 1, 2]


def test_an_adaptive_strategy_is_interpolated_in_tokens_per_step():
    # 0.9 -> 0.7 over speeds 4 -> 8: 0.8 is half the way, on a linear axis.
    assert adaptive(0.8, (4.0, 0.9), (8.0, 0.7)) == pytest.approx(6.0)


def test_of_points_with_equal_speed_the_best_is_kept():
    # DUS of llada15 has two points at speed 2: 0 at 80 %, interpolated from 1 to 2 below.
    dus = [(1.0, 0.76), (2.0, 0.2), (2.0, 0.64), (8 / 3, 0.3)]
    assert adaptive(0.80, *dus) == 0
    assert adaptive(0.75, *dus) == pytest.approx(1 + 0.01 / 0.12)
    assert adaptive(0.70, *dus) == pytest.approx(1 + 0.06 / 0.12)
    assert adaptive(0.60, *dus) == pytest.approx(2 + 0.04 / 0.34 * (8 / 3 - 2))


def test_a_first_point_below_the_accuracy_gives_0_however_near():
    # llada10 factor: 79.82 % at 3.8 tokens per step is nothing at 80 %.
    assert adaptive(0.80, (3.8, 0.7982), (5.0, 0.7)) == 0
    assert fixed(0.80, (3.8, 0.7982), (5.0, 0.7)) == 0


def test_a_last_point_above_the_accuracy_counts_as_far_as_it_goes():
    # KLASS of llada15: 3.2503 at all three accuracies.
    klass = [(2.9, 0.84), (3.2503, 0.81)]
    assert [adaptive(accuracy, *klass) for accuracy in (0.80, 0.75, 0.70)] == [3.2503] * 3


def test_of_several_downward_crossings_the_fastest_counts():
    several = [(1.0, 0.9), (2.0, 0.6), (3.0, 0.9), (5.0, 0.5), (6.0, 0.6)]
    assert adaptive(0.8, *several) == pytest.approx(3.5)
    assert fixed(0.8, *several) == 3


def test_an_upward_crossing_alone_is_read_at_the_point_it_leads_to():
    assert adaptive(0.8, (1.0, 0.5), (2.0, 0.9)) == 2


def test_an_accuracy_met_exactly_is_reached_despite_rounding():
    assert adaptive(0.8, (2.0, sum([0.1] * 8)), (4.0, 0.1)) >= 2
    assert sum([0.1] * 8) < 0.8


def test_nothing_measured_gives_0_by_the_published_rule():
    assert adaptive(0.5) == 0


@given(curves, shares)
def test_interpolation_never_lowers_a_speed(points, accuracy):
    only_points = published_speed_at(accuracy, points, adaptive=False)
    interpolated = published_speed_at(accuracy, points, adaptive=True)
    assert only_points <= interpolated <= max(point.tokens_per_step for point in points)


@given(curves, shares, shares)
def test_a_higher_accuracy_is_never_faster(points, one, other):
    low, high = sorted([one, other])
    for rule in (True, False):
        assert published_speed_at(high, points, adaptive=rule) <= published_speed_at(
            low, points, adaptive=rule
        )


@given(curves, shares, st.randoms(use_true_random=False))
def test_the_order_of_points_is_of_no_matter(points, accuracy, random):
    mixed = random.sample(points, len(points))
    assert published_speed_at(accuracy, mixed, adaptive=True) == published_speed_at(
        accuracy, points, adaptive=True
    )


def test_points_that_were_not_measured_are_left_out(make_result):
    results = [make_result(right=60, speed=2.0), make_result(right=None)]
    assert points_of(results) == [SpeedPoint(2.0, 0.6)]


# Our rule


def test_what_is_not_reached_is_absent_and_never_0():
    found = speed_at(0.9, fabricated_sweep([[1, 0, 0, 0]], [[4, 4, 4, 4]]))
    assert (found.value, found.interval, found.samples) == (None, None, 4)
    assert 0 < found.reached < 1


def test_a_strategy_is_read_at_its_settings_only():
    # Accuracies 1 and 0.5 at 1 and 2 tokens per step: 0.75 has only the first.
    curve = fabricated_sweep([[1] * 40, [1, 0] * 20], [[32] * 40, [16] * 40], name="random")
    assert speed_at(0.75, curve)[:2] == (1.0, (1.0, 1.0))
    assert speed_at(0.5, curve).value == 2.0
    assert speed_at(0.5, curve).samples == 40


def test_a_speed_is_all_canvas_tokens_over_all_calls():
    # Four samples in one call and six in 32: 320 tokens in 196 calls, and not 13.4 in the mean.
    curve = fabricated_sweep([[1] * 10], [[1] * 4 + [32] * 6])
    assert speed_at(0.9, curve).value == pytest.approx(320 / 196)


def test_samples_of_a_model_that_ends_early_count_with_what_they_wrote():
    records = fabricated_records([[1, 1]], [[8, 8]])
    counts = records[1].decoding.counts
    counts = counts.model_copy(update={"canvas_tokens": 16, "tokens_per_step": 2.0})
    records[1] = altered(records[1], counts=counts)
    assert speed_at(0.5, sweep_of(records)).value == (32 + 16) / (8 + 8)


subsets = st.integers(1, 6).flatmap(
    lambda rows: st.tuples(
        st.integers(0, 2**32 - 1),
        st.integers(1, 8),
        st.lists(st.booleans(), min_size=rows, max_size=rows).filter(any),
    )
)


@settings(max_examples=60, deadline=None)
@given(subsets)
def test_leaving_settings_out_never_raises_a_speed_or_an_area(drawn):
    seed, samples, kept = drawn
    rng = np.random.default_rng(seed)
    shape = (len(kept), samples)
    whole = fabricated_sweep(rng.choice([0, 0.5, 1, 1], shape), rng.choice([1, 2, 8, 32], shape))
    part = whole.of([s.label for s, keep in zip(whole.settings, kept, strict=True) if keep])
    weights = drawn_weights(whole, 20)
    # Doubt is as it was: what is all right was told here, as an oracle is.
    accuracies = np.arange(50, 101) / 100
    all_of_them, some = (speeds_at(accuracies, *resampled_means(e, weights)) for e in (whole, part))
    assert (np.nan_to_num(some) <= np.nan_to_num(all_of_them)).all()
    areas = [areas_under(*resampled_means(e, weights), low=1.0, high=32.0) for e in (whole, part)]
    assert (areas[1] <= areas[0] + 1e-9).all()


def test_a_speed_that_many_resamples_do_not_reach_has_their_share_and_no_interval():
    found = speed_at(0.5, fabricated_sweep([[1] * 5 + [0] * 5], [[8] * 10]))
    assert found.value == 4
    assert found.reached == pytest.approx(stats.binom(10, 0.5).sf(4), abs=0.05)
    assert found.interval is None


@pytest.mark.parametrize(("missed", "low"), [(0, 4), (2, 4), (3, None), (50, None)])
def test_resamples_that_do_not_reach_count_as_the_slowest(missed, low):
    replicates = np.full(100, 4.0)
    replicates[:missed] = np.nan
    found = interval_if_reached(replicates)
    assert found == (None if low is None else (low, 4))


def test_a_single_sample_has_no_interval():
    found = speed_at(0.5, fabricated_sweep([[1]], [[8]]))
    assert (found.value, found.interval, found.samples) == (4, None, 1)


def test_the_same_curve_gives_the_same_interval_and_another_seed_another():
    rng = np.random.default_rng(3)
    curve = fabricated_sweep(np.ones((1, 30)), rng.integers(1, 33, (1, 30)))
    assert speed_at(0.5, curve) == speed_at(0.5, curve)
    assert speed_at(0.5, curve) != speed_at(0.5, curve, seed=1)


def test_tasks_weigh_alike_whatever_their_numbers_of_samples():
    many = fabricated_records(np.ones((1, 6)), np.full((1, 6), 32))
    few = fabricated_records(np.ones((1, 2)), np.full((1, 2), 8), task_label="copy")
    # Six samples weigh as much as two: 32 + 32 tokens in 32 + 8 calls.
    assert speed_at(0.5, sweep_of(many + few)).value == pytest.approx(64 / 40)


def test_samples_that_are_all_right_leave_room_for_doubt():
    curve = fabricated_sweep(np.ones((1, 20)), np.full((1, 20), 8))
    speeds, marks = drawn_means(curve, drawn_weights(curve, 20_000))
    assert np.all(speeds == 4)
    assert marks[0] == 1
    shares = [0.005, 0.025, 0.1, 0.4]
    least = stats.beta(20.5, 0.5).ppf(shares)
    assert [np.mean(marks[1:] < each) for each in least] == pytest.approx(shares, abs=0.01)
    assert np.mean(marks[1:] == 1) == pytest.approx(0.5, abs=0.02)


def test_twenty_right_answers_do_not_prove_nine_in_ten_and_a_hundred_do():
    few, many = (fabricated_sweep(np.ones((1, n)), np.full((1, n), 8)) for n in (20, 100))
    assert speed_at(0.9, few).interval is None
    assert speed_at(0.9, many).interval == (4, 4)
    assert speed_at(0.99, many).interval is None


def test_an_oracle_is_right_because_it_is_told():
    calls = np.full((1, 5), 8)
    curve = fabricated_sweep(np.ones((1, 5)), calls, name="label", decoder_fields={})
    assert speed_at(1.0, curve).interval == (4, 4)


def test_who_is_wrong_too_often_is_hardly_ever_said_to_be_right_often_enough():
    # Seven of eight are not nine of ten, and yet fourteen are all right once in six times.
    rng = np.random.default_rng(4)
    surely = 0
    for _ in range(200):
        found = speed_at(0.9, fabricated_sweep(rng.random((1, 14)) < 7 / 8, np.full((1, 14), 8)))
        surely += found.interval is not None
    assert surely / 200 <= 0.025


def test_the_speed_interval_covers_the_truth_as_often_as_it_says():
    # Calls are 8 or 16 by a fair coin, 12 in the mean of 32 tokens, and all is right.
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(150):
        calls = rng.choice([8, 16], size=(1, 60))
        found = speed_at(0.9, fabricated_sweep(np.ones((1, 60)), calls), resamples=200)
        covered += found.interval.low <= 32 / 12 <= found.interval.high
    assert 0.89 <= covered / 150 <= 0.99


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, 80.0])
def test_an_accuracy_that_is_no_share_is_refused(accuracy):
    curve = fabricated_sweep([[1]], [[8]])
    with pytest.raises(ValueError, match=r"accuracy is a share in \[0, 1\], got"):
        speed_at(accuracy, curve)


# The whole curve


def test_area_of_a_perfect_decoder_is_the_width_of_the_range():
    points = [SpeedPoint(1.0, 1.0), SpeedPoint(32.0, 1.0)]
    assert area_under(points, low=1.0, high=32.0) == pytest.approx(5)
    assert area_under(points, low=2.0, high=16.0) == pytest.approx(3)


def test_area_below_the_slowest_point_holds_and_beyond_the_fastest_is_0():
    # 0.8 from 1 to 2, 0.4 until 4, nothing until 32.
    points = [SpeedPoint(2.0, 0.8), SpeedPoint(4.0, 0.4)]
    assert area_under(points, low=1.0, high=32.0) == pytest.approx(0.8 + 0.4)


def test_area_is_cut_inside_a_step():
    points = [SpeedPoint(1.0, 1.0), SpeedPoint(4.0, 0.5)]
    assert area_under(points, low=1.0, high=2.0) == pytest.approx(0.5)
    assert area_under(points, low=2.0, high=8.0) == pytest.approx(0.5)


def test_a_point_that_is_slower_and_worse_adds_no_area():
    assert area_under(
        [SpeedPoint(2.0, 0.1), SpeedPoint(4.0, 0.5)], low=1.0, high=4.0
    ) == pytest.approx(1)


def test_area_of_a_curve_slower_than_the_range_is_0():
    assert area_under([SpeedPoint(0.5, 1.0)], low=1.0, high=2.0) == 0


@given(curves)
def test_area_is_that_of_a_fine_sum(points):
    grid = np.linspace(0, 5, 20_001)
    shown = [np.where(grid <= math.log2(speed), mark, 0.0) for speed, mark in points]
    wanted = float(np.max(shown, axis=0).mean() * 5)
    assert area_under(points, low=1.0, high=32.0) == pytest.approx(wanted, abs=2e-3)


def test_a_range_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"0 < low < high, got low=4\.0, high=2\.0"):
        area_under([SpeedPoint(1.0, 1.0)], low=4.0, high=2.0)


def test_speeds_are_finite_or_absent():
    found = speed_at(0.0, fabricated_sweep([[0, 0]], [[1, 32]]))
    assert math.isclose(found.value, 64 / 33)
