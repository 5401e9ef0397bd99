"""What a report shows step by step: failures first, as many as fit, and said so."""

import dataclasses
import json

import pytest

from parallelbench import evaluate
from parallelbench.analysis.replay.gallery import gallery_of
from parallelbench.analysis.report.page import embedded
from support.fabricated import altered, fabricated_record


@pytest.fixture(scope="module")
def done():
    return evaluate(
        model="ideal",
        tasks=["choices/city", "waiting_line/copy"],
        decoders=["one_by_one", "random:k=32"],
        samples=6,
    )


@pytest.fixture(scope="module")
def whole(done):
    return gallery_of(done.runfile, done.records)


def test_every_decode_is_shown_where_there_is_room(done, whole):
    assert len(whole.chunks) == 12
    assert whole.told == (
        (
            "24 of 24 decodes can be watched here: those of 12 of 12 samples, with "
            f"{failures(done)} of {failures(done)} failures."
        ),
    )


def failures(done):
    return sum(record.marks.lenient < 1 for record in done.records)


def test_the_steps_on_the_page_make_the_reply(done, whole):
    tokens_of = {}
    for chunk in map(json.loads, whole.chunks):
        for decode in chunk["decodes"]:
            canvas = [-1] * decode["length"]
            for positions, ids, *_ in decode["steps"]:
                for position, token in zip(positions, ids, strict=True):
                    canvas[position] = token
            words = [chunk["tokens"][token] for token in canvas if token >= 0]
            tokens_of[decode["text"]] = words
    for text, words in tokens_of.items():
        assert "".join(words).replace(" ", "") == text.replace(" ", "")


def test_a_wrong_reply_has_the_nearest_right_answer_and_a_prompt_its_examples(whole):
    for chunk in map(json.loads, whole.chunks):
        roles = [role for role, _ in chunk["examples"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) != []
        for decode in chunk["decodes"]:
            if decode["problem"] is None:
                assert decode["right"] is None
                continue
            right, differences = decode["right"]
            # "New City" is one word from "New York", and two from "Panama City"'s "Panama".
            assert len(set(right.split()) - set(decode["text"].split())) == len(differences) == 1
            place, token = differences[0]
            assert chunk["tokens"][token].strip() == right.split()[place]
    (kind,) = whole.kinds
    assert kind.right in ("New York", "New Orleans", "Mexico City", "Panama City")


def test_each_token_has_its_probability_in_the_law(whole):
    rows = [
        (index["decoders"][decode["decoder"]], step[4])
        for index in [whole.index]
        for text in whole.chunks
        for decode in json.loads(text)["decodes"]
        for step in decode["steps"]
    ]
    # All 32 tokens at once: of a place's two words each has a half, all else is certain.
    at_once = [odds for label, odds in rows if label == "random:k=32" and odds != 1]
    assert at_once
    assert all(sorted(odds)[:3] == [0.5, 0.5, 1] for odds in at_once)
    # One by one: the first word that counts a half, the second a half or sure.
    assert {tuple(odds) for label, odds in rows if label == "one_by_one" and odds != 1} <= {
        (0.5,),
        (0.25,),
    }


def test_failures_come_before_successes(done, whole):
    failed = [any(d["problem"] for d in json.loads(c)["decodes"]) for c in whole.chunks]
    assert failed == sorted(failed, reverse=True)
    assert any(failed)


def test_what_does_not_fit_is_counted(done):
    small = gallery_of(done.runfile, done.records, most_bytes=1)
    assert len(small.chunks) == 1
    assert len(json.loads(small.chunks[0])["decodes"]) == 1
    assert small.told[0].startswith("1 of 24 decodes can be watched here: those of 1 of 12")
    assert small.told[0].endswith("failures; failures were taken first.")
    (kind,) = small.kinds
    assert kind.decodes == failures(done)  # of all that were made, not of those shown


@pytest.mark.parametrize("most_bytes", [1, 5000, 20_000, 60_000])
def test_no_sample_takes_more_than_the_room_that_there_is(done, whole, most_bytes):
    first = gallery_of(done.runfile, done.records, most_bytes=most_bytes).chunks
    assert len(first[0]) <= max(most_bytes, len(whole.chunks[0]) // 2 + 1000)
    assert sum(map(len, first)) <= most_bytes or len(json.loads(first[0])["decodes"]) == 1


def test_a_long_reply_is_cut_in_the_table_of_failures(done):
    wrong = next(record for record in done.records if record.marks.lenient < 1)
    long = wrong.model_copy(update={"text": "a" * 100_000})
    (kind,) = gallery_of(done.runfile, [long]).kinds
    assert kind.text == "a" * 1000 + " ..."


def test_each_kind_of_failure_leads_to_one_that_shows_it(whole):
    (kind,) = whole.kinds
    assert (kind.problem, kind.task_label) == ("glued name", "choices/city")
    chunk, decode = map(int, kind.place.split("/"))
    shown = json.loads(whole.chunks[chunk])["decodes"][decode]
    assert (shown["problem"], shown["text"]) == (kind.problem, kind.text)
    assert "1.00 bits" in kind.told


def test_every_failure_is_found_by_the_filters(whole):
    index = whole.index
    for chunk, decode, task, model, decoder, problem in index["failures"]:
        shown = json.loads(whole.chunks[chunk])["decodes"][decode]
        assert index["problems"][problem] == shown["problem"]
        assert (shown["model"], shown["decoder"]) == (model, decoder)
        assert index["samples"][chunk][0] == task


def test_the_order_of_writing_is_a_share_of_the_steps(whole):
    orders = dict(whole.orders["ideal", "choices/city"])
    assert set(orders["random:k=32"]) == {0}
    assert len(orders["one_by_one"]) == 32
    assert all(0 <= share <= 100 for share in orders["one_by_one"])


def test_replies_of_a_server_are_told_and_not_shown(done):
    record = altered(done.records[0], decoding=None, index=5)
    gallery = gallery_of(done.runfile, [record])
    assert gallery.chunks == ()
    assert gallery.told == ("1 decodes of ideal have no steps to watch: a server decoded them.",)


def test_nothing_marked_is_nothing_to_watch(done):
    broken = fabricated_record(right=None)
    for records in ([], [broken]):
        gallery = gallery_of(done.runfile, records)
        assert gallery.told == ("Nothing is marked yet, so there is nothing to watch.",)
        assert not gallery.chunks


def test_only_the_last_record_of_a_decode_is_shown(done, whole):
    twice = gallery_of(done.runfile, [*done.records, *done.records])
    assert dataclasses.asdict(twice) == dataclasses.asdict(whole)


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028\u2029", "a & b", "\ud800"])
def test_json_in_the_page_ends_no_element_and_reads_back(text):
    told = str(embedded([text]))
    assert told.isascii()
    assert not set("<>&") & set(told)
    assert json.loads(told) == [text]
