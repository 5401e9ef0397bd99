"""A record: one line that says everything, and tells when it no longer does."""

import hashlib
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parallelbench.errors import RecordsError
from parallelbench.record import Record, RecordedMarks
from parallelbench.record_line import from_line, to_line
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute

WHERE = "records-0.jsonl line 3"


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


def changed(record, **values):
    return Record.model_validate({**dict(record), **values})


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
    written = changed(record, text=text, error=error, marks=marks)
    # As the run directory reads it: a file whose lines end in a line feed and nothing else.
    stream = io.StringIO(to_line(written), newline="\n")
    (line,) = stream.readlines()
    assert from_line(line, WHERE) == written
    assert (written.text, written.error, written.marks) == (text, error, marks)


@pytest.mark.parametrize("text", ['"', '\\"', "\n\r\u2028\u2029\x85", "\0", ',"digest":"', "🐙"])
def test_a_text_cannot_break_the_line_or_forge_its_digest(record, text):
    written = changed(record, text=text)
    assert from_line(to_line(written), WHERE).text == text


def test_half_a_surrogate_pair_is_recorded_as_its_escape(record):
    marks = RecordedMarks(strict=0.0, lenient=0.0, problem="\ud800", parts={"\udfff": 0.5})
    written = changed(record, text="a\ud800", error="b\udc00", marks=marks)
    back = from_line(to_line(written), WHERE)
    assert (back.text, back.error) == ("a\\ud800", "b\\udc00")
    assert (back.marks.problem, dict(back.marks.parts)) == ("\\ud800", {"\\udfff": 0.5})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_before_it_is_written(record, number):
    with pytest.raises(ValidationError, match="finite number"):
        RecordedMarks(strict=0.0, lenient=0.0, problem="wrong", parts={"items": number})
    with pytest.raises(ValidationError, match="finite number"):
        changed(record, seconds=number)


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
        ({"schema_version": 2}, "form of schema version 1: schema_version: input should be 1"),
        ({"colour": "red"}, "form of schema version 1: colour: extra inputs are not permitted"),
        ({"index": "0"}, "form of schema version 1: index: input should be a valid integer"),
        ({"status": "fine"}, "form of schema version 1: status: input should be 'ok', 'stalled'"),
    ],
)
def test_a_sealed_line_of_another_form_is_refused_by_the_field(record, change, sentence):
    with pytest.raises(RecordsError) as caught:
        from_line(sealed(**{**record.model_dump(mode="json"), **change}), WHERE)
    assert str(caught.value).startswith(f"{WHERE} does not have the ")
    assert sentence in str(caught.value)


def test_a_sealed_line_whose_trace_is_no_trace_is_refused(record):
    content = record.model_dump(mode="json")
    content["trace"]["rows"] = []
    with pytest.raises(RecordsError, match=r"line 3 does not have the form.* a trace has columns"):
        from_line(sealed(**content), WHERE)


def test_a_sealed_line_that_is_no_json_is_refused():
    body = "{nonsense"
    digest = hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
    with pytest.raises(RecordsError, match=r"line 3 does not have the form.* the line: invalid"):
        from_line(f'{body},"digest":"{digest}"}}\n', WHERE)


def test_the_canvas_at_the_start_has_masks_where_the_decoder_was_to_write(record):
    filled = [token for token in record.canvas if token != record.mask_id]
    assert len(record.canvas) - len(filled) == record.counts.canvas_tokens == 3
    free = changed(record, initial_ids=None)
    assert free.canvas == [record.mask_id] * len(record.output_ids)
