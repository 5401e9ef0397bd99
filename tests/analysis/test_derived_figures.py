"""What stands beside the results: oracles and how much of their speed a setting has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parallelbench.analysis.measures.derived_figures import RESAMPLES, OracleReference, derive
from parallelbench.analysis.measures.oracle_efficiency import oracle_efficiencies
from parallelbench.analysis.measures.sweep import sweep_of
from parallelbench.results.result import average_over_tasks, summarize
from support.fabricated import altered, fabricated_records

LABEL = "confidence_threshold:k={}".format


def around(records):
    results = summarize(records)
    return derive(records, [*results, *average_over_tasks(results)])


def test_efficiency_is_speed_over_hindsight_at_80_percent():
    # 32 tokens: the slow setting is always right at 4 a step, the fast one half the time at 8.
    half = [1, 0] * 15
    aside = around(fabricated_records([[1] * 30, half], [[8] * 30, [4] * 30]))
    slow = aside.efficiency["ideal", "shuffle", LABEL(1)]
    # Hindsight takes more calls for accuracy where it must: 4 at 50 %, 6 at 100 %.
    fewest, safest = 4, (4 + 8) / 2
    at_80 = 32 / (fewest + (0.8 - 0.5) / (1 - 0.5) * (safest - fewest))
    assert slow.value == pytest.approx(4 / at_80)
    assert slow.interval.low <= slow.value <= slow.interval.high
    assert aside.efficiency["ideal", "average", LABEL(1)].value == pytest.approx(4 / at_80)
    reference = aside.references["ideal", "shuffle"]
    assert reference.oracle is None
    assert reference.speed == pytest.approx(at_80)


def test_a_setting_that_is_right_in_40_percent_has_no_efficiency_however_fast_it_is():
    marks = [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    aside = around(fabricated_records(marks, [[1] * 5, [4] * 5, [8] * 5]))
    assert ("ideal", "shuffle", LABEL(1)) not in aside.efficiency
    assert ("ideal", "average", LABEL(1)) not in aside.efficiency
    # One that is right in exactly 80 % counts: it reaches that.
    assert aside.efficiency["ideal", "shuffle", LABEL(2)].value <= 1
    assert aside.efficiency["ideal", "shuffle", LABEL(3)].value > 0


def one_by_one_and_an_oracle(oracle_marks=(1,) * 30):
    samples = len(oracle_marks)
    records = fabricated_records([[1] * samples], [[32] * samples], name="one_by_one", model="mini")
    oracle = {"name": "label", "oracle": True, "model": "mini"}
    return records + fabricated_records([oracle_marks], [[2] * samples], **oracle)


def test_one_by_one_has_one_over_the_speed_of_the_oracle_however_right_it_is():
    aside = around(one_by_one_and_an_oracle())
    found = aside.efficiency["mini", "shuffle", "one_by_one:k=1"]
    assert found.value == pytest.approx(1 / 16)
    assert aside.references["mini", "shuffle"] == OracleReference("label", 16.0)
    told = str(aside.references["mini", "shuffle"])
    assert "at 80 % right answers, where the oracle label writes 16.00 pooled tokens" in told
    assert "writing one by one has 1 / 16.00 = 0.06, however right it is" in told
    assert ("mini", "shuffle", "label:k=1") not in aside.efficiency


def test_an_oracle_below_80_percent_leaves_no_efficiency_and_that_is_said():
    aside = around(one_by_one_and_an_oracle(oracle_marks=(1, 1, 1, 0, 0)))
    assert not aside.efficiency
    told = str(aside.references["mini", "shuffle"])
    assert told == (
        "Oracle efficiency is absent: the oracle label has fewer than 80 % of the answers right."
    )


def test_an_oracle_that_lacks_a_sample_is_not_compared_with():
    records = one_by_one_and_an_oracle()[:-1]
    aside = around(records)
    assert aside.references["mini", "shuffle"].oracle is None
    assert aside.efficiency["mini", "shuffle", "one_by_one:k=1"].value == pytest.approx(1)


def test_the_order_in_which_decodes_were_finished_changes_nothing():
    records = [
        altered(record, task=task, task_label=task)
        for task in ("shuffle", "copy")
        for record in one_by_one_and_an_oracle()
    ]
    first = around(records)
    assert {each.oracle for each in first.references.values()} == {"label"}
    # The oracle ends with the other task than the settings.
    other = around(sorted(records, key=lambda r: (r.task.name == "copy") != r.decoder.oracle))
    assert other.efficiency == first.efficiency
    assert other.references == first.references


def test_an_accuracy_that_resamples_often_miss_has_no_interval():
    marks = [[1] * 24 + [0] * 6, [1] * 30]
    aside = around(fabricated_records(marks, [[4] * 30, [8] * 30]))
    unsure = aside.efficiency["ideal", "shuffle", LABEL(1)]
    assert unsure.value == pytest.approx(1)
    assert unsure.interval is None
    assert 0.4 < unsure.reached < 0.9
    assert aside.efficiency["ideal", "shuffle", LABEL(2)].interval is not None


def test_the_report_has_the_efficiency_of_its_definition():
    records = one_by_one_and_an_oracle()
    curve, oracle = (
        sweep_of(r for r in records if r.decoder.oracle is told) for told in (False, True)
    )
    wanted = oracle_efficiencies(0.8, curve, oracle, resamples=RESAMPLES)["one_by_one:k=1"]
    assert around(records).efficiency["mini", "shuffle", "one_by_one:k=1"] == wanted
    assert wanted.interval is not None


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
    assert around(one).references  # what efficiencies are against stays
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
        assert efficiency.interval is None or efficiency.interval.high <= 1 + 1e-9


def test_an_unfinished_run_says_why_it_has_no_oracles():
    records = fabricated_records(np.ones((2, 2)), np.full((2, 2), 4))[:-1]
    aside = around(records)
    assert not aside.oracles
    assert not aside.efficiency
    assert "confidence_threshold:k=2" in aside.missing
    assert aside.losses
