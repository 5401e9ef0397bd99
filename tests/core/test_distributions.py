"""Answer distributions: every kind against the list of its answers, and large counts."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from parallelbench.distributions.layer import TrellisLayer
from parallelbench.distributions.listed import ListedDistribution
from parallelbench.distributions.logarithms import natural_logarithms
from parallelbench.distributions.product import ProductDistribution
from parallelbench.distributions.trellis import TrellisDistribution
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

MASK = 9
SYMBOLS = 3


# The type checks that the tests switch on draw random numbers, which strategies may not do: so
# a strategy draws a function that builds a distribution, its length, and its answers.


def listing(layers):
    """The answers of a trellis and their weights, found path by path."""
    paths = [((), 0, 1)]
    for edges in layers:
        paths = [
            ((*text, token), target, weight * factor)
            for text, state, weight in paths
            for source, token, target, factor in edges
            if source == state
        ]
    return [(text, weight) for text, _, weight in paths]


def trellis(layers, mask_id=MASK):
    return TrellisDistribution([TrellisLayer.of(edges) for edges in layers], mask_id)


@st.composite
def trellises(draw, most=4):
    states = [1, *(draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, most))))]
    layers = []
    for before, after in itertools.pairwise(states):
        edge = st.tuples(
            st.integers(0, before - 1), st.integers(0, SYMBOLS - 1), st.integers(0, after - 1)
        )
        edges = draw(st.sets(edge, min_size=1, max_size=9))
        layers.append([(*each, draw(st.integers(1, 3))) for each in sorted(edges)])
    answers = dict(listing(layers))
    assume(answers and len(answers) == len(listing(layers)))
    return lambda: trellis(layers), len(layers), answers


@st.composite
def lists(draw, most=4):
    length = draw(st.integers(1, most))
    row = st.tuples(*[st.integers(0, SYMBOLS - 1)] * length)
    rows = sorted(draw(st.sets(row, min_size=1, max_size=12)))
    answers = {each: draw(st.integers(1, 3)) for each in rows}
    return lambda: listed(answers), length, answers


def listed(answers):
    return ListedDistribution(np.array(list(answers)), np.array(list(answers.values())), MASK)


@st.composite
def products(draw):
    parts = draw(st.lists(st.one_of(trellises(most=2), lists(most=2)), min_size=1, max_size=3))
    total = sum(length for _, length, _ in parts)
    order = list(draw(st.permutations(range(total))))
    places = [sorted(order.pop() for _ in range(length)) for _, length, _ in parts]
    answers = {}
    for combination in itertools.product(*(part.items() for _, _, part in parts)):
        row = [0] * total
        for (text, _), where in zip(combination, places, strict=True):
            for place, token in zip(where, text, strict=True):
                row[place] = token
        answers[tuple(row)] = math.prod(weight for _, weight in combination)
    return lambda: ProductDistribution([make() for make, _, _ in parts], places), total, answers


DISTRIBUTIONS = st.one_of(trellises(), lists(), products())


@st.composite
def conditioned(draw, kinds=DISTRIBUTIONS):
    make, length, answers = draw(kinds)
    token = st.sampled_from([*range(SYMBOLS + 1), MASK, MASK, MASK])
    row = st.lists(token, min_size=length, max_size=length)
    return make, answers, draw(st.lists(row, min_size=1, max_size=9))


def agreeing(answers, canvas):
    """The answers that agree with ``canvas`` most, with their weights and agreements."""
    agreements = {
        text: sum(token == shown for token, shown in zip(text, canvas, strict=True))
        for text in answers
    }
    most = max(agreements.values())
    return {text: answers[text] for text in answers if agreements[text] == most}, most


@settings(max_examples=300, deadline=None)
@given(conditioned())
def test_every_kind_conditions_as_the_list_of_its_answers_does(case):
    make, answers, rows = case
    law, canvases = make(), np.array(rows)
    found = law.condition(canvases)
    assert dict(law.iterate()) == answers
    for row, canvas in enumerate(canvases):
        nearest, most = agreeing(answers, canvas)
        total = sum(nearest.values())
        fits = most == (canvas != MASK).sum()
        assert found.fits[row] == fits
        assert found.agreements[row] == most
        count = len(nearest) if fits else 0
        assert law.count(canvas) == count
        assert found.log2_counts[row] == pytest.approx(math.log2(count) if fits else -math.inf)
        shares = np.array(list(nearest.values())) / total
        assert found.entropies[row] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-12)
        expected = [
            sum(weight for text, weight in nearest.items() if text[position] == token) / total
            for position, token in zip(*law.entries, strict=True)
        ]
        np.testing.assert_allclose(found.probabilities[row], expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(DISTRIBUTIONS)
def test_the_entries_are_the_tokens_that_some_answer_has(case):
    make, _, answers = case
    law = make()
    expected = {(place, token) for text in answers for place, token in enumerate(text)}
    listed = list(zip(*(part.tolist() for part in law.entries), strict=True))
    assert listed == sorted(expected)


@settings(max_examples=60, deadline=None)
@given(DISTRIBUTIONS)
def test_exactly_the_right_answers_are_members(case):
    make, _, answers = case
    law = make()
    every = list(itertools.product(range(SYMBOLS), repeat=min(law.length, 6)))
    if law.length <= 6:
        members = law.contains(np.array(every))
        assert {text for text, right in zip(every, members, strict=True) if right} == set(answers)
    assert not law.contains(np.full((1, law.length), MASK)).any()


@settings(max_examples=60, deadline=None)
@given(conditioned(), st.integers(0, 2**32))
def test_a_row_has_the_same_bits_in_any_batch(case, seed):
    make, _, rows = case
    law, canvases = make(), np.array(rows)
    together = law.condition(canvases)
    uniforms = np.random.default_rng(seed).random(canvases.shape)
    fit = np.flatnonzero(together.fits)
    drawn = law.draw(canvases[fit], uniforms[fit]) if len(fit) else None
    for row in range(len(canvases)):
        alone = law.condition(canvases[row : row + 1])
        for name in ("weights", "totals", "fits", "agreements", "log2_counts", "entropies"):
            assert (
                getattr(alone, name).tobytes() == getattr(together, name)[row : row + 1].tobytes()
            )
    for place, row in enumerate(fit):
        alone = law.draw(canvases[row : row + 1], uniforms[row : row + 1])
        assert alone.tolist() == drawn[place : place + 1].tolist()


@settings(max_examples=15, deadline=None)
@given(DISTRIBUTIONS, st.integers(0, 2**32))
def test_draws_have_the_probabilities_of_the_answers(case, seed):
    make, _, answers = case
    law = make()
    draws = 4000
    uniforms = np.random.default_rng(seed).random((draws, law.length))
    drawn = Counter(map(tuple, law.draw(np.full((draws, law.length), MASK), uniforms).tolist()))
    assert drawn.keys() <= answers.keys()
    if len(answers) > 1:
        weights = np.array(list(answers.values()))
        counts = [drawn[text] for text in answers]
        # One in a billion fair draws is refused.
        assert stats.chisquare(counts, draws * weights / weights.sum()).pvalue > 1e-9


def test_a_canvas_that_no_answer_fits_has_no_draw():
    law = ListedDistribution(np.array([[0, 1]]), np.array([1]), MASK)
    for each in (law, trellis_of(law), ProductDistribution([law])):
        with pytest.raises(ValueError, match="no right answer fits canvas 0"):
            each.draw(np.array([[1, MASK]]), np.zeros((1, 2)))


def trellis_of(law):
    """The trellis with one path for each answer."""
    return trellis(
        [
            (answer if place else 0, token, answer, 1)
            for answer, token in enumerate(law.rows[:, place].tolist())
        ]
        for place in range(law.length)
    )


def colouring(length, colours):
    first = TrellisLayer.of([(0, colour, colour, 1) for colour in range(colours)])
    other = TrellisLayer.of(
        [(a, b, b, 1) for a in range(colours) for b in range(colours) if a != b]
    )
    return TrellisDistribution([first] + [other] * (length - 1), mask_id=99)


def brackets(pairs):
    """Balanced words of one kind of brackets: 0 opens, 1 closes."""
    layers = []
    for place in range(2 * pairs):
        most = min(place, 2 * pairs - place)
        depths = range(place % 2, most + 1, 2)
        edges = [(d, 0, d + 1, 1) for d in depths] + [(d, 1, d - 1, 1) for d in depths if d]
        layers.append(TrellisLayer.of([e for e in edges if e[2] <= 2 * pairs - place - 1]))
    return TrellisDistribution(layers, mask_id=99)


def rising(length, highest):
    first = TrellisLayer.of([(0, page, page, 1) for page in range(highest)])
    later = TrellisLayer.of([(a, b, b, 1) for a in range(highest) for b in range(a + 1, highest)])
    return TrellisDistribution([first] + [later] * (length - 1), mask_id=99_999)


@pytest.mark.parametrize(
    ("law", "count"),
    [
        (colouring(256, 7), 7 * 6**255),
        (brackets(100), math.comb(200, 100) // 101),
        (rising(40, 90), math.comb(90, 40)),
    ],
    ids=["colourings of a path", "Catalan", "rising"],
)
def test_large_counts_are_whole_numbers_known_in_closed_form(law, count):
    canvas = np.full(law.length, law.mask_id)
    assert law.count(canvas) == count
    found = law.condition(canvas[None])
    assert found.log2_counts[0] == pytest.approx(math.log2(count), rel=1e-14)
    assert found.entropies[0] == found.log2_counts[0]


def test_a_distribution_wider_than_float64_loses_no_answer():
    # The halves of the answers: many choices first, or many choices last.  In the middle the
    # states' path counts differ by 2^1200.
    length, choices = 600, range(16)
    many = [[(1, token, 1, 1) for token in choices], [(2, 0, 2, 1)]]
    late = [[(1, 0, 1, 1)], [(2, token, 2, 1) for token in choices]]
    first = TrellisLayer.of([(0, 0, 1, 1), (0, 1, 2, 1)])
    early, last = TrellisLayer.of([*many[0], *many[1]]), TrellisLayer.of([*late[0], *late[1]])
    law = TrellisDistribution([first] + [early] * (length // 2) + [last] * (length // 2), 99)
    canvas = np.full((3, law.length), 99)
    canvas[1, 300] = 5  # only the first half has a choice here
    canvas[2, 400] = 5
    found = law.condition(canvas)
    assert found.fits.all()
    assert found.log2_counts.tolist() == [1201, 1196, 1196]
    assert found.probabilities[:, :2].tolist() == [[0.5, 0.5], [1, 0], [0, 1]]
    assert [law.count(each) for each in canvas] == [2**1201, 2**1196, 2**1196]


def test_marginals_far_from_float64_are_those_of_whole_numbers():
    law = rising(60, 200)
    found = law.condition(np.full((1, 60), law.mask_id)).probabilities[0]
    for position, token, share in zip(*law.entries, found, strict=True):
        ways = math.comb(token, position) * math.comb(199 - token, 59 - position)
        if token % 7 == 0:
            assert share == pytest.approx(ways / math.comb(200, 60), abs=1e-12, rel=1e-9)


def test_two_paths_for_one_text_are_refused_with_both():
    fork = TrellisLayer.of([(0, 5, 0, 1), (0, 5, 1, 1)])
    join = TrellisLayer.of([(0, 6, 0, 1), (1, 6, 0, 1), (1, 7, 0, 1)])
    with pytest.raises(
        ValueError, match=r"\[5, 6\] from position 0 on: .* 0 > 0 > 0 and 0 > 1 > 0"
    ):
        TrellisDistribution([fork, join], MASK)
    parted = TrellisLayer.of([(0, 6, 0, 1), (1, 7, 0, 1)])
    assert len(list(TrellisDistribution([fork, parted], MASK).iterate())) == 2


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(1, 0, 0, 1)], "no path of the trellis"),
        ([(0, MASK, 0, 1)], "writes the mask id 9"),
        ([(0, 0, 0, 0)], "whole numbers from 1 to 2"),
        ([(0, 0, -1, 1)], "numbered from 0"),
        ([(0, 0, 0, 1), (0, 0, 1, 1)], "two paths"),
    ],
)
def test_a_trellis_that_is_none_is_refused(edges, message):
    with pytest.raises(ValueError, match=message):
        TrellisDistribution([TrellisLayer.of(edges)], MASK)


def test_a_list_or_a_product_that_is_none_is_refused():
    ones = np.array([1, 1])
    for rows, weights, message in (
        ([[0, 1], [0, 1]], ones, "repeated"),
        ([[0, MASK], [0, 1]], ones, "mask id"),
        ([[0, 1], [1, 1]], np.array([1, 0]), "at least 1"),
        ([[]], np.array([1]), "at least one position"),
    ):
        with pytest.raises(ValueError, match=message):
            ListedDistribution(np.array(rows, dtype=np.int64), weights, MASK)
    law = ListedDistribution(np.array([[0, 1], [1, 1]]), ones, MASK)
    with pytest.raises(ValueError, match="once each"):
        ProductDistribution([law, law], [[0, 1], [1, 2]])
    with pytest.raises(ValueError, match=r"shape \(rows, 2\)"):
        law.condition(np.zeros((1, 3), dtype=np.int64))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e300, allow_subnormal=False), min_size=1, max_size=20))
def test_logarithms_are_those_of_the_math_library(numbers):
    found = natural_logarithms(np.array([numbers]))[0]
    expected = [math.log(number) if number else -math.inf for number in numbers]
    np.testing.assert_allclose(found, expected, rtol=4e-16, atol=2e-16)
    assert natural_logarithms(np.ones((1, 1)))[0, 0] == 0


def dependent(answers, low, high):
    groups = {}
    for text, weight in answers.items():
        rest = text[:low] + text[low + 1 : high] + text[high + 1 :]
        groups.setdefault(rest, {})[text[low], text[high]] = weight
    return any(
        table.get((a, b), 0) * table.get((c, d), 0) != table.get((a, d), 0) * table.get((c, b), 0)
        for table in groups.values()
        for a, b, c, d in itertools.product(range(SYMBOLS), repeat=4)
    )


@settings(max_examples=200, deadline=None)
@given(DISTRIBUTIONS)
def test_the_dependence_graph_has_the_pairs_that_depend_given_all_others(case):
    make, _, answers = case
    law = make()
    graph = law.dependence_graph()
    assume(graph is not None)
    pairs = itertools.combinations(range(law.length), 2)
    assert graph.pairs == {pair for pair in pairs if dependent(answers, *pair)}


def test_the_dependence_graphs_of_structures():
    path = {(place, place + 1) for place in range(63)}
    assert colouring(64, 4).dependence_graph().pairs == path
    parity = TrellisLayer.of([(s, bit, s ^ bit, 1) for s in (0, 1) for bit in (0, 1)])
    last = TrellisLayer.of([(0, 0, 0, 1), (1, 1, 0, 1)])
    law = TrellisDistribution([parity] * 7 + [last], MASK)
    assert law.dependence_graph().pairs == set(itertools.combinations(range(8), 2))


@pytest.mark.parametrize(
    "text", ["choices/city", "list_operations/shuffle:length=5", "waiting_line/insert_random"]
)
def test_the_law_of_the_ideal_model_sums_whole_numbers(text):
    task = build(parse_settings(text, TASKS)[0], TASKS)
    model = Ideal().open()
    prompt = build_prompt(task, draw_sample(task, 0, 3), model.codec)
    law = model.law(prompt)
    mask = prompt.codec.mask_id
    rng = np.random.default_rng(0)
    rows, other = (law.rows[rng.integers(0, len(law.rows), 40)] for _ in range(2))
    mixed = np.where(rng.random(rows.shape) < 0.4, other, rows)
    canvases = np.where(rng.random(rows.shape) < 0.4, mask, mixed)
    conditionals = law.condition(canvases)
    logs = law.log_weights(conditionals)
    entries = list(zip(*(part.tolist() for part in law.entries), strict=True))
    for canvas, line, fits in zip(canvases, logs.tolist(), conditionals.fits, strict=True):
        agreements = ((law.rows == canvas) & (canvas != mask)).sum(axis=1)
        nearest = np.flatnonzero(agreements == agreements.max()).tolist()
        assert fits == (agreements.max() == (canvas != mask).sum())
        for (position, token), found in zip(entries, line, strict=True):
            weight = sum(
                int(law.row_weights[row]) for row in nearest if law.rows[row, position] == token
            )
            assert found == (math.log(weight) if weight else -math.inf)
    assert conditionals.fits.any()
    assert not conditionals.fits.all()


@settings(max_examples=200, deadline=None)
@given(DISTRIBUTIONS, st.data())
def test_the_joint_entropy_of_some_open_positions_is_that_of_the_listing(case, data):
    make, _, answers = case
    law = make()
    places = list(range(law.length))
    answer = data.draw(st.sampled_from(sorted(answers)))
    chosen = data.draw(st.sets(st.sampled_from(places)))
    opened = chosen | data.draw(st.sets(st.sampled_from(places)))
    canvas = np.array([MASK if place in opened else answer[place] for place in places])
    masses = Counter()
    for text, weight in answers.items():
        if all(place in opened or text[place] == answer[place] for place in places):
            masses[tuple(text[place] for place in sorted(chosen))] += weight
    shares = [mass / sum(masses.values()) for mass in masses.values()]
    expected = -sum(share * math.log2(share) for share in shares)
    assert law.joint_entropy(canvas, chosen) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(DISTRIBUTIONS, st.data())
def test_the_nearest_answer_and_the_weight_are_those_of_the_listing(case, data):
    make, _, answers = case
    law = make()
    tokens = st.sampled_from([MASK, *range(SYMBOLS), 99])
    canvas, wished = (
        data.draw(st.lists(tokens, min_size=law.length, max_size=law.length)) for _ in range(2)
    )

    def agreements_with(row):
        return {
            text: sum(one == other != MASK for one, other in zip(text, row, strict=True))
            for text in answers
        }

    agreements, wishes = agreements_with(canvas), agreements_with(wished)
    written = sum(token != MASK for token in canvas)
    fitting = [answers[text] for text in answers if agreements[text] == written]
    assert law.weight(np.array(canvas)) == sum(fitting)
    nearest = min(answers, key=lambda text: (-agreements[text], -answers[text], text))
    assert tuple(law.nearest(np.array(canvas)).tolist()) == tuple(nearest)
    nearest = min(
        answers, key=lambda text: (-agreements[text], -wishes[text], -answers[text], text)
    )
    assert tuple(law.nearest(np.array(canvas), np.array(wished)).tolist()) == tuple(nearest)


def test_a_row_is_the_same_from_memory_and_among_others():
    law = colouring(12, 3)
    rng = np.random.default_rng(0)
    rows = law.draw(np.full((90, 12), law.mask_id), rng.random((90, 12)))
    canvases = np.where(rng.random(rows.shape) < 0.6, law.mask_id, rows)
    canvases[3, 0] = 77  # fits nothing
    whole = law.condition(canvases)
    for again in (canvases[:5], canvases[:5], canvases[[4, 2, 4, 80]], canvases[60:], canvases):
        fresh = colouring(12, 3).condition(again)
        found = law.condition(again)
        for name, part in vars(fresh).items():
            np.testing.assert_array_equal(vars(found)[name], part, err_msg=name)
        found.weights[:] = -1  # a caller may do as it likes with its arrays
    np.testing.assert_array_equal(law.condition(canvases[:1]).weights, whole.weights[:1])
