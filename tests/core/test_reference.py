"""The reference loop that speed is measured against decodes what ours does."""

import pytest
import torch
import yaml

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS
from parallelbench.models.hf import HuggingFace
from parallelbench.registry import load_plugins
from parallelbench.run.runfile import EMBEDDED
from parallelbench.setting import build, parse_settings
from reference import Rule, decode_plainly, schedule
from support import checkpoints
from support.toys import prompts

load_plugins()

SWEEP = [
    setting
    for text in yaml.safe_load(EMBEDDED["sweep"].read_text())["decoders"]
    for setting in parse_settings(text, DECODERS)
]
BY_THE_PAPER = parse_settings("confidence_factor:factor=0.7|1.0|1.3|1.6|1.9", DECODERS)
FIXED = [setting for setting in [*SWEEP, *BY_THE_PAPER] if setting.name != "random"]
RANDOM = [setting for setting in SWEEP if setting.name == "random"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = checkpoints.write_checkpoint("llada", tmp_path_factory.mktemp("reference"))
    return HuggingFace(path=str(folder)).open()


@pytest.fixture(scope="module")
def held(model):
    # LLaDA's schedule is that of a fixed k where k divides the canvas.
    return prompts(model.codec, 2, canvas_length=16)


def by_us(model, held, settings):
    jobs = [
        Job(prompt, build(setting, DECODERS), key=f"{number}/{setting.key}")
        for setting in settings
        for number, prompt in enumerate(held)
    ]
    done = {each.job.key: each for each in decode(jobs, model)}
    return [(done[job.key].output_ids, done[job.key].trace.nfe) for job in jobs]


def plainly(model, held, settings, **options):
    return [
        tuple(decode_plainly(model.network, prompt, Rule.of(setting), **options))
        for setting in settings
        for prompt in held
    ]


def test_every_deterministic_setting_of_the_sweep_writes_the_same_tokens_in_as_many_calls(
    model, held
):
    assert len(FIXED) == 34
    assert plainly(model, held, FIXED) == by_us(model, held, FIXED)


def test_random_orders_take_as_many_calls(model, held):
    plain = plainly(model, held, RANDOM, generator=torch.Generator().manual_seed(0))
    assert [calls for _, calls in plain] == [calls for _, calls in by_us(model, held, RANDOM)]


def test_random_orders_are_those_of_the_generator(model, held):
    once, again, other = (
        plainly(model, held, RANDOM[:1], generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert once == again != other


@pytest.mark.parametrize(
    ("tokens", "steps", "each"),
    [(32, 32, [1] * 32), (32, 4, [8] * 4), (10, 4, [3, 3, 2, 2]), (3, 1, [3])],
)
def test_the_schedule_spreads_tokens_evenly_with_the_larger_steps_first(tokens, steps, each):
    assert schedule(tokens, steps) == each


@pytest.mark.parametrize(
    "text", ["entropy_bound", "confidence:block_length=4", "random:k=2,temperature=1"]
)
def test_what_it_has_no_rule_for_is_refused(text):
    (setting,) = parse_settings(text, DECODERS)
    with pytest.raises(ValueError, match="no rule"):
        Rule.of(setting)
