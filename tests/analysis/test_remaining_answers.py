"""The right answers that agree with a canvas, and the bits that a step ignores."""

import itertools
import math

import numpy as np
import pytest

from parallelbench.analysis.theory.remaining_answers import RemainingAnswers
from parallelbench.distributions.listed import ListedDistribution
from support.fabricated import END, MASK


def remaining_of(rows, weights=None):
    rows = np.array(rows)
    ones = np.ones(len(rows), dtype=np.int64) if weights is None else np.array(weights)
    return RemainingAnswers(ListedDistribution(rows, ones, MASK), frozenset({END, 9}), END)


@pytest.fixture(scope="module")
def city():
    """Two places: New York is 3 4, Mexico City 5 6; then end-of-text."""
    return remaining_of([[3, 4, END], [5, 6, END]])


def test_dependent_tokens_written_in_one_step_cost_a_bit(city):
    assert city.unmodelled_bits([MASK, MASK, MASK], [0, 1]) == pytest.approx(1)
    assert city.unmodelled_bits([MASK, MASK, MASK], [0, 1, 2]) == pytest.approx(1)


def test_tokens_after_one_that_determines_them_cost_nothing(city):
    assert city.unmodelled_bits([3, MASK, MASK], [1, 2]) == 0
    assert city.unmodelled_bits([MASK, MASK, MASK], [1]) == 0


def test_a_position_that_is_written_again_counts_as_open(city):
    assert city.unmodelled_bits([3, 6, MASK], [0, 1]) == pytest.approx(1)


def test_a_canvas_that_no_answer_agrees_with_has_no_bits(city):
    assert city.unmodelled_bits([3, 6, MASK], [2]) is None
    assert city.count([3, 6, MASK]) == 0


def test_tokens_after_the_end_exclude_no_answer():
    remaining = remaining_of([[3, END, END], [5, END, END]], [1, 3])
    assert (remaining.count([3, 9, 7]), remaining.mass([3, 9, 7])) == (1, 0.25)
    assert (remaining.count([3, 7, END]), remaining.mass([3, 7, END])) == (0, 0)


def test_a_token_has_its_probability_among_the_remaining_answers(city):
    assert city.probabilities([MASK] * 3, [0, 1, 2], [3, 6, 9]) == (0.5, 0.5, 1)
    assert city.probabilities([3, MASK, MASK], [1], [4]) == (1,)
    assert city.probabilities([3, MASK, MASK], [1, 2], [6, MASK]) == (0, None)
    assert city.probabilities([3, 6, MASK], [2], [END]) == (None,)


def test_the_nearest_right_answer_differs_in_the_fewest_tokens():
    remaining = remaining_of([[3, 4, END], [5, 6, END], [3, 7, 8]], [1, 2, 1])
    assert remaining.nearest([3, 8, 9]) == ([3, 4, END], ((1, 4),))
    # Tokens after the end do not count; of equally near answers the most probable is taken.
    assert remaining.nearest([9, 7, 8]) == ([5, 6, END], ((0, 5), (1, 6)))
    assert remaining.nearest([3, MASK, 8]) == ([3, 7, 8], ((1, 7),))


def test_a_uniform_order_of_names_costs_the_closed_form():
    for n in (2, 3, 4):
        remaining = remaining_of(list(itertools.permutations(range(20, 20 + n))))
        # ParallelBench, equation 4.
        expected = n * math.log2(n) - math.log2(math.factorial(n))
        assert remaining.unmodelled_bits([MASK] * n, list(range(n))) == pytest.approx(expected)
