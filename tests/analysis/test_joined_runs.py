"""Several runs as one page: what is the same counts once, and what is not is never mixed."""

import json

import pytest

from parallelbench.analysis.measures.joined_runs import JoinedRuns, open_apart, open_runs
from parallelbench.cli.program import main
from parallelbench.errors import RecordsError, RunFileError, StorageError
from parallelbench.record_line import from_line, to_line
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.run.shard import Shard
from support.fabricated import altered

ASKED = {
    "models": "ideal",
    "tasks": ["choices/city", "choices/dice"],
    "decoders": "random:k=4|16",
    "samples": 4,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs that were asked alike, but for what their names say."""
    place = tmp_path_factory.mktemp("runs")
    asked = {
        "first": {},
        "another model": {"models": "ideal:noise=0.05"},
        "more": {"decoders": ["random:k=4", "one_by_one"], "samples": 6, "tasks": "choices/city"},
        "another seed": {"seed": 5},
    }
    for name, changes in asked.items():
        run(make_runfile({**ASKED, **changes}), place / name)
    return {name: place / name for name in asked}


def changed(folder, to, change=lambda record: record, version=None):
    """A copy of a run with other records, or another version of its tasks."""
    to.mkdir()
    text = (folder / "run.yaml").read_text()
    if version is not None:
        text = text.replace("  version: 1", f"  version: {version}")
    (to / "run.yaml").write_text(text)
    lines = (folder / "records-0.jsonl").read_text().splitlines(keepends=True)
    records = [change(from_line(line, "here")) for line in lines]
    (to / "records-0.jsonl").write_text("".join(map(to_line, records)))
    return to


def joined(paths, out):
    return JoinedRuns.of(open_runs(paths, "give --separate"), out)


def test_runs_of_several_models_are_one_page_with_a_figure_of_all(runs, tmp_path, capsys):
    paths = [str(runs["first"]), str(runs["another model"])]
    before = sorted(file.name for file in runs["first"].iterdir())
    assert main(["report", *paths, "--out", str(tmp_path / "both")]) == 0
    assert f"report: {tmp_path / 'both' / 'report.html'}" in capsys.readouterr().out
    text = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert text.count("<h3>Every model</h3>") == 3  # two tasks and their average
    figures = tmp_path / "both" / "figures"
    for name in ("average", "choices-city", "choices-dice"):
        told = (figures / f"{name}.txt").read_text()
        assert "Models: ideal, ideal:noise=0.05" in told
        assert (figures / f"{name}.png").is_file()
    assert len(json.loads((tmp_path / "both" / "results.json").read_text())) == 8
    assert sorted(file.name for file in runs["first"].iterdir()) == before
    assert '<p class="state">' not in text


def test_a_decode_that_two_runs_hold_counts_once(runs, tmp_path):
    both = joined([runs["first"], runs["more"]], tmp_path)
    keys = [record.key for record in both.records()]
    # 4 samples, 2 tasks, 2 decoders; 2 more samples of one of them; 6 samples of a third.
    assert len(keys) == len(set(keys)) == both.decodes == 16 + 2 + 6
    assert both.remarks == [
        f"samples of each task: 4 in {runs['first']}, 6 in {runs['more']}",
        "not every run has choices/dice",
    ]
    assert list(both.runfile.places["decoder"]) == ["random:k=4", "random:k=16", "one_by_one"]


def test_a_part_of_a_run_in_a_folder_of_its_own_says_that_it_is_a_part(runs, tmp_path, capsys):
    part = tmp_path / "part"
    run(RunDirectory.open(runs["first"]).runfile, part, shard=Shard(2, 2))
    assert main(["report", str(part), "--out", str(tmp_path / "out")]) == 0
    assert f"{tmp_path / 'out'}: {part} is shard 2/2 of a run" in capsys.readouterr().out
    assert "is shard 2/2" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not (part / "report.html").exists()
    both = joined([part, runs["first"]], tmp_path)
    assert both.decodes == RunDirectory.open(runs["first"]).decodes


def test_an_error_gives_way_to_the_decode_of_another_run(runs, tmp_path):
    def failed(record):
        gone = {"status": "error", "error": "it broke", "marks": None}
        return record.model_copy(update=gone if record.index == 0 else {})

    broken = changed(runs["first"], tmp_path / "broken", failed)
    for order in ([broken, runs["first"]], [runs["first"], broken]):
        latest = {record.key: record for record in joined(order, tmp_path / "out").records()}
        assert {record.status for record in latest.values()} == {"ok"}


def test_runs_that_say_different_things_of_a_decode_are_refused(runs, tmp_path):
    other = changed(runs["first"], tmp_path / "other", lambda r: altered(r, text="else"))
    gone = {"status": "error", "error": "it broke", "marks": None}
    broken = changed(runs["first"], tmp_path / "broken", lambda r: altered(r, **gone))
    for before in ([], [broken]):
        every = joined([*before, runs["first"], other], tmp_path / "out")
        with pytest.raises(RecordsError, match=f"{other} and {runs['first']} say different things"):
            list(every.records())


def test_other_weights_of_the_same_name_are_refused(runs, tmp_path):
    other = changed(runs["first"], tmp_path / "other", lambda r: altered(r, model_digest="x"))
    with pytest.raises(RecordsError, match=rf"{other} has another 'ideal' than"):
        list(joined([runs["first"], other], tmp_path / "out").records())


def test_another_seed_is_refused_or_has_a_page_of_its_own(runs, tmp_path, capsys):
    paths = [str(runs[name]) for name in ("first", "another model", "another seed")]
    assert main(["report", *paths, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert f"{runs['first']} has seed 0 and {runs['another seed']} has seed 5" in told
    assert "--separate" in told
    assert not (tmp_path / "out").exists()
    assert main(["report", *paths, "--out", str(tmp_path / "out"), "--separate"]) == 0
    pages = [tmp_path / "out" / number / "report.html" for number in ("1", "2")]
    assert [page.read_text().count("<h3>Every model</h3>") for page in pages] == [3, 0]
    assert "seed 5" in (tmp_path / "out" / "2" / "figures" / "choices-city.txt").read_text()


def test_another_version_of_a_task_is_refused_or_has_a_page_of_its_own(runs, tmp_path):
    old = changed(
        runs["first"],
        tmp_path / "old",
        lambda r: altered(r, task_version=7),
        version=7,
    )
    with pytest.raises(
        RunFileError, match=rf"{runs['first']} has version 1 of task 'choices/city' and {old} has"
    ):
        open_runs([runs["first"], old], "give --separate")
    assert [[each.path for each in group] for group in open_apart([old, runs["first"]])] == [
        [old],
        [runs["first"]],
    ]
    assert main(["report", str(old), "--separate"]) == 0
    told = (old / "figures" / "choices-city.txt").read_text()
    assert "Task: choices/city, version 7. " in told
    assert (
        RunDirectory.open(old, any_version=True).provenance()["run_digest"]
        != (RunDirectory.open(runs["first"]).provenance()["run_digest"])
    )


def test_a_folder_that_holds_a_run_keeps_its_own_report(runs):
    with pytest.raises(StorageError, match="holds a run, whose own report would be lost"):
        joined([runs["first"], runs["another model"]], runs["first"])
