"""Closed forms of the cost of lists, choices and Latin squares of any size.

Every formula is for the uniform law over the right answers, with an item for a symbol, and
is held against enumeration in the tests.  Where only the number of positions counts, the
entropies of 0, 1, ..., n positions are given, from which
:func:`parallelbench.analysis.theory.bounds.best_sizes` finds the best steps.

Source: Kang et al., ParallelBench (arXiv:2510.04767), equations 3 and 4; the formulas for
inserting, removing, a shuffle that must change the order, and the expected steps of
adaptive policies are this project's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: What replace_random tends to as the list grows, in bits; equation 3.
REPLACE_RANDOM_LIMIT = math.log2(math.e)

#: How many Latin squares there are of each size: https://oeis.org/A002860
LATIN_SQUARES = {1: 1, 2: 2, 3: 12, 4: 576, 5: 161280, 6: 812851200, 7: 61479419904000}


def shuffle_bits(n: int, sizes: Sequence[int] | None = None) -> float:
    r"""Return the bits that a uniform order of n items costs, with the given order included.

    .. math:: \sum_t s_t \log_2 k_t - \log_2 n!

    with k_t items open before step t; in one step n log2 n - log2 n!.

    Args:
        n: Number of items, at least 1.
        sizes: Number of items written in each step; None for one step.

    Raises:
        ValueError: ``n`` is below 1, or ``sizes`` are not positive or do not sum to n.

    Source:
        ParallelBench, equation 4.

    Example:
        >>> shuffle_bits(2)
        1.0
        >>> shuffle_bits(4, [1, 1, 1, 1])
        0.0
    """
    _refuse_below(1, n)
    steps = [n] if sizes is None else list(sizes)
    if sum(steps) != n or min(steps) < 1:
        raise ValueError(f"sizes must be positive and sum to n={n}, got {steps}")
    bits, left = -math.log2(math.factorial(n)), n
    for size in steps:
        bits += size * math.log2(left)
        left -= size
    return max(0.0, bits)


def shuffle_entropies(n: int, *, allow_identity: bool) -> list[float]:
    r"""Return the entropy of any 0, 1, ..., n positions of a shuffled list, in bits.

    With the order as given: log2 of n! / (n-m)!.  Without it, of the n!/(n-m)! ways to fill
    m positions each is part of (n-m)! orders, but the one that leaves all m where they are
    of one order less.

    Args:
        n: Number of items, at least 1, or 2 without the identity.
        allow_identity: True if the given order is right, too.

    Raises:
        ValueError: ``n`` is too small.

    Example:
        >>> shuffle_entropies(2, allow_identity=False)
        [0.0, 0.0, 0.0]
    """
    _refuse_below(1 if allow_identity else 2, n)
    orders = math.factorial(n) - (not allow_identity)
    entropies = [0.0]
    for positions in range(1, n + 1):
        usual = math.factorial(n - positions)
        unusual = usual if allow_identity else usual - 1
        ways = math.perm(n, positions) - 1
        entropies.append(_surprise(usual, orders, ways) + _surprise(unusual, orders))
    return entropies


def shuffle_other_bits(n: int) -> float:
    r"""Return the bits that an order of n items other than the given one costs in one step.

    .. math::
        n \, H\left(\frac{(n-1)! - 1}{n! - 1}, \frac{(n-1)!}{n! - 1}, \ldots\right)
        - \log_2 (n! - 1)

    Raises:
        ValueError: ``n`` is below 2.

    Example:
        Two items can only be swapped:

        >>> shuffle_other_bits(2)
        0.0
    """
    entropies = shuffle_entropies(n, allow_identity=False)
    return max(0.0, n * entropies[1] - entropies[n])


def replace_random_bits(n: int) -> float:
    r"""Return the bits that replacing any one of n items by a new one costs in one step.

    .. math:: (n - 1) [\log_2 n - \log_2 (n - 1)] < \log_2 e

    Raises:
        ValueError: ``n`` is below 1.

    Source:
        ParallelBench, equation 3.

    Example:
        >>> replace_random_bits(2)
        1.0
    """
    _refuse_below(1, n)
    return (n - 1) * math.log1p(1 / (n - 1)) / math.log(2) if n > 1 else 0.0


def replace_random_entropies(n: int) -> list[float]:
    r"""Return the entropy of any 0, 1, ..., n positions of replace_random, in bits.

    The new item is at one of m positions with 1/n each, or at none of them:

    .. math:: H_m = \frac{m}{n} \log_2 n - \frac{n - m}{n} \log_2 \frac{n - m}{n}

    Raises:
        ValueError: ``n`` is below 1.
    """
    _refuse_below(1, n)
    return [0.0, *(_surprise(1, n, m) + _surprise(n - m, n) for m in range(1, n + 1))]


def insert_random_bits(n: int) -> float:
    r"""Return the bits that inserting a new item anywhere into n costs in one step.

    .. math::
        \sum_{j=0}^{n} H\left(\frac{1}{n+1}, \frac{j}{n+1}, \frac{n-j}{n+1}\right)
        - \log_2 (n + 1) \sim \frac{n}{2} \log_2 e

    Position j holds the new item, item j - 1 (the new item is further left) or item j.

    Raises:
        ValueError: ``n`` is below 1.

    Example:
        >>> insert_random_bits(1)
        1.0
    """
    _refuse_below(1, n)
    slots = n + 1
    marginals = (
        _surprise(1, slots) + _surprise(j, slots) + _surprise(n - j, slots) for j in range(slots)
    )
    return math.fsum(marginals) - math.log2(slots)


def remove_random_bits(n: int) -> float:
    r"""Return the bits that removing any one of n items costs in one step.

    .. math:: \sum_{j=1}^{n-1} h(j / n) - \log_2 n \sim \frac{n}{2} \log_2 e

    with h the entropy of a coin.

    Raises:
        ValueError: ``n`` is below 2.

    Example:
        >>> remove_random_bits(2)
        0.0
    """
    _refuse_below(2, n)
    marginals = (_surprise(j, n) + _surprise(n - j, n) for j in range(1, n))
    return max(0.0, math.fsum(marginals) - math.log2(n))


def latin_square_bits(size: int) -> float:
    r"""Return the bits that any Latin square costs in one step.

    .. math:: k^2 \log_2 k - \log_2 N_k

    with N_k the number of squares; every cell holds every symbol equally often.

    Raises:
        ValueError: ``size`` is not 1 to 7.

    Example:
        >>> round(latin_square_bits(4), 2)
        22.83
    """
    if size not in LATIN_SQUARES:
        raise ValueError(f"Latin squares are counted for 1 to 7 symbols, got size={size}")
    return size**2 * math.log2(size) - math.log2(LATIN_SQUARES[size])


def insert_random_steps(n: int) -> float:
    r"""Return the fewest expected steps to put a new item anywhere into n, without error.

    Of m remaining slots, writing one position leaves those to its left, itself, or those to
    its right: a binary search.

    .. math::
        F(m) = 1 + \min_j \left[\tfrac{j}{m} F(j) + \tfrac{1}{m}
        + \tfrac{m-1-j}{m} F(m-1-j)\right], \quad F(0) = 0, F(1) = 1

    Returns:
        F(n + 1); it takes time that grows with the square of n.

    Raises:
        ValueError: ``n`` is below 1.

    Example:
        >>> round(insert_random_steps(6), 2)
        2.86
    """
    _refuse_below(1, n)
    steps = [0.0, 1.0]
    for m in range(2, n + 2):
        splits = (j * steps[j] + (m - 1 - j) * steps[m - 1 - j] for j in range((m + 1) // 2))
        steps.append(1 + (1 + min(splits)) / m)
    return steps[-1]


def remove_random_steps(n: int) -> float:
    r"""Return the fewest expected steps to leave out any one of n items, without error.

    .. math::
        G(m) = 1 + \min_j \left[\tfrac{j}{m} G(j) + \tfrac{m-j}{m} G(m-j)\right],
        \quad G(1) = G(2) = 1

    Raises:
        ValueError: ``n`` is below 2.

    Example:
        >>> remove_random_steps(16)
        4.0
    """
    _refuse_below(2, n)
    steps = [0.0, 1.0, 1.0]
    for m in range(3, n + 1):
        splits = (j * steps[j] + (m - j) * steps[m - j] for j in range(1, m // 2 + 1))
        steps.append(1 + min(splits) / m)
    return steps[n]


def replace_random_steps(n: int) -> float:
    r"""Return the fewest expected steps to replace any one of n items, without error.

    One position after the other, until the new item has shown up:

    .. math:: R(m) = 1 + \tfrac{1}{m} + \tfrac{m-1}{m} R(m-1), \quad R(1) = 1

    that is R(n) = (n + 3)/2 - 1/n for n > 1.

    Raises:
        ValueError: ``n`` is below 1.

    Example:
        >>> round(replace_random_steps(6), 3)
        4.333
    """
    _refuse_below(1, n)
    return (n + 3) / 2 - 1 / n if n > 1 else 1.0


def _surprise(count: int, total: int, ways: int = 1) -> float:
    """Return the bits that outcomes of probability ``count / total`` add to an entropy.

    Args:
        count: Number of answers with one outcome.
        total: Number of all answers.
        ways: Number of such outcomes.
    """
    if count == 0:
        return 0.0  # 0 log 0, by continuity
    # Quotients and logarithms of whole numbers of any size; the numbers would overflow.
    return ways * count / total * (math.log2(total) - math.log2(count))


def _refuse_below(fewest: int, n: int) -> None:
    if n < fewest:
        raise ValueError(f"a list needs {fewest} items or more here, got n={n}")
