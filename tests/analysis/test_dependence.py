"""Entropies and correlations against brute force, closed forms, dit and their laws."""

import itertools
import math
import time
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parallelbench.analysis.theory.dependence import (
    Law,
    entropy,
    independent,
    item_law,
    token_law,
    total_correlation,
)
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS, Answers
from support.laws import laws, quick

AGREE = Law.counted([[0, 0], [1, 1]])
EVEN = Law.counted([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])


def brute_force_entropy(law, positions):
    """From the definition, with a dictionary."""
    masses = defaultdict(float)
    for row, probability in zip(law.rows.tolist(), law.probabilities.tolist(), strict=True):
        masses[tuple(row[one] for one in sorted(positions))] += probability
    return -sum(mass * math.log2(mass) for mass in masses.values())


@quick
@given(laws(), st.data())
def test_entropies_are_those_of_the_definition(law, data):
    chosen = data.draw(st.sets(st.integers(0, law.length - 1)))
    assert entropy(law, chosen) == pytest.approx(brute_force_entropy(law, chosen), abs=1e-9)


@quick
@given(laws(), st.data())
def test_conditional_correlations_are_means_over_contexts(law, data):
    known = data.draw(st.sets(st.integers(0, law.length - 1)))
    chosen = data.draw(st.sets(st.integers(0, law.length - 1)))
    contexts = defaultdict(float)
    for row, probability in zip(law.rows.tolist(), law.probabilities.tolist(), strict=True):
        contexts[tuple((one, row[one]) for one in sorted(known))] += probability
    mean = sum(
        mass * total_correlation(law.given(dict(context)), chosen)
        for context, mass in contexts.items()
    )
    assert total_correlation(law, chosen, given=known) == pytest.approx(mean, abs=1e-9)


@quick
@given(laws(positions=(2, 4)))
def test_dit_agrees(law):
    dit = pytest.importorskip("dit")
    outcomes = ["".join(chr(65 + symbol) for symbol in row) for row in law.rows.tolist()]
    theirs = dit.Distribution(outcomes, law.probabilities.tolist())
    assert total_correlation(law) == pytest.approx(
        float(dit.multivariate.total_correlation(theirs)), abs=1e-9
    )


@quick
@given(laws(positions=(1, 1)), laws(positions=(1, 1)), laws(positions=(1, 1)))
def test_a_product_law_shares_nothing(first, second, third):
    parts = (first, second, third)
    rows = [
        [part.rows[index, 0] for part, index in zip(parts, indices, strict=True)]
        for indices in itertools.product(*(range(len(part)) for part in parts))
    ]
    shares = [
        math.prod(each) for each in itertools.product(*(part.probabilities for part in parts))
    ]
    product = Law.counted(np.array(rows), np.array(shares))
    assert total_correlation(product) == pytest.approx(0, abs=1e-9)
    assert independent(product, range(3))


@quick
@given(laws(positions=(2, 4)))
def test_only_a_product_law_shares_nothing(law):
    shared = total_correlation(law)
    # Between 0 and rounding lies what neither can tell.
    assume(shared == 0 or shared > 1e-9)
    assert independent(law, range(law.length)) == (shared == 0)


def test_a_dependence_below_the_rounding_of_entropies_is_still_seen():
    law = Law.counted([[0, 0], [0, 1], [1, 0], [1, 1]], [1 + 1e-7, 1.0, 1.0, 1.0])
    assert total_correlation(law) < 1e-13
    assert not independent(law, [0, 1])


@quick
@given(laws(), st.randoms(use_true_random=False))
def test_renaming_symbols_and_moving_positions_changes_nothing(law, rng):
    names = list(range(100))
    rng.shuffle(names)
    order = list(range(law.length))
    rng.shuffle(order)
    other = Law.counted(np.array(names)[law.rows][:, order], law.probabilities)
    assert total_correlation(other) == pytest.approx(total_correlation(law), abs=1e-9)


@quick
@given(laws(positions=(2, 5)), st.data())
def test_entropy_is_subadditive_and_submodular(law, data):
    """Lemma 1 of the paper: sets of positions know no more together than apart."""
    one = data.draw(st.sets(st.integers(0, law.length - 1)))
    two = data.draw(st.sets(st.integers(0, law.length - 1)))
    apart = entropy(law, one) + entropy(law, two)
    assert entropy(law, one | two) + entropy(law, one & two) <= apart + 1e-9


def test_three_bits_of_even_sum_depend_on_each_other_but_not_in_pairs():
    assert total_correlation(EVEN) == 1
    assert total_correlation(EVEN, [1, 2], given=[0]) == pytest.approx(1)
    assert independent(EVEN, [0, 1])
    assert not independent(EVEN, [0, 1, 2])


def test_many_positions_do_not_overflow_the_packing():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2**31, size=(50, 40))
    law = Law.counted(rows)
    assert entropy(law) == pytest.approx(math.log2(50))
    assert entropy(law, range(39)) == pytest.approx(brute_force_entropy(law, range(39)))
    doubled = Law.counted(np.concatenate([rows, rows[:1]]))
    assert len(doubled) == 50
    assert doubled.probabilities.max() == pytest.approx(2 / 51)


def test_a_symbol_far_left_is_not_lost_where_keys_would_overflow():
    rows = np.array([[0] * 7, [4095] * 7, [16, *[0] * 6]])
    law = Law.counted(rows)
    assert len(law) == 3
    assert entropy(law, range(6)) == pytest.approx(math.log2(3))


def test_the_orders_of_eight_names_take_under_50_milliseconds():
    rows = np.array(list(itertools.permutations(range(8))))
    law = Law(rows, np.full(len(rows), 1 / len(rows)))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        bits = total_correlation(law)
        seconds.append(time.perf_counter() - began)
    assert bits == pytest.approx(8 * 3 - math.log2(math.factorial(8)))
    assert min(seconds) < 0.05


def test_what_is_certain_is_told_apart_from_what_varies():
    law = Law.counted([[5, 1, 7], [5, 2, 7]])
    assert law.varying == (1,)
    assert law.given({1: 2}).rows.tolist() == [[5, 2, 7]]


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["[A, B]", "[B, A]"], [[0, 1], [1, 0]]),
        (["[Ada Moss, Ben Stone]", "[Ben Stone, Ada Moss]"], [[0, 1], [1, 0]]),
        (["New York", "Mexico City"], [[0, 1], [2, 3]]),
        (["Clara: New York; Hugo: New Delhi"], [[0, 1, 2, 3, 1, 4]]),
        (["1 2\n2 1", "2 1\n1 2"], [[0, 1, 1, 0], [1, 0, 0, 1]]),
        (["3 + 12", "15 + 0"], [[0, 1], [2, 3]]),
        (["yes", "not today"], [[0, 3], [1, 2]]),
    ],
)
def test_an_answer_is_taken_apart_into_items_or_words(texts, rows):
    assert item_law(Answers.uniform(texts)).rows.tolist() == rows


def test_weights_of_answers_become_probabilities():
    law = item_law(Answers(("a b", "b a"), (1, 3)))
    assert law.probabilities.tolist() == [0.25, 0.75]


def test_tokens_cost_what_items_cost_where_an_item_is_a_token():
    task = build(parse_settings("list_operations/replace_random:length=4", TASKS)[0], TASKS)
    sample = draw_sample(task, 0, 0)
    prompt = build_prompt(task, sample, Ideal().open().codec)
    tokens = token_law(prompt, task.answers(sample))
    items = item_law(task.answers(sample))
    assert tokens.length == task.canvas_length
    assert len(tokens.varying) == items.length
    assert total_correlation(tokens) == pytest.approx(total_correlation(items))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Law(np.array([[0], [1]]), np.array([0.5, 0.4])), r"smallest 0\.4, sum 0\.9"),
        (lambda: Law(np.array([[0], [1]]), np.array([1.5, -0.5])), r"smallest -0\.5, sum 1"),
        (lambda: Law(np.array([[0], [1]]), np.array([1.0, 0.0])), r"smallest 0, sum 1"),
        (lambda: Law(np.array([[0], [1]]), np.array([1.0, np.nan])), "sum nan"),
        (lambda: Law(np.array([[3], [3]]), np.array([0.5, 0.5])), r"row 1 repeats .*: \[3\]"),
        (lambda: Law.counted([[0, 1], [0]]), "row 0 has 2 positions and row 1 has 1"),
        (lambda: Law.counted([[0], [1]], [2.0, -1.0]), "row 1 has weight -1"),
        (lambda: Law.counted([[0], [1]], [0.0, 1.0]), "row 0 has weight 0"),
        (lambda: Law.counted([[0], [1]], [np.inf, 1.0]), "row 0 has weight inf"),
        (lambda: Law.counted([]), "at least one row"),
        (lambda: Law.counted([[]]), "at least one row of at least one position"),
        (lambda: AGREE.given({0: 7}), r"none of the 2 answers holds \{0: 7\}"),
        (lambda: entropy(AGREE, [2]), r"0\.\.1, got position=2"),
        (lambda: entropy(AGREE, [-1]), r"0\.\.1, got position=-1"),
    ],
)
def test_what_is_no_law_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sum_within_the_tolerance_is_taken():
    assert len(Law(np.array([[0], [1]]), np.array([0.5, 0.5 + 5e-10]))) == 2
    with pytest.raises(ValueError, match=r"sum 1\.00000001"):
        Law(np.array([[0], [1]]), np.array([0.5, 0.5 + 1e-8]))
