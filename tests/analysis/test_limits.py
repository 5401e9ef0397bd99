"""The verb ``bounds``: its figures for every task, the paper's table and figure, refusals."""

import csv
import json
import math

import pytest

from parallelbench.analysis.figures import paper
from parallelbench.analysis.figures.pictures import write_picture
from parallelbench.analysis.theory.bounds import best_sizes
from parallelbench.analysis.theory.closed_forms import (
    insert_random_bits,
    replace_random_bits,
    replace_random_entropies,
    replace_random_steps,
)
from parallelbench.cli.program import main
from parallelbench.errors import StorageError

EVERY_TASK = (
    "choices/capital",
    "choices/city",
    "choices/date",
    "choices/dice:rolls=3",
    "choices/roster",
    "choices/sum",
    "list_operations/*:length=4",
    "puzzles/latin_square:size=3",
    "puzzles/sudoku",
    "waiting_line/*:length=4",
)


@pytest.fixture
def ask(capsys):
    """What ``bounds`` prints as JSON."""

    def run(*arguments):
        capsys.readouterr()
        assert main(["bounds", *map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_replacing_one_of_ten_is_bounded_as_the_formulas_say(ask):
    found = ask("--task", "list_operations/replace_random", "--length", 10)
    assert found["total_correlation_bits"] == pytest.approx(replace_random_bits(10))
    assert found["entropy_bits"] == pytest.approx(math.log2(10))
    expected = [bound.bits for bound in best_sizes(replace_random_entropies(10))]
    assert found["optimal_bits_by_steps"] == pytest.approx(expected, abs=1e-9)
    for steps, partition in enumerate(found["optimal_partitions"], start=1):
        assert len(partition) == steps
        assert sorted(position for step in partition for position in step) == list(range(10))
    assert found["validity_one_step"] == pytest.approx(0.9**9)
    assert found["zero_error_expected_steps"] == pytest.approx(replace_random_steps(10))
    assert found["zero_error_reason"] is None
    assert "exact" in found["method"]
    assert found["right_answers"] == 10


@pytest.mark.parametrize("level", ["item", "token"])
@pytest.mark.parametrize("text", EVERY_TASK)
def test_it_works_for_every_task(ask, text, level):
    found = ask("--task", text, "--level", level)
    for limits in found if isinstance(found, list) else [found]:
        bits = limits["optimal_bits_by_steps"]
        assert bits[0] == pytest.approx(limits["total_correlation_bits"], abs=1e-9)
        assert bits[-1] == pytest.approx(0, abs=1e-9)
        assert len(bits) == len(limits["positions"])
        assert 2 ** -bits[0] - 1e-9 <= limits["validity_one_step"] <= 1
        assert 1 <= limits["zero_error_expected_steps"] <= len(bits)
        assert limits["level"] == level


def test_a_date_is_certain_in_items_and_not_in_tokens(ask):
    """Its day is one number, but two digits of which the last settles the first."""
    words = ask("--task", "choices/date")
    assert words["total_correlation_bits"] == 0
    assert words["zero_error_expected_steps"] == 1
    assert ask("--task", "choices/date", "--level", "token")["total_correlation_bits"] > 1


def test_positions_are_counted_along_the_whole_answer(ask):
    roster = ask("--task", "choices/roster", "--level", "item")
    assert roster["positions"] == [1, 2, 4, 5, 7, 8]  # 0, 3 and 6 are the people
    assert roster["optimal_partitions"][1] == [[1, 4, 7], [2, 5, 8]]


def test_the_sample_is_the_one_asked_for(ask):
    one, other = (ask("--task", "choices/sum", "--index", index) for index in (0, 1))
    assert one["sample"] != other["sample"]
    assert ask("--task", "choices/sum", "--index", 1) == other


def test_the_frontier_is_told_when_asked_for(ask):
    assert ask("--task", "choices/city")["adaptive_frontier"] is None
    found = ask("--task", "choices/city", "--frontier")
    assert found["adaptive_frontier"] == [[1, 1], [2, 0]]
    assert found["adaptive_frontier_method"] == "exact"


def test_what_goes_over_a_limit_is_null_with_its_reason(ask):
    task = ("--task", "list_operations/insert_random", "--length", 20)
    found = ask(*task)
    assert found["optimal_bits_by_steps"] is None
    assert found["optimal_partitions"] is None
    assert "21 positions needs 2^21 sets, over the limit of 16" in found["optimal_reason"]
    assert found["total_correlation_bits"] == pytest.approx(insert_random_bits(20))
    assert found["zero_error_method"] == "exact"
    greedy = ask(*task, "--max-choices", 20)
    assert greedy["zero_error_method"] == "greedy"
    assert "more than 20 pairs" in greedy["zero_error_reason"]
    assert greedy["zero_error_expected_steps"] >= found["zero_error_expected_steps"] - 1e-9
    nothing = ask(*task, "--max-choices", 1)
    assert nothing["zero_error_expected_steps"] is None
    assert "more than 1 pairs" in nothing["zero_error_reason"]
    assert "not computed" in nothing["method"]


def test_without_json_it_speaks_in_sentences(capsys):
    assert main(["bounds", "--task", "choices/city", "--frontier"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "4 right answers" in out
    assert "2.000 bits of entropy, and share 1.000 bits" in out
    assert "right in 50.0 % of its replies" in out
    assert "fewer than 2.000 expected steps" in out
    assert "2 1.00 0.000 100.0 0 | 1" in out
    assert main(["bounds", "--task", "waiting_line/copy"]) == 0
    assert "one right answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "bounds needs"),
        (("--task", "choices/city", "--paper", "table1"), "bounds needs"),
        (("--task", "choices/cty"), "choices/city"),
        (
            ("--task", "choices/city", "--length", "3"),
            "--length sets the task's field length, and task 'choices/city' has none: leave it out",
        ),
        (("--task", "list_operations/shuffle", "--length", "1"), "2 to 26 letters, got length=1"),
        (("--task", "list_operations/shuffle", "--length", "9"), "362,879 right answers"),
        (("--task", "list_operations/shuffle", "--max-answers", "5"), "over the limit of 5"),
        (("--task", "choices/city", "--level", "word"), "item"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(capsys, arguments, message):
    assert main(["bounds", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# The paper.


def test_table_1_has_every_task_with_its_limit(ask, tmp_path):
    lines = ask("--paper", "table1", "--out", tmp_path)
    bits = {(line["task"], line["n"]): line["bits"] for line in lines}
    assert bits["replace_random", 10] == pytest.approx(replace_random_bits(10))
    assert bits["replace_random", None] == pytest.approx(math.log2(math.e))
    assert bits["shuffle", None] is None
    assert bits["latin_square", 4] == pytest.approx(22.83, abs=0.005)
    assert bits["shuffle, identity allowed", 4] == pytest.approx(8 - math.log2(24))
    with (tmp_path / "table1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["task"] for row in rows] == [line["task"] for line in lines]


def test_table_1_fits_a_terminal(capsys, tmp_path):
    assert main(["bounds", "--paper", "table1", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "infinite" in out
    assert "…" not in out
    assert str(tmp_path / "table1.csv") in out.replace("\n", "")


def test_figure_2_falls_to_nothing_and_is_the_same_every_time(ask, tmp_path):
    lines = ask("--paper", "figure2", "--out", tmp_path / "one")
    ask("--paper", "figure2", "--out", tmp_path / "two")
    names = ["figure2-dark.svg", "figure2.csv", "figure2.png", "figure2.svg"]
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    curves = {}
    for line in lines:
        curves.setdefault((line["task"], line["n"]), []).append(line["bits"])
    assert curves["copy", 4] == [0] * 4
    assert curves["insert_random", 10][0] == pytest.approx(insert_random_bits(10))
    for bits in curves.values():
        assert bits == sorted(bits, reverse=True)
        assert bits[-1] == pytest.approx(0, abs=1e-9)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="table1 cannot be written"):
        write_picture("table1", paper.table_1(), None, tmp_path / "file")
