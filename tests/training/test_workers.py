"""Training in several processes: the same training, and nobody is left waiting.

Started as a script, this file is one of the two processes that ``pair`` starts.
"""

import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from parallelbench.cli import program as cli
from parallelbench.errors import CheckpointError
from parallelbench.training import AdamW, Base, Muon, Plan, Scratch, train, trainer, workers
from parallelbench.training.workers import Workers

TASKS = "choices/dice:rolls=3,canvas_length=8|20,shots=0|1,template=terse"
SIZE = {"hidden": 32, "layers": 1, "heads": 2, "feed_forward": 48}
WEIGHTS = "model.safetensors"
STATE = "training_state.pt"
SECONDS = 100  # much longer than anything here takes, much shorter than torch waits


def make(**changes):
    # Muon would magnify rounding: it multiplies in bfloat16.
    given = {"tasks": TASKS, "steps": 8, "batch_size": 5, "optimizer": AdamW()}
    return Plan(**{**given, "start": Scratch(**SIZE), **changes})


def make_adapter(base):
    return make(start=Base(model=f"hf:{base}", lora=2), steps=4)


def typed(out, *options):
    sizes = [part for name, size in SIZE.items() for part in (f"--{name.replace('_', '-')}", size)]
    asked = ["train", "--out", out, "--tasks", TASKS, "--batch-size", 5, *sizes]
    return [str(each) for each in (*asked, "--optimizer", "adamw", *options)]


def surroundings(**more):
    # No test may depend on how this machine is named.
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **more}


def start_two(*arguments):
    """Start the same command twice, as a launcher does that would not end the other one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=surroundings(**place, RANK=rank, LOCAL_RANK=rank),
        )
        for rank in ("0", "1")
    ]


def finish(processes):
    """Return exit status, output and errors of each; fail if one is left waiting."""
    try:
        told = [process.communicate(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(processes, told, strict=True)]


def entries(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def check_alike(folder, other, name=WEIGHTS):
    ours, theirs = load_file(folder / name), load_file(other / name)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[key], atol=1e-5, rtol=1e-5)
    for one, two in zip(entries(folder), entries(other), strict=True):
        assert (one["step"], one["samples"]) == (two["step"], two["samples"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-4)
        assert one["tasks"].keys() == two["tasks"].keys()


def processes_of(folder):
    record = json.loads((folder / "training.json").read_text())
    return [each["processes"] for each in record["environments"]]


def test_accelerate_launches_the_same_training(tmp_path):
    launch = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", *launch.split()),
            *("--dynamo_backend", "no", "--main_process_port", "0"),
            *("-m", "parallelbench"),
            *typed(tmp_path / "two", "--steps", 8, "--log-every", 2, "--device", "cpu"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=surroundings(),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("trained: ") == 1
    assert result.stderr.count("training of 8 steps begins in 2 processes") == 1
    assert result.stderr.count("step 8 of 8: ") == 1
    check_alike(train(make(), tmp_path / "one", log_every=2, device="cpu"), tmp_path / "two")
    assert processes_of(tmp_path / "two") == [2]
    assert processes_of(tmp_path / "one") == [1]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return the folder in which two processes acted, and what each of them found."""
    from support import checkpoints

    folder = tmp_path_factory.mktemp("pair")
    checkpoints.write_checkpoint("llada", folder / "base")
    ended = finish(start_two(__file__, str(folder)))
    assert [status for status, *_ in ended] == [0, 0], ended
    return folder, [json.loads(output) for _, output, _ in ended]


def test_both_processes_end_with_the_same_bits(pair):
    _, (first, second) = pair
    assert first["weights"] == second["weights"]
    assert len(set(first["weights"])) == len(first["weights"]) == 3


def test_only_one_process_writes(pair):
    _, (first, second) = pair
    assert first["written"]
    assert not second["written"]


def test_a_process_without_samples_takes_part(pair, tmp_path):
    folder, _ = pair
    check_alike(
        train(make(batch_size=1, optimizer=Muon()), tmp_path, log_every=2, device="cpu"),
        folder / "one sample",
    )


def test_an_adapter_is_trained_and_saved_once(pair, tmp_path):
    folder, _ = pair
    alone = train(make_adapter(folder / "base"), tmp_path, log_every=2, device="cpu")
    check_alike(alone, folder / "adapter", "adapter_model.safetensors")
    assert {path.name for path in alone.iterdir()} == {
        path.name for path in (folder / "adapter").iterdir()
    }


def test_what_one_process_was_told_to_stop_goes_on_in_another_number(pair, tmp_path):
    folder, _ = pair
    assert torch.load(folder / "interrupted" / STATE, weights_only=True)["step"] == 3
    whole = train(make(), tmp_path, log_every=3, device="cpu")
    check_alike(whole, train(make(), folder / "interrupted", log_every=3, device="cpu"))
    assert processes_of(folder / "interrupted") == [2, 1]


def test_what_one_process_left_goes_on_in_two(pair, tmp_path):
    folder, _ = pair
    check_alike(train(make(), tmp_path, log_every=2, device="cpu"), folder / "left")
    assert processes_of(folder / "left") == [1, 2]


FAILURES = {
    # By which process: what it says.
    "loss": (
        1,
        "CheckpointError: training stopped at step 3: the loss became nan; the checkpoint ",
    ),
    "gradient": (0, "CheckpointError: training stopped at step 2: the gradient became nan; no "),
    "storage": (0, "StorageError: "),
    "fault": (1, "ZeroDivisionError: "),
    "another plan": (0, "RunFileError: "),
    "unseen folder": (1, "StorageError: process 1 of 2 does not see what process 0 wrote into "),
    "one device": (0, "FieldError: device must be auto or cpu in a training of 2 processes, got "),
    "no steps": (0, "FieldError: save_every must be at least 1 step"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_in_one_process_ends_both_and_one_tells_it(name, pair):
    _, found = pair
    index, sentence = FAILURES[name]
    assert found[index][name].startswith(sentence)
    other = found[1 - index][name]
    assert (
        other
        == f"EndedElsewhereError: process {index} of 2 ended this training and reports the reason"
    )


def test_a_process_that_is_gone_is_not_waited_for(pair):
    _, (found, _) = pair
    sentence = "CheckpointError: the 2 processes of this training lost each other: "
    assert found["left alone"].startswith(sentence)


def test_no_thread_outlives_what_binds_the_processes(pair):
    # It would abort the process while Python shuts down.
    _, (found, _) = pair
    assert not [name for name in found["threads"] if "gloo" in name]


@pytest.mark.parametrize("name", ["loss", "storage", "fault", "left alone"])
def test_a_failure_keeps_the_last_good_checkpoint(name, pair):
    folder, _ = pair
    assert torch.load(folder / name / STATE, weights_only=True)["step"] == 2
    assert json.loads((folder / name / "training.json").read_text())["step"] == 2


def test_ctrl_c_in_one_process_ends_both_with_one_sentence(pair):
    _, found = pair
    (status, output, told), (other, *silent) = (each["interrupted"] for each in found)
    assert (status, other) == (130, 130)
    assert output == ""
    assert told.splitlines()[-1].endswith("the same command continues from there")
    assert silent == ["", ""]


def test_a_refusal_at_the_beginning_ends_both_with_one_sentence(pair):
    _, found = pair
    (status, output, told), (other, *silent) = (each["other seed"] for each in found)
    assert (status, other) == (2, 2)
    assert output == ""
    assert "contains another training" in told
    assert len(told.splitlines()) == 1
    assert silent == ["", ""]


def test_a_launcher_without_accelerate_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert Workers.launched("auto").count == 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Workers.launched("cuda:1").device == "cuda:1"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CheckpointError, match=r"pip install 'parallelbench\[accelerate\]'"):
        Workers.launched("auto")


def test_processes_that_cannot_find_each_other_are_told_how_to_be_started(monkeypatch):
    from accelerate import PartialState

    # accelerate writes into the last two.
    alone = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    for name, value in {**alone, "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(CheckpointError, match=r"cannot find each other.*accelerate launch"):
        Workers.launched("cpu")
    PartialState._reset_state()


@pytest.mark.parametrize("way", ["FSDP", "DEEPSPEED"])
def test_a_network_in_pieces_is_refused(way, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(f"ACCELERATE_USE_{way}", "true")
    with pytest.raises(CheckpointError, match=f"{way}.*--multi_gpu"):
        Workers.launched("auto")


# From here on: what the two processes of ``pair`` do.


class Attempts:
    """Trainings of one process, and the result of each by name."""

    def __init__(self, folder):
        self.folder = folder
        self.results = {"weights": [], "written": []}

    def attempt(self, name, plan=None, out=None, **changes):
        options = {"device": "cpu", "log_every": 2, "save_every": 2, **changes}
        try:
            train(plan or make(), out or self.folder / name, **options)
        except BaseException as error:  # noqa: BLE001  Ctrl-C is one of them
            self.results[name] = f"{type(error).__name__}: {error}"

    def type_in(self, name, *options, out=None):
        command = typed(out or self.folder / name, *options)
        with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as messages:
            status = cli.main([*command, "--device", "cpu"])
        self.results[name] = [status, output.getvalue(), messages.getvalue()]


def act(folder, index):
    """Train, and fail in many ways; return the result of each attempt."""
    attempts = Attempts(folder)
    found = attempts.results
    note_weights(found["weights"])
    note_files(folder, found["written"])
    workers._AT_ONCE = 1000  # many sums
    attempts.attempt("one sample", make(batch_size=1, optimizer=Muon()))
    attempts.attempt("adapter", make_adapter(folder / "base"))
    if index == 1:
        spoil(3, interrupt)
    attempts.type_in("interrupted", "--steps", 8, "--log-every", 3)
    attempts.type_in("other seed", "--seed", 1, out=folder / "one sample")
    launched = os.environ.pop("WORLD_SIZE")
    if index == 0:
        attempts.attempt("left", progress=at_step(4, fail))
    os.environ["WORLD_SIZE"] = launched
    fail_together(attempts, index)
    torch.distributed.destroy_process_group()
    found["threads"] = [task.read_text() for task in Path("/proc/self/task").glob("*/comm")]
    return found


def fail_together(attempts, index):
    """Fail in one process of two, in every way that the other must notice."""
    attempt, folder = attempts.attempt, attempts.folder
    attempt("left")
    if index == 1:
        spoil(3, lambda losses: losses * float("nan"))
    attempt("loss")
    if index == 1:
        # The square root of nothing has a value, and an infinite slope.
        spoil(2, lambda losses: losses + (losses - losses.detach()).abs().sqrt())
    attempt("gradient")
    if index == 1:
        spoil(3, fail)
    attempt("fault")
    attempt("storage", progress=at_step(4, fill_the_disk))
    resource.setrlimit(resource.RLIMIT_FSIZE, LIMITS)
    attempt("another plan", make(seed=1), folder / "adapter")
    attempt("unseen folder", out=folder / f"seen by {index}")
    attempt("one device", device="cuda:1")
    attempt("no steps", save_every=0)
    if index == 1:
        spoil(3, lambda _: leave(attempts.results))
    attempt("left alone")


LIMITS = resource.getrlimit(resource.RLIMIT_FSIZE)


def fill_the_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, LIMITS[1]))


def interrupt(losses):
    os.kill(os.getpid(), signal.SIGINT)
    return losses


def fail(*_):
    raise ZeroDivisionError


def leave(found):
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


def at_step(step, do):
    return lambda told: do() if told.entry is not None and told.step == step else None


def spoil(step, change):
    """Spoil the losses of the first training from here on that comes to ``step``."""
    accumulate, losses = trainer._Training._accumulate, trainer.masked_losses

    def spoilt(training, *arguments):
        if training.step + 1 < step:
            return accumulate(training, *arguments)
        trainer._Training._accumulate = accumulate
        trainer.masked_losses = lambda *given: change(losses(*given))
        try:
            return accumulate(training, *arguments)
        finally:
            trainer.masked_losses = losses

    trainer._Training._accumulate = spoilt


def note_weights(noted):
    """Note a digest of the weights of every training that comes to its end."""
    go_on = trainer._Training.go_on

    def noting(training, *arguments):
        go_on(training, *arguments)
        whole = torch.cat([each.detach().flatten() for each in training.weights.values()])
        noted.append(hashlib.sha256(whole.numpy().tobytes()).hexdigest())

    trainer._Training.go_on = noting


def note_files(folder, noted):
    """Note every file under ``folder`` that this process opens to write."""

    def hook(event, arguments):
        if event == "open" and str(arguments[0]).startswith(str(folder)):
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR):
                noted.append(str(path))

    sys.addaudithook(hook)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(act(Path(sys.argv[1]), int(os.environ["RANK"]))))
