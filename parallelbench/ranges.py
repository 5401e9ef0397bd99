"""The values that fields of settings and other parts of a request may take.

A registered class declares the range of a field where it gives the default::

    threshold: float = probability(0.9)
    k: int = whole(1, 1, "token per step")

:func:`check_ranges` compares the values of an instance with these declarations.  Decoders, tasks
and model sources call it when they are built, and so does :mod:`parallelbench.setting`.
``parallelbench list`` and the documentation show the same declarations.

A subclass that gives a field another default keeps its range.  None is never compared: the
type of a field says whether it may be None.

The constants bound whole numbers of run files and of the command line.  They are far above
what anybody runs, and far below what would overflow or fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Samples of a task.
MOST_SAMPLES: Final = 10_000_000
#: Decodes of a sample by a decoder.
MOST_REPEATS: Final = 100_000
#: A seed: 128 bits, as much as generators are usually seeded with.
MOST_SEED: Final = 2**128 - 1
#: Decodes at a time, or samples of a training step.
MOST_AT_A_TIME: Final = 1_000_000
#: Workers of a cluster.
MOST_WORKERS: Final = 10_000
#: The value of a field that is no seed; classes narrow it where that is still too large.
MOST_IN_A_FIELD: Final = 1_000_000_000
#: Worked examples of a prompt.
MOST_SHOTS: Final = 1_000
#: Tokens of a canvas.
MOST_TOKENS: Final = 100_000
#: Records of a model that a spot check decodes again, at least.  Of fewer all could differ, and
#: chance would still allow it.
LEAST_SPOT_CHECK: Final = 20
#: Runs of a season that an entry may say were made.
MOST_RUNS: Final = 1_000_000

#: The entry of a dataclass field's metadata that holds its range.
_KEY: Final = "parallelbench.range"


@dataclass(frozen=True, slots=True)
class RealInterval:
    """The real numbers between two bounds.

    Attributes:
        low: Lower bound.
        high: Upper bound; inf for none, but every value is finite.
        low_included: True if ``low`` itself is allowed.
        high_included: True if ``high`` itself is allowed.
        unit: Unit of the values, as it follows a number in a sentence; may be empty.
    """

    low: float
    high: float
    low_included: bool = True
    high_included: bool = False
    unit: str = ""

    @property
    def requirement(self) -> str:
        """The predicate of the sentence that refuses a value."""
        return f"must lie in {self}"

    def __contains__(self, value: float) -> bool:
        above = self.low <= value if self.low_included else self.low < value
        return above and (value <= self.high if self.high_included else value < self.high)

    def __str__(self) -> str:
        brackets = "(["[self.low_included], ")]"[self.high_included]
        interval = f"{brackets[0]}{self.low:g}, {self.high:g}{brackets[1]}"
        return f"{interval} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class WholeNumbers:
    """The whole numbers from a least one.

    Attributes:
        least: Lowest allowed number.
        most: Highest allowed number; None for no bound.
        unit: Unit of the numbers, as it follows the last number in a sentence; may be empty.
    """

    least: int
    most: int | None
    unit: str = ""

    @property
    def requirement(self) -> str:
        """The predicate of the sentence that refuses a value."""
        return f"must be {self}"

    def __contains__(self, value: int) -> bool:
        return self.least <= value and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        bounds = (
            f"at least {self.least:,}" if self.most is None else f"{self.least:,} to {self.most:,}"
        )
        return f"{bounds} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class AllowedValues:
    """A few words or numbers.

    Attributes:
        options: Allowed values, in the order in which they are shown.
        unit: Unit of the values, as it follows the last one in a sentence; may be empty.
    """

    options: tuple[Any, ...]
    unit: str = ""

    @property
    def requirement(self) -> str:
        """The predicate of the sentence that refuses a value."""
        return f"must be {self}"

    def __contains__(self, value: object) -> bool:
        return value in self.options

    def __str__(self) -> str:
        if len(self.options) == 2:
            options = " or ".join(map(repr, self.options))
        else:
            options = f"one of {', '.join(map(str, self.options))}"
        return f"{options} {self.unit}".rstrip()


Range = RealInterval | WholeNumbers | AllowedValues


def probability(default: T) -> T:
    """Declare a field in (0, 1], such as a threshold that a probability must reach."""
    return _ranged(default, RealInterval(0.0, 1.0, low_included=False, high_included=True))


def fraction(default: T) -> T:
    """Declare a field in [0, 1]."""
    return _ranged(default, RealInterval(0.0, 1.0, high_included=True))


def positive(default: T, unit: str = "", *, most: float = math.inf) -> T:
    """Declare a finite field above 0 and at most ``most``."""
    bounded = most < math.inf
    return _ranged(
        default, RealInterval(0.0, most, low_included=False, high_included=bounded, unit=unit)
    )


def nonnegative(default: T, unit: str = "", *, below: float = math.inf) -> T:
    """Declare a finite field of 0 or more, and less than ``below``."""
    return _ranged(default, RealInterval(0.0, below, unit=unit))


def whole(least: int, default: T, unit: str = "", *, most: int | None = None) -> T:
    """Declare a whole number of ``least`` or more, and at most ``most``."""
    return _ranged(default, WholeNumbers(least, most, unit))


def choice(*options: T, unit: str = "") -> T:
    """Declare a field that takes one of ``options``; the first is the default."""
    return _ranged(options[0], AllowedValues(options, unit))


def ranges_of(kind: type[Any]) -> Mapping[str, Range]:
    """Return the declared ranges of a dataclass's fields, by the name of the field."""
    ranges: dict[str, Range] = {}
    for base in reversed(kind.__mro__):
        for name, declared in base.__dict__.get("__dataclass_fields__", {}).items():
            if _KEY in declared.metadata:
                ranges[name] = declared.metadata[_KEY]
    return ranges


def check_ranges(instance: object) -> None:
    """Refuse an instance with a field out of its declared range.

    Raises:
        ValueError: A field is out of range; the sentence names field, range and value.
    """
    for name, allowed in ranges_of(type(instance)).items():
        value = getattr(instance, name)
        if value is not None and value not in allowed:
            raise ValueError(f"{name} {allowed.requirement}, got {value!r}")


def _ranged(default: T, allowed: Range) -> T:
    return field(default=default, metadata={_KEY: allowed})
