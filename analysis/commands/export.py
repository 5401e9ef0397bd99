"""The verb ``export``: a run -> the files that other tools read."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from parallelbench.cli.asked import refuse_idle
from parallelbench.console.progress import shown
from parallelbench.console.terminal import tell

#: Forms by name: their module, and whether they hold what is no result too.
_FORMS = {
    "every-eval-ever": ("every_eval_ever", False),
    "hf": ("hugging_face", False),
    "lm-eval": ("lm_eval", False),
    "parquet": ("parquet", True),
}
#: Options that only some forms have a place for.
_USED_BY = {
    "dataset": ("hf",),
    "source": ("hf", "every-eval-ever"),
    "organization": ("every-eval-ever",),
    "relationship": ("every-eval-ever",),
}


@click.command(short_help="Write a run in a form that other tools read.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(list(_FORMS)), required=True, help="The form.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder, new or empty.",
)
@click.option("--dataset", help="For hf: OWNER/NAME of the benchmark's data set on the hub.")
@click.option("--source", help="For hf and every-eval-ever: a page that holds or tells of the run.")
@click.option("--organization", default="unknown", help="For every-eval-ever: who made the run.")
@click.option(
    "--relationship",
    type=click.Choice(["first_party", "third_party", "collaborative", "other"]),
    default="other",
    show_default=True,
    help="For every-eval-ever: theirs to the models.",
)
def export(  # noqa: PLR0913  each is an option
    *,
    run: Path,
    form: str,
    out: Path,
    dataset: str | None,
    source: str | None,
    organization: str,
    relationship: str,
) -> None:
    """Write RUN, a run directory, in a form that other tools read.

    Decodes that ended in an error count nowhere, and oracles are left out, but for parquet, which
    has everything and says what it is.  Every number goes with its interval, its count and the
    digest of the run.

    \b
    Examples:
      parallelbench export runs/3f2a9c1b7d04 --to lm-eval --out exported
      parallelbench export runs/3f2a9c1b7d04 --to every-eval-ever --organization ACME --out exported
      parallelbench export runs/3f2a9c1b7d04 --to hf --dataset OWNER/NAME --out exported
      parallelbench export runs/3f2a9c1b7d04 --to parquet --out exported
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.analysis.exports.export import Publisher
    from parallelbench.analysis.exports.export import export as carry_out
    from parallelbench.run.rundir import RunDirectory

    for option, forms in _USED_BY.items():
        if form not in forms:
            refuse_idle(f"it is for --to {' and --to '.join(forms)}, and not for {form}", option)
    name, everything = _FORMS[form]
    module = importlib.import_module(f"parallelbench.analysis.exports.{name}")
    publisher = Publisher(organization, relationship, dataset, source)
    with shown(f"exporting {run}"):
        directory = RunDirectory.open(run)
        written = carry_out(directory, module.write, out, publisher, everything=everything)
    for remark in written.remarks:
        tell(f"parallelbench: {remark}", err=True)
    for file in written.files:
        tell(str(file))
