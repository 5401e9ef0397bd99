"""Scores of replies, and the readers of lists and grids that all tasks share.

There are two ways to read a reply.  *Strict* accepts only the requested form.  *Lenient* finds
the answer inside prose, quotes, numbering or other brackets.  Both then apply the same rule of
validity, so lenient reading forgives form but never content.

Readers accept any text of any length and never raise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Marks:
    """The scores of a reply.

    Attributes:
        strict: 1 if the whole reply is right in the requested form, else 0; a share in
            [0, 1] for tasks with a graded score.
        lenient: Score of the answer found inside the reply; at least ``strict``.  This is the
            headline accuracy, as in the original benchmark.
        failure: Reason why the lenient score is not 1, in one or two words of the task's list
            (``"identity"``, ``"repeated item"``, ``"unreadable"``); None if it is 1.
        parts: Named partial scores in [0, 1], for diagnosis.

    Raises:
        ValueError: A mark lies outside [0, 1], ``strict`` exceeds ``lenient``, or
            ``failure`` is missing or given without need.
    """

    strict: float
    lenient: float
    failure: str | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.strict <= self.lenient <= 1:
            raise ValueError(
                "marks must satisfy 0 <= strict <= lenient <= 1, "
                f"got strict={self.strict}, lenient={self.lenient}"
            )
        if (self.failure is None) != (self.lenient == 1):
            raise ValueError(f"lenient mark {self.lenient} does not match failure {self.failure!r}")


#: Failure of a reply in which no answer can be found.
UNREADABLE = "unreadable"

# Straight, code and emphasis marks, and the curly quotes that models write.
_QUOTES = "\"'`*_\u201c\u201d\u2018\u2019"
_BRACKETS = "[](){}"
_NUMBERING = re.compile(r"^(?:\d{1,3}[.):]|[-+*•])\s+")
_OTHER_BRACKETED = re.compile(r"[({]([^(){}]*)")


def read_list_strictly(reply: str) -> list[str] | None:
    """Return the items of a reply of exactly the form ``[a, b, c]``; else None.

    Only white space around the whole reply is ignored: items are separated by one comma and
    one space, and none is empty.  Quotes are part of an item.
    """
    text = reply.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    items = text[1:-1].split(", ")
    if any(not item or item != item.strip() or set(item) & set(",[]") for item in items):
        return None
    return items


def read_list(reply: str) -> list[str] | None:
    """Return the items of the last list in ``reply``, in any notation; else None.

    Accepts any brackets or none, commas, semicolons or line breaks between items, quotes
    and numbering around them, and white space anywhere.  Square brackets take precedence over
    others, and those over none.  Without brackets, the list is the last line with a separator,
    or all numbered or bulleted lines if there are several.

    An empty place between two separators is an item (``""``).
    """
    bracketed = _last_bracketed(reply)
    if bracketed is not None:
        return _items(bracketed)
    # A line that ends in a separator continues in the next one.
    text = re.sub(r"(?<=[,;])\n", " ", _without_blank_lines(reply))
    lines = text.split("\n")
    numbered = [line for line in lines if _NUMBERING.match(line)]
    if len(numbered) > 1:
        return _items("\n".join(numbered))
    separated = [line for line in lines if "," in line or ";" in line]
    if separated:
        # "Here you are: a, b, c." is prose up to the colon.
        return _items(separated[-1].rpartition(":")[2].strip().rstrip("."))
    return _items(text)


def _last_bracketed(reply: str) -> str | None:
    # A reply cut off before its closing bracket still shows its items.
    _, opened, tail = reply.rpartition("[")
    if opened:
        return tail.partition("]")[0]
    lists = [inside for inside in _OTHER_BRACKETED.findall(reply) if set(inside) & set(",;\n")]
    return lists[-1] if lists else None


def _items(text: str) -> list[str] | None:
    parts = re.split(r"\n?[,;]\n?|\n", _without_blank_lines(text))
    items = [_bare(part) for part in parts]
    if not items[-1]:  # a trailing separator ends the list
        items.pop()
    return items if any(items) else None


def _bare(item: str) -> str:
    unnumbered = _NUMBERING.sub("", " ".join(item.split()))
    return unnumbered.strip(_QUOTES + _BRACKETS + " ")


def _without_blank_lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def read_grid_strictly(reply: str) -> list[list[str]] | None:
    """Return the rows of a reply that has one row of symbols to a line; else None.

    Only white space around the whole reply is ignored: the symbols of a row are separated by
    one space, and rows by one line break.  A symbol is one character.  Rows may differ in
    length; the task checks whether they fit the question.
    """
    rows = [line.split(" ") for line in reply.strip().split("\n")]
    if any(len(symbol) != 1 or symbol.isspace() for row in rows for symbol in row):
        return None
    return rows


def read_grid(reply: str, symbols: Collection[str]) -> list[list[str]] | None:
    """Return the rows of the last grid in ``reply``, in any notation; else None.

    Accepts commas, bars, brackets and quotes between symbols or around rows, a bracket
    or semicolon at the end of a row, a bullet, number or label with a colon before it,
    and borders, code fences or empty lines between rows.  Spaces may be missing between
    ``symbols``; other characters must be separated, or every word would be a row.  Any other
    line is prose and ends the grid, as does a row of a single character.

    Args:
        reply: Any text.
        symbols: Expected characters of the grid.
    """
    grids: list[list[list[str]]] = [[]]
    for line in _ROW_END.sub("\n", reply).splitlines():
        row = _grid_row(line, symbols)
        if row is not None:
            grids[-1].append(row)
        elif any(character.isalnum() for character in line):
            grids.append([])
    return next((grid for grid in reversed(grids) if grid), None)


_ROW_END = re.compile(r"[\];]")
_GRID_DRAWING = str.maketrans(dict.fromkeys(",|│[](){}" + _QUOTES, " "))


def _grid_row(line: str, symbols: Collection[str]) -> list[str] | None:
    unlabelled = _NUMBERING.sub("", line.strip()).rpartition(":")[2]
    words = unlabelled.translate(_GRID_DRAWING).split()
    row = list("".join(words))
    if len(row) < 2 or not any(character.isalnum() for character in row):
        return None
    alone = len(row) == len(words)
    return row if alone or set(row) <= set(symbols) else None
