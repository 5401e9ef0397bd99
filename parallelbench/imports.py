"""The verb ``import``: what others have published -> files of ours; wings bring the kinds."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click


class _Kinds(click.Group):
    """Every kind that an installed package can import, loaded when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(_installed())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _installed().get(cmd_name)
        if entry is None:
            from parallelbench.errors import UnknownNameError
            from parallelbench.registry import unknown

            raise UnknownNameError(unknown("kind of import", cmd_name, self.list_commands(ctx)))
        kind: click.Command = entry.load()
        return kind


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="parallelbench.imports")}


@click.group(name="import", cls=_Kinds)
def import_() -> None:
    """Bring in the original benchmark's data, or what is published of it.

    \b
    Examples:
      parallelbench import original CHECKOUT --out original.jsonl
      parallelbench import published CHECKOUT --out published.jsonl
    """  # noqa: D301  click's \\b keeps the lines of an example apart
