"""Does a strategy keep its contract?  What the author of one should know before a run does.

A strategy decodes a few samples in several ways that must come to the same: together and
alone, again, after other samples, with other random numbers.  It does so with the exact law
of the right answers, whose predictions tie and are certain, and with a tiny random transformer,
whose predictions are neither; with the blocks that it was given and with short ones.  Strategies
that need what the ideal model lacks are checked with the transformer alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from parallelbench.decode.lanes import WROTE, Job, Outcome
from parallelbench.decode.loop import Tally, decode
from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import RequestError
from parallelbench.model import MODELS, Model
from parallelbench.prompt import Prompt, build_prompt
from parallelbench.registry import load_plugins
from parallelbench.setting import Setting, build, parse_settings
from parallelbench.task import TASKS, sample_rng

#: Free canvases and one that is filled in part, short enough for a check to be quick; and how
#: many samples of each.
_TASKS = {
    "waiting_line/shuffle:length=3,canvas_length=10,shots=0": 2,
    "list_operations/shuffle:form=infill,length=4,shots=0": 1,
}
_SHORT = 3
#: What a random network's matrices are multiplied by, so that every token bears on the others,
#: and those of its output, so that some predictions are sure and others in doubt.
_STIRRED, _SHARPENED = 30.0, 60.0
_POSITIONS = 256

Maker = Callable[[], Decoder]


@dataclass(frozen=True)
class Check:
    """One promise of the contract, and whether it was kept.

    Attributes:
        name: In a word.
        promise: What was checked.
        problem: What was found instead, and how to mend it; None if it was kept.
    """

    name: str
    promise: str
    problem: str | None = None


@dataclass(frozen=True)
class Conformance:
    """What the checks of one strategy gave.

    Attributes:
        decoder: Its label.
        models: With what it was checked.
        note: What could not be checked, and why; None if all was.
        checks: In the order in which they build on each other.
    """

    decoder: str
    models: tuple[str, ...]
    note: str | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return all(check.problem is None for check in self.checks)


def check_decoder(decoder: str) -> Conformance:
    """Return whether a registered strategy keeps the contract of :mod:`parallelbench.decoder`.

    Args:
        decoder: One setting, such as ``"confidence_threshold:threshold=0.8"`` or a preset.

    Raises:
        RequestError: There is no such setting, it stands for several, or it needs what no
            model has that it could be checked with.

    Example:
        >>> from parallelbench import check_decoder
        >>> check_decoder("confidence:k=2").passed
        True
    """
    load_plugins()
    settings = parse_settings(decoder, DECODERS)
    if len(settings) > 1:
        raise RequestError(f"{decoder!r} stands for {len(settings)} settings; check one at a time")
    (setting,) = settings
    make = functools.partial(build, setting, DECODERS)
    models = {"ideal": _ideal(), "a random transformer": _transformer()}
    able = {
        name: model
        for name, model in models.items()
        if not make().missing_capabilities(model.provides)
    }
    if not able:
        needs = ", ".join(make().missing_capabilities(_transformer().provides))
        raise RequestError(
            f"decoder {setting.label!r} needs {needs}, which neither the ideal model nor a network "
            "without training gives: it cannot be checked without a model that does"
        )
    trials = [_Trial(name, model, make) for name, model in able.items()]
    trials += _in_short_blocks(trials[-1])
    left = [
        f"not checked with {name}, which does not give "
        + ", ".join(make().missing_capabilities(model.provides))
        for name, model in models.items()
        if name not in able
    ]
    return Conformance(
        decoder=setting.label,
        models=tuple(able),
        note="; ".join(left) or None,
        checks=(_settings(setting), *_merged([_checked(trial) for trial in trials])),
    )


class _Trial(NamedTuple):
    """Under what a strategy is checked."""

    name: str
    model: Model
    make: Maker


class _Runs(NamedTuple):
    """The same samples, decoded in several ways.

    Attributes:
        decoder: The one that decoded ``together``.
        together: In one batch.
        again: Likewise, by another object of the same setting.
        alone: One at a time, each by an object of its own.
        after: The first sample alone, by ``decoder``.
        elsewhere: In one batch, with other random numbers.
        rows: How many rows were asked for by ``together``.
    """

    decoder: Decoder
    together: list[Outcome]
    again: list[Outcome]
    alone: list[Outcome]
    after: list[Outcome]
    elsewhere: list[Outcome]
    rows: int


def _in_short_blocks(trial: _Trial) -> list[_Trial]:
    def make() -> Decoder:
        return dataclasses.replace(trial.make(), block_length=_SHORT)

    try:
        make()
    except ValueError:
        return []  # it allows no such blocks
    return [_Trial(f"{trial.name} in blocks of {_SHORT}", trial.model, make)]


def _checked(trial: _Trial) -> list[Check]:
    """Return the checks of one trial; those that nothing can be said of any more are left out."""
    prompts = _prompts(trial.model)
    tally = Tally()
    decoder = trial.make()
    together = _decoded(decoder, trial.model, prompts, tally=tally)
    first = [_no_error(together), _writes(together), _ends(together)]
    if any(check.problem for check in first):
        return [_at(trial, check) for check in first]
    runs = _Runs(
        decoder=decoder,
        together=together,
        again=_decoded(trial.make(), trial.model, prompts),
        alone=[
            outcome
            for prompt in prompts
            for outcome in _decoded(trial.make(), trial.model, [prompt])
        ],
        after=_decoded(decoder, trial.model, prompts[:1]),
        elsewhere=_decoded(trial.make(), trial.model, prompts, key="other"),
        rows=tally.asked,
    )
    checks = [*first, _repeats(runs)]
    if checks[-1].problem is None:
        checks += [_batch(runs), _state(runs), _draws(runs), _fixed(runs)]
    checks += [_counts(runs), _replay(runs)]
    return [_at(trial, check) for check in checks]


def _decoded(
    decoder: Decoder,
    model: Model,
    prompts: Sequence[Prompt],
    *,
    key: str = "",
    tally: Tally | None = None,
) -> list[Outcome]:
    """Return the outcome of every prompt, in their order."""
    jobs = [
        Job(prompt, decoder, key=f"{key}/{prompt.sample.id}", tag=index)
        for index, prompt in enumerate(prompts)
    ]
    outcomes = decode(jobs, model, batch_size=len(jobs), share=False, tally=tally)
    return sorted(outcomes, key=lambda outcome: int(outcome.job.tag))


def _no_error(outcomes: Sequence[Outcome]) -> Check:
    errors = [o.error for o in outcomes if o.error is not None and WROTE not in o.error]
    return Check(
        "runs",
        "raises nothing",
        f"{errors[0]}; a statistic that is None is one that `needs` does not name"
        if errors
        else None,
    )


def _writes(outcomes: Sequence[Outcome]) -> Check:
    errors = [o.error for o in outcomes if o.error is not None and WROTE in o.error]
    return Check(
        "writes",
        "writes tokens, and only where it may",
        f"{errors[0]}; take positions from `open` and ids from `token`; a strategy that writes "
        "elsewhere, or the mask, says remasks = True, and never touches what was filled in before"
        if errors
        else None,
    )


def _ends(outcomes: Sequence[Outcome]) -> Check:
    left = [outcome for outcome in outcomes if outcome.status in ("stalled", "unfinished")]
    return Check(
        "progress",
        "fills every canvas within its budget of steps",
        f"{left[0].status} after {len(left[0].trace.rows)} steps, with {_open(left[0])} positions "
        "open; write at least one position in every step, or say in most_steps how many it takes"
        if left
        else None,
    )


def _repeats(runs: _Runs) -> Check:
    found = _difference(runs.together, runs.again, "the first time", "the second")
    return Check(
        "repeats",
        "the same decode twice is the same",
        found
        and f"{found}; draw from `statistics.uniform` (needs uniform) and from no other "
        "generator, and keep nothing in the class",
    )


def _batch(runs: _Runs) -> Check:
    found = _difference(runs.together, runs.alone, "in a batch", "alone")
    return Check(
        "batch",
        "a sample is decoded alike alone and among others, call for call",
        found and f"{found}; reduce over positions (dim=1), never over samples (dim=0)",
    )


def _state(runs: _Runs) -> Check:
    found = _difference(runs.alone[:1], runs.after, "by a new object", "by one that decoded others")
    return Check(
        "state",
        "the object remembers nothing",
        found and f"{found}; what is remembered belongs to a sample: return it from start()",
    )


def _draws(runs: _Runs) -> Check:
    found = (
        _difference(runs.together, runs.elsewhere, "with one seed", "with another")
        if runs.decoder.deterministic
        else None
    )
    return Check(
        "deterministic",
        "depends on random numbers only if it says so",
        found
        and f"{found}; a strategy that draws is not deterministic: leave that property as "
        "it is, and name uniform in `needs`",
    )


def _fixed(runs: _Runs) -> Check:
    """Compare samples with the same open positions, if it says that these alone decide."""
    problem = None
    if not runs.decoder.adaptive and runs.decoder.deterministic:
        by_open: dict[tuple[bool, ...], list[int]] = {}
        for outcome in runs.together:
            left = _left(outcome)
            same = by_open.setdefault(tuple(outcome.job.prompt.open.tolist()), left)
            if left != same:
                problem = (
                    f"its steps leave {same} and {left} positions open in samples that begin "
                    "alike; a strategy whose steps follow the predictions says adaptive = True"
                )
    return Check("fixed", "writes as many in a step as it says beforehand, or is adaptive", problem)


def _left(outcome: Outcome) -> list[int]:
    """Return how many positions are open after each step."""
    mask = outcome.job.prompt.codec.mask_id
    canvas, left = outcome.job.prompt.canvas.tolist(), []
    for positions, ids in zip(outcome.trace.positions, outcome.trace.ids, strict=True):
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
        left.append(canvas.count(mask))
    return left


def _counts(runs: _Runs) -> Check:
    counted = sum(outcome.counts.rows for outcome in runs.together)
    steps = [rows for outcome in runs.together for rows in outcome.trace.rows]
    problem = None
    if counted != runs.rows:
        problem = f"{counted} rows were counted and {runs.rows} sent; count nothing yourself"
    elif runs.decoder.rows == "1" and max(steps) > 1:
        problem = f"a call of {max(steps)} rows where it says 1; say in `rows` how many, in words"
    elif runs.decoder.calls == "1" and min(steps) == 0:
        problem = "a step without a call where it says 1; say in `calls` how many, in words"
    return Check("counts", "sends as many rows and makes as many calls as it says", problem)


def _replay(runs: _Runs) -> Check:
    wrong = [
        outcome
        for outcome in runs.together
        if outcome.trace.replay(outcome.job.prompt.canvas.tolist()) != outcome.output_ids
    ]
    return Check(
        "replay",
        "what was written step by step makes the output",
        f"{wrong[0].output_ids} came out; write by returning updates, never in view.canvas"
        if wrong
        else None,
    )


def _settings(setting: Setting) -> Check:
    """Return whether what is typed for this strategy can be read."""
    names = [preset for preset, of in DECODERS.presets.items() if of.name == setting.name]
    refusals = [_refusal(text) for text in (setting.label, f"{setting.name}:*", *names)]
    found = next(filter(None, refusals), None)
    return Check(
        "settings",
        "its label, presets and grid can be typed",
        found and f"{found}; mend its fields, presets or grid",
    )


def _refusal(text: str) -> str | None:
    try:
        parse_settings(text, DECODERS)
    except RequestError as error:
        return f"{text} cannot be read: {error}"
    return None


def _difference(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], here: str, there: str
) -> str | None:
    """Return in words where two decodes of the same samples part first."""
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        steps = [
            list(zip(o.trace.positions, o.trace.ids, o.trace.rows, o.trace.row_tokens, strict=True))
            for o in (one, other)
        ]
        for step, (a, b) in enumerate(zip(*steps, strict=False)):
            if a != b:
                return (
                    f"in step {step} of sample {index} it writes {_told(a)} {here} "
                    f"and {_told(b)} {there}"
                )
        told = [(len(s), o.status, o.note) for s, o in zip(steps, (one, other), strict=True)]
        if told[0] != told[1]:
            return (
                f"sample {index} takes {told[0][0]} steps and is {told[0][1]} {here}, and "
                f"{told[1][0]} and {told[1][1]} {there}, with notes {told[0][2]} and {told[1][2]}"
            )
    return None


def _told(step: tuple[list[int], list[int], int, int]) -> str:
    positions, ids, rows, tokens = step
    written = dict(zip(positions, ids, strict=True))
    return f"{written or 'nothing'} ({rows} rows, {tokens} tokens)"


def _at(trial: _Trial, check: Check) -> Check:
    if check.problem is None:
        return check
    return dataclasses.replace(check, problem=f"with {trial.name}: {check.problem}")


def _merged(trials: Sequence[Sequence[Check]]) -> list[Check]:
    """Return one check of each name: the first that failed, where one did."""
    merged: dict[str, Check] = {}
    for check in (check for checks in trials for check in checks):
        held = merged.setdefault(check.name, check)
        if held.problem is None and check.problem is not None:
            merged[check.name] = check
    return list(merged.values())


def _open(outcome: Outcome) -> int:
    return outcome.output_ids.count(outcome.job.prompt.codec.mask_id)


@functools.cache
def _ideal() -> Model:
    return _opened("ideal", {})


@functools.cache
def _transformer() -> Model:
    """Return a network of LLaDA's architecture, random and so small that a call takes no time."""
    from parallelbench.training.folder import Folder
    from parallelbench.training.plan import Scratch
    from parallelbench.training.start import write_random

    words = {word for name in _TASKS for word in TASKS[name.partition(":")[0]].words}
    sizes = Scratch(hidden=16, layers=1, heads=2, feed_forward=32)
    with TemporaryDirectory() as path:
        write_random(sizes, words, _POSITIONS, 0, Folder(Path(path)))
        model = _opened("hf", {"path": path, "device": "cpu"})
    network: Any = model
    with torch.no_grad():
        head = network.network.get_output_embeddings().weight
        for weight in network.network.parameters():
            if weight.dim() == 2:
                weight.mul_(_SHARPENED if weight is head else _STIRRED)
    return model


def _opened(name: str, fields: dict[str, Any]) -> Model:
    model = MODELS[name](**fields).open()
    if not isinstance(model, Model):
        raise TypeError(f"{name} is no model that decoders steer")
    return model


def _prompts(model: Model) -> list[Prompt]:
    tasks = {build(parse_settings(text, TASKS)[0], TASKS): n for text, n in _TASKS.items()}
    return [
        build_prompt(task, task.draw(sample_rng(0, task.name, index), index), model.codec)
        for task, count in tasks.items()
        for index in range(count)
    ]
