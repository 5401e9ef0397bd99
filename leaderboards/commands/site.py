"""The commands ``leaderboard build`` and ``leaderboard serve``: entries -> pages."""

from __future__ import annotations

import http.server
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parallelbench.console.terminal import tell, tell_line
from parallelbench.leaderboards.commands.pack import limited

if TYPE_CHECKING:
    from rich.table import Table

    from parallelbench.errors import SubmissionError
    from parallelbench.leaderboards.board.standings import Section, Standings

#: Of the brief table in the terminal: its rows, and at which accuracy they are compared.
_ROWS, _PERCENT = 10, 80


def _asks_for_folders(command: Callable[..., None]) -> Callable[..., None]:
    path = click.Path(path_type=Path, file_okay=False)
    for option in (
        click.option(
            "--out", type=path, default="runs/board", show_default=True, help="Of the pages."
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
            help="Verify every entry again, also those that this machine has verified before.",
        ),
        limited,
    ):
        command = option(command)
    return command


@click.command(short_help="Make the board's pages and print who leads.")
@_asks_for_folders
def build(board: Path, out: Path, seconds: int, *, fresh: bool) -> None:
    """Make the pages of the board, which open from disk, and print who leads.

    An entry that is refused is left out and named, and the exit status is 2 then.

    \b
    Example:
      parallelbench leaderboard build
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    refused = _build(board, out, seconds, fresh=fresh)
    click.get_current_context().exit(2 if refused else 0)


@click.command(short_help="Make the board's pages and serve them here.")
@_asks_for_folders
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free."
)
def serve(board: Path, out: Path, seconds: int, port: int, *, fresh: bool) -> None:
    """Make the pages of the board and show them to this machine, until interrupted.

    An entry that is refused is left out and named.

    \b
    Example:
      parallelbench leaderboard serve --port 8000
    """  # noqa: D301  click's \\b keeps the lines of an example apart
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
        StorageError: The port is taken, or may not be had.
    """
    from parallelbench.errors import StorageError

    handler = partial(_Quiet, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise StorageError(
            f"port {port} of 127.0.0.1 cannot be had: {error}; ask for another with --port"
        ) from error


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of every file that it sends."""

    def send_head(self) -> Any:
        """Send what stands before a file and return the file; None if there is none."""
        try:
            return super().send_head()
        except ValueError:  # such as a name with a NUL byte
            self.send_error(http.HTTPStatus.NOT_FOUND, "no file has that name")
            return None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its base's name
        """Say nothing."""


def _build(board: Path, out: Path, seconds: int, *, fresh: bool) -> bool:
    """Make the pages and print who leads; return whether an entry was refused, and so left out."""
    from parallelbench.console.progress import shown
    from parallelbench.console.tables import show
    from parallelbench.leaderboards.board.board import read_board
    from parallelbench.leaderboards.board.pages import build_site
    from parallelbench.leaderboards.verify.cache import VerificationCache

    refusals: list[SubmissionError] = []
    with shown(f"reading {board}") as progress:
        entries = read_board(
            board,
            cache=VerificationCache(fresh=fresh),
            progress=progress,
            seconds=seconds,
            refused=refusals.append,
        )
        boards, index = build_site(entries, out, progress)
    for each in boards:
        for section in each.sections:
            show(leaders(each, section))
    if not entries and not refusals:
        tell(f"{board} holds no entry yet; the page says how to enter")
    for refusal in refusals:
        first, *others = refusal.faults
        tell_line(f"parallelbench: left out: {first}", err=True)
        for fault in others:
            tell_line(f"  {fault}", err=True)
    tell(f"board: {index}")
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
    found = [
        (row.figures[scope].at.get(_PERCENT) if scope in row.figures else None, row)
        for row in section.rows
    ]
    found.sort(key=lambda each: -(each[0].speed if each[0] else 0.0))
    for at, row in found[:_ROWS]:
        table.add_row(
            cells.ABSENT if at is None or at.rank is None else str(at.rank),
            cells.number(at.speed if at else None),
            cells.range_if_reached(at.interval, at.reached, _PERCENT) if at else cells.ABSENT,
            row.entry.level,
            row.strategy,
            row.model,
            row.entry.name,
        )
    if len(found) > _ROWS:
        table.caption = f"and {len(found) - _ROWS} more"
    return table
