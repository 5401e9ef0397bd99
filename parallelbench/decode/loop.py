"""The decode loop: plan, predict, step, apply, count.  No other code runs a model.

Many decodes go on together and share each model call, whatever their decoders, canvases
and progress; one that is finished leaves at once and the next takes its place.  Nothing
that a decode does depends on those beside it: its randomness is its own, and its counts
are of the calls in which it took part.  What two of them ask alike is asked once
(:mod:`parallelbench.decode.sharing`), and counted for both.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from parallelbench.decode.lanes import Call, Cohort, Job, Outcome
from parallelbench.decode.sharing import (
    PredictionCache,
    RowPrediction,
    cache_keys,
    concatenate,
    index_ranges,
    is_cacheable,
)
from parallelbench.decode.statistics import (
    Drawing,
    FlatStatistics,
    forbid_unwritable,
    statistics_of,
)
from parallelbench.decoder import Decoder, Statistics
from parallelbench.errors import ModelError
from parallelbench.model import Model, Row
from parallelbench.prompt import Prompt


@dataclass(slots=True)
class Tally:
    """Counts of shared rows and time of model calls.

    Attributes:
        asked: Rows that decodes requested.
        sent: Rows that went through the model.
        calls: Batches that went through the model; of a server, replies.
        seconds: Sum of the times of these calls.  A call lasts until the most likely token of
            every position is known, for which the device must have finished.
    """

    asked: int = 0
    sent: int = 0
    calls: int = 0
    seconds: float = 0.0

    def add(self, asked: Sequence[Row], sent: Sequence[Row]) -> None:
        """Count the rows of one step: those requested, and those of them that are sent."""
        self.asked += len(asked)
        self.sent += len(sent)

    def add_call(self, seconds: float) -> None:
        """Count one call that took so many seconds."""
        self.calls += 1
        self.seconds += seconds

    def merge(self, other: Tally) -> None:
        """Count all that ``other`` counted, too."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def less(self, before: Tally) -> Tally:
        """Return the counts since this tally was equal to ``before``."""
        names = [each.name for each in fields(Tally)]
        return Tally(**{name: getattr(self, name) - getattr(before, name) for name in names})


def decode(
    jobs: Iterable[Job],
    model: Model,
    *,
    batch_size: int = 64,
    share: bool = True,
    tally: Tally | None = None,
) -> Iterator[Outcome]:
    """Decode ``jobs`` with ``model`` and yield each outcome as it is finished.

    Args:
        jobs: Taken one at a time, as room becomes free; those that have the same prompt
            object, one after the other, ask the model only once what they ask alike.
        model: Predicts for all of them.
        batch_size: Most decodes at a time.
        share: True to send equal rows once; changes no token and no count.
        tally: Counts rows and calls, if given.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    queue = iter(jobs)
    batcher = PredictionBatcher(model, PredictionCache() if share else None, tally or Tally())
    cohorts: dict[tuple[int, int], Cohort] = {}
    while True:
        free = batch_size - sum(len(cohort.slots) for cohort in cohorts.values())
        fresh = list(itertools.islice(queue, free))
        with torch.inference_mode():
            outcomes = _admit(fresh, model, cohorts)
            outcomes += _advance(cohorts.values(), batcher)
        yield from outcomes
        cohorts = {key: cohort for key, cohort in cohorts.items() if cohort.slots}
        if not cohorts and len(fresh) < free:  # the queue is empty too
            return


def predict_log_probs(rows: Sequence[Row], model: Model) -> Float[Tensor, "wanted vocabulary"]:
    """Return log-probabilities at the wanted positions of ``rows``, from exactly one call.

    For measurements of a model, which decode nothing and count these calls themselves.

    Returns:
        Natural logarithms of the probabilities at temperature 1 over all ids that may be
        written: rows in order, positions ascending within a row; -inf where impossible.

    Raises:
        ModelError: The model gave no admissible token at some position, or not a number.
    """
    with torch.inference_mode():
        prediction = model.predict(rows)
        forbid_unwritable(prediction, model.codec)
        logs = torch.log_softmax(prediction.logits.float(), dim=-1)
        if logs.isnan().any():
            raise ModelError("the model's logits at some position are all -inf, or not numbers")
        if prediction.token_ids is None:
            return logs[:, : model.codec.size]
        full = logs.new_full((len(logs), model.codec.size), -torch.inf)
        # Impossible columns may hold any id, even one that another column has.
        ids = prediction.token_ids.clamp(max=model.codec.size - 1)
        return full.scatter_reduce_(1, ids, logs, "amax")


def _admit(
    jobs: Sequence[Job], model: Model, cohorts: dict[tuple[int, int], Cohort]
) -> list[Outcome]:
    groups: dict[tuple[int, int], list[Job]] = defaultdict(list)
    for job in jobs:
        groups[id(job.decoder), len(job.prompt.canvas)].append(job)
    outcomes: list[Outcome] = []
    for key, group in groups.items():
        if key not in cohorts:
            cohorts[key] = Cohort(group[0].decoder, model)
        outcomes += cohorts[key].admit(group)
    return outcomes


def _advance(cohorts: Iterable[Cohort], batcher: PredictionBatcher) -> list[Outcome]:
    """Take one step in every slot; return those that it finished."""
    outcomes: list[Outcome] = []
    calls: list[tuple[Cohort, Call]] = []
    for cohort in cohorts:
        planned = cohort.plan()
        if isinstance(planned, Call):
            calls.append((cohort, planned))
        else:
            outcomes += planned
    failed = batcher.predict(calls)
    outcomes += [outcome for cohort, call in calls for outcome in cohort.drop(call, failed)]
    for cohort, call in calls:
        batcher.scatter(cohort, call)
        outcomes += cohort.step(call)
    return outcomes


class PredictionBatcher:
    """Predicts the rows of all cohorts in one step and scatters the results.

    Args:
        model: The model.
        cache: Earlier predictions; None predicts every row anew.
        tally: Counts the rows.
    """

    def __init__(self, model: Model, cache: PredictionCache | None, tally: Tally) -> None:
        self._model = model
        self._cache = cache
        self._tally = tally
        self._predictions: dict[Row, RowPrediction] = {}

    def predict(self, calls: Sequence[tuple[Cohort, Call]]) -> dict[Row, str]:
        """Make the one model call of this step.

        Returns:
            The reason for each row without a prediction.
        """
        self._predictions = {}
        rows = [row for _, call in calls for row in call.rows]
        decoders = [cohort.decoder for cohort, call in calls for _ in call.rows]
        keys = [None] * len(rows) if self._cache is None or not rows else cache_keys(rows)
        requests = self._requests(rows, keys, decoders)
        sent = [_requesting_all([rows[index] for index in alike]) for alike in requests]
        self._tally.add(rows, sent)
        if not sent:
            return {}
        batched = BatchedCall(
            model=self._model,
            rows=sent,
            requests=requests,
            needs=frozenset[str]().union(*(cohort.decoder.needs for cohort, _ in calls)),
            drawing=_drawing(calls),
            wanted=torch.cat([call.wanted.sum(dim=1) for _, call in calls]).cpu().numpy(),
            tally=self._tally,
        )
        predictions, failed = batched.predict()
        for index, prediction in predictions.items():
            self._predictions[rows[index]] = prediction
            if (
                self._cache is not None
                and keys[index] is not None
                and is_cacheable(decoders[index])
            ):
                self._cache.store(rows[index], keys[index], prediction, batched.needs)
        return {
            rows[index]: reason for place, reason in failed.items() for index in requests[place]
        }

    def _requests(
        self, rows: Sequence[Row], keys: Sequence[Hashable], decoders: Sequence[Decoder]
    ) -> list[list[int]]:
        """Return, for each row to send, the indices of the requests for it, in order.

        Requests that the cache can answer are answered here.
        """
        requests: list[list[int]] = []
        alike: dict[tuple[Prompt, Hashable], list[int]] = {}
        for index, (row, key, decoder) in enumerate(zip(rows, keys, decoders, strict=True)):
            prediction = self._cached(row, key, decoder)
            if prediction is not None:
                self._predictions[row] = prediction
            elif key is not None and (row.prompt, key) in alike:
                alike[row.prompt, key].append(index)
            else:
                requests.append([index])
                alike[row.prompt, key] = requests[-1]
        return requests

    def scatter(self, cohort: Cohort, call: Call) -> None:
        """Put the predictions of the rows of ``call`` into it."""
        if not call.rows:
            call.statistics = Statistics(call.statistics.token, uniform=call.uniform)
            return
        predictions = [self._predictions[row] for row in call.rows]
        extras = {
            name: _stacked([each.extras[name] for each in predictions])
            for name in sorted(cohort.decoder.extras)
            if all(name in each.extras for each in predictions)
        }
        call.statistics = _in_rows(
            call, concatenate(predictions), extras, cohort.decoder.needs, self._model.codec.mask_id
        )
        off_support = [each.off_support for each in predictions if each.off_support is not None]
        call.off_support = off_support or None

    def _cached(self, row: Row, key: Hashable, decoder: Decoder) -> RowPrediction | None:
        if self._cache is None or key is None or not is_cacheable(decoder):
            return None
        return self._cache.find(row, key, decoder)


class _Part(NamedTuple):
    """Statistics of one batch, request after request."""

    flat: FlatStatistics
    requests: list[int]
    off_support: list[bool | None]
    extras: list[Mapping[str, Tensor]]


class BatchedCall(NamedTuple):
    """One model call, in as many batches as memory asks for.

    Attributes:
        model: The model.
        rows: Distinct rows.
        requests: Indices of the requests for each row.
        needs: Statistics that their decoders need.
        drawing: Random draws at the wanted positions, request after request.
        wanted: Number of wanted positions of each request.
        tally: Counts the batches and their time.
    """

    model: Model
    rows: Sequence[Row]
    requests: Sequence[list[int]]
    needs: AbstractSet[str]
    drawing: Drawing | None
    wanted: np.ndarray
    tally: Tally

    def predict(self) -> tuple[dict[int, RowPrediction], dict[int, str]]:
        """Return the predictions, and the reasons for missing ones.

        Returns:
            The prediction for each request, by its index; and the reason for each row without
            one, by its index among ``rows``.
        """
        waiting = deque(self.model.batches(self.rows))
        parts: list[_Part] = []
        failed: dict[int, str] = {}
        while waiting:
            batch = waiting.popleft()
            try:
                parts.append(self._about(batch))
            except (torch.OutOfMemoryError, ModelError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    self.model.shrink([self.rows[index] for index in batch])
                if len(batch) == 1:
                    failed[batch[0]] = f"{type(error).__name__}: {error}"
                else:
                    middle = len(batch) // 2
                    waiting.extendleft([batch[middle:], batch[:middle]])
        return (self._joined(parts) if parts else {}), failed

    def _about(self, batch: list[int]) -> _Part:
        requests = [request for index in batch for request in self.requests[index]]
        rows = [row for row, index in enumerate(batch) for _ in self.requests[index]]
        began = time.perf_counter()
        prediction = self.model.predict([self.rows[index] for index in batch])
        forbid_unwritable(prediction, self.model.codec)
        device = prediction.logits.device
        mine = index_ranges(
            (self.wanted.cumsum() - self.wanted)[requests], self.wanted[requests]
        ).to(device)
        flat = statistics_of(
            prediction,
            self.needs,
            None if self.drawing is None else self.drawing.at(mine),
            self.model.codec.size,
            lines=None if len(requests) == len(batch) else self._lines(batch, rows).to(device),
        )
        self.tally.add_call(time.perf_counter() - began)
        off_support: list[bool | None] = [None] * len(batch)
        if prediction.off_support is not None:
            off_support = prediction.off_support.tolist()
        extras = [
            {name: given[row] for name, given in prediction.extras.items() if name in requested}
            for row, requested in enumerate(self.rows[index].extras for index in batch)
        ]
        return _Part(
            flat, requests, [off_support[row] for row in rows], [extras[row] for row in rows]
        )

    def _lines(self, batch: Sequence[int], rows: Sequence[int]) -> Int[Tensor, " wanted"]:
        """Return the line of the prediction that each request's positions read."""
        counts = self.wanted[[self.requests[index][0] for index in batch]]
        return index_ranges((counts.cumsum() - counts)[rows], counts[rows])

    def _joined(self, parts: Sequence[_Part]) -> dict[int, RowPrediction]:
        """Join several batches and return the part of each request."""
        flat = FlatStatistics.joined([part.flat for part in parts])
        predictions: dict[int, RowPrediction] = {}
        line = 0
        for part in parts:
            for request, off_support, extras in zip(
                part.requests, part.off_support, part.extras, strict=True
            ):
                count = int(self.wanted[request])
                predictions[request] = RowPrediction(flat, line, count, off_support, extras)
                line += count
        return predictions


def _requesting_all(rows: Sequence[Row]) -> Row:
    """Return the first of some equal rows, asking for what any of them asks for."""
    extras = frozenset[str]().union(*(row.extras for row in rows))
    return rows[0] if extras == rows[0].extras else replace(rows[0], extras=extras)


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Return one tensor of the rows' tensors, with 0 after shorter ones."""
    shape = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    full = parts[0].new_zeros((len(parts), *shape))
    for row, part in zip(full, parts, strict=True):
        row[tuple(slice(size) for size in part.shape)] = part
    return full


def _drawing(calls: Sequence[tuple[Cohort, Call]]) -> Drawing | None:
    """Return the random draws at all wanted positions; None if there are none."""
    if all(call.draws is None for _, call in calls):
        return None
    uniform = [
        (torch.zeros_like(call.wanted, dtype=torch.float64) if call.draws is None else call.draws)[
            call.wanted
        ]
        for _, call in calls
    ]
    temperature = [
        torch.full_like(drawn, cohort.decoder.temperature)
        for (cohort, _), drawn in zip(calls, uniform, strict=True)
    ]
    return Drawing(torch.cat(temperature), torch.cat(uniform))


#: Values of the statistics at positions that were not wanted.
_NOT_WANTED = {
    "confidence": -torch.inf,
    "margin": -torch.inf,
    "logit_margin": -torch.inf,
    "entropy": torch.inf,
    "distribution": 0.0,
}


def _in_rows(
    call: Call,
    flat: FlatStatistics,
    extras: Mapping[str, Tensor],
    needs: AbstractSet[str],
    mask_id: int,
) -> Statistics:
    """Put the statistics of one cohort's wanted positions back in the shape of its rows."""

    def placed(values: Tensor, missing: float) -> Tensor:
        shape = (*call.wanted.shape, *values.shape[1:])
        full = torch.full(shape, missing, dtype=values.dtype, device=values.device)
        full[call.wanted] = values
        return full

    # Other decoders of the step may need more: each reads what it declares.
    computed = {
        name: placed(getattr(flat, name), missing)
        for name, missing in _NOT_WANTED.items()
        if name in needs
    }
    token = torch.full(call.wanted.shape, mask_id, device=flat.token.device)
    token[call.wanted] = flat.token
    return Statistics(token, extras=extras, uniform=call.uniform, **computed)
