"""The verb ``import published``: the public board's CSV files -> its speeds and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import FOLDER, json_option

_EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(cls=Verb, short_help="Read the public board's files and print its speeds.")
@click.argument("folder", type=_EXISTING_FOLDER)
@click.option(
    "--beside",
    "runs",
    multiple=True,
    type=_EXISTING_FOLDER,
    help="Run directory to draw with the published curves.",
)
@click.option("--out", type=FOLDER, help="Folder for the picture and its data.")
@json_option
def published(**options: Any) -> None:
    """Read the public board's files in FOLDER and print its speeds by its own rule.

    FOLDER holds MODEL_STRATEGY.csv, or MODEL/STRATEGY.csv, with the columns task, tps and
    accuracy.  The speeds are PB80, PB75 and PB70: the greatest number of tokens per step at an
    average accuracy of at least 80, 75 and 70 percent; 0 where that accuracy is not reached.

    Examples:
      parallelbench import published board
      parallelbench import published board --beside runs/3f2a9c1b7d04 --out figures
    """
    from parallelbench.analysis.commands.actions.published import published as action

    action(**options)
