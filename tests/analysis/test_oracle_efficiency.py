"""Oracle efficiency: speed over that of an oracle that was run, or of hindsight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.measures.oracle_efficiency import oracle_efficiencies, oracle_speed
from parallelbench.analysis.measures.speed import speed_at
from support.fabricated import fabricated_sweep

shares = st.integers(0, 20).map(lambda twentieths: twentieths / 20)
SLOW, FAST = (f"confidence_threshold:k={k}" for k in (1, 2))


def test_hindsight_is_as_fast_as_the_decoder_that_is_best_for_every_sample():
    candidates = fabricated_sweep(np.ones((2, 40)), [[32] * 40, [8] * 40])
    found = oracle_efficiencies(0.9, candidates, None)[FAST]
    assert found.value == pytest.approx(1)
    assert found.interval == pytest.approx((1, 1))


def test_efficiency_against_hindsight_by_hand():
    # k=1: both right in 32 calls each.  k=2: the first right, in 8.
    # At accuracy 1 the setting needs 64 calls; hindsight takes 8 + 32.
    candidates = fabricated_sweep([[1, 1], [1, 0]], [[32, 32], [8, 8]])
    found = oracle_efficiencies(1.0, candidates, None)
    assert found[SLOW].value == pytest.approx(40 / 64)
    assert found[FAST].value is None


tables = st.integers(1, 4).flatmap(
    lambda rows: st.integers(1, 5).flatmap(
        lambda columns: st.tuples(
            *[
                st.lists(
                    st.lists(cell, min_size=columns, max_size=columns),
                    min_size=rows,
                    max_size=rows,
                )
                for cell in (st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1, 2, 8, 32]))
            ]
        )
    )
)


@settings(max_examples=60, deadline=None)
@given(tables, shares)
def test_no_setting_is_more_efficient_than_hindsight(table, accuracy):
    candidates = fabricated_sweep(*table)
    for label, found in oracle_efficiencies(accuracy, candidates, None, resamples=50).items():
        speed = speed_at(accuracy, candidates.of([label]), resamples=50)
        assert (found.value is None) == (speed.value is None)
        assert found.reached == speed.reached
        if found.value is not None:
            assert 0 < found.value <= 1 + 1e-9
            assert found.interval is None or found.interval.high <= 1 + 1e-9


def test_efficiency_against_an_oracle_that_was_run():
    curve = fabricated_sweep([[1, 1], [1, 0]], [[32, 32], [8, 8]])
    oracle = fabricated_sweep([[1, 1]], [[4, 4]], name="label")
    assert oracle_efficiencies(1.0, curve, oracle)[SLOW].value == pytest.approx(1 / 8)
    assert oracle_efficiencies(1.0, curve, oracle)[FAST].value is None
    assert oracle_efficiencies(0.5, curve, oracle)[FAST].value == pytest.approx(4 / 8)


def test_efficiency_is_absent_where_the_oracle_fails():
    curve = fabricated_sweep([[1, 1]], [[8, 8]])
    oracle = fabricated_sweep([[0, 0]], [[4, 4]], name="label")
    assert oracle_efficiencies(1.0, curve, oracle)[SLOW].value is None
    assert oracle_speed(1.0, curve, oracle) is None
    assert oracle_speed(1.0, oracle, curve) == pytest.approx(4)


def test_efficiency_on_other_samples_is_refused():
    curve = fabricated_sweep([[1, 1]], [[8, 8]])
    other = fabricated_sweep([[1, 1, 1]], [[8, 8, 8]])
    with pytest.raises(ValueError, match="2 and 3 samples that are not the same"):
        oracle_efficiencies(1.0, curve, other)
    with pytest.raises(ValueError, match=r"accuracy is a share in \[0, 1\], got 80"):
        oracle_efficiencies(80.0, curve, None)


def test_the_ratio_is_resampled_with_both_on_the_same_samples():
    rng = np.random.default_rng(5)
    calls = rng.integers(1, 9, (1, 40))
    slow = fabricated_sweep(np.ones((1, 40)), 4 * calls)
    fast = fabricated_sweep(np.ones((1, 40)), calls, name="label")
    found = oracle_efficiencies(0.9, slow, fast)[SLOW]
    assert found.value == pytest.approx(0.25)
    assert found.interval == pytest.approx((0.25, 0.25))
