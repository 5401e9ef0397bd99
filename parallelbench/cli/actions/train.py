"""The work of ``parallelbench train``: options -> plan -> checkpoint, with printed progress."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from parallelbench.console.progress import duration
from parallelbench.console.terminal import tell
from parallelbench.training.plan import AdamW, Base, Muon, Plan, Scratch
from parallelbench.training.trainer import TrainingProgress, train
from parallelbench.training.workers import EndedElsewhereError, is_first


def carry_out(options: Mapping[str, Any]) -> None:
    """Train as the options of ``parallelbench train`` say, and print the progress.

    Args:
        options: Values of the options, by name.
    """
    plan, out = _plan(options), options["out"]
    try:
        train(
            plan,
            out,
            log_every=options["log_every"],
            save_every=options["save_every"],
            device=options["device"],
            compile=options["compiled"],
            progress=lambda progress: _tell(progress, out),
        )
    except EndedElsewhereError:
        _leave_silently(2)
    except KeyboardInterrupt:
        if not is_first():
            _leave_silently(130)
        saved = f"progress is saved in {out}; the same command continues from there"
        kept = saved if out.exists() else "nothing was started"
        tell(f"parallelbench: interrupted; {kept}", err=True)
        click.get_current_context().exit(130)
    if not is_first():
        return
    model = f"hf:{out}"
    if getattr(plan.start, "lora", None) is not None:
        model = f"{getattr(plan.start, 'model', '')}:peft={out}"
    tell(f"trained: {out}; try: parallelbench run --model {model}")


def _plan(options: Mapping[str, Any]) -> Plan:
    taken = ("steps", "batch_size", "seed", "warm_up", "final_rate", "average", "precision")
    return Plan(
        tasks=tuple(options["tasks"]),
        weights=_weights(options["weights"]),
        start=_start(options),
        optimizer=_optimizer(options),
        **{name: options[name] for name in taken},
    )


def _leave_silently(status: int) -> NoReturn:
    # A launcher ends all processes when one ends: the process that reports needs time for it.
    time.sleep(1)
    click.get_current_context().exit(status)


def _start(options: Mapping[str, Any]) -> Scratch | Base:
    base, lora = options["base"], options["lora"]
    # A flag that is off was not given.
    names = ("hidden", "layers", "heads", "feed_forward", "dtype", "last_message")
    given = {name: options[name] for name in names if options[name] not in (None, False)}
    if base is None:
        if lora is not None:
            raise click.UsageError("--lora trains an adapter for a checkpoint: name it with --from")
        return Scratch(**given)
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{flags}: the network is that of --from {base}")
    return Base(model=base, lora=lora)


def _optimizer(options: Mapping[str, Any]) -> Muon | AdamW:
    name = options["optimizer"] or ("muon" if options["base"] is None else "adamw")
    rate = options["learning_rate"]
    rates = {} if rate is None else {"learning_rate": rate}
    kind = Muon if name == "muon" else AdamW
    return kind(**rates, weight_decay=options["weight_decay"])


def _weights(texts: Sequence[str]) -> dict[str, float]:
    weights = {}
    for text in texts:
        for part in text.split(","):
            # From the right: a setting's label has "=" of its own.
            task, _, weight = part.rpartition("=")
            try:
                weights[task.strip()] = float(weight)
            except ValueError as error:
                raise click.UsageError(f"--weights: {part!r} is not of the form TASK=3") from error
    return weights


def _tell(progress: TrainingProgress, out: Path) -> None:
    entry = progress.entry
    if entry is None:
        state = "is complete" if progress.step == progress.steps else "begins"
        if 0 < progress.step < progress.steps:
            state = f"continues after step {progress.step}"
        if progress.processes > 1:
            state += f" in {progress.processes} processes"
        tell(f"{out}: training of {progress.steps} steps {state}", err=True)
        return
    floors = [each.floor for each in entry.tasks.values()]
    known = [each for each in floors if each is not None]
    floor = f" (floor {sum(known) / len(known):.2f})" if len(known) == len(floors) else ""
    tell(
        f"step {progress.step} of {progress.steps}: {entry.loss:.2f} nats per answer{floor}, "
        f"{progress.samples_per_second:.0f} samples/s, {duration(progress.left or 0.0)} left",
        err=True,
    )
