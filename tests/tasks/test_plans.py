"""Shifts, the round table and chores: their laws, and the wrong replies that look right."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.exact_bits import one_step_bits
from parallelbench.errors import NotEnumerableError
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import TASKS, sample_rng
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(name, index=0, **fields):
    task = TASKS[f"plans/{name}"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def posed(name, facts, **fields):
    task, sample = draw(name, **fields)
    return task, dataclasses.replace(sample, facts=facts)


def right_answers(task, sample):
    return {text for text, _ in task.trellis(sample).texts()}


def strictly_right(task, sample, words, length):
    every = (", ".join(items) for items in itertools.product(words, repeat=length))
    return {text for text in every if task.score(sample, text).strict}


def test_nobody_works_two_days_running():
    task, sample = posed("shifts", {"people": ["Ada", "Dan", "Eli"]}, length=4, people=3)
    plans = itertools.product(sample.facts["people"], repeat=4)
    expected = {", ".join(p) for p in plans if all(a != b for a, b in itertools.pairwise(p))}
    assert right_answers(task, sample) == expected
    assert strictly_right(task, sample, ["Ada", "Dan", "Eli", "Fay"], 4) == expected


def test_no_delegation_sits_beside_its_own():
    facts = {"delegations": ["bakers", "masons", "smiths"]}
    task, sample = posed("round_table", facts, length=5, delegations=3)
    rings = itertools.product(facts["delegations"], repeat=5)
    expected = {
        ", ".join(ring)
        for ring in rings
        if all(ring[place] != ring[(place + 1) % 5] for place in range(5))
    }
    assert right_answers(task, sample) == expected
    assert strictly_right(task, sample, facts["delegations"], 5) == expected


def test_chores_wait_for_those_before_them():
    facts = {"chains": [["mop", "dry"], ["cook", "wash", "fold"]]}
    task, sample = posed("chores", facts, length=5, chains=2)
    chores = [chore for chain in facts["chains"] for chore in chain]
    expected = {
        ", ".join(order)
        for order in itertools.permutations(chores)
        if all(
            order.index(one) < order.index(two)
            for chain in facts["chains"]
            for one, two in itertools.pairwise(chain)
        )
    }
    assert right_answers(task, sample) == expected
    assert strictly_right(task, sample, chores, 5) == expected


@pytest.mark.parametrize(("people", "length"), [(2, 9), (6, 31), (24, 400)])
def test_shifts_are_the_colourings_of_a_path(people, length):
    task, sample = draw("shifts", people=people, length=length, canvas_length=1000)
    assert task.trellis(sample).count == people * (people - 1) ** (length - 1)


@pytest.mark.parametrize(("delegations", "length"), [(2, 10), (3, 5), (4, 30), (8, 301)])
def test_tables_are_the_colourings_of_a_cycle(delegations, length):
    task, sample = draw("round_table", delegations=delegations, length=length, canvas_length=1000)
    rest = delegations - 1
    assert task.trellis(sample).count == rest**length + (-1) ** length * rest


@pytest.mark.parametrize(("length", "chains"), [(4, 4), (7, 1), (11, 2), (30, 3), (36, 3)])
def test_orders_are_the_ways_to_merge_chains(length, chains):
    task, sample = draw("chores", length=length, chains=chains, canvas_length=200)
    sizes = [len(chain) for chain in sample.facts["chains"]]
    ways = math.factorial(length) // math.prod(map(math.factorial, sizes))
    assert task.trellis(sample).count == ways
    assert task.trellis(sample).entropy == pytest.approx(math.log2(ways))


def test_days_share_the_bits_of_the_closed_form():
    task, sample = draw("shifts")
    prompt = build_prompt(task, sample, Ideal().open().codec)
    law = answer_distribution(prompt)
    # Each later day is one of 6 in its own right, one of 5 given the day before.
    expected = 30 * math.log2(6 / 5)
    assert one_step_bits(law, prompt.canvas.numpy()) == pytest.approx(expected)
    days = {(place, place + 2) for place in range(0, 60, 2)}
    assert law.dependence_graph().pairs == days
    canvas = prompt.canvas.numpy().copy()
    canvas[30] = law.nearest(canvas)[30]  # the day in the middle parts the others
    before, after = list(range(0, 30, 2)), list(range(32, 62, 2))
    apart = law.joint_entropy(canvas, before) + law.joint_entropy(canvas, after)
    assert law.joint_entropy(canvas, before + after) == pytest.approx(apart)
    assert np.isclose(law.joint_entropy(canvas, before + after), 30 * math.log2(5))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("shifts", {"length": 5, "people": 3, "canvas_length": 12}),
        ("round_table", {"length": 6, "delegations": 3, "canvas_length": 11}),
        ("chores", {"length": 6, "chains": 3, "canvas_length": 16}),
    ],
)
def test_the_law_is_that_of_the_listing(name, fields):
    check_law_against_listing(TASKS[f"plans/{name}"](**fields))


SHIFTS = {"people": ["Ada", "Dan", "Eli"]}
TABLE = {"delegations": ["bakers", "masons", "smiths"]}
CHAINS = {"chains": [["mop", "dry"], ["cook"]]}


@pytest.mark.parametrize(
    ("name", "facts", "reply", "expected"),
    [
        ("shifts", SHIFTS, "Ada, Dan, Ada", (1, 1, None)),
        ("shifts", SHIFTS, "Sure! Here is a plan:\n1. ada\n2. dan\n3. ada", (0, 1, None)),
        ("shifts", SHIFTS, "[Ada; Dan; Ada]", (0, 1, None)),
        ("shifts", SHIFTS, "Ada, Dan, Dan", (0, 0, "two days running")),
        ("shifts", SHIFTS, "Ada, Dan, Zoe", (0, 0, "unknown person")),
        ("shifts", SHIFTS, "Ada, Dan", (0, 0, "wrong count")),
        ("shifts", SHIFTS, "nobody", (0, 0, "unreadable")),
        ("round_table", TABLE, "bakers, masons, smiths", (1, 1, None)),
        ("round_table", TABLE, "Bakers\nMasons\nSmiths\n", (0, 1, None)),
        ("round_table", TABLE, "bakers, masons, masons", (0, 0, "side by side")),
        ("round_table", TABLE, "bakers, masons, bakers", (0, 0, "across the end")),
        ("round_table", TABLE, "bakers, masons, tailors", (0, 0, "unknown delegation")),
        ("round_table", TABLE, "bakers, masons", (0, 0, "wrong count")),
        ("round_table", TABLE, "", (0, 0, "unreadable")),
        ("chores", CHAINS, "mop, cook, dry", (1, 1, None)),
        ("chores", CHAINS, "Mop, cook, and dry", (0, 1, None)),
        ("chores", CHAINS, "Mop, cook, or dry", (0, 0, "unknown chore")),
        ("chores", CHAINS, "* mop\n* dry\n* cook", (0, 1, None)),
        ("chores", CHAINS, "dry, mop, cook", (0, 0, "wrong order")),
        ("chores", CHAINS, "mop, dry, dry", (0, 0, "repeated")),
        ("chores", CHAINS, "mop, dry", (0, 0, "missing chore")),
        ("chores", CHAINS, "rest", (0, 0, "unreadable")),
    ],
)
def test_each_problem_has_its_name(name, facts, reply, expected):
    task, sample = posed(name, facts, length=3)
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == expected


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_any_reply_has_marks(reply):
    for name in ("shifts", "round_table", "chores"):
        task, sample = draw(name)
        assert task.score(sample, sample.reference).strict == 1
        assert task.score(sample, reply).strict in (0, 1)


def test_sizes_without_an_answer_are_refused():
    with pytest.raises(ValueError, match="2 delegations cannot alternate at a table with 5 seats"):
        draw("round_table", delegations=2, length=5)
    with pytest.raises(ValueError, match="3 chores cannot form 4 chains"):
        draw("chores", length=3, chains=4)
    with pytest.raises(NotEnumerableError, match=r"sets of finished chores .* limit of 2,000"):
        draw("chores", length=30, chains=10)
