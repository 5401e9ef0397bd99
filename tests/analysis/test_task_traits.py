"""Parallelizability and order preference of a task, by hand and from records."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from parallelbench.analysis.measures.task_traits import (
    order_preference,
    parallelizability,
    task_traits,
)
from support.fabricated import altered, fabricated_record


def decodes(marks, *, k=2, block_length=None, **changes):
    """Records of one setting, a sample per mark."""
    label = f"random:k={k}" + ("" if block_length is None else f",block_length={block_length}")
    fields = {"k": k, "block_length": block_length, "temperature": 0.0}
    return [
        fabricated_record(label, index, mark, **{"decoder_fields": fields, **changes})
        for index, mark in enumerate(marks)
    ]


def test_parallelizability_by_hand():
    tokens = np.array([1.0, 2.0, 4.0])
    assert parallelizability(tokens, np.array([1.0, 0.5, 0.25])) == pytest.approx(3 / 1.75)
    assert parallelizability(tokens, np.ones(3)) == pytest.approx(7 / 3)
    assert parallelizability(tokens, np.zeros(3)) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(any))
def test_parallelizability_lies_between_the_ends_of_its_dial(scores):
    tokens = 2.0 ** np.arange(len(scores))
    assert 1 - 1e-9 <= parallelizability(tokens, np.array(scores)) <= tokens[-1] + 1e-9


def test_order_preference_is_the_slope_of_the_least_squares_line():
    lengths, scores = np.array([2.0, 4.0, 16.0, 32.0]), np.array([0.9, 0.7, 0.8, 0.2])
    wanted = stats.linregress(lengths, scores).slope
    assert order_preference(lengths, scores) == pytest.approx(wanted)
    assert order_preference(np.array([4.0, 4.0]), np.array([0.1, 0.9])) is None


def test_parallelizability_of_records_travels_with_its_interval_and_count():
    (traits,) = task_traits([*decodes([1, 1], k=1), *decodes([1, 0], k=2)])
    assert (traits.decoder, traits.tokens) == ("random", (1, 2))
    found = traits.parallelizability
    assert found.value == pytest.approx((1 + 2 * 0.5) / 1.5)
    # Both samples may be wrong at k=2; and that both are right at k=1 proves little.
    assert found.interval.low == pytest.approx(1.0)
    assert 1.5 < found.interval.high < 1.8
    assert found.samples == 2
    assert (traits.block_lengths, traits.order_preference) == ((), None)


def test_no_block_length_stands_for_the_whole_canvas():
    (traits,) = task_traits([*decodes([1, 1], block_length=2), *decodes([1, 0])])
    assert traits.block_lengths == (2, 32)
    assert traits.order_preference.value == pytest.approx(-0.5 / 30)
    assert (traits.tokens, traits.parallelizability) == ((), None)


def test_order_preference_is_read_at_two_tokens_per_step_only():
    longer = [*decodes([1, 1], k=4, block_length=2), *decodes([0, 0], k=4)]
    (traits,) = task_traits([*longer, *decodes([1, 0], k=2)])
    assert traits.order_preference is None
    # At the whole canvas, not in blocks of 2.
    assert traits.parallelizability.value == pytest.approx(2)


def test_every_task_has_its_own_traits():
    records = [
        *decodes([1, 1], k=1),
        *decodes([1, 1], k=4),
        *decodes([1, 1], k=1, task_label="dice"),
        *decodes([0, 0], k=4, task_label="dice"),
    ]
    found = {traits.task_label: traits.parallelizability.value for traits in task_traits(records)}
    assert found == {"shuffle": pytest.approx(2.5), "dice": pytest.approx(1)}


def test_oracles_and_incomplete_settings_have_no_traits():
    whole = [*decodes([1, 1], k=1), *decodes([1, 0], k=2)]
    assert task_traits([altered(record, oracle=True) for record in whole]) == []
    assert task_traits(whole[:-1]) == []
    assert task_traits(decodes([1, 1], k=1)) == []


def test_traits_are_json_values():
    (traits,) = task_traits([*decodes([1, 1], k=1), *decodes([1, 0], k=2)])
    shown = traits.as_dict()
    assert shown["parallelizability"]["samples"] == 2
    assert shown["order_preference"] is None
