"""Tables for terminals of any width: one that is too wide is printed in several blocks.

No column is cut off or left out: each block repeats the first column, and has as many of the
others as fit beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

#: Least width in characters of the first column where a table is divided.
_LEAST_KEY = 12


def show(table: Table, console: Console | None = None) -> None:
    """Print ``table``, in blocks if ``console`` (the terminal by default) is too narrow for it."""
    from rich.console import Console

    console = console or Console()
    for block in blocks(table, console):
        console.print(block)


def blocks(table: Table, console: Console) -> Iterator[Table]:
    """Yield ``table`` in blocks that ``console`` shows whole: itself, if it fits.

    Args:
        table: Its first column says what each row is.
        console: Where it is to be printed.
    """
    widths = [_least_width(column, console) for column in table.columns]
    every = range(len(widths))
    if _width_of(table, [widths[place] for place in every]) <= console.width:
        yield table
        return
    key = max(_LEAST_KEY, console.width // 3)
    widths[0] = min(widths[0], key)
    places: list[int] = []
    title = table.title
    for place in every[1:]:
        wanted = [widths[0], *(widths[other] for other in (*places, place))]
        if places and _width_of(table, wanted) > console.width:
            yield _block(table, places, key, title)
            places, title = [], None
        places.append(place)
    yield _block(table, places, key, title)


def _least_width(column: Column, console: Console) -> int:
    """Return the width in characters below which a column would lose letters or break words."""
    from rich.measure import Measurement

    parts = [column.header, *column.cells]
    measured = [Measurement.get(console, console.options.update_width(10_000), p) for p in parts]
    needed = max(each.maximum if column.no_wrap else each.minimum for each in measured)
    return max(needed if column.max_width is None else min(needed, column.max_width), 1)


def _width_of(table: Table, widths: Sequence[int]) -> int:
    _, right, _, left = table.padding
    lines = 0 if table.box is None else len(widths) - 1 + 2 * table.show_edge
    return sum(widths) + len(widths) * (left + right) + lines


def _block(table: Table, places: Sequence[int], key: int, title: object) -> Table:
    from rich.table import Table

    block = Table(
        title=title,  # type: ignore[arg-type]  as the table had it
        title_justify=table.title_justify,
        box=table.box,
        padding=table.padding,
        show_edge=table.show_edge,
    )
    columns = [table.columns[place] for place in (0, *places)]
    for place, column in enumerate(columns):
        block.add_column(
            column.header,
            justify=column.justify,
            no_wrap=column.no_wrap if place else False,
            max_width=column.max_width if place else key,
            overflow="fold",
        )
    for row, *cells in zip(table.rows, *(column.cells for column in columns), strict=True):
        block.add_row(*cells, style=row.style, end_section=row.end_section)
    return block
