"""Forms of laws: blind to names, and to nothing else."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parallelbench.analysis.theory.symmetry import form
from support.laws import laws, quick


def form_of(rows, shares):
    codes = np.array([np.unique(column, return_inverse=True)[1] for column in rows.T]).T
    return form(codes, (codes.max(axis=0) + 1).tolist(), shares)


def same_but_for_names(one, other):
    """By brute force over the orders of positions; symbols are named by first appearance."""

    def tables(law):
        for order in itertools.permutations(range(law.length)):
            shuffled = zip(law.rows[:, order].tolist(), law.probabilities.round(9), strict=True)
            yield list(shuffled)

    def patterns(table):
        for answers in itertools.permutations(table):
            names = [{} for _ in answers[0][0]]
            yield tuple(
                (tuple(n.setdefault(s, len(n)) for n, s in zip(names, row, strict=True)), share)
                for row, share in answers
            )

    mine = set(patterns(next(tables(one))))
    return any(pattern in mine for table in tables(other) for pattern in patterns(table))


@quick
@given(laws(positions=(1, 3)), st.randoms(use_true_random=False))
def test_symbols_and_the_order_of_answers_and_positions_mostly_do_not_matter(law, rng):
    names, positions, answers = list(range(9)), list(range(law.length)), list(range(len(law)))
    for things in (names, positions, answers):
        rng.shuffle(things)
    rows = np.array(names)[law.rows][answers][:, positions]
    one = form_of(law.rows, law.probabilities)
    other = form_of(rows, law.probabilities[answers])
    assert len(one[0]) == len(other[0])
    # Ties between things that are not alike may get two forms, so this is of large ones only.
    if len(set(law.probabilities.tolist())) == len(law):
        assert one == other


@quick
@given(laws(positions=(1, 2)), laws(positions=(1, 2)))
def test_laws_of_one_form_are_the_same_but_for_names(one, other):
    if len(one) > 4 or len(other) > 4:
        return
    if form_of(one.rows, one.probabilities) == form_of(other.rows, other.probabilities):
        assert same_but_for_names(one, other)


def test_the_orders_of_names_have_one_form_however_they_are_written():
    orders = np.array(list(itertools.permutations(range(4))))
    shares = np.full(24, 1 / 24)
    first = form_of(orders, shares)
    assert form_of((7 - orders)[::-1, ::-1], shares) == first
    left = orders[orders[:, 2] == 1][:, [0, 1, 3]]
    right = orders[orders[:, 0] == 3][:, [3, 1, 2]]
    sixth = np.full(6, 1 / 6)
    assert form_of(left, sixth) == form_of(right, sixth)


def test_other_weights_and_other_agreements_have_other_forms():
    rows = np.array([[0, 0], [0, 1], [1, 0]])
    even, uneven = np.array([1, 1, 1]) / 3, np.array([1, 1, 2]) / 4
    assert form_of(rows, even) != form_of(rows, uneven)
    assert form_of(rows, even) != form_of(np.array([[0, 0], [1, 1], [2, 2]]), even)
    assert form_of(rows, uneven) == form_of(rows[:, ::-1], np.array([1, 2, 1]) / 4)


def test_many_answers_that_share_nothing_take_no_time():
    rows = np.arange(20_000)[:, None].repeat(2, axis=1)
    shares = np.full(len(rows), 1 / len(rows))
    assert form_of(rows, shares) == form_of(rows[::-1], shares)
