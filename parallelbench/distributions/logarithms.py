"""Natural logarithms with the same bits in every batch and on every machine.

Vectorised libraries may give a number another last bit at another place of an array.  Here every
step is an elementary operation, which IEEE 754 rounds in one way only.

Source: Tang (1990), "Table-driven implementation of the logarithm function in IEEE
floating-point arithmetic".
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

_BINS = 512
# A number in [0.5, 1) is one of 256 short reciprocals times 1 + r with |r| < 2^-8.
_RECIPROCALS = np.array(
    [round(2**15 / (0.5 + (bin_ + 0.5) / _BINS)) / 2**15 for bin_ in range(_BINS // 2)]
)
_TABLE = np.array([-math.log(reciprocal) for reciprocal in _RECIPROCALS])
# ln 2 in two parts; the first has few bits, so that its product with an exponent is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")


def natural_logarithms(
    numbers: Float[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns"]:
    """Return the natural logarithm of each number, -inf for 0; right within 2 units of rounding.

    Args:
        numbers: Finite numbers, 0 or more.
    """
    fractions, exponents = np.frexp(numbers)
    bins = ((fractions - 0.5) * _BINS).astype(np.intp)
    np.clip(bins, 0, None, out=bins)  # 0 has the fraction 0
    rest = fractions * _RECIPROCALS[bins] - 1.0
    series = np.full_like(rest, 1 / 7)
    for factor in (-1 / 6, 1 / 5, -1 / 4, 1 / 3, -1 / 2):
        series *= rest
        series += factor
    series *= rest * rest
    series += exponents * _LN2_LOW
    series += rest
    series += _TABLE[bins]
    series += exponents * _LN2_HIGH
    series[numbers == 0] = -math.inf
    return np.asarray(series)
