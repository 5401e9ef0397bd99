"""Attempts to rank faster than the decodes are, by what is left out and by where speed is shown."""

import numpy as np
import pytest

from parallelbench import evaluate
from parallelbench.analysis.measures.speed import resampled_means, speeds_at
from parallelbench.analysis.measures.sweep import sweep_of
from parallelbench.leaderboards.board.standings import PERCENTS, standings
from support.board_entries import PRACTICE, TASKS, decodes, entry_of

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def right_in(share):
    """Right in this share of the test part, the easy samples first."""
    return lambda _, index: float(index < PRACTICE.dev + share * len(PRACTICE.test))


def of_thresholds(*thresholds):
    """Honest decodes of one strategy: the lower its threshold, the faster and the worse."""
    records = []
    for threshold in thresholds:
        setting = f"confidence_threshold:threshold={threshold}"
        calls = 2 + round(20 * threshold)
        records += decodes(setting, right_in(0.4 + threshold / 2), calls)
    return records


def rows_of(*entries):
    (board,) = standings(entries)
    return {row.entry.name: row for section in board.sections for row in section.rows}


@pytest.mark.attack("harmless")
def test_the_same_decodes_with_two_of_seven_thresholds_are_nowhere_faster_and_rank_no_better():
    rows = rows_of(
        entry_of(of_thresholds(*THRESHOLDS), "whole"),
        entry_of(of_thresholds(0.3, 0.9), "part"),
        entry_of(decodes("confidence:k=3", right_in(0.9), 11), "other"),
    )
    assert len(rows["part"].figures) == len(rows["whole"].figures) > 1
    for scope, part in rows["part"].figures.items():
        whole = rows["whole"].figures[scope]
        assert part.area.value <= whole.area.value
        for percent, at in part.at.items():
            assert at.speed <= whole.at[percent].speed
            assert at.rank >= whole.at[percent].rank
    at = {name: row.figures["all tasks"].at[70] for name, row in rows.items()}
    # A straight line from 0.3 to 0.9 would have given 3.1 here.
    assert at["part"].speed == pytest.approx(32 / 20)
    assert (at["whole"].rank, at["part"].rank) == (1, 3)


@pytest.mark.attack("harmless")
def test_the_ideal_model_with_two_of_six_settings_is_nowhere_faster():
    grid = "confidence:k=1|2|4|8|16|32"
    found = evaluate(tasks=[*TASKS], decoders=grid, samples=4, progress=False)
    whole = sweep_of(found.records)
    part = whole.of(["confidence:k=1", "confidence:k=32"])
    accuracies = np.array(PERCENTS) / 100
    speeds = [
        np.nan_to_num(speeds_at(accuracies, *resampled_means(each, each.weights[None])))[0]
        for each in (part, whole)
    ]
    assert (speeds[0] <= speeds[1]).all()
    # A straight line from one by one to all at once gave it 11 tokens per step.
    assert speeds[0][PERCENTS.index(80)] == pytest.approx(1)


@pytest.mark.attack("harmless")
@pytest.mark.parametrize("easy", [1, 2, 5])
def test_a_setting_that_is_fast_on_a_few_easy_samples_is_not_fast(easy):
    # The mean of each sample's own ratio is beyond that of the honest row: 4.3 and more.
    def calls(_, index):
        return 1 if index < PRACTICE.dev + easy else 28

    rows = rows_of(
        entry_of(decodes("confidence:k=2", 1.0, 12), "steady"),
        entry_of(decodes("confidence:k=2", 1.0, calls), "uneven"),
    )
    steady, uneven = (rows[name].figures["all tasks"] for name in ("steady", "uneven"))
    assert uneven.points[0].tokens_per_step > steady.points[0].tokens_per_step or easy == 1
    assert uneven.at[80].speed == pytest.approx(20 * 32 / (easy + 28 * (20 - easy)))
    assert uneven.at[80].speed < steady.at[80].speed
    assert (steady.at[80].rank, uneven.at[80].rank) == (1, 2)
