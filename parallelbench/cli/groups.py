"""Groups of commands that installed packages extend, and the form of a verb's help."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import click

from parallelbench.errors import UnknownNameError
from parallelbench.registry import load_plugin, unknown

#: The line that begins the examples of a help text.
_EXAMPLES: Final = re.compile(r"^(?=Examples?:$)", re.MULTILINE)


class Verb(click.Command):
    """A command whose help keeps the lines of its examples.

    The examples are the paragraph of the docstring that begins with ``Example:`` or ``Examples:``.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.help = _with_examples(self.help)


class PluginGroup(click.Group):
    """A group of commands that installed packages extend.

    They declare their commands as entry points; a command is loaded when it is used.

    Args:
        entry_point_group: Name of the entry point group.
        noun: Word for one of the commands in an error, such as ``verb``.
    """

    command_class = Verb

    def __init__(self, *arguments: Any, entry_point_group: str, noun: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.entry_point_group = entry_point_group
        self.noun = noun
        self.help = _with_examples(self.help)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the group's own and of all installed commands, in order."""
        return sorted({*super().list_commands(ctx), *self._installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name.

        Raises:
            UnknownNameError: There is none; a shell that completes words gets None.
            PluginError: Package cannot be imported.
        """
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = self._installed().get(cmd_name)
        if entry is None:
            if ctx.resilient_parsing:
                return None
            raise UnknownNameError(unknown(self.noun, cmd_name, self.list_commands(ctx)))
        command: click.Command = load_plugin(entry)
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


def _with_examples(text: str | None) -> str | None:
    # click rewraps a paragraph unless its first line is a backspace.
    return None if text is None else _EXAMPLES.sub("\b\n", inspect.cleandoc(text))
