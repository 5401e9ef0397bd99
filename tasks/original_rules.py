"""How the original benchmark marks lists and grids, said again from its published facts.

These rules exist for parity: a score on its data should be the score that it gives.  They
read a reply less carefully than ours (:mod:`parallelbench.score`), and what they accept
differs at the edges:

- a list is what stands between the last ``[`` and the next ``]``, whatever comes before and
  behind; without them, the whole reply is read so.  It is split at commas, parts of nothing but
  white space are dropped, and blanks and double quotes are taken off the others; other white space
  and other quotes are part of an item.  *Strictly*, both brackets are there, and the items stand
  in double quotes, separated by ``", "`` exactly;
- a shuffled list holds the same items, as often, in another order;
- a list with a replaced item has its length and differs from the given one in one place, by the
  word that was asked for;
- a list with an item inserted is the given one, item for item, once that item is taken out;
- one with an item removed is one shorter, lacks one of the given items, and keeps their order;
- of a Latin square those lines count whose cells between commas, without white space around them,
  are the symbols as a set; the first n of them are the square, and each of its columns holds each
  symbol.  Strictly is the same;
- of a sudoku those lines count that have exactly n digits, whatever else stands in them; there are
  n such lines, and they are the solution.  Strictly nothing else stands in the reply but white
  space around its lines.

A line ends at a line feed, and nowhere else.

Source: Kang et al., ParallelBench (arXiv:2510.04767), and the behaviour of its public code;
nothing of it is copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_BLANK = " "
_QUOTE = '"'


def read_list(reply: str) -> list[str]:
    """Return the items of the last list in ``reply``, as the original reads it.

    Example:
        >>> read_list('Here: ["Ada", "Ben",], as asked')
        ['Ada', 'Ben']
    """
    _, bracket, tail = reply.rpartition("[")
    inside = tail.partition("]")[0] if bracket else reply.partition("]")[0]
    return [part.strip(_BLANK + _QUOTE) for part in inside.split(",") if part.strip()]


def read_list_strictly(reply: str) -> list[str] | None:
    """Return the items of the last list in ``reply`` if it is written as asked, else None.

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


def written(items: Sequence[str]) -> str:
    """Return a list in the form of the original's own answers.

    Example:
        >>> written(["Ada", "Ben"])
        '["Ada", "Ben"]'
    """
    return f"[{', '.join(f'{_QUOTE}{item}{_QUOTE}' for item in items)}]"


def list_match(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` is the answer, item for item."""
    return bool(list(reply) == facts["answer"])


def list_shuffle(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` holds the given items, as often, in another order."""
    given = facts["items"]
    return Counter(reply) == Counter(given) and list(reply) != given


def list_random_replace(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` is the given list with one item exchanged for the new one."""
    given = facts["items"]
    if len(reply) != len(given):
        return False
    changed = [ours for ours, theirs in zip(reply, given, strict=True) if ours != theirs]
    return changed == [facts["new"]]


def list_random_insert(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` without the new item, at one of its places, is the given list."""
    given, new = facts["items"], facts["new"]
    return len(reply) == len(given) + 1 and any(
        item == new and [*reply[:place], *reply[place + 1 :]] == given
        for place, item in enumerate(reply)
    )


def list_random_remove(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` is the given list without one of its items."""
    given = facts["items"]
    return any(list(reply) == given[:place] + given[place + 1 :] for place in range(len(given)))


def latin_square(facts: Mapping[str, Any], reply: str) -> bool:
    """Return whether the first n lines of ``reply`` that have all symbols are a Latin square.

    A line may hold a symbol twice, since only its set counts; columns end with the shortest line.
    """
    symbols = set(facts["symbols"])
    lines = ([cell.strip() for cell in line.split(",")] for line in reply.split("\n"))
    rows = [cells for cells in lines if set(cells) == symbols][: len(symbols)]
    columns = zip(*rows, strict=False)
    return len(rows) == len(symbols) and all(set(column) == symbols for column in columns)


def sudoku(facts: Mapping[str, Any], reply: str) -> bool:
    """Return whether the lines of ``reply`` that have n digits are those of the solution."""
    answer: list[str] = facts["answer"]
    lines = map(_digits, reply.split("\n"))
    return [line for line in lines if len(line) == len(answer)] == answer


def _digits(line: str) -> str:
    # Digits of other scripts are read as numbers are.
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
#: Metrics of free text, which :mod:`parallelbench.tasks.original_text` has.
TEXT_METRICS = ("sentence_to_words_score", "summary_score", "paraphrase_score")
METRICS = (*LIST_RULES, *GRID_RULES, *TEXT_METRICS)


def original_mark(metric: str, facts: Mapping[str, Any], reply: str) -> bool:
    """Return whether the original's metric, without its strict form, passes ``reply``."""
    if metric in LIST_RULES:
        return LIST_RULES[metric](facts, read_list(reply))
    return GRID_RULES[metric](facts, reply)


def original_strict_mark(metric: str, facts: Mapping[str, Any], reply: str) -> bool:
    """Return whether the original's metric passes ``reply`` in its strict form too."""
    if metric in LIST_RULES:
        items = read_list_strictly(reply)
        return items is not None and LIST_RULES[metric](facts, items)
    if metric == "sudoku_score":
        lines = [line for line in map(str.strip, reply.split("\n")) if line]
        return all(map(str.isdecimal, lines)) and list(map(_digits, lines)) == facts["answer"]
    return GRID_RULES[metric](facts, reply)
