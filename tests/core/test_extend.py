"""A run that grows: what it had stays, and it becomes the run that would have been made at once."""

import itertools
import json
import subprocess
import sys

import pytest

from parallelbench.errors import RunFileError, StorageError
from parallelbench.evaluation import evaluate
from parallelbench.run.merge import merge
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.run.shard import Shard

TASK = "list_operations/copy:form=infill,length=3"
SMALL = {"models": "ideal", "tasks": TASK, "decoders": "random:k=3", "samples": 3}
LARGE = {
    "models": "ideal",
    "tasks": [TASK, "list_operations/shuffle:form=infill,length=3"],
    "decoders": "random:k=3|1",
    "samples": 5,
    "repeats": 2,
}


def lines(folder):
    return (folder / "records-0.jsonl").read_text().splitlines()


def told(directory):
    return {json.dumps(r.model_dump(exclude={"seconds"})) for r in directory.records()}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    return run(make_runfile(LARGE), tmp_path_factory.mktemp("at_once") / "run")


@pytest.fixture
def small(tmp_path):
    return run(make_runfile(SMALL), tmp_path / "run")


def test_a_grown_run_is_the_run_that_is_made_at_once(small, at_once):
    before = lines(small.path)
    grown = run(make_runfile(LARGE), small.path, extend=True)
    assert lines(grown.path)[: len(before)] == before
    assert len(lines(grown.path)) == grown.decodes == 40
    assert told(grown) == told(at_once)
    assert (grown.path / "run.yaml").read_bytes() == (at_once.path / "run.yaml").read_bytes()


@pytest.mark.parametrize(
    "more",
    [
        {"samples": 4},
        {"repeats": 2},
        {"decoders": "random:k=3,one_by_one"},
        {"tasks": [TASK, "choices/dice"]},
        {"models": ["ideal", "ideal:noise=0"]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_run_grows_in_each_way_and_notes_what_it_was(small, more):
    asked = make_runfile({**SMALL, **more})
    grown = run(asked, small.path, extend=True)
    assert len(lines(grown.path)) == asked.decodes > 3
    assert [entry["digest"] for entry in grown.history()] == [small.runfile.digest]
    assert grown.provenance()["extended_from"] == grown.history()
    assert RunDirectory.open(grown.path).runfile == asked


def test_what_is_grown_twice_notes_both_and_what_has_not_grown_nothing(small):
    for samples in (4, 4, 5):
        grown = run(make_runfile({**SMALL, "samples": samples}), small.path, extend=True)
    assert [entry["samples"] for entry in grown.history()] == [3, 4]
    with pytest.raises(RunFileError, match="this run was extended since: parallelbench run "):
        run(make_runfile(SMALL), small.path)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"samples": 2}, "samples 2 instead of 3"),
        ({"seed": 1, "samples": 9}, "seed 1 instead of 0; a run"),
        ({"decoders": "random:k=2"}, "decoders without random:.*k=3.* and with random:.*k=2"),
        ({"tasks": TASK.replace("3", "4"), "repeats": 2}, "tasks without .*with .*; a run"),
        ({"models": "ideal:noise=0"}, "models without ideal:"),
        (
            {"models": ["ideal", "ideal:noise=0"], "decoders": "random:k=3|1"}
            | {"left_out": {"ideal": ["random:k=3"]}},
            "model 'ideal' without random:k=3",
        ),
    ],
)
def test_what_is_not_growth_is_refused_with_the_difference(small, change, difference):
    before = contents(small.path)
    with pytest.raises(RunFileError, match=f"cannot be extended: now asked for {difference}"):
        run(make_runfile({**SMALL, **change}), small.path, extend=True)
    assert contents(small.path) == before


def test_what_the_model_cannot_serve_does_not_change_the_run(small):
    before = contents(small.path)
    told = []
    asked = make_runfile({**SMALL, "decoders": "random:k=3,dapd"})
    with pytest.raises(RunFileError, match="needs attention"):
        run(asked, small.path, extend=True, progress=told.append)
    assert told == []
    assert contents(small.path) == before


def test_another_task_version_is_refused(small):
    file = small.path / "run.yaml"
    file.write_text(file.read_text().replace("  version: 1", "  version: 9"))
    with pytest.raises(RunFileError, match="has version 9 there and"):
        run(make_runfile({**SMALL, "samples": 4}), small.path, extend=True)


def test_a_run_that_another_process_writes_does_not_grow(small):
    before = contents(small.path)
    with small.appending(), pytest.raises(StorageError, match="another process is writing"):
        run(make_runfile({**SMALL, "samples": 4}), small.path, extend=True)
    assert contents(small.path) == before


def test_a_shard_is_not_extended_and_the_merged_run_is(tmp_path):
    plan = make_runfile({**SMALL, "samples": 4})
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders, start=1):
        run(plan, folder, shard=Shard(number, 2))
    larger = make_runfile({**SMALL, "samples": 5})
    with pytest.raises(RunFileError, match=r"holds shard 1/2 of a run.*merge the shards, then"):
        run(larger, folders[0], extend=True)
    merge(folders, tmp_path / "whole")
    grown = run(larger, tmp_path / "whole", extend=True)
    assert len(grown.history()) == 1
    with pytest.raises(RunFileError, match="is a whole run and not a shard of one"):
        merge([grown.path], tmp_path / "copy")


def test_a_crash_at_any_write_leaves_a_run_that_goes_on(tmp_path, monkeypatch, at_once):
    large = make_runfile(LARGE)
    written = RunDirectory.write_text
    for crash in itertools.count(1):
        folder = tmp_path / str(crash)
        small = run(make_runfile(SMALL), folder)
        calls = itertools.count(1)

        def write(self, name, text, *, calls=calls, crash=crash):
            if next(calls) == crash:
                raise KeyboardInterrupt
            return written(self, name, text)

        with monkeypatch.context() as patched:
            patched.setattr(RunDirectory, "write_text", write)
            try:
                run(large, folder, extend=True)
            except KeyboardInterrupt:
                interrupted = True
            else:
                interrupted = False
        left = RunDirectory.open(folder)
        assert left.runfile in (small.runfile, large)
        assert len(list(left.records())) >= 3
        # What the folder still holds is no part of its history.
        assert left.runfile.digest not in {entry["digest"] for entry in left.history()}
        grown = run(large, folder, extend=True)
        assert [entry["digest"] for entry in grown.history()] == [small.runfile.digest]
        assert told(grown) == told(at_once)
        if not interrupted:
            break
    assert crash > 3


def test_a_process_that_is_killed_while_it_extends_loses_nothing(small, at_once):
    script = f"""
import os
from pathlib import Path
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
extend = RunDirectory.extend
def then_die(self, runfile):
    extend(self, runfile)
    os._exit(9)
RunDirectory.extend = then_die
run(make_runfile({LARGE!r}), Path({str(small.path)!r}), extend=True)
"""
    before = lines(small.path)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert RunDirectory.open(small.path).runfile == at_once.runfile
    assert lines(small.path) == before
    assert told(run(at_once.runfile, small.path)) == told(at_once)


def test_an_evaluation_extends_the_run_of_another(tmp_path):
    asked = {"tasks": TASK, "decoders": "random:k=3", "out": tmp_path / "run", "extend": True}
    first = evaluate(**asked, samples=2)
    grown = evaluate(**asked, samples=4)
    assert [record.index for record in grown.records] == [0, 1, 2, 3]
    assert list(grown.records[:2]) == list(first.records)
    with pytest.raises(RunFileError, match="say which as out=FOLDER"):
        evaluate(**{**asked, "out": None})


def test_a_spoilt_history_is_told_with_the_way_out(small):
    (small.path / "history.json").write_text("[1")
    with pytest.raises(Exception, match=r"history\.json was altered.*delete it"):
        small.history()
