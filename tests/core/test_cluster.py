"""Workers of a Ray cluster: the same records as one process, whoever dies on the way."""

import itertools
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from parallelbench import evaluate
from parallelbench.cli.program import main
from parallelbench.decoder import DECODERS
from parallelbench.errors import CanvasError, RunFileError, WorkersError
from parallelbench.model import MODELS
from parallelbench.run import cluster
from parallelbench.run.cluster import on_ray
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import execute, run
from parallelbench.run.shard import Shard
from parallelbench.task import TASKS
from support.servers import Scripted, says

ONE, TWO = on_ray(workers=1), on_ray(workers=2)


@pytest.fixture(scope="module")
def two_cores(tmp_path_factory):
    """A local Ray of two cores, whose workers know a plugin that kills them."""
    ray = pytest.importorskip("ray")
    place = tmp_path_factory.mktemp("plugin")
    distribution = place / "fragile-0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: fragile\nVersion: 0\n")
    (distribution / "entry_points.txt").write_text(
        "[parallelbench.plugins]\nfragile = support.fragile\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{Path(__file__).parents[1]}{os.pathsep}{place}")
        patch.setenv("FRAGILE", str(place / "alive"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            log_to_driver=False,
            configure_logging=False,
        )
        from support import fragile

        yield place / "alive"
        ray.shutdown()
        for registry in (DECODERS, MODELS, TASKS):
            del registry._entries["fragile"]
        del fragile


def plan(**changes):
    small = {
        "models": "ideal",
        "tasks": "list_operations/shuffle:form=infill,length=4",
        "decoders": "random:k=2",
        "samples": 3,
    }
    return make_runfile({**small, **changes})


SEVERAL = {
    "tasks": ["choices/city,choices/dice", "waiting_line/*_random"],
    "decoders": "confidence:k=1|2,random:temperature=1",
    "samples": 8,
}


def told(records):
    """Every record by its key, without the one thing that a clock decides."""
    by_key = {}
    for record in records:
        assert record.key not in by_key, f"{record.key} is recorded twice"
        by_key[record.key] = record.model_dump(exclude={"seconds"})
    return by_key


@pytest.fixture(scope="module")
def alone():
    return told(execute(plan(**SEVERAL)))


def workers():
    """The worker processes that this process started by way of Ray."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            commands[int(folder.name)] = (folder / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(folder.name)] = int(status.partition("PPid:")[2].split()[0])
    return [
        process
        for process, command in commands.items()
        if command.startswith("ray::RayWorker") and parents.get(parents[process]) == os.getpid()
    ]


def nobody_is_left():
    """Whether every worker ends, for which Ray takes a moment."""
    deadline = time.monotonic() + 20
    while workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not workers()


def test_a_notebook_shares_an_evaluation_among_workers(two_cores, alone):
    assert told(evaluate(**SEVERAL, executor=TWO).records) == alone
    assert nobody_is_left()


def test_two_workers_make_the_records_of_one_process(two_cores, alone, tmp_path):
    asked = plan(**SEVERAL)
    begun = RunDirectory.begin(tmp_path, asked)
    with begun.appending() as writer:
        for record in itertools.islice(execute(asked), 25):
            writer.append(record)
    seen = []
    directory = run(asked, tmp_path, executor=TWO, batch_size=24, progress=seen.append)
    assert told(directory.records()) == alone
    assert [reached.recorded for reached in seen] == list(range(25, asked.decodes + 1))
    (start,) = directory.environments()
    assert (start["executor"], start["workers"], start["workers_lost"]) == ("ray", 2, 0)
    assert [each["count"] for each in start["workers_started"]] == [2]
    assert start["rows_asked"] == sum(
        record.decoding.counts.rows for record in list(directory.records())[25:]
    )
    assert 0 < start["shared_calls"] == start["rows_asked"] - start["rows_sent"]
    (span,) = start["decoding"]
    assert (span["decodes"], span["rows"]) == (asked.decodes - 25, start["rows_sent"])
    assert 0 < span["calls"] <= span["rows"]
    assert 0 < span["call_seconds"] < 2 * span["seconds"]
    assert str(tmp_path) not in (tmp_path / "records-0.jsonl").read_text()


def test_what_a_killed_worker_had_in_hand_is_done_once_more(two_cores, alone, tmp_path):
    killed = []

    def kill_one(reached):
        if reached.recorded >= 20 and not killed:
            killed.append(max(workers()))
            os.kill(killed[0], signal.SIGKILL)

    asked = plan(**SEVERAL)
    directory = run(asked, tmp_path, executor=TWO, batch_size=24, progress=kill_one)
    assert told(directory.records()) == alone
    (start,) = directory.environments()
    assert (start["workers"], start["workers_lost"]) == (2, 1)
    assert nobody_is_left()


def test_samples_that_kill_every_worker_end_the_run_and_the_rest_is_kept(two_cores, tmp_path):
    asked = plan(decoders="fragile,random:k=2", samples=8)
    two_cores.touch()
    try:
        with pytest.raises(WorkersError) as caught:
            run(asked, tmp_path, executor=TWO, batch_size=4)
    finally:
        two_cores.unlink()
    assert str(caught.value).startswith(
        "3 workers died over ideal on sample 2 of list_operations/shuffle:form=infill,length=4, "
    )
    assert "is recorded, and the same command goes on from there" in str(caught.value)
    assert "a smaller --batch-size" in str(caught.value)
    before = told(RunDirectory.open(tmp_path).records())
    assert {key[2] for key in before} == {0, 1, 3, 4, 5, 6, 7}
    assert len(before) >= asked.decodes - 2
    assert nobody_is_left()
    directory = run(asked, tmp_path, executor=ONE)
    assert told(directory.records()) == told(execute(asked))


def test_a_shard_is_shared_among_workers_too(two_cores, tmp_path):
    asked = plan(samples=9)
    directory = run(asked, tmp_path, shard=Shard(2, 3), executor=ONE)
    expected = {key: value for key, value in told(execute(asked)).items() if 3 <= key[2] < 6}
    assert told(directory.records()) == expected


def test_workers_that_hold_different_weights_are_refused(two_cores, tmp_path):
    sentence = r"worker \d has another 'fragile' than worker \d: digest 0000"
    with pytest.raises(RunFileError, match=sentence):
        run(plan(models="fragile", samples=500), tmp_path, executor=TWO)
    assert nobody_is_left()


def test_workers_that_mark_by_different_releases_of_an_engine_are_refused(two_cores, tmp_path):
    sentence = r"task 'fragile' is marked by \{'colour': 'eye [\d.]+'\} in worker \d, and by"
    with pytest.raises(RunFileError, match=sentence):
        run(plan(tasks="fragile", samples=500), tmp_path, executor=TWO)
    assert nobody_is_left()
    # The second worker may come when the first has begun.
    kept = RunDirectory.open(tmp_path).records() if RunDirectory.holds_run(tmp_path) else ()
    assert len({record.task.engines["colour"] for record in kept}) <= 1


def test_a_run_goes_on_only_where_the_workers_have_its_engines(two_cores, tmp_path):
    asked = plan(tasks="fragile")
    with RunDirectory.begin(tmp_path / "run", asked).appending() as writer:
        writer.append(next(execute(asked)))
    with pytest.raises(RunFileError, match=r"task 'fragile' is marked by .* in this installation"):
        run(asked, tmp_path / "run", executor=ONE)
    assert nobody_is_left()


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        (
            {"models": "fragile:mode=deadly"},
            WorkersError,
            "3 workers died one after the other as they loaded fragile:mode=deadly",
        ),
        ({"tasks": "choices/city:canvas_length=1"}, CanvasError, "but the canvas has 1"),
        ({"models": "fragile:mode=faulty"}, Exception, "ZeroDivisionError: a fault of ours"),
    ],
)
def test_what_a_worker_cannot_begin_leaves_no_trace(two_cores, changes, kind, sentence, tmp_path):
    with pytest.raises(kind, match=sentence):
        run(plan(**changes), tmp_path / "run", executor=ONE)
    assert nobody_is_left()
    assert not (tmp_path / "run").exists()


def test_more_workers_than_cores_are_refused(two_cores, tmp_path):
    with pytest.raises(WorkersError, match="--workers 3: each needs one of the cores, and the"):
        run(plan(), tmp_path / "run", executor=on_ray(workers=3))
    assert not (tmp_path / "run").exists()


# How a cluster is divided, and what is refused before there is one.


@pytest.mark.parametrize(
    ("nodes", "model", "workers", "expected"),
    [
        ([{"CPU": 8}], "ideal", None, (8, 1, 0, 1)),
        ([{"CPU": 8}], "ideal", 3, (3, 2, 0, 2)),
        ([{"CPU": 10}, {"CPU": 6}], "ideal", 2, (2, 6, 0, 6)),
        ([{"CPU": 10}, {"CPU": 2}], "ideal", 2, (2, 5, 0, 5)),
        ([{"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 2}], "mini", None, (4, 0, 1, 4)),
        ([{"CPU": 8, "GPU": 2}], "mini", 1, (1, 0, 1, 8)),
        ([{"CPU": 8, "GPU": 2}], "mini:device=cpu", None, (8, 1, 0, 1)),
        ([{"CPU": 8, "GPU": 2}], "ideal", 2, (2, 4, 0, 4)),
    ],
)
def test_a_cluster_is_divided_by_gpus_or_else_by_cores(
    nodes, model, workers, expected, monkeypatch
):
    ray = pytest.importorskip("ray")
    alive = [{"Alive": True, "Resources": {"memory": 1.0, **node}} for node in nodes]
    gone = {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, gone])
    assert cluster._allocate(plan(models=model), workers) == expected


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Run a command that must be refused in one line and leave nothing; return the line."""
    monkeypatch.chdir(tmp_path)

    def refuse(*options):
        capsys.readouterr()
        status = main(["run", "--tasks", "choices/city", "--samples", "2", *options])
        captured = capsys.readouterr()
        assert (status, captured.out, captured.err.count("\n")) == (2, "", 1), captured.err
        assert not list(tmp_path.iterdir())
        return captured.err

    return refuse


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://127.0.0.1:10001", "a cluster is not used from outside; start the command on one"),
        ("127.0.0.1", "--ray-address is auto or of the form HOST:PORT, such as"),
        ("127.0.0.1:999999", "got '127.0.0.1:999999'"),
    ],
)
def test_an_address_of_another_form_is_refused(refused, address, sentence):
    pytest.importorskip("ray")
    assert sentence in refused("--executor", "ray", "--ray-address", address)


def test_an_address_at_which_nobody_listens_is_refused_at_once(refused):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        line = refused("--executor", "ray", "--ray-address", address)
    assert f"no Ray cluster answers at --ray-address {address}: " in line
    assert "`ray start --head`" in line


def test_an_address_at_which_something_else_listens_is_refused_at_once(refused):
    pytest.importorskip("ray")
    with Scripted(says("I am a model")) as server:
        address = server.url.removeprefix("http://").partition("/")[0]
        line = refused("--executor", "ray", "--ray-address", address)
    assert f"at --ray-address {address}: what listens there is no Ray; is that the" in line


def test_without_ray_the_error_says_what_to_install(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused("--executor", "ray")
    assert "--executor ray needs the package ray: pip install 'parallelbench[ray]'" in line


def test_a_server_is_not_asked_by_many_workers(refused):
    line = refused("--executor", "ray", "--model", "api:http://127.0.0.1:9:model=m")
    assert "decodes elsewhere" in line
    assert "run it without --executor ray" in line


@pytest.mark.parametrize("options", [("--workers", "2"), ("--ray-address", "auto")])
def test_options_of_ray_are_not_ignored_without_it(refused, options):
    assert f"{' '.join(options)} is for --executor ray" in refused(*options)
