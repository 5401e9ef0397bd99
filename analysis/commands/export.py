"""The verb ``export``: a run -> the files that other tools read."""

from __future__ import annotations

from typing import Any, Final

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import FOLDER, PATH

#: Names of the forms that a run can be exported to.
FORMS: Final = ("every-eval-ever", "hf", "lm-eval", "parquet")


@click.command(cls=Verb, short_help="Write a run in a format that other tools read.")
@click.argument("run", metavar="RUN", type=PATH)
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="The format.")
@click.option("--out", type=FOLDER, required=True, help="Folder, new or empty.")
@click.option("--dataset", help="For hf: OWNER/NAME of the benchmark's data set on the hub.")
@click.option(
    "--source", help="For hf and every-eval-ever: a page that hosts or describes the run."
)
@click.option("--organization", default="unknown", help="For every-eval-ever: who made the run.")
@click.option(
    "--relationship",
    type=click.Choice(["first_party", "third_party", "collaborative", "other"]),
    default="other",
    show_default=True,
    help="For every-eval-ever: the organization's relationship to the models.",
)
def export(**options: Any) -> None:
    """Write RUN, a run directory, in a format that other tools read.

    Decodes that ended in an error and oracles are left out, except in parquet, which holds
    everything and labels it.  Every number comes with its interval, its count and the digest
    of the run.

    Examples:
      parallelbench export runs/3f2a9c1b7d04 --to lm-eval --out exported
      parallelbench export runs/3f2a9c1b7d04 --to every-eval-ever --organization ACME --out exported
      parallelbench export runs/3f2a9c1b7d04 --to hf --dataset OWNER/NAME --out exported
      parallelbench export runs/3f2a9c1b7d04 --to parquet --out exported
    """
    from parallelbench.analysis.commands.actions import export as action

    action.export(action.ExportOptions(**options))
