"""The fastest allowed policy against a search through all policies, from the definition."""

import functools
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.adaptive import zero_error_steps
from parallelbench.analysis.theory.bounds import OverLimitError
from parallelbench.analysis.theory.dependence import Law, total_correlation
from parallelbench.analysis.theory.fewest_steps import (
    Policy,
    largest_set,
    policy_within,
    reduced,
)

EPSILONS = (0.0, 0.3, 1.0, 2.5)


def bits(law, positions):
    """C of some positions, in bits, from its definition; the law maps rows to weights."""
    total = sum(law.values())

    def entropy(which):
        counts = Counter()
        for row, weight in law.items():
            counts[tuple(row[p] for p in which)] += weight
        return -sum(c / total * math.log2(c / total) for c in counts.values())

    return sum(entropy([p]) for p in positions) - entropy(positions)


def branches(law, positions):
    """The laws that can be left once some positions are written, with their shares."""
    parts = {}
    for row, weight in law.items():
        parts.setdefault(tuple(row[p] for p in positions), {})[row] = weight
    total = sum(law.values())
    return [(sum(part.values()) / total, part) for part in parts.values()]


def subsets(items):
    return itertools.chain.from_iterable(
        itertools.combinations(items, size) for size in range(1, len(items) + 1)
    )


def fewest_steps_of_all_policies(law, eps):
    """Every policy is tried; nothing is taken to be free, grouped or cut short."""

    @functools.cache
    def best(left, still_open):
        if not still_open:
            return 0.0
        here = dict(left)
        return 1 + min(
            sum(
                share * best(tuple(sorted(part.items())), tuple(set(still_open) - set(chosen)))
                for share, part in branches(here, chosen)
            )
            for chosen in subsets(still_open)
            if bits(here, chosen) <= eps + 1e-9
        )

    positions = range(len(next(iter(law))))
    return best(tuple(sorted(law.items())), tuple(positions))


def start(law):
    rows = np.array(list(law))
    return reduced(rows.T, np.array(list(law.values())))


def steps_by_walking(law, policy, eps):
    """Expected steps when every answer is revealed as the policy says; checks every step."""

    def walk(left, still_open):
        if not still_open:
            return 0.0
        rows = np.array(list(left))[:, still_open]
        state, classes = reduced(rows.T, np.array(list(left.values())))
        uncertain = {position for members in classes for position in members}
        written = [place for place in range(len(still_open)) if place not in uncertain]
        if state is not None:
            choice = policy(state)
            counts = Counter(choice.columns)
            for column, members in enumerate(classes):
                written += members if choice.whole else members[: counts[column]]
        chosen = [still_open[place] for place in written]
        assert chosen
        assert bits(left, chosen) <= eps + 1e-9
        rest = [position for position in still_open if position not in chosen]
        return 1 + sum(share * walk(part, rest) for share, part in branches(left, chosen))

    return walk(law, list(range(len(next(iter(law))))))


laws = st.dictionaries(
    st.tuples(*[st.integers(0, 2)] * 4), st.integers(1, 3), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(laws, st.sampled_from(EPSILONS))
def test_no_policy_needs_fewer_expected_steps(law, eps):
    state, _ = start(law)
    assert Policy(state, eps).expected_steps == pytest.approx(
        fewest_steps_of_all_policies(law, eps)
    )


@settings(max_examples=60, deadline=None)
@given(laws, st.sampled_from(EPSILONS))
def test_following_the_policy_takes_the_steps_it_promises_and_keeps_to_eps(law, eps):
    policy = Policy(start(law)[0], eps)
    assert steps_by_walking(law, policy, eps) == pytest.approx(policy.expected_steps)


@settings(max_examples=60, deadline=None)
@given(laws, st.sampled_from(EPSILONS))
def test_the_greedy_choice_keeps_to_eps_and_ends(law, eps):
    taken = steps_by_walking(law, lambda state: largest_set(state, eps), eps)
    assert Policy(start(law)[0], eps).expected_steps - 1e-9 <= taken <= 4


@settings(max_examples=60, deadline=None)
@given(laws)
def test_more_bits_a_step_never_need_more_steps(law):
    steps = [Policy(start(law)[0], eps).expected_steps for eps in EPSILONS]
    for more, fewer in itertools.pairwise(steps):
        assert fewer <= more + 1e-9


@settings(max_examples=60, deadline=None)
@given(laws)
def test_without_error_it_is_the_corner_of_the_frontier(law):
    listed = Law.counted(np.array(list(law)), np.array(list(law.values())))
    corner = zero_error_steps(listed, greedy=False)
    assert Policy(start(law)[0], 0.0).expected_steps == pytest.approx(corner.expected_steps)


@settings(max_examples=60, deadline=None)
@given(laws, st.permutations(range(4)), st.sampled_from(EPSILONS))
def test_names_of_symbols_and_places_of_positions_do_not_matter(law, order, eps):
    renamed = {tuple(9 - row[p] for p in order): weight for row, weight in law.items()}
    before, after = start(law)[0], start(renamed)[0]
    assert Policy(before, eps).expected_steps == Policy(after, eps).expected_steps
    if before is not None:
        assert before.canonical.state == after.canonical.state
        tripled, _ = start({row: 3 * weight for row, weight in law.items()})
        assert tripled == before


@settings(max_examples=60, deadline=None)
@given(laws, st.sampled_from(EPSILONS))
def test_the_greedy_choice_is_the_largest_set_and_leaves_the_fewest_answers_of_equals(law, eps):
    state, _ = start(law)
    if state is None or max(state.copies) > 1:
        return
    rows = Law.counted(state.columns.T, state.weights)
    columns = range(len(state.copies))
    allowed = [s for s in subsets(columns) if total_correlation(rows, s) <= eps + 1e-9]
    largest = max(map(len, allowed))

    def left(chosen):
        return sum(rows.masses(chosen) ** 2) if len(set(law.values())) == 1 else 0

    choice = largest_set(state, eps)
    assert len(choice.columns) == largest
    if largest < len(state.copies):
        fewest = min(left(s) for s in allowed if len(s) == largest)
        assert left(choice.columns) == pytest.approx(fewest)


def test_inserting_anywhere_is_a_binary_search():
    # A new item 9 in one of eight gaps of 1 ... 7: one step for each halving, then the rest.
    items = list(range(1, 8))
    law = {(*items[:gap], 9, *items[gap:]): 1 for gap in range(8)}
    state, _ = start(law)
    assert largest_set(state, 0.0).columns[0] in (3, 4)
    assert Policy(state, 0.0).expected_steps <= 1 + math.log2(8)


def test_words_of_one_name_count_as_one_until_a_step_may_hold_them_all():
    law = {(0, 0, 0): 1, (1, 1, 1): 1}
    state, classes = start(law)
    assert (state.copies, classes) == ((3,), ((0, 1, 2),))
    # Three equal coins cost two bits together: one step; with less, one and then the rest.
    assert [Policy(state, eps).expected_steps for eps in (0.0, 1.0, 1.99, 2.0)] == [2, 2, 2, 1]
    assert largest_set(state, 1.0).columns == (0, 0)
    assert largest_set(state, 2.0).whole


def test_a_law_of_one_answer_takes_one_step():
    state, classes = start({(4, 5): 7})
    assert (state, classes) == (None, ())
    assert Policy(state, 0.0).expected_steps == 1


def test_a_law_over_the_limit_is_refused_with_the_number():
    state, _ = start(dict.fromkeys(itertools.permutations(range(4)), 1))
    # One set for each open position, but the last two decide each other: 4 + 3 + 1.
    assert Policy(state, 0.0).choices == 8
    assert Policy(state, 0.0, limit=8).expected_steps == 4
    with pytest.raises(OverLimitError, match=r"more than 7 pairs .* eps=0\.0"):
        Policy(state, 0.0, limit=7)
    assert policy_within(state, 0.0, 7) is None
    assert policy_within(state, 0.0, 8).expected_steps == 4


def test_dependence_too_weak_for_its_bits_to_show_is_still_dependence():
    # Two coins of 400,000 tosses, a few tosses off independence: less than 1e-9 bits.
    law = {(0, 0): 100001, (0, 1): 99999, (1, 0): 99999, (1, 1): 100001}
    assert bits(law, (0, 1)) < 1e-9
    state, _ = start(law)
    assert Policy(state, 0.0).expected_steps == 2
    assert Policy(state, 1e-6).expected_steps == 1
    # The same where it is a part of what is open: a third position names the pair.
    state, _ = start({(a, b, 2 * a + b): weight for (a, b), weight in law.items()})
    assert [len(largest_set(state, eps).columns) for eps in (0.0, 1e-6)] == [1, 2]
