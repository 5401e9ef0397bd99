"""The speed limit of policies that see what they wrote, against brute force over policies."""

import itertools
import math
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelbench.analysis.theory.adaptive import (
    FrontierPoint,
    adaptive_frontier,
    in_order,
    outcome,
    simulate,
    without_error,
    zero_error_steps,
)
from parallelbench.analysis.theory.bounds import (
    OverLimitError,
    best_partitions,
    least_validity,
    partition_bits,
    validity,
)
from parallelbench.analysis.theory.closed_forms import (
    insert_random_steps,
    remove_random_steps,
    replace_random_steps,
    shuffle_bits,
)
from parallelbench.analysis.theory.dependence import Law, independent, total_correlation
from support.laws import WITH_A_CHOICE, law_of, laws, quick

AGREE = Law.counted([[0, 0], [1, 1]])
EVEN = Law.counted([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])


def by_brute_force(law, price):
    """The least price of all policies: every set in every context, no state merged."""

    @cache
    def best(alive, still_open):
        if not still_open:
            return 0.0
        here = law.select(np.array(alive))
        least = math.inf
        for size in range(1, len(still_open) + 1):
            for chosen in itertools.combinations(still_open, size):
                total = price(here, chosen)
                if total == math.inf:
                    continue
                left = tuple(one for one in still_open if one not in chosen)
                keys = here.keys(chosen)
                for key in np.unique(keys):
                    mass = here.probabilities[keys == key].sum()
                    total += mass * best(tuple(np.array(alive)[keys == key].tolist()), left)
                least = min(least, total)
        return least

    return best(tuple(range(len(law))), tuple(range(law.length)))


def step_if_free(law, chosen):
    return 1.0 if independent(law, chosen) else math.inf


@quick
@given(laws(positions=(1, 3)))
def test_the_zero_error_corner_is_that_of_brute_force(law):
    found = zero_error_steps(law)
    assert found.method == "exact"
    assert found.expected_steps == pytest.approx(by_brute_force(law, step_if_free))


@quick
@given(laws(positions=(1, 3)), st.floats(0.01, 3))
def test_no_policy_goes_below_the_frontier(law, weight):
    frontier = adaptive_frontier(law, greedy=False)
    least = by_brute_force(law, lambda here, set_: weight + total_correlation(here, set_))
    along = min(point.bits + weight * point.expected_steps for point in frontier.points)
    assert along == pytest.approx(least, abs=1e-9)


@quick
@given(laws(positions=(1, 3)))
def test_the_frontier_falls_and_is_convex_and_ends_without_error(law):
    points = adaptive_frontier(law, greedy=False).points
    assert points[0].bits == pytest.approx(total_correlation(law), abs=1e-9)
    assert points[0].expected_steps == 1
    assert points[-1].bits == 0
    corner = zero_error_steps(law, greedy=False).expected_steps
    assert points[-1].expected_steps == pytest.approx(corner)
    slopes = [
        (after.bits - before.bits) / (after.expected_steps - before.expected_steps)
        for before, after in itertools.pairwise(points)
    ]
    assert all(slope < 0 for slope in slopes)
    assert all(one < other + 1e-6 for one, other in itertools.pairwise(slopes))


@quick
@given(laws(positions=(1, 4)))
def test_seeing_what_was_written_never_hurts(law):
    exact, greedy = adaptive_frontier(law, greedy=False), adaptive_frontier(law, greedy=True)
    for steps, bound in enumerate(best_partitions(law), start=1):
        assert exact.bits_at(float(steps)) <= bound.bits + 1e-9
    for point in greedy.points:
        assert exact.bits_at(point.expected_steps) <= point.bits + 1e-9
    slow = zero_error_steps(law, greedy=True)
    assert slow.method == "greedy"
    assert slow.expected_steps >= exact.points[-1].expected_steps - 1e-9


@quick
@given(laws(positions=(1, 4)))
def test_the_greedy_corner_is_what_its_policy_comes_to(law):
    found = outcome(law, without_error)
    assert found.bits == pytest.approx(0, abs=1e-9)
    assert found.validity == pytest.approx(1)
    assert found.expected_steps == pytest.approx(zero_error_steps(law, greedy=True).expected_steps)


@pytest.mark.parametrize("text", WITH_A_CHOICE)
def test_every_task_has_a_frontier_below_its_fixed_partitions(text):
    law = law_of(text)
    frontier = adaptive_frontier(law)
    assert frontier.method == "exact"
    for steps, bound in enumerate(best_partitions(law), start=1):
        assert frontier.bits_at(float(steps)) <= bound.bits + 1e-9
    corner = zero_error_steps(law)
    assert frontier.points[-1] == FrontierPoint(pytest.approx(corner.expected_steps), 0.0)


@pytest.mark.parametrize("n", [2, 3, 4, 6, 8])
@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("list_operations/insert_random:length={}", insert_random_steps),
        ("list_operations/remove_random:length={}", remove_random_steps),
        ("list_operations/replace_random:length={}", replace_random_steps),
    ],
)
def test_the_corner_is_that_of_the_recursion(text, formula, n):
    found = zero_error_steps(law_of(text.format(n)), greedy=False)
    assert found.expected_steps == pytest.approx(formula(n))


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("list_operations/insert_random:length=6", 20 / 7),  # 2.86
        ("list_operations/insert_random:length=15", 3.875),
        ("list_operations/remove_random:length=16", 4),
        ("puzzles/latin_square:size=3", 3),
        ("choices/dice", 1),
        ("choices/city", 2),
        ("choices/city:options=2", 1),
        ("choices/roster", 2),
        ("list_operations/shuffle:length=5,allow_identity=true", 5),
        ("list_operations/copy", 1),
    ],
)
def test_the_corner_is_the_known_one(text, steps):
    assert zero_error_steps(law_of(text))[:2] == (pytest.approx(steps), "exact")


def test_inserting_is_a_binary_search():
    steps = [insert_random_steps(2**power - 2) for power in range(2, 12)]
    assert [after - before for before, after in itertools.pairwise(steps)] == pytest.approx(
        [1] * 9, abs=0.5
    )
    assert insert_random_steps(1000) < 2 + math.log2(1000)


def test_the_pivot_is_not_always_the_best():
    assert zero_error_steps(law_of("puzzles/latin_square:size=3"), greedy=True)[:2] == (
        3.5,
        "greedy",
    )


def test_an_independent_set_that_spoils_what_follows_is_not_taken_blindly():
    # Two bits are independent until their sum is known.
    assert zero_error_steps(EVEN).expected_steps == 2
    assert adaptive_frontier(EVEN).points == (FrontierPoint(1.0, 1.0), FrontierPoint(2.0, 0.0))


def test_a_latin_square_of_four_needs_fewer_steps_than_the_pivot_takes():
    # In a program of its own: checking types in every call would take a minute.
    work = (
        "from parallelbench.registry import load_plugins; load_plugins()\n"
        "from support.laws import law_of\n"
        "from parallelbench.analysis.theory.adaptive import zero_error_steps\n"
        "print(*zero_error_steps(law_of('puzzles/latin_square:size=4'), limit=5000)[:2])"
    )
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", work], check=True, capture_output=True, text=True, cwd=tests
    )
    steps, method = done.stdout.split()
    assert float(steps) == pytest.approx(14 / 3)
    assert method == "exact"


def test_a_law_over_the_limit_is_solved_greedily_and_says_so():
    law = law_of("puzzles/latin_square:size=4")
    found = zero_error_steps(law, limit=100)
    assert found.method == "greedy"
    assert found.expected_steps == pytest.approx(37 / 6)  # the rule Pivot takes 6.17
    with pytest.raises(OverLimitError, match="more than 100 pairs of a state and a set"):
        zero_error_steps(law, limit=100, greedy=False)
    small = law_of("list_operations/insert_random:length=4")
    assert adaptive_frontier(small, limit=40).method == "greedy"
    with pytest.raises(OverLimitError, match="more than 3 pairs"):
        adaptive_frontier(small, limit=3)


# What a policy comes to.


@quick
@given(laws(positions=(1, 4)), st.data())
def test_a_fixed_partition_comes_to_its_bits_and_validity(law, data):
    steps = [data.draw(st.integers(0, law.length - 1)) for _ in range(law.length)]
    partition = [[p for p in range(law.length) if steps[p] == t] for t in sorted(set(steps))]
    found = outcome(law, in_order(partition, law))
    assert found.expected_steps == pytest.approx(len(partition))
    assert found.bits == pytest.approx(partition_bits(law, partition), abs=1e-9)
    assert found.validity == pytest.approx(validity(law, partition))


@quick
@given(laws(positions=(1, 4)), st.integers(0, 2**32 - 1))
def test_every_policy_keeps_above_the_frontier_and_the_validity_bound(law, seed):
    def policy(here, still_open):
        # Any choice that depends on nothing but the context.
        rng = np.random.default_rng([seed, len(here), *still_open, *here.rows.sum(axis=0).tolist()])
        return rng.permutation(still_open)[: rng.integers(1, len(still_open) + 1)].tolist()

    found = outcome(law, policy)
    assert found.validity >= least_validity(found.bits) - 1e-9
    frontier = adaptive_frontier(law, greedy=False)
    assert found.bits >= frontier.bits_at(found.expected_steps) - 1e-9


def in_pairs(law):
    return in_order([range(law.length)[i : i + 2] for i in range(0, law.length, 2)], law)


@pytest.mark.parametrize(
    ("text", "greedy", "right"),
    [
        ("list_operations/replace_random:length=6", True, 0.5),
        ("list_operations/replace_random:length=4", True, 0.5),
        (
            "list_operations/shuffle:length=4,allow_identity=true",
            True,
            least_validity(shuffle_bits(4, [2, 2])),
        ),
        (
            "list_operations/shuffle:length=4,allow_identity=true",
            False,
            least_validity(shuffle_bits(4, [2, 2])),
        ),
        ("choices/city", False, 0.5),
    ],
)
def test_pairs_are_right_as_often_as_the_theory_says(text, greedy, right):
    law = law_of(text)
    policy = in_pairs(law)
    assert outcome(law, policy, greedy=greedy).validity == pytest.approx(right)
    rng = np.random.default_rng(0)
    measured = simulate(law, policy, rng, 400, greedy=greedy)
    assert measured.decodes == 400
    assert measured.low <= measured.validity <= measured.high
    assert measured.low - 0.05 <= right <= measured.high + 0.05


def test_a_greedy_decoder_of_three_a_step_never_replaces_an_item():
    law = law_of("list_operations/replace_random:length=6")
    threes = in_order([range(3), range(3, 6)], law)
    assert outcome(law, threes, greedy=True).validity == 0
    assert simulate(law, threes, np.random.default_rng(0), 20, greedy=True).validity == 0


@pytest.mark.parametrize("text", WITH_A_CHOICE)
def test_decoding_without_error_is_always_right(text):
    law = law_of(text)
    rng = np.random.default_rng(0)
    for greedy in (False, True):
        assert outcome(law, without_error, greedy=greedy).validity == pytest.approx(1)
        assert simulate(law, without_error, rng, 10, greedy=greedy).validity == 1


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"open positions \[0, 1\], got \[\]"):
        outcome(AGREE, lambda *_: [])
    with pytest.raises(ValueError, match=r"open positions \[0, 1\], got \[5\]"):
        simulate(AGREE, lambda *_: [5], np.random.default_rng(0), 1)
    with pytest.raises(ValueError, match="at least 1 decode, got count=0"):
        simulate(AGREE, in_order([{0, 1}], AGREE), np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match="exactly one step"):
        in_order([{0}], AGREE)
    with pytest.raises(OverLimitError, match="more than 2 contexts"):
        outcome(AGREE, in_order([{0}, {1}], AGREE), limit=2)
