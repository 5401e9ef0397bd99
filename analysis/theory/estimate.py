"""How much the tokens of an answer depend on each other according to a model.

For a finite law :mod:`parallelbench.analysis.theory.dependence` computes it.  A checkpoint only
answers questions, so here it is estimated from its predictions, each figure with its
standard error and with the model calls that it took:

- :func:`dependence` of some positions as the model itself sees them: the entropies of one
  call, less the entropy of the same positions revealed one by one (the chain rule);
- :func:`pairwise_information` from one extra row for each open position;
- :func:`data_dependence` from right answers: what they cost in bits when read off one call,
  less what they cost one by one.

The chain rule gives the same entropy in any order if the predictions come from one law.
Those of a trained model do not quite, so the order is part of each figure; report several.
A standard error knows only what was drawn: at 0 all draws agreed, which few draws may do
by chance.

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

from parallelbench.answers import Answers
from parallelbench.decode.loop import predict_log_probs
from parallelbench.model import Model, Row
from parallelbench.prompt import Prompt, lay_out

#: In which order positions are revealed one by one.  ``confidence``: always the one whose
#: likeliest token is the most probable, the lower index on ties.  ``random``: in an order
#: of its own for every completion.
Order = Literal["left_to_right", "confidence", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)

#: Most rows of one call.
BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Dependence:
    """An estimated total correlation.

    Attributes:
        bits: The estimate: ``at_once - one_by_one``.  Unlike the true figure it may fall
            below 0, by chance or because the model contradicts itself.
        standard_error: Of ``bits``.
        at_once: Bits of the positions in one call, each by itself, summed.
        one_by_one: Bits of the same positions revealed one after the other, summed.
        order: In which order.
        count: How many completions, or answers, it is the mean of.
        calls: Model calls made.
        rows: Sequences in those calls; equal ones of a step are sent once.
    """

    bits: float
    standard_error: float
    at_once: float
    one_by_one: float
    order: Order
    count: int
    calls: int
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Pairwise:
    """Estimated mutual information between open positions.

    Attributes:
        bits: Entry (i, j): by how much revealing position i lowers the entropy of position
            j, on average.  A model that is one law makes it symmetric.  On the diagonal:
            the entropy of each position.
        standard_error: Of each entry; 0 on the diagonal, which takes no draw.
        positions: Which position of the canvas each line and column is.
        count: How many draws of each position.
        calls: Model calls made.
        rows: Sequences in those calls; equal ones are sent once.
    """

    bits: Float[np.ndarray, "positions positions"]
    standard_error: Float[np.ndarray, "positions positions"]
    positions: tuple[int, ...]
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
) -> Dependence:
    r"""Estimate the total correlation of ``positions`` under the model's own law.

    .. math:: C(S|c) = \sum_{j \in S} H(y_j|c)
        - \mathrm{E} \sum_t H(y_{o_t} \,|\, c, y_{o_1}, \ldots, y_{o_{t-1}})

    The expectation is over completions that the model draws itself, token by token at
    temperature 1; the entropies are those of whole predictions, not of the drawn tokens.

    Args:
        model: Any adapter.
        prompt: The sample.
        rng: Draws the tokens, and the orders.
        canvas: The context c, with the mask id at open positions; None for the prompt's.
        positions: The set S of open positions; None for all of them.
        order: In which they are revealed.
        count: How many completions, at least 2.
        batch_size: Most rows of one call.

    Raises:
        ValueError: Too few completions, an order that is none, or a position that is not
            open on ``canvas``.
    """
    context, chosen = _context(model, prompt, canvas, positions)
    _check(order, count, "completions")
    asked = _Asked(model, batch_size)
    ((_, first),) = asked.each([_row(prompt, context, chosen)])
    at_once = np.full(count, float(_entropies(first).sum()))
    walks = [_Walk(prompt, context.clone(), list(chosen)) for _ in range(count)]
    return _estimated(at_once, _walked(walks, order, asked, rng), order, asked)


def pairwise_information(  # noqa: PLR0913  the last four have defaults
    model: Model,
    prompt: Prompt,
    rng: np.random.Generator,
    *,
    canvas: Int[Tensor, " length"] | None = None,
    positions: Sequence[int] | None = None,
    count: int = 8,
    batch_size: int = BATCH_SIZE,
) -> Pairwise:
    r"""Estimate the mutual information of every two open positions, given the canvas.

    .. math:: I(y_i ; y_j | c) = H(y_j|c) - \mathrm{E}_{y_i} H(y_j|c, y_i)

    Each draw takes one extra row for each position: that position revealed, the others
    looked at.

    Args:
        model: Any adapter.
        prompt: The sample.
        rng: Draws the tokens that are revealed.
        canvas: The context c, with the mask id at open positions; None for the prompt's.
        positions: Which open positions; None for all of them.
        count: How many draws of each position, at least 2.
        batch_size: Most rows of one call.

    Raises:
        ValueError: Too few draws, or a position that is not open on ``canvas``.
    """
    context, chosen = _context(model, prompt, canvas, positions)
    _check("random", count, "draws")
    asked = _Asked(model, batch_size)
    ((_, first),) = asked.each([_row(prompt, context, chosen)])
    alone, size = _entropies(first), len(chosen)
    rows = [
        _revealing(prompt, context, chosen, place, _draw(logs, rng))
        for _ in range(count)
        for place, logs in enumerate(first)
        if size > 1
    ]
    drops = np.zeros((count, size, size))
    drops[:, np.arange(size), np.arange(size)] = alone
    for number, logs in asked.each(rows):
        others = np.arange(size) != number % size
        drops[number // size, number % size, others] = alone[others] - _entropies(logs)
    error = drops.std(axis=0, ddof=1) / math.sqrt(count)
    np.fill_diagonal(error, 0.0)
    return Pairwise(drops.mean(axis=0), error, chosen, count, asked.calls, asked.rows)


def data_dependence(
    model: Model,
    references: Sequence[tuple[Prompt, Int[Tensor, " _"]]],
    rng: np.random.Generator,
    *,
    order: Order = "left_to_right",
    batch_size: int = BATCH_SIZE,
) -> Dependence:
    r"""Estimate C(Y|X) from right answers: their cross-entropy at once, less one by one.

    .. math:: \mathrm{E} \Big[ \sum_t \log_2 q(y_{o_t} | x, y_{o_1}, \ldots, y_{o_{t-1}})
        - \sum_j \log_2 q(y_j | x) \Big]

    It is C(Y|X) if the model q is the law of the answers, and needs no list of them: it
    serves open-ended tasks.  The difference is taken answer by answer, which is what the
    standard error is of.

    Args:
        model: Any adapter.
        references: Prompts, each with the whole canvas of a right answer, drawn from the
            law of its answers; see :func:`reference_of`.
        rng: Draws the order ``random``.
        order: In which the open positions are revealed.
        batch_size: Most rows of one call.

    Raises:
        ValueError: Fewer than 2 references, or an order that is none.
    """
    _check(order, len(references), "references")
    asked = _Asked(model, batch_size)
    walks = []
    for prompt, answer in references:
        context, chosen = _context(model, prompt, None, None)
        walks.append(_Walk(prompt, context.clone(), list(chosen), answer=answer.tolist()))
    at_once = np.zeros(len(walks))
    for number, logs in asked.each([walk.row(walk.left) for walk in walks]):
        answer, places = references[number][1], walks[number].left
        at_once[number] = sum(map(_surprise, logs, answer[places].tolist()))
    return _estimated(at_once, _walked(walks, order, asked, rng), order, asked)


def reference_of(prompt: Prompt) -> tuple[Prompt, Int[Tensor, " length"]]:
    """Return ``prompt`` with the canvas of its sample's reference answer.

    Raises:
        CanvasError: The reference does not fit the canvas, or the tokenizer cannot write it.
    """
    return prompt, lay_out(prompt, Answers.uniform([prompt.sample.reference]))[0]


@dataclass(slots=True, eq=False)
class _Walk:
    """One completion on its way.

    Attributes:
        prompt: The sample.
        canvas: As it stands.
        left: Positions that are still to be revealed.
        answer: What to reveal; None to draw it from the predictions.
        bits: Paid so far: the entropies of what was drawn, or the surprise at what was told.
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
        """Write one position and pay for it."""
        if self.answer is None:
            token = _draw(logs, rng)
            self.bits += float(_entropies(logs[None])[0])
        else:
            token = self.answer[position]
            self.bits += _surprise(logs, token)
        self.canvas[position] = token
        self.left.remove(position)


class _Asked:
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
    walks: Sequence[_Walk], order: Order, asked: _Asked, rng: np.random.Generator
) -> Float[np.ndarray, " walks"]:
    """Reveal what is left of every walk, one position a step; return what each has paid."""
    if order == "random":
        for walk in walks:
            rng.shuffle(walk.left)
    while going := [walk for walk in walks if walk.left]:
        # Only the adaptive order has to look at more than the position that is next.
        wanted = [sorted(w.left) if order == "confidence" else w.left[:1] for w in going]
        rows = [walk.row(positions) for walk, positions in zip(going, wanted, strict=True)]
        for number, logs in asked.each(rows):
            surest = int(logs.amax(dim=1).argmax())
            going[number].reveal(wanted[number][surest], logs[surest], rng)
    return np.array([walk.bits for walk in walks])


def _estimated(
    at_once: Float[np.ndarray, " walks"],
    one_by_one: Float[np.ndarray, " walks"],
    order: Order,
    asked: _Asked,
) -> Dependence:
    differences = at_once - one_by_one
    count = len(differences)
    return Dependence(
        bits=float(differences.mean()),
        standard_error=float(differences.std(ddof=1)) / math.sqrt(count),
        at_once=float(at_once.mean()),
        one_by_one=float(one_by_one.mean()),
        order=order,
        count=count,
        calls=asked.calls,
        rows=asked.rows,
    )


def _context(
    model: Model,
    prompt: Prompt,
    canvas: Int[Tensor, " length"] | None,
    positions: Sequence[int] | None,
) -> tuple[Int[Tensor, " length"], tuple[int, ...]]:
    """Return the canvas, where the model computes, and the positions that are meant, ascending."""
    context = (prompt.canvas if canvas is None else canvas).to(model.device)
    still_open = (context == prompt.codec.mask_id).nonzero().flatten().tolist()
    chosen = tuple(still_open) if positions is None else tuple(sorted(set(positions)))
    if not chosen or not set(chosen) <= set(still_open):
        raise ValueError(
            f"dependence is asked of open positions, got {list(chosen)}; open are {still_open}"
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


def _revealing(
    prompt: Prompt,
    context: Int[Tensor, " length"],
    positions: Sequence[int],
    place: int,
    token: int,
) -> Row:
    """Return the row that reveals one of ``positions`` and asks for the others."""
    canvas = context.clone()
    canvas[positions[place]] = token
    return _row(prompt, canvas, [*positions[:place], *positions[place + 1 :]])


def _entropies(logs: Float[Tensor, "wanted vocabulary"]) -> Float[np.ndarray, " wanted"]:
    """Return the entropy of each prediction, in bits."""
    exact = logs.double()
    probabilities = exact.exp()
    # 0 log 0 is 0 by continuity: impossible tokens carry no surprise.
    terms = torch.where(probabilities > 0, probabilities * exact, 0.0)
    return np.asarray((-terms.sum(dim=1) / math.log(2)).cpu().numpy())


def _surprise(logs: Float[Tensor, " vocabulary"], token: int) -> float:
    """Return how unlikely ``token`` was, in bits; infinite if it was impossible."""
    return -float(logs[token]) / math.log(2)


def _draw(logs: Float[Tensor, " vocabulary"], rng: np.random.Generator) -> int:
    """Draw a token: one uniform number goes through the cumulative distribution."""
    cumulative = logs.double().exp().cumsum(dim=0).cpu().numpy()
    below_all = min(rng.random() * cumulative[-1], np.nextafter(cumulative[-1], 0))
    return int(np.searchsorted(cumulative, below_all, side="right"))
