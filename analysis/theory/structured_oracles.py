"""The right answers that the oracles look at where they have structure and are not listed.

Both questions go to the answer distribution: which open positions can be written at once, and
which predicted tokens agree with one right answer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Bool, Int

from parallelbench.analysis.theory.independent_sets import ORDERS, IndependentSets
from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.prompt import Prompt
from parallelbench.prompt.distribution import answer_distribution

#: Sets cached per sample: many settings pass through the same canvases.
_SETS_CACHED = 256
#: Times as many positions that another order has to write to be taken.
_MUCH_LARGER = 2

_Canvas = Int[np.ndarray, " length"]
_Positions = Bool[np.ndarray, " length"]


@dataclass(frozen=True, eq=False)
class StructuredAnswers:
    """The right answers of one sample on its canvas.

    Attributes:
        distribution: Distribution of the right answers.
        open: True where a decoder writes.
        end_id: Id that fills the canvas after an answer.
        stop_ids: Other ids that end a reply.
    """

    distribution: AnswerDistribution
    open: _Positions
    end_id: int
    stop_ids: tuple[int, ...]
    _sets: OrderedDict[tuple[bytes, bytes, float], list[int]] = field(default_factory=OrderedDict)

    def independent(self, canvas: _Canvas, is_open: _Positions, eps: float) -> list[int]:
        """Return open positions to write at once, separators first.

        Another order of preference is taken if it writes more than twice as many.  A smaller
        gain now would cost steps later: separators are few, and what they leave is independent.

        Args:
            canvas: Token ids, with the mask id at open positions.
            is_open: True at the positions to choose from, at least one.
            eps: Most bits of total correlation, in [0, inf).
        """
        key = canvas.tobytes(), is_open.tobytes(), eps
        if key not in self._sets:
            while len(self._sets) >= _SETS_CACHED:
                self._sets.popitem(last=False)
            places = np.flatnonzero(is_open).tolist()
            sets = IndependentSets(self.distribution, self._fitting(canvas)[None], places)
            chosen = sets.chosen(ORDERS[0], eps=eps)
            most = _MUCH_LARGER * len(chosen)
            for order in ORDERS[1:]:
                other = sets.chosen(order, eps=eps, more_than=most)
                if len(other) > most:
                    chosen, most = other, len(other)
            self._sets[key] = chosen
        return self._sets[key]

    def agreeing(self, canvas: _Canvas, predicted: _Canvas, is_open: _Positions) -> _Positions:
        """Return the open positions at which the predictions agree with the nearest right answer.

        Args:
            canvas: Token ids, with the mask id at open positions.
            predicted: Predicted token ids.
            is_open: True at the positions to choose from.
        """
        wished = np.where(is_open, self._read(predicted), self.distribution.mask_id)
        answer = self.distribution.nearest(self._read(canvas), wished)
        return np.asarray(is_open & (wished == answer))

    def _fitting(self, canvas: _Canvas) -> _Canvas:
        """Return ``canvas`` without the written tokens that the nearest right answer lacks."""
        canvas = self._read(canvas)
        if self.distribution.condition(canvas[None]).fits[0]:
            return canvas
        nearest = self.distribution.nearest(canvas)
        return np.where(canvas == nearest, canvas, self.distribution.mask_id)

    def _read(self, ids: _Canvas) -> _Canvas:
        is_end = self.open & np.isin(ids, self.stop_ids)
        return np.where(is_end, self.end_id, ids)


#: Answers by prompt; dropped with the prompt.
_BY_PROMPT: WeakKeyDictionary[Prompt, StructuredAnswers] = WeakKeyDictionary()


def structured_answers(prompt: Prompt) -> StructuredAnswers | None:
    """Return the structured answers of a prompt; None if its right answers are to be listed.

    Raises:
        CanvasError: A right answer does not fit the canvas or the tokenizer.
        NotEnumerableError: The structure is too large.
    """
    if prompt.task.trellis(prompt.sample) is None:
        return None
    if prompt not in _BY_PROMPT:
        _BY_PROMPT[prompt] = StructuredAnswers(
            distribution=answer_distribution(prompt),
            open=prompt.open.cpu().numpy(),
            end_id=prompt.codec.end_id,
            stop_ids=tuple(prompt.codec.stop_ids),
        )
    return _BY_PROMPT[prompt]
