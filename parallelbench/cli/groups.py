"""Groups of commands that installed packages extend: every verb, import and leaderboard action."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

import click


class InstalledCommands(click.Group):
    """Commands that installed packages declare as entry points, loaded when they are used.

    Attributes:
        entry_point_group: Name of the entry point group that holds them.
        noun: What one of them is called in an error.
    """

    entry_point_group: ClassVar[str]
    noun: ClassVar[str]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the group's own and of all installed commands, in order."""
        return sorted({*super().list_commands(ctx), *self._installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name.

        Raises:
            UnknownNameError: There is none; a shell that completes words gets None.
        """
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = self._installed().get(cmd_name)
        if entry is None:
            if ctx.resilient_parsing:
                return None
            from parallelbench.errors import UnknownNameError
            from parallelbench.registry import unknown

            raise UnknownNameError(unknown(self.noun, cmd_name, self.list_commands(ctx)))
        command: click.Command = entry.load()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its sentence, wrapped where click would cut it off."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=10_000)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _installed(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.entry_point_group)}
