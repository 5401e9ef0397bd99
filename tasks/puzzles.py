"""Puzzles: fill a grid so that no symbol repeats in a row, a column or a box.

*Question:* a Latin square of given symbols, where every valid square is right, or a sudoku with
exactly one solution.  A grid is written one row per line with single spaces between symbols.

*Why it is hard:* the two are opposites in the same format.  In an empty Latin square every
cell is uncertain and depends on all cells of its row and column, so cells drawn in parallel
repeat symbols.  A sudoku's cells are certain from the start: one step is enough for a perfect
model, and further steps pay for what the model cannot deduce at once, not for parallel decoding.

*Theory:* the total correlation C(Y|X) of the cells, in bits, is the least that committing them in
one step costs.  A k by k Latin square has k*k cells, each uniform over k symbols, so
C = k*k log2 k - log2(number of squares): 10.68, 22.83 and 40.75 for the 12, 576 and 161,280
squares of size 3, 4 and 5.  For sudoku C = 0.

*Problems of a reply*, first match:

1. ``unreadable``: no grid is found;
2. ``wrong size``: too few or too many rows, or symbols in a row;
3. ``wrong symbols``: a symbol that is not one of the given ones;
4. ``wrong givens``: a given cell was changed (sudoku only);
5. ``repeated in row``;
6. ``repeated in column``;
7. ``repeated in box`` (sudoku only).

*Parts of the marks:* the shares of ``givens`` kept, and of ``rows``, ``columns`` and ``boxes``
that hold every symbol once; all are 0 where no grid of the right size is found.

Source: Kang et al., ParallelBench (arXiv:2510.04767).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, permutations, product
from math import factorial, isqrt
from operator import ne
from typing import ClassVar, Literal, get_args

from parallelbench.ranges import choice, whole
from parallelbench.registry import unknown
from parallelbench.score import UNREADABLE, Marks, read_grid, read_grid_strictly
from parallelbench.task import DEFAULT_LIMIT, TASKS, Answers, Question, Sample, Task, refuse_over

Form = Literal["free", "infill"]

#: Cells that must hold every symbol once.  Cells are numbered row by row, from 0.
Unit = tuple[int, ...]

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # I and O look like digits
_DIGITS = "123456789"


# --- Grids ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rules:
    """The conditions on a right grid.

    Attributes:
        symbols: The symbols, one character each, as many as rows and columns.
        units: Groups of cells that must hold every symbol once, by kind: ``rows``, ``columns``,
            ``boxes``.
        givens: Symbols of the given cells.
    """

    symbols: Collection[str]
    units: Mapping[str, Sequence[Unit]]
    givens: Mapping[int, str]

    def marks(self, reply: str) -> Marks:
        """Return the marks of ``reply``: 1 for a right grid, else 0."""
        grid = read_grid(reply, self.symbols)
        problem = self._problem(grid)
        return Marks(
            strict=float(problem is None and grid == read_grid_strictly(reply)),
            lenient=float(problem is None),
            failure=problem,
            parts={part: sum(held) / len(held) for part, held in self._held(grid).items()},
        )

    def _problem(self, grid: list[list[str]] | None) -> str | None:
        if grid is None:
            return UNREADABLE
        if not self._has_right_size(grid):
            return "wrong size"
        if not set(chain(*grid)) <= set(self.symbols):
            return "wrong symbols"
        problems = {
            "givens": "wrong givens",
            "rows": "repeated in row",
            "columns": "repeated in column",
            "boxes": "repeated in box",
        }
        broken = [part for part, held in self._held(grid).items() if not all(held)]
        return problems[broken[0]] if broken else None

    def _held(self, grid: list[list[str]] | None) -> dict[str, list[bool]]:
        cells = [""] * len(self.symbols) ** 2
        if grid is not None and self._has_right_size(grid):
            cells = list(chain(*grid))
        held = {"givens": [cells[cell] == symbol for cell, symbol in self.givens.items()]}
        for kind, units in self.units.items():
            held[kind] = [{cells[cell] for cell in unit} == set(self.symbols) for unit in units]
        return {part: each for part, each in held.items() if each}

    def _has_right_size(self, grid: list[list[str]]) -> bool:
        size = len(self.symbols)
        return [len(row) for row in grid] == [size] * size


def _lines(size: int) -> dict[str, list[Unit]]:
    return {
        "rows": [tuple(range(size * row, size * (row + 1))) for row in range(size)],
        "columns": [tuple(range(column, size * size, size)) for column in range(size)],
    }


def _boxes(size: int) -> list[Unit]:
    side = isqrt(size)
    first_cells = product(range(0, size * size, size * side), range(0, size, side))
    return [
        tuple(top + left + size * row + column for row, column in product(range(side), repeat=2))
        for top, left in first_cells
    ]


def _written(cells: Sequence[str]) -> str:
    size = isqrt(len(cells))
    rows = (cells[first : first + size] for first in range(0, len(cells), size))
    return "\n".join(map(" ".join, rows))


def _spans(form: Form, cells: Iterable[int]) -> tuple[tuple[int, int], ...] | None:
    """Return the character spans of ``cells`` in a written grid; None for the free form."""
    # Each cell is one character, and one more separates it from the next.
    return None if form == "free" else tuple((2 * cell, 2 * cell + 1) for cell in cells)


def _refuse_form(form: str) -> None:
    if form not in get_args(Form):
        raise ValueError(unknown("form", form, get_args(Form)))


# --- Latin squares ----------------------------------------------------------------------


@TASKS.register("puzzles/latin_square")
@dataclass(frozen=True, kw_only=True)
class LatinSquare(Task):
    """Ask for any Latin square of ``size`` symbols.

    The symbols are letters or digits, drawn for each sample.

    Attributes:
        size: Number of symbols, rows and columns, 3 to 5.
        form: ``free``, or ``infill`` with the spaces and line breaks on the canvas.

    Raises:
        ValueError: ``size`` is out of range, or ``form`` is unknown.
    """

    name: ClassVar[str] = "puzzles/latin_square"
    words: ClassVar[tuple[str, ...]] = tuple(_LETTERS)
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Fill a grid of {size} rows and {size} columns with the symbols {symbols} so that "
            "each row and each column holds every symbol exactly once. Any such grid is right. "
            "Reply with the grid and nothing else: one row to a line, with single spaces "
            "between the symbols."
        ),
        "terse": (
            "A Latin square of {symbols}. Only the {size} rows, one to a line, single spaces "
            "between symbols."
        ),
        "story": (
            "A gardener has a square field of {size} by {size} plots and {size} kinds of seed, "
            "marked {symbols}. No kind may come twice in a row of plots, nor in a column. Draw "
            "her a plan. Write one line for each row, with one space between the marks, and no "
            "other words."
        ),
    }

    canvas_length: int = 64
    size: int = whole(3, 4, "symbols", most=5)
    form: Form = "free"

    def __post_init__(self) -> None:
        Task.__post_init__(self)
        _refuse_form(self.form)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about random symbols, with a random right square."""
        symbols = sorted(rng.sample(rng.choice((_LETTERS, _DIGITS)), self.size))
        reduced = rng.choice(_reduced_squares(self.size))
        rows = _rows(reduced, columns=rng.sample(range(self.size), self.size))
        square = "\n".join([rows[0], *rng.sample(rows[1:], self.size - 1)])
        return Question(
            slots={"size": str(self.size), "symbols": ", ".join(symbols)},
            reference=square.translate(_naming(symbols)),
            facts={"symbols": symbols},
            open_spans=_spans(self.form, range(self.size**2)),
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if ``reply`` is a Latin square of the given symbols, else 0."""
        symbols = sample.facts["symbols"]
        return _Rules(symbols, _lines(len(symbols)), givens={}).marks(reply)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return all Latin squares of the symbols, all equally likely.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        symbols = sample.facts["symbols"]
        size = len(symbols)
        refuse_over(limit, _number_of_squares(size), f"{self.name} of size {size}")
        return Answers.uniform(square.translate(_naming(symbols)) for square in _squares(size))


@cache
def _reduced_squares(size: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return the Latin squares of 0, 1, ... whose first row and column are sorted.

    Every Latin square arises from exactly one of these, one order of the columns and one order of
    all rows but the first, which makes uniform drawing and counting easy.
    """
    in_order = tuple(range(size))
    fitting = [
        [row for row in permutations(in_order) if row[0] == first and all(map(ne, row, in_order))]
        for first in in_order[1:]
    ]
    return tuple(
        (in_order, *rows)
        for rows in product(*fitting)
        if all(len(set(column)) == size for column in zip(in_order, *rows, strict=True))
    )


def _rows(square: Sequence[Sequence[int]], columns: Sequence[int]) -> list[str]:
    return [" ".join(str(row[column]) for column in columns) for row in square]


def _number_of_squares(size: int) -> int:
    return len(_reduced_squares(size)) * factorial(size) * factorial(size - 1)


@cache
def _squares(size: int) -> tuple[str, ...]:
    """Return every Latin square of 0, 1, ... once, as written."""
    return tuple(
        "\n".join([first, *order])
        for reduced in _reduced_squares(size)
        for columns in permutations(range(size))
        for first, *others in [_rows(reduced, columns)]
        for order in permutations(others)
    )


def _naming(symbols: Sequence[str]) -> dict[int, str]:
    return str.maketrans({str(number): symbol for number, symbol in enumerate(symbols)})


# --- Sudoku -----------------------------------------------------------------------------

_OPEN = "."


@TASKS.register("puzzles/sudoku")
@dataclass(frozen=True, kw_only=True)
class Sudoku(Task):
    """Ask for the one solution of a sudoku.

    Attributes:
        size: 4, with boxes of 2 by 2, or 9, with boxes of 3 by 3, which needs a canvas of
            about 192 tokens.
        givens: Number of given cells, 4 to 15 for size 4 and 26 to 80 for size 9; None means 6
            and 36.
        form: ``free``, or ``infill`` with the givens, spaces and line breaks on the canvas.

    Raises:
        ValueError: ``size`` or ``givens`` is out of range, or ``form`` is unknown.
    """

    name: ClassVar[str] = "puzzles/sudoku"
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Solve this sudoku. Put a digit from 1 to {size} in place of every dot so that each "
            "row, each column and each box of {side} by {side} cells holds every digit exactly "
            "once. Reply with the full grid and nothing else: one row to a line, with single "
            "spaces between the digits.\n\n{puzzle}"
        ),
        "terse": (
            "Sudoku, digits 1 to {size}, boxes {side} by {side}. Only the solved rows, one to a "
            "line, single spaces between digits.\n\n{puzzle}"
        ),
        "story": (
            "A tiler lays a floor of {size} by {size} tiles in {size} colours, numbered from 1. "
            "No colour may come twice in a row, in a column, or in any of the {size} squares of "
            "{side} by {side} tiles that the joints mark out. Some tiles are down already; dots "
            "are bare floor:\n\n{puzzle}\n\nHow does the finished floor look? Write one line "
            "for each row, with one space between the numbers, and no words."
        ),
    }

    canvas_length: int = 64
    size: Literal[4, 9] = choice(4, 9, unit="digits")
    givens: int | None = None
    form: Form = "free"

    def __post_init__(self) -> None:
        Task.__post_init__(self)
        _refuse_form(self.form)
        fewest, most = {4: (4, 15), 9: (26, 80)}[self.size]
        if self.givens is not None and not fewest <= self.givens <= most:
            raise ValueError(
                f"givens must be {fewest} to {most} cells for size {self.size}, got {self.givens}"
            )

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a random puzzle with its solution."""
        givens = {4: 6, 9: 36}[self.size] if self.givens is None else self.givens
        puzzle, solution = _draw_puzzle(rng, self.size, givens)
        slots = {"size": self.size, "side": isqrt(self.size), "puzzle": _written(puzzle)}
        return Question(
            slots={name: str(slot) for name, slot in slots.items()},
            reference=_written(solution),
            facts={"puzzle": puzzle},
            open_spans=_spans(self.form, (i for i, symbol in enumerate(puzzle) if symbol == _OPEN)),
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if ``reply`` is the solution, else 0."""
        puzzle = sample.facts["puzzle"]
        size = isqrt(len(puzzle))
        units = {**_lines(size), "boxes": _boxes(size)}
        givens = {cell: symbol for cell, symbol in enumerate(puzzle) if symbol != _OPEN}
        return _Rules(_DIGITS[:size], units, givens).marks(reply)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return the one solution.

        Raises:
            NotEnumerableError: ``limit`` is below 1.
        """
        refuse_over(limit, 1, self.name)
        return Answers.uniform([_written(next(solutions(sample.facts["puzzle"])))])


def solutions(puzzle: str, rng: random.Random | None = None) -> Iterator[str]:
    """Yield every solution of ``puzzle``.

    Args:
        puzzle: The cells of a square grid, row by row, a dot for each open one.
        rng: Generator that shuffles the order of guesses; None for numerical order.
    """
    symbols = _DIGITS[: isqrt(len(puzzle))]
    candidates = {
        cell: symbols if symbol == _OPEN else symbol for cell, symbol in enumerate(puzzle)
    }
    for filled in _completions(candidates, _peers(len(symbols)), rng):
        yield "".join(filled[cell] for cell in range(len(puzzle)))


def _completions(
    candidates: Mapping[int, str], peers: Sequence[frozenset[int]], rng: random.Random | None
) -> Iterator[dict[int, str]]:
    """Yield every assignment of one candidate to each cell without equal peers."""
    if not candidates:
        yield {}
        return
    # The cell with the fewest candidates first: contradictions show early.
    cell = min(candidates, key=lambda one: len(candidates[one]))
    symbols = candidates[cell]
    for symbol in rng.sample(symbols, len(symbols)) if rng else symbols:
        others = {
            other: left.replace(symbol, "") if other in peers[cell] else left
            for other, left in candidates.items()
            if other != cell
        }
        for filled in _completions(others, peers, rng):
            yield {cell: symbol, **filled}


@cache
def _peers(size: int) -> tuple[frozenset[int], ...]:
    """Return, for each cell, the others that share a row, a column or a box with it."""
    units = [*chain(*_lines(size).values()), *_boxes(size)]
    return tuple(
        frozenset(chain(*(unit for unit in units if cell in unit))) - {cell}
        for cell in range(size * size)
    )


def _draw_puzzle(rng: random.Random, size: int, givens: int) -> tuple[str, str]:
    """Return a puzzle with exactly ``givens`` given cells, and its only solution."""
    while True:
        solution = next(solutions(_OPEN * size**2, rng))
        puzzle = _thinned(rng, solution, givens)
        # Not every grid can be reduced that far in this order; try another one.
        if len(puzzle) - puzzle.count(_OPEN) == givens:
            return puzzle, solution


def _thinned(rng: random.Random, solution: str, givens: int) -> str:
    """Return ``solution`` with cells opened in random order, down to ``givens`` if possible."""
    puzzle = solution
    for cell in rng.sample(range(len(solution)), len(solution)):
        if len(puzzle) - puzzle.count(_OPEN) == givens:
            break
        opened = f"{puzzle[:cell]}{_OPEN}{puzzle[cell + 1 :]}"
        if len(list(islice(solutions(opened), 2))) == 1:
            puzzle = opened
    return puzzle
