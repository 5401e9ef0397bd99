"""Bounds of fixed partitions against brute force, closed forms, Monte Carlo and the theorems."""

import itertools
import math
import time
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from parallelbench.analysis.theory.bounds import (
    OverLimitError,
    best_partitions,
    best_sizes,
    components,
    decoded,
    least_validity,
    subset_entropies,
    validity,
)
from parallelbench.analysis.theory.closed_forms import (
    LATIN_SQUARES,
    REPLACE_RANDOM_LIMIT,
    insert_random_bits,
    latin_square_bits,
    remove_random_bits,
    replace_random_bits,
    replace_random_entropies,
    shuffle_bits,
    shuffle_entropies,
    shuffle_other_bits,
)
from parallelbench.analysis.theory.dependence import Law, entropy, total_correlation
from parallelbench.errors import RequestError
from support.laws import WITH_A_CHOICE, law_of, laws, ordered_partitions, quick

AGREE = Law.counted([[0, 0], [1, 1]])
EVEN = Law.counted([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])


def by_brute_force(law):
    """The least of all ordered partitions, for each number of steps, by the chain rule."""

    @cache
    def h(chosen):
        return entropy(law, chosen)

    least = [math.inf] * law.length
    for partition in ordered_partitions(range(law.length)):
        bits, known = -h(frozenset(range(law.length))), frozenset()
        for step in partition:
            bits += sum(h(known | {position}) - h(known) for position in step)
            known |= set(step)
        least[len(partition) - 1] = min(least[len(partition) - 1], bits)
    return least


def partition_bits(law, partition):
    """L_T of equation 2: the bits that writing ``partition`` step by step ignores."""
    known, bits = set(), -entropy(law)
    for step in partition:
        bits += sum(entropy(law, known | {position}) - entropy(law, known) for position in step)
        known |= set(step)
    return bits


def random_partition(draw, length):
    steps = [draw(st.integers(0, length - 1)) for _ in range(length)]
    grouped = [[one for one in range(length) if steps[one] == step] for step in range(length)]
    return [step for step in grouped if step]


# Theorem 1: the cost of a partition is the divergence of what is decoded.


@quick
@given(laws(), st.data())
def test_the_cost_of_a_partition_is_the_divergence_of_what_is_decoded(law, data):
    partition = random_partition(data.draw, law.length)
    p, q = law.probabilities, decoded(law, partition)
    divergence = float((p * np.log2(p / q)).sum())
    assert partition_bits(law, partition) == pytest.approx(divergence, abs=1e-9)


@quick
@given(laws(), st.data())
def test_validity_is_at_least_what_the_bits_leave(law, data):
    partition = random_partition(data.draw, law.length)
    right = validity(law, partition)
    assert right >= least_validity(partition_bits(law, partition)) - 1e-9
    assert 0 < right <= 1


@quick
@given(laws())
def test_one_position_at_a_time_costs_nothing(law):
    one_by_one = [[position] for position in range(law.length)]
    assert partition_bits(law, one_by_one) == pytest.approx(0, abs=1e-9)
    assert decoded(law, one_by_one) == pytest.approx(law.probabilities)


# The least cost of T steps.


@quick
@given(laws(positions=(1, 4)))
def test_the_least_cost_is_that_of_the_best_ordered_partition(law):
    bounds = best_partitions(law)
    assert [bound.bits for bound in bounds] == pytest.approx(by_brute_force(law), abs=1e-9)
    for steps, bound in enumerate(bounds, start=1):
        assert len(bound.partition) == steps
        assert partition_bits(law, bound.partition) == pytest.approx(bound.bits, abs=1e-9)


@quick
@given(laws(positions=(1, 6)))
def test_more_steps_never_cost_more(law):
    """Theorem 2 of the paper, with its two ends."""
    bits = [bound.bits for bound in best_partitions(law)]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(bits))
    assert bits[0] == pytest.approx(total_correlation(law), abs=1e-9)
    assert bits[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("text", WITH_A_CHOICE)
def test_the_least_cost_of_every_task_is_that_of_brute_force(text):
    law = law_of(text)
    bounds = best_partitions(law)
    assert [bound.bits for bound in bounds] == pytest.approx(by_brute_force(law), abs=1e-9)
    for bound in bounds:
        assert partition_bits(law, bound.partition) == pytest.approx(bound.bits, abs=1e-9)


@pytest.mark.parametrize("text", WITH_A_CHOICE)
def test_decodes_are_right_as_often_as_the_exact_validity_says(text):
    law = law_of(text)
    partition = best_partitions(law)[min(1, law.length - 1)].partition
    rng = np.random.default_rng(0)
    right = 0
    for _ in range(300):
        fits = np.ones(len(law), dtype=bool)
        for step in partition:
            left = law.select(fits)
            for position in step:
                symbol = rng.choice(left.rows[:, position], p=left.probabilities)
                fits = fits & (law.rows[:, position] == symbol)
            if not fits.any():
                break
        right += bool(fits.any())
    interval = binomtest(right, 300).proportion_ci(0.9999)
    assert interval.low <= validity(law, partition) <= interval.high


@pytest.mark.parametrize("text", ["list_operations/copy", "waiting_line/sort", "puzzles/sudoku"])
def test_what_leaves_no_choice_costs_nothing_in_one_step(text):
    law = law_of(text)
    ((bits, partition),) = best_partitions(law)
    assert bits == 0
    assert partition == ((0,),)
    assert validity(law, partition) == 1


@quick
@given(laws(positions=(1, 2)), laws(positions=(1, 2)))
def test_independent_parts_are_written_side_by_side(one, other):
    rows = [[*a, *b] for a in one.rows.tolist() for b in other.rows.tolist()]
    shares = np.outer(one.probabilities, other.probabilities).ravel()
    law = Law.counted(np.array(rows), shares)
    assert [bound.bits for bound in best_partitions(law)] == pytest.approx(
        by_brute_force(law), abs=1e-9
    )
    assert all(max(part) < one.length or min(part) >= one.length for part in components(law))


def test_positions_that_depend_on_each_other_only_together_stay_together():
    assert components(EVEN) == [(0, 1, 2)]
    assert [bound.bits for bound in best_partitions(EVEN)] == [1, 0, 0]
    certain = Law.counted([[*row, 7] for row in EVEN.rows.tolist()])
    assert components(certain) == [(3,), (0, 1, 2)]


def test_a_roster_takes_two_steps_for_any_number_of_people():
    for people in (1, 2, 5):
        law = law_of(f"choices/roster:people={people}")
        bits = [bound.bits for bound in best_partitions(law)]
        assert bits[0] == pytest.approx(people)
        assert bits[1:] == pytest.approx([0] * (2 * people - 1), abs=1e-9)


@quick
@given(laws(positions=(1, 6)))
def test_entropies_of_all_sets_are_those_of_each(law):
    bits = subset_entropies(law)
    for index in range(1 << law.length):
        chosen = [one for one in range(law.length) if index >> one & 1]
        assert bits[index] == pytest.approx(entropy(law, chosen), abs=1e-9)


def test_no_random_partition_of_a_latin_square_beats_the_best():
    law = law_of("puzzles/latin_square:size=3")
    bounds = best_partitions(law)
    assert bounds[0].bits == pytest.approx(latin_square_bits(3))
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = rng.integers(0, 9, size=9)
        partition = [np.flatnonzero(steps == step).tolist() for step in set(steps.tolist())]
        assert bounds[len(partition) - 1].bits <= partition_bits(law, partition) + 1e-9
    for bound in bounds:
        assert partition_bits(law, bound.partition) == pytest.approx(bound.bits, abs=1e-9)


def test_twelve_positions_take_under_ten_seconds():
    rng = np.random.default_rng(0)
    rows = np.array(list(itertools.product(range(2), repeat=12)))
    law = Law.counted(rows, rng.random(len(rows)))
    began = time.perf_counter()
    bounds = best_partitions(law)
    assert time.perf_counter() - began < 10
    assert bounds[0].bits == pytest.approx(total_correlation(law), abs=1e-9)
    for bound in bounds:
        assert partition_bits(law, bound.partition) == pytest.approx(bound.bits, abs=1e-9)


# Where only the number of positions counts.


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
@pytest.mark.parametrize(
    ("text", "entropies"),
    [
        ("list_operations/replace_random:length={}", replace_random_entropies),
        (
            "list_operations/shuffle:length={}",
            lambda n: shuffle_entropies(n, allow_identity=False),
        ),
        (
            "list_operations/shuffle:length={},allow_identity=true",
            lambda n: shuffle_entropies(n, allow_identity=True),
        ),
    ],
)
def test_sizes_cost_what_the_best_partitions_cost(text, entropies, n):
    law = law_of(text.format(n))
    by_size = best_sizes(entropies(n))
    assert entropies(n)[-1] == pytest.approx(math.log2(len(law)))
    if law.length < n:  # two items can only be swapped
        assert [bound.bits for bound in by_size] == pytest.approx([0] * n, abs=1e-9)
        return
    exact = best_partitions(law)
    assert [bound.bits for bound in by_size] == pytest.approx(
        [bound.bits for bound in exact], abs=1e-9
    )
    for steps, bound in enumerate(by_size, start=1):
        assert len(bound.sizes) == steps
        assert sum(bound.sizes) == n


def test_more_positions_than_the_limit_are_solved_by_size_where_that_is_exact():
    law = law_of("list_operations/replace_random:length=25")
    bounds = best_partitions(law)
    assert len(bounds) == 25
    by_size = best_sizes(replace_random_entropies(25))
    assert [bound.bits for bound in bounds] == pytest.approx([b.bits for b in by_size], abs=1e-9)
    assert partition_bits(law, bounds[3].partition) == pytest.approx(bounds[3].bits, abs=1e-9)
    assert [
        b.bits for b in best_partitions(law_of("list_operations/replace_random:length=6"), 3)
    ] == pytest.approx([b.bits for b in best_sizes(replace_random_entropies(6))], abs=1e-9)


def test_a_thousand_positions_are_solved():
    entropies = shuffle_entropies(1000, allow_identity=True)
    bounds = best_sizes(entropies, 50)
    assert bounds[0].bits == pytest.approx(shuffle_bits(1000))
    for bound in bounds[::10]:
        assert shuffle_bits(1000, bound.sizes) == pytest.approx(bound.bits, rel=1e-9)


@pytest.mark.parametrize("n", range(1, 7))
def test_best_sizes_are_the_best_of_all_sizes(n):
    bounds = best_sizes(shuffle_entropies(n, allow_identity=True))
    for steps, bound in enumerate(bounds, start=1):
        every = (
            sizes for sizes in itertools.product(range(1, n + 1), repeat=steps) if sum(sizes) == n
        )
        assert bound.bits == pytest.approx(min(shuffle_bits(n, each) for each in every), abs=1e-9)


@quick
@example([0.8135375286993649, 0.8084724178422575, 0.5, 0.5, 0.5, 0.0])  # which rounding lets rise
@given(st.lists(st.floats(0, 1), min_size=1, max_size=25))
def test_best_sizes_are_those_of_a_plain_search(gains):
    gains = sorted(gains, reverse=True)
    entropies = [0.0, *itertools.accumulate(gains)]
    n = len(gains)
    least = [0.0, *[math.inf] * n]
    for bound in best_sizes(entropies):
        least = [
            min((least[a] + (b - a) * gains[a] for a in range(b)), default=math.inf)
            for b in range(n + 1)
        ]
        assert bound.bits == pytest.approx(max(0.0, least[n] - entropies[n]), abs=1e-9)


# Closed forms of the theory, section 3.


@pytest.mark.parametrize("n", range(2, 8))
@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("list_operations/shuffle:length={},allow_identity=true", shuffle_bits),
        ("list_operations/shuffle:length={}", shuffle_other_bits),
        ("list_operations/replace_random:length={}", replace_random_bits),
        ("list_operations/insert_random:length={}", insert_random_bits),
        ("list_operations/remove_random:length={}", remove_random_bits),
        ("waiting_line/remove_random:length={}", remove_random_bits),
    ],
)
def test_the_formula_is_what_enumeration_gives(text, formula, n):
    assert formula(n) == pytest.approx(total_correlation(law_of(text.format(n))), abs=1e-9)


@pytest.mark.parametrize("size", [3, 4])
def test_a_latin_square_costs_what_its_number_says(size):
    law = law_of(f"puzzles/latin_square:size={size}")
    assert len(law) == LATIN_SQUARES[size]
    assert total_correlation(law) == pytest.approx(latin_square_bits(size))


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("choices/city", 1),
        ("choices/city:options=2", 0),
        ("choices/capital", 3),
        ("choices/dice", 0),
        ("choices/roster", 3),
        ("list_operations/copy", 0),
        ("list_operations/insert_index", 0),
        ("waiting_line/reverse", 0),
        ("puzzles/sudoku", 0),
    ],
)
def test_a_choice_costs_what_the_theory_says(text, bits):
    assert total_correlation(law_of(text)) == pytest.approx(bits, abs=1e-9)


def test_what_grows_without_end_and_what_does_not():
    assert replace_random_bits(10**9) == pytest.approx(REPLACE_RANDOM_LIMIT)
    assert replace_random_bits(10) < REPLACE_RANDOM_LIMIT
    for formula in (insert_random_bits, remove_random_bits):
        assert formula(20_000) / 20_000 == pytest.approx(math.log2(math.e) / 2, rel=1e-2)
    assert shuffle_other_bits(200) == pytest.approx(shuffle_bits(200))


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_two_items_a_step_cost_the_ratio_of_double_factorials(n):
    even, odd = math.prod(range(2, n + 1, 2)), math.prod(range(1, n, 2))
    assert shuffle_bits(n, [2] * (n // 2)) == pytest.approx(math.log2(even / odd))


@pytest.mark.parametrize(("n", "width"), [(4, 1), (4, 2), (4, 4), (5, 2), (5, 3)])
def test_a_shuffle_is_right_as_often_as_equation_5_says(n, width):
    law = law_of(f"list_operations/shuffle:length={n},allow_identity=true")
    sizes = [min(width, n - start) for start in range(0, n, width)]
    equation_5 = 1.0
    for step, size in enumerate(sizes):
        left = n - step * width
        equation_5 *= math.perm(left, size) / left**size
    orders = itertools.permutations(range(n))
    chunks = ([order[at : at + width] for at in range(0, n, width)] for order in orders)
    mean = sum(validity(law, partition) for partition in chunks) / math.factorial(n)
    assert mean == pytest.approx(equation_5)
    # Q restricted to the right answers is proportional to P: the bound is met.
    assert least_validity(shuffle_bits(n, sizes)) == pytest.approx(equation_5)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_replacing_in_one_step_is_right_as_often_as_the_theory_says(n):
    law = law_of(f"list_operations/replace_random:length={n}")
    right = validity(law, [range(n)])
    assert right == pytest.approx(((n - 1) / n) ** (n - 1))
    assert right == pytest.approx(least_validity(replace_random_bits(n)))


# Requests that cannot be met.


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: decoded(AGREE, [{0}]), r"positions 0\.\.1 .* got \[\[0\]\]"),
        (lambda: decoded(AGREE, [{0, 1}, {1}]), r"exactly one step"),
        (lambda: decoded(AGREE, [{0, 1}, set()]), r"no step empty"),
        (lambda: decoded(AGREE, [{0, 2}]), r"got \[\[0, 2\]\]"),
        (lambda: best_sizes([0.0, 1.0], 2), r"1 positions take 1 to 1 steps, got 2"),
        (lambda: best_sizes([1.0, 1.0]), "0 bits for no position"),
        (lambda: best_sizes([0.0, 1.0, 3.0]), "position 2 adds 2 bits, more than the 1 "),
        (lambda: shuffle_bits(3, [2, 2]), r"sum to n=3, got \[2, 2\]"),
        (lambda: shuffle_bits(0), "1 items or more here, got n=0"),
        (lambda: shuffle_other_bits(1), "2 items or more here, got n=1"),
        (lambda: latin_square_bits(8), "1 to 7 symbols, got size=8"),
    ],
)
def test_what_makes_no_sense_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


@pytest.mark.parametrize("limit", [2, 4])
def test_more_sets_than_the_limit_are_refused_with_both_numbers(limit):
    law = law_of("list_operations/insert_random:length=4")
    message = rf"5 positions needs 2\^5 sets, over the limit of {limit} positions"
    for ask in (best_partitions, subset_entropies):
        with pytest.raises(OverLimitError, match=message) as refusal:
            ask(law, limit=limit)
        assert isinstance(refusal.value, RequestError)
    assert len(best_partitions(law, limit=5)) == 5
