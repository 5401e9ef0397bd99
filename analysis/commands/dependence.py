"""The verb ``dependence``: a run of free text -> how its tokens depend on each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parallelbench.cli.asked import BATCH, SAMPLES, SEED
from parallelbench.console.terminal import tell

if TYPE_CHECKING:
    from parallelbench.analysis.measures.text_dependence import TaskDependence


@click.command(short_help="Estimate how many bits the tokens of free text share.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--samples", type=SAMPLES, default=8, show_default=True, help="Questions of each task."
)
@click.option(
    "--completions",
    type=SAMPLES,
    default=4,
    show_default=True,
    help="Texts drawn for each question.",
)
@click.option(
    "--order",
    "orders",
    multiple=True,
    type=click.Choice(["left_to_right", "confidence", "random"]),
    help="In which positions are revealed one by one.  [default: each of them]",
)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--batch-size", type=BATCH, default=64, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the estimates as one JSON array.")
def dependence(  # noqa: PLR0913, PLR0917  each is an option
    run: Path,
    samples: int,
    completions: int,
    orders: Sequence[str],
    seed: int,
    batch_size: int,
    *,
    as_json: bool,
) -> None:
    """Estimate how many bits the tokens of free text share, with the models of RUN.

    For tasks whose right answers cannot be listed: what writing a whole canvas in one step must
    cost, by the model's own predictions, of texts that it writes and of reference answers.  It
    goes into RUN/dependence.json, and the report shows it.

    \b
    Example:
      parallelbench dependence runs/3f2a9c1b7d04 --samples 8
      parallelbench report runs/3f2a9c1b7d04
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.analysis.measures.text_dependence import (
        Effort,
        estimate_run,
        write_estimates,
    )
    from parallelbench.analysis.theory.estimate import ORDERS
    from parallelbench.registry import load_plugins
    from parallelbench.run.rundir import RunDirectory

    load_plugins()
    directory = RunDirectory.open(run)
    effort = Effort(
        samples=samples,
        completions=completions,
        orders=tuple(order for order in ORDERS if not orders or order in orders),
        seed=seed,
        batch_size=batch_size,
    )
    found = []
    for each in estimate_run(directory, effort):
        found.append(each)
        tell(_told(each), err=as_json)
    write_estimates(directory, found)
    if as_json:
        tell(json.dumps([asdict(each) for each in found], indent=1))
    tell(f"parallelbench report {run} shows them", err=as_json)


def _told(found: TaskDependence) -> str:
    what = "what it writes" if found.kind == "model" else "reference answers"
    order = found.order.replace("_", " ")
    if found.bits is None:
        return f"{found.model}, {found.task}, {what}, {order}: {found.missing}"
    return (
        f"{found.model}, {found.task}, {what}, {order}: {found.bits:.1f} bits, standard error "
        f"{found.standard_error:.1f}, of {found.count} texts; {found.calls} calls"
    )
