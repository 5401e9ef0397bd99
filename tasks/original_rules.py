"""How the original benchmark marks lists and grids, said again from its published facts.

These rules exist for parity: a score on its data should be the score that it gives.  They
read a reply less carefully than ours (:mod:`parallelbench.score`), and what they accept
differs at the edges:

- a list is what stands between the last ``[`` and the next ``]``, whatever comes before and
  behind; it is split at commas, and white space and quotes are taken off its items.  Without
  ``[`` the whole reply is read so;
- a shuffled list holds the same items, as often, in another order;
- a list with replaced items has its length and differs from the given one in exactly so many
  places as were asked for, or in one place by the word that was asked for;
- a list with an item inserted is the given one once that item is taken out; one with an item
  removed is the given one without one of its items;
- of a Latin square the first n lines count that have n known symbols; every row and column
  holds each symbol once, and the first row is the given one, if one is given;
- a sudoku is read likewise and equals the solution.

Source: Kang et al., ParallelBench (arXiv:2510.04767), and the behaviour of its public code;
nothing of it is copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

_QUOTES = "\"'"
_DRAWING = str.maketrans(dict.fromkeys("[](),|" + _QUOTES, " "))


def read_list(reply: str) -> list[str]:
    """Return the items of the last list in ``reply``, as the original reads it.

    Example:
        >>> read_list("Here: ['Ada', 'Ben'], as asked")
        ['Ada', 'Ben']
    """
    _, bracket, tail = reply.rpartition("[")
    inside = tail.partition("]")[0] if bracket else reply.partition("]")[0]
    return [item.strip().strip(_QUOTES).strip() for item in inside.split(",")]


def read_grid(reply: str, symbols: Collection[str]) -> list[list[str]]:
    """Return the first n lines of ``reply`` that are rows of n of the n ``symbols``."""
    rows = [line.translate(_DRAWING).split() for line in reply.splitlines()]
    size = len(symbols)
    return [row for row in rows if len(row) == size and set(row) <= set(symbols)][:size]


def list_match(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` is the answer, item for item."""
    return bool(list(reply) == facts["answer"])


def list_shuffle(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` holds the given items, as often, in another order."""
    given = facts["items"]
    return Counter(reply) == Counter(given) and list(reply) != given


def list_random_replace(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``n_words`` items were exchanged, or one for the word asked for."""
    given = facts["items"]
    if len(reply) != len(given):
        return False
    changed = [ours for ours, theirs in zip(reply, given, strict=True) if ours != theirs]
    if facts.get("n_words") is not None:
        return bool(len(changed) == facts["n_words"])
    return changed == [facts["new"]]


def list_random_insert(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` without the new item, at one of its places, is the given list."""
    given, new = facts["items"], facts["new"]
    return any(
        item == new and [*reply[:place], *reply[place + 1 :]] == given
        for place, item in enumerate(reply)
    )


def list_random_remove(facts: Mapping[str, Any], reply: Sequence[str]) -> bool:
    """Return whether ``reply`` is the given list without one of its items."""
    given = facts["items"]
    return any(list(reply) == given[:place] + given[place + 1 :] for place in range(len(given)))


def latin_square(facts: Mapping[str, Any], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether all rows and columns hold every symbol, below the given first row."""
    symbols, first_row = set(facts["symbols"]), facts.get("first_row")
    if len(rows) != len(symbols) or (first_row and list(rows[0]) != first_row):
        return False
    return all(set(line) == symbols for line in (*rows, *zip(*rows, strict=True)))


def sudoku(facts: Mapping[str, Any], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether ``rows`` are those of the solution."""
    return bool([list(row) for row in rows] == facts["answer"])


#: Rules for lists and for grids, by the names of their metrics.
LIST_RULES: Mapping[str, Callable[[Mapping[str, Any], Sequence[str]], bool]] = {
    "list_match_score": list_match,
    "list_shuffle_score": list_shuffle,
    "list_random_insert_score": list_random_insert,
    "list_random_remove_score": list_random_remove,
    "list_random_replace_score": list_random_replace,
}
GRID_RULES: Mapping[str, Callable[[Mapping[str, Any], Sequence[Sequence[str]]], bool]] = {
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
    return GRID_RULES[metric](facts, read_grid(reply, facts["symbols"]))
