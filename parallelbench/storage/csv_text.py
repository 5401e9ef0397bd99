"""Tables as CSV in which no spreadsheet finds a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

#: Characters with which a spreadsheet begins a formula, or that it skips before one.
#: Source: OWASP, "CSV Injection" (owasp.org/www-community/attacks/CSV_Injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    r"""Return a table as CSV, one line per row, each ending in a line feed.

    A text that a spreadsheet would compute, such as ``=HYPERLINK(...)`` in a reply, begins with an
    apostrophe here, which shows it as text; numbers stay as they are.

    Args:
        header: Names of the columns.
        rows: Values of each row; None is an empty cell.

    Example:
        >>> csv_text(["text", "value"], [["=1+1", -0.5], ["-0.5", None]])
        "text,value\n'=1+1,-0.5\n-0.5,\n"
    """
    # A cell with a carriage return is quoted only where lines end in one: a reader that breaks
    # the line there would find a formula behind it.
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    lines = []
    for row in (header, *rows):
        text.seek(0)
        text.truncate()
        writer.writerow(map(_without_formula, row))
        lines.append(text.getvalue().removesuffix("\r\n"))
    return "\n".join([*lines, ""])


def _without_formula(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
