"""The right answers that are consistent with a canvas, and the bits that one step ignores.

Tokens written in one step do not see each other.  What the step ignores is the conditional total
correlation of the positions it writes, given the canvas before it, in bits: 0 for a single token,
and for tokens that are independent of each other.

Source: equation 1 of Kang et al., ParallelBench (arXiv:2510.04767), for one context.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from parallelbench.analysis.theory.exact_bits import position_entropies
from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.record import Record

#: Bits below this are rounding.
_ROUNDING = 1e-9
#: A count below two to the power of this is exact when its logarithm is rounded to a whole number.
_EXACT_BITS = 44
#: Canvases conditioned on in one call.
_ROWS = 64


class _Conditional(NamedTuple):
    """The answer distribution given one canvas.

    Attributes:
        fits: True if some right answer agrees with the canvas.
        shares: Probability of each entry.
        entropies: Entropy of each position, in bits.
        log2_count: Base-2 logarithm of the number of right answers that agree; -inf for none.
    """

    fits: bool
    shares: Float[np.ndarray, " entries"]
    entropies: Float[np.ndarray, " length"]
    log2_count: float


class RemainingAnswers:
    """The right answers of one sample that remain possible as its canvas fills up.

    Tokens after the first end of a reply are not part of it and exclude no answer.

    Args:
        distribution: Distribution of the right answers over the tokens of the canvas.
        ends: Ids that end a reply.
        end_id: The one of ``ends`` that ends the answers of ``distribution``.
    """

    def __init__(self, distribution: AnswerDistribution, ends: frozenset[int], end_id: int) -> None:
        self._distribution = distribution
        self._mask_id = distribution.mask_id
        self._ends = ends
        self._end_id = end_id
        self._entries = {
            entry: column
            for column, entry in enumerate(
                zip(*(part.tolist() for part in distribution.entries), strict=True)
            )
        }
        self._known: dict[bytes, _Conditional] = {}

    @classmethod
    def of(cls, record: Record, distribution: AnswerDistribution) -> RemainingAnswers:
        """Return the right answers of the sample of ``record``.

        Args:
            record: A decode with a trace, which names the ends of a reply.
            distribution: Distribution of the right answers over the tokens of its canvas.

        Raises:
            RecordsError: The record has no trace, because a server decoded by itself.
        """
        decoding = record.require_decoding()
        return cls(distribution, decoding.ends, decoding.end_id)

    def look_ahead(self, asked: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
        """Condition on many canvases at once, which is faster than one after another.

        Args:
            asked: Pairs of a canvas and the positions on it that are treated as open.
        """
        replies = {}
        for canvas, positions in asked:
            reply = self._reply(canvas, positions)
            if reply.tobytes() not in self._known:
                replies[reply.tobytes()] = reply
        rows = list(replies.values())
        for low in range(0, len(rows), _ROWS):
            part = np.stack(rows[low : low + _ROWS])
            conditionals = self._distribution.condition(part)
            entropies = position_entropies(self._distribution, conditionals)
            figures = zip(
                conditionals.fits.tolist(),
                conditionals.probabilities,
                entropies,
                conditionals.log2_counts.tolist(),
                strict=True,
            )
            for row, each in zip(part, figures, strict=True):
                self._known[row.tobytes()] = _Conditional(*each)

    def _given(self, canvas: Sequence[int], positions: Sequence[int]) -> _Conditional:
        key = self._reply(canvas, positions).tobytes()
        if key not in self._known:
            self.look_ahead([(canvas, positions)])
        return self._known[key]

    def count(self, canvas: Sequence[int]) -> int:
        """Return the number of right answers that agree with every token on ``canvas``."""
        given = self._given(canvas, ())
        if given.log2_count < _EXACT_BITS:
            return round(2**given.log2_count)
        return self._distribution.count(self._reply(canvas))

    def mass(self, canvas: Sequence[int]) -> float:
        """Return the probability of the right answers that agree with ``canvas``, in [0, 1]."""
        total = self._distribution.weight(np.full(len(canvas), self._mask_id))
        return float(Fraction(self._distribution.weight(self._reply(canvas)), total))

    def probabilities(
        self, canvas: Sequence[int], positions: Sequence[int], ids: Sequence[int]
    ) -> tuple[float | None, ...]:
        """Return the probability of each token at its position, given the other positions.

        Args:
            canvas: Token ids before or after the step; ``positions`` are treated as open.
            positions: Canvas positions.
            ids: The token of each of ``positions``.

        Returns:
            Probabilities in [0, 1]; None for the mask id, and None for every token if no right
            answer agrees with the other positions.
        """
        given = self._given(canvas, positions)
        if not given.fits:
            return (None,) * len(ids)
        shares = given.shares
        columns = [
            self._entries.get((position, self._as_end(token)))
            for position, token in zip(positions, ids, strict=True)
        ]
        return tuple(
            None if token == self._mask_id else 0.0 if column is None else float(shares[column])
            for token, column in zip(ids, columns, strict=True)
        )

    def nearest(self, canvas: Sequence[int]) -> tuple[list[int], tuple[tuple[int, int], ...]]:
        """Return the right answer that differs from ``canvas`` in the fewest tokens.

        Ties go to the most probable answer, then to the lowest tokens from the left.

        Returns:
            Its token ids, and the (position, id) pairs that differ; tokens after the first end of
            a reply never differ.
        """
        reply = self._reply(canvas)
        (ended,) = np.nonzero(reply == self._end_id)
        if len(ended):
            reply[ended[0] :] = self._end_id
        ids = self._distribution.nearest(reply)
        differing = np.flatnonzero(ids != reply).tolist()
        return ids.tolist(), tuple((place, int(ids[place])) for place in differing)

    def unmodelled_bits(self, canvas: Sequence[int], positions: Sequence[int]) -> float | None:
        """Return the conditional total correlation of ``positions``, in bits.

        Args:
            canvas: Token ids before or after the step; ``positions`` are treated as open.
            positions: The positions written in one step.

        Returns:
            0 or more; None if no right answer agrees with the other positions, or if the joint
            entropy would take too long.
        """
        given = self._given(canvas, positions)
        if not given.fits:
            return None
        entropies = given.entropies
        varying = [position for position in positions if entropies[position] > _ROUNDING]
        if len(varying) < 2:  # a single token depends on no other
            return 0.0
        joint = self._distribution.joint_entropy(self._reply(canvas, positions), varying)
        if joint is None:
            return None
        bits = math.fsum(entropies[varying].tolist()) - joint
        return bits if bits > _ROUNDING else 0.0

    def _reply(
        self, canvas: Sequence[int], ignoring: Sequence[int] = ()
    ) -> Int[np.ndarray, " length"]:
        """Return ``canvas`` up to its first end, written as the right answers write it.

        Positions after it, and those to ignore, are open.
        """
        shown = [self._as_end(token) for token in canvas]
        for position in ignoring:
            shown[position] = self._mask_id
        length = shown.index(self._end_id) + 1 if self._end_id in shown else len(shown)
        return np.array([*shown[:length], *[self._mask_id] * (len(shown) - length)])

    def _as_end(self, token: int) -> int:
        return self._end_id if token in self._ends else token
