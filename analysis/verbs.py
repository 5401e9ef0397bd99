"""The verb ``report``: records -> table, figures and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON array.")
def report(runs: Sequence[Path], *, as_json: bool) -> None:
    """Print the results of each RUN, a run directory, and write its report.

    Into the run directory go results.json, results.csv, figures/ and report.html, a page
    that stands alone.  A run that is not finished is reported as far as it is.

    Example: parallelbench report runs/3f2a9c1b7d04
    """
    from rich.console import Console

    from parallelbench.analysis.report import make_report, shortfall
    from parallelbench.analysis.table import table
    from parallelbench.results import average_over_tasks, to_json
    from parallelbench.rundir import RunDirectory

    every = []
    for path in runs:
        run = RunDirectory.open(path)
        results, page = make_report(run)
        every.extend(results)
        if not as_json:
            Console().print(table(results, average_over_tasks(results)))
        missing = shortfall(run, results)
        if missing:
            click.echo(f"{path}: {missing}", err=as_json)
        click.echo(f"report: {page}", err=as_json)
    if as_json:
        click.echo(to_json(every), nl=False)
