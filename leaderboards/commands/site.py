"""The commands ``leaderboard build`` and ``leaderboard serve``: entries -> pages."""

from __future__ import annotations

import http.server
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.console.tables import show
from parallelbench.console.terminal import tell, tell_line
from parallelbench.leaderboards.commands.pack import limited

if TYPE_CHECKING:
    from rich.table import Table

    from parallelbench.leaderboards.board.standings import Section, Standings

#: Rows of the table in the terminal, and the accuracy at which they are compared.
_ROWS, _PERCENT = 10, 80


def _with_folder_options(command: Callable[..., None]) -> Callable[..., None]:
    path = click.Path(path_type=Path, file_okay=False)
    for option in (
        click.option(
            "--out", type=path, default="runs/board", show_default=True, help="Folder of the pages."
        ),
        click.option(
            "--board",
            type=path,
            default="leaderboards/submissions",
            show_default=True,
            help="Folder of the entries.",
        ),
        click.option(
            "--fresh",
            is_flag=True,
            help="Verify every entry even if this machine has verified it before.",
        ),
        limited,
    ):
        command = option(command)
    return command


@click.command(cls=Verb, short_help="Make the board's pages and print the leaders.")
@_with_folder_options
def build(board: Path, out: Path, seconds: int, *, fresh: bool) -> None:
    """Make the pages of the board, which open from disk, and print the leaders.

    A refused entry is left out and named, and the exit status is 2.

    Example:
      parallelbench leaderboard build
    """
    refused = _build(board, out, seconds, fresh=fresh)
    click.get_current_context().exit(2 if refused else 0)


@click.command(cls=Verb, short_help="Make the board's pages and serve them here.")
@_with_folder_options
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free."
)
def serve(board: Path, out: Path, seconds: int, port: int, *, fresh: bool) -> None:
    """Make the pages of the board and show them to this machine, until interrupted.

    A refused entry is left out and named.

    Example:
      parallelbench leaderboard serve --port 8000
    """
    _build(board, out, seconds, fresh=fresh)
    with server_of(out, port) as server:
        tell(f"http://127.0.0.1:{server.server_port}/ shows it; Ctrl-C ends")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            tell()


def server_of(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server of the files in ``folder`` that only this machine can reach.

    Raises:
        StorageError: The port is taken or not permitted.
    """
    from parallelbench.errors import StorageError

    handler = partial(_QuietHandler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise StorageError(
            f"port {port} of 127.0.0.1 cannot be had: {error}; ask for another with --port"
        ) from error


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without logging each of them."""

    def send_head(self) -> Any:
        """Send the headers of a file and return the file; None if there is none."""
        try:
            return super().send_head()
        except ValueError:  # such as a name with a NUL byte
            self.send_error(http.HTTPStatus.NOT_FOUND, "no file has that name")
            return None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its base's name
        """Log nothing."""


def _build(board: Path, out: Path, seconds: int, *, fresh: bool) -> bool:
    """Make the pages and print the leaders; return True if an entry was refused and left out."""
    from parallelbench.leaderboards.commands.actions import build_board

    boards, page, refusals = build_board(board, out, seconds, fresh=fresh)
    for each in boards:
        for section in each.sections:
            show(leaders(each, section))
    if not boards and not refusals:
        tell(f"{board} holds no entry yet; the page says how to enter")
    for refusal in refusals:
        first, *others = refusal.faults
        tell_line(f"parallelbench: left out: {first}", err=True)
        for fault in others:
            tell_line(f"  {fault}", err=True)
    tell(f"board: {page}")
    return bool(refusals)


def leaders(board: Standings, section: Section) -> Table:
    """Return the fastest rows of a section over all tasks, for the terminal."""
    from rich.table import Table

    from parallelbench.analysis.measures import cells

    scope = board.scopes[0].label
    table = Table(title=f"{section.title} ({board.season.title})", title_justify="left")
    for head in ("rank", f"tokens per step at {_PERCENT} %", "95 % interval"):
        table.add_column(head, justify="right")
    for head in ("level", "strategy", "model", "entry"):
        table.add_column(head, overflow="fold")
    rows = [
        (row.figures[scope].at.get(_PERCENT) if scope in row.figures else None, row)
        for row in section.rows
    ]
    rows.sort(key=lambda each: -(each[0].speed if each[0] else 0.0))
    for at, row in rows[:_ROWS]:
        table.add_row(
            cells.ABSENT if at is None or at.rank is None else str(at.rank),
            cells.number(at.speed if at else None),
            cells.range_if_reached(at.interval, at.reached, _PERCENT) if at else cells.ABSENT,
            row.entry.level,
            row.strategy,
            row.model,
            row.entry.name,
        )
    if len(rows) > _ROWS:
        table.caption = f"and {len(rows) - _ROWS} more"
    return table
