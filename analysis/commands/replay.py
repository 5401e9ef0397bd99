"""The verb ``replay``: a decode, step by step, in the terminal or as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import INDEX, PATH, PositiveNumber


@click.command(cls=Verb, short_help="Replay a decode step by step.")
@click.argument("run", metavar="RUN", type=PATH)
@click.option("--sample", help="TASK/NUMBER, or a number if the run has one task.")
@click.option("--decoder", "decoders", multiple=True, help="A setting's label, or two.")
@click.option("--model", help="A model's label.")
@click.option("--step", type=INDEX, help="Print only the canvas after this step.")
@click.option("--all", "every", is_flag=True, help="Print every step, one below the other.")
@click.option(
    "--delay",
    type=PositiveNumber(0.01, 60.0),
    default=0.8,
    show_default=True,
    help="Seconds between steps.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="FILE.svg or FILE.gif."
)
@click.option("--json", "as_json", is_flag=True, help="Print the steps as JSON.")
def replay(**options: Any) -> None:
    """Replay a decode of RUN, a run directory: what each step wrote, and what it could not know.

    By default, the clearest failure is replayed next to a setting that got the same sample
    right.  On a terminal it is animated; piped output and --all list the steps.  A position
    that is written is marked with +, one that is masked again with -.

    Examples:
      parallelbench replay runs/3f2a9c1b7d04
      parallelbench replay runs/3f2a9c1b7d04 --sample waiting_line/shuffle/3 --step 2
      parallelbench replay runs/3f2a9c1b7d04 --decoder 'random:k=1,random:k=4' --out glued.svg
    """
    from parallelbench.analysis.commands.actions import replay as action

    action.replay(action.ReplayOptions(**options))
