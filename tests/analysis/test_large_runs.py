"""A report of many records: none of them is held, and work grows with their number only."""

import dataclasses
import weakref
from dataclasses import dataclass, field

import pytest

from parallelbench.analysis.measures.derived_figures import derive
from parallelbench.analysis.replay.gallery import _Entry, _in_turn, gallery_of
from parallelbench.analysis.report.page import _read, make_report
from parallelbench.console.progress import SILENT
from parallelbench.results.record_summary import RecordSummaries
from parallelbench.results.result import summarize
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from support.fabricated import fabricated_record

ASKED = {
    "models": "ideal",
    "tasks": ["choices/city", "choices/dice"],
    "decoders": ["one_by_one", "random:k=32", "confidence_threshold:threshold=0.9", "label"],
    "samples": 5,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(make_runfile(ASKED), tmp_path_factory.mktemp("runs") / "run")


@dataclass(frozen=True)
class Watched(RunDirectory):
    """A run that knows which of its records are still held by somebody."""

    read: list = field(default_factory=list)

    def located_records(self):
        for record, place in super().located_records():
            self.read.append(weakref.ref(record))
            yield record, place
            del record


def test_a_report_holds_no_record(done):
    watched = Watched(done.path, done.runfile)
    with _read(watched, SILENT) as records:
        assert len(records.summaries) == len(watched.read) == done.decodes
        assert [record() for record in watched.read[:-1]] == [None] * (done.decodes - 1)


def test_summaries_give_the_figures_of_their_records(done):
    records = list(done.records())
    shared = RecordSummaries()
    summaries = [shared.of(record) for record in records]
    results = summarize(records)
    assert summarize(summaries) == results
    assert derive(summaries, results) == derive(records, results)
    assert [each.key for each in summaries] == [each.key for each in records]
    first, second, *_ = (each for each in summaries if each.decoder_label == "label")
    assert first.model is second.model
    assert first.task is second.task
    assert first.decoder is second.decoder


def test_the_page_of_a_run_shows_the_same_decodes_as_its_records_in_memory(done):
    with _read(done, SILENT) as records:
        streamed = records.gallery.build(lambda place: place.read())
    assert streamed == gallery_of(done.runfile, done.records())


def test_of_several_records_of_a_decode_the_last_is_shown(done, tmp_path):
    lines = (done.path / "records-0.jsonl").read_text().splitlines(keepends=True)
    again = RunDirectory.begin(tmp_path / "again", done.runfile)
    (again.path / "records-0.jsonl").write_text("".join([*lines, *lines[:7]]))
    make_report(done)
    make_report(again)
    for name in ("results.json", "oracles.json"):
        assert (again.path / name).read_text() == (done.path / name).read_text()


class CountingLabel(str):
    """A text that counts how often it is looked up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self):
        CountingLabel.lookups += 1
        return str.__hash__(self)


def lookups_in_order(samples):
    """The look-ups that sorting so many samples takes, of which each second failed."""
    shared = RecordSummaries()
    task = fabricated_record().task.model_copy(update={"label": CountingLabel("shuffle")})
    summaries = (
        shared.of(fabricated_record(index=index, right=float(index % 2)))
        for index in range(samples)
    )
    entries = [
        _Entry(dataclasses.replace(summary, task=task), None, index)
        for index, summary in enumerate(summaries)
    ]
    CountingLabel.lookups = 0
    assert len(list(_in_turn(entries))) == samples
    return CountingLabel.lookups


def test_samples_are_sorted_in_time_that_grows_with_their_number():
    assert lookups_in_order(400) < 5 * lookups_in_order(100)
