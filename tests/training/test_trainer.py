"""A training: it learns, goes on as if never stopped, and stops before it does harm."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from parallelbench import evaluate
from parallelbench.errors import (
    CanvasError,
    CheckpointError,
    FieldError,
    RunFileError,
    StorageError,
)
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
from parallelbench.prompt import build_prompt
from parallelbench.training import AdamW, Base, Muon, Scratch, train, trainer
from parallelbench.training.data import training_rng
from support import checkpoints

WEIGHTS = "model.safetensors"
STATE = "training_state.pt"


class Cut(Exception):  # noqa: N818  a power cut is no error
    """The power goes."""


def cut_at(step):
    def progress(told):
        if told.step == step and told.entry is not None:
            raise Cut

    return progress


def log_of(folder):
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def same(first, second, name=WEIGHTS):
    ours, theirs = load_file(first / name), load_file(second / name)
    return ours.keys() == theirs.keys() and all(
        torch.equal(tensor, theirs[key]) for key, tensor in ours.items()
    )


def test_a_small_network_learns_to_roll_dice(small, tmp_path):
    plan = small(
        steps=150,
        batch_size=32,
        start=Scratch(hidden=32, layers=1, heads=2, feed_forward=64),
        optimizer=Muon(learning_rate=1e-2),
    )
    folder = train(plan, tmp_path / "out", log_every=25, device="cpu")
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    ((_, first),) = entries[0]["tasks"].items()
    ((_, last),) = entries[-1]["tasks"].items()
    assert last["floor"] == pytest.approx(5.375, abs=1e-3)  # 3 log 6
    assert first["loss"] > 10
    assert last["floor"] - 0.3 < last["loss"] < 6.2
    evaluation = evaluate(model=f"hf:{folder}:device=cpu", tasks=plan.tasks, samples=20)
    assert evaluation.results[0].accuracy >= 0.9


def test_the_folder_holds_the_checkpoint_and_how_it_came_about(small, tmp_path):
    folder = train(small(), tmp_path / "out", log_every=2, device="cpu")
    names = {path.name for path in folder.iterdir()}
    assert {WEIGHTS, "config.json", "tokenizer.json", "training.json", "log.jsonl"} <= names
    assert {"loss.svg", "loss.png"} <= names
    assert not any(name.startswith(".") or name == STATE for name in names)
    record = json.loads((folder / "training.json").read_text())
    assert record["plan"] == small().frozen()
    assert record["step"] == 6
    assert record["samples"] == 24
    assert record["seconds"] >= 0
    assert record["environments"][0]["packages"]["torch"] == torch.__version__
    load_checkpoint(CheckpointRequest(path=str(folder), device="cpu"))


def test_the_log_tells_each_task_with_its_floor(small, tmp_path):
    plan = small(tasks=f"{small().tasks},choices/city:canvas_length=8,shots=0")
    folder = train(plan, tmp_path / "out", log_every=3, device="cpu")
    first, second = log_of(folder)
    assert (first["step"], second["step"]) == (3, 6)
    assert (first["samples"], second["samples"]) == (12, 24)
    assert sum(each["samples"] for each in second["tasks"].values()) == 12
    mean = sum(each["loss"] * each["samples"] for each in second["tasks"].values()) / 12
    assert second["loss"] == pytest.approx(mean)
    assert sorted(round(each["floor"], 2) for each in second["tasks"].values()) == [1.39, 5.38]
    assert set(second) == {
        "step",
        "samples",
        "loss",
        "tasks",
        "learning_rate",
        "gradient_norm",
        "seconds",
    }


STARTS = {
    "scratch": lambda _: Scratch(hidden=32, layers=1, heads=2, feed_forward=48),
    "whole": lambda base: Base(model=f"hf:{base}"),
    "adapter": lambda base: Base(model=f"hf:{base}", lora=2),
}


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("optimizer", [Muon(), AdamW()], ids=["muon", "adamw"])
def test_a_training_that_was_cut_off_ends_with_the_same_bits(kind, optimizer, small, tmp_path):
    base = checkpoints.write_checkpoint("llada", tmp_path / "base")
    plan = small(start=STARTS[kind](base), optimizer=optimizer)
    options = {"log_every": 2, "save_every": 2, "device": "cpu"}
    whole = train(plan, tmp_path / "whole", **options)
    with pytest.raises(Cut):  # step 4 is logged, but not saved
        train(plan, tmp_path / "cut", progress=cut_at(4), **options)
    assert torch.load(tmp_path / "cut" / STATE, weights_only=True)["step"] == 2
    cut = train(plan, tmp_path / "cut", **options)
    name = "adapter_model.safetensors" if kind == "adapter" else WEIGHTS
    assert same(whole, cut, name)
    assert log_of(whole) == log_of(cut)
    assert len(json.loads((cut / "training.json").read_text())["environments"]) == 2


def test_an_open_line_of_the_log_goes_on_too(small, tmp_path):
    whole = train(small(), tmp_path / "whole", log_every=3, save_every=2, device="cpu")
    with pytest.raises(Cut):
        train(
            small(), tmp_path / "cut", log_every=3, save_every=2, device="cpu", progress=cut_at(3)
        )
    cut = train(small(), tmp_path / "cut", log_every=3, save_every=2, device="cpu")
    assert log_of(whole) == log_of(cut)
    assert same(whole, cut)


def test_how_often_it_is_saved_changes_no_bit(small, tmp_path):
    often = train(small(), tmp_path / "often", log_every=1, save_every=1, device="cpu")
    seldom = train(small(), tmp_path / "seldom", log_every=6, save_every=6, device="cpu")
    assert same(often, seldom)


def test_what_is_saved_is_the_average(small, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Cut):
        train(small(), out, log_every=1, save_every=2, device="cpu", progress=cut_at(3))
    state = torch.load(out / STATE, weights_only=True)
    saved = load_file(out / WEIGHTS)["model.transformer.wte.weight"]
    assert torch.equal(saved, state["average"]["model.embed_tokens.weight"])
    assert not torch.equal(saved, state["weights"]["model.embed_tokens.weight"])


def test_a_training_without_its_state_begins_anew(small, tmp_path):
    with pytest.raises(Cut):
        train(
            small(), tmp_path / "cut", log_every=1, save_every=2, device="cpu", progress=cut_at(3)
        )
    (tmp_path / "cut" / STATE).unlink()
    cut = train(small(), tmp_path / "cut", log_every=1, device="cpu")
    assert same(train(small(), tmp_path / "whole", device="cpu"), cut)
    assert [entry["step"] for entry in log_of(cut)] == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_ends_after_the_step_and_saves_it(small, tmp_path):
    def press(told):
        if told.step == 3 and told.entry is not None:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "out", log_every=1, device="cpu", progress=press)
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(tmp_path / "out" / STATE, weights_only=True)["step"] == 3
    load_checkpoint(CheckpointRequest(path=str(tmp_path / "out"), device="cpu"))
    told = []
    cut = train(small(), tmp_path / "out", log_every=1, device="cpu", progress=told.append)
    assert told[0].step == 3
    assert same(cut, train(small(), tmp_path / "whole", device="cpu"))


def test_a_second_ctrl_c_ends_at_once(small, tmp_path):
    def press(*_):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(
            small(),
            tmp_path / "out",
            log_every=1,
            device="cpu",
            progress=lambda told: press() if told.entry else None,
        )
    assert not (tmp_path / "out" / STATE).exists()


def test_a_changed_plan_is_refused_with_the_difference(small, tmp_path):
    train(small(), tmp_path / "out", device="cpu")
    with pytest.raises(RunFileError, match="another training: requested seed 1 instead of 0"):
        train(small(seed=1), tmp_path / "out", device="cpu")


def test_a_finished_training_does_nothing(small, tmp_path):
    folder = train(small(), tmp_path / "out", device="cpu")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    told = []
    train(small(), folder, device="cpu", progress=told.append)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert [(each.step, each.entry) for each in told] == [(6, None)]


def spoilt_at(step, monkeypatch, spoil):
    """Spoil the losses of one step."""
    true, calls = trainer.masked_losses, []

    def losses(*arguments):
        calls.append(None)
        found = true(*arguments)
        return spoil(found) if len(calls) == step else found

    monkeypatch.setattr(trainer, "masked_losses", losses)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    value, small, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    good = train(small(), tmp_path / "good", device="cpu", save_every=2, log_every=2)
    spoilt_at(5, monkeypatch, lambda losses: losses + value)
    with pytest.raises(CheckpointError, match=r"step 5: the loss became .*step 4 is kept"):
        train(small(), out, device="cpu", save_every=2, log_every=2)
    monkeypatch.undo()
    load_checkpoint(CheckpointRequest(path=str(out), device="cpu"))
    assert same(good, train(small(), out, device="cpu", save_every=2, log_every=2))


def test_a_gradient_that_is_no_number_stops_too(small, tmp_path, monkeypatch):
    # The square root of nothing has a value, and an infinite slope.
    spoilt_at(2, monkeypatch, lambda losses: losses + (losses - losses.detach()).abs().sqrt())
    with pytest.raises(CheckpointError, match=r"step 2: the gradient became .*no checkpoint"):
        train(small(), tmp_path / "out", device="cpu")


def test_weights_that_are_no_numbers_are_not_saved(small, tmp_path, monkeypatch):
    rates = iter([1e-3, 1e-3, 1e-3, float("inf")])
    true = trainer.set_rate
    monkeypatch.setattr(trainer, "set_rate", lambda optimizers, _: true(optimizers, next(rates)))
    plan = small(optimizer=AdamW(weight_decay=0.0))
    with pytest.raises(CheckpointError, match=r"step 4: the weights became .*step 2 is kept"):
        train(plan, tmp_path / "out", device="cpu", save_every=2)
    held = load_file(tmp_path / "out" / WEIGHTS)
    assert all(bool(tensor.isfinite().all()) for tensor in held.values())


def test_a_canvas_shorter_than_an_answer_stops_before_the_first_step(small, tmp_path):
    told = []
    plan = small(tasks="waiting_line/copy:canvas_length=18")
    with pytest.raises(CanvasError, match="canvas_length"):
        train(plan, tmp_path / "out", device="cpu", progress=told.append)
    assert not told


def test_a_folder_of_something_else_is_not_written_into(small, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear Ada")
    with pytest.raises(StorageError, match="not empty"):
        train(small(), tmp_path, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_damaged_state_is_told(small, tmp_path):
    with pytest.raises(Cut):
        train(
            small(), tmp_path / "out", device="cpu", save_every=1, log_every=1, progress=cut_at(3)
        )
    (tmp_path / "out" / STATE).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="damaged"):
        train(small(), tmp_path / "out", device="cpu")


def test_a_base_that_was_changed_is_refused(small, tmp_path):
    base = checkpoints.write_checkpoint("llada", tmp_path / "base")
    plan = small(start=Base(model=f"hf:{base}", lora=2), optimizer=AdamW())
    with pytest.raises(Cut):
        train(plan, tmp_path / "out", device="cpu", save_every=1, log_every=1, progress=cut_at(3))
    checkpoints.write_checkpoint("llada", base, seed=1)
    with pytest.raises(CheckpointError, match="other weights than when"):
        train(plan, tmp_path / "out", device="cpu")


@pytest.mark.parametrize("name", ["log_every", "save_every"])
def test_intervals_are_at_least_one_step(name, small, tmp_path):
    with pytest.raises(FieldError, match=f"{name} must be at least 1"):
        train(small(), tmp_path / "out", **{name: 0})


def test_bfloat16_is_near_float32(small, tmp_path):
    plain = train(small(), tmp_path / "plain", device="cpu", log_every=6)
    low = train(small(precision="bfloat16"), tmp_path / "low", device="cpu", log_every=6)
    (ours,), (theirs,) = log_of(plain), log_of(low)
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=0.05)
    assert theirs["loss"] != ours["loss"]
    assert replace(small(), precision="bfloat16").frozen()["precision"] == "bfloat16"


def test_a_step_in_several_batches_is_the_step_in_one(small, tmp_path, monkeypatch):
    plan = small(tasks="choices/dice:rolls=3,canvas_length=8|32,shots=0|1", batch_size=8)
    train(plan, tmp_path / "several", log_every=2, device="cpu")
    monkeypatch.setattr(trainer, "group_by_length", lambda drawn: [list(range(len(drawn)))])
    train(plan, tmp_path / "one", log_every=2, device="cpu")
    several, one = (log_of(tmp_path / name) for name in ("several", "one"))
    assert [each["loss"] for each in several] == pytest.approx([each["loss"] for each in one], 1e-4)
    assert [each["gradient_norm"] for each in several] == pytest.approx(
        [each["gradient_norm"] for each in one], rel=1e-3
    )


def test_a_network_that_reads_only_the_last_message_is_not_shown_the_example(small, tmp_path):
    tasks = "choices/dice:rolls=3,canvas_length=8,shots=0|1"
    size = {"hidden": 32, "layers": 1, "heads": 2, "feed_forward": 48}
    for last_message in (False, True):
        plan = small(tasks=tasks, start=Scratch(**size, last_message=last_message), steps=1)
        folder = train(plan, tmp_path / str(last_message), device="cpu")
        codec = load_checkpoint(CheckpointRequest(path=str(folder), device="cpu")).codec
        built = plan.built
        without, shown = (
            build_prompt(task, task.draw(training_rng(0, task.name, 0), 0), codec).ids.tolist()
            for task in built
        )
        assert (without == shown) is last_message
        assert shown[-len(without) :] == without


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
# torch compiles through a module of its own that it calls deprecated.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_network_is_trained_alike(small, tmp_path):
    plan = small(optimizer=AdamW())
    train(plan, tmp_path / "plain", log_every=2, device="cpu")
    train(plan, tmp_path / "compiled", log_every=2, device="cpu", compile=True)
    plain, compiled = (load_file(tmp_path / name / WEIGHTS) for name in ("plain", "compiled"))
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, atol=1e-4, rtol=1e-3)


def test_without_a_compiler_there_is_nothing_to_compile_with(small, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(FieldError, match="compile needs the C\\+\\+ compiler 'no-such-compiler'"):
        train(small(), tmp_path / "out", device="cpu", compile=True)
