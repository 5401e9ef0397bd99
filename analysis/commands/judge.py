"""The verb ``judge``: verdicts and labels -> corrected pass rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import FILE, FOLDER, json_option

_NEW_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=Verb, short_help="Correct a pass rate for the errors of its judge.")
@click.argument("verdicts", required=False, type=FILE)
@click.option(
    "--calibration",
    help="File of labelled examples judged by the same judge; or shipped: our sentences.",
)
@click.option("--against", type=FILE, help="Verdicts on another system to compare with.")
@click.option("--against-calibration", help="Calibration of the judge of --against, if different.")
@click.option(
    "--width", type=float, help="Interval width, as 0.05: print how many labels it takes."
)
@click.option("--judge", help="Server that gives the verdicts, such as api:URL:model=NAME.")
@click.option("--rubric", type=FILE, help="Text file with the judge's instructions: PASS or FAIL.")
@click.option(
    "--out",
    type=_NEW_FILE,
    help="File for the verdicts of --judge, .jsonl; an interrupted run continues it.",
)
@click.option(
    "--sentences",
    type=_NEW_FILE,
    help="Instead: write our labelled sentences to this .csv file, for your own judge.",
)
@click.option(
    "--figure",
    type=FOLDER,
    help="Instead: draw into this folder how often the intervals contain the truth.",
)
@json_option
def judge(**options: Any) -> None:
    r"""Correct the pass rate of VERDICTS for the errors of their judge.

    Files are CSV (.csv) with a header or JSON Lines (.jsonl).  VERDICTS has a column verdict,
    pass or fail, and optionally the text.  A calibration file also has a column label, good or
    bad, and optionally the kind of error.  Other columns are ignored.  Without VERDICTS, only
    the judge is described.

    Examples:
      parallelbench judge verdicts.csv --calibration calibration.csv
      parallelbench judge verdicts.csv --calibration calibration.csv --width 0.05
      parallelbench judge first.csv --calibration one.csv \
                          --against second.csv --against-calibration other.csv
      parallelbench judge texts.csv --calibration shipped --out verdicts.jsonl \
                          --judge api:http://127.0.0.1:8000/v1:model=NAME
      parallelbench judge --sentences to_judge.csv
    """
    from parallelbench.analysis.commands.actions import judge as action

    action.judge(action.JudgeOptions(**options))
