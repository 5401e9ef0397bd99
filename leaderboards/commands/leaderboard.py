"""The verb ``leaderboard``: enter a run, check an entry, keep a board; others bring more."""

from __future__ import annotations

import click

from parallelbench.cli.groups import PluginGroup


@click.group(
    cls=PluginGroup,
    entry_point_group="parallelbench.leaderboard",
    noun="leaderboard action",
    short_help="Pack, verify and rank runs on a board.",
)
def leaderboard() -> None:
    """Enter a run on a board whose every figure is computed again.

    Examples:
      parallelbench leaderboard pack runs/mine --submitter NAME --out entry
      parallelbench leaderboard verify entry
      parallelbench leaderboard add entry
    """
