"""Sizes without an exact distribution are refused, with the numbers and a way out."""

import pytest

from parallelbench.distributions import text_tokens
from parallelbench.errors import CanvasError, NotEnumerableError
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.registry import load_plugins
from parallelbench.task import TASKS, sample_rng

load_plugins()


def draw(name, **fields):
    task = TASKS[name](**fields)
    return task, task.draw(sample_rng(0, name, 0), 0)


def law(name, **fields):
    task, sample = draw(name, **fields)
    return answer_distribution(build_prompt(task, sample, Ideal().open().codec))


#: A size that fills a canvas, one that does not fit it, and the tokens of the latter.
CANVASES = [
    ("plans/shifts", {"length": 32, "canvas_length": 63}, {"length": 33}, 65),
    ("plans/round_table", {"length": 32, "canvas_length": 63}, {"length": 33}, 65),
    ("plans/chores", {"length": 32, "canvas_length": 63}, {"length": 33}, 65),
    ("routes/walk", {"length": 32, "canvas_length": 63}, {"length": 33}, 65),
    ("routes/walk", {"length": 32, "canvas_length": 63}, {"length": 33, "start": "fixed"}, 65),
    ("brackets/nested", {"length": 64, "canvas_length": 64}, {"length": 66}, 66),
    ("sequences/rising", {"length": 9, "last": 9, "canvas_length": 17}, {"length": 30}, None),
    ("sequences/mirror", {"length": 32, "canvas_length": 64}, {"length": 33}, 66),
]


@pytest.mark.parametrize(("name", "full", "long", "tokens"), CANVASES)
def test_an_answer_longer_than_the_canvas_is_refused_with_its_tokens(name, full, long, tokens):
    length = full["canvas_length"]
    assert law(name, **full).length == length
    needed = tokens or r"\d+"
    with pytest.raises(
        CanvasError, match=rf"^{name}: .* takes {needed} tokens, .* canvas has 64; .*={needed}"
    ):
        law(name, **long)
    with pytest.raises(CanvasError, match=rf"takes {length} tokens, .* has {length - 1}"):
        law(name, **{**full, "canvas_length": length - 1})


def test_the_longest_answer_must_fit_where_answers_differ_in_length():
    # The reference may be short; the longest answer has four pages of two digits.
    for index in range(20):
        task = TASKS["sequences/rising"](length=4, last=13, canvas_length=10)
        sample = task.draw(sample_rng(0, task.name, index), index)
        with pytest.raises(CanvasError, match=r"takes 1[01] tokens|longest .* takes 11 tokens"):
            answer_distribution(build_prompt(task, sample, Ideal().open().codec))
    assert law("sequences/rising", length=4, last=13, canvas_length=11).length == 11


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("plans/shifts", {"people": 1}, "people must be 2 to 24 people, got 1"),
        ("plans/shifts", {"people": 25}, "people must be 2 to 24 people, got 25"),
        ("plans/shifts", {"length": 501}, "length must be 1 to 500 days, got 501"),
        ("plans/round_table", {"delegations": 9}, "delegations must be 2 to 8 .*, got 9"),
        ("plans/round_table", {"length": 1}, "length must be 2 to 500 seats, got 1"),
        ("plans/round_table", {"delegations": 2, "length": 31}, "2 delegations .* with 31 seats"),
        ("plans/chores", {"length": 37}, "length must be 1 to 36 chores, got 37"),
        ("plans/chores", {"length": 5, "chains": 6}, "5 chores cannot form 6 chains"),
        ("routes/walk", {"places": 4, "paths": 7}, "4 places has 3 to 6 paths, got paths=7"),
        ("routes/walk", {"places": 4, "paths": 2}, "4 places has 3 to 6 paths, got paths=2"),
        ("routes/walk", {"places": 1, "paths": 0}, "places must be 2 to 24 places, got 1"),
        ("routes/walk", {"places": 25}, "places must be 2 to 24 places, got 25"),
        ("brackets/nested", {"depth": 0}, "depth must be 1 to 7 open brackets, got 0"),
        ("brackets/nested", {"depth": 8}, "depth must be 1 to 7 open brackets, got 8"),
        ("brackets/nested", {"length": 49}, "even number, got length=49"),
        ("sequences/rising", {"length": 61}, "61 different pages .* got last=60"),
        ("sequences/rising", {"last": 201}, "last must be 1 to 200 pages, got 201"),
        ("sequences/mirror", {"letters": 27}, "letters must be 2 to 26 letters, got 27"),
        ("sequences/mirror", {"length": 501}, "length must be 1 to 500 letters, got 501"),
    ],
)
def test_a_task_refuses_a_size_that_has_no_answer_or_no_words(name, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        TASKS[name](**fields)


def test_chores_with_too_many_sets_of_finished_ones_are_refused():
    with pytest.raises(NotEnumerableError, match=r"^36 chores in 5 chains have 2,706 .* of 2,000"):
        draw("plans/chores", length=36, chains=5, canvas_length=90)
    assert law("plans/chores", length=20, chains=4, canvas_length=40).length == 40


def test_pages_of_a_thick_book_have_too_many_edges():
    with pytest.raises(
        NotEnumerableError, match=r"rising: .* too large: \d+ of 500 .* more than 4,000,000 edges"
    ):
        law("sequences/rising", length=120, last=200, canvas_length=500)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("plans/shifts", {"length": 29}),
        ("plans/round_table", {"length": 29}),
        ("plans/chores", {"length": 29}),
        ("routes/walk", {"length": 29}),
        ("brackets/nested", {"length": 46}),
        ("sequences/rising", {"length": 15}),
        ("sequences/mirror", {"length": 29}),
    ],
)
def test_too_many_edges_are_refused_with_their_number(name, fields, monkeypatch):
    monkeypatch.setattr(text_tokens, "MOST_EDGES", 500)
    message = rf"^{name}: the structure .* too large: \d+ of 64 .* than 500 edges .* smaller size"
    with pytest.raises(NotEnumerableError, match=message):
        law(name, **fields)
