"""Intervals that cover, tests that agree with scipy and with counting, estimates in bits."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from parallelbench.analysis.measures.statistics import (
    bonett_price,
    bootstrap_mean,
    clopper_pearson,
    clustered_standard_error,
    estimated_dependence,
    mcnemar,
    mcnemar_of,
    pair,
    paired_proportions,
    sign_flips,
)
from parallelbench.analysis.measures.sweep import IncompleteSweepError, speed_of
from parallelbench.results.intervals import percentile_interval, wilson
from support.fabricated import fabricated_record

# Proportions


def coverage(interval_of, count):
    """The exact chance, at each true share, that the interval of a binomial count holds it."""
    successes = np.arange(count + 1)
    low, high = np.array([interval_of(number, count) for number in successes.tolist()]).T
    return np.array(
        [
            stats.binom.pmf(successes[(low <= share) & (share <= high)], count, share).sum()
            for share in SHARES
        ]
    )


SHARES = np.linspace(0.02, 0.98, 49)


@pytest.mark.parametrize("count", [5, 20, 100])
def test_clopper_pearson_covers_at_least_as_often_as_it_says(count):
    assert coverage(clopper_pearson, count).min() >= 0.95


@pytest.mark.parametrize("count", [20, 100])
def test_wilson_covers_as_often_as_it_says_on_average(count):
    def interval_of(successes, count):
        return wilson(float(successes), float(count))

    assert coverage(interval_of, count).mean() == pytest.approx(0.95, abs=0.012)


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_inverts_the_binomial_tails(case):
    successes, count = case
    low, high = clopper_pearson(successes, count)
    assert low <= successes / count <= high
    if successes:
        assert stats.binom(count, low).sf(successes - 1) == pytest.approx(0.025, rel=1e-6)
    if successes < count:
        assert stats.binom(count, high).cdf(successes) == pytest.approx(0.025, rel=1e-6)


@pytest.mark.parametrize("case", [(-1, 5), (6, 5), (0, 0)])
def test_what_is_no_proportion_is_refused(case):
    with pytest.raises(ValueError, match=f"{case[0]} of {case[1]} is no proportion"):
        clopper_pearson(*case)


# Two decoders


def right(text):
    return np.array([letter == "1" for letter in text])


def test_mcnemar_by_hand():
    # Five to one among six: 2 * (1 + 6) / 64.
    found = mcnemar(right("1111101100"), right("0000011100"))
    assert found[:3] == (5, 1, 10)
    assert found.p_value == pytest.approx(14 / 64)


def test_decoders_that_agree_everywhere_do_not_differ():
    assert mcnemar(right("1100"), right("1100")) == (0, 0, 4, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=14))
def test_mcnemar_is_the_share_of_coin_throws_at_least_as_far_apart(rows):
    first, second = (np.array(side) for side in zip(*rows, strict=True))
    found = mcnemar(first, second)
    apart = found.only_first + found.only_second
    wanted = np.mean(
        [
            abs(2 * heads - apart) >= abs(found.only_first - found.only_second)
            for heads in map(sum, itertools.product((0, 1), repeat=apart))
        ]
    )
    assert found.p_value == pytest.approx(wanted)
    assert mcnemar(second, first).p_value == pytest.approx(found.p_value)


def test_the_interval_of_a_difference_by_hand():
    # Six to one of eight: shares 7/10 and 2/10, so 0.5 and a variance of (0.9 - 0.25) / 10.
    first, second = right("11111100"), right("00000010")
    half = 1.959964 * math.sqrt(0.065)
    found = bonett_price(first, second)
    assert found.interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    # The interval that misses as often as the p-value says ends at 0.
    assert bonett_price(first, second, error=found.p_value).interval.low == pytest.approx(0)


@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.3, 0.1), (0.02, 0.02), (0.5, 0.3)])
def test_the_interval_of_a_difference_covers_as_often_as_it_says(shares):
    count, covered = 40, 0.0
    for first, second in itertools.product(range(count + 1), repeat=2):
        if first + second > count:
            continue
        only_first = np.arange(count) < first
        only_second = (np.arange(count) >= first) & (np.arange(count) < first + second)
        low, high = bonett_price(only_first, only_second).interval
        if low <= shares[0] - shares[1] <= high:
            rest = count - first - second
            covered += stats.multinomial.pmf(
                [first, second, rest], count, [*shares, 1 - sum(shares)]
            )
    assert covered >= 0.94


def test_decoders_that_agree_everywhere_may_still_differ_elsewhere():
    low, high = bonett_price(right("1" * 100), right("1" * 100)).interval
    assert low == pytest.approx(-high)
    assert 0.02 < high < 0.04


def test_flipped_signs_test_what_mcnemar_tests():
    first, second = right("1" * 12 + "0" * 20), right("0" * 9 + "1" * 8 + "0" * 15)
    wanted = mcnemar(first, second).p_value
    found = sign_flips(first.astype(float) - second)
    assert found.p_value == pytest.approx(wanted, abs=0.015)
    assert sign_flips(np.zeros(5)).p_value == 1


def test_flipped_signs_agree_with_scipy_on_graded_marks():
    rng = np.random.default_rng(1)
    first = rng.random(12)
    second = first + rng.normal(0.1, 0.15, size=12)
    wanted = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert sign_flips(second - first).p_value == pytest.approx(wanted.pvalue, abs=0.01)


def agrees(found, error):
    low, high = found.interval
    return (found.p_value <= error) == (not low <= 0 <= high)


@pytest.mark.parametrize("error", [0.05, 0.05 / 3, 0.05 / 40])
def test_an_interval_holds_0_if_and_only_if_its_p_value_finds_nothing(error):
    rng = np.random.default_rng(8)
    refused = 0
    for _ in range(150):
        worse = rng.uniform(0, 0.3)
        shares = [worse, 1 - worse - (better := rng.uniform(0, 1 - worse)), better]
        differences = rng.choice([-1, 0, 1], size=rng.integers(1, 60), p=shares)
        first, second = differences > 0, differences < 0
        found = paired_proportions(first, second, error=error)
        assert agrees(found, error)
        assert found.p_value >= mcnemar(first, second).p_value
        assert agrees(bonett_price(first, second, error=error), error)
        assert agrees(sign_flips(differences / 4, error=error, flips=199), error)
        refused += found.p_value <= error
    assert 20 < refused < 130


def test_the_interval_of_flipped_signs_is_that_of_the_t_test_where_both_hold():
    differences = np.random.default_rng(3).normal(0.3, 1.0, size=200)
    found = sign_flips(differences).interval
    wanted = stats.ttest_1samp(differences, 0).confidence_interval()
    assert found == pytest.approx(tuple(wanted), abs=0.02)


def test_the_interval_of_flipped_signs_covers_as_often_as_it_says():
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        low, high = sign_flips(rng.exponential(size=30) - 1, flips=399).interval
        covered += low <= 0 <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_five_samples_bound_nothing():
    # One of 32 flips, and its opposite, reach whatever was seen: more than one in twenty.
    found = sign_flips(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert found.p_value == pytest.approx(2 / 32, abs=0.01)
    assert found.interval == (-math.inf, math.inf)


def test_a_paired_test_sees_what_two_intervals_cannot():
    rng = np.random.default_rng(0)
    hardness = rng.normal(size=100)
    first, second = hardness + 0.2 + rng.normal(scale=0.1, size=100), hardness
    low, high = sign_flips(first - second).interval
    assert 0 < low < 0.2 < high
    assert bootstrap_mean(first).interval.low < bootstrap_mean(second).interval.high


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=10))
def test_exchanging_the_decoders_turns_the_difference(values):
    differences = np.array(values)
    found, turned = sign_flips(differences, flips=99), sign_flips(-differences, flips=99)
    assert turned.p_value == found.p_value
    assert turned.interval == pytest.approx((-found.interval.high, -found.interval.low), abs=1e-9)


# Means over samples


def test_repeats_are_averaged_before_the_samples():
    found = bootstrap_mean(np.array([1.0, 0.0, 0.0, 1.0]), np.array([0, 0, 0, 1]))
    assert found.value == pytest.approx((1 / 3 + 1) / 2)
    assert found.samples == 2


def test_repeating_every_sample_makes_no_one_surer():
    values = np.random.default_rng(1).normal(size=30)
    alone = bootstrap_mean(values)
    repeated = bootstrap_mean(np.repeat(values, 5), np.repeat(np.arange(30), 5))
    assert repeated.value == pytest.approx(alone.value)
    assert repeated.interval == pytest.approx(alone.interval)
    assert repeated.samples == 30


def test_the_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(2).exponential(size=80)
    found = bootstrap_mean(values, resamples=4000)
    wanted = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    width = wanted.high - wanted.low
    assert found.interval == pytest.approx(tuple(wanted), abs=0.06 * width)


def test_the_bootstrap_covers_nearly_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        # Two repeats of each of 40 samples, more alike than two samples.
        sample = rng.normal(size=40)
        values = np.repeat(sample, 2) + rng.normal(scale=0.3, size=80)
        found = bootstrap_mean(values, np.repeat(np.arange(40), 2), resamples=300)
        covered += found.interval.low <= 0 <= found.interval.high
    # With 40 samples the percentile bootstrap covers 93.5 %.
    assert 0.91 <= covered / 400 <= 0.96


def test_values_that_are_all_alike_have_an_interval_of_no_width_and_one_alone_has_none():
    assert bootstrap_mean(np.full(9, 0.1)).interval == (0.1, 0.1)
    assert bootstrap_mean(np.array([0.1])) == (0.1, None, 1)


def test_the_same_seed_gives_the_same_interval():
    values = np.arange(20.0)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_a_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a mean needs at least one value, got none"):
        bootstrap_mean(np.array([]))


def test_the_middle_95_percent():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20))
def test_without_repeats_the_clustered_error_is_the_usual_one(values):
    found = clustered_standard_error(np.array(values), np.arange(len(values)))
    assert found == pytest.approx(stats.sem(values), abs=1e-9)


def test_repeats_that_are_copies_add_nothing_to_the_clustered_error():
    values = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    copied = clustered_standard_error(np.repeat(values, 4), np.repeat(list("abcde"), 4))
    assert copied == pytest.approx(stats.sem(values))


def test_the_clustered_error_by_hand():
    # Mean 3; cluster sums of residuals -3, 1, 2; 3/2 * 14 under the root, over 4 decodes.
    found = clustered_standard_error(np.array([1.0, 2.0, 4.0, 5.0]), np.array([0, 0, 1, 2]))
    assert found == pytest.approx(math.sqrt(1.5 * 14) / 4)


def test_a_single_cluster_says_nothing_of_its_error():
    assert clustered_standard_error(np.array([0.0, 1.0]), np.array([7, 7])) is None


# Pairs of records


def side(decoder, marks, **changes):
    return [fabricated_record(decoder, index, mark, **changes) for index, mark in marks.items()]


def test_records_are_paired_by_sample_and_not_by_place():
    first = side("random:k=1", {0: 1.0, 1: 0.0, 2: 1.0})
    second = side("random:k=2", {2: 0.0, 0: 1.0, 1: 1.0})
    pairs = pair(first, second)
    assert pairs.first.tolist() == [1, 0, 1]
    assert pairs.second.tolist() == [1, 1, 0]
    assert pairs.unpaired == 0
    assert mcnemar_of(pairs) == (1, 1, 3, 1.0)


def test_what_lacks_a_partner_or_a_mark_is_counted_and_left_out():
    first = side("random:k=1", {0: 1.0, 1: None, 2: 1.0})
    second = side("random:k=2", {0: 0.0, 1: 1.0, 3: 1.0})
    pairs = pair(first, second)
    assert (pairs.first.tolist(), pairs.second.tolist(), pairs.unpaired) == ([1], [0], 3)


def test_equal_numbers_of_other_tasks_are_no_pair():
    first = side("random:k=1", {0: 1.0}, task_label="copy")
    assert pair(first, side("random:k=2", {0: 1.0})).unpaired == 2


def test_speeds_are_paired_as_well():
    first = side("random:k=1", {0: 1.0, 1: 1.0}, nfe=8)
    pairs = pair(first, side("random:k=2", {0: 1.0, 1: 0.0}, nfe=4), speed_of)
    assert np.mean(pairs.first - pairs.second) == -4


def test_repeats_and_graded_marks_have_no_mcnemar():
    sides = [
        [fabricated_record(d, 0, 1.0, repeat=repeat) for repeat in range(2)]
        for d in ("random:k=1", "random:k=2")
    ]
    repeated = pair(*sides)
    assert repeated.cluster.tolist() == [0, 0]
    assert mcnemar_of(repeated) is None
    assert mcnemar_of(pair(side("a", {0: 0.5}), side("b", {0: 1.0}))) is None
    assert mcnemar_of(pair([], [])) is None


def test_a_side_that_mixes_settings_is_refused():
    mixed = side("random:k=1", {0: 1.0}) + side("random:k=2", {0: 1.0})
    with pytest.raises(ValueError, match="by random:k=1 with ideal and by random:k=2 with ideal"):
        pair(mixed, [])


def test_samples_of_two_seeds_are_not_paired():
    with pytest.raises(IncompleteSweepError, match="give every run the same seed"):
        pair(side("a", {0: 1.0}), side("b", {0: 1.0}, sample_digest="another"))


# Dependence


def test_coins_that_agree_share_one_bit():
    answers = np.array([["heads", "heads"], ["tails", "tails"]] * 20)
    found = estimated_dependence(answers, permutations=200)
    assert found.plug_in_bits == pytest.approx(1)
    # Two marginals and the joint have two outcomes each: (1 + 1 - 1) / (2 N ln 2).
    assert found.corrected_bits == pytest.approx(1 + 1 / (2 * 40 * math.log(2)))
    assert found.p_value == pytest.approx(1 / 201)
    assert found.standard_error_bits == 0
    assert (found.samples, found.permutations) == (40, 200)


def test_one_position_depends_on_nothing():
    found = estimated_dependence(np.array([[1], [2], [2]]), permutations=10)
    assert (found.plug_in_bits, found.corrected_bits, found.p_value) == (0, 0, 1)


def test_a_full_table_of_answers_is_independent():
    answers = np.array(list(itertools.product(range(3), repeat=3)))
    found = estimated_dependence(answers, permutations=50)
    assert found.plug_in_bits == pytest.approx(0, abs=1e-12)
    assert found.p_value == 1
    # Three marginals of 3 outcomes, 27 answers: the corrected estimate overshoots below 0.
    assert found.corrected_bits == pytest.approx((6 - 26) / (2 * 27 * math.log(2)))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), min_size=2, max_size=25
    )
)
def test_the_plug_in_is_the_sum_of_marginal_entropies_less_the_joint(rows):
    answers = np.array(rows)

    def entropy(symbols):
        counts = np.unique(symbols, axis=0, return_counts=True)[1]
        return stats.entropy(counts, base=2), len(counts) - 1

    parts = [entropy(column) for column in answers.T]
    joint = entropy(answers)
    plug_in = sum(bits for bits, _ in parts) - joint[0]
    extra = (sum(outcomes for _, outcomes in parts) - joint[1]) / (2 * len(rows) * math.log(2))
    found = estimated_dependence(answers, permutations=5)
    assert found.plug_in_bits == pytest.approx(plug_in, abs=1e-9)
    assert found.corrected_bits == pytest.approx(plug_in + extra, abs=1e-9)
    assert found.plug_in_bits >= 0


def copies(rng, count, share):
    """Two fair coins; the second copies the first with chance ``share``."""
    first, fresh = rng.integers(0, 2, (2, count))
    return np.column_stack([first, np.where(rng.random(count) < share, first, fresh)])


def test_the_correction_takes_off_the_bias_and_the_interval_covers():
    agree = 0.5 + 0.6 / 2
    truth = 1 - stats.entropy([agree, 1 - agree], base=2)
    rng = np.random.default_rng(6)
    found = [estimated_dependence(copies(rng, 150, 0.6), permutations=1) for _ in range(300)]
    plug_in = np.mean([f.plug_in_bits for f in found]) - truth
    corrected = np.mean([f.corrected_bits for f in found]) - truth
    # First order: (K_joint - 1 - sum(K_j - 1)) / (2 N ln 2) = 1 / (300 ln 2) = 0.0048.
    assert plug_in == pytest.approx(0.0048, abs=0.008)
    assert abs(corrected) < 0.008
    assert corrected < plug_in
    covered = np.mean([f.interval.low <= truth <= f.interval.high for f in found])
    assert 0.91 <= covered <= 0.98


def test_the_permutation_test_rejects_independence_as_rarely_as_it_says():
    rng = np.random.default_rng(7)
    found = [
        estimated_dependence(rng.integers(0, 3, (25, 3)), permutations=39).p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert np.mean(np.array(found) <= 0.5) == pytest.approx(0.5, abs=0.12)


def test_the_permutation_test_sees_dependence():
    answers = copies(np.random.default_rng(8), 60, 0.8)
    assert estimated_dependence(answers, permutations=99).p_value == pytest.approx(0.01)


def test_long_answers_do_not_overflow():
    rng = np.random.default_rng(9)
    answers = rng.integers(0, 10**6, (30, 40))
    found = estimated_dependence(answers, permutations=2)
    assert found.plug_in_bits == pytest.approx(39 * math.log2(30), rel=1e-3)


@pytest.mark.parametrize(("shape", "permutations"), [((1, 3), 9), ((4, 0), 9), ((4, 3), 0)])
def test_too_little_for_an_estimate_is_refused(shape, permutations):
    with pytest.raises(ValueError, match="an estimate needs at least 2 answers"):
        estimated_dependence(np.zeros(shape, dtype=int), permutations=permutations)
