"""The two readers of lists: one takes the reply as it stands, one looks for the list in it."""

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parallelbench.score import read_list, read_list_strictly

# Surrogates and control characters included: a decoder may write any token anywhere.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
LISTLIKE_TEXT = st.text(st.sampled_from("[](){},;:.\n\t\r\x1c\u2028\ud800 \"'*-•1AbZ"), max_size=60)
WORD = st.text(string.ascii_letters, min_size=1, max_size=6)
ITEMS = st.lists(
    st.one_of(WORD, st.tuples(WORD, WORD).map(" ".join)),
    min_size=1,
    max_size=6,
)


def written(items):
    return "[" + ", ".join(items) + "]"


@settings(deadline=None, max_examples=100)
@given(ITEMS)
def test_the_form_that_is_asked_for_is_read_alike_by_both(items):
    assert read_list_strictly(written(items)) == items
    assert read_list(written(items)) == items


@settings(deadline=None, max_examples=150)
@given(st.one_of(ANY_TEXT, LISTLIKE_TEXT))
@example("")
@example("[")
@example("]")
@example("[]")
@example("[[[]]]")
@example(",")
@example("\ud800, \udfff")
@example("\x00[\x00]")
def test_readers_return_items_or_none_whatever_the_text(text):
    for items in (read_list_strictly(text), read_list(text)):
        assert items is None or (items and all(isinstance(item, str) for item in items))


@pytest.mark.parametrize(
    "character", ["[", "]", "(", ",", "\n", " ", "A", '"', "1. ", "- x\n", "(a,"]
)
def test_a_reply_may_be_of_any_length(character):
    # A reader whose time grew with the square of the length would not come back from this.
    reply = character * 30_000
    assert read_list_strictly(reply) is None
    assert read_list(reply) is None or len(read_list(reply)) >= 1


@pytest.mark.parametrize("around", ["{}", "  {}", "{}\n", "\n\t {} \n"])
def test_strict_forgives_white_space_around_the_whole(around):
    assert read_list_strictly(around.format("[A, B]")) == ["A", "B"]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "[]",
        "[ ]",
        "A, B",
        "(A, B)",
        "[A, B",
        "A, B]",
        "[A,B]",
        "[A ,B]",
        "[A,  B]",
        "[A, B ]",
        "[ A, B]",
        "[A, , B]",
        "[A, B, ]",
        "[A, B,]",
        "[A, B].",
        "[[A, B]]",
        "[A], [B]",
        "Answer: [A, B]",
        "[A, B] is the answer",
    ],
)
def test_strict_forgives_nothing_else(reply):
    assert read_list_strictly(reply) is None


def test_strict_takes_quotes_for_content():
    assert read_list_strictly('["A", "B"]') == ['"A"', '"B"']


@pytest.mark.parametrize(
    "reply",
    [
        "[A, B C, D]",
        "[A,B C,D]",
        "[ A ,  B   C , D ]",
        '["A", "B C", "D"]',
        "['A', 'B C', 'D']",
        "[“A”, “B C”, “D”]",
        "[`A`, **B C**, _D_]",
        "[A; B C; D]",
        "[A, B C, D,]",
        "[[A, B C, D]]",
        "(A, B C, D)",
        "{A, B C, D}",
        "A, B C, D",
        "A, B C, D.",
        "A, B C, D]",
        "[A, B C, D",
        "[1. A, 2. B C, 3. D]",
        '[\n  "A",\n  "B C",\n  "D"\n]',
        "```\n[A, B C, D]\n```",
        "A\nB C\nD",
        "A\n\nB C\n\nD\n",
        "A,\nB C,\nD",
        "1. A\n2. B C\n3. D",
        "1) A,\n2) B C,\n3) D",
        "1. **A**\n2. **B C**\n3. **D**",
        "- A\n- B C\n- D",
        "* A\n* B C\n* D",
        "Sure! Here is the list:\n- A\n- B C\n- D\nAnything else?",
        "The new list (in another order): A, B C, D",
        "Sure, here it is:\n\n[A, B C, D]\n\nI hope, this helps.",
        "Given [D, B C, A], the answer is [A, B C, D].",
        "Here you are: A, B C, D.",
        "The answer is (A, B C, D), as asked (I hope).",
    ],
)
def test_lenient_forgives_form(reply):
    assert read_list(reply) == ["A", "B C", "D"]


@pytest.mark.parametrize(
    ("reply", "items"),
    [
        ("[A, , B]", ["A", "", "B"]),
        ("[, A, B]", ["", "A", "B"]),
        ("[A, B, , ]", ["A", "B", ""]),
        ("[a, B]", ["a", "B"]),
        ("[A, A, B]", ["A", "A", "B"]),
        ("[AB, C]", ["AB", "C"]),
        ("[A B, C]", ["A B", "C"]),
        ("[A, B), C]", ["A", "B", "C"]),
        ("[A, B.]", ["A", "B."]),
        ("[A, B-C]", ["A", "B-C"]),
        ("[A, B - C]", ["A", "B - C"]),
        ("[A and B]", ["A and B"]),
        ("[A, B] [C]", ["C"]),
    ],
)
def test_lenient_never_forgives_content(reply, items):
    assert read_list(reply) == items


@pytest.mark.parametrize("reply", ["", " ", "\n\n", "[]", "[ ]", "[,]", "A, B []", "[\n\n]", ", ;"])
def test_a_reply_without_any_item_is_unreadable(reply):
    assert read_list(reply) is None


@settings(deadline=None, max_examples=100)
@given(ITEMS, st.data())
def test_form_alone_never_changes_what_lenient_reads(items, data):
    quote = data.draw(st.sampled_from(["", '"', "'", "**", "`"]))
    separator = data.draw(st.sampled_from([",", ", ", " , ", ";", ",\n", "\n"]))
    before = data.draw(st.sampled_from(["", "Here: ", "Sure, this is it:\n", "From [X, Y] to "]))
    after = data.draw(st.sampled_from(["", "\n", ".", "\nDone, I hope."]))
    body = separator.join(quote + item + quote for item in items)
    assert read_list(f"{before}[{body}]{after}") == items
