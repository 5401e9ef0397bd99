"""The joint entropy of some open positions of a trellis, given a canvas.

The tokens at these positions are read one after another.  A *belief* is the distribution of the
state after the tokens read so far; the entropy of the next token is a mean over the beliefs.
Equal beliefs are merged, and in a trellis whose tokens show its state (a walk, a plan) few are
different, however long it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from parallelbench.distributions.layer import OPEN, EdgeSums
from parallelbench.distributions.scaled import Scaled

#: Most different beliefs at a position.
_MOST_BELIEFS = 4096
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
        shares = _shares(sums[position], int(columns[position]), *after[position : position + 2])
        if position not in positions:
            beliefs = beliefs @ _by_target(sums[position], shares)
            continue
        joint = _by_token_and_target(sums[position], shares, beliefs)
        token_shares = joint.sum(axis=2)
        bits += float(masses @ _entropies(token_shares))
        beliefs, masses = _merged(joint, token_shares, masses)
        if len(beliefs) > _MOST_BELIEFS:
            return None
    return bits


def _shares(
    sums: EdgeSums, column: int, before: Scaled, after: Scaled
) -> Float[np.ndarray, " edges"]:
    """Return the probability of each edge, given its source and the canvas."""
    layer = sums.layer
    possible = (column == OPEN) | (sums.columns == column)
    possible &= (before.fractions[layer.sources, 0] > 0) & (after.fractions[layer.targets, 0] > 0)
    edges = np.flatnonzero(possible)
    sources, targets = layer.sources[edges], layer.targets[edges]
    shares = np.zeros(len(layer.sources))
    shares[edges] = layer.weights[edges] * np.ldexp(
        after.fractions[targets, 0] / before.fractions[sources, 0],
        after.exponents[targets, 0] - before.exponents[sources, 0],
    )
    return shares


def _by_target(sums: EdgeSums, shares: np.ndarray) -> sparse.csr_array:
    return sparse.coo_array(
        (shares, (sums.layer.sources, sums.layer.targets)), shape=sums.states
    ).tocsr()


def _by_token_and_target(
    sums: EdgeSums, shares: np.ndarray, beliefs: _Beliefs
) -> Float[np.ndarray, "beliefs tokens targets"]:
    tokens, states = len(sums.tokens), sums.states[1]
    places = sums.columns * states + sums.layer.targets
    matrix = sparse.coo_array(
        (shares, (sums.layer.sources, places)), shape=(sums.states[0], tokens * states)
    ).tocsr()
    return np.asarray(beliefs @ matrix).reshape(len(beliefs), tokens, states)


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
