"""Latin squares and sudoku: their laws, and the wrong grids that look right."""

import dataclasses
import functools
import itertools
import json
import math
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.errors import NotEnumerableError
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks.puzzles import solutions

PUZZLES = TASKS.matching("puzzles/*")
SQUARES = {3: 12, 4: 576, 5: 161_280}
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)


def draw(name, index=0, seed=0, **fields):
    task = TASKS[f"puzzles/{name}"](**fields)
    return task, task.draw(sample_rng(seed, task.name, index), index)


def posed(name, **facts):
    """A task and a sample of it with ``facts`` in place of the drawn ones."""
    task, sample = draw(name)
    return task, dataclasses.replace(sample, facts=facts)


def verdict(task, sample, reply):
    marks = task.score(sample, reply)
    return marks.strict, marks.lenient, marks.failure


def written(rows):
    return "\n".join(map(" ".join, rows))


def is_latin(rows, symbols):
    return all(sorted(line) == sorted(symbols) for line in (*rows, *zip(*rows, strict=True)))


def boxes(rows, side):
    """The boxes of a grid, each as a list of symbols."""
    for top, left in itertools.product(range(0, len(rows), side), repeat=2):
        yield [symbol for row in rows[top : top + side] for symbol in row[left : left + side]]


# Latin squares.


@pytest.mark.parametrize("size", [3, 4])
def test_every_latin_square_of_the_law_is_right_in_both_readings(size):
    for index in range(3):
        task, sample = draw("latin_square", index, size=size)
        texts = task.answers(sample).texts
        assert len(set(texts)) == SQUARES[size]
        assert sample.reference in texts
        for text in texts[:: size * 2]:
            assert is_latin([line.split(" ") for line in text.split("\n")], sample.facts["symbols"])
            assert verdict(task, sample, text) == (1, 1, None)


def test_the_squares_of_size_3_are_all_grids_that_score_1():
    task, sample = posed("latin_square", symbols=["A", "B", "C"])
    right = set(task.answers(sample).texts)
    # The first cell is A: any other grid is one of these with its symbols renamed.
    for cells in itertools.product("A", *["ABC"] * 8):
        text = written([cells[:3], cells[3:6], cells[6:]])
        assert verdict(task, sample, text)[:2] == (text in right, text in right)


def test_the_squares_of_size_4_are_all_stacks_of_rows_that_hold_every_column():
    task, sample = posed("latin_square", symbols=["1", "2", "3", "4"])
    stacks = itertools.product(itertools.permutations("1234"), repeat=4)
    right = {written(rows) for rows in stacks if all(len(set(c)) == 4 for c in zip(*rows))}  # noqa: B905
    assert set(task.answers(sample).texts) == right


def test_size_5_is_drawn_and_scored_but_refused_as_a_law_with_its_number():
    task, sample = draw("latin_square", size=5)
    assert verdict(task, sample, sample.reference) == (1, 1, None)
    with pytest.raises(
        NotEnumerableError, match="161,280 right answers, over the limit of 100,000"
    ):
        task.answers(sample)


def test_size_5_is_listed_when_the_limit_is_raised():
    task, sample = draw("latin_square", size=5)
    answers = task.answers(sample, limit=161_280)
    assert len(answers) == SQUARES[5]
    assert sample.reference in answers.texts


@pytest.mark.parametrize("name", PUZZLES)
def test_the_law_sums_to_one(name):
    task, sample = draw(name.partition("/")[2])
    answers = task.answers(sample)
    assert len(set(answers.weights)) == 1
    assert sum(answers.probabilities) == pytest.approx(1)


@pytest.mark.parametrize(("size", "bits"), [(3, 10.68), (4, 22.83)])
def test_the_cells_of_a_latin_square_share_what_the_module_says(size, bits):
    task, sample = draw("latin_square", size=size)
    squares = [re.findall(r"\w", text) for text in task.answers(sample).texts]
    for cell in zip(*squares, strict=True):
        assert set(Counter(cell).values()) == {len(squares) / size}
    assert size**2 * math.log2(size) - math.log2(len(squares)) == pytest.approx(bits, abs=0.005)


def test_five_by_five_shares_what_the_module_says():
    assert 25 * math.log2(5) - math.log2(SQUARES[5]) == pytest.approx(40.75, abs=0.005)


def test_every_square_of_size_3_is_drawn_equally_often():
    task = TASKS["puzzles/latin_square"](size=3, shots=0)
    patterns = Counter()
    for index in range(1200):
        sample = task.draw(sample_rng(0, task.name, index), index)
        order = {symbol: str(i) for i, symbol in enumerate(sample.facts["symbols"])}
        patterns["".join(order.get(character, "") for character in sample.reference)] += 1
    assert len(patterns) == 12
    # Five standard deviations of a count with mean 100.
    assert all(abs(count - 100) < 5 * math.sqrt(100 * 11 / 12) for count in patterns.values())


def test_symbols_are_letters_or_digits_and_stand_in_the_prompt():
    samples = [draw("latin_square", index)[1] for index in range(60)]
    assert len({tuple(sample.facts["symbols"]) for sample in samples}) > 50
    assert {sample.facts["symbols"][0].isdigit() for sample in samples} == {True, False}
    for sample in samples:
        assert ", ".join(sample.facts["symbols"]) in sample.messages[-1].content


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("I cannot.", "unreadable"),
        ("A B C\nB C A", "wrong size"),
        ("A B C\nB C A\nC A B\nA B C", "wrong size"),
        ("A B C\nB C A\nC A", "wrong size"),
        ("A B\nB A", "wrong size"),
        ("A B C\nB C A\nC A D", "wrong symbols"),
        ("a b c\nb c a\nc a b", "wrong symbols"),
        ("A B C\nB C A\nC A .", "wrong symbols"),
        ("A A A\nB B B\nC C C", "repeated in row"),
        ("A B C\nB C A\nC B A", "repeated in column"),
        ("A B C\nA B C\nA B C", "repeated in column"),
        ("A B C\nB A C\nC C A", "repeated in row"),  # a repeated row is named before a column
        ("A B C\nB C A\nC A B\nNo, rather:\nA B C\nA B C\nA B C", "repeated in column"),
    ],
)
def test_a_wrong_latin_square_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("latin_square", symbols=["A", "B", "C"]), reply) == (0, 0, problem)


def test_the_right_multiset_of_symbols_is_not_enough():
    task, sample = posed("latin_square", symbols=["A", "B", "C"])
    marks = task.score(sample, "A B C\nB C A\nA C B")
    assert marks.lenient == 0
    assert marks.parts == {"rows": 1, "columns": pytest.approx(1 / 3)}


def test_a_grid_in_prose_is_right_only_in_the_lenient_reading():
    task, sample = posed("latin_square", symbols=["1", "2", "3"])
    assert verdict(task, sample, "Sure:\n```\n123\n231\n312\n```") == (0, 1, None)
    assert verdict(task, sample, "\u0661 \u0662 \u0663\n" * 3) == (0, 0, "wrong symbols")


# Sudoku.


def brute_force_solutions(puzzle):
    """All fillings of a 4 by 4 puzzle, by stacking permutations, with no solver."""
    givens = [puzzle[first : first + 4] for first in range(0, 16, 4)]
    fitting = [
        [
            row
            for row in itertools.permutations("1234")
            if all(given in (".", symbol) for given, symbol in zip(line, row, strict=True))
        ]
        for line in givens
    ]
    for rows in itertools.product(*fitting):
        lines = itertools.chain(zip(*rows, strict=True), boxes(rows, 2))
        if all(len(set(line)) == 4 for line in lines):
            yield "".join(itertools.chain(*rows))


@functools.cache
def full_grids():
    return frozenset(brute_force_solutions("." * 16))


def test_there_are_288_full_sudoku_grids_of_size_4():
    grids = list(solutions("." * 16))
    assert len(grids) == 288
    assert set(grids) == full_grids()


@pytest.mark.parametrize("givens", [4, 5, 6, 10, 15])
def test_a_small_sudoku_has_one_solution_and_the_stated_givens(givens):
    # Many enough that some grid cannot be thinned out to 4 givens in the first order tried.
    for index in range(20):
        task, sample = draw("sudoku", index, givens=givens, shots=0)
        puzzle = sample.facts["puzzle"]
        assert len(puzzle) - puzzle.count(".") == givens
        (solution,) = brute_force_solutions(puzzle)
        assert sample.reference == written([solution[i : i + 4] for i in range(0, 16, 4)])
        assert task.answers(sample).texts == (sample.reference,)
        assert verdict(task, sample, sample.reference) == (1, 1, None)


@pytest.mark.parametrize("givens", [26, 36, 80])
def test_a_large_sudoku_has_one_solution_and_the_stated_givens(givens):
    task, sample = draw("sudoku", size=9, givens=givens)
    puzzle = sample.facts["puzzle"]
    rows = [line.split(" ") for line in sample.reference.split("\n")]
    assert len(puzzle) - puzzle.count(".") == givens
    assert len(list(solutions(puzzle))) == 1
    for line in (*rows, *zip(*rows, strict=True), *boxes(rows, 3)):
        assert sorted(line) == list("123456789")
    assert all(given in (".", symbol) for given, symbol in zip(puzzle, sum(rows, []), strict=True))  # noqa: RUF017
    assert task.answers(sample).texts == (sample.reference,)
    assert verdict(task, sample, sample.reference) == (1, 1, None)


def test_the_default_number_of_givens_goes_with_the_size():
    for size, givens in [(4, 6), (9, 36)]:
        puzzle = draw("sudoku", size=size)[1].facts["puzzle"]
        assert len(puzzle) - puzzle.count(".") == givens


def test_the_puzzle_stands_in_the_prompt():
    sample = draw("sudoku", shots=0)[1]
    puzzle = sample.facts["puzzle"]
    assert written([puzzle[i : i + 4] for i in range(0, 16, 4)]) in sample.messages[0].content


def test_a_solver_finds_no_solution_where_there_is_none():
    assert list(solutions("1.1" + "." * 13)) == []


# Its one solution is 1 2 3 4 / 3 4 1 2 / 2 1 4 3 / 4 3 2 1.
GIVEN = "123.3...2...4..1"


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("1 2 3 4\n3 4 1 2\n2 1 4 3", "wrong size"),
        ("1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 5", "wrong symbols"),
        ("1 2 . .\n3 . . .\n2 . . .\n4 . . .", "wrong symbols"),
        ("2 1 3 4\n3 4 1 2\n1 2 4 3\n4 3 2 1", "wrong givens"),
        ("1 2 3 4\n4 3 2 1\n2 1 4 3\n3 4 1 2", "wrong givens"),
        ("1 2 3 3\n3 4 1 2\n2 1 4 3\n4 3 2 1", "repeated in row"),
        ("1 2 3 4\n3 4 2 1\n2 1 4 3\n4 3 2 1", "repeated in column"),
        ("1 2 3 4\n3 1 4 2\n2 4 1 3\n4 3 2 1", "repeated in box"),
    ],
)
def test_a_wrong_sudoku_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("sudoku", puzzle=GIVEN), reply) == (0, 0, problem)


def test_the_parts_of_a_sudoku_are_shares():
    task, sample = posed("sudoku", puzzle=GIVEN)
    parts = task.score(sample, "2 1 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1").parts
    assert parts == {"givens": pytest.approx(5 / 7), "rows": 1, "columns": 1 / 2, "boxes": 1}
    assert set(task.score(sample, "1 2\n3 4").parts.values()) == {0}


def test_a_grid_is_right_iff_it_is_the_solution():
    task, sample = posed("sudoku", puzzle=GIVEN)
    (right,) = task.answers(sample).texts
    assert right == "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1"
    for grid in full_grids():
        text = written([grid[i : i + 4] for i in range(0, 16, 4)])
        assert task.score(sample, text).strict == (text == right)


# Both.


@pytest.mark.parametrize(
    ("name", "fields"),
    [("latin_square", {"size": 3}), ("latin_square", {}), ("sudoku", {}), ("sudoku", {"size": 9})],
)
def test_the_infilling_form_opens_the_cells_that_are_not_given(name, fields):
    task, free = draw(name, **fields)
    infill_task, infill = draw(name, form="infill", **fields)
    assert free.open_spans is None
    assert infill == dataclasses.replace(free, open_spans=infill.open_spans)
    text = list(infill.reference)
    for start, end in infill.open_spans:
        assert infill.reference[start:end].isalnum()
        text[start:end] = "."
    cells = re.findall(r"[^ \n]", "".join(text))
    assert "".join(cells) == infill.facts.get("puzzle", "." * task.size**2)
    assert infill_task.score(infill, infill.reference).strict == 1


@pytest.mark.parametrize("name", PUZZLES)
def test_a_sample_is_drawn_again_alone(name):
    all_drawn = [draw(name.partition("/")[2], index)[1] for index in range(20)]
    assert draw(name.partition("/")[2], 17)[1].digest == all_drawn[17].digest
    assert len({sample.digest for sample in all_drawn}) == 20


@pytest.mark.parametrize("name", PUZZLES)
def test_templates_and_shots_pose_the_same_problem(name):
    task = TASKS[name]
    assert {"default", "terse", "story"} <= set(task.templates)
    drawn = [
        draw(name.partition("/")[2], 5, template=template, shots=shots)[1]
        for template in task.templates
        for shots in (0, 1, 3)
    ]
    assert len({(sample.reference, json.dumps(sample.facts)) for sample in drawn}) == 1
    assert len({sample.messages[-1].content for sample in drawn}) == len(task.templates)
    assert [len(sample.messages) for sample in drawn[:3]] == [1, 3, 7]


@pytest.mark.parametrize("name", PUZZLES)
def test_the_law_is_read_from_facts_that_survive_a_file(name):
    task, sample = draw(name.partition("/")[2])
    again = dataclasses.replace(
        sample, reference="", messages=(), facts=json.loads(json.dumps(sample.facts))
    )
    assert again.facts == sample.facts
    assert task.answers(again) == task.answers(sample)


NEAR_GRIDS = st.lists(st.text("ABC1234.|,\xb2\u0663 \n", max_size=20), max_size=6).map("\n".join)


@functools.cache
def sample_and_law(name):
    facts = {"latin_square": {"symbols": ["A", "B", "C"]}, "sudoku": {"puzzle": GIVEN}}
    task, sample = posed(name, **facts[name])
    return task, sample, task.answers(sample)


@pytest.mark.parametrize("name", ["latin_square", "sudoku"])
@given(reply=ANY_TEXT | NEAR_GRIDS | st.permutations("ABCABCABC").map(" ".join))
@settings(deadline=None, max_examples=200)
def test_any_text_can_be_scored_and_strict_goes_with_the_law(name, reply):
    task, sample, law = sample_and_law(name)
    marks = task.score(sample, reply)
    assert marks.strict == (reply.strip() in law.texts)
    assert marks.strict <= marks.lenient
    assert all(0 <= share <= 1 for share in marks.parts.values())


@pytest.mark.parametrize("name", PUZZLES)
def test_a_huge_reply_is_scored(name):
    task, sample = draw(name.partition("/")[2])
    for unit in ("1 ", "1 2 3 4\n", "9" * 100, "[", "\ud800\n"):
        assert task.score(sample, unit * 10_000).lenient == 0


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("latin_square", {"size": 2}, "size must be 3 to 5 symbols, got 2"),
        ("latin_square", {"size": 6}, "size must be 3 to 5 symbols, got 6"),
        ("sudoku", {"givens": 3}, "givens must be 4 to 15 cells for size 4, got 3"),
        ("sudoku", {"givens": 16}, "givens must be 4 to 15 cells for size 4, got 16"),
        ("sudoku", {"size": 9, "givens": 25}, "givens must be 26 to 80 cells for size 9, got 25"),
        ("sudoku", {"size": 9, "givens": 81}, "givens must be 26 to 80 cells for size 9, got 81"),
        ("sudoku", {"template": "rude"}, "no template is called 'rude'"),
    ],
)
def test_a_size_out_of_range_is_refused(name, fields, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        TASKS[f"puzzles/{name}"](**fields)


@pytest.mark.parametrize(
    ("name", "field", "choice", "sentence"),
    [
        ("latin_square", "form", "loose", "no form is called 'loose'; known: free, infill"),
        ("sudoku", "form", "loose", "no form is called 'loose'; known: free, infill"),
        ("sudoku", "size", 6, "size must be 4 or 9 digits, got 6"),
    ],
)
def test_an_unknown_choice_is_refused(name, field, choice, sentence):
    task = TASKS[f"puzzles/{name}"]()
    # The type checks of this test run would refuse the value before the task can.
    object.__setattr__(task, field, choice)
    with pytest.raises(ValueError, match=sentence):
        task.__post_init__()
