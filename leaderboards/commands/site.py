"""The commands ``leaderboard build`` and ``leaderboard serve``: entries -> pages."""

from __future__ import annotations

import http.server
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import WholeNumber
from parallelbench.console.terminal import tell
from parallelbench.errors import StorageError
from parallelbench.leaderboards.commands.pack import limited


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
    from parallelbench.leaderboards.commands.actions import build_and_show

    refused = build_and_show(board, out, seconds, fresh=fresh)
    click.get_current_context().exit(2 if refused else 0)


@click.command(cls=Verb, short_help="Make the board's pages and serve them here.")
@_with_folder_options
@click.option(
    "--port", type=WholeNumber(0, 65535), default=8000, show_default=True, help="0: any free."
)
def serve(board: Path, out: Path, seconds: int, port: int, *, fresh: bool) -> None:
    """Make the pages of the board and show them to this machine, until interrupted.

    A refused entry is left out and named.

    Example:
      parallelbench leaderboard serve --port 8000
    """
    from parallelbench.leaderboards.commands.actions import build_and_show

    build_and_show(board, out, seconds, fresh=fresh)
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
