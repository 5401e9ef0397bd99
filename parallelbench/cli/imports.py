"""The verb ``import``: what others have published -> files of ours; wings bring the kinds."""

from __future__ import annotations

import click

from parallelbench.cli.groups import InstalledCommands


class _Kinds(InstalledCommands):
    """Every kind that an installed package can import, loaded when it is used."""

    entry_point_group = "parallelbench.imports"
    noun = "kind of import"


@click.group(
    name="import", cls=_Kinds, short_help="Import the original benchmark's data or its results."
)
def import_() -> None:
    """Bring in the original benchmark's data, or what is published of it.

    \b
    Examples:
      parallelbench import original CHECKOUT --out original.jsonl
      parallelbench import results results/GSAI-ML__LLaDA-1.5 --out runs/published
      parallelbench import published board --beside runs/mine --out figures
    """  # noqa: D301  click's \\b keeps the lines of an example apart
