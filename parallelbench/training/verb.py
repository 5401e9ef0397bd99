"""The verb ``train``: tasks -> a checkpoint that ``run`` takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from parallelbench.cli.options import SEED
from parallelbench.console.progress import duration
from parallelbench.console.terminal import tell
from parallelbench.ranges import MOST_AT_A_TIME

if TYPE_CHECKING:
    from parallelbench.training.plan import AdamW, Base, Muon, Plan, Scratch
    from parallelbench.training.trainer import Progress

_POSITIVE = click.IntRange(1, MOST_AT_A_TIME)
_STEPS = click.IntRange(1, 1_000_000_000)


@click.command(short_help="Train a masked diffusion model on tasks.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New or continued.")
@click.option("--tasks", required=True, multiple=True, help="As for run: 'waiting_line/*'.")
@click.option("--weights", multiple=True, help="How often: 'waiting_line/shuffle=3'.")
@click.option("--steps", type=_STEPS, default=2000, show_default=True)
@click.option("--batch-size", type=_POSITIVE, default=64, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--from", "base", help="A masked checkpoint to begin with: hf:PATH.")
@click.option("--lora", type=_POSITIVE, help="Train an adapter of this rank, not every weight.")
@click.option("--hidden", type=_POSITIVE, help="Width from scratch.  [default: 128]")
@click.option("--layers", type=_POSITIVE, help="Layers from scratch.  [default: 4]")
@click.option("--heads", type=_POSITIVE, help="Heads from scratch.  [default: 4]")
@click.option("--feed-forward", type=_POSITIVE, help="Inner width from scratch.  [default: 336]")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    help="Of the weights saved, from scratch.  [default: float32]",
)
@click.option(
    "--last-message", is_flag=True, help="From scratch: show it no example, half as long."
)
@click.option(
    "--optimizer",
    type=click.Choice(["muon", "adamw"]),
    help="[default: muon from scratch, adamw with --from]",
)
@click.option("--learning-rate", type=float, help="At its peak.  [default: 0.0025, adamw 0.0003]")
@click.option("--weight-decay", type=float, default=0.05, show_default=True)
@click.option(
    "--warm-up", type=click.IntRange(0, 1_000_000_000), help="Steps.  [default: 150, or a tenth]"
)
@click.option("--final-rate", type=float, default=0.1, show_default=True, help="Share at the end.")
@click.option("--average", type=float, default=0.998, show_default=True, help="Decay of weights.")
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True
)
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--compile", "compiled", is_flag=True, help="Up to twice as fast; needs a C++ compiler."
)
@click.option("--log-every", type=_STEPS, default=50, show_default=True, help="Steps.")
@click.option("--save-every", type=_STEPS, default=500, show_default=True, help="Steps.")
def train(  # noqa: PLR0913  each is an option
    *,
    out: Path,
    tasks: Sequence[str],
    weights: Sequence[str],
    steps: int,
    batch_size: int,
    seed: int,
    base: str | None,
    lora: int | None,
    hidden: int | None,
    layers: int | None,
    heads: int | None,
    feed_forward: int | None,
    dtype: Literal["float32", "float16"] | None,
    last_message: bool,
    optimizer: Literal["muon", "adamw"] | None,
    learning_rate: float | None,
    weight_decay: float,
    warm_up: int | None,
    final_rate: float,
    average: float,
    precision: Literal["float32", "bfloat16"],
    device: str,
    compiled: bool,
    log_every: int,
    save_every: int,
) -> None:
    """Train a masked diffusion model on tasks, or the rest of a training that was cut off.

    Samples are drawn anew at every step, and none with a seed of an evaluation.  Without
    --from, a small network of LLaDA's architecture is trained from scratch.  OUT becomes a
    checkpoint (with --lora an adapter), beside its log and the figure of its loss.  Started
    by accelerate, several devices share each batch.

    \b
    Examples:
      parallelbench train --out checkpoints/mine --tasks 'waiting_line/*,choices/*'
      parallelbench run --model hf:checkpoints/mine --tasks 'waiting_line/*'
      parallelbench train --out checkpoints/shuffle --from hf:checkpoints/mine --lora 8 \\
                          --tasks waiting_line/shuffle --steps 500
      parallelbench run --model hf:checkpoints/mine:peft=checkpoints/shuffle
      accelerate launch --num_processes 4 -m parallelbench train --out checkpoints/large \\
                          --tasks 'waiting_line/*' --hidden 512
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.training.plan import Plan

    sizes = {"hidden": hidden, "layers": layers, "heads": heads, "feed_forward": feed_forward}
    plan = Plan(
        tasks=tuple(tasks),
        weights=_weights(weights),
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        start=_start(base, lora, {**sizes, "dtype": dtype, "last_message": last_message or None}),
        optimizer=_optimizer(
            optimizer or ("muon" if base is None else "adamw"), learning_rate, weight_decay
        ),
        warm_up=warm_up,
        final_rate=final_rate,
        average=average,
        precision=precision,
    )
    options = {"log_every": log_every, "save_every": save_every}
    _carry_out(plan, out, {**options, "device": device, "compile": compiled})


def _carry_out(plan: Plan, out: Path, options: dict[str, Any]) -> None:
    from parallelbench.training.trainer import train as carry_out
    from parallelbench.training.workers import EndedElsewhereError, is_first

    try:
        carry_out(plan, out, progress=lambda progress: _tell(progress, out), **options)
    except EndedElsewhereError:
        _leave_silently(2)
    except KeyboardInterrupt:
        if not is_first():
            _leave_silently(130)
        saved = f"what is done is saved in {out}, and the same command goes on from there"
        kept = saved if out.exists() else "nothing was begun"
        tell(f"parallelbench: interrupted; {kept}", err=True)
        click.get_current_context().exit(130)
    if not is_first():
        return
    model = f"hf:{out}"
    if getattr(plan.start, "lora", None) is not None:
        model = f"{getattr(plan.start, 'model', '')}:peft={out}"
    tell(f"trained: {out}; try: parallelbench run --model {model}")


def _leave_silently(status: int) -> NoReturn:
    # A launcher ends all processes as soon as one ends: who speaks needs the time to do it.
    time.sleep(1)
    click.get_current_context().exit(status)


def _start(base: str | None, lora: int | None, sizes: dict[str, Any]) -> Scratch | Base:
    from parallelbench.training.plan import Base, Scratch

    given = {name: value for name, value in sizes.items() if value is not None}
    if base is None:
        if lora is not None:
            raise click.UsageError("--lora trains an adapter for a checkpoint: say which by --from")
        return Scratch(**given)
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{names}: the network is that of --from {base}")
    return Base(model=base, lora=lora)


def _optimizer(
    name: Literal["muon", "adamw"], learning_rate: float | None, weight_decay: float
) -> Muon | AdamW:
    from parallelbench.training.plan import AdamW, Muon

    rates = {} if learning_rate is None else {"learning_rate": learning_rate}
    kind = Muon if name == "muon" else AdamW
    return kind(**rates, weight_decay=weight_decay)


def _weights(asked: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in asked:
        for part in text.split(","):
            # From the right: a setting's label has "=" of its own.
            task, _, weight = part.rpartition("=")
            try:
                found[task.strip()] = float(weight)
            except ValueError as error:
                raise click.UsageError(f"--weights: {part!r} is not of the form TASK=3") from error
    return found


def _tell(progress: Progress, out: Path) -> None:
    entry = progress.entry
    if entry is None:
        told = "nothing is left to do" if progress.step == progress.steps else "begins"
        if 0 < progress.step < progress.steps:
            told = f"goes on after step {progress.step}"
        if progress.processes > 1:
            told += f" in {progress.processes} processes"
        tell(f"{out}: training of {progress.steps} steps {told}", err=True)
        return
    floors = [each.floor for each in entry.tasks.values()]
    known = [each for each in floors if each is not None]
    floor = f" (floor {sum(known) / len(known):.2f})" if len(known) == len(floors) else ""
    tell(
        f"step {progress.step} of {progress.steps}: {entry.loss:.2f} nats an answer{floor}, "
        f"{progress.samples_per_second:.0f} samples/s, {duration(progress.left or 0.0)} left",
        err=True,
    )
