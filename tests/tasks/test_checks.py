"""Check digits: their laws, and the wrong replies that look right."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.exact_bits import one_step_bits
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks.checks import is_isbn, is_luhn
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(name, index=0, **fields):
    task = TASKS[f"checks/{name}"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def verdict(name, reply, **fields):
    task, sample = draw(name, **fields)
    marks = task.score(sample, reply)
    return marks.strict, marks.lenient, marks.failure


def bits_of(task, sample):
    prompt = build_prompt(task, sample, Ideal().open().codec)
    law = answer_distribution(prompt)
    return one_step_bits(law, prompt.canvas.numpy())


@pytest.mark.parametrize("length", [2, 3, 6])
def test_the_right_bits_are_those_with_an_even_number_of_ones(length):
    task, sample = draw("parity", length=length)
    every = [" ".join(bits) for bits in itertools.product("01", repeat=length)]
    even = {text for text in every if text.count("1") % 2 == 0}
    assert {text for text, _ in task.trellis(sample).texts()} == even
    assert {text for text in every if task.score(sample, text).strict} == even


def test_luhn_numbers_are_those_that_the_published_example_belongs_to():
    # The example number of ISO/IEC 7812 texts and of most descriptions of the algorithm.
    assert is_luhn("79927398713")
    assert [is_luhn(f"7992739871{digit}") for digit in range(10)].count(True) == 1
    task, sample = draw("luhn", length=3, numbers=1)
    right = {text for text, _ in task.trellis(sample).texts()}
    assert right == {str(number) for number in range(100, 1000) if is_luhn(str(number))}
    assert right == {str(n) for n in range(100, 1000) if task.score(sample, str(n)).strict}


def test_book_numbers_are_those_that_published_ones_belong_to():
    assert is_isbn("0306406152")  # the example of the standard's user manual
    assert is_isbn("080442957X")
    assert not is_isbn("0306406153")
    task, sample = draw("isbn", length=1)
    trellis = task.trellis(sample)
    rng = sample_rng(1, "x", 0)
    drawn = {trellis.text(trellis.draw(rng)) for _ in range(300)}
    assert all(is_isbn(text) for text in drawn)
    assert any(text.endswith("X") for text in drawn)


@pytest.mark.parametrize(
    ("name", "fields", "count"),
    [
        ("parity", {"length": 400}, 2**399),
        ("luhn", {"length": 31}, (9 * 10**29) ** 4),
        ("isbn", {"length": 20}, 10**180),
    ],
)
def test_counts_are_those_of_the_free_digits(name, fields, count):
    task, sample = draw(name, **fields, canvas_length=1000)
    assert task.trellis(sample).count == count
    assert task.trellis(sample).entropy == pytest.approx(math.log2(count))


def test_all_digits_share_the_bits_of_the_check():
    assert bits_of(*draw("parity", length=40)) == pytest.approx(1)
    assert bits_of(*draw("luhn", length=16, numbers=3)) == pytest.approx(3 * math.log2(10))
    # The remainder of a weighted sum of nine free digits.
    remainders = Counter({0: 1})
    for weight in range(2, 11):
        after = Counter()
        for value, digit in itertools.product(remainders, range(10)):
            after[(value + weight * digit) % 11] += remainders[value]
        remainders = after
    shares = [count / 10**9 for count in remainders.values()]
    entropy = -math.fsum(share * math.log2(share) for share in shares)
    assert bits_of(*draw("isbn", length=2)) == pytest.approx(2 * entropy)
    assert entropy == pytest.approx(math.log2(11), abs=1e-12)


def test_all_digits_but_one_are_independent():
    task, sample = draw("luhn", length=5, numbers=1)
    texts = [text for text, _ in task.trellis(sample).texts()]
    # Without the first one they are not quite: it would have to be 0 for some of the others.
    for left_out in range(1, 5):
        rest = Counter(text[:left_out] + text[left_out + 1 :] for text in texts)
        assert set(rest.values()) == {1}
        places = [place for place in range(5) if place != left_out]
        alone = [Counter(text[place] for text in texts) for place in places]
        assert len(rest) == math.prod(len(counts) for counts in alone)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("parity", {"length": 7, "canvas_length": 9}),
        ("luhn", {"length": 3, "numbers": 1, "canvas_length": 5}),
        ("luhn", {"length": 2, "numbers": 3, "canvas_length": 8}),
    ],
)
def test_the_law_is_that_of_the_listing(name, fields):
    check_law_against_listing(TASKS[f"checks/{name}"](**fields))


@pytest.mark.parametrize("name", ["parity", "luhn", "isbn"])
def test_a_right_answer_is_found_in_prose(name):
    for index in range(5):
        task, sample = draw(name, index)
        assert task.score(sample, sample.reference).strict == 1
        for reply in (
            f"Here you are:\n\n```\n{sample.reference}\n```\n",
            f"Sure, 3 of them.\n{sample.reference}\nGood luck with these!",
        ):
            marks = task.score(sample, reply)
            assert (marks.strict, marks.lenient) == (0, 1), reply


@pytest.mark.parametrize(
    ("name", "reply", "expected"),
    [
        ("parity", "0 1 1 0", (1, 1, None)),
        ("parity", "0110", (0, 1, None)),
        ("parity", "bits: 0, 1, 1, 0.", (0, 1, None)),
        ("parity", "0 1 1 1", (0, 0, "odd")),
        ("parity", "0 1 1", (0, 0, "wrong count")),
        ("parity", "no", (0, 0, "unreadable")),
        ("luhn", "1. 18\n2. 2-6", (0, 1, None)),
        ("luhn", "18, 26", (0, 1, None)),
        ("luhn", "18\n27", (0, 0, "wrong check digit")),
        ("luhn", "18\n00", (0, 0, "leading zero")),
        ("luhn", "18\n133", (0, 0, "wrong length")),
        ("luhn", "18", (0, 0, "wrong count")),
        ("luhn", "eighteen", (0, 0, "unreadable")),
        ("isbn", "0-306-40615-2\n080442957x", (0, 1, None)),
        ("isbn", "0306406152\n0306406152", (1, 1, None)),
        ("isbn", "0306406152\n0306406153", (0, 0, "wrong check digit")),
        ("isbn", "0306406152\nX306406152", (0, 0, "misplaced X")),
        ("isbn", "0306406152\n030640615", (0, 0, "wrong length")),
        ("isbn", "0306406152", (0, 0, "wrong count")),
        ("isbn", "X", (0, 0, "unreadable")),
    ],
)
def test_each_problem_has_its_name(name, reply, expected):
    fields = {"parity": {"length": 4}, "luhn": {"length": 2, "numbers": 2}, "isbn": {"length": 2}}
    assert verdict(name, reply, **fields[name]) == expected


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_any_reply_has_marks(reply):
    for name in ("parity", "luhn", "isbn"):
        assert verdict(name, reply)[0] in (0, 1)


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="length must be"):
        draw("parity", length=1)
    with pytest.raises(ValueError, match="numbers must be"):
        draw("luhn", numbers=0)
