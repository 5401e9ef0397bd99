"""The conformance checks: every strategy of ours passes, and each fault is found by its check."""

import itertools
import json
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from parallelbench import check_decoder
from parallelbench.cli.program import main
from parallelbench.decoder import DECODERS, Chooser, Decoder, Update
from parallelbench.errors import RequestError, UnknownNameError
from parallelbench.model import Row
from parallelbench.registry import load_plugins
from support.toys import Surest

load_plugins()

TOGETHER = "a sample is decoded the same alone and in a batch, call by call"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checked(monkeypatch):
    """Register a strategy, check it, and return what was found wrong by the name of the check."""

    def check(kind):
        monkeypatch.setitem(DECODERS._entries, "mine", kind)
        found = check_decoder("mine")
        assert found.passed == all(each.problem is None for each in found.checks)
        return {each.name: each.problem for each in found.checks if each.problem}

    return check


def first_of(open_):
    return torch.nn.functional.one_hot(open_.int().argmax(dim=1), open_.shape[1]).bool()


#: Where the defaults take many calls that write nothing.
FEWER = {
    "dream": "dream:steps=4",
    "eoser": "eoser:steps=4",
    "joint_threshold": "joint_threshold:after=2",
    "llada": "llada:steps=4",
}


#: They need what neither of the two models gives.
UNCHECKED = ("demask", "learn2pd", "pc_sampler", "renoise")


@pytest.mark.parametrize("name", UNCHECKED)
def test_a_strategy_that_neither_model_can_serve_is_refused(name):
    with pytest.raises(
        RequestError, match="which neither the ideal model nor an untrained network"
    ):
        check_decoder(name)


@pytest.mark.parametrize("name", sorted({*DECODERS} - {*UNCHECKED}))
def test_every_registered_strategy_keeps_the_contract(name):
    found = check_decoder(FEWER.get(name, name))
    assert found.passed, found.checks
    assert [check.name for check in found.checks] == [
        *("settings", "runs", "writes", "progress", "repeats", "batch", "state"),
        *("deterministic", "fixed", "counts", "replay"),
    ]


def test_a_strategy_that_needs_what_ideal_lacks_is_checked_without_it_and_that_is_said():
    found = check_decoder("wino")
    assert found.models == ("a random transformer",)
    assert found.note == (
        "not checked with ideal, which does not provide attention_mask, positions, unshifted"
    )
    assert check_decoder("one_by_one").models == ("ideal", "a random transformer")
    assert check_decoder("one_by_one").note is None


@dataclass(frozen=True, kw_only=True)
class Idle(Chooser):
    """Commits nothing."""

    def choose(self, step):
        return torch.zeros_like(step.open)


@dataclass(frozen=True, kw_only=True)
class Trespassing(Chooser):
    """Writes everywhere."""

    def choose(self, step):
        return torch.ones_like(step.open)


@dataclass(frozen=True, kw_only=True)
class Masking(Decoder):
    """Writes the mask without saying that it opens positions again."""

    def step(self, state, view, statistics):
        return Update(write=view.open, tokens=torch.full_like(view.canvas, view.mask_id))


@dataclass(frozen=True, kw_only=True)
class Undeclared(Chooser):
    """Reads a statistic that it does not need."""

    def choose(self, step):
        return step.open & (step.entropy >= 0)


@dataclass(frozen=True, kw_only=True)
class Sociable(Chooser):
    """Commits what is sure compared with the whole batch."""

    needs: ClassVar = frozenset({"token", "confidence"})
    adaptive: ClassVar = True

    def choose(self, step):
        confidence = step.confidence.masked_fill(~step.open, -torch.inf)
        return first_of(step.open) | (step.open & (confidence >= confidence.max()))


@dataclass(frozen=True, kw_only=True)
class Remembering(Decoder):
    """Counts its steps in itself, and from the fifth step of its life on writes two positions."""

    adaptive: ClassVar = True

    def __post_init__(self):
        object.__setattr__(self, "steps", itertools.count())

    def step(self, state, view, statistics):
        write = torch.zeros_like(view.open)
        write[view.open.nonzero().flatten()[: 1 + (next(self.steps) >= 5)]] = True
        return Update(write=write, tokens=statistics.token[0])


@dataclass(frozen=True, kw_only=True)
class Global(Chooser):
    """Draws from the generator of torch."""

    def choose(self, step):
        return first_of(step.open) | (step.open & (torch.rand(step.open.shape) < 0.5))


@dataclass(frozen=True, kw_only=True)
class Denying(Chooser):
    """Draws, and says that it does not."""

    needs: ClassVar = frozenset({"token", "uniform"})
    adaptive: ClassVar = True
    deterministic: ClassVar = True

    def choose(self, step):
        return first_of(step.open) | (step.open & (step.uniform < 0.5))


@dataclass(frozen=True, kw_only=True)
class Secretive(Surest):
    """Sends two rows in a call, and says one."""

    def plan(self, state, view):
        return [Row(view.prompt, view.canvas, view.open)] * 2

    def step_batch(self, batch):
        return Decoder.step_batch(self, batch)

    def step(self, state, view, statistics):
        write = first_of(view.open[None])[0]
        return Update(write=write, tokens=statistics.token[0])


@dataclass(frozen=True, kw_only=True)
class Steady(Surest):
    """Follows the predictions, and says that its numbers are fixed."""

    def choose(self, step):
        return super().choose(step) | (step.open & (step.confidence > 0.5))


@dataclass(frozen=True, kw_only=True)
class Scribbling(Decoder):
    """Writes in the canvas that it is shown, and says that it writes nothing."""

    def step(self, state, view, statistics):
        view.canvas[view.open] = statistics.token[0][view.open]
        return Update(write=torch.zeros_like(view.open), tokens=view.canvas)


@dataclass(frozen=True, kw_only=True)
class Misspelled(Surest):
    """Its grid is of a field that it does not have."""

    grid: ClassVar = "k=1|2"


@pytest.mark.parametrize(
    ("kind", "failed", "sentence"),
    [
        (Idle, {"progress"}, "stalled after .* write at least one position in every step"),
        (Trespassing, {"writes"}, "wrote outside the open positions of its window"),
        (Masking, {"writes"}, "wrote an id that is no token"),
        (Undeclared, {"runs"}, "a statistic is None if `needs` does not name it"),
        (Sociable, {"batch"}, "in a batch .* alone; reduce over positions"),
        (
            Remembering,
            {"batch", "repeats", "state"},
            "state belongs to a sample: return it from start",
        ),
        (Global, {"repeats"}, "draw from `statistics.uniform`"),
        (Denying, {"deterministic"}, "with one seed .* with another"),
        (Secretive, {"counts"}, "a call has 2 rows, not 1"),
        (Steady, {"fixed"}, "sets adaptive = True"),
        (Scribbling, {"replay"}, "never in view.canvas"),
        (Misspelled, {"settings"}, "mine:\\* cannot be read: .* no field is called 'k'"),
    ],
)
def test_a_broken_strategy_fails_the_check_of_what_it_breaks(checked, kind, failed, sentence):
    problems = checked(kind)
    assert set(problems) == failed
    assert re.search(sentence, " ".join(problems.values())), problems


def test_a_grid_or_a_wrong_name_is_refused():
    with pytest.raises(RequestError, match="stands for 2 settings; check one at a time"):
        check_decoder("confidence:k=1|2")
    with pytest.raises(UnknownNameError, match="did you mean 'fast-dllm'"):
        check_decoder("fast-dlm")


def test_a_strategy_that_nothing_here_can_serve_is_refused_saying_what_it_needs(monkeypatch):
    headed = type("Headed", (Surest,), {"needs": frozenset({"token", "confidence", "head"})})
    monkeypatch.setitem(DECODERS._entries, "headed", headed)
    with pytest.raises(RequestError, match="'headed' needs head, which neither the ideal model"):
        check_decoder("headed")


def test_the_verb_prints_a_line_for_each_check_and_fails_where_one_does(monkeypatch, capsys):
    assert main(["check-decoder", "confidence:k=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "confidence:k=2, with ideal and a random transformer"
    assert f"  ok      batch: {TOGETHER}" in lines
    assert sum(line.startswith("  ok ") for line in lines) == len(lines) - 1 == 11

    monkeypatch.setitem(DECODERS._entries, "idle", Idle)
    assert main(["check-decoder", "idle"]) == 1
    output = capsys.readouterr().out
    assert "  FAILED  progress: with ideal: stalled after " in output
    assert main(["check-decoder", "idle", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is False
    assert [each["name"] for each in told["checks"] if each["problem"]] == ["progress"]
