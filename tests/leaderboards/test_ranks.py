"""Ranks: what they claim is true as often as they say, and what is true is found."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from parallelbench.leaderboards.ranks import surely_faster, surely_reaching, tied_ranks

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


def missing(row, share):
    """The same row, which misses the accuracy in a share of the resamples."""
    row = row.copy()
    row[1 : 1 + round(share * (len(row) - 1))] = np.nan
    return row


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
        rows = np.sort(rng.uniform(1, 2, 8))[::-1, None] * np.exp(
            rng.choice([0.001, 0.02, 0.2], (8, 1)) * rng.normal(size=(8, 301))
        )
        rows[rng.random(8) < 0.3, 1:60] = np.nan
        rows = rows[np.argsort(-rows[:, 0])]
        ranks = tied_ranks(rows)
        assert ranks == sorted(ranks)
        surely = surely_faster(rows)
        for one, other in np.argwhere(surely):
            assert ranks[one] < ranks[other]
        shared += len(ranks) - len(set(ranks))
        # A rank is one more than the number of rows above it.
        assert all(rank == 1 + sum(each < rank for each in ranks) for rank in ranks)
        mixed = rng.permutation(8)
        assert tied_ranks(rows[mixed]) == [ranks[row] for row in mixed]
    assert shared > 60


def test_a_rank_is_shared_until_one_of_its_rows_is_surely_faster():
    # The second is surely faster than the third; the first is too uncertain to say anything.
    rows = np.array([draws(5.0, 2.0, 0), draws(4.5, 0.01, 1), draws(4.0, 0.01, 2)])
    rows = np.abs(rows)
    assert tied_ranks(rows) == [1, 1, 3]
    assert tied_ranks(rows[[2, 0, 1]]) == [3, 1, 1]


def test_a_row_below_the_accuracy_has_no_rank_and_takes_none():
    absent = draws(9.0, 0.1, 0)
    absent[0] = np.nan
    assert tied_ranks(np.array([absent, draws(2.0, 0.01, 1), draws(1.0, 0.01, 2)])) == [None, 1, 2]
    assert tied_ranks(absent[None]) == [None]


@pytest.mark.parametrize("share", [0.01, 0.4, 0.999])
def test_misses_of_a_slower_row_hide_nothing(share):
    # The fault of a rule with a standard deviation: speed 0 in many resamples made it endless.
    fast, slow = draws(16.0, 0.1, 0), missing(draws(13.0, 0.1, 1), share)
    assert tied_ranks(np.array([fast, slow])) == [1, 2]
    others = [missing(draws(12.0 - each, 0.1, 2 + each), share) for each in range(6)]
    assert tied_ranks(np.array([fast, slow, *others]))[:3] == [1, 2, 3] or share > 0.9


def test_who_barely_reaches_the_accuracy_ranks_no_better_than_who_surely_does():
    best, safe = draws(6.0, 0.01, 0), draws(5.0, 0.01, 1)
    for barely in (missing(draws(5.0, 0.01, 2), 0.4), missing(draws(4.9, 1.0, 3), 0.4)):
        rows = np.abs(np.array([best, barely, safe]))
        rank = dict(zip(("best", "barely", "safe"), tied_ranks(rows), strict=True))
        assert rank["best"] == 1
        assert rank["safe"] == 2
        assert rank["barely"] >= rank["safe"]


def test_a_row_that_does_not_surely_reach_is_surely_faster_than_none():
    sure = np.array([draws(4.0, 0.01, 0), draws(2.0, 0.01, 1)])
    assert tied_ranks(sure) == [1, 2]
    assert tied_ranks(sure, np.array([True, False])) == [1, 2]
    assert tied_ranks(sure, np.array([False, True])) == [1, 1]


def test_resamples_in_the_other_order_contradict_a_claim_that_their_spread_would_make():
    # In 2 % of the resamples the faster row has half its speed: their spread is small enough.
    jumping = draws(16.0, 0.01, 0)
    jumping[1:41] = 7.0
    others = [draws(8.0 + 0.001 * each, 0.01, 1 + each) for each in range(10)]
    assert tied_ranks(np.array([jumping, *others]))[1] == 1
    jumping[1:41] = 16.0
    assert tied_ranks(np.array([jumping, *others]))[1] == 2


def test_many_comparisons_ask_for_more_than_one():
    # Alone, z = 2.7 is sure; among 45 comparisons it is not.
    pair = np.array([draws(27 + 2.7 * np.sqrt(2) * 0.1, 0.1, 0), draws(27.0, 0.1, 1)])
    others = np.array([draws(27.0, 0.1, 2 + row) for row in range(8)])
    assert tied_ranks(pair) == [1, 2]
    assert tied_ranks(np.vstack([pair, others]))[:2] == [1, 1]


def test_step_down_finds_what_one_step_does_not():
    # What is far apart anyway is set aside, and its pairs make the rest no harder to tell.
    close = [draws(10.0, 0.1, 0), draws(10.0 - 2.9 * np.sqrt(2) * 0.1, 0.1, 1)]
    far = [draws(10.0 / 2**row, 0.1 / 2**row, 2 + row) for row in range(1, 9)]
    assert tied_ranks(np.array([*close, *far])) == list(range(1, 11))
    alike = [draws(5.0, 0.1, 2 + row) for row in range(8)]
    assert tied_ranks(np.array([*close, *alike]))[:2] == [1, 1]


def test_rows_that_no_resample_moves_differ_surely_or_not_at_all():
    still = np.repeat([[2.0], [1.0], [1.0], [1 + 1e-9]], 301, axis=1)
    assert tied_ranks(still) == [1, 2, 2, 2]


def test_rows_that_err_together_claim_together():
    # Ten rows miss in the same 2 % of resamples: that is one doubt, and not ten.
    best = np.full((10, 1001), 0.95)
    best[:, 1:21] = 0.7
    assert surely_reaching([0.8, 0.6], best).all()
    apart = np.full((10, 1001), 0.95)
    for row in range(10):
        apart[row, 1 + 20 * row : 21 + 20 * row] = 0.7
    assert surely_reaching([0.8, 0.6], apart).tolist() == [[False, True]] * 10


def test_a_row_that_does_not_reach_as_observed_surely_reaches_nothing():
    best = np.full((1, 101), 0.9)
    best[0, 0] = 0.7
    assert surely_reaching([0.6, 0.8], best).tolist() == [[True, False]]
