"""Scoring rules of the original benchmark for lists and grids, from its published facts.

These rules exist for parity: a score on the original's data equals the original's score.  They
read a reply less carefully than ours (:mod:`parallelbench.score`), and accept different edge
cases:

- a list is the text between the last ``[`` and the next ``]``; without brackets, the whole reply.
  It is split at commas, empty parts are dropped, and blanks and double quotes are stripped from
  the others; other white space and other quotes belong to the item.  *Strictly*, both brackets are
  present, and the items are in double quotes, separated by exactly ``", "``;
- a shuffled list has the same items, with the same multiplicities, in another order;
- a list with a replaced item has the given length and differs from the given one in one place, by
  the given word;
- a list with an inserted item is the given one, item for item, without that item;
- a list with a removed item is one shorter, lacks one of the given items, and keeps their order;
- a Latin square consists of the first n lines whose comma-separated cells, without surrounding
  white space, form the set of symbols; each of its columns holds each symbol.  The strict rule is
  the same;
- a sudoku consists of the lines with exactly n digits, ignoring everything else; there are n such
  lines, and they are the solution.  Strictly, the reply has nothing else but white space around
  its lines.

Lines end only at a line feed.

Source: Kang et al., ParallelBench (arXiv:2510.04767), and the behaviour of its public code, which
is not copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_BLANK = " "
_QUOTE = '"'


def read_list(reply: str) -> list[str]:
    """Return the items of the last list in ``reply`` by the original's rule.

    Example:
        >>> read_list('Here: ["Ada", "Ben",], as asked')
        ['Ada', 'Ben']
    """
    _, bracket, tail = reply.rpartition("[")
    inside = tail.partition("]")[0] if bracket else reply.partition("]")[0]
    return [part.strip(_BLANK + _QUOTE) for part in inside.split(",") if part.strip()]


def read_list_strictly(reply: str) -> list[str] | None:
    """Return the items of the last list in ``reply`` if its form is strictly right, else None.

    Example:
        >>> read_list_strictly('["Ada", "Ben"]'), read_list_strictly("[Ada, Ben]")
        (['Ada', 'Ben'], None)
    """
    _, opened, tail = reply.rpartition("[")
    inside, closed, _ = tail.partition("]")
    parts = inside.split(", ")
    quoted = opened and closed and all(_is_quoted(part) for part in parts)
    return [part[1:-1] for part in parts] if quoted else None


def _is_quoted(part: str) -> bool:
    return len(part) > 1 and part[0] == part[-1] == _QUOTE and _QUOTE not in part[1:-1]


def quoted_list(items: Sequence[str]) -> str:
    """Return a list in the form of the original's own answers.

    Example:
        >>> quoted_list(["Ada", "Ben"])
        '["Ada", "Ben"]'
    """
    return f"[{', '.join(f'{_QUOTE}{item}{_QUOTE}' for item in items)}]"


def list_match(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return True if ``reply`` is the answer, item for item."""
    return bool(list(reply) == facts["answer"])


def list_shuffle(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return True if ``reply`` has the given items, as often, in another order."""
    given = facts["items"]
    return Counter(reply) == Counter(given) and list(reply) != given


def list_random_replace(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return True if ``reply`` is the given list with one item replaced by the new one."""
    given = facts["items"]
    if len(reply) != len(given):
        return False
    changed = [ours for ours, theirs in zip(reply, given, strict=True) if ours != theirs]
    return changed == [facts["new"]]


def list_random_insert(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return True if ``reply`` is the given list once one new item is removed."""
    given, new = facts["items"], facts["new"]
    return len(reply) == len(given) + 1 and any(
        item == new and [*reply[:place], *reply[place + 1 :]] == given
        for place, item in enumerate(reply)
    )


def list_random_remove(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return True if ``reply`` is the given list without one of its items."""
    given = facts["items"]
    return any(list(reply) == given[:place] + given[place + 1 :] for place in range(len(given)))


def latin_square(facts: Mapping[str, Any], reply: str) -> bool:
    """Return True if the first n lines of ``reply`` with all symbols are a Latin square.

    A line may hold a symbol twice, since only its set counts; columns end with the shortest line.
    """
    symbols = set(facts["symbols"])
    lines = ([cell.strip() for cell in line.split(",")] for line in reply.split("\n"))
    rows = [cells for cells in lines if set(cells) == symbols][: len(symbols)]
    columns = zip(*rows, strict=False)
    return len(rows) == len(symbols) and all(set(column) == symbols for column in columns)


def sudoku(facts: Mapping[str, Any], reply: str) -> bool:
    """Return True if the lines of ``reply`` with n digits are those of the solution."""
    answer: list[str] = facts["answer"]
    lines = map(_digits, reply.split("\n"))
    return [line for line in lines if len(line) == len(answer)] == answer


def _digits(line: str) -> str:
    # Digits of other scripts count, as in int().
    return "".join(str(int(character)) for character in line if character.isdecimal())


#: Rules for lists and for grids, by the names of their metrics.
LIST_RULES: Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], bool]] = {
    "list_match_score": list_match,
    "list_shuffle_score": list_shuffle,
    "list_random_insert_score": list_random_insert,
    "list_random_remove_score": list_random_remove,
    "list_random_replace_score": list_random_replace,
}
GRID_RULES: Mapping[str, Callable[[Mapping[str, Any], str], bool]] = {
    "latin_square_score": latin_square,
    "sudoku_score": sudoku,
}
#: Metrics of free text, computed by :mod:`parallelbench.tasks.original_text`.
TEXT_METRICS = ("sentence_to_words_score", "summary_score", "paraphrase_score")
METRICS = (*LIST_RULES, *GRID_RULES, *TEXT_METRICS)


def original_mark(metric: str, facts: Mapping[str, Any], reply: str) -> bool:
    """Return True if ``reply`` passes the original's metric, not in its strict form."""
    if metric in LIST_RULES:
        return LIST_RULES[metric](facts, read_list(reply))
    return GRID_RULES[metric](facts, reply)


def original_strict_mark(metric: str, facts: Mapping[str, Any], reply: str) -> bool:
    """Return True if ``reply`` passes the original's metric in its strict form."""
    if metric in LIST_RULES:
        items = read_list_strictly(reply)
        return items is not None and LIST_RULES[metric](facts, items)
    if metric == "sudoku_score":
        lines = [line for line in map(str.strip, reply.split("\n")) if line]
        return all(map(str.isdecimal, lines)) and list(map(_digits, lines)) == facts["answer"]
    return GRID_RULES[metric](facts, reply)
