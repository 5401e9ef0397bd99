"""The readers of grids: one takes exactly the asked form, one takes any drawing."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.score import read_grid, read_grid_strictly

SQUARE = [list("ABC"), list("BCA"), list("CAB")]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)
NEAR_GRIDS = st.text("ABC12.,|[]()_:;-+`\"' \n\r\t\x85\u2028", max_size=60)

SAME_SQUARE = {
    "as asked": "A B C\nB C A\nC A B",
    "glued": "ABC\nBCA\nCAB",
    "commas": "A, B, C\nB, C, A\nC, A, B",
    "bars": "| A | B | C |\n| B | C | A |\n| C | A | B |",
    "borders": "+---+\n|ABC|\n+---+\n|BCA|\n+---+\n|CAB|\n+---+",
    "nested list": "[['A', 'B', 'C'], ['B', 'C', 'A'], ['C', 'A', 'B']]",
    "list a line": '[\n  ["A", "B", "C"],\n  ["B", "C", "A"],\n  ["C", "A", "B"]\n]',
    "semicolons": "A B C; B C A; C A B",
    "code fence": "```\nA B C\nB C A\nC A B\n```",
    "code fence with a language": "```text\nA B C\nB C A\nC A B\n```",
    "prose around": "Here is one:\n\nA B C\nB C A\nC A B\n\nIt is right.",
    "labels": "Row 1: A B C\nRow 2: B C A\nRow 3: C A B",
    "numbers": "1. A B C\n2. B C A\n3. C A B",
    "bullets": "- A B C\n- B C A\n- C A B",
    "double spacing": "A B C\n\nB C A\n\nC A B",
    "tabs and returns": "A\tB\tC\r\nB\tC\tA\r\nC\tA\tB\r\n",
    "the second of two": "C C C\nC C C\nC C C\nThat repeats, so:\nA B C\nB C A\nC A B",
}


@pytest.mark.parametrize("text", SAME_SQUARE.values(), ids=SAME_SQUARE)
def test_a_grid_is_read_however_it_is_drawn(text):
    assert read_grid(text, "ABC") == SQUARE


@pytest.mark.parametrize("kind", SAME_SQUARE)
def test_only_the_asked_form_is_read_strictly(kind):
    assert (read_grid_strictly(SAME_SQUARE[kind]) == SQUARE) == (kind == "as asked")


@pytest.mark.parametrize(
    "text",
    ["", " ", "A  B", "A B \nB A", "A B\n\nB A", "A B\r\nB A", "AB BA", "A,B", "A\tB", "A \t B"],
)
def test_any_other_space_or_sign_is_refused_strictly(text):
    assert read_grid_strictly(text) is None


def test_white_space_around_the_whole_reply_is_forgiven():
    assert read_grid_strictly("\n A B\nB A \n") == [["A", "B"], ["B", "A"]]


@pytest.mark.parametrize(
    "text", ["", "\n", "I cannot do that.", "A", "4\n4", "+---+", ". . .", "Size: 4", "``````"]
)
def test_a_reply_without_a_row_has_no_grid(text):
    assert read_grid(text, "1234") is None


def test_a_foreign_symbol_is_read_where_it_stands_alone():
    assert read_grid("A B C\nB X A", "ABC") == [list("ABC"), list("BXA")]
    assert read_grid("A B C\nBXA", "ABC") == [list("ABC")]


def test_an_open_cell_keeps_its_place():
    assert read_grid("1 . 3 4\n3 4 . 2", "1234") == [list("1.34"), list("34.2")]


def test_missing_and_extra_symbols_are_kept():
    assert read_grid("A B\nA B C A\nC", "ABC") == [list("AB"), list("ABCA")]
    assert read_grid_strictly("A B\nA B C A\nC") == [list("AB"), list("ABCA"), ["C"]]


@given(ANY_TEXT | NEAR_GRIDS)
@settings(deadline=None, max_examples=300)
def test_readers_are_total_and_return_single_characters(text):
    for rows in (read_grid_strictly(text), read_grid(text, "ABC")):
        assert rows is None or rows
        assert all(len(symbol) == 1 for symbol in itertools.chain(*rows or []))


@given(st.lists(st.lists(st.sampled_from("ABCXYZ123"), min_size=2), min_size=1))
@settings(deadline=None, max_examples=200)
def test_both_readers_read_what_was_written_as_asked(rows):
    text = "\n".join(" ".join(row) for row in rows)
    assert read_grid_strictly(text) == read_grid(text, "ABC") == rows


@pytest.mark.parametrize("unit", ["A ", "A B\n", "[", "A:", "\n", "A B]"])
def test_a_huge_reply_is_read(unit):
    text = unit * 50_000
    read_grid_strictly(text)
    rows = read_grid(text, "AB")
    assert rows is None or {"A", "B"} >= set(itertools.chain(*rows))
