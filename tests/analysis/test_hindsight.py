"""Choosing the setting afterwards: by hand, and beyond every setting under any records."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from parallelbench.analysis.measures.hindsight import frontier_of, sweep_oracle, threshold_oracle
from parallelbench.analysis.measures.sweep import IncompleteSweepError, sweep_of
from parallelbench.results.result import average_over_tasks, summarize
from support.fabricated import fabricated_record, fabricated_records, fabricated_sweep

LOW, HIGH = "confidence_threshold:threshold=0.5", "confidence_threshold:threshold=0.9"


def by_hand():
    """Sample 0 is right with both, sample 1 with the slow one, sample 2 with neither."""
    cells = {
        (LOW, 0): (1.0, 2),
        (LOW, 1): (0.0, 2),
        (LOW, 2): (0.0, 4),
        (HIGH, 0): (1.0, 16),
        (HIGH, 1): (1.0, 8),
        (HIGH, 2): (0.0, 16),
    }
    return [
        fabricated_record(decoder, index, right, nfe=nfe)
        for (decoder, index), (right, nfe) in cells.items()
    ]


def test_the_threshold_oracle_takes_the_fewest_steps_among_the_best():
    (point,) = threshold_oracle(by_hand())
    assert point.accuracy == pytest.approx(2 / 3)
    assert point.tokens_per_step == pytest.approx((16 + 4 + 8) / 3)
    assert point.nfe == pytest.approx((2 + 8 + 4) / 3)
    assert (point.decoder_label, point.oracle, point.samples) == ("threshold_oracle", True, 3)
    assert point.interval.low < point.accuracy < point.interval.high
    assert point.tokens_per_step_interval.low < point.tokens_per_step_interval.high


def test_the_threshold_oracle_looks_at_no_other_decoder():
    fast = [fabricated_record("random:k=32", index, 1.0, nfe=1) for index in range(3)]
    assert threshold_oracle([*by_hand(), *fast]) == threshold_oracle(by_hand())
    (point,) = sweep_oracle([*by_hand(), *fast])
    assert (point.accuracy, point.tokens_per_step) == (1, 32)


def test_the_sweep_oracle_chooses_from_no_oracle():
    told = [fabricated_record("label", index, 1.0, nfe=1, oracle=True) for index in range(3)]
    assert sweep_oracle([*by_hand(), *told]) == sweep_oracle(by_hand())


def test_a_run_without_the_decoder_has_no_such_oracle():
    assert threshold_oracle([fabricated_record("random:k=2")]) == []
    assert sweep_oracle([]) == []


def test_every_model_and_task_has_a_point_of_its_own_and_they_average():
    records = [
        fabricated_record(LOW, index, right, nfe=nfe, model=model, task_label=task)
        for (model, task), (right, nfe) in {
            ("ideal", "copy"): (1.0, 2),
            ("ideal", "sort"): (0.0, 8),
            ("other", "copy"): (1.0, 4),
            ("other", "sort"): (1.0, 4),
        }.items()
        for index in range(4)
    ]
    points = {(p.model, p.task_label): p for p in threshold_oracle(records)}
    assert {key: p.tokens_per_step for key, p in points.items()} == {
        ("ideal", "copy"): 16,
        ("ideal", "sort"): 4,
        ("other", "copy"): 8,
        ("other", "sort"): 8,
    }
    average = average_over_tasks(list(points.values()))
    assert [(a.accuracy, a.tokens_per_step) for a in average] == [(0.5, 10), (1, 8)]


def test_repeats_are_averaged_before_the_choice_and_not_picked_from():
    # A lucky repeat of the fast setting does not beat a setting that is always right.
    records = [
        fabricated_record(decoder, 0, right, nfe=nfe, repeat=repeat)
        for decoder, rights, nfe in ((LOW, (1.0, 0.0), 1), (HIGH, (1.0, 1.0), 8))
        for repeat, right in enumerate(rights)
    ]
    (point,) = threshold_oracle(records)
    assert (point.accuracy, point.tokens_per_step, point.count) == (1, 4, 2)


def test_the_last_record_of_a_decode_counts():
    records = [fabricated_record(LOW, 0, None), fabricated_record(LOW, 0, 1.0, nfe=2)]
    assert threshold_oracle(records)[0].tokens_per_step == 16


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ((HIGH, 1), f"{HIGH} has no mark and speed for 1 of 3 decodes, .*sample 1 repeat 0"),
        ((LOW, 0), f"{LOW} has no mark and speed for 1 of 3 decodes, .*sample 0 repeat 0"),
    ],
)
def test_a_setting_that_lacks_a_sample_is_refused(lost, sentence):
    records = [r for r in by_hand() if (r.decoder_label, r.index) != lost]
    with pytest.raises(IncompleteSweepError, match=sentence):
        threshold_oracle(records)


def test_an_error_and_a_decode_without_a_call_are_refused_too():
    for broken in (fabricated_record(HIGH, 1, None), fabricated_record(HIGH, 1, 1.0, nfe=0)):
        with pytest.raises(IncompleteSweepError, match="continue the run until it is finished"):
            sweep_oracle([*by_hand(), broken])


def test_a_setting_that_a_task_lacks_altogether_is_refused():
    with pytest.raises(IncompleteSweepError, match="1 of 4 decodes, the first of them copy"):
        sweep_oracle([*by_hand()[:3], fabricated_record(HIGH, 0, task_label="copy")])


def test_samples_of_two_runs_are_not_mixed():
    other = fabricated_record(HIGH, 1, sample_digest="of another seed", nfe=8)
    with pytest.raises(IncompleteSweepError, match="two different samples with number 1"):
        sweep_oracle([*by_hand(), other])


# Laws

grids = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 2)).flatmap(
    lambda shape: st.tuples(
        *[
            st.lists(cell, min_size=math.prod(shape), max_size=math.prod(shape)).map(
                lambda values: np.array(values).reshape(shape)
            )
            for cell in (st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([1, 2, 3, 8, 32]))
        ]
    )
)


def repeated_records(marks, calls):
    return [
        record
        for repeat in range(marks.shape[2])
        for record in fabricated_records(marks[:, :, repeat], calls[:, :, repeat], repeat=repeat)
    ]


@settings(deadline=None)
@given(grids)
def test_the_oracle_dominates_every_setting(grid):
    records = repeated_records(*grid)
    (oracle,) = sweep_oracle(records)
    for setting in summarize(records):
        assert oracle.accuracy >= setting.accuracy
        if setting.accuracy == oracle.accuracy:
            assert oracle.nfe <= setting.nfe + 1e-9
            assert oracle.pooled_tokens_per_step >= setting.pooled_tokens_per_step - 1e-9


@settings(deadline=None)
@given(grids)
def test_on_the_samples_where_a_setting_is_best_the_oracle_is_no_slower(grid):
    sweep = sweep_of(repeated_records(*grid))
    (oracle,) = sweep_oracle(repeated_records(*grid))
    best = sweep.accuracy.max(axis=0)
    fewest = np.where(sweep.accuracy == best, sweep.calls, np.inf).min(axis=0)
    assert oracle.accuracy == pytest.approx(best.mean())
    assert oracle.nfe == pytest.approx(fewest.mean())


@settings(deadline=None)
@given(grids, grids)
def test_more_settings_never_harm_the_oracle(grid, other):
    samples = min(grid[0].shape[1], other[0].shape[1])
    first = fabricated_records(*(table[:, :samples, 0] for table in grid))
    second = fabricated_records(*(table[:, :samples, 0] for table in other), name="random")
    (threshold,), (sweep,) = threshold_oracle(first + second), sweep_oracle(first + second)
    assert (sweep.accuracy, sweep.tokens_per_step) >= (
        threshold.accuracy,
        threshold.tokens_per_step,
    ) or sweep.accuracy > threshold.accuracy


# The frontier


def speed_on(frontier, accuracy, sweep):
    return float(frontier.speeds_along(np.array([accuracy]), sweep.weights[None])[0, 0])


@settings(deadline=None)
@given(grids)
def test_the_frontier_ends_in_the_oracle_point(grid):
    sweep = sweep_of(repeated_records(*grid))
    (oracle,) = sweep_oracle(repeated_records(*grid))
    frontier = frontier_of(sweep)
    found = speed_on(frontier, oracle.accuracy, sweep)
    assert found == pytest.approx(oracle.pooled_tokens_per_step)
    assert np.isnan(speed_on(frontier, oracle.accuracy + 1e-6, sweep))


@settings(deadline=None)
@given(grids)
def test_no_setting_and_no_mixture_lies_beyond_the_frontier(grid):
    records = repeated_records(*grid)
    sweep, results = sweep_of(records), summarize(records)
    frontier = frontier_of(sweep)
    for one, other in itertools.product(results, results):
        for share in (0.0, 0.25, 0.5):
            accuracy = (1 - share) * one.accuracy + share * other.accuracy
            calls = (1 - share) * one.nfe + share * other.nfe
            assert speed_on(frontier, accuracy, sweep) >= 32 / calls - 1e-6


@settings(max_examples=40, deadline=None)
@given(grids, st.floats(0, 1))
def test_the_frontier_solves_the_linear_programme(grid, share):
    sweep = sweep_of(repeated_records(*grid))
    accuracy = share * float(sweep.accuracy.max(axis=0) @ sweep.weights)
    rows, columns = sweep.accuracy.shape
    solved = linprog(
        (sweep.calls * sweep.weights).ravel(),
        A_ub=-(sweep.accuracy * sweep.weights).reshape(1, -1),
        b_ub=[-accuracy],
        A_eq=np.tile(np.eye(columns), rows),
        b_eq=np.ones(columns),
    )
    found = speed_on(frontier_of(sweep), accuracy, sweep)
    assert 32 / found == pytest.approx(solved.fun, abs=1e-5)


def test_the_frontier_by_hand():
    # One sample: right in 32 calls, half right in 5, wrong in 4; a coin between them.
    sweep = fabricated_sweep([[1.0], [0.5], [0.0]], [[32], [5], [4]])
    speeds = [speed_on(frontier_of(sweep), a, sweep) for a in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert [32 / speed for speed in speeds] == pytest.approx([4, 4.5, 5, 18.5, 32])


def test_the_frontier_passes_over_a_setting_that_a_mixture_beats():
    # Half right in 20 calls is slower than tossing a coin between 4 and 32.
    sweep = fabricated_sweep([[1.0], [0.5], [0.0]], [[32], [20], [4]])
    assert 32 / speed_on(frontier_of(sweep), 0.5, sweep) == pytest.approx(18)


def test_the_frontier_gives_up_speed_where_it_costs_least():
    # Both samples are wrong in 4 calls; to be right costs the first 4 more, the second 28.
    sweep = fabricated_sweep([[0, 0], [1, 0], [0, 1]], [[4, 4], [8, 32], [32, 32]])
    frontier = frontier_of(sweep)
    assert frontier.sample.tolist() == [0, 1]
    speeds = [speed_on(frontier, a, sweep) for a in (0.0, 0.5, 1.0)]
    assert speeds == pytest.approx([8, 64 / 12, 64 / 40])


def test_many_accuracies_at_once_are_read_as_one_by_one():
    sweep = sweep_of(by_hand())
    frontier, weights = frontier_of(sweep), np.vstack([sweep.weights, sweep.resampled_weights(5)])
    accuracies = np.array([0.0, 0.4, 2 / 3, 0.9])
    along = frontier.speeds_along(accuracies, weights)
    for accuracy, column in zip(accuracies.tolist(), along.T, strict=True):
        alone = frontier.speeds_along(np.array([accuracy]), weights)[:, 0]
        np.testing.assert_array_equal(column, alone)
    assert np.isnan(along[0]).tolist() == [False, False, False, True]
