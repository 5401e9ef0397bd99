"""Text trellises against the list of their paths: counts, entropy, draws, and what is refused."""

import itertools
import math
import random
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis, constant_stage
from parallelbench.task import sample_rng

# Each piece ends in the only comma of it, so different pieces in a row write different texts.
PIECES = ("a,", "b,", "aa,")


@st.composite
def edge_tables(draw, most_weight=3):
    """The edges of one to four stages with up to three nodes, some of them with no way on."""
    tables = []
    sources = [START]
    for _ in range(draw(st.integers(1, 4))):
        starts = draw(
            st.sets(st.tuples(st.sampled_from(sources), st.sampled_from(PIECES)), min_size=1)
        )
        ends = st.tuples(st.integers(0, 2), st.integers(1, most_weight))
        tables.append([(*start, *draw(ends)) for start in sorted(starts, key=repr)])
        sources = [0, 1, 2]
    return tables


def listed(tables):
    """Every path through all stages, in the order of the edges."""
    return [
        path
        for path in itertools.product(*tables)
        if path[0][0] is START
        and all(before[2] == after[0] for before, after in itertools.pairwise(path))
    ]


def built(tables, places=None):
    return TextTrellis([Stage(itertools.starmap(Edge, table)) for table in tables], places)


def weight_of(path):
    return math.prod(edge[3] for edge in path)


class Scripted(random.Random):
    """Random numbers that a test chose, then zeros; it notes their bounds."""

    def __init__(self, script):
        super().__init__(0)
        self.script = list(script)
        self.bounds = []

    def randrange(self, bound):
        self.bounds.append(bound)
        position = len(self.bounds) - 1
        return self.script[position] if position < len(self.script) else 0


def draw_probabilities(trellis):
    """The exact probability of each path that ``draw`` returns, from all its random numbers."""
    shares = {(): (Fraction(1), ())}
    for stage in range(len(trellis.stages)):
        following = {}
        for share, script in shares.values():
            rng = Scripted(script)
            trellis.draw(rng)
            bound = rng.bounds[stage]
            for value in range(bound):
                longer = (*script, value)
                path = trellis.draw(Scripted(longer))[: stage + 1]
                known = following.get(path, (Fraction(0), longer))[0]
                following[path] = known + share / bound, longer
        shares = following
    return {path: share for path, (share, _) in shares.items()}


@settings(max_examples=200, deadline=None)
@given(edge_tables(), st.randoms(use_true_random=False))
def test_counts_texts_and_entropy_are_those_of_the_listed_paths(tables, shuffler):
    paths = listed(tables)
    assume(paths)
    places = list(range(len(tables)))
    shuffler.shuffle(places)
    for trellis in (built(tables), built(tables, places)):
        order = range(len(tables)) if trellis.places is None else np.argsort(places)
        texts = ["".join(path[stage][1] for stage in order) for path in paths]
        weights = list(map(weight_of, paths))
        assert list(trellis.texts()) == list(zip(texts, weights, strict=True))
        assert len(set(texts)) == len(texts) or trellis.places
        assert trellis.count == len(paths)
        assert trellis.total == sum(weights)
        shares = [weight / sum(weights) for weight in weights]
        entropy = -math.fsum(share * math.log2(share) for share in shares)
        assert trellis.entropy == pytest.approx(entropy, rel=1e-12, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(edge_tables(most_weight=2))
def test_draws_have_the_probabilities_of_the_weights(tables):
    paths = listed(tables)
    assume(paths)
    total = sum(map(weight_of, paths))
    expected = {path: Fraction(weight_of(path), total) for path in paths}
    assert draw_probabilities(built(tables)) == expected


def test_a_draw_is_one_of_the_paths_and_depends_on_the_generator_alone():
    stage = Stage([Edge(START, "a", 0), Edge(START, "b", 1, 5)])
    later = Stage([Edge(0, " c", 0), Edge(1, " d", 0)])
    trellis = TextTrellis([stage, later])
    drawn = [trellis.text(trellis.draw(sample_rng(seed, "trellis", 0))) for seed in range(20)]
    assert set(drawn) == {"a c", "b d"}
    assert drawn == [
        trellis.text(trellis.draw(sample_rng(seed, "trellis", 0))) for seed in range(20)
    ]


def test_paths_that_end_early_are_no_answers():
    first = Stage([Edge(START, "a", "dead end"), Edge(START, "b", "way on", 3)])
    second = Stage([Edge("way on", "c", 1), Edge("unreached", "d", 1)])
    trellis = TextTrellis([first, second])
    assert list(trellis.texts()) == [("bc", 3)]
    assert (trellis.count, trellis.total, trellis.entropy) == (1, 3, 0)
    assert draw_probabilities(trellis) == {(first.edges[1], second.edges[0]): 1}


def test_counts_and_weights_are_whole_numbers_of_any_size():
    names = ("Mia", "Leo", "Ida")
    first = Stage(Edge(START, name, name) for name in names)
    later = Stage(Edge(one, f", {name}", name) for one in names for name in names if name != one)
    plans = TextTrellis([first, *[later] * 400])
    assert plans.count == plans.total == 3 * 2**400
    assert plans.entropy == pytest.approx(400 + math.log2(3))
    huge = 10**400
    weighted = TextTrellis([Stage([Edge(START, "a", 0, huge), Edge(START, "b", 0, 3 * huge)])])
    assert (weighted.count, weighted.total) == (2, 4 * huge)
    assert weighted.entropy == pytest.approx(2 - 0.75 * math.log2(3))


def test_weights_that_are_equal_change_nothing_but_the_total():
    tables = [[(START, "a", 0, 2), (START, "b", 0, 2)], [(0, "c", 0, 3), (0, "d", 1, 3)]]
    trellis = built(tables)
    assert trellis.stages[0].weighted
    assert not Stage([Edge(START, "a", 0)]).weighted
    assert (trellis.count, trellis.total) == (4, 24)
    assert trellis.entropy == pytest.approx(2)


def test_pieces_are_put_in_their_places():
    trellis = built([[(START, "a", 0, 1)], [(0, "c", 0, 1)], [(0, "b", 0, 1)]], [0, 2, 1])
    (path,) = draw_probabilities(trellis)
    assert [edge.text for edge in path] == ["a", "c", "b"]
    assert trellis.pieces(path) == ["a", "b", "c"]
    assert trellis.text(path) == "abc"
    assert list(trellis.texts()) == [("abc", 1)]
    assert repr(trellis) == "TextTrellis(3 stages)"


def test_equal_pieces_are_put_in_their_places_too():
    trellis = built([[(START, "b", 0, 1)], [(0, "a", 0, 1)], [(0, "a", 0, 1)]], [2, 0, 1])
    assert list(trellis.texts()) == [("aab", 1)]


def test_edges_are_found_by_the_node_they_leave():
    edges = [Edge(0, "a", 1), Edge(1, "a", 1), Edge(0, "b", 0)]
    expected = defaultdict(tuple)
    for edge in edges:
        expected[edge.source] += (edge,)
    assert Stage(edges).by_source == expected
    assert Stage(iter(edges)).edges == tuple(edges)


def test_a_constant_stage_stays_where_it_is():
    first = Stage([Edge(START, "a", 0), Edge(START, "b", 1)])
    last = Stage([Edge(0, "c", 0), Edge(1, "d", 0)])
    trellis = TextTrellis([constant_stage("> "), first, constant_stage(", ", [0, 1]), last])
    assert list(trellis.texts()) == [("> a, c", 1), ("> b, d", 1)]


EDGE = Edge(START, "a", START)


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        ([], "needs at least one edge, got none"),
        ([EDGE._replace(text="")], r"needs a text .* got Edge\(source=None, text=''"),
        ([EDGE._replace(weight=0)], r"a weight .* of at least 1, got .*weight=0\)"),
        ([EDGE._replace(weight=-2)], r"a weight .* of at least 1, got .*weight=-2\)"),
        ([EDGE._replace(weight=1.5)], r"a Python integer .* got .*weight=1.5\)"),
        ([EDGE._replace(weight=2.0)], r"a Python integer .* got .*weight=2.0\)"),
        ([EDGE._replace(weight=True)], r"a Python integer .* got .*weight=True\)"),
        ([EDGE._replace(weight=np.int64(7))], r"a Python integer .* got .*7\)"),
        ([EDGE, EDGE], "leave the node None with the text 'a', but different paths"),
        ([EDGE, EDGE._replace(target=1)], "keep one of them, with the sum of their weights"),
        ([EDGE, EDGE._replace(weight=2)], "must write different texts"),
    ],
)
def test_a_stage_refuses_edges_that_are_none(edges, sentence):
    with pytest.raises(ValueError, match=sentence):
        Stage(edges)


def test_a_stage_takes_one_text_from_several_nodes():
    stage = Stage([EDGE, EDGE._replace(source=0), EDGE._replace(text="b")])
    assert len(stage.edges) == 3


@pytest.mark.parametrize(
    ("stages", "places", "sentence"),
    [
        ([], None, "needs at least one stage, got none"),
        ([[Edge(0, "a", 0)]], None, "no path .* leads through all stages"),
        ([[Edge(START, "a", 0)], [Edge(1, "b", 0)]], None, "no path .* leads through all stages"),
        ([[EDGE], [EDGE]], [0], r"2 stages need the places 0 to 1 once each, got \[0\]"),
        ([[EDGE], [EDGE]], [1, 1], r"places 0 to 1 once each, got \[1, 1\]"),
        ([[EDGE], [EDGE]], [1, 2], r"places 0 to 1 once each, got \[1, 2\]"),
        ([[EDGE], [EDGE]], [-1, 0], r"places 0 to 1 once each, got \[-1, 0\]"),
        ([[EDGE], [EDGE]], [0, 1, 2], r"places 0 to 1 once each, got \[0, 1, 2\]"),
        ([[EDGE]], [], r"1 stages need the places 0 to 0 once each, got \[\]"),
    ],
)
def test_a_trellis_refuses_stages_without_a_path_and_other_places(stages, places, sentence):
    with pytest.raises(ValueError, match=sentence):
        TextTrellis([Stage(edges) for edges in stages], places)


@pytest.mark.parametrize("places", [None, [1, 0]])
def test_a_path_of_another_length_is_refused(places):
    trellis = TextTrellis([Stage([EDGE]), Stage([EDGE])], places)
    assert trellis.text([EDGE, EDGE]) == "aa"
    for path in ([EDGE], [EDGE] * 3):
        with pytest.raises(ValueError, match=f"through 2 stages .* got {len(path)}"):
            trellis.text(path)
