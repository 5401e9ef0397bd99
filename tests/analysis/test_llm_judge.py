"""A language model as judge: what it is asked, what counts as its verdict, what is kept."""

import json

import pytest

from parallelbench.analysis.judging.calibration_set import SHIPPED
from parallelbench.analysis.judging.judges import JudgeError
from parallelbench.analysis.judging.llm_judge import GRAMMAR_RUBRIC, LlmJudge, ask, read_verdict
from parallelbench.analysis.judging.verdicts import Item, passed_of, read_items
from parallelbench.cli.program import main
from parallelbench.errors import RequestError, UnreachableError
from support.servers import Scripted, fails, says


def items_of(*texts):
    return [Item(text, None, None, None, None, f"line {n}") for n, text in enumerate(texts, 1)]


def by_ending(handler):
    """Pass what ends in a full stop."""
    text = handler.server.requests[-1]["body"]["messages"][-1]["content"]
    says("PASS" if text.endswith(".") else "FAIL")(handler)


class Answering(Scripted):
    """Answers every request by its own content, whatever comes in between."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def next_behaviour(self, request):
        self.requests.append(request)
        return self.answer(request)


def setting(server, concurrency=1):
    return f"api:{server.url}:model=m,concurrency={concurrency},attempts=1"


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("PASS", True),
        ("FAIL", False),
        ("**FAIL**", False),
        ("At first I thought FAIL, but it is right.\nPASS.", True),
        ("It would PASS but for one word: FAIL", False),
        ("pass", None),
        ("PASSED", None),
        ("", None),
    ],
)
def test_the_last_verdict_in_capitals_counts_and_no_other_word(reply, verdict):
    assert read_verdict(reply) is verdict


def test_the_rubric_goes_before_each_text_and_each_text_is_asked_once(tmp_path):
    with Scripted(by_ending) as server:
        judge = LlmJudge.open(setting(server))
        items = items_of("It rains.", "It rain", "It rains.")
        asked = ask(judge, items, tmp_path / "v.jsonl")
        bodies = [request["body"] for request in server.requests]
    assert [item.verdict for item in asked.of(items)] == [True, False, True]
    assert [body["messages"][0] for body in bodies] == 2 * [
        {"role": "system", "content": GRAMMAR_RUBRIC}
    ]
    assert [body["messages"][1]["content"] for body in bodies] == ["It rains.", "It rain"]


def test_a_run_cut_off_goes_on_and_asks_only_for_what_is_missing(tmp_path):
    path = tmp_path / "deep" / "v.jsonl"
    with Scripted(by_ending) as server:
        judge = LlmJudge.open(setting(server))
        ask(judge, items_of("One.", "Two"), path)
        with path.open("a") as file:
            file.write('{"text": "Three.", "verd')  # killed in the middle of a line
        ask(judge, items_of("One.", "Two", "Three."), path)
        texts = [request["body"]["messages"][1]["content"] for request in server.requests]
    assert texts == ["One.", "Two", "Three."]
    assert [item.verdict for item in read_items(path)] == [True, False, True]
    assert [json.loads(line)["reply"] for line in path.read_text().splitlines()] == [
        "PASS",
        "FAIL",
        "PASS",
    ]


def test_verdicts_by_another_rubric_are_those_of_another_judge(tmp_path):
    path = tmp_path / "v.jsonl"
    with Scripted(by_ending) as server:
        first = LlmJudge.open(setting(server))
        second = LlmJudge.open(setting(server), "PASS if it is polite, FAIL if not.")
        for judge in (first, second):
            ask(judge, items_of("One."), path)
        assert len(server.requests) == 2
    with pytest.raises(JudgeError, match="judges err differently"):
        passed_of(read_items(path))


def test_a_reply_without_a_verdict_or_no_reply_is_told_and_counts_for_nothing(tmp_path):
    with Scripted(says("PASS"), says("I cannot say."), fails(500), says("FAIL")) as server:
        judge = LlmJudge.open(setting(server))
        items = items_of("a", "b", "c", "d")
        asked = ask(judge, items, tmp_path / "v.jsonl")
    assert [(item.text, item.verdict) for item in asked.of(items)] == [("a", True), ("d", False)]
    assert (asked.unclear, asked.failed) == (1, 1)
    assert "500" in asked.error


def test_a_server_that_is_gone_ends_it_and_what_it_said_before_is_kept(tmp_path):
    path = tmp_path / "v.jsonl"
    with Scripted(says("PASS"), fails(500)) as server:
        judge = LlmJudge.open(setting(server))
        with pytest.raises(
            UnreachableError, match=r"every verdict \(1\) is in .*, and the same command"
        ):
            ask(judge, items_of(*map(str, range(60))), path)
    assert len(read_items(path)) == 1


def test_what_cannot_be_asked_or_written_is_refused_before_anything_is_sent(tmp_path):
    with Scripted(says("PASS")) as server:
        judge = LlmJudge.open(setting(server))
        with pytest.raises(JudgeError, match="line 1 has no text"):
            ask(judge, items_of(None), tmp_path / "v.jsonl")
        with pytest.raises(JudgeError, match=r"must end in \.jsonl"):
            ask(judge, items_of("a"), tmp_path / "v.csv")
        with pytest.raises(RequestError, match="PASS or FAIL"):
            LlmJudge.open(setting(server), "Is it good?")
        with pytest.raises(RequestError, match="must be one server"):
            LlmJudge.open("ideal")
        assert not server.requests


def test_the_verb_asks_the_judge_about_our_sentences_and_corrects_by_what_it_said(tmp_path, capsys):
    good = {item.text for item in read_items(SHIPPED) if item.label}

    def knows_three_quarters(request):
        text = request["body"]["messages"][-1]["content"]
        wrong = sum(map(ord, text)) % 4 == 0
        return says("PASS" if (text in good) != wrong else "FAIL")

    texts = tmp_path / "texts.csv"
    texts.write_text("text\nIt rained all day.\nIt rained all the.\nHe sang.\n")
    with Answering(knows_three_quarters) as server:
        options = ["--judge", setting(server, 16), "--out", str(tmp_path / "v.jsonl"), "--json"]
        status = main(["judge", str(texts), "--calibration", "shipped", *options])
        asked = len(server.requests)
        told = json.loads(capsys.readouterr().out)
        again = main(["judge", str(texts), "--calibration", "shipped", *options])
        assert len(server.requests) == asked == 243
    assert (status, again) == (0, 0)
    assert 0.6 < told["sensitivity"]["value"] < 0.9
    assert told["sensitivity"]["samples"] == told["specificity"]["samples"] == 120
    assert told["raw"]["samples"] == 3


def test_the_verb_tells_what_is_missing_and_says_so_by_its_status(tmp_path, capsys):
    calibration = tmp_path / "c.csv"
    calibration.write_text("text,label\nA.,good\nB,bad\nC.,good\nD,bad\n")
    with Scripted(by_ending, by_ending, fails(500), says("Hm.")) as server:
        options = ["--judge", setting(server), "--out", str(tmp_path / "v.jsonl")]
        status = main(["judge", "--calibration", str(calibration), *options])
    captured = capsys.readouterr()
    assert status == 1
    assert "passes 100.0 %" in captured.out
    assert "1 replies of the judge held neither PASS nor FAIL" in captured.err
    assert "1 texts got no reply" in captured.err
