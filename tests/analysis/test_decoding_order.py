"""When each position was committed, and how near that is to left to right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from parallelbench.analysis.measures.decoding_order import (
    OrderStatistics,
    decoding_order,
    left_to_right_correlation,
)
from support.fabricated import END, MASK, fabricated_record, traced_record

# Three positions: 0 written, opened again and replaced; 1 last.
REVISED = traced_record([[0], [2], [0], [0], [1]], ids=[[5], [6], [MASK], [7], [8]])


def test_left_to_right_is_1_and_right_to_left_minus_1():
    assert left_to_right_correlation(range(6)) == (1, 1)
    assert left_to_right_correlation(range(6, 0, -1)) == (-1, -1)


def test_one_step_for_everything_has_no_order():
    assert left_to_right_correlation([3, 3, 3]) is None
    assert left_to_right_correlation([None, 4, None]) is None
    assert left_to_right_correlation([]) is None


def test_two_positions_a_step_are_tied():
    # Of 6 pairs 4 agree and 2 are tied: tau-b is 4 / sqrt(6 * 4).
    found = left_to_right_correlation([0, 0, 1, 1])
    assert found.kendall == pytest.approx(4 / np.sqrt(24))
    assert found.spearman == pytest.approx(2 / np.sqrt(5))


def test_positions_that_do_not_count_leave_the_rest_in_place():
    assert left_to_right_correlation([None, 2, None, 1, 0]) == pytest.approx((-1, -1))


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12))
def test_both_correlations_are_scipy_s_and_turn_with_the_order(steps):
    found, mirrored = (left_to_right_correlation(s) for s in (steps, steps[::-1]))
    if found is None:
        assert mirrored is None
        return
    assert max(map(abs, found)) <= 1
    assert mirrored == pytest.approx([-figure for figure in found])
    places = range(len(steps))
    assert found.kendall == pytest.approx(stats.kendalltau(places, steps).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(places, steps).statistic)


def test_a_position_that_was_opened_again_has_a_first_and_a_last_commit():
    # First commits in steps 0, 4, 1; last commits in steps 3, 4, 1.
    order = decoding_order(REVISED)
    assert order.revisions == 1
    assert order.first.kendall == pytest.approx(1 / 3)
    assert order.last.kendall == pytest.approx(-1 / 3)


def test_a_position_that_is_left_open_has_no_last_commit():
    order = decoding_order(traced_record([[0], [1], [0]], ids=[[5], [6], [MASK]]))
    assert order.first == (1, 1)
    assert order.last is None


def test_a_position_that_was_given_has_no_commit():
    given_first = traced_record([[2], [1]], initial_ids=[9, MASK, MASK])
    assert decoding_order(given_first).first == pytest.approx((-1, -1))


def test_the_filling_after_the_answer_is_left_out():
    # The answer from left to right, after the end-of-text that follows it.
    record = traced_record([[2, 3], [0], [1]], ids=[[END, END], [5], [6]])
    assert decoding_order(record).first == pytest.approx((1, 1))


def summaries(*records):
    statistics = OrderStatistics()
    for record in records:
        statistics.add(record)
    return statistics.summaries()


def test_a_summary_averages_over_samples_with_interval_and_count():
    (summary,) = summaries(traced_record([[0], [1]]), traced_record([[1], [0]], index=1))
    assert summary.first_kendall.value == 0
    assert summary.first_kendall.interval == (-1, 1)
    assert summary.first_kendall.samples == 2
    assert (summary.revisions.value, summary.decodes) == (0, 2)
    assert summary.as_dict()["last_spearman"]["value"] == 0


def test_a_summary_averages_repeats_before_samples():
    same = [traced_record([[0], [1]], repeat=repeat) for repeat in range(3)]
    (summary,) = summaries(*same, traced_record([[1], [0]], index=1))
    assert (summary.last_spearman.value, summary.last_spearman.samples) == (0, 2)
    assert summary.revisions.samples == 2


def test_of_two_records_of_one_decode_the_last_counts():
    (summary,) = summaries(traced_record([[1], [0]]), traced_record([[0], [1]]))
    assert (summary.first_kendall.value, summary.decodes) == (1, 1)


def test_a_decode_without_an_order_is_absent_from_the_average():
    (summary,) = summaries(traced_record([[0, 1]]), traced_record([[0], [1]], index=1))
    assert (summary.first_kendall.value, summary.first_kendall.samples) == (1, 1)
    assert (summary.revisions.samples, summary.decodes) == (2, 2)
    (alone,) = summaries(traced_record([[0, 1]]))
    assert alone.first_kendall is None


def test_every_setting_has_a_summary_and_errors_have_none():
    records = [
        traced_record([[0], [1]], decoder="random:k=1"),
        traced_record([[0], [1]], decoder="random:k=2"),
        fabricated_record("broken", right=None),
    ]
    assert [s.decoder_label for s in summaries(*records)] == ["random:k=1", "random:k=2"]
