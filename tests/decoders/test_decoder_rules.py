"""Each rule on canvases worked by hand, then against the same rule in plain Python."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.decoder import Progress, Statistics, Step
from parallelbench.decoders.confidence import Confidence
from parallelbench.decoders.confidence_factor import ConfidenceFactor
from parallelbench.decoders.confidence_threshold import ConfidenceThreshold
from parallelbench.decoders.entropy import Entropy
from parallelbench.decoders.entropy_bound import EntropyBound
from parallelbench.decoders.entropy_threshold import EntropyThreshold
from parallelbench.decoders.left_to_right import LeftToRight
from parallelbench.decoders.margin import Margin
from parallelbench.decoders.margin_threshold import MarginThreshold
from parallelbench.decoders.one_by_one import OneByOne
from parallelbench.decoders.pivot import Pivot
from parallelbench.decoders.random import Random

MASK = 7
#: A position that is not open: written already, or outside the window.
__ = None


def committed_rows(decoder, rows):
    """The positions chosen in each row of scores, of the one kind that the decoder reads."""
    length = max(map(len, rows))
    rows = [row + [__] * (length - len(row)) for row in rows]
    open_ = torch.tensor([[score is not __ for score in row] for row in rows])
    given = {}
    for name in decoder.needs - {"token"}:
        closed = {"entropy": torch.inf, "uniform": 0.99}.get(name, -torch.inf)
        given[name] = torch.tensor([[closed if s is __ else s for s in row] for row in rows])
    counts = torch.zeros(len(rows), dtype=torch.long)
    statistics = Statistics(token=torch.full(open_.shape, MASK), **given)
    chosen = decoder.choose(Step(statistics, open_, Progress(step=counts, initial=counts)))
    return [row.nonzero().flatten().tolist() for row in chosen]


def committed(decoder, scores):
    return committed_rows(decoder, [scores])[0]


# --- by hand -----------------------------------------------------------------------------


def test_one_by_one_takes_the_surest_open_position():
    assert committed(OneByOne(), [0.5, __, 0.91, __, 0.95, 0.9]) == [4]


@pytest.mark.parametrize("decoder", [Confidence, Margin, Random])
def test_the_highest_k_scores_are_taken(decoder):
    scores = [0.95, __, 0.5, 0.9, __, 0.91]  # in order: 0 (.95), 5 (.91), 3 (.9), 2 (.5)
    assert committed(decoder(k=1), scores) == [0]
    assert committed(decoder(k=2), scores) == [0, 5]
    assert committed(decoder(k=3), scores) == [0, 3, 5]


def test_entropy_takes_the_lowest_k():
    scores = [2.0, __, 0.1, 0.7, __, 0.0]  # in order: 5 (0), 2 (.1), 3 (.7), 0 (2)
    assert committed(Entropy(k=1), scores) == [5]
    assert committed(Entropy(k=3), scores) == [2, 3, 5]


def test_left_to_right_takes_the_first_open_positions_whatever_their_scores():
    assert committed(LeftToRight(k=2), [__, 0.1, __, 0.2, 0.9]) == [1, 3]


@pytest.mark.parametrize("decoder", [Confidence, Margin, Random, Entropy, LeftToRight])
def test_a_k_above_the_open_positions_takes_them_all(decoder):
    assert committed(decoder(k=8), [0.3, __, 0.2, __]) == [0, 2]


@pytest.mark.parametrize("decoder", [Confidence(k=2), Margin(k=2), Random(k=2), Entropy(k=2)])
def test_among_equal_scores_the_lower_index_wins(decoder):
    assert committed(decoder, [__, 0.5, 0.5, __, 0.5, 0.5]) == [1, 2]


@pytest.mark.parametrize(
    "decoder",
    [
        OneByOne(),
        ConfidenceThreshold(),
        MarginThreshold(),
        ConfidenceFactor(factor=0.5),
        ConfidenceFactor(factor=0.5, rule="published"),
    ],
)
def test_among_equally_best_positions_the_lower_index_is_committed_alone(decoder):
    # Below 0.9; and with factor 0.5, 3 (1 - 0.5) = 1.5 is not below 0.5 at rank 2 of 4.
    assert committed(decoder, [0.1, __, 0.5, 0.5, 0.5]) == [2]


def test_among_equally_low_entropies_the_lower_index_is_committed_alone():
    assert committed(EntropyThreshold(), [3.0, __, 2.0, 2.0]) == [2]
    assert committed(EntropyBound(), [3.0, __, 2.0, 2.0]) == [2]


@pytest.mark.parametrize("decoder", [ConfidenceThreshold, MarginThreshold])
def test_a_score_equal_to_the_threshold_passes_with_ge_and_fails_with_gt(decoder):
    scores = [0.95, __, 0.5, 0.9, __, 0.91]
    assert committed(decoder(), scores) == [0, 3, 5]
    assert committed(decoder(comparison="gt"), scores) == [0, 5]


@pytest.mark.parametrize("decoder", [ConfidenceThreshold, MarginThreshold])
def test_where_no_score_passes_the_best_is_committed(decoder):
    assert committed(decoder(), [0.3, __, 0.6, 0.2]) == [2]


@pytest.mark.parametrize("decoder", [ConfidenceThreshold, MarginThreshold])
def test_where_every_score_passes_all_are_committed(decoder):
    assert committed(decoder(threshold=0.25), [0.3, __, 0.6, 0.25]) == [0, 2, 3]


def test_at_a_threshold_of_one_ge_takes_every_certain_position_and_gt_only_the_first():
    scores = [0.99, 1.0, __, 1.0]
    assert committed(ConfidenceThreshold(threshold=1.0), scores) == [1, 3]
    assert committed(ConfidenceThreshold(threshold=1.0, comparison="gt"), scores) == [1]


def test_an_entropy_equal_to_the_threshold_passes_with_le_and_fails_with_lt():
    scores = [0.5, __, 0.2, 0.51, __]
    assert committed(EntropyThreshold(), scores) == [0, 2]
    assert committed(EntropyThreshold(comparison="lt"), scores) == [2]


def test_an_entropy_threshold_may_exceed_one():
    assert committed(EntropyThreshold(threshold=2.5), [3.0, __, 2.5, 2.0]) == [2, 3]


@pytest.mark.parametrize("rule", ["paper", "published"])
def test_factor_commits_the_most_that_are_sure_enough_for_their_number(rule):
    # Ranked: .95, .91, .9, .5, .4;  (n + 1)(1 - c) = .1, .27, .4, 2.5, 3.6;  three below 1.
    scores = [0.95, __, 0.5, 0.9, __, 0.91, 0.4]
    assert committed(ConfidenceFactor(rule=rule), scores) == [0, 3, 5]


def test_published_factor_does_not_notice_a_failure_at_the_last_rank():
    scores = [0.95, __, 0.5, 0.9, __, 0.91]  # as above without the .4: only rank 4 of 4 fails
    assert committed(ConfidenceFactor(), scores) == [0, 3, 5]
    assert committed(ConfidenceFactor(rule="published"), scores) == [0, 2, 3, 5]


def test_published_factor_lets_equality_pass_and_the_paper_does_not():
    # Ranked: .9, .8, .75, .1, 0;  at rank 3, 4 (1 - .75) = 1 is not below 1.
    scores = [0.75, 0.9, __, 0.1, 0.8, 0.0]
    assert committed(ConfidenceFactor(), scores) == [1, 4]
    assert committed(ConfidenceFactor(rule="published"), scores) == [0, 1, 4]


@pytest.mark.parametrize("rule", ["paper", "published"])
def test_equality_with_a_factor_threshold_survives_rounding_to_float32(rule):
    # At rank 4, the threshold is 1 - 1/5 = .8 and so is the confidence.
    scores = [0.9, 0.9, 0.9, 0.8, 0.1, 0.1]
    expected = {"paper": [0, 1, 2], "published": [0, 1, 2, 3]}
    assert committed(ConfidenceFactor(rule=rule), scores) == expected[rule]


@pytest.mark.parametrize("rule", ["paper", "published"])
def test_factor_commits_all_where_all_are_sure_enough(rule):
    # 2 (.01), 3 (.02), 4 (.03): all below 1.
    assert committed(ConfidenceFactor(rule=rule), [0.98, __, 0.99, 0.97]) == [0, 2, 3]


@pytest.mark.parametrize("rule", ["paper", "published"])
def test_factor_commits_the_best_where_none_is_sure_enough(rule):
    # 2 (1 - .3) = 1.4 fails at rank 1, and so do 3 (.75) and 4 (.8).
    assert committed(ConfidenceFactor(rule=rule), [0.2, __, 0.3, 0.25]) == [2]


@pytest.mark.parametrize("rule", ["paper", "published"])
def test_factor_commits_the_only_position_whatever_its_confidence(rule):
    assert committed(ConfidenceFactor(rule=rule), [__, 0.01, __]) == [1]


def test_a_larger_factor_commits_more():
    # Ranked: .9, .6, .5;  (n + 1)(1 - c) = .2, 1.2, 2.
    scores = [0.5, 0.9, 0.6]
    assert committed(ConfidenceFactor(factor=1.2), scores) == [1]
    assert committed(ConfidenceFactor(factor=1.3), scores) == [1, 2]
    assert committed(ConfidenceFactor(factor=2.1), scores) == [0, 1, 2]


def test_entropy_bound_adds_up_the_entropies_before_each():
    scores = [0.05, __, 0.0, 0.04, __, 0.3]  # ascending 0, .04, .05, .3; before 0, 0, .04, .09
    assert committed(EntropyBound(bound=0.1), scores) == [0, 2, 3, 5]
    assert committed(EntropyBound(bound=0.05), scores) == [0, 2, 3]
    assert committed(EntropyBound(bound=0.01), scores) == [2, 3]


def test_entropies_that_reach_the_bound_exactly_are_within_it():
    assert committed(EntropyBound(bound=0.25), [0.25, 0.25, __, 0.5]) == [0, 1]


def test_a_bound_of_zero_commits_every_certain_position_and_one_more():
    assert committed(EntropyBound(bound=0.0), [0.3, 0.0, __, 0.2, 0.0]) == [1, 3, 4]
    assert committed(EntropyBound(bound=0.0), [0.0, __, 0.0]) == [0, 2]


def test_the_lowest_entropy_is_committed_even_above_the_bound():
    assert committed(EntropyBound(), [3.0, __, 2.0]) == [2]
    assert committed(EntropyBound(), [__, 9.0]) == [1]


def test_many_small_entropies_are_not_lost_beside_large_ones():
    # In float32, 1 + 2**-25 is 1 again: the sum would never leave the bound.
    scores = [1.0, 1.0, *[2.0**-25] * 2]
    assert committed(EntropyBound(bound=1.0), scores) == [0, 2, 3]


def test_the_pivot_is_the_least_certain_position_beside_all_certain_ones():
    scores = [0.05, __, 2.0, 0.06, 0.0, 1.9]
    assert committed(Pivot(certain=0.05), scores) == [0, 2, 4]
    assert committed(Pivot(certain=0.04), scores) == [2, 4]


def test_where_all_positions_are_certain_all_are_committed_and_where_none_is_one():
    assert committed(Pivot(certain=0.1), [0.1, __, 0.0]) == [0, 2]
    assert committed(Pivot(certain=0.0), [0.1, __, 0.3, 0.2]) == [2]


def test_of_equal_pivots_the_lower_index_is_committed():
    assert committed(Pivot(certain=0.5), [__, 1.0, 1.0, 0.7]) == [1]


# --- in plain Python ---------------------------------------------------------------------
# Exact: the scores and fields below are dyadic, and so are their sums and products.


def best_first(row, sign):
    return sorted(
        (i for i, score in enumerate(row) if score is not __), key=lambda i: (-sign * row[i], i)
    )


def plain_top(row, k, sign=1):
    return best_first(row, sign)[:k]


def plain_threshold(row, threshold, comparison):
    passes = {
        "ge": lambda score: score >= threshold,
        "gt": lambda score: score > threshold,
        "le": lambda score: score <= threshold,
        "lt": lambda score: score < threshold,
    }[comparison]
    ranked = best_first(row, 1 if comparison in ("ge", "gt") else -1)
    return [i for i in ranked if passes(row[i]) or i == ranked[0]]


def plain_paper_factor(row, factor):
    ranked = best_first(row, 1)
    count = 1
    for n, i in enumerate(ranked, start=1):
        if (n + 1) * (1 - row[i]) < factor:
            count = n
    return ranked[:count]


def plain_published_factor(row, factor):
    ranked = best_first(row, 1)
    thresholds = [1 - Fraction(factor) / (n + 1) for n in range(1, len(ranked) + 1)]
    thresholds[0] = -1
    last = len(ranked) - 1
    failures = (j for j, i in enumerate(ranked) if Fraction(row[i]) < thresholds[j])
    j = next(failures, last)
    return ranked[: j + 1 if j in (0, last) else j]


def plain_pivot(row, certain):
    least_certain_first = best_first(row, 1)
    others = [i for i in least_certain_first if row[i] > certain]
    return [i for i in least_certain_first if row[i] <= certain] + others[:1]


def plain_entropy_bound(row, bound):
    ranked = best_first(row, -1)
    entropies = [row[i] for i in ranked]
    groups = [entropies[:n] for n in range(1, len(ranked) + 1)]
    count = sum(sum(group) - max(group) <= bound for group in groups)
    return ranked[: min(max(count, 1), len(ranked))]


def canvases(scores):
    """Ragged rows of scores, closed positions in between; at least one open in each."""
    row = st.lists(st.one_of(st.sampled_from(scores), st.none()), min_size=1, max_size=12)
    return st.lists(row.filter(lambda row: row != [__] * len(row)), min_size=1, max_size=3)


def assert_agrees(decoder, rows, plain, **fields):
    assert committed_rows(decoder, rows) == [sorted(plain(row, **fields)) for row in rows]


PROBABILITIES = [0.0, 0.25, 0.5, 0.625, 0.75, 0.8125, 0.875, 0.9375, 1.0]
ENTROPIES = [0.0, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 11.75]
many = settings(max_examples=200, deadline=None)
counts = st.integers(1, 13)


@many
@given(canvases(PROBABILITIES))
def test_one_by_one_agrees_with_plain_python(rows):
    assert_agrees(OneByOne(), rows, plain_top, k=1)


@many
@given(st.sampled_from([Confidence, Margin, Random]), canvases(PROBABILITIES), counts)
def test_fixed_counts_of_the_highest_agree_with_plain_python(decoder, rows, k):
    assert_agrees(decoder(k=k), rows, plain_top, k=k)


@many
@given(canvases(ENTROPIES), counts)
def test_fixed_counts_of_the_lowest_entropy_agree_with_plain_python(rows, k):
    assert_agrees(Entropy(k=k), rows, plain_top, k=k, sign=-1)


@many
@given(canvases(PROBABILITIES), counts)
def test_left_to_right_agrees_with_plain_python(rows, k):
    chosen = committed_rows(LeftToRight(k=k), rows)
    assert chosen == [[i for i, s in enumerate(row) if s is not __][:k] for row in rows]


@many
@given(
    st.sampled_from([ConfidenceThreshold, MarginThreshold]),
    canvases(PROBABILITIES),
    st.sampled_from(PROBABILITIES[1:]),
    st.sampled_from(["ge", "gt"]),
)
def test_probability_thresholds_agree_with_plain_python(decoder, rows, threshold, comparison):
    fields = {"threshold": threshold, "comparison": comparison}
    assert_agrees(decoder(**fields), rows, plain_threshold, **fields)


@many
@given(canvases(ENTROPIES), st.sampled_from(ENTROPIES[1:]), st.sampled_from(["le", "lt"]))
def test_entropy_threshold_agrees_with_plain_python(rows, threshold, comparison):
    fields = {"threshold": threshold, "comparison": comparison}
    assert_agrees(EntropyThreshold(**fields), rows, plain_threshold, **fields)


FACTORS = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 14.0])


@many
@given(canvases(PROBABILITIES), FACTORS)
def test_paper_factor_agrees_with_plain_python(rows, factor):
    assert_agrees(ConfidenceFactor(factor=factor), rows, plain_paper_factor, factor=factor)


@many
@given(canvases(PROBABILITIES), FACTORS)
def test_published_factor_agrees_with_plain_python(rows, factor):
    decoder = ConfidenceFactor(factor=factor, rule="published")
    assert_agrees(decoder, rows, plain_published_factor, factor=factor)


@many
@given(canvases(ENTROPIES), st.sampled_from(ENTROPIES))
def test_entropy_bound_agrees_with_plain_python(rows, bound):
    assert_agrees(EntropyBound(bound=bound), rows, plain_entropy_bound, bound=bound)


@many
@given(canvases(ENTROPIES), st.sampled_from(ENTROPIES))
def test_pivot_agrees_with_plain_python(rows, certain):
    assert_agrees(Pivot(certain=certain), rows, plain_pivot, certain=certain)
