"""The joint entropy of some open positions of a trellis, given a canvas.

The tokens at these positions are read one after another.  A *belief* is the distribution of the
state after the tokens read so far; the entropy of the next token is a mean over the beliefs.
Equal beliefs are merged, and in a trellis whose tokens show its state (a walk, a plan) few are
different, however long it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float, Int

from parallelbench.distributions.layer import OPEN, EdgeSums
from parallelbench.distributions.scaled import Scaled

#: Most numbers at a position: different beliefs, by tokens, by states after them.
_MOST_NUMBERS = 4_000_000
#: Beliefs that are equal in so many decimals are merged.
_DECIMALS = 12

_Beliefs = Float[np.ndarray, "beliefs states"]
_Masses = Float[np.ndarray, " beliefs"]


def joint_entropy(
    sums: Sequence[EdgeSums],
    after: Sequence[Scaled],
    columns: Int[np.ndarray, " length"],
    positions: Collection[int],
) -> float | None:
    """Return the joint entropy of ``positions`` in bits; None for too many beliefs.

    Args:
        sums: Edges of each position.
        after: Before each position and at the end, the sum over the paths that fit the canvas
            from each state, for one row.
        columns: Column of each position's token.
        positions: Positions, open ones only.
    """
    beliefs: _Beliefs = np.ones((1, 1))
    masses: _Masses = np.ones(1)
    bits = 0.0
    for position in range(max(positions, default=-1) + 1):
        edges = sums[position]
        shares = _shares(edges, int(columns[position]), *after[position : position + 2])
        moved = np.take(beliefs, edges.layer.sources, axis=1) * shares
        if position not in positions:
            beliefs = moved @ edges.to_targets
            continue
        shape = len(beliefs), len(edges.tokens), edges.states[1]
        if math.prod(shape) > _MOST_NUMBERS:
            return None
        joint = np.asarray(moved @ edges.to_tokens_and_targets).reshape(shape)
        token_shares = joint.sum(axis=2)
        bits += float(masses @ _entropies(token_shares))
        beliefs, masses = _merged(joint, token_shares, masses)
    return bits


def _shares(
    sums: EdgeSums, column: int, before: Scaled, after: Scaled
) -> Float[np.ndarray, " edges"]:
    """Return the probability of each edge, given its source and the canvas."""
    layer = sums.layer
    # A state that no answer passes has no edge, and its own sum is 0.
    total = np.where(before.fractions[:, 0] > 0, before.fractions[:, 0], 1.0)
    shares = after.fractions[layer.targets, 0] * layer.weights / total[layer.sources]
    powers = after.exponents[layer.targets, 0] - before.exponents[layer.sources, 0]
    if column != OPEN:
        shares[sums.columns != column] = 0.0
    return np.asarray(np.ldexp(shares, np.where(shares > 0, powers, 0)))


def _entropies(shares: Float[np.ndarray, "beliefs tokens"]) -> Float[np.ndarray, " beliefs"]:
    logs = np.log2(np.where(shares > 0, shares, 1.0))
    return np.asarray(-(shares * logs).sum(axis=1))


def _merged(
    joint: np.ndarray, token_shares: np.ndarray, masses: _Masses
) -> tuple[Float[np.ndarray, "merged states"], Float[np.ndarray, " merged"]]:
    which, tokens = np.nonzero(token_shares > 0)
    chosen = token_shares[which, tokens]
    beliefs = joint[which, tokens] / chosen[:, None]
    _, first, group = np.unique(
        beliefs.round(_DECIMALS), axis=0, return_index=True, return_inverse=True
    )
    return beliefs[first], np.bincount(group.ravel(), masses[which] * chosen)
