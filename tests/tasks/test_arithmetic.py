"""Long sums: their law, and the wrong replies that look right."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.errors import CanvasError
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.task import TASKS, sample_rng
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(index=0, total=None, **fields):
    task = TASKS["arithmetic/addition"](**fields)
    sample = task.draw(sample_rng(0, task.name, index), index)
    return task, sample if total is None else dataclasses.replace(sample, facts={"total": total})


def pairs(total, length):
    """The first numbers of the pairs in range: as a range, whatever its size."""
    least, most = 10 ** (length - 1), 10**length - 1
    return range(max(least, total - most), min(most, total - least) + 1)


@pytest.mark.parametrize("total", ["002", "018", "010", "011"])
def test_one_digit_sums(total):
    task, sample = draw(total=total[1:], length=1)
    expected = {f"{a} + {int(total) - a}" for a in pairs(int(total), 1)}
    assert {text for text, _ in task.trellis(sample).texts()} == expected


@pytest.mark.parametrize("total", ["020", "110", "105", "198", "099"])
def test_the_right_answers_are_all_pairs_with_the_sum(total):
    task, sample = draw(total=total, length=2)
    right = {f"{a} + {int(total) - a}" for a in pairs(int(total), 2)}
    assert {text for text, _ in task.trellis(sample).texts()} == right
    every = [f"{a} + {b}" for a in range(10, 100) for b in range(10, 100)]
    assert {text for text in every if task.score(sample, text).strict} == right


@pytest.mark.parametrize("length", [3, 24, 40, 250])
def test_counts_are_those_of_the_ranges(length):
    for index in range(5):
        task, sample = draw(index, length=length, canvas_length=600)
        # A range of more than 2^63 numbers has no len.
        found = pairs(int(sample.facts["total"]), length)
        assert task.trellis(sample).count == found.stop - found.start
        assert task.trellis(sample).entropy == pytest.approx(math.log2(found.stop - found.start))


@pytest.mark.parametrize("total", ["0025", "0198", "0110"])
def test_the_law_is_that_of_the_listing(total):
    task = TASKS["arithmetic/addition"](length=2, canvas_length=8)

    class Posed(type(task)):
        def pose(self, rng, index):
            trellis = self.trellis(dataclasses.replace(draw()[1], facts={"total": total[1:]}))
            question = super().pose(rng, index)
            reference = trellis.text(trellis.draw(rng))
            return dataclasses.replace(question, reference=reference, facts={"total": total[1:]})

    check_law_against_listing(Posed(length=2, canvas_length=8))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("45 + 55", (1, 1, None)),
        ("45+55 = 100", (0, 1, None)),
        ("Take 10 + 20? No: 45 plus 55.", (0, 1, None)),
        ("`45 + 55`", (0, 1, None)),
        ("45 + 56", (0, 0, "wrong sum")),
        ("1 + 99", (0, 0, "wrong length")),
        ("05 + 95", (0, 0, "wrong length")),
        ("45, 55", (0, 0, "unreadable")),
        (f"{'9' * 9000} + 1", (0, 0, "wrong length")),
    ],
)
def test_each_problem_has_its_name(reply, expected):
    task, sample = draw(total="100", length=2)
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == expected


def test_a_reference_is_right():
    for index in range(20):
        task, sample = draw(index)
        assert task.score(sample, sample.reference).strict == 1


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_any_reply_has_marks(reply):
    task, sample = draw()
    assert task.score(sample, reply).strict in (0, 1)


def test_a_sum_beyond_the_canvas_is_refused_with_its_size():
    task, sample = draw(length=40)
    with pytest.raises(CanvasError, match=r"takes 81 tokens, .* canvas_length=81"):
        build_prompt(task, sample, Ideal().open().codec)
