"""The verb ``leaderboard``: enter a run, check an entry, keep a board; others bring more."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click


class _Actions(click.Group):
    """Everything that an installed package can do with a board, loaded when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(_installed())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _installed().get(cmd_name)
        if entry is None:
            from parallelbench.errors import UnknownNameError
            from parallelbench.registry import unknown

            raise UnknownNameError(unknown("leaderboard action", cmd_name, self.list_commands(ctx)))
        action: click.Command = entry.load()
        return action


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="parallelbench.leaderboard")}


@click.group(cls=_Actions)
def leaderboard() -> None:
    """Enter a run on a board whose every figure is computed again.

    \b
    Examples:
      parallelbench leaderboard pack runs/mine --submitter NAME --out entry
      parallelbench leaderboard verify entry
      parallelbench leaderboard add entry
    """  # noqa: D301  click's \\b keeps the lines of an example apart
