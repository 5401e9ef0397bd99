"""The verb ``compare``: two runs, or two decoders or models of one, on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import PATH, WholeNumber
from parallelbench.ranges import MOST_SAMPLES


@click.command(cls=Verb, short_help="Test whether B is better than A on the same samples.")
@click.argument("run_a", type=PATH)
@click.argument("run_b", required=False, type=PATH)
@click.option("--decoders", multiple=True, help="A decoder of both sides, or A's and B's.")
@click.option("--model", "models", multiple=True, help="A model of both sides; give A's and B's.")
@click.option(
    "--changed",
    type=WholeNumber(0, MOST_SAMPLES),
    help="Samples shown per comparison, right on one side only.  [default: 3, or 0 of many]",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with all changed samples.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every pair, with marks and replies, to this .csv file.",
)
def compare(**options: Any) -> None:
    """Test whether B is better than A on the same samples: two runs, or two sides of one.

    Every model, decoder and task that both runs have is compared with itself.  If you name two,
    the first is A's and the second B's.  A line has both accuracies on the samples that both
    sides decoded, their difference with its 95 % interval, and the p-value of McNemar's exact
    test.  Intervals and p-values are Bonferroni-adjusted for the number of lines: all intervals
    hold together, and an interval without 0 goes with a p-value of at most 0.05.

    Examples:
      parallelbench compare runs/before runs/after
      parallelbench compare runs/mine --decoders random:k=2,confidence:k=2
      parallelbench compare runs/mine --model ideal --model mini --out pairs.csv
      parallelbench compare runs/one runs/other --model hf:ONE --model hf:OTHER --json
    """
    from parallelbench.analysis.commands.actions import compare as action

    action.compare(action.CompareOptions(**options))
