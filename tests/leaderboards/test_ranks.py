"""Ranks: what they claim is true as often as they say, and what is true is found."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from parallelbench.leaderboards.board.ranks import RowDraws, compared, sure_sides, tied_ranks

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "ranks.py"


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("simulated_ranks", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draws(observed, spread, seed, resamples=2000):
    noise = np.random.default_rng(seed).normal(0, spread, resamples)
    return np.concatenate([[observed], observed + noise])


def row_of(speeds, miss=0.0):
    """A row of one setting, which is below the accuracy in the first ``miss`` of the resamples."""
    speeds = np.abs(speeds)
    marks = np.full((len(speeds), 1), 0.9)
    marks[1 : 1 + round(miss * (len(speeds) - 1))] = 0.7
    return RowDraws(speeds[:, None], marks)


def joined(*rows):
    """One row with the settings of all of these."""
    return RowDraws(*(np.hstack(tables) for tables in zip(*rows, strict=True)))


def ranked(*rows):
    return [rank for (rank,) in tied_ranks([0.8], rows)]


# How often


def test_false_claims_are_as_rare_as_they_should_be(simulation):
    board = simulation.Board(tasks=4, samples=40, resamples=400)
    for scenario in simulation.scenarios(6):
        found = simulation.outcomes(scenario, board, 40)
        false = sum(each.false > 0 for each in found)
        # A rule that keeps to 5 % fails here once in ten thousand times.
        assert stats.binomtest(false, 40, 0.05, alternative="greater").pvalue > 1e-4, scenario.title


def test_a_tenth_more_speed_is_found_on_a_season(simulation):
    board = simulation.FULL._replace(resamples=500)
    scenarios = [s for s in simulation.scenarios(4) if s.title.startswith("half faster by 1.1")]
    assert len(scenarios) == 2
    for scenario in scenarios:
        found = simulation.outcomes(scenario, board, 5)
        assert sum(each.found for each in found) >= 0.9 * sum(e.differences for e in found)


# The rule


def test_no_two_rows_of_a_rank_can_be_told_apart_and_no_row_stands_above_a_faster_one():
    rng = np.random.default_rng(0)
    shared = 0
    for _ in range(60):
        speeds = np.sort(rng.uniform(1, 2, 8))[::-1, None] * np.exp(
            rng.choice([0.001, 0.02, 0.2], (8, 1)) * rng.normal(size=(8, 301))
        )
        miss = np.where(rng.random(8) < 0.3, 0.2, 0.0)
        order = np.argsort(-speeds[:, 0])
        rows = [row_of(speeds[place], miss[place]) for place in order]
        ranks = ranked(*rows)
        assert ranks == sorted(ranks)
        (found,) = compared([0.8], rows)
        for one, other in np.argwhere(found.surely_faster):
            assert ranks[one] < ranks[other]
        shared += len(ranks) - len(set(ranks))
        # A rank is one more than the number of rows above it.
        assert all(rank == 1 + sum(each < rank for each in ranks) for rank in ranks)
        mixed = rng.permutation(8)
        assert ranked(*(rows[place] for place in mixed)) == [ranks[place] for place in mixed]
    assert shared > 60


def test_a_rank_is_shared_until_one_of_its_rows_is_surely_faster():
    # The second is surely faster than the third; the first is too uncertain to say anything.
    rows = [row_of(draws(5.0, 2.0, 0)), row_of(draws(4.5, 0.01, 1)), row_of(draws(4.0, 0.01, 2))]
    assert ranked(*rows) == [1, 1, 3]
    assert ranked(rows[2], rows[0], rows[1]) == [3, 1, 1]


def test_a_row_below_the_accuracy_has_no_rank_and_takes_none():
    absent = row_of(draws(9.0, 0.1, 0))
    absent.marks[0] = 0.7
    others = row_of(draws(2.0, 0.01, 1)), row_of(draws(1.0, 0.01, 2))
    assert ranked(absent, *others) == [None, 1, 2]
    assert ranked(absent) == [None]


@pytest.mark.parametrize("share", [0.01, 0.4, 0.999])
def test_misses_of_a_slower_row_hide_nothing(share):
    fast, slow = row_of(draws(16.0, 0.1, 0)), row_of(draws(13.0, 0.1, 1), share)
    assert ranked(fast, slow) == [1, 2]
    others = [row_of(draws(12.0 - each, 0.1, 2 + each), share) for each in range(6)]
    assert ranked(fast, slow, *others)[:2] == [1, 2]


def test_who_barely_reaches_the_accuracy_ranks_no_better_than_who_surely_does():
    best, safe = row_of(draws(6.0, 0.01, 0)), row_of(draws(5.0, 0.01, 1))
    for barely in (row_of(draws(5.0, 0.01, 2), 0.4), row_of(draws(4.9, 1.0, 3), 0.4)):
        ranks = ranked(best, barely, safe)
        assert (ranks[0], ranks[2]) == (1, 2)
        assert ranks[1] >= 2


def test_a_row_that_does_not_surely_reach_is_surely_faster_than_none():
    fast, slow = draws(4.0, 0.01, 0), draws(2.0, 0.01, 1)
    assert ranked(row_of(fast), row_of(slow)) == [1, 2]
    assert ranked(row_of(fast), row_of(slow, 0.4)) == [1, 2]
    assert ranked(row_of(fast, 0.4), row_of(slow)) == [1, 1]


def test_a_row_counts_with_what_it_surely_reaches_and_against_others_with_what_it_may():
    fast, slow = row_of(draws(8.0, 0.01, 0), 0.4), row_of(draws(4.0, 0.01, 1))
    both = joined(slow, fast)
    # As observed it has 8, surely only 4.
    assert ranked(both, row_of(draws(5.0, 0.01, 2))) == [1, 1]
    assert ranked(both, row_of(draws(3.0, 0.01, 2))) == [1, 2]
    # What it has not reached here, it may have in truth.
    fast.marks[0] = 0.7
    both = joined(slow, fast)
    assert ranked(both, row_of(draws(5.0, 0.01, 2))) == [1, 1]
    assert ranked(both, row_of(draws(9.0, 0.01, 2))) == [2, 1]


def test_settings_close_to_the_accuracy_make_no_other_row_harder_to_tell():
    # The speed of these rows jumps twofold in one resample of two hundred, each in its own.
    near = []
    for place in range(40):
        fast = row_of(draws(3.0, 0.01, 100 + place))
        fast.marks[:] = 0.7
        fast.marks[1 + 10 * place : 11 + 10 * place] = 0.9
        near.append(joined(row_of(draws(1.5, 0.01, 200 + place)), fast))
    pair = row_of(draws(11.0, 0.1, 0)), row_of(draws(10.0, 0.1, 1))
    assert ranked(*pair, *near)[:2] == [1, 2]


def test_resamples_in_the_other_order_contradict_a_claim_that_their_spread_would_make():
    # In 2 % of the resamples the faster row has half its speed: their spread is small enough.
    jumping = draws(16.0, 0.01, 0)
    jumping[1:41] = 7.0
    others = [row_of(draws(8.0 + 0.001 * each, 0.01, 1 + each)) for each in range(10)]
    assert ranked(row_of(jumping), *others)[1] == 1
    jumping[1:41] = 16.0
    assert ranked(row_of(jumping), *others)[1] == 2


def test_many_comparisons_ask_for_more_than_one():
    # Alone, z = 2.7 is sure; among 45 comparisons it is not.
    pair = [row_of(draws(27 + 2.7 * np.sqrt(2) * 0.1, 0.1, 0)), row_of(draws(27.0, 0.1, 1))]
    others = [row_of(draws(27.0 - 0.001 * row, 0.1, 2 + row)) for row in range(8)]
    assert ranked(*pair) == [1, 2]
    assert ranked(*pair, *others)[:2] == [1, 1]


def test_step_down_finds_what_one_step_does_not():
    # What is far apart anyway is set aside, and its pairs make the rest no harder to tell.
    close = [row_of(draws(10.0, 0.1, 0)), row_of(draws(10.0 - 2.9 * np.sqrt(2) * 0.1, 0.1, 1))]
    far = [row_of(draws(10.0 / 2**row, 0.1 / 2**row, 2 + row)) for row in range(1, 9)]
    assert ranked(*close, *far) == list(range(1, 11))
    alike = [row_of(draws(5.0 - 0.0001 * row, 0.1, 2 + row)) for row in range(8)]
    assert ranked(*close, *alike)[:2] == [1, 1]


def test_rows_that_no_resample_moves_differ_surely_or_not_at_all():
    still = [row_of(np.repeat(speed, 301)) for speed in (2.0, 1.0, 1.0, 1 + 1e-9)]
    assert ranked(*still) == [1, 2, 2, 2]


def test_settings_that_err_together_claim_together():
    # Ten settings miss in the same 2 % of resamples: that is one doubt, and not ten.
    best = np.full((10, 1001), 0.95)
    best[:, 1:21] = 0.7
    assert sure_sides([0.8, 0.6], best)[0].all()
    apart = np.full((10, 1001), 0.95)
    for row in range(10):
        apart[row, 1 + 20 * row : 21 + 20 * row] = 0.7
    assert sure_sides([0.8, 0.6], apart)[0].tolist() == [[False, True]] * 10


def test_a_setting_is_on_the_side_where_it_was_observed_or_on_none():
    marks = np.full((2, 101), 0.9)
    marks[0, 0] = 0.7
    reaching, missing = sure_sides([0.6, 0.8], marks)
    assert reaching.tolist() == [[True, False], [True, True]]
    assert not missing.any()
    assert sure_sides([0.95], marks)[1].all()
