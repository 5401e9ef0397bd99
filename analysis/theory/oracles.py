"""Oracle decoders: schedulers that are given the right answers, to bound better scheduling.

They are decoders like any other: one model call a step, and every token they write is the
model's own prediction.  They use the answers only to choose the positions to commit, so they
bound a perfect scheduler for the model's predictions.  Their
``needs`` name ``"answers"``, and their records are marked as an oracle's.

- ``information`` knows the law of the right answers and never writes more dependent symbols
  at once than ``eps`` bits allow.  It looks at no prediction: on the ideal model it is the
  fastest decoder with that error, on any other the schedule that the law itself asks for.
- ``label`` sees the predictions and commits those that agree with one right answer.

If no right answer agrees with the canvas, both use the answers that agree with it in the most
positions, as the ideal model does.

Right answers with structure are too many to list.  For them ``information`` chooses sets of
positions that are independent given the canvas, separators first, and ``label`` asks the answer
distribution for the right answer that the predictions agree with most.

Source: section 4 of this project's theory; the bits are those of Kang et al., ParallelBench
(arXiv:2510.04767), equation 1.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from parallelbench.analysis.theory.bounds import OverLimitError
from parallelbench.analysis.theory.fewest_steps import (
    CHOICE_LIMIT,
    Choice,
    Policy,
    State,
    largest_set,
    policy_within,
    reduced,
)
from parallelbench.analysis.theory.structured_oracles import (
    StructuredAnswers,
    structured_answers,
)
from parallelbench.decoder import DECODERS, Decoder, Statistics, Update, View
from parallelbench.errors import DecoderError
from parallelbench.prompt import Prompt, lay_out

#: Laws cached in addition to those of the samples being decoded.
_LAWS_CACHED = 64
#: Canvases cached per sample: many settings begin with the same ones.
_WINDOWS_CACHED = 64

Method = Literal["exact", "greedy", "separators"]


@DECODERS.register("information")
@dataclass(frozen=True, kw_only=True)
class Information(Decoder):
    """Commit, in every state, a set whose total correlation is at most ``eps`` bits.

    The context is the canvas; the law is that of the right answers at the level of tokens.
    Certain positions are written at no cost, so a window of n takes at most n steps.  Of all such
    policies this is the one with the fewest expected steps, where that can be computed: see
    :meth:`method_for`.  Each block of a blockwise decode is planned by itself, which loses
    nothing: the context of a block does not depend on the order in which the blocks before it
    were filled.

    Attributes:
        eps: Most bits per step, in [0, inf).  At 0 only independent symbols are written
            together, and the ideal model is never wrong.
        method: ``exact`` insists on the fewest expected steps and refuses laws over the
            limit.  ``greedy`` commits the largest allowed set; of equally large ones the
            one that leaves the fewest answers on average, then that of lower positions.
            Both list the right answers.  ``auto`` is exact wherever the limit of 5,000 pairs of
            a state and a set allows it, else greedy; for right answers with structure it commits
            ``separators`` first, which lists nothing.  Which one depends on nothing but the
            sample.

    Raises:
        ValueError: ``eps`` or ``method`` is not one of these.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "answers"})
    adaptive: ClassVar[bool] = True
    labelled: ClassVar[tuple[str, ...]] = ("eps",)

    eps: float = 0.0
    method: Literal["auto", "exact", "greedy"] = "auto"

    def __post_init__(self) -> None:
        Decoder.__post_init__(self)
        if not 0 <= self.eps < math.inf:
            raise ValueError(f"eps must lie in [0, inf) bits per step, got {self.eps}")
        if self.method not in ("auto", "exact", "greedy"):
            raise ValueError(
                f"method must be 'auto', 'exact' or 'greedy', got method={self.method!r}"
            )

    def start(self, view: View) -> _DecodeState:
        """Return the state of one decode, with the policy for its first window.

        Raises:
            OverLimitError: ``method`` is ``exact`` and the law is over the limit.
            NotEnumerableError: ``method`` is ``exact`` or ``greedy`` and the right answers are
                too many to list.
        """
        if self._structure(view.prompt) is not None:
            return _DecodeState(view.window, None, "separators")
        policy = self._policy(_window_law(view))
        return _DecodeState(view.window, policy, "greedy" if policy is None else "exact")

    def step(self, state: _DecodeState, view: View, statistics: Statistics) -> Update:
        """Commit the predicted tokens at the positions that the policy chooses."""
        write = np.zeros(len(view.canvas), dtype=bool)
        structure = self._structure(view.prompt)
        if structure is None:
            write[self._listed_choice(state, view)] = True
        else:
            write[structure.independent(_array(view.canvas), _array(view.open), self.eps)] = True
        return Update(write=_tensor(write, view.open), tokens=statistics.token[0])

    def note(self, state: _DecodeState) -> str:
        """Return the name of the policy; greedy if any window was decoded greedily."""
        return f"{state.method} policy"

    def method_for(self, prompt: Prompt) -> Method:
        """Return the method that decodes this sample.

        A record suffices to compute it again, since its task, seed and index draw the sample
        again.  With ``block_length``, this is for a whole canvas.
        """
        if self._structure(prompt) is not None:
            return "separators"
        return "greedy" if self._policy(_at_start(prompt)) is None else "exact"

    def expected_steps(self, prompt: Prompt) -> float | None:
        """Return the expected model calls on a whole canvas, for a draw from the law.

        Returns:
            Steps; None for a policy that has no known expectation.
        """
        if self._structure(prompt) is not None:
            return None
        policy = self._policy(_at_start(prompt))
        return None if policy is None else policy.expected_steps

    def _structure(self, prompt: Prompt) -> StructuredAnswers | None:
        return structured_answers(prompt) if self.method == "auto" else None

    def _listed_choice(self, state: _DecodeState, view: View) -> list[int]:
        window_law = _window_law(view)
        if state.window != view.window:
            state.window, state.policy = view.window, self._policy(window_law)
            state.method = "greedy" if state.policy is None else state.method
        return self._chosen(state.policy, window_law)

    def _policy(self, window_law: _WindowLaw) -> Policy | None:
        """Return the exact policy from here on; None for the greedy one."""
        if self.method == "greedy":
            return None
        start = None if window_law.state is None else window_law.state.canonical.state
        policy = policy_within(start, self.eps, CHOICE_LIMIT)
        if policy is None and self.method == "exact":
            raise OverLimitError(
                f"information:eps={self.eps},method=exact would look at more than "
                f"{CHOICE_LIMIT:,} pairs of a state and a set, over the limit, for a law of "
                f"{window_law.answers:,} right answers; take method=auto or greedy, or a "
                "smaller size"
            )
        return policy

    def _chosen(self, policy: Policy | None, window_law: _WindowLaw) -> list[int]:
        if window_law.state is None:
            return window_law.certain
        # If no right answer agrees with the canvas, there is no policy for it.
        if policy is not None and window_law.on_law:
            choice = policy(window_law.state)
        else:
            choice = largest_set(window_law.state, self.eps)
        return [*window_law.certain, *_positions(choice, window_law.classes)]


@DECODERS.register("label")
@dataclass(frozen=True, kw_only=True)
class Label(Decoder):
    """Commit the largest set of predicted tokens that agree with one right answer.

    The answer must agree with the canvas; ties go to the answer listed first, of answers with
    structure to the most probable one.  If the predictions
    agree with no such answer anywhere, any commit is a mistake, and the position with the
    highest confidence is committed, the lowest index on ties.
    Every step commits at least one position, so a window of n takes at most n steps.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"token", "confidence", "answers"})
    adaptive: ClassVar[bool] = True

    def start(self, view: View) -> None:
        """Refuse a sample whose right answers have no structure and cannot be listed."""
        if structured_answers(view.prompt) is None:
            _canvas_answers(view.prompt)

    def step(self, state: None, view: View, statistics: Statistics) -> Update:  # noqa: ARG002
        """Commit the predicted tokens at the positions on which one answer agrees most."""
        if statistics.confidence is None:
            raise DecoderError("a decoder reads a statistic that its needs do not name")
        answers = structured_answers(view.prompt) or _canvas_answers(view.prompt)
        is_open, token = _array(view.open), _array(statistics.token[0])
        write = answers.agreeing(_array(view.canvas), token, is_open)
        if not write.any():
            confidence = np.where(is_open, _array(statistics.confidence[0]), -np.inf)
            write = np.arange(len(token)) == confidence.argmax()
        return Update(write=_tensor(write, view.open), tokens=statistics.token[0])


class _WindowLaw(NamedTuple):
    """The open positions of one window under the law.

    Attributes:
        certain: Positions at which the remaining answers agree.
        state: The uncertain positions; None if there are none.
        classes: Canvas positions of each column of the state.
        on_law: True if a right answer agrees with the canvas.
        answers: Number of remaining answers.
    """

    certain: list[int]
    state: State | None
    classes: tuple[tuple[int, ...], ...]
    on_law: bool
    answers: int


@dataclass(slots=True, eq=False)
class _DecodeState:
    """State of one decode.

    Attributes:
        window: The active window.
        policy: Exact policy for that window; None for the greedy one.
        method: ``greedy`` if any window so far was decoded greedily, ``separators`` if the right
            answers have structure.
    """

    window: tuple[int, int]
    policy: Policy | None
    method: Method


@dataclass(frozen=True, eq=False)
class _CanvasAnswers:
    """The right answers of one sample on its canvas.

    Attributes:
        rows: Token ids, in the order in which the answers are listed.
        weights: A positive whole number for each answer.
        open: True where a decoder writes.
        mask_id: Id of an open position.
        end_id: Id that fills the rows after an answer.
        stop_ids: Other ids that end a reply.
    """

    rows: Int[np.ndarray, "answers length"]
    weights: Int[np.ndarray, " answers"]
    open: Bool[np.ndarray, " length"]
    mask_id: int
    end_id: int
    stop_ids: tuple[int, ...] = ()
    _windows: OrderedDict[tuple[bytes, bytes], _WindowLaw] = field(default_factory=OrderedDict)

    @cached_property
    def symbols(self) -> Int[np.ndarray, "length answers"]:
        """The tokens as numbers from 0, position by position."""
        _, symbols = np.unique(self.rows, return_inverse=True)
        return np.ascontiguousarray(symbols.reshape(self.rows.shape).T)

    def surviving(
        self, canvas: Int[np.ndarray, " length"]
    ) -> tuple[Int[np.ndarray, " surviving"], bool]:
        """Return the answers that agree with ``canvas`` most, and True if they agree everywhere."""
        written = np.flatnonzero(self.open & (canvas != self.mask_id))
        agreements = (self.rows[:, written] == self.read(canvas)[written]).sum(axis=1)
        most = agreements.max()
        return np.flatnonzero(agreements == most), bool(most == len(written))

    def agreeing(
        self,
        canvas: Int[np.ndarray, " length"],
        predicted: Int[np.ndarray, " length"],
        is_open: Bool[np.ndarray, " length"],
    ) -> Bool[np.ndarray, " length"]:
        """Return the open positions at which the predictions agree with the nearest right answer.

        Of several such answers it is the one listed first.
        """
        alive, _ = self.surviving(canvas)
        token = self.read(predicted)
        places = np.flatnonzero(is_open)
        agreements = (self.rows[np.ix_(alive, places)] == token[places]).sum(axis=1)
        return np.asarray(is_open & (self.rows[alive[agreements.argmax()]] == token))

    def read(self, ids: Int[np.ndarray, " length"]) -> Int[np.ndarray, " length"]:
        """Return ``ids`` with every end of a reply as the end-of-text of the rows."""
        return np.where(np.isin(ids, self.stop_ids), self.end_id, ids)

    def window_law(
        self, canvas: Int[np.ndarray, " length"], is_open: Bool[np.ndarray, " length"]
    ) -> _WindowLaw:
        """Return the open positions of a window under the remaining answers."""
        key = canvas.tobytes(), is_open.tobytes()
        if key not in self._windows:
            while len(self._windows) >= _WINDOWS_CACHED:
                self._windows.popitem(last=False)
            self._windows[key] = self._new_window_law(canvas, is_open)
        return self._windows[key]

    def _new_window_law(
        self, canvas: Int[np.ndarray, " length"], is_open: Bool[np.ndarray, " length"]
    ) -> _WindowLaw:
        alive, on_law = self.surviving(canvas)
        places = np.flatnonzero(is_open)
        symbols, weights = self.symbols[places[:, None], alive], self.weights[alive]
        if len(places) < (canvas == self.mask_id).sum():
            # Answers that differ only outside the window count as one.
            symbols, group = np.unique(symbols, axis=1, return_inverse=True)
            weights = np.bincount(group.ravel(), weights).astype(np.int64)
        state, classes = reduced(symbols, weights)
        uncertain = {position for members in classes for position in members}
        return _WindowLaw(
            certain=[int(place) for at, place in enumerate(places) if at not in uncertain],
            state=state,
            classes=tuple(tuple(int(places[at]) for at in members) for members in classes),
            on_law=on_law,
            answers=len(alive),
        )


#: Answers by prompt; dropped with the prompt.
_BY_PROMPT: WeakKeyDictionary[Prompt, _CanvasAnswers] = WeakKeyDictionary()
#: The latest ones, for tasks whose samples are all the same.
_LATEST: OrderedDict[object, _CanvasAnswers] = OrderedDict()


def _canvas_answers(prompt: Prompt) -> _CanvasAnswers:
    law = _BY_PROMPT.get(prompt)
    if law is None:
        law = _BY_PROMPT[prompt] = _shared(prompt)
    return law


def _shared(prompt: Prompt) -> _CanvasAnswers:
    key = prompt.codec, prompt.answers, tuple(prompt.canvas.tolist())
    if key not in _LATEST:
        _LATEST[key] = _CanvasAnswers(
            rows=lay_out(prompt, prompt.answers).numpy(),
            weights=np.array(prompt.answers.weights),
            open=_array(prompt.open),
            mask_id=prompt.codec.mask_id,
            end_id=prompt.codec.end_id,
            stop_ids=tuple(prompt.codec.stop_ids),
        )
    _LATEST.move_to_end(key)
    while len(_LATEST) > _LAWS_CACHED:
        _LATEST.popitem(last=False)
    return _LATEST[key]


def _window_law(view: View) -> _WindowLaw:
    return _canvas_answers(view.prompt).window_law(_array(view.canvas), _array(view.open))


def _at_start(prompt: Prompt) -> _WindowLaw:
    return _canvas_answers(prompt).window_law(_array(prompt.canvas), _array(prompt.open))


def _positions(choice: Choice, classes: tuple[tuple[int, ...], ...]) -> list[int]:
    """Return the canvas positions of ``choice``."""
    if choice.whole:
        return [position for members in classes for position in members]
    counts = Counter(choice.columns)
    return [position for column, count in counts.items() for position in classes[column][:count]]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


def _tensor(array: Bool[np.ndarray, " length"], like: Tensor) -> Bool[Tensor, " length"]:
    return torch.from_numpy(array).to(like.device)
