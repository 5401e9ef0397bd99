"""The table of settings by samples: what it averages, how it weighs, what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelbench.analysis.measures.sweep import sweep_of
from parallelbench.results.result import average_over_tasks, summarize
from support.fabricated import fabricated_record, fabricated_records, fabricated_sweep

TASKS = {"copy": 3, "sort": 5, "shuffle": 1}


def several_tasks(settings=2):
    rng = np.random.default_rng(0)
    return [
        record
        for task, samples in TASKS.items()
        for record in fabricated_records(
            rng.choice([0.0, 1.0], (settings, samples)),
            rng.integers(1, 33, (settings, samples)),
            task_label=task,
        )
    ]


def test_rows_are_settings_and_columns_samples_in_order():
    sweep = sweep_of(list(reversed(several_tasks())))
    assert sweep.tasks == ("shuffle", *("sort",) * 5, *("copy",) * 3)
    assert sweep.indices == (0, 0, 1, 2, 3, 4, 0, 1, 2)
    assert [setting.label for setting in sweep.settings] == [
        "confidence_threshold:k=2",
        "confidence_threshold:k=1",
    ]
    assert sweep.canvas.tolist() == [32] * 9


def test_its_means_are_those_of_the_results():
    records = several_tasks()
    sweep = sweep_of(records)
    averages = average_over_tasks(summarize(records))
    assert (sweep.accuracy @ sweep.weights).tolist() == pytest.approx(
        [average.accuracy for average in averages]
    )
    assert sweep.pooled_tokens_per_step(sweep.weights[None])[0].tolist() == pytest.approx(
        [average.pooled_tokens_per_step for average in averages]
    )
    assert (sweep.calls @ sweep.weights).tolist() == pytest.approx([a.nfe for a in averages])


@given(st.integers(0, 1000))
def test_every_resample_weighs_tasks_alike_in_whole_samples(seed):
    sweep = sweep_of(several_tasks())
    weights = sweep.resampled_weights(20, seed)
    for task, samples in TASKS.items():
        columns = [column for column, name in enumerate(sweep.tasks) if name == task]
        of_task = weights[:, columns] * len(TASKS)
        assert of_task.sum(axis=1) == pytest.approx(1)
        assert of_task * samples == pytest.approx(np.round(of_task * samples))


def test_resamples_scatter_about_the_observed_weights():
    sweep = sweep_of(several_tasks())
    weights = sweep.resampled_weights(5000, 1)
    assert weights.mean(axis=0) == pytest.approx(sweep.weights, abs=0.005)
    assert weights.std(axis=0).max() > 0.05


def test_some_rows_keep_the_columns():
    sweep = sweep_of(several_tasks(settings=3))
    part = sweep.of(["confidence_threshold:k=3", "confidence_threshold:k=1"])
    assert [setting.label for setting in part.settings] == [
        "confidence_threshold:k=1",
        "confidence_threshold:k=3",
    ]
    assert (part.accuracy == sweep.accuracy[[0, 2]]).all()
    assert (part.calls == sweep.calls[[0, 2]]).all()
    assert (part.canvas_tokens == sweep.canvas_tokens[[0, 2]]).all()
    assert part.tasks == sweep.tasks


def test_a_row_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no setting of the sweep is labelled 'random'"):
        fabricated_sweep([[1]], [[8]]).of(["random"])


def test_records_of_several_models_or_none_are_refused():
    both = [fabricated_record(), fabricated_record(model="other")]
    with pytest.raises(ValueError, match=r"of one model, got models \['ideal', 'other'\]"):
        sweep_of(both)
    with pytest.raises(ValueError, match=r"of one model, got models \[\]"):
        sweep_of([])
