"""The verb ``dependence``: a run of free text -> how its tokens depend on each other."""

from __future__ import annotations

from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import BATCH, PATH, SAMPLES, SEED


@click.command(cls=Verb, short_help="Estimate how many bits the tokens of free text share.")
@click.argument("run", type=PATH)
@click.option("--samples", type=SAMPLES, default=8, show_default=True, help="Samples of each task.")
@click.option(
    "--completions",
    type=SAMPLES,
    default=4,
    show_default=True,
    help="Texts drawn for each sample.",
)
@click.option(
    "--order",
    "orders",
    multiple=True,
    type=click.Choice(["left_to_right", "confidence", "random"]),
    help="Order in which positions are revealed one by one.  [default: each of them]",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed of the texts.")
@click.option(
    "--batch-size", type=BATCH, default=64, show_default=True, help="Rows sent in one model call."
)
@click.option("--json", "as_json", is_flag=True, help="Print the estimates as one JSON array.")
def dependence(**options: Any) -> None:
    """Estimate how many bits the tokens of free text share, with the models of RUN.

    For tasks whose right answers cannot be enumerated: the least cost in bits of writing a whole
    canvas in one step, by the model's own predictions, for texts that the model writes and for
    reference answers.  The estimates are written to RUN/dependence.json and shown in the report.

    Example:
      parallelbench dependence runs/3f2a9c1b7d04 --samples 8
      parallelbench report runs/3f2a9c1b7d04
    """
    from parallelbench.analysis.commands.actions import dependence as action

    action.dependence(action.DependenceOptions(**options))
