"""The verb: what people type, what they are told, and what comes out."""

import os
import signal

import pytest
from click.testing import CliRunner

from parallelbench.cli.actions import train as actions
from parallelbench.cli.train import train
from parallelbench.errors import RequestError
from parallelbench.models.hf import HuggingFace
from parallelbench.training import trainer
from support import checkpoints

DICE = "choices/dice:rolls=3,canvas_length=8,shots=0,template=terse"
TINY = ["--hidden", "32", "--layers", "1", "--heads", "2", "--feed-forward", "48"]
SHORT = ["--steps", "4", "--batch-size", "4", "--log-every", "2", "--device", "cpu"]


def typed(*arguments):
    return CliRunner().invoke(train, [str(each) for each in arguments], catch_exceptions=True)


def test_from_scratch_then_an_adapter_on_top_of_it(tmp_path):
    mine, rolls = tmp_path / "mine", tmp_path / "rolls"
    first = typed("--out", mine, "--tasks", DICE, *TINY, *SHORT)
    assert first.exit_code == 0, first.output
    assert "training of 4 steps begins" in first.stderr
    assert "step 2 of 4: " in first.stderr
    assert "(floor 5.38)" in first.stderr
    assert f"parallelbench run --model hf:{mine}" in first.stdout
    again = typed("--out", mine, "--tasks", DICE, *TINY, *SHORT)
    assert "is complete" in again.stderr
    second = typed("--from", f"hf:{mine}", "--lora", 2, "--tasks", DICE, *SHORT, "--out", rolls)
    assert second.exit_code == 0, second.output
    assert f"hf:{mine}:peft={rolls}" in second.stdout
    HuggingFace(path=str(mine), peft=str(rolls), device="cpu").open()


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch):
    true = trainer.masked_losses

    def losses(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return true(*arguments)

    monkeypatch.setattr(trainer, "masked_losses", losses)
    result = typed("--out", tmp_path / "out", "--tasks", DICE, *TINY, *SHORT)
    assert result.exit_code == 130
    assert "the same command continues from there" in result.stderr
    monkeypatch.undo()
    result = typed("--out", tmp_path / "out", "--tasks", DICE, *TINY, *SHORT)
    assert result.exit_code == 0
    assert "continues after step 1" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--lora", "4"], "name it with --from"),
        (["--from", "hf:x", "--hidden", "64"], "--hidden: the network is that of"),
        (["--weights", "choices/dice"], "not of the form TASK=3"),
        (["--weights", "choices/dice=much"], "not of the form TASK=3"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, sentence, tmp_path):
    result = typed("--out", tmp_path / "out", "--tasks", DICE, *options)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


def test_other_families_are_refused_with_a_sentence(tmp_path):
    base = checkpoints.write_checkpoint("sdar", tmp_path / "sdar")
    result = typed("--out", tmp_path / "out", "--tasks", DICE, "--from", f"hf:{base}", *SHORT)
    assert isinstance(result.exception, RequestError)
    assert "kind block" in str(result.exception)


def test_weights_reach_the_plan(tmp_path, monkeypatch):
    plans = []
    monkeypatch.setattr(actions, "train", lambda plan, *_, **__: plans.append(plan))
    asked = "choices/city:options=2|3"
    typed("--out", tmp_path, "--tasks", asked, "--weights", "choices/city:options=3=3")
    assert plans[0].shares == (0.25, 0.75)
