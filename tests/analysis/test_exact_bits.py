"""Bits from conditionals: against listed laws at small sizes, against closed forms at any."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.closed_forms import shuffle_bits
from parallelbench.analysis.theory.dependence import entropy, total_correlation
from parallelbench.analysis.theory.exact_bits import (
    dual_total_correlation,
    one_step_bits,
    partition_bits,
)
from parallelbench.distributions.layer import TrellisLayer
from parallelbench.distributions.listed import ListedDistribution
from parallelbench.distributions.trellis import TrellisDistribution
from support.laws import laws

MASK = 99


def distribution_of(law):
    """The listed distribution of a law whose weights are small whole numbers."""
    weights = law.probabilities / law.probabilities.min()
    scale = next(s for s in range(1, 13) if np.allclose(weights * s, np.round(weights * s)))
    return ListedDistribution(law.rows, np.round(weights * scale).astype(np.int64), MASK)


def colouring(length, colours):
    first = TrellisLayer.of([(0, colour, colour, 1) for colour in range(colours)])
    later = TrellisLayer.of(
        [(a, b, b, 1) for a in range(colours) for b in range(colours) if a != b]
    )
    return TrellisDistribution([first] + [later] * (length - 1), MASK)


@settings(max_examples=60, deadline=None)
@given(laws(positions=(2, 4)), st.data())
def test_the_bits_are_those_of_the_listed_law(law, data):
    distribution = distribution_of(law)
    masked = np.full(law.length, MASK)
    bits = one_step_bits(distribution, masked)
    assert bits == pytest.approx(total_correlation(law), abs=1e-9)
    order = data.draw(st.permutations(range(law.length)))
    cut = data.draw(st.integers(1, law.length - 1))
    first, then = order[:cut], order[cut:]
    found = partition_bits(distribution, [first, then])
    expected = total_correlation(law, first) + total_correlation(law, then, given=first)
    assert found.bits == pytest.approx(expected, abs=1e-9)
    assert (found.standard_error, found.answers) == (0, len(law))
    others = [[p for p in range(law.length) if p != q] for q in range(law.length)]
    alone = sum(entropy(law) - entropy(law, each) for each in others)
    dual = dual_total_correlation(distribution).bits
    assert dual == pytest.approx(entropy(law) - alone, abs=1e-9)


def test_a_shuffle_costs_its_closed_form():
    rows = np.array(list(itertools.permutations(range(5))))
    shuffle = ListedDistribution(rows, np.ones(len(rows), dtype=np.int64), MASK)
    assert one_step_bits(shuffle, np.full(5, MASK)) == pytest.approx(shuffle_bits(5))
    assert one_step_bits(shuffle, np.array([0, MASK, MASK, MASK, 1])) == pytest.approx(
        shuffle_bits(3)
    )
    with pytest.raises(ValueError, match="no right answer fits"):
        one_step_bits(shuffle, np.array([0, 0, MASK, MASK, MASK]))


def test_a_long_colouring_costs_its_closed_form_at_every_number_of_steps():
    length, colours = 128, 4
    law = colouring(length, colours)
    one = (length - 1) * math.log2(colours / (colours - 1))
    assert one_step_bits(law, np.full(length, MASK)) == pytest.approx(one)
    assert partition_bits(law, [range(length)], draws=2).bits == pytest.approx(one)
    halves = [range(0, length, 2), range(1, length, 2)]
    found = partition_bits(law, halves, draws=64)
    # Two apart: the same colour with chance 1/3, any other with 2/9 each.
    two_apart = 2 - (math.log2(3) / 3 + 2 / 3 * math.log2(9 / 2))
    assert found.bits == pytest.approx(63 * two_apart, abs=5 * found.standard_error + 1e-9)
    assert found.answers == 64
    singles = partition_bits(law, [[place] for place in range(length)], draws=8)
    assert singles.bits == pytest.approx(0, abs=5 * singles.standard_error + 1e-9)


def test_the_dual_total_correlation_of_a_colouring():
    law = colouring(40, 3)
    # Given both neighbours a colour is free, of two, if they are equal: half of the time.
    expected = math.log2(3 * 2**39) - (38 * 0.5 + 2)
    found = dual_total_correlation(law, draws=100)
    assert found.standard_error > 0
    assert found.bits == pytest.approx(expected, abs=5 * found.standard_error)
    with pytest.raises(ValueError, match="at least 2 draws"):
        dual_total_correlation(law, draws=1)
