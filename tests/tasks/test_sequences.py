"""Rising numbers and mirrored letters: their laws, and the wrong replies that look right."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.exact_bits import one_step_bits
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import TASKS, sample_rng
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(name, index=0, **fields):
    task = TASKS[f"sequences/{name}"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def test_the_rising_lists_are_the_sets_of_pages():
    task, sample = draw("rising", length=3, last=11)
    pages = range(1, 12)
    right = {", ".join(map(str, chosen)) for chosen in itertools.combinations(pages, 3)}
    assert {text for text, _ in task.trellis(sample).texts()} == right
    every = [", ".join(map(str, chosen)) for chosen in itertools.product(range(13), repeat=3)]
    assert {text for text in every if task.score(sample, text).strict} == right


def test_the_mirrored_sequences_are_the_palindromes():
    task, sample = draw("mirror", length=2, letters=3)
    every = [" ".join(letters) for letters in itertools.product("abcd", repeat=4)]
    right = {text for text in every if text == text[::-1] and "d" not in text}
    assert {text for text, _ in task.trellis(sample).texts()} == right
    assert {text for text in every if task.score(sample, text).strict} == right


def test_counts_at_any_length():
    task, sample = draw("rising", length=100, last=200)
    assert task.trellis(sample).count == math.comb(200, 100)
    assert task.trellis(sample).entropy == pytest.approx(math.log2(math.comb(200, 100)))
    task, sample = draw("mirror", length=250)
    assert task.trellis(sample).count == 26**250


def test_mirrored_letters_share_the_bits_of_one_half():
    task, sample = draw("mirror", length=30)
    prompt = build_prompt(task, sample, Ideal().open().codec)
    law = answer_distribution(prompt)
    assert one_step_bits(law, prompt.canvas.numpy()) == pytest.approx(30 * math.log2(26))
    pairs = {tuple(sorted((place, 59 - place))) for place in range(30)}
    assert law.dependence_graph().pairs == pairs


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("rising", {"length": 3, "last": 12, "canvas_length": 10}),
        ("rising", {"length": 1, "last": 30, "canvas_length": 3}),
        ("mirror", {"length": 3, "letters": 4, "canvas_length": 8}),
    ],
)
def test_the_law_is_that_of_the_listing(name, fields):
    check_law_against_listing(TASKS[f"sequences/{name}"](**fields))


@pytest.mark.parametrize(
    ("name", "reply", "expected"),
    [
        ("rising", "2, 5, 9", (1, 1, None)),
        ("rising", "The pages are:\n- 2\n- 5\n- 9", (0, 1, None)),
        ("rising", "[2; 5; 9]", (0, 1, None)),
        ("rising", "2, 5", (0, 0, "wrong count")),
        ("rising", "2, 5, 12", (0, 0, "no such page")),
        ("rising", "2, 5, 5", (0, 0, "repeated")),
        ("rising", "5, 2, 9", (0, 0, "not rising")),
        ("rising", "two, five, nine", (0, 0, "unreadable")),
        ("mirror", "a b b a", (1, 1, None)),
        ("mirror", "Here it is:\nA, B, B, A", (0, 1, None)),
        ("mirror", "abba", (0, 1, None)),
        ("mirror", "a b a", (0, 0, "wrong count")),
        ("mirror", "a z z a", (0, 0, "not listed")),
        ("mirror", "a b c a", (0, 0, "not mirrored")),
        ("mirror", "1 2 2 1", (0, 0, "unreadable")),
    ],
)
def test_each_problem_has_its_name(name, reply, expected):
    fields = {"rising": {"length": 3, "last": 11}, "mirror": {"length": 2, "letters": 3}}
    task, sample = draw(name, **fields[name])
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == expected


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_any_reply_has_marks(reply):
    for name in ("rising", "mirror"):
        task, sample = draw(name)
        assert task.score(sample, sample.reference).strict == 1
        assert task.score(sample, reply).strict in (0, 1)


def test_a_book_too_short_is_refused():
    with pytest.raises(ValueError, match="16 different pages need a book of at least as many"):
        draw("rising", last=15)
