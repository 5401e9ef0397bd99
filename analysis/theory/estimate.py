"""Estimates of total correlation from the predictions of a model.

For a finite law :mod:`parallelbench.analysis.theory.dependence` computes it.  A checkpoint has no
explicit law, so it is estimated from predictions, each figure with its standard error and the
number of model calls:

- :func:`dependence` under the model's own distribution: the entropies of some positions in one
  call, less their entropy when revealed one by one (the chain rule);
- :func:`data_dependence` from right answers: their cross-entropy in one call, less their
  cross-entropy one by one.

The chain rule gives the same entropy in any order if the predictions come from one law.  Those of
a trained model do not quite, so the order is part of each figure; report several.  A standard
error of 0 says that all draws agreed, which few draws may do by chance.

Source: section 6 of this project's theory; equation 1 of Kang et al., ParallelBench
(arXiv:2510.04767).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from parallelbench.decode.loop import predict_log_probs
from parallelbench.model import Model, Row
from parallelbench.prompt import Prompt, lay_out
from parallelbench.task import Answers

#: Order in which positions are revealed one by one.  ``confidence``: always the position
#: with the highest probability of its likeliest token, the lower index on ties.  ``random``: a new
#: order for every completion.
Order = Literal["left_to_right", "confidence", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)

#: Largest number of rows in one call.
BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class DependenceEstimate:
    """An estimated total correlation.

    Attributes:
        bits: The estimate, ``at_once - one_by_one``.  Unlike the true figure it may fall
            below 0, by chance or because the model is inconsistent.
        standard_error: Standard error of ``bits``.
        at_once: Bits of the positions in one call, each by itself, summed.
        one_by_one: Bits of the same positions revealed one after the other, summed.
        order: Order in which the positions were revealed.
        count: Number of completions, or of answers, that were averaged.
        calls: Number of model calls.
        rows: Number of sequences in those calls; equal ones of a step are sent once.
    """

    bits: float
    standard_error: float
    at_once: float
    one_by_one: float
    order: Order
    count: int
    calls: int
    rows: int


def dependence(  # noqa: PLR0913  the last four have defaults
    model: Model,
    prompt: Prompt,
    rng: np.random.Generator,
    *,
    canvas: Int[Tensor, " length"] | None = None,
    positions: Sequence[int] | None = None,
    order: Order = "left_to_right",
    count: int = 100,
    batch_size: int = BATCH_SIZE,
) -> DependenceEstimate:
    r"""Estimate the total correlation of ``positions`` under the model's own law.

    .. math:: C(S|c) = \sum_{j \in S} H(y_j|c)
        - \mathrm{E} \sum_t H(y_{o_t} \,|\, c, y_{o_1}, \ldots, y_{o_{t-1}})

    The expectation is over completions that the model draws itself, token by token at
    temperature 1; the entropies are those of whole predictions, not of the drawn tokens.

    Args:
        model: Any adapter.
        prompt: Prompt of the sample.
        rng: Generator of the tokens and of random orders.
        canvas: The context c, with the mask id at open positions; None for the prompt's.
        positions: The set S of open positions; None for all of them.
        order: Order in which the positions are revealed.
        count: Number of completions, at least 2.
        batch_size: Largest number of rows in one call.

    Raises:
        ValueError: There are too few completions, the order is unknown, or a position is not
            open on ``canvas``.
    """
    context, chosen = _context(model, prompt, canvas, positions)
    _check(order, count, "completions")
    counter = _CallCounter(model, batch_size)
    ((_, first),) = counter.each([_row(prompt, context, chosen)])
    at_once = np.full(count, float(_entropies(first).sum()))
    walks = [_Walk(prompt, context.clone(), list(chosen)) for _ in range(count)]
    return _estimated(at_once, _walked(walks, order, counter, rng), order, counter)


def data_dependence(
    model: Model,
    references: Sequence[tuple[Prompt, Int[Tensor, " _"]]],
    rng: np.random.Generator,
    *,
    order: Order = "left_to_right",
    batch_size: int = BATCH_SIZE,
) -> DependenceEstimate:
    r"""Estimate C(Y|X) from right answers: their cross-entropy at once, less one by one.

    .. math:: \mathrm{E} \Big[ \sum_t \log_2 q(y_{o_t} | x, y_{o_1}, \ldots, y_{o_{t-1}})
        - \sum_j \log_2 q(y_j | x) \Big]

    It equals C(Y|X) if the model q is the law of the answers.  It needs no list of the answers,
    so it works for open-ended tasks.  The standard error is that of the difference of each
    answer.

    Args:
        model: Any adapter.
        references: prompts, each with the whole canvas of a right answer that was drawn from the
            law of its answers; see :func:`reference_of`.
        rng: Generator of random orders.
        order: Order in which the open positions are revealed.
        batch_size: Largest number of rows in one call.

    Raises:
        ValueError: There are fewer than 2 references, or the order is unknown.
    """
    _check(order, len(references), "references")
    counter = _CallCounter(model, batch_size)
    walks = []
    for prompt, answer in references:
        context, chosen = _context(model, prompt, None, None)
        walks.append(_Walk(prompt, context.clone(), list(chosen), answer=answer.tolist()))
    at_once = np.zeros(len(walks))
    for number, logs in counter.each([walk.row(walk.left) for walk in walks]):
        answer, places = references[number][1], walks[number].left
        at_once[number] = sum(map(_surprise, logs, answer[places].tolist()))
    return _estimated(at_once, _walked(walks, order, counter, rng), order, counter)


def reference_of(prompt: Prompt) -> tuple[Prompt, Int[Tensor, " length"]]:
    """Return ``prompt`` with the canvas of its sample's reference answer.

    Raises:
        CanvasError: The reference does not fit the canvas, or the tokenizer cannot write it.
    """
    return prompt, lay_out(prompt, Answers.uniform([prompt.sample.reference]))[0]


@dataclass(slots=True, eq=False)
class _Walk:
    """One completion that is being revealed position by position.

    Attributes:
        prompt: Prompt of the sample.
        canvas: Current token ids.
        left: Positions that are still to be revealed.
        answer: Token ids to reveal; None to draw them from the predictions.
        bits: Sum so far: entropies of the drawn tokens, or surprisals of the answer's tokens.
    """

    prompt: Prompt
    canvas: Int[Tensor, " length"]
    left: list[int]
    answer: list[int] | None = None
    bits: float = 0.0

    def row(self, wanted: Sequence[int]) -> Row:
        return _row(self.prompt, self.canvas.clone(), wanted)

    def reveal(
        self, position: int, logs: Float[Tensor, " vocabulary"], rng: np.random.Generator
    ) -> None:
        """Write one position and add its bits."""
        if self.answer is None:
            token = _draw(logs, rng)
            self.bits += float(_entropies(logs[None])[0])
        else:
            token = self.answer[position]
            self.bits += _surprise(logs, token)
        self.canvas[position] = token
        self.left.remove(position)


class _CallCounter:
    """Sends rows to a model and counts the calls."""

    def __init__(self, model: Model, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.calls = 0
        self.rows = 0
        self._model = model
        self._batch_size = batch_size

    def each(self, rows: Sequence[Row]) -> Iterator[tuple[int, Float[Tensor, "wanted vocabulary"]]]:
        """Yield the number of each row with its predictions; equal rows are sent once.

        The predictions of one call only are held at a time.
        """
        groups: dict[object, list[int]] = {}
        for number, row in enumerate(rows):
            key = id(row.prompt), tuple(row.canvas.tolist()), tuple(row.wanted.tolist())
            groups.setdefault(key, []).append(number)
        members = list(groups.values())
        for first in range(0, len(members), self._batch_size):
            batch = members[first : first + self._batch_size]
            sent = [rows[numbers[0]] for numbers in batch]
            self.calls, self.rows = self.calls + 1, self.rows + len(sent)
            counts = [int(row.wanted.sum()) for row in sent]
            parts = torch.split(predict_log_probs(sent, self._model), counts)
            for numbers, part in zip(batch, parts, strict=True):
                yield from ((number, part) for number in numbers)


def _walked(
    walks: Sequence[_Walk], order: Order, counter: _CallCounter, rng: np.random.Generator
) -> Float[np.ndarray, " walks"]:
    """Reveal the open positions of every walk, one per step, and return the bits of each walk."""
    if order == "random":
        for walk in walks:
            rng.shuffle(walk.left)
    while going := [walk for walk in walks if walk.left]:
        # Only the adaptive order needs predictions for more than the next position.
        wanted = [sorted(w.left) if order == "confidence" else w.left[:1] for w in going]
        rows = [walk.row(positions) for walk, positions in zip(going, wanted, strict=True)]
        for number, logs in counter.each(rows):
            surest = int(logs.amax(dim=1).argmax())
            going[number].reveal(wanted[number][surest], logs[surest], rng)
    return np.array([walk.bits for walk in walks])


def _estimated(
    at_once: Float[np.ndarray, " walks"],
    one_by_one: Float[np.ndarray, " walks"],
    order: Order,
    counter: _CallCounter,
) -> DependenceEstimate:
    differences = at_once - one_by_one
    count = len(differences)
    return DependenceEstimate(
        bits=float(differences.mean()),
        standard_error=float(differences.std(ddof=1)) / math.sqrt(count),
        at_once=float(at_once.mean()),
        one_by_one=float(one_by_one.mean()),
        order=order,
        count=count,
        calls=counter.calls,
        rows=counter.rows,
    )


def _context(
    model: Model,
    prompt: Prompt,
    canvas: Int[Tensor, " length"] | None,
    positions: Sequence[int] | None,
) -> tuple[Int[Tensor, " length"], tuple[int, ...]]:
    """Return the canvas on the model's device and the chosen positions, ascending."""
    context = (prompt.canvas if canvas is None else canvas).to(model.device)
    still_open = (context == prompt.codec.mask_id).nonzero().flatten().tolist()
    chosen = tuple(still_open) if positions is None else tuple(sorted(set(positions)))
    if not chosen or not set(chosen) <= set(still_open):
        raise ValueError(
            f"dependence needs open positions, got {list(chosen)}; open are {still_open}"
        )
    return context, chosen


def _check(order: str, count: int, noun: str) -> None:
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got order={order!r}")
    if count < 2:
        raise ValueError(f"a standard error takes at least 2 {noun}, got {count}")


def _row(prompt: Prompt, canvas: Int[Tensor, " length"], wanted: Sequence[int]) -> Row:
    marked = torch.zeros(len(canvas), dtype=torch.bool, device=canvas.device)
    marked[list(wanted)] = True
    return Row(prompt, canvas, marked)


def _entropies(logs: Float[Tensor, "wanted vocabulary"]) -> Float[np.ndarray, " wanted"]:
    """Return the entropy of each prediction, in bits."""
    exact = logs.double()
    probabilities = exact.exp()
    # 0 log 0 is 0 by continuity.
    terms = torch.where(probabilities > 0, probabilities * exact, 0.0)
    return np.asarray((-terms.sum(dim=1) / math.log(2)).cpu().numpy())


def _surprise(logs: Float[Tensor, " vocabulary"], token: int) -> float:
    """Return the surprisal of ``token`` in bits; infinite for an impossible token."""
    return -float(logs[token]) / math.log(2)


def _draw(logs: Float[Tensor, " vocabulary"], rng: np.random.Generator) -> int:
    """Draw a token: one uniform number goes through the cumulative distribution."""
    cumulative = logs.double().exp().cumsum(dim=0).cpu().numpy()
    below_all = min(rng.random() * cumulative[-1], np.nextafter(cumulative[-1], 0))
    return int(np.searchsorted(cumulative, below_all, side="right"))
