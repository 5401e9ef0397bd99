"""The verb ``import``: published data and results -> files of this package."""

from __future__ import annotations

import click

from parallelbench.cli.groups import PluginGroup


@click.group(
    name="import",
    cls=PluginGroup,
    entry_point_group="parallelbench.imports",
    noun="kind of import",
    short_help="Import the original benchmark's data or its results.",
)
def import_() -> None:
    """Import the original benchmark's data, or published results of it.

    Examples:
      parallelbench import original CHECKOUT --out original.jsonl
      parallelbench import results results/GSAI-ML__LLaDA-1.5 --out runs/published
      parallelbench import published board --beside runs/mine --out figures
    """
