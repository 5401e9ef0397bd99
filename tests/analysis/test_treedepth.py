"""Treedepth: closed forms, and random graphs against brute force."""

import functools
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.treedepth import treedepth
from parallelbench.distributions.contract import DependenceGraph


def graph(length, pairs):
    return DependenceGraph(length, frozenset((min(pair), max(pair)) for pair in pairs))


def path(n):
    return graph(n, itertools.pairwise(range(n)))


def cycle(n):
    return graph(n, [*itertools.pairwise(range(n)), (0, n - 1)])


def brute_force(length, pairs):
    """The definition: remove one position of each connected part, in every way."""
    near = {v: {b if a == v else a for a, b in pairs if v in (a, b)} for v in range(length)}

    def parts(left):
        left = set(left)
        while left:
            part, edge = set(), {left.pop()}
            while edge:
                part |= edge
                edge = set().union(*(near[v] for v in edge)) & left
                left -= edge
            yield frozenset(part)

    @functools.cache
    def depth(part):
        return 1 + min(max((depth(rest) for rest in parts(part - {v})), default=0) for v in part)

    return max(depth(part) for part in parts(range(length)))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 31, 32, 255, 512])
def test_a_path_needs_a_logarithm_of_steps(n):
    assert treedepth(path(n)) == (math.floor(math.log2(n)) + 1, True, "closed form")


@pytest.mark.parametrize("n", [3, 4, 5, 8, 9, 100])
def test_a_cycle_needs_one_more_than_its_path(n):
    assert treedepth(cycle(n)).depth == treedepth(path(n - 1)).depth + 1
    if n < 10:
        assert treedepth(cycle(n)).depth == brute_force(n, cycle(n).pairs)


def test_stars_cliques_and_independent_positions():
    assert treedepth(graph(40, [(0, v) for v in range(1, 40)])).depth == 2
    assert treedepth(graph(40, itertools.combinations(range(40), 2))).depth == 40
    assert treedepth(graph(40, [])).depth == 1
    assert treedepth(graph(6, [(0, 1), (2, 3), (3, 4)])).depth == 2
    with pytest.raises(ValueError, match="without positions"):
        treedepth(graph(0, []))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.data())
def test_random_graphs_have_the_depth_of_brute_force(n, data):
    every = list(itertools.combinations(range(n), 2))
    pairs = data.draw(st.sets(st.sampled_from(every))) if every else set()
    found = treedepth(graph(n, pairs))
    assert found.exact
    assert found.depth == brute_force(n, pairs)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 11), st.randoms(use_true_random=False))
def test_random_trees_have_the_depth_of_brute_force(n, rng):
    pairs = [(rng.randrange(v), v) for v in range(1, n)]
    found = treedepth(graph(n, pairs))
    assert found.depth == brute_force(n, pairs)
    assert found.method in ("tree ranking", "closed form")


def test_a_ladder_is_solved_exactly():
    grid = [(v, v + 1) for v in range(12) if v % 6 < 5] + [(v, v + 6) for v in range(6)]
    assert treedepth(graph(12, grid)) == (brute_force(12, grid), True, "branch and bound")


def test_larger_graphs_have_a_bound_with_its_name():
    # Squares in a row: two positions of every other pair separate them.
    ladder = [(v, v + 1) for v in range(0, 128, 2)] + [(v, v + 2) for v in range(126)]
    found = treedepth(graph(128, ladder))
    assert (found.exact, found.method) == (False, "balanced separators")
    assert 8 <= found.depth <= 14
