"""Tables in the terminal.

A table that is too wide for the terminal is printed in several blocks.  No column is cut off or
left out: each block repeats the first column and has as many of the others as fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text, TextType

from parallelbench.console.terminal import plain

#: Least width in characters of the first column where a table is divided.
_LEAST_KEY = 8
#: More characters than any cell has.
_ENDLESS = 100_000


class _Width(NamedTuple):
    """Characters that a column needs: so that no word is broken, and so that no line is."""

    least: int
    most: int


class _PlainConsole(Console):
    """A console that shows control characters in text as symbols."""

    def render_str(self, text: str, **options: Any) -> Text:
        # Before its width is measured.
        return super().render_str(plain(text), **options)

    def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
        for segment in super().render(*arguments, **options):
            # Rich's own control codes are no text.
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def new_console(**options: Any) -> Console:
    """Return a console of rich that only shows what it is given, with the ``options`` of rich."""
    return _PlainConsole(**{"markup": False, "emoji": False, **options})


def show(table: Table, on: Console | None = None) -> None:
    """Print ``table``, in blocks if ``on`` (the terminal by default) is too narrow for it."""
    on = on or new_console()
    for block in blocks(table, on):
        on.print(block)


def blocks(table: Table, console: Console) -> Iterator[Table]:
    """Yield ``table`` in blocks that ``console`` shows whole: itself, if it fits.

    Args:
        table: Table whose first column names its rows.
        console: Console that prints it.
    """
    key, *others = [_width(column, console) for column in table.columns]
    if _total(table, [each.most for each in (key, *others)]) <= console.width:
        yield table
        return
    if _total(table, [each.least for each in (key, *others)]) > console.width:
        key = _Width(min(key.least, max(_LEAST_KEY, console.width // 3)), key.most)
    title = table.title
    places: list[int] = []
    for place, width in enumerate(others):
        taken = [others[each].least for each in places]
        if places and _total(table, [key.least, *taken, width.least]) > console.width:
            yield _block(table, {0: key, **{p + 1: others[p] for p in places}}, console, title)
            places, title = [], None
        places.append(place)
    yield _block(table, {0: key, **{p + 1: others[p] for p in places}}, console, title)


def _width(column: Column, console: Console) -> _Width:
    options = console.options.update_width(_ENDLESS)
    cells = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    most = max(*(cell.maximum for cell in cells), column.min_width or 1)
    least = most if column.no_wrap else max(cell.minimum for cell in cells)
    limit = column.max_width or most
    return _Width(max(1, min(least, limit)), max(1, min(most, limit)))


def _total(table: Table, widths: Sequence[int]) -> int:
    """Return the width in characters of a table whose columns have ``widths``."""
    _, right, _, left = table.padding
    lines = 0 if table.box is None else len(widths) - 1 + 2 * table.show_edge
    return sum(widths) + len(widths) * (left + right) + lines


def _block(
    table: Table, widths: dict[int, _Width], console: Console, title: TextType | None
) -> Table:
    """Return some of the columns of ``table``, by place, as wide as there is room for."""
    block = Table(
        title=title,
        title_justify=table.title_justify,
        caption=table.caption if len(table.columns) - 1 in widths else None,
        box=table.box,
        padding=table.padding,
        show_edge=table.show_edge,
    )
    room = console.width - _total(table, [width.least for width in widths.values()])
    for place, width in widths.items():
        column = table.columns[place]
        more = max(0, min(room, width.most - width.least))
        room -= more
        block.add_column(
            column.header,
            justify=column.justify,
            width=width.least + more,
            overflow="fold",  # not an ellipsis in the place of the end of a word
        )
    kept = [table.columns[place].cells for place in widths]
    for row, *cells in zip(table.rows, *kept, strict=True):
        block.add_row(*cells, style=row.style, end_section=row.end_section)
    return block
