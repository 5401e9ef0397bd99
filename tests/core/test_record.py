"""A record: one line that says everything, and tells when it no longer does."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parallelbench.errors import RecordsError
from parallelbench.record import Record, RecordedMarks
from parallelbench.record_line import from_line, to_line, to_line_like
from parallelbench.run.merge import record_digest
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute
from support.fabricated import altered

WHERE = "records-0.jsonl line 3"
#: As earlier releases wrote them: decoded free, decoded around given tokens, an oracle with a
#: note; a server's reply, one with its reasoning, and none; a published reply; an error of the
#: score; with sources and engines.
LINES_OF_SCHEMA_1 = (
    (Path(__file__).parent / "records_schema_1.jsonl").read_text("utf-8").splitlines(keepends=True)
)


@pytest.fixture(scope="module")
def record():
    asked = {
        "models": "ideal",
        "tasks": "list_operations/shuffle:form=infill,length=3",
        "decoders": "random",
        "samples": 1,
    }
    (made,) = execute(make_runfile(asked))
    return made


def sealed(**values):
    """A line with a right digest, whatever it says."""
    body = json.dumps(values)[:-1]
    digest = hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
    return f'{body},"digest":"{digest}"}}\n'


def test_a_record_comes_back_from_its_line_as_it_was(record):
    assert from_line(to_line(record), WHERE) == record


def test_a_line_is_plain_json_and_one_line(record):
    line = to_line(record)
    assert line.count("\n") == 1
    read = json.loads(line)
    assert read.pop("digest")
    assert Record.model_validate(read, strict=False) == record


@given(text=st.text(), error=st.none() | st.text(), problem=st.text(), part=st.text())
@settings(deadline=None, max_examples=50)
def test_any_text_of_unicode_comes_back(record, text, error, problem, part):
    marks = RecordedMarks(strict=0.0, lenient=0.0, problem=problem, parts={part: 0.5})
    written = altered(record, text=text, error=error, marks=marks)
    # As the run directory reads it: a file whose lines end in a line feed and nothing else.
    stream = io.StringIO(to_line(written), newline="\n")
    (line,) = stream.readlines()
    assert from_line(line, WHERE) == written
    assert (written.text, written.error, written.marks) == (text, error, marks)


@pytest.mark.parametrize("text", ['"', '\\"', "\n\r\u2028\u2029\x85", "\0", ',"digest":"', "🐙"])
def test_a_text_cannot_break_the_line_or_forge_its_digest(record, text):
    written = altered(record, text=text)
    assert from_line(to_line(written), WHERE).text == text


def test_half_a_surrogate_pair_is_recorded_as_its_escape(record):
    marks = RecordedMarks(strict=0.0, lenient=0.0, problem="\ud800", parts={"\udfff": 0.5})
    written = altered(record, text="a\ud800", error="b\udc00", marks=marks)
    back = from_line(to_line(written), WHERE)
    assert (back.text, back.error) == ("a\\ud800", "b\\udc00")
    assert (back.marks.problem, dict(back.marks.parts)) == ("\\ud800", {"\\udfff": 0.5})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_before_it_is_written(record, number):
    with pytest.raises(ValidationError, match="finite number"):
        RecordedMarks(strict=0.0, lenient=0.0, problem="wrong", parts={"items": number})
    with pytest.raises(ValidationError, match="finite number"):
        altered(record, seconds=number)


def test_a_line_cut_anywhere_is_torn(record):
    line = to_line(record)
    for end in (0, 1, len(line) // 2, len(line) - 3, len(line) - 1):
        with pytest.raises(RecordsError, match=r"records-0\.jsonl line 3 is torn: it ends in the"):
            from_line(line[:end], WHERE)


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_no_flipped_digit_goes_unseen(record, data):
    line = to_line(record)
    digits = [place for place, letter in enumerate(line) if letter.isdigit()]
    place = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != line[place]]))
    with pytest.raises(RecordsError, match="line 3 was altered: its digest does not match"):
        from_line(line[:place] + other + line[place + 1 :], WHERE)


def test_a_line_without_its_digest_is_refused(record):
    with pytest.raises(RecordsError, match=r"records-0\.jsonl line 3 is torn"):
        from_line(record.model_dump_json() + "\n", WHERE)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 3}, "form of schema version 2: schema_version: input should be 2"),
        ({"schema_version": 1}, "form of schema version 1: model: input should be a valid string"),
        ({"colour": "red"}, "form of schema version 2: colour: extra inputs are not permitted"),
        ({"status": "fine"}, "form of schema version 2: status: input should be 'ok', 'stalled'"),
        ({"seconds": "0"}, "form of schema version 2: seconds: input should be a valid number"),
        ({"decoding": {}}, "form of schema version 2: decoding.prompt_tokens: field required"),
    ],
)
def test_a_sealed_line_of_another_form_is_refused_by_the_field(record, change, sentence):
    with pytest.raises(RecordsError) as caught:
        from_line(sealed(**{**record.model_dump(mode="json"), **change}), WHERE)
    assert str(caught.value).startswith(f"{WHERE} does not have the ")
    assert sentence in str(caught.value)


def test_a_sealed_line_whose_trace_is_no_trace_is_refused(record):
    content = record.model_dump(mode="json")
    content["decoding"]["trace"]["rows"] = []
    with pytest.raises(RecordsError, match=r"line 3 does not have the form.* a trace has columns"):
        from_line(sealed(**content), WHERE)


def test_a_sealed_line_that_is_no_json_is_refused():
    body = "{nonsense"
    digest = hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
    with pytest.raises(RecordsError, match=r"line 3 does not have the form.* the line: invalid"):
        from_line(f'{body},"digest":"{digest}"}}\n', WHERE)


@pytest.mark.parametrize("line", LINES_OF_SCHEMA_1)
def test_a_line_of_schema_1_is_the_same_record_and_can_be_written_again(line):
    record = from_line(line, WHERE)
    assert to_line_like(record, line) == line
    new = to_line(record)
    assert new.startswith('{"schema_version":2,')
    assert to_line_like(record, new) == new
    assert from_line(new, WHERE) == record
    assert record_digest(from_line(new, WHERE)) == record_digest(record)


def test_lines_of_schema_1_hold_what_they_held():
    free, infill, oracle, served, reasoned, unanswered, published, failed, marked = (
        from_line(line, WHERE) for line in LINES_OF_SCHEMA_1
    )
    assert (free.decoding.counts.nfe, free.decoding.initial_ids) == (2, None)
    assert free.sample.id == "waiting_line/copy/00000"
    assert infill.decoding.canvas == infill.decoding.initial_ids
    assert (oracle.decoder.oracle, oracle.decoding.note) == (True, "greedy policy")
    assert (served.finish, served.decoding, served.served.content) == ("stop", None, None)
    assert (reasoned.served.reasoning, reasoned.served.drafts) == ("well", 2)
    assert (unanswered.served, unanswered.error) == (None, "the server answered 500")
    assert published.costs == published.published
    assert (failed.status, failed.marks, failed.steered) == ("error", None, True)
    assert (marked.task.engines, list(marked.task.sources)) == (
        {"grammar": "harper 1"},
        ["source=words.txt"],
    )


@pytest.mark.parametrize("gone", ["trace", "counts", "output_ids", "mask_id", "prompt_tokens"])
def test_a_line_of_schema_1_with_a_part_of_the_steps_is_refused(gone):
    content = json.loads(LINES_OF_SCHEMA_1[0])
    del content["digest"]
    content[gone] = None
    with pytest.raises(RecordsError, match=rf"form of schema version 1: {gone}: input should be"):
        from_line(sealed(**content), WHERE)


def test_the_canvas_at_the_start_has_masks_where_the_decoder_was_to_write(record):
    decoding = record.decoding
    filled = [token for token in decoding.canvas if token != decoding.mask_id]
    assert len(decoding.canvas) - len(filled) == decoding.counts.canvas_tokens == 3
    free = altered(record, initial_ids=None).decoding
    assert free.canvas == [decoding.mask_id] * len(decoding.output_ids)
