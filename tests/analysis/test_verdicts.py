"""Files of verdicts and labels: what is read, what is refused with its line, and the verb."""

import json
from dataclasses import replace

import pytest

from parallelbench.analysis.judging.calibration_set import SHIPPED
from parallelbench.analysis.judging.judges import Calibration, JudgeError, corrected_rate
from parallelbench.analysis.judging.verdicts import (
    Item,
    by_kind,
    calibration_of,
    item_line,
    kind_table,
    passed_of,
    read_items,
)
from parallelbench.cli.program import main
from parallelbench.results.intervals import wilson

CALIBRATION = "text,label,verdict,kind\n" + "".join(
    f"{label} {number},{label},{verdict},{kind}\n"
    for label, verdict, kind, count in (
        ("good", "pass", "clean", 9),
        ("good", "fail", "clean", 1),
        ("bad", "fail", "doubled word", 6),
        ("bad", "pass", "dropped word", 2),
        ("bad", "fail", "dropped word", 2),
    )
    for number in range(count)
)


@pytest.fixture
def write(tmp_path):
    def written_file(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return written_file


@pytest.fixture
def calibration(write):
    # The numbers of bad ones meet in two kinds: those texts are labelled alike.
    return write("calibration.csv", CALIBRATION)


# Reading


def test_csv_and_json_lines_say_the_same(write, calibration):
    items = read_items(calibration)
    other = write("calibration.jsonl", "".join(item_line(item) for item in items))
    assert [item_line(item) for item in read_items(other)] == [item_line(item) for item in items]
    assert calibration_of(items) == Calibration(9, 10, 8, 10)
    assert passed_of(items) == (11, 20)


@pytest.mark.parametrize(
    ("good", "bad"), [("good", "bad"), ("1", "0"), ("True", "FALSE"), (" yes ", "no")]
)
def test_labels_and_verdicts_may_be_written_in_several_words(write, good, bad):
    file = write("a.csv", f"label,verdict\n{good},{good}\n{bad},{good}\n{bad},{bad}\n")
    assert calibration_of(read_items(file)) == Calibration(1, 1, 1, 2)


def test_texts_with_commas_quotes_and_line_breaks_come_through(write):
    text = 'He said, "no,\nnever".'
    file = write("a.csv", 'text,verdict\n"He said, ""no,\nnever"".",pass\n')
    assert [item.text for item in read_items(file)] == [text]
    again = write("b.jsonl", item_line(read_items(file)[0]))
    assert read_items(again)[0].text == text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "is empty"),
        ("a.jsonl", "\n\n", "is empty"),
        ("a.csv", "text,lable\nA,good\n", "line 1: no column is called 'lable'; did you mean"),
        ("a.csv", "kind\nclean\n", "line 1: there is none of the columns text, label and verdict"),
        ("a.csv", "text,text\nA,B\n", "line 1 names a column twice"),
        (
            "a.csv",
            "text,label\nA,good\nB,wrong\n",
            "line 3: label must be good or bad, got 'wrong'",
        ),
        ("a.csv", "verdict\npass\nmaybe\n", "line 3: verdict must be pass or fail, got 'maybe'"),
        ("a.csv", "text,label\nYes, it is.,good\n", "line 2 has 3 cells, but the header names 2"),
        ("a.csv", 'text,label\n"A,good\n', "is no CSV"),
        ("a.csv", "text,label\nA,good\nB,bad\nA,bad\n", "line 4 labels a text differently from"),
        ("a.jsonl", '{"label": "good"}\n{"label": \n', "line 2 is no JSON"),
        ("a.jsonl", '{"label": "good"}\n["good"]\n', "line 2 must be a JSON object"),
        ("a.jsonl", '{"label": "good"}\n{"labels": 1}\n', "line 2: no column is called 'labels'"),
        (
            "a.txt",
            "text\n",
            r"is neither CSV nor JSON Lines by its name: give a file that ends in .csv",
        ),
    ],
)
def test_a_file_that_is_at_fault_is_refused_with_its_line(write, name, text, message):
    with pytest.raises(JudgeError, match=message):
        read_items(write(name, text))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(JudgeError, match="cannot be read"):
        read_items(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"text\n\xff\n")
    with pytest.raises(JudgeError, match="cannot be read"):
        read_items(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,verdict\ngood,pass\ngood,fail\n", "has no bad example"),
        ("label,verdict\nbad,pass\nbad,fail\n", "has no good example"),
        ("label,verdict\ngood,pass\nbad,\n", "line 3 has no verdict"),
        ("label,verdict\ngood,pass\n,fail\n", "line 3 has no label"),
        ("label,verdict,judge\ngood,pass,A\nbad,fail,B\n", "judges err differently"),
    ],
)
def test_a_calibration_that_says_too_little_is_refused(write, text, message):
    with pytest.raises(JudgeError, match=message):
        calibration_of(read_items(write("a.csv", text)))


# By kinds


def test_each_kind_has_the_share_that_was_judged_rightly_with_its_count(calibration):
    shares = by_kind({"checker": read_items(calibration)})
    told = {share.kind: (share.label, share.right, share.count) for share in shares}
    assert told == {
        "clean": (True, 9, 10),
        "doubled word": (False, 6, 6),
        "dropped word": (False, 2, 4),
    }
    assert shares[0].interval == wilson(9.0, 10.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,text,verdict,model\n1,A,pass,m\n2,B,fail,m\n"),
        (
            "a.jsonl",
            '{"id": 1, "text": "A", "verdict": 1}\n{"text": "B", "verdict": 0, "model": [1]}\n',
        ),
    ],
)
def test_other_columns_are_ignored_and_told_once(write, name, text):
    told = []
    items = read_items(write(name, text), told.append)
    assert [(item.text, item.verdict) for item in items] == [("A", True), ("B", False)]
    (sentence,) = told
    assert sentence.endswith(
        "ignored 'id', 'model'; columns are text, label, verdict, kind, judge, reply"
    )


def test_a_name_like_that_of_a_column_is_refused_only_where_that_column_is_missing(write):
    told = []
    read_items(write("a.csv", "text,verdict,verdicts\nA,pass,9\n"), told.append)
    assert "ignored 'verdicts'" in told[0]
    with pytest.raises(JudgeError, match="no column is called 'verdicts'; did you mean 'verdict'"):
        read_items(write("b.csv", "text,verdicts\nA,pass\n"), told.append)


def test_the_table_has_a_line_for_each_kind_and_a_column_for_each_judge():
    clean = Item(text=None, label=True, verdict=True, kind="clean", judge=None, where="here")
    glued = replace(clean, label=False, kind="glued")
    one, two = [clean, glued], [clean, replace(glued, verdict=False)]
    lines = kind_table(by_kind({"lax": one, "strict": two})).splitlines()
    assert lines[0] == "| kind | examples | right is | lax | strict |"
    assert lines[2] == "| clean | 1 | pass | 100 (21 to 100) | 100 (21 to 100) |"
    assert lines[3] == "| glued | 1 | fail | 0 (0 to 79) | 100 (21 to 100) |"


# The verb


@pytest.fixture
def call(capsys):
    def run(*arguments):
        status = main(["judge", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def verdicts(write):
    return write("verdicts.csv", "verdict\n" + 70 * "pass\n" + 30 * "fail\n")


def test_the_verb_tells_raw_and_corrected_rates(call, verdicts, calibration):
    status, output, _ = call(verdicts, "--calibration", calibration, "--json")
    told = json.loads(output)
    expected = corrected_rate(passed=70, count=100, calibration=Calibration(9, 10, 8, 10))
    assert status == 0
    assert told["raw"]["value"] == 0.7
    assert told["corrected"]["value"] == pytest.approx(0.5 / 0.7)
    assert told["corrected"]["interval"] == pytest.approx(list(expected.interval))
    assert told["sensitivity"]["value"] == 0.9
    assert {kind["kind"] for kind in told["kinds"]} == {"clean", "doubled word", "dropped word"}


def test_people_read_the_same_in_words(call, verdicts, calibration):
    status, output, _ = call(verdicts, "--calibration", calibration, "--width", "0.3")
    assert status == 0
    assert "as judged  70.0 %, 95 % interval 60.4 to 78.1, of 100 replies pass" in output
    assert "corrected  71.4 %, 95 % interval" in output
    assert "dropped word" in output
    assert "an interval 30 points wide" in output


def test_two_systems_are_compared_each_with_its_judge(call, write, verdicts, calibration):
    other = write("other.csv", "verdict\n" + 50 * "pass\n" + 50 * "fail\n")
    judge = write("judge.csv", "label,verdict\n" + 40 * "good,pass\n" + 40 * "bad,fail\n")
    options = (verdicts, "--calibration", calibration, "--against", other)
    same = json.loads(call(*options, "--json")[1])["difference"]
    two = json.loads(call(*options, "--against-calibration", judge, "--json")[1])["difference"]
    assert same["value"] == pytest.approx(0.2 / 0.7)
    assert two["value"] == pytest.approx(0.5 / 0.7 - 0.5)
    assert same["raw"] == two["raw"] == pytest.approx(0.2)
    assert "difference, corrected: +28.6 points" in call(*options)[1]


def test_our_sentences_are_written_for_other_judges_and_never_over_a_file(call, tmp_path):
    path = tmp_path / "to_judge.csv"
    assert call("--sentences", path)[0] == 0
    assert path.read_text() == SHIPPED.read_text()
    status, _, errors = call("--sentences", path)
    assert status == 2
    assert "is there already" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "judge needs --calibration"),
        (("--calibration", "shipped"), "calibration.csv line 2 has no verdict"),
        (("--calibration", "none.csv"), "none.csv cannot be read"),
        (("--calibration", "FILE", "--against", "FILE"), "--against needs VERDICTS"),
        (("--calibration", "FILE", "--against-calibration", "FILE"), "is for --against"),
        (("--calibration", "FILE", "--judge", "api:http://127.0.0.1:1/v1:model=m"), "needs --out"),
        (("--calibration", "FILE", "--judge", "ideal", "--out", "o.jsonl"), "must be one server"),
        (("--calibration", "FILE", "--width", "2"), "width must lie in"),
    ],
)
def test_a_request_at_fault_is_refused_in_one_line(call, calibration, arguments, message):
    status, output, errors = call(*(calibration if word == "FILE" else word for word in arguments))
    assert (status, output) == (2, "")
    assert message in errors
    assert len(errors.splitlines()) == 1
