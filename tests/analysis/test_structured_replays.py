"""Replays of long decodes: each step shows the bits that it could not know."""

import json

import pytest

from parallelbench.analysis.theory.exact_bits import one_step_bits
from parallelbench.cli.program import main
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.run.recording import draw_sample
from parallelbench.task import TASKS

TASK = "agreement/pronoun"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "long"
    arguments = ["run", "--tasks", TASK, "--decoders", "random:k=128|16,information"]
    assert main([*arguments, "--samples", "1", "--out", str(folder)]) == 0
    return folder


def replayed(run, decoder, capsys):
    capsys.readouterr()
    assert main(["replay", str(run), "--decoder", decoder, "--json"]) == 0
    (replay,) = json.loads(capsys.readouterr().out)
    return replay


def test_a_canvas_of_128_tokens_in_one_step_ignores_the_total_correlation(run, capsys):
    task = TASKS[TASK]()
    prompt = build_prompt(task, draw_sample(task, 0, 0), Ideal().open().codec)
    assert len(prompt.canvas) == 128
    expected = one_step_bits(answer_distribution(prompt), prompt.canvas.numpy())
    (step,) = replayed(run, "random:k=128", capsys)["steps"]
    assert step["bits"] == pytest.approx(expected, abs=1e-6)
    assert expected > 50


def test_every_step_of_a_long_decode_has_its_bits_and_the_answers_left(run, capsys):
    exact, hasty = (
        replayed(run, decoder, capsys) for decoder in ("information:eps=0.0", "random:k=16")
    )
    assert [step["bits"] for step in exact["steps"]] == [0.0, 0.0]
    assert [step["answers"] for step in exact["steps"]][-1] == 1
    assert len(hasty["steps"]) == 8
    assert hasty["steps"][0]["bits"] > 0
    left = [step["answers"] for step in hasty["steps"]]
    assert left == sorted(left, reverse=True)
