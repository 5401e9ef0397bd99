"""The progress bar of a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from parallelbench.console.progress import ProgressDisplay
from parallelbench.console.tables import new_console

_BAR_WIDTH = 30


@contextmanager
def bar(progress: ProgressDisplay) -> Iterator[None]:
    """Show ``progress`` as a bar on stderr until the work inside ends."""
    with Live(
        get_renderable=lambda: _drawn(progress),
        console=new_console(stderr=True),
        transient=True,
        # What is printed for another program must not go where the bar is.
        redirect_stdout=False,
    ):
        yield


def _drawn(progress: ProgressDisplay) -> Table:
    row = Table.grid(padding=(0, 1))
    drawn = ProgressBar(
        total=progress.total,
        completed=progress.done,
        width=_BAR_WIDTH,
        pulse=progress.total is None,
    )
    row.add_row(drawn, Text(progress.sentence(), overflow="ellipsis", no_wrap=True))
    return row
