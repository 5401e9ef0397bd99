"""The verb ``train``: tasks -> a checkpoint that ``run`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import SEED, WholeNumber
from parallelbench.ranges import MOST_AT_A_TIME

_POSITIVE = WholeNumber(1, MOST_AT_A_TIME)
_STEPS = WholeNumber(1, 1_000_000_000)


@click.command(cls=Verb, short_help="Train a masked diffusion model on tasks.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the checkpoint, new or to continue.",
)
@click.option("--tasks", required=True, multiple=True, help="Tasks, as for run: 'waiting_line/*'.")
@click.option(
    "--weights", multiple=True, help="Relative frequency of tasks: 'waiting_line/shuffle=3'."
)
@click.option(
    "--steps", type=_STEPS, default=2000, show_default=True, help="Number of training steps."
)
@click.option(
    "--batch-size", type=_POSITIVE, default=64, show_default=True, help="Samples of a step."
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Random seed of samples, masks and initial weights.",
)
@click.option("--from", "base", help="Masked checkpoint to start from: hf:PATH.")
@click.option(
    "--lora", type=_POSITIVE, help="Train a LoRA adapter of this rank instead of all weights."
)
@click.option("--hidden", type=_POSITIVE, help="Hidden width, from scratch.  [default: 128]")
@click.option("--layers", type=_POSITIVE, help="Number of layers, from scratch.  [default: 4]")
@click.option(
    "--heads", type=_POSITIVE, help="Number of attention heads, from scratch.  [default: 4]"
)
@click.option(
    "--feed-forward", type=_POSITIVE, help="Feed-forward width, from scratch.  [default: 336]"
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    help="Data type of the saved weights, from scratch.  [default: float32]",
)
@click.option(
    "--last-message",
    is_flag=True,
    help="From scratch: leave examples out of prompts, which halves their length.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["muon", "adamw"]),
    help="Optimizer of the weights.  [default: muon from scratch, adamw with --from]",
)
@click.option(
    "--learning-rate", type=float, help="Peak learning rate.  [default: 0.0025, adamw 0.0003]"
)
@click.option(
    "--weight-decay",
    type=float,
    default=0.05,
    show_default=True,
    help="Weight decay of the optimizer.",
)
@click.option(
    "--warm-up",
    type=WholeNumber(0, 1_000_000_000),
    help="Warm-up steps.  [default: 150, or a tenth of all]",
)
@click.option(
    "--final-rate",
    type=float,
    default=0.1,
    show_default=True,
    help="Share of the learning rate at the last step.",
)
@click.option(
    "--average",
    type=float,
    default=0.998,
    show_default=True,
    help="Decay of the moving average of the weights.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Number format of the network's computation; bfloat16 is faster on GPUs.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device such as cpu, cuda or mps; auto takes an accelerator if there is one.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Compile the network: up to twice as fast; needs a C++ compiler.",
)
@click.option(
    "--log-every", type=_STEPS, default=50, show_default=True, help="Steps between log entries."
)
@click.option(
    "--save-every", type=_STEPS, default=500, show_default=True, help="Steps between checkpoints."
)
def train(**options: Any) -> None:
    r"""Train a masked diffusion model on tasks, or continue an interrupted training.

    Every step draws new samples, never with a seed of an evaluation.  Without --from, a small
    network of LLaDA's architecture is trained from scratch.  OUT becomes a checkpoint (with
    --lora an adapter) with a log and a figure of the loss.  Under accelerate launch, several
    devices share each batch.

    Examples:
      parallelbench train --out checkpoints/mine --tasks 'waiting_line/*,choices/*'
      parallelbench run --model hf:checkpoints/mine --tasks 'waiting_line/*'
      parallelbench train --out checkpoints/shuffle --from hf:checkpoints/mine --lora 8 \
                          --tasks waiting_line/shuffle --steps 500
      parallelbench run --model hf:checkpoints/mine:peft=checkpoints/shuffle
      accelerate launch --num_processes 4 -m parallelbench train --out checkpoints/large \
                          --tasks 'waiting_line/*' --hidden 512
    """
    from parallelbench.cli.actions.train import carry_out

    carry_out(options)
