"""Checks that a strategy keeps the contract of decoders, for its author.

A strategy decodes a few samples in several ways that must give the same result: in a batch and
alone, repeated, after other samples, with other random numbers.  The models are the ideal model,
whose predictions are certain or tied, and a tiny random transformer, whose predictions are
neither; the blocks are those of the setting and short ones.  A strategy that needs a capability
that the ideal model lacks is checked with the transformer only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from parallelbench.decode.lanes import WROTE, Job, Outcome
from parallelbench.decode.loop import Tally, decode
from parallelbench.decoder import DECODERS, Decoder
from parallelbench.errors import RequestError
from parallelbench.model import Model
from parallelbench.prompt import Prompt
from parallelbench.registry import load_plugins
from parallelbench.setting import Setting, build, parse_settings

#: Length of the short blocks, in tokens.
_SHORT = 3

Maker = Callable[[], Decoder]


@dataclass(frozen=True)
class Check:
    """The check of one rule of the contract.

    Attributes:
        name: Short name of the check.
        promise: Rule that was checked.
        problem: Violation and how to fix it; None if the rule was kept.
    """

    name: str
    promise: str
    problem: str | None = None


@dataclass(frozen=True)
class Conformance:
    """The results of all checks of one strategy.

    Attributes:
        decoder: Label of the setting.
        models: Names of the models of the checks.
        note: Skipped checks with their reason; None if nothing was skipped.
        checks: Checks in the order in which they depend on each other.
    """

    decoder: str
    models: tuple[str, ...]
    note: str | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """True if every rule was kept."""
        return all(check.problem is None for check in self.checks)


def check_decoder(decoder: str) -> Conformance:
    """Check that a registered strategy keeps the contract of :mod:`parallelbench.decoder`.

    Args:
        decoder: One setting, such as ``"confidence_threshold:threshold=0.8"`` or a preset.

    Raises:
        RequestError: There is no such setting, it expands to several, or it needs capabilities
            that no model of the checks has.

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
    # Imported here: transformers takes seconds, which `from parallelbench import ...` must not.
    from parallelbench.checks.models import check_prompts, ideal_model, random_transformer

    models = {"ideal": ideal_model(), "a random transformer": random_transformer()}
    missing = {
        name: make().missing_capabilities(model.capabilities) for name, model in models.items()
    }
    able = {name: model for name, model in models.items() if not missing[name]}
    if not able:
        needs = ", ".join(missing["a random transformer"])
        raise RequestError(
            f"decoder {setting.label!r} needs {needs}, which neither the ideal model nor an "
            "untrained network provides: it cannot be checked without a model that does"
        )
    trials = [
        _CheckedModel(name, model, check_prompts(model), make) for name, model in able.items()
    ]
    trials += _in_short_blocks(trials[-1])
    skipped = [
        f"not checked with {name}, which does not provide {', '.join(missing[name])}"
        for name in models
        if name not in able
    ]
    return Conformance(
        decoder=setting.label,
        models=tuple(able),
        note="; ".join(skipped) or None,
        checks=(_settings(setting), *_merged([_checked(trial) for trial in trials])),
    )


class _CheckedModel(NamedTuple):
    """A model with which a strategy is checked."""

    name: str
    model: Model
    prompts: list[Prompt]
    make: Maker


class _Runs(NamedTuple):
    """The same samples, decoded in several ways.

    Attributes:
        decoder: Object that decoded ``together``.
        together: Outcomes in one batch.
        again: Outcomes in one batch, by another object of the same setting.
        alone: Outcomes one at a time, each by a new object.
        after: Outcome of the first sample alone, by ``decoder``.
        elsewhere: Outcomes in one batch, with other random numbers.
        rows: Number of rows that ``together`` sent to the model.
    """

    decoder: Decoder
    together: list[Outcome]
    again: list[Outcome]
    alone: list[Outcome]
    after: list[Outcome]
    elsewhere: list[Outcome]
    rows: int


def _in_short_blocks(trial: _CheckedModel) -> list[_CheckedModel]:
    def make() -> Decoder:
        return dataclasses.replace(trial.make(), block_length=_SHORT)

    try:
        make()
    except ValueError:
        return []  # the strategy does not allow such blocks
    return [trial._replace(name=f"{trial.name} in blocks of {_SHORT}", make=make)]


def _checked(trial: _CheckedModel) -> list[Check]:
    """Return the checks with one model; after a failure, dependent checks are left out."""
    prompts = trial.prompts
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
    """Decode every prompt; return the outcomes in the same order."""
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
        f"{errors[0]}; a statistic is None if `needs` does not name it" if errors else None,
    )


def _writes(outcomes: Sequence[Outcome]) -> Check:
    errors = [o.error for o in outcomes if o.error is not None and WROTE in o.error]
    return Check(
        "writes",
        "writes tokens, and only at allowed positions",
        f"{errors[0]}; take positions from `open` and ids from `token`; a strategy that writes "
        "elsewhere, or the mask, sets remasks = True, and never changes pre-filled positions"
        if errors
        else None,
    )


def _ends(outcomes: Sequence[Outcome]) -> Check:
    left = [outcome for outcome in outcomes if outcome.status in ("stalled", "unfinished")]
    return Check(
        "progress",
        "fills every canvas within its budget of steps",
        f"{left[0].status} after {len(left[0].trace.rows)} steps, with {_open(left[0])} positions "
        "open; write at least one position in every step, or set most_steps to the steps it needs"
        if left
        else None,
    )


def _repeats(runs: _Runs) -> Check:
    difference = _difference(runs.together, runs.again, "the first time", "the second")
    return Check(
        "repeats",
        "the same decode twice is the same",
        difference
        and f"{difference}; draw from `statistics.uniform` (needs uniform) and from no other "
        "generator, and keep nothing in the class",
    )


def _batch(runs: _Runs) -> Check:
    difference = _difference(runs.together, runs.alone, "in a batch", "alone")
    return Check(
        "batch",
        "a sample is decoded the same alone and in a batch, call by call",
        difference and f"{difference}; reduce over positions (dim=1), never over samples (dim=0)",
    )


def _state(runs: _Runs) -> Check:
    difference = _difference(
        runs.alone[:1], runs.after, "by a new object", "by one that decoded others"
    )
    return Check(
        "state",
        "the object has no state",
        difference and f"{difference}; state belongs to a sample: return it from start()",
    )


def _draws(runs: _Runs) -> Check:
    difference = (
        _difference(runs.together, runs.elsewhere, "with one seed", "with another")
        if runs.decoder.deterministic
        else None
    )
    return Check(
        "deterministic",
        "depends on random numbers only if it declares it",
        difference
        and f"{difference}; a strategy that draws random numbers is not deterministic: do not "
        "override that property, and name uniform in `needs`",
    )


def _fixed(runs: _Runs) -> Check:
    """Compare samples with the same open positions, if only these determine the steps."""
    problem = None
    if not runs.decoder.adaptive and runs.decoder.deterministic:
        by_open: dict[tuple[bool, ...], list[int]] = {}
        for outcome in runs.together:
            left = _left(outcome)
            same = by_open.setdefault(tuple(outcome.job.prompt.open.tolist()), left)
            if left != same:
                problem = (
                    f"its steps leave {same} and {left} positions open in samples with the same "
                    "open positions; a strategy whose steps depend on predictions sets "
                    "adaptive = True"
                )
    return Check(
        "fixed", "writes the planned number of positions per step, or is adaptive", problem
    )


def _left(outcome: Outcome) -> list[int]:
    """Return the number of open positions after each step."""
    prompt = outcome.job.prompt
    _, *canvases = outcome.trace.canvases(prompt.canvas.tolist())
    return [canvas.count(prompt.codec.mask_id) for canvas in canvases]


def _counts(runs: _Runs) -> Check:
    counted = sum(outcome.counts.rows for outcome in runs.together)
    steps = [rows for outcome in runs.together for rows in outcome.trace.rows]
    problem = None
    if counted != runs.rows:
        problem = f"{counted} rows were counted and {runs.rows} sent; leave counting to the loop"
    elif runs.decoder.rows == "1" and max(steps) > 1:
        problem = f"a call has {max(steps)} rows, not 1; describe their number in `rows`"
    elif runs.decoder.calls == "1" and min(steps) == 0:
        problem = "a step has no call, not 1; describe the number of calls in `calls`"
    return Check(
        "counts", "sends the declared number of rows and makes the declared calls", problem
    )


def _replay(runs: _Runs) -> Check:
    wrong = [
        outcome
        for outcome in runs.together
        if outcome.trace.replay(outcome.job.prompt.canvas.tolist()) != outcome.output_ids
    ]
    return Check(
        "replay",
        "the output consists of what was written step by step",
        f"the output is {wrong[0].output_ids}; write by returning updates, never in view.canvas"
        if wrong
        else None,
    )


def _settings(setting: Setting) -> Check:
    """Check that label, presets and grid of this strategy can be parsed."""
    names = [preset for preset, of in DECODERS.presets.items() if of.name == setting.name]
    refusals = [_refusal(text) for text in (setting.label, f"{setting.name}:*", *names)]
    refusal = next(filter(None, refusals), None)
    return Check(
        "settings",
        "its label, presets and grid can be parsed",
        refusal and f"{refusal}; correct its fields, presets or grid",
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
    """Describe the first difference between two decodes of the same samples."""
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        steps = [
            list(zip(o.trace.positions, o.trace.ids, o.trace.rows, o.trace.row_tokens, strict=True))
            for o in (one, other)
        ]
        for step, (a, b) in enumerate(zip(*steps, strict=False)):
            if a != b:
                return (
                    f"in step {step} of sample {index} it writes {_described(a)} {here} "
                    f"and {_described(b)} {there}"
                )
        ends = [(len(s), o.status, o.note) for s, o in zip(steps, (one, other), strict=True)]
        if ends[0] != ends[1]:
            return (
                f"sample {index} takes {ends[0][0]} steps and is {ends[0][1]} {here}, and "
                f"{ends[1][0]} and {ends[1][1]} {there}, with notes {ends[0][2]} and {ends[1][2]}"
            )
    return None


def _described(step: tuple[list[int], list[int], int, int]) -> str:
    positions, ids, rows, tokens = step
    written = dict(zip(positions, ids, strict=True))
    return f"{written or 'nothing'} ({rows} rows, {tokens} tokens)"


def _at(trial: _CheckedModel, check: Check) -> Check:
    if check.problem is None:
        return check
    return dataclasses.replace(check, problem=f"with {trial.name}: {check.problem}")


def _merged(trials: Sequence[Sequence[Check]]) -> list[Check]:
    """Return one check of each name: the first failed one, if any."""
    merged: dict[str, Check] = {}
    for check in (check for checks in trials for check in checks):
        held = merged.setdefault(check.name, check)
        if held.problem is None and check.problem is not None:
            merged[check.name] = check
    return list(merged.values())


def _open(outcome: Outcome) -> int:
    return outcome.output_ids.count(outcome.job.prompt.codec.mask_id)
