"""What stands beside the results: oracles and how much of their speed a setting has."""

import numpy as np
import pytest
from fabricated import fabricated_records
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parallelbench.analysis.beside import beside
from parallelbench.results import average_over_tasks, summarize

LABEL = "confidence_threshold:k={}".format


def around(records):
    results = summarize(records)
    return beside(records, [*results, *average_over_tasks(results)])


def test_efficiency_is_speed_over_hindsight_at_the_same_accuracy():
    # 32 tokens: the slow setting is always right at 4 a step, the fast one half the time at 8.
    aside = around(fabricated_records([[1, 1], [1, 0]], [[8, 8], [4, 4]]))
    slow = aside.efficiency["ideal", "shuffle", LABEL(1)]
    fast = aside.efficiency["ideal", "shuffle", LABEL(2)]
    # Hindsight is right at (8 + 4) / 2 tokens per step.
    assert slow.value == pytest.approx(4 / 6)
    assert fast.value == pytest.approx(1)
    assert slow.interval.low <= slow.value <= slow.interval.high
    assert aside.efficiency["ideal", "average", LABEL(1)].value == pytest.approx(4 / 6)


def test_both_hindsight_oracles_have_a_point_on_every_task():
    records = fabricated_records([[1, 0], [0, 0]], [[8, 8], [8, 8]])
    records += fabricated_records([[0, 1]], [[2, 2]], name="random")
    points = {point.decoder: point for point in around(records).oracles}
    assert points["threshold_oracle"].accuracy == 0.5
    assert points["sweep_oracle"].accuracy == 1.0
    assert all(point.oracle for point in points.values())


def test_an_oracle_that_had_one_setting_to_choose_has_no_row():
    one = fabricated_records([[1, 0]], [[8, 8]])
    assert around(one).oracles == []
    assert around(one).efficiency  # the setting's own figures stay
    with_another = [*one, *fabricated_records([[0, 1]], [[2, 2]], name="random")]
    assert [point.decoder for point in around(with_another).oracles] == ["sweep_oracle"]
    told = fabricated_records([[1, 1]], [[1, 1]], name="label", oracle=True)
    assert around([*one, *told]).oracles == []  # who is told the answers is no candidate


@given(
    hnp.arrays(float, (3, 5), elements=st.sampled_from([0.0, 1.0])),
    hnp.arrays(int, (3, 5), elements=st.integers(1, 32)),
)
@settings(deadline=None, max_examples=25)
def test_no_setting_is_faster_than_hindsight(marks, calls):
    for efficiency in around(fabricated_records(marks, calls)).efficiency.values():
        assert 0 < efficiency.value <= 1 + 1e-9
        assert efficiency.interval.high <= 1 + 1e-9


def test_an_unfinished_run_says_why_it_has_no_oracles():
    records = fabricated_records(np.ones((2, 2)), np.full((2, 2), 4))[:-1]
    aside = around(records)
    assert not aside.oracles
    assert not aside.efficiency
    assert "confidence_threshold:k=2" in aside.missing
    assert aside.losses
