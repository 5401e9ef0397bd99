"""No table that is written here makes a spreadsheet compute what a stranger wrote."""

import csv
import io

import pytest

from parallelbench.analysis.measures.compare import compare
from parallelbench.evaluation import Evaluation
from parallelbench.results.result import summarize, to_csv
from parallelbench.run.runfile import make_runfile
from parallelbench.storage.csv_text import csv_text
from support.fabricated import fabricated_record


def read_back(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1"])
def test_a_text_that_begins_like_a_formula_is_shown_as_text(text):
    assert read_back(csv_text(["reply"], [[text]])) == [["reply"], [f"'{text}"]]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_end_in_a_cell_ends_no_line(end):
    text = f"right{end}=1+1"
    written = csv_text(["reply"], [[text], ["next"]])
    assert f'"right{end}=1+1"' in written
    assert read_back(written) == [["reply"], [text], ["next"]]


@pytest.mark.parametrize("value", [-1, -0.5, "-1", "+1e3", "-inf", "a = b", "1-1", ""])
def test_numbers_and_other_texts_stay_as_they_are(value):
    rows = read_back(csv_text(["value", "next"], [[value, None]]))
    assert rows == [["value", "next"], [str(value), ""]]


def test_replies_in_a_comparison_are_defused():
    asked = {"models": "ideal", "tasks": "choices/city", "decoders": "random:k=1|2", "samples": 2}
    replies = {"random:k=1": "=HYPERLINK(1)", "random:k=2": "-1"}
    records = [
        fabricated_record(decoder, index, task_label="choices/city", text=text)
        for decoder, text in replies.items()
        for index in range(2)
    ]
    run = Evaluation(make_runfile(asked), records, None)
    first, second = replies
    found = compare(run, decoders=f"{first},{second}")
    row, _ = csv.DictReader(io.StringIO(found.to_csv()))
    assert (row["first_reply"], row["second_reply"]) == ("'=HYPERLINK(1)", "-1")


def test_labels_in_results_are_defused():
    (row,) = csv.DictReader(io.StringIO(to_csv(summarize([fabricated_record(model="@model")]))))
    assert row["model"] == "'@model"
