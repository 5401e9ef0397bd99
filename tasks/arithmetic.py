"""Arithmetic: two numbers of many digits with a given sum.

*Question:* write the sum as that of two numbers with as many digits each as asked for, chosen at
random among all such pairs.

*Why it is hard:* each digit of one number is free, and then the digit below it follows, up to a
carry from the column to its right, which depends on all columns to the right.  Digits drawn in
parallel leave columns that do not add up.  Written column by column the answer is a chain; the
carries in its middle split it into two parts that no longer depend on each other.

*Theory:* the right answers are the pairs (a, S - a) with both numbers in range, so entropy is the
logarithm of their number, about n log2 10 for n digits.  Total correlation is close to that: each
number alone determines the other.

*The lenient reading* takes the last two numbers with a plus sign, "plus" or "and" between them,
and ignores what follows.

*Problems of a reply*, first match: ``unreadable``: no such numbers; ``wrong length``: a number
has more or fewer digits, or begins with 0; ``wrong sum``.

Source: ``choices/sum`` asks for small numbers; long ones are our own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis, constant_stage
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask

#: Possessive repetitions: a reply of any length is read once.
_SUMMANDS = re.compile(r"(?<![\d.])(\d++)\s*+(?:\+|plus|and)\s*+(\d++)", re.ASCII | re.IGNORECASE)


class _Column:
    """The column of one digit of the sum, from the right.

    Before a column the trellis is in the state of the carry into it, and after its upper digit in
    the state of that carry and digit.

    Args:
        digit: Digit of the sum.
        carries: Possible carries into the column; ``START`` for none at the rightmost one.
        carry: The carry out of the column; None for either.
    """

    def __init__(self, digit: int, carries: tuple[int | None, ...], carry: int | None) -> None:
        self._digit = digit
        self._carries = carries
        self._carry = carry
        self._digits = range(0 if carry is None else 1, 10)
        # The first digit of the lower number has a space before it.
        self._space = "" if carry is None else " "

    def stages(self) -> tuple[Stage, Stage]:
        """Return the stages of the upper and of the lower digit."""
        upper = Stage(
            Edge(carry, str(digit), (carry, digit))
            for carry in self._carries
            for digit in self._digits
        )
        return upper, Stage(self._lower())

    def _lower(self) -> Iterator[Edge]:
        for carry in self._carries:
            for upper in self._digits:
                lower = (self._digit - upper - (carry or 0)) % 10
                carried = (upper + lower + (carry or 0)) // 10
                if lower in self._digits and self._carry in (None, carried):
                    yield Edge((carry, upper), f"{self._space}{lower}", carried)


@lru_cache(maxsize=64)
def _sums(total: str) -> TextTrellis:
    """Return the pairs of numbers whose sum is ``total``, of one digit more than each of them."""
    length = len(total) - 1
    shared: dict[tuple[object, ...], tuple[Stage, Stage]] = {}
    stages: list[Stage] = []
    places: list[int] = []
    for column in reversed(range(length)):
        carries = (START,) if column == length - 1 else (0, 1)
        key = int(total[column + 1]), carries, int(total[0]) if column == 0 else None
        if key not in shared:
            shared[key] = _Column(*key).stages()
        stages += shared[key]
        places += [column, length + 1 + column]
    return TextTrellis([*stages, constant_stage(" +", (0, 1))], [*places, length])


@TASKS.register("arithmetic/addition")
@dataclass(frozen=True, kw_only=True)
class Addition(TrellisTask):
    """Ask for two numbers with a given sum; all pairs are equally likely.

    Attributes:
        length: Number of digits of each number.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "arithmetic/addition"
    templates: ClassVar[dict[str, str]] = {
        "default": "Choose two numbers with {length} digits each at random whose sum is {total}. "
        "Reply with the two numbers and a plus sign between them, like 12 + 34, and nothing else.",
        "terse": "{total} as a sum of two random {length}-digit numbers, in the form a + b:",
        "story": "Two purses together hold {total} coins, each of them a number of coins with "
        "{length} digits. Draw at random how many each one holds. Reply in the form a + b only.",
    }

    length: int = whole(1, 24, "digits", most=250)
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a sum, and two numbers with that sum."""
        least, most = 10 ** (self.length - 1), 10**self.length - 1
        total = f"{rng.randint(least, most) + rng.randint(least, most):0{self.length + 1}d}"
        trellis = _sums(total)
        slots = {"length": str(self.length), "total": total.lstrip("0")}
        return Question(slots, trellis.text(trellis.draw(rng)), {"total": total})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all pairs of numbers with the sum."""
        return _sums(sample.facts["total"])

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last sum of two numbers in ``reply``."""
        summands = _SUMMANDS.findall(reply)
        if not summands:
            return Marks(0.0, 0.0, UNREADABLE)
        one, other = summands[-1]
        problem = None
        if any(len(each) != self.length or each.startswith("0") for each in (one, other)):
            problem = "wrong length"
        elif int(one) + int(other) != int(sample.facts["total"]):
            problem = "wrong sum"
        right = problem is None
        return Marks(float(right and reply.strip() == f"{one} + {other}"), float(right), problem)
