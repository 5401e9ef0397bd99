"""The whole road in one call, in memory and on disk."""

import json

import pytest

import parallelbench
from parallelbench.decoder import DECODERS
from parallelbench.errors import FieldError, RequestError, UnknownNameError
from parallelbench.evaluation import evaluate
from parallelbench.record_line import from_line, to_line
from parallelbench.run.rundir import RunDirectory

ASKED = {
    "tasks": "list_operations/shuffle:form=infill,length=3",
    "decoders": ["random:k=1", "random:k=3"],
    "samples": 20,
}


def told(evaluation):
    return sorted(json.dumps(r.model_dump(exclude={"seconds"})) for r in evaluation.records)


def test_in_memory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluation = evaluate(**ASKED)
    assert evaluation.folder is None
    assert len(evaluation.records) == evaluation.runfile.decodes == 40
    assert not list(tmp_path.iterdir())


def test_one_by_one_loses_nothing_and_all_at_once_does():
    one_by_one, at_once = evaluate(**ASKED).results
    assert (one_by_one.fields["k"], at_once.fields["k"]) == (1, 3)
    assert one_by_one.accuracy > at_once.accuracy
    assert one_by_one.interval.low <= one_by_one.accuracy <= one_by_one.interval.high
    assert (one_by_one.tokens_per_step, at_once.tokens_per_step) == (1.0, 3.0)


def test_on_disk_and_in_memory_give_the_same(tmp_path):
    kept = evaluate(**ASKED, out=tmp_path / "run")
    assert kept.folder == tmp_path / "run"
    assert told(kept) == told(evaluate(**ASKED))
    assert told(evaluate(**ASKED, out=str(tmp_path / "run"))) == told(kept)
    assert RunDirectory.open(kept.folder).runfile == kept.runfile


def test_records_in_memory_are_what_their_lines_say():
    records = evaluate(tasks="choices/dice", decoders="random:k=2", samples=2).records
    assert [from_line(to_line(record), "a record") for record in records] == records


def test_there_is_one_record_per_decode_even_after_an_error(tmp_path, monkeypatch):
    kind = DECODERS["random"]

    def fail(*_):
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(kind, "choose", fail)
        failed = evaluate(**ASKED, out=tmp_path / "run")
    assert {record.status for record in failed.records} == {"error"}
    assert {result.accuracy for result in failed.results} == {None}
    mended = evaluate(**ASKED, out=tmp_path / "run")
    assert {record.status for record in mended.records} == {"ok"}
    assert len(mended.records) == mended.runfile.decodes


def test_records_come_in_the_order_asked_for_and_not_as_they_finish(tmp_path):
    for out in (None, tmp_path / "run"):
        evaluation = evaluate(**ASKED, repeats=2, out=out)
        order = [(r.index, r.repeat, r.decoder.fields["k"]) for r in evaluation.records]
        assert order == [(i, repeat, k) for i in range(20) for repeat in range(2) for k in (1, 3)]
        assert [result.fields["k"] for result in evaluation.results] == [1, 3]


def test_results_are_json_values():
    dicts = evaluate(**ASKED).to_dicts()
    assert json.loads(json.dumps(dicts))[0]["decoder"] == "random"
    assert len(dicts) == 2


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"tasks": "nonsense"}, UnknownNameError),
        ({"decoders": "random:k=0"}, FieldError),
        ({"samples": 0}, RequestError),
        ({"model": []}, RequestError),
    ],
)
def test_a_wrong_request_is_refused(changes, kind):
    with pytest.raises(kind):
        evaluate(**{**ASKED, **changes})


def test_the_package_offers_it_by_its_own_name():
    assert parallelbench.evaluate is evaluate
    assert {"Evaluation", "check_decoder", "evaluate", "load_run"} < set(parallelbench.__all__)
    assert all(getattr(parallelbench, name) for name in parallelbench.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'evaluated'"):
        parallelbench.evaluated  # noqa: B018  looking is the test
