"""Trackers: what they are told, and that a run does not depend on them."""

import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from parallelbench import evaluate
from parallelbench.cli.program import main
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.tracking import metrics_of

DOCS = Path(__file__).parents[2] / "docs"
SMALL = ("--tasks", "choices/city", "--decoders", "random:k=4,label", "--samples", "3")
KEPT = """
import json
from parallelbench.run.tracking import Tracker

class Kept(Tracker):
    def __init__(self, project, config):
        print("I must not stand among the results")
        self.write(["start", project, config])
        if project == "no-start":
            raise OSError("no key is configured")

    def write(self, what):
        with open("kept.jsonl", "a") as file:
            file.write(json.dumps(what) + "\\n")

    def log(self, metrics, step):
        print("nor I")
        self.write(["log", step, metrics])

    def finish(self):
        self.write(["finish"])

class Failing(Kept):
    def log(self, metrics, step):
        raise ValueError("the server is gone")
"""


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command where a package with two trackers is installed."""
    site = tmp_path / "site"
    info = site / "kept_tracker-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "kept_tracker.py").write_text(KEPT)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kept-tracker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[parallelbench.trackers]\nkept = kept_tracker:Kept\nfailing = kept_tracker:Failing\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        status = main(["run", *SMALL, "--out", "run", *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield run
    sys.modules.pop("kept_tracker", None)


def kept(tmp_path):
    return [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]


def test_a_tracker_is_told_configuration_progress_and_results(call, tmp_path):
    status, output, _ = call("--track", "kept:mine", "--json")
    assert status == 0
    (started, *logs, ended) = kept(tmp_path)
    run = RunDirectory.open(tmp_path / "run")
    assert started == ["start", "mine", {**run.runfile.frozen(), "run_digest": run.runfile.digest}]
    assert ended == ["finish"]
    assert logs[0] == ["log", 0, {"decodes": 0.0}]
    _, step, metrics = logs[-1]
    assert step == metrics["decodes"] == 6
    (result, oracle) = json.loads(output)
    name = "ideal | choices/city | random:k=4"
    assert metrics[f"{name}/accuracy"] == result["accuracy"]
    assert [metrics[f"{name}/accuracy_{end}"] for end in ("low", "high")] == result["interval"]
    assert metrics["oracle ideal | choices/city | label/accuracy"] == oracle["accuracy"]


def test_a_run_without_the_option_tells_nobody(call, tmp_path):
    assert call()[0] == 0
    assert not (tmp_path / "kept.jsonl").exists()


def test_a_tracker_that_fails_is_told_of_once_and_the_run_goes_on(call, tmp_path):
    status, output, errors = call("--track", "failing", "--track", "kept", "--json")
    assert status == 0
    assert len(json.loads(output)) == 2
    assert errors.count("the server is gone") == 1
    assert "tracker 'failing' failed and is told no more; the run goes on" in errors
    assert len(list(RunDirectory.open(tmp_path / "run").records())) == 6
    # The other one was told to the end.
    assert kept(tmp_path)[-1] == ["finish"]
    assert kept(tmp_path)[-2][1] == 6


def test_a_tracker_that_cannot_start_stops_a_run_before_it_begins(call, tmp_path):
    status, output, errors = call("--track", "kept:no-start")
    assert (status, output) == (2, "")
    assert "cannot start, so nothing was run" in errors
    assert "no key is configured" in errors
    # One that stood before it is closed.
    assert call("--track", "kept", "--track", "kept:no-start")[0] == 2
    assert kept(tmp_path)[-1] == ["finish"]
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused_with_the_nearest_name(call, tmp_path):
    status, _, errors = call("--track", "wnadb:mine")
    assert status == 2
    assert "no tracker is called 'wnadb'; did you mean 'wandb'?" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(call, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    status, _, errors = call("--track", name)
    assert status == 2
    assert f"pip install 'parallelbench[{name}]'" in errors


def test_what_was_not_measured_is_absent():
    done = evaluate(tasks="choices/city", decoders="one_by_one", samples=1)
    (result,) = done.results
    broken = type(result)(
        **{
            **{name: getattr(result, name) for name in result.__dataclass_fields__},
            "accuracy": None,
            "interval": None,
            "tokens_per_step": None,
            "samples": 0,
            "statuses": {"error": 1},
        }
    )
    name = "ideal | choices/city | one_by_one"
    assert metrics_of([broken]) == {f"{name}/samples": 0.0, f"{name}/errors": 1.0}


def test_the_tracker_of_the_documentation_is_one(capsys):
    text = (DOCS / "exports.md").read_text(encoding="utf-8")
    block = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)[-1]
    space = {}
    exec(compile(block, "exports.md", "exec"), space)  # noqa: S102  our own documentation
    tracker = space["start"]("mine", {"run_digest": "abc"})
    tracker.log({"decodes": 1.0}, 1)
    tracker.finish()
    assert capsys.readouterr().out.splitlines() == ["mine abc", "1 {'decodes': 1.0}", "done"]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_the_library_itself_keeps_a_run_without_a_network(name, tmp_path):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; wandb is too large to be installed for one test")
    environment = {
        **os.environ,
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "kept"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "parallelbench", "run", *SMALL, "--out", "run", "--json"]
    done = subprocess.run(
        [*command, "--track", f"{name}:mine"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)) == 2
    assert "failed and is told no more" not in done.stderr
    if name == "wandb":
        (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
        assert b"choices/city" in file.read_bytes()
        return
    with sqlite3.connect(tmp_path / "kept" / "mine.db") as store:
        rows = "".join(map(str, store.execute("select * from metrics").fetchall()))
    store.close()
    assert "ideal | choices/city | random:k=4/accuracy_low" in rows
