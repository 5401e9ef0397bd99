"""Checks: digits of which no pair depends on each other, and all do.

*Question:* ``parity`` asks for bits with an even number of ones; ``luhn`` for numbers whose last
digit is a valid Luhn check digit, as on payment cards; ``isbn`` for book numbers of ten digits with
their check digit, X for 10.

*Why it is hard:* the digits of a number but one are independent of each other and as free as those
of any other number.  Only all of them together are dependent.  A rule that looks at single
positions or at pairs, by confidence, entropy or pairwise information, sees nothing and writes
everything in one step, which is wrong m - 1 times out of m.  Two steps are perfect: all digits but
the last, then the last.

*Theory:* a check modulo m that determines each digit from the others shares log2 m bits among all
digits of a number:

=======  ==================================================================================
parity   entropy n - 1; total correlation 1
luhn     each number of n digits: entropy log2 9 + (n - 2) log2 10; total correlation log2 10
isbn     each number: entropy 9 log2 10; total correlation log2 11 to 12 decimals, the entropy of
         the check digit
=======  ==================================================================================

*The lenient reading* of bits takes the last run of zeros and ones, with any separators.  That of
numbers takes the lines without words, and ignores numbering, spaces and hyphens inside a number.

*Problems of a reply*, first match:

=======  ==================================================================================
parity   ``unreadable``: no bits; ``wrong count``; ``odd``: an odd number of ones
luhn     ``unreadable``: no number; ``wrong count`` of numbers; ``wrong length`` of one;
         ``leading zero``; ``wrong check digit``
isbn     ``unreadable``; ``wrong count``; ``wrong length``; ``misplaced X``: X before the last
         digit; ``wrong check digit``
=======  ==================================================================================

Source: ISO/IEC 7812-1, annex B, for the Luhn digit; ISO 2108:1992 for the book number.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis, constant_stage
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask

_DIGITS = "0123456789"


def _marks(reply: str, answer: str, problem: str | None) -> Marks:
    right = problem is None
    return Marks(float(right and reply.strip() == answer), float(right), problem)


# --- Bits -------------------------------------------------------------------------------

_WORD = re.compile(r"\w+")
_BITS = re.compile(r"[01]+")
_SEPARATORS = re.compile(r"[\s,;|/-]*")


def _last_bits(reply: str) -> str:
    """Return the last run of bits in ``reply``, without separators; empty if there is none."""
    runs: list[list[str]] = [[]]
    end = 0
    for word in _WORD.finditer(reply):
        is_bits = _BITS.fullmatch(word.group()) is not None
        if not is_bits or not _SEPARATORS.fullmatch(reply, end, word.start()):
            runs.append([])
        if is_bits:
            runs[-1].append(word.group())
        end = word.end()
    return next(("".join(run) for run in reversed(runs) if run), "")


@lru_cache(maxsize=16)
def _parity_trellis(length: int) -> TextTrellis:
    first = Stage(Edge(START, str(bit), bit) for bit in (0, 1))
    later = Stage(Edge(parity, f" {bit}", parity ^ bit) for parity in (0, 1) for bit in (0, 1))
    last = Stage(edge for edge in later.edges if edge.target == 0)
    return TextTrellis([first, *[later] * (length - 2), last])


@TASKS.register("checks/parity")
@dataclass(frozen=True, kw_only=True)
class Parity(TrellisTask):
    """Ask for bits with an even number of ones; all such bits are equally likely.

    Attributes:
        length: Number of bits.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "checks/parity"
    templates: ClassVar[dict[str, str]] = {
        "default": "Write a random string of {length} bits with an even number of ones. Write each "
        "bit as 0 or 1, with one space between two bits, and nothing else.",
        "terse": "{length} random bits, each 0 or 1, separated by spaces, an even number of them "
        "1. Only the bits:",
        "story": "A sender protects a message of {length} bits by an even number of ones in all. "
        "Make up such a message at random and reply with its bits only, 0 or 1, with one space "
        "between two of them.",
    }

    length: int = whole(2, 60, "bits", most=2_000)
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a right answer to the one question of this size."""
        trellis = _parity_trellis(self.length)
        return Question({"length": str(self.length)}, trellis.text(trellis.draw(rng)), {})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all bits with an even number of ones."""
        return _parity_trellis(self.length)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last run of bits in ``reply``."""
        bits = _last_bits(reply)
        problem = None
        if not bits:
            problem = UNREADABLE
        elif len(bits) != self.length:
            problem = "wrong count"
        elif bits.count("1") % 2:
            problem = "odd"
        return _marks(reply, " ".join(bits), problem)


# --- Numbers with a check digit ---------------------------------------------------------

_NUMBERING = re.compile(r"\s*(?:\d{1,3}[.):]|[-+*•])\s+")
_AROUND = " \t`*_.\"'"
_OF_A_NUMBER = frozenset(f"{_DIGITS}Xx- \t")


def _numbers(reply: str) -> list[str]:
    """Return the numbers on the lines of ``reply`` that hold nothing else."""
    numbers = []
    for line in reply.splitlines():
        parts = re.split("[,;]", _NUMBERING.sub("", line, count=1).strip(_AROUND))
        if all(set(part) <= _OF_A_NUMBER and set(part) & set(_DIGITS) for part in parts):
            numbers += [re.sub("[- \t]", "", part).upper() for part in parts]
    return numbers


def _number_stages(values: Sequence[Mapping[str, int]], modulus: int) -> list[Stage]:
    """Return the stages of one number.

    Args:
        values: Value in the sum of each sign that may stand at a position, for each position.
        modulus: Number that divides the sum of a right number.
    """
    shared: dict[Hashable, Stage] = {}
    stages = []
    for position, of_signs in enumerate(values):
        first, last = position == 0, position == len(values) - 1
        key = first, last, tuple(of_signs.items())
        if key not in shared:
            shared[key] = Stage(_number_edges(of_signs, modulus, first=first, last=last))
        stages.append(shared[key])
    return stages


def _number_edges(
    values: Mapping[str, int], modulus: int, *, first: bool, last: bool
) -> Iterator[Edge]:
    for before in (0,) if first else range(modulus):
        for sign, value in values.items():
            after = (before + value) % modulus
            if not last:
                yield Edge(START if first else before, sign, after)
            elif after == 0:
                yield Edge(START if first else before, sign, START)


def _lines(number: Sequence[Stage], count: int) -> TextTrellis:
    """Return the trellis of ``count`` numbers, one to a line."""
    return TextTrellis([*number, *[constant_stage("\n"), *number] * (count - 1)])


def _luhn_value(digit: str, *, doubled: bool) -> int:
    value = int(digit) * (1 + doubled)
    return value - 9 if value > 9 else value


@lru_cache(maxsize=16)
def _luhn_trellis(length: int, numbers: int) -> TextTrellis:
    values = [
        {
            digit: _luhn_value(digit, doubled=(length - position) % 2 == 0)
            for digit in (_DIGITS[1:] if position == 0 else _DIGITS)
        }
        for position in range(length)
    ]
    return _lines(_number_stages(values, 10), numbers)


def is_luhn(number: str) -> bool:
    """Return True if the last of some digits is their Luhn check digit."""
    digits = enumerate(reversed(number))
    return sum(_luhn_value(digit, doubled=place % 2 == 1) for place, digit in digits) % 10 == 0


@lru_cache(maxsize=16)
def _isbn_trellis(numbers: int) -> TextTrellis:
    values = [
        {sign: (10 - position) * value for value, sign in enumerate(_isbn_signs(position))}
        for position in range(10)
    ]
    return _lines(_number_stages(values, 11), numbers)


def _isbn_signs(position: int) -> str:
    return f"{_DIGITS}X" if position == 9 else _DIGITS


def is_isbn(number: str) -> bool:
    """Return True if nine digits are followed by their check digit, X for 10."""
    values = [10 if sign == "X" else int(sign) for sign in number]
    return sum((10 - place) * value for place, value in enumerate(values)) % 11 == 0


class _NumbersTask(TrellisTask):
    """A task that asks for numbers with a check digit, one to a line."""

    def _score(
        self, reply: str, count: int, length: int, problem_of: Callable[[str], str | None]
    ) -> Marks:
        numbers = _numbers(reply)
        problem = None
        if not numbers:
            problem = UNREADABLE
        elif len(numbers) != count:
            problem = "wrong count"
        elif any(len(number) != length for number in numbers):
            problem = "wrong length"
        else:
            problem = next(filter(None, map(problem_of, numbers)), None)
        return _marks(reply, "\n".join(numbers), problem)


def _luhn_problem(number: str) -> str | None:
    if number.startswith("0"):
        return "leading zero"
    return None if "X" not in number and is_luhn(number) else "wrong check digit"


def _isbn_problem(number: str) -> str | None:
    if "X" in number[:-1]:
        return "misplaced X"
    return None if is_isbn(number) else "wrong check digit"


@TASKS.register("checks/luhn")
@dataclass(frozen=True, kw_only=True)
class Luhn(_NumbersTask):
    """Ask for numbers with a Luhn check digit; all such numbers are equally likely.

    Attributes:
        length: Number of digits of each number.
        numbers: Number of numbers.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "checks/luhn"
    templates: ClassVar[dict[str, str]] = {
        "default": "Make up {numbers} random numbers of {length} digits each. The first digit of "
        "each is not 0, and the last one is a valid Luhn check digit. Write each number on a line "
        "of its own, without spaces, and nothing else.",
        "terse": "{numbers} random numbers, {length} digits each, valid by the Luhn check, none "
        "with a leading 0. One to a line:",
        "story": "A shop tests its form for card numbers. Invent {numbers} numbers of {length} "
        "digits at random that pass the Luhn check and do not begin with 0. Reply with the numbers "
        "only, each on its own line, without spaces.",
    }

    length: int = whole(2, 16, "digits", most=500)
    numbers: int = whole(1, 4, "numbers", most=100)
    canvas_length: int = whole(1, 128, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a right answer to the one question of this size."""
        trellis = _luhn_trellis(self.length, self.numbers)
        slots = {"length": str(self.length), "numbers": str(self.numbers)}
        return Question(slots, trellis.text(trellis.draw(rng)), {})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all such numbers."""
        return _luhn_trellis(self.length, self.numbers)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the numbers on lines of their own."""
        return self._score(reply, self.numbers, self.length, _luhn_problem)


@TASKS.register("checks/isbn")
@dataclass(frozen=True, kw_only=True)
class Isbn(_NumbersTask):
    """Ask for book numbers of ten digits; all valid ones are equally likely.

    Attributes:
        length: Number of book numbers.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "checks/isbn"
    templates: ClassVar[dict[str, str]] = {
        "default": "Make up {length} random book numbers with ten digits (ISBN-10). The last digit "
        "of each is its valid check digit, with X for 10. Write each number on a line of its own, "
        "without hyphens or spaces, and nothing else.",
        "terse": "{length} random valid ISBN-10, without hyphens, one to a line:",
        "story": "A library tests its catalogue. Invent {length} book numbers at random in the old "
        "form of ten digits, each with its right check digit (X stands for 10). Reply with the "
        "numbers only, without hyphens, each on its own line.",
    }

    length: int = whole(1, 10, "book numbers", most=200)
    canvas_length: int = whole(1, 128, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a right answer to the one question of this size."""
        trellis = _isbn_trellis(self.length)
        return Question({"length": str(self.length)}, trellis.text(trellis.draw(rng)), {})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all such numbers."""
        return _isbn_trellis(self.length)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the numbers on lines of their own."""
        return self._score(reply, self.length, 10, _isbn_problem)
