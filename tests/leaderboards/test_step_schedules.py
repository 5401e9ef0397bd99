"""Strategies with a schedule: no model changes their steps, and none only claims to have one."""

import pytest
import torch

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS, STATISTICS, STEPS_PER_TOKEN
from parallelbench.decoders.remdm import Remdm
from parallelbench.decoders.remdm_llada import RemdmLlada
from parallelbench.errors import RequestError
from parallelbench.leaderboards.verify.step_schedule import (
    StepSchedule,
    StepSchedules,
    schedule_of,
    writes_of,
)
from parallelbench.registry import load_plugins
from parallelbench.setting import build, parse_settings
from support.landscapes import CODEC, Landscape, prompt_of

load_plugins()
torch.set_num_threads(1)

WORD = CODEC.encode(["red"])[0][0]
#: Canvases of all open places, of some that are given, and of hardly any.
CANVASES = ([None] * 14, [None, WORD, WORD, None, None, WORD, *[None] * 3], [WORD, None, WORD])
#: Rugged, and nearly even.
MODELS = [Landscape(2, 3.0, 1.0), Landscape(3, 0.1, 0.1)]
#: Beside the defaults and grids: every other way in which a schedule is told.
MORE = [
    "ass:floor=1.0,block_length=5",
    "confidence:k=1000000000",
    "dsb:strategy=confidence(k=2)|random(k=2)|left_to_right(k=3),length=3",
    "dream:algorithm=maskgit_plus|entropy,steps=3|100000",
    "dream:algorithm=topk_margin,steps=7,alg_temp=0.5",
    "dream:schedule=exact,algorithm=entropy,steps=5",
    "dream:steps=100000",
    "dus:base=3|1000000000,block_length=6",
    "dus:skip_below=0.4|1.0",
    "eoser:steps=100000",
    "left_to_right:k=1000000000",
    "llada:score=random|margin|entropy,steps=3|100000",
    "rcr:k=3|1000000000,block_length=6",
    "remdm:schedule=cap|rescale|conf|loop,steps=4|100000",
    "remdm:schedule=cap|loop,block_length=6",
    "remdm:temperature=0",
    "remdm_llada:k=3|1000000000,revisions=2,reopened=2",
    "remdm_llada:revisions=1000000000,reopened=1000000000",
    "remdm_llada:revisions=0,block_length=6",
]


def scheduled():
    """Settings that say that predictions do not change their calls, by the name of a strategy."""
    texts = [*DECODERS, *(f"{name}:temperature=0.7" for name in DECODERS), *MORE]
    found = {}
    for text in texts:
        try:
            settings = parse_settings(text, DECODERS)
        except RequestError:  # its tokens are not drawn
            continue
        for each in settings:
            decoder = build(each, DECODERS)
            reads = decoder.needs <= STATISTICS - {"answers"}
            if decoder.scheduled and reads:
                found.setdefault(each.name, {})[each.label] = decoder
    return found


SCHEDULED = scheduled()


def test_the_strategies_with_a_schedule_are_known():
    assert SCHEDULED.keys() == {
        *("ass", "confidence", "dream", "dsb", "dus", "entropy", "eoser", "left_to_right", "llada"),
        *("margin", "one_by_one", "random", "rcr", "remdm", "remdm_llada"),
    }


@pytest.mark.parametrize("name", SCHEDULED)
def test_no_model_changes_the_steps_of_a_strategy_with_a_schedule(name):
    prompts = [prompt_of(canvas) for canvas in CANVASES]
    jobs = [
        Job(prompt, decoder, f"{number}", tag=number)
        for decoder in SCHEDULED[name].values()
        for number, prompt in enumerate(prompts)
    ]
    schedules = {}
    for model in MODELS:
        for outcome in decode(jobs, model):
            prompt, decoder = outcome.job.prompt, outcome.job.decoder
            if outcome.job not in schedules:
                schedules[outcome.job] = schedule_of(prompt, decoder, outcome.job.key, None)
            schedule = schedules[outcome.job]
            found = StepSchedule.of(outcome.trace, writes_of(outcome.trace, prompt), prompt)
            assert outcome.status == "ok"
            assert (found.rows, found.tokens) == (schedule.rows, schedule.tokens), decoder
            assert schedule.writes == (None if decoder.adaptive else found.writes), decoder


@pytest.mark.parametrize(
    "decoder",
    [Remdm(steps=100_000), Remdm(steps=100_000, schedule="loop"), RemdmLlada(revisions=10**9)],
)
def test_a_giant_schedule_takes_no_more_calls_than_the_loop_allows(decoder):
    prompt = prompt_of([None] * 5)
    (outcome,) = decode([Job(prompt, decoder, "0")], MODELS[0])
    assert outcome.status == "ok"
    assert outcome.counts.nfe == STEPS_PER_TOKEN * 5
    assert len(schedule_of(prompt, decoder, "0", None).rows) == STEPS_PER_TOKEN * 5


def test_a_window_that_reaches_no_further_than_it_was_written_has_no_schedule():
    """With k=2 in three places: how many of them are left depends on which are written."""
    (setting,) = parse_settings("dsb:strategy=confidence(k=2),length=3,longest=3", DECODERS)
    decoder, prompt = build(setting, DECODERS), prompt_of(CANVASES[0])
    jobs = [Job(prompt, decoder, "0")]
    calls = {next(decode(jobs, model)).counts.nfe for model in (*MODELS, Landscape(5))}
    assert len(calls) > 1
    assert decoder.adaptive
    assert not decoder.scheduled


def test_a_schedule_that_random_numbers_fill_is_looked_at_decode_by_decode():
    (setting,) = parse_settings("dream:steps=4", DECODERS)
    decoder, schedules, prompt = build(setting, DECODERS), StepSchedules(), prompt_of([None] * 20)
    found = [schedules.find(prompt, decoder, ("", ""), str(key), None).writes for key in range(5)]
    assert len({tuple(writes) for writes in found}) == 5
