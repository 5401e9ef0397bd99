"""Nested brackets: their law, and the wrong replies that look right."""

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import TASKS, sample_rng
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(index=0, **fields):
    task = TASKS["brackets/nested"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def depth_of(word):
    """The depth of a balanced word, by deleting innermost pairs; None for any other."""
    depth = 0
    while word:
        shorter = re.sub(r"\(\)|\[\]", "", word)
        if shorter == word:
            return None
        depth, word = depth + 1, shorter
    return depth


@pytest.mark.parametrize(("length", "depth"), [(2, 1), (6, 1), (6, 2), (6, 3)])
def test_the_right_words_are_the_balanced_ones(length, depth):
    task, sample = draw(length=length, depth=depth)
    words = ["".join(word) for word in itertools.product("()[]", repeat=length)]
    expected = {" ".join(word) for word in words if (depth_of(word) or 99) <= depth}
    assert {text for text, _ in task.trellis(sample).texts()} == expected
    assert {" ".join(w) for w in words if task.score(sample, " ".join(w)).strict} == expected


@pytest.mark.parametrize("pairs", [1, 5, 7])
def test_words_of_any_depth_are_catalans(pairs):
    task, sample = draw(length=2 * pairs, depth=7)
    catalan = math.comb(2 * pairs, pairs) // (pairs + 1)
    assert task.trellis(sample).count == catalan * 2**pairs


@pytest.mark.parametrize(("length", "depth"), [(48, 4), (200, 3), (100, 7)])
def test_words_of_bounded_depth_are_the_paths_below_a_line(length, depth):
    task, sample = draw(length=length, depth=depth, canvas_length=200)
    # Paths of steps up and down between 0 and the depth, by reflection at both lines.
    half, period = length // 2, depth + 2
    terms = range(-length, length + 1)
    paths = sum(
        choose(length, half + k * period) - choose(length, half + 1 + k * period) for k in terms
    )
    assert task.trellis(sample).count == paths * 2**half


@pytest.mark.parametrize("length", [64, 128, 256, 500])
@pytest.mark.parametrize("depth", [1, 2, 4, 5])
def test_long_words_are_counted_by_powers_of_the_matrix_of_depths(length, depth):
    task, sample = draw(length=length, depth=depth, canvas_length=512)
    # Two brackets open at each depth but the last; one closes.
    counts = [1, *[0] * depth]
    for _ in range(length):
        opened, closed = [0, *(2 * count for count in counts[:-1])], [*counts[1:], 0]
        counts = [one + other for one, other in zip(opened, closed, strict=True)]
    assert task.trellis(sample).count == counts[0]
    assert task.trellis(sample).entropy == pytest.approx(math.log2(counts[0]))


@pytest.mark.parametrize("length", [48, 500])
@pytest.mark.parametrize("depth", [None, 5])
def test_long_words_have_few_states_and_edges(length, depth):
    task, sample = draw(length=length, canvas_length=512, **({"depth": depth} if depth else {}))
    stage = task.trellis(sample).stages[1]
    assert len(stage.by_source) == 2 ** (task.depth + 1) - 1 <= 63
    assert len(stage.edges) == 2 ** (task.depth + 2) - 4 <= 124
    law = answer_distribution(build_prompt(task, sample, Ideal().open().codec))
    # Before one position, the stacks are all of odd or all of even depth.
    most = sum(2**size for size in range(task.depth, -1, -2))
    assert max(len(set(layer.sources.tolist())) for layer in law.parts[0].layers) == most


def test_the_depth_is_stated_in_every_wording():
    for template in TASKS["brackets/nested"].templates:
        _, sample = draw(length=20, depth=3, template=template, shots=0)
        (question,) = sample.messages
        assert "3" in question.content.replace("20", "")
    assert draw()[0].depth == 4


def choose(n, k):
    return math.comb(n, k) if 0 <= k <= n else 0


@pytest.mark.parametrize("fields", [{"length": 6, "depth": 3}, {"length": 8, "depth": 2}])
def test_the_law_is_that_of_the_listing(fields):
    check_law_against_listing(TASKS["brackets/nested"](**fields, canvas_length=10))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("( [ ] )", (1, 1, None)),
        ("A word:\n```\n([])\n```", (0, 1, None)),
        ("( [ ]", (0, 0, "wrong count")),
        (") ( [ ]", (0, 0, "unopened")),
        ("( [ ) ]", (0, 0, "crossed")),
        ("( ( [ ]", (0, 0, "unclosed")),
        ("none", (0, 0, "unreadable")),
    ],
)
def test_each_problem_has_its_name(reply, expected):
    task, sample = draw(length=4, depth=2)
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == expected


def test_a_word_too_deep_is_named():
    task, sample = draw(length=4, depth=1)
    assert task.score(sample, "( ( ) )").failure == "too deep"


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_any_reply_has_marks(reply):
    task, sample = draw()
    assert task.score(sample, sample.reference).strict == 1
    assert task.score(sample, reply).strict in (0, 1)


def test_an_odd_number_of_brackets_is_refused():
    with pytest.raises(ValueError, match="even number, got length=7"):
        draw(length=7)
