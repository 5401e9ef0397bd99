"""The right answers that are consistent with a canvas, and the bits that one step ignores.

Tokens written in one step do not see each other.  What the step ignores is the conditional total
correlation of the positions it writes, given the canvas before it, in bits: 0 for a single token,
and for tokens that are independent of each other.

Source: equation 1 of Kang et al., ParallelBench (arXiv:2510.04767), for one context.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from parallelbench.analysis.theory.dependence import Law, total_correlation
from parallelbench.record import Record


class RemainingAnswers:
    """The right answers of one sample that remain possible as its canvas fills up.

    Tokens after the first end of a reply are not part of it and exclude no answer.

    Args:
        law: Distribution of the right answers, whose symbols are tokens of the canvas.
        mask_id: Id of an open position.
        ends: Ids that end a reply.
        end_id: The one of ``ends`` that ends the answers of ``law``.
    """

    def __init__(self, law: Law, mask_id: int, ends: frozenset[int], end_id: int) -> None:
        self._law = law
        self._mask_id = mask_id
        self._ends = ends
        self._end_id = end_id

    @classmethod
    def of(cls, record: Record, law: Law) -> RemainingAnswers:
        """Return the right answers of the sample of ``record``.

        Args:
            record: A decode with a trace, which names the mask id and the ends of a reply.
            law: Distribution of the right answers, whose symbols are tokens of its canvas.

        Raises:
            RecordsError: The record has no trace, because a server decoded by itself.
        """
        decoding = record.require_decoding()
        return cls(law, decoding.mask_id, decoding.ends, decoding.end_id)

    def consistent(
        self, canvas: Sequence[int], ignoring: Sequence[int] = ()
    ) -> Bool[np.ndarray, " answers"]:
        """Return a mask of the right answers that agree with every token on ``canvas``.

        Args:
            canvas: Token ids, one per position.
            ignoring: Positions that are treated as open.
        """
        shown = list(canvas)
        for position in ignoring:
            shown[position] = self._mask_id
        shown = self._reply(shown)
        written = [place for place, token in enumerate(shown) if token != self._mask_id]
        tokens = np.array([shown[place] for place in written], dtype=self._law.rows.dtype)
        return np.asarray((self._law.rows[:, written] == tokens).all(axis=1))

    def mass(self, canvas: Sequence[int], ignoring: Sequence[int] = ()) -> float:
        """Return the probability of the right answers that agree with ``canvas``, in [0, 1].

        Args:
            canvas: Token ids, one per position.
            ignoring: Positions that are treated as open.
        """
        return float(self._law.probabilities[self.consistent(canvas, ignoring)].sum())

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
        consistent = self.consistent(canvas, positions)
        if not consistent.any():
            return (None,) * len(ids)
        rows, weights = self._law.rows[consistent], self._law.probabilities[consistent]
        total = weights.sum()
        return tuple(
            None
            if token == self._mask_id
            else float(weights[rows[:, position] == self._as_end(token)].sum() / total)
            for position, token in zip(positions, ids, strict=True)
        )

    def nearest(self, canvas: Sequence[int]) -> tuple[list[int], tuple[tuple[int, int], ...]]:
        """Return the right answer that differs from ``canvas`` in the fewest tokens.

        Ties go to the most probable answer, then to the first one listed.

        Returns:
            Its token ids, and the (position, id) pairs that differ; tokens after the first end of
            a reply never differ.
        """
        reply = self._reply(canvas)
        reply += [self._end_id] * (len(canvas) - len(reply))
        wrong = self._law.rows != np.array(reply, dtype=self._law.rows.dtype)
        best = np.lexsort((-self._law.probabilities, wrong.sum(axis=1)))[0]
        ids = [int(token) for token in self._law.rows[best]]
        return ids, tuple((int(place), ids[place]) for place in np.flatnonzero(wrong[best]))

    def unmodelled_bits(self, canvas: Sequence[int], positions: Sequence[int]) -> float | None:
        """Return the conditional total correlation of ``positions``, in bits.

        Args:
            canvas: Token ids before or after the step; ``positions`` are treated as open.
            positions: The positions written in one step.

        Returns:
            0 or more; None if no right answer agrees with the other positions.
        """
        consistent = self.consistent(canvas, positions)
        if not consistent.any():
            return None
        rows: Int[np.ndarray, "answers positions"] = self._law.rows[consistent][:, list(positions)]
        varying = [place for place, column in enumerate(rows.T) if (column != column[0]).any()]
        if len(varying) < 2:  # a single symbol depends on no other
            return 0.0
        return total_correlation(Law.counted(rows[:, varying], self._law.probabilities[consistent]))

    def _reply(self, canvas: Sequence[int]) -> list[int]:
        """Return ``canvas`` up to its first end, with that end written as the law writes it."""
        shown = [self._as_end(token) for token in canvas]
        return shown[: shown.index(self._end_id) + 1] if self._end_id in shown else shown

    def _as_end(self, token: int) -> int:
        return self._end_id if token in self._ends else token
