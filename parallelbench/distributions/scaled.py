"""Non-negative numbers with a range far beyond that of float64.

The counts of a long trellis span thousands of binary orders of magnitude, between the states of
one position too.  A scaled number is a fraction in [0.5, 1) times a power of two; scaling by a
power of two rounds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

#: Exponent of 0, below that of any other number.
_OF_ZERO = -(2**28)
#: Numbers this many powers of two below the largest of their row are summed apart from it.
_SPAN = 500

_Linear = Callable[[np.ndarray], np.ndarray]


class Scaled(NamedTuple):
    """Numbers ``fractions * 2 ** exponents``.

    Attributes:
        fractions: Values in [0.5, 1), or 0.
        exponents: Powers of two.
    """

    fractions: Float[np.ndarray, "places rows"]
    exponents: Int[np.ndarray, "places rows"]

    def rows(self, chosen: Int[np.ndarray, " chosen"]) -> Scaled:
        """Return the columns of the chosen rows."""
        return Scaled(*(np.take(part, chosen, axis=1) for part in self))

    def places(self, chosen: Int[np.ndarray, " chosen"]) -> Scaled:
        """Return the chosen places, with repeats."""
        return Scaled(*(np.take(part, chosen, axis=0) for part in self))


def ones(places: int, rows: int) -> Scaled:
    """Return the number 1 at every place."""
    return normal(np.ones((places, rows)), np.zeros((places, rows), dtype=np.int32))


def normal(values: np.ndarray, exponents: np.ndarray) -> Scaled:
    """Return ``values * 2 ** exponents``."""
    fractions, shifts = np.frexp(values)
    shifts += exponents
    shifts[fractions == 0] = _OF_ZERO
    return Scaled(fractions, shifts)


def product(one: Scaled, other: Scaled) -> Scaled:
    """Return the product of each pair of numbers."""
    return normal(one.fractions * other.fractions, one.exponents + other.exponents)


def add(one: Scaled, other: Scaled) -> Scaled:
    """Return the sum of each pair of numbers."""
    top = np.maximum(one.exponents, other.exponents)
    values = np.ldexp(one.fractions, one.exponents - top)
    return normal(values + np.ldexp(other.fractions, other.exponents - top), top)


def shifted(numbers: Scaled, powers: int) -> Scaled:
    """Return ``numbers * 2 ** powers``."""
    exponents = numbers.exponents + np.int32(powers)
    exponents[numbers.fractions == 0] = _OF_ZERO
    return Scaled(numbers.fractions, exponents)


def apply_linear(linear: _Linear, numbers: Scaled) -> Scaled:
    """Apply a linear map whose coefficients are 0 or at least 1.

    The map sees the numbers of each row relative to the largest one.  A result that is far below
    that is computed again from the numbers in its own reach, so none is lost by underflow.

    Args:
        linear: Map of an array of places and rows to another one, row by row.
        numbers: Numbers to map.
    """
    fractions, exponents = numbers
    ceiling = exponents.max(axis=0)
    result = _mapped(linear, np.ldexp(fractions, exponents - ceiling), ceiling)
    while True:
        below = (exponents <= ceiling - _SPAN) & (fractions > 0)
        if not below.any():
            return result
        unresolved = result.exponents <= ceiling - _SPAN
        ceiling = np.where(below, exponents, _OF_ZERO).max(axis=0)
        shown = np.ldexp(np.where(below, fractions, 0.0), np.minimum(exponents - ceiling, 0))
        lower = _mapped(linear, shown, ceiling)
        result = Scaled(
            *(np.where(unresolved, low, high) for low, high in zip(lower, result, strict=True))
        )


def _mapped(linear: _Linear, values: np.ndarray, ceiling: np.ndarray) -> Scaled:
    return normal(linear(values), ceiling)
