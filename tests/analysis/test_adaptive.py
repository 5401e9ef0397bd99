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
    zero_error_steps,
)
from parallelbench.analysis.theory.bounds import (
    OverLimitError,
    best_partitions,
    least_validity,
    validity,
)
from parallelbench.analysis.theory.closed_forms import (
    insert_random_steps,
    remove_random_steps,
    replace_random_steps,
    shuffle_bits,
)
from parallelbench.analysis.theory.dependence import (
    Law,
    independent,
    mass_of_each,
    total_correlation,
)
from support.laws import WITH_A_CHOICE, law_of, laws, quick

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


# Policies against the frontier.


def account(law, policy, still_open=None):
    """Expected steps and bits of a policy, and its share of right answers at temperature 1."""
    still_open = tuple(range(law.length)) if still_open is None else still_open
    if not still_open:
        return 0.0, 0.0, 1.0
    chosen = policy(law, still_open)
    left = tuple(position for position in still_open if position not in chosen)
    steps, bits, right = 1.0, total_correlation(law, chosen), 0.0
    keys = law.keys(chosen)
    alone = np.prod([mass_of_each(law, [position]) for position in chosen], axis=0)
    for key in np.unique(keys):
        here = keys == key
        mass = law.probabilities[here].sum()
        later = account(law.select(here), policy, left)
        steps, bits = steps + mass * later[0], bits + mass * later[1]
        right += alone[here][0] * later[2]
    return steps, bits, right


@quick
@given(laws(positions=(1, 4)), st.integers(0, 2**32 - 1))
def test_every_policy_keeps_above_the_frontier_and_the_validity_bound(law, seed):
    def policy(here, still_open):
        # Any choice that depends on nothing but the context.
        rng = np.random.default_rng([seed, len(here), *still_open, *here.rows.sum(axis=0).tolist()])
        return rng.permutation(still_open)[: rng.integers(1, len(still_open) + 1)].tolist()

    steps, bits, right = account(law, policy)
    assert right >= least_validity(bits) - 1e-9
    frontier = adaptive_frontier(law, greedy=False)
    assert bits >= frontier.bits_at(steps) - 1e-9


def in_pairs(_, still_open):
    return still_open[:2]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (
            "list_operations/shuffle:length=4,allow_identity=true",
            least_validity(shuffle_bits(4, [2, 2])),
        ),
        ("choices/city", 0.5),
    ],
)
def test_pairs_are_right_as_often_as_the_theory_says(text, right):
    law = law_of(text)
    assert account(law, in_pairs)[2] == pytest.approx(right)
    assert validity(law, [range(law.length)[i : i + 2] for i in range(0, law.length, 2)]) == (
        pytest.approx(right)
    )
