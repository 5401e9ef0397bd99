"""The verbs ``report``: records -> table, figures and a page; and ``bounds``: the limits."""

from __future__ import annotations

from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import (
    FILE,
    FOLDER,
    INDEX,
    PATH,
    SEED,
    PositiveNumber,
    WholeNumber,
    json_option,
)
from parallelbench.ranges import MOST_AT_A_TIME

_FIELD = WholeNumber(1, MOST_AT_A_TIME)
_CAP = WholeNumber(1, 1_000_000_000)


@click.command(cls=Verb, short_help="Print the results of runs and write their report.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=PATH)
@click.option(
    "--out", type=FOLDER, help="Folder of the report.  [default: RUN itself; report, of several]"
)
@click.option(
    "--separate",
    is_flag=True,
    help="Write a page for each group of runs with the same seed and task versions.",
)
@click.option(
    "--calibration",
    "calibrations",
    multiple=True,
    type=FILE,
    help="Labelled sentences judged by a grammar engine, to correct its pass rates.",
)
@click.option(
    "--replays",
    type=PositiveNumber(),
    help="Megabytes of replays in the page.  [default: 4, or what figures leave of 10]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON array.")
def report(**options: Any) -> None:
    """Print the results of RUN, a run directory, and write its report; several are overlaid.

    The report is results.json, results.csv, figures/ and report.html, a self-contained page.
    An unfinished run is reported as far as it is.  Several runs must have the same seed and the
    same versions of their tasks; a decode that is in two of them counts once.  Pass rates of
    grammar engines are corrected by the known error rates of that release, from the file of
    --calibration (columns label, verdict and judge) or from the shipped calibration set.

    Examples:
      parallelbench report runs/3f2a9c1b7d04
      parallelbench report runs/llada runs/dream --out both
    """
    from parallelbench.analysis.commands.actions import report as action

    action.report(action.ReportOptions(**options))


@click.command(cls=Verb, short_help="Print what no decoder can beat on a sample of a task.")
@click.option("--task", help="A task's name or setting, such as choices/city.")
@click.option("--length", type=_FIELD, help="The task's field length.")
@click.option("--size", type=_FIELD, help="The task's field size.")
@click.option(
    "--level",
    type=click.Choice(["item", "token"]),
    default="item",
    show_default=True,
    help="Unit that is written at once: an item (a word or cell), or a token.",
)
@click.option("--index", type=INDEX, default=0, show_default=True, help="Number of the sample.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed of the sample.")
@click.option("--frontier", is_flag=True, help="Also print the least bits of adaptive policies.")
@click.option("--max-answers", type=_CAP, help="Most right answers that are enumerated.")
@click.option(
    "--max-positions", type=WholeNumber(1, 64), help="Most positions solved over all sets."
)
@click.option("--max-choices", type=_CAP, help="Most choices examined for exact policies.")
@click.option(
    "--paper",
    type=click.Choice(["table1", "figure2"]),
    help="Instead of a task: a table or figure of the paper.",
)
@click.option(
    "--figure",
    type=click.Choice(["map", "speed_limits", "growth"]),
    help="Instead of a task: a picture of all tasks.",
)
@click.option(
    "--out", type=FOLDER, help="Folder for the files of --paper and --figure.  [default: bounds]"
)
@json_option
def bounds(**options: Any) -> None:
    """Print what no decoder can beat on a sample of a task, from its answer distribution.

    That is: the least cost in bits of writing the answer in 1, 2, ... steps, whatever the model,
    and the fewest expected steps without any error.

    Examples:
      parallelbench bounds --task list_operations/replace_random --length 10
      parallelbench bounds --task puzzles/latin_square:size=3 --level token --json
      parallelbench bounds --paper figure2 --out figures
      parallelbench bounds --figure speed_limits
      parallelbench bounds --figure growth --out figures
    """
    from parallelbench.analysis.commands.actions import bounds as action

    action.bounds(action.BoundsOptions(**options))
