"""Sets of positions to write at once, schedules without an error, and the treedepth they reach."""

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.independent_sets import ORDERS, IndependentSets, dissected
from parallelbench.analysis.theory.schedules import error_free_schedule, named_schedules
from parallelbench.analysis.theory.treedepth import treedepth
from parallelbench.distributions.contract import DependenceGraph
from parallelbench.distributions.layer import TrellisLayer
from parallelbench.distributions.listed import ListedDistribution
from parallelbench.distributions.product import ProductDistribution
from parallelbench.distributions.trellis import TrellisDistribution
from support.laws import laws

MASK = 99


def listed(answers):
    """The distribution of some rows, weighted by how often each is given."""
    counted = Counter(map(tuple, answers))
    return ListedDistribution(np.array(list(counted)), np.array(list(counted.values())), MASK)


def open_canvas(distribution):
    return np.full(distribution.length, MASK)


def schedule_of(distribution):
    return error_free_schedule(distribution, open_canvas(distribution)).steps


def walks(neighbours, length):
    """Walks on a graph, which start anywhere."""
    first = TrellisLayer.of([(0, place, place, 1) for place in neighbours])
    step = TrellisLayer.of([(a, b, b, 1) for a, near in neighbours.items() for b in near])
    return TrellisDistribution([first] + [step] * (length - 1), MASK)


def colourings(graph, length, colours):
    """The proper colourings of a graph, each once."""
    rows = itertools.product(range(colours), repeat=length)
    return listed(row for row in rows if all(row[a] != row[b] for a, b in graph))


def cost(distribution, canvas, chosen):
    """The total correlation of some open positions, by counting."""
    rows = [(row, weight) for row, weight in distribution.iterate()]
    kept = [
        (row, weight)
        for row, weight in rows
        if all(token in (MASK, own) for token, own in zip(canvas, row, strict=True))
    ]

    def bits(places):
        masses = Counter()
        for row, weight in kept:
            masses[tuple(row[place] for place in places)] += weight
        total = sum(masses.values())
        return -sum(mass / total * math.log2(mass / total) for mass in masses.values())

    return sum(bits([place]) for place in chosen) - bits(chosen)


def fewest_steps(distribution):
    """The fewest sets of a schedule that makes no error, by trying all first sets."""
    rows = list(distribution.iterate())

    def is_free(step, written):
        canvases = {
            tuple(token if place in written else MASK for place, token in enumerate(row))
            for row, _ in rows
        }
        return all(cost(distribution, canvas, step) < 1e-9 for canvas in canvases)

    def steps(written):
        left = [place for place in range(distribution.length) if place not in written]
        if not left or is_free(left, written):
            return int(bool(left))
        sets = itertools.chain.from_iterable(
            itertools.combinations(left, size) for size in range(1, len(left))
        )
        return 1 + min(steps((*written, *step)) for step in sets if is_free(step, written))

    return steps(())


@settings(max_examples=30, deadline=None)
@given(laws(positions=(2, 5)), st.sampled_from(ORDERS), st.sampled_from([0.0, 0.3, 1.0]))
def test_a_set_shares_no_more_than_the_bits_allowed(law, order, eps):
    distribution = ListedDistribution(law.rows, np.ones(len(law.rows), dtype=np.int64), MASK)
    canvas = open_canvas(distribution)
    canvas[0] = law.rows[0][0]
    sets = IndependentSets(distribution, canvas[None], list(range(1, distribution.length)))
    chosen = sets.chosen(order, eps=eps)
    assert cost(distribution, canvas, chosen) <= eps + 1e-6
    assert set(sets.certain) <= set(chosen)
    assert set(chosen) <= {*sets.certain, *sets.varying}
    assert len(set(chosen)) == len(chosen) > len(sets.certain) * bool(sets.varying)


def test_a_set_is_independent_on_every_canvas():
    # The last two positions are equal where the first is 1, and independent where it is 0.
    rows = [(0, a, b) for a in (0, 1) for b in (0, 1)] + [(1, a, a) for a in (0, 1)] * 2
    distribution = listed(rows)
    canvases = np.array([[0, MASK, MASK], [1, MASK, MASK]])
    assert IndependentSets(distribution, canvases[:1], [1, 2]).chosen("rising") == [1, 2]
    assert IndependentSets(distribution, canvases, [1, 2]).chosen("rising") == [1]


def test_a_set_leaves_out_the_one_that_depends_on_all_others():
    parity = listed(bits for bits in itertools.product((0, 1), repeat=5) if sum(bits) % 2 == 0)
    sets = IndependentSets(parity, open_canvas(parity)[None], list(range(5)))
    assert sets.chosen("rising") == [0, 1, 2, 3]
    assert sets.chosen("rising", eps=1.0) == [0, 1, 2, 3, 4]
    twice = ProductDistribution([parity, parity])
    sets = IndependentSets(twice, open_canvas(twice)[None], list(range(10)))
    assert sets.chosen("rising") == [0, 1, 2, 3, 5, 6, 7, 8]


def test_the_middle_comes_first():
    assert dissected(range(7)) == [3, 1, 5, 0, 2, 4, 6]
    path = walks({0: [1, 2], 1: [0, 2], 2: [0, 1]}, 7)
    assert schedule_of(path) == ((3,), (1, 5), (0, 2, 4, 6))
    # The positions of a path may stand in any order on the canvas.
    order = [4, 0, 6, 2, 5, 1, 3]
    moved = ProductDistribution([path], [order])
    found = schedule_of(moved)
    assert [sorted(order.index(place) for place in step) for step in found] == [
        [3],
        [1, 5],
        [0, 2, 4, 6],
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 31])
def test_a_walk_reaches_the_treedepth_of_its_path(n):
    law = walks({0: [1, 2], 1: [0, 2], 2: [0, 1]}, n)
    assert len(schedule_of(law)) == n.bit_length()
    assert treedepth(law.dependence_graph()).depth == n.bit_length()


@pytest.mark.parametrize("n", [3, 4, 5])
def test_small_colourings_need_the_treedepth_of_their_graph(n):
    path = [(place, place + 1) for place in range(n - 1)]
    star = [(0, place) for place in range(1, n)]
    for graph in (path, [*path, (0, n - 1)], star):
        law = colourings(graph, n, 4 if n < 5 else 3)
        depth = treedepth(DependenceGraph(n, frozenset(graph))).depth
        assert treedepth(law.dependence_graph()).depth == depth
        assert fewest_steps(law) == depth
        assert len(schedule_of(law)) == depth


@settings(max_examples=8, deadline=None)
@given(st.sets(st.sampled_from(list(itertools.combinations(range(4), 2)))), st.integers(3, 4))
def test_schedules_of_random_graphs_against_brute_force(graph, colours):
    assume(len(graph) < 6 or colours == 4)  # four positions that all differ take four colours
    law = colourings(graph, 4, colours)
    found = schedule_of(law)
    assert len(found) >= fewest_steps(law)
    written = []
    for step in found:
        for row in law.rows:
            canvas = [token if p in written else MASK for p, token in enumerate(row)]
            assert cost(law, canvas, list(step)) < 1e-6
        written += step
    if colours == 4:  # with a colour to spare, nothing is settled by others too early
        depth = treedepth(DependenceGraph(4, frozenset(graph))).depth
        assert fewest_steps(law) <= depth


def test_parity_a_star_and_independent_positions():
    bits = [bits for bits in itertools.product((0, 1), repeat=5) if sum(bits) % 2 == 0]
    assert len(schedule_of(listed(bits))) == fewest_steps(listed(bits)) == 2
    copies = listed([(name,) * 6 for name in range(3)])
    assert [len(step) for step in schedule_of(copies)] == [1, 5]
    dice = listed(itertools.product(range(3), repeat=4))
    assert schedule_of(dice) == ((0, 1, 2, 3),)
    assert schedule_of(listed(itertools.product(range(3), repeat=2))) == ((0, 1),)
    assert schedule_of(listed([(1, 2, 3)])) == ()
    shuffle = listed(itertools.permutations(range(4)))
    # The last one is settled when its turn comes, but no two of the others are independent.
    assert len(schedule_of(shuffle)) == 4


def test_far_positions_that_still_depend_are_not_written_together():
    # Over 40 steps the dependence decays to 1e-19, which no floating-point entropy shows.
    law = walks({0: [1, 2, 3], 1: [0, 2, 3], 2: [0, 1, 3], 3: [0, 1, 2]}, 81)
    steps = schedule_of(law)
    assert [len(step) for step in steps] == [1, 2, 4, 8, 16, 32, 18]


def test_named_schedules_cost_what_theory_says():
    colours, n = 3, 12
    law = walks({0: [1, 2], 1: [0, 2], 2: [0, 1]}, n)
    found = {each.kind: each for each in named_schedules(law, range(n), 2, draws=32)}
    assert set(found) == {"blocks", "strided", "random", "best found"}
    # Writing every other entry and then the rest: the first step shares the bits of a walk that
    # takes two steps at once, the second step none.
    apart = [1 / 2, 1 / 4, 1 / 4]
    two_steps = math.log2(colours) + sum(share * math.log2(share) for share in apart)
    assert found["strided"].bits.bits == pytest.approx((n // 2 - 1) * two_steps, abs=1e-9)
    assert found["blocks"].bits.bits > found["strided"].bits.bits
    for each in found.values():
        assert sorted(itertools.chain.from_iterable(each.partition)) == list(range(n))
        assert each.steps == len(each.partition) == 2
        assert found["best found"].bits.bits <= each.bits.bits + 1e-9


def test_the_search_is_the_same_everywhere():
    law = walks({0: [1, 2], 1: [0, 2], 2: [0, 1]}, 8)
    random.seed(1)
    one = named_schedules(law, range(8), 3, draws=16)
    random.seed(2)
    assert one == named_schedules(law, range(8), 3, draws=16)
