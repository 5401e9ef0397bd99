"""The one loop: plan, predict, step, apply, count.  Nobody else runs a model.

Many decodes go on together and share each model call, whatever their decoders, canvases
and progress; one that is finished leaves at once and the next takes its place.  Nothing
that a decode does depends on those beside it: its randomness is its own, and its counts
are of the calls in which it took part.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import Row, Statistics
from parallelbench.errors import ModelError
from parallelbench.lanes import Call, Cohort, Job, Outcome
from parallelbench.model import Model
from parallelbench.statistics import FlatStatistics, forbid_unwritable, statistics_of


def decode(jobs: Iterable[Job], model: Model, *, batch_size: int = 64) -> Iterator[Outcome]:
    """Decode ``jobs`` with ``model`` and yield each outcome as it is finished.

    Args:
        jobs: Taken one at a time, as room becomes free.
        model: Predicts for all of them.
        batch_size: Most decodes at a time.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    queue = iter(jobs)
    cohorts: dict[tuple[int, int], Cohort] = {}
    while True:
        free = batch_size - sum(len(cohort.lanes) for cohort in cohorts.values())
        fresh = list(itertools.islice(queue, free))
        with torch.inference_mode():
            outcomes = _admit(fresh, model, cohorts)
            outcomes += _advance(cohorts.values(), model)
        yield from outcomes
        cohorts = {key: cohort for key, cohort in cohorts.items() if cohort.lanes}
        if not cohorts and len(fresh) < free:  # the queue is empty too
            return


def look(rows: Sequence[Row], model: Model) -> Float[Tensor, "wanted vocabulary"]:
    """Return what ``model`` says of the wanted positions of ``rows``, in exactly one call.

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


def _advance(cohorts: Iterable[Cohort], model: Model) -> list[Outcome]:
    """Take one step in every lane; return those that it finished."""
    outcomes: list[Outcome] = []
    asked: list[tuple[Cohort, Call]] = []
    for cohort in cohorts:
        planned = cohort.plan()
        if isinstance(planned, Call):
            asked.append((cohort, planned))
        else:
            outcomes += planned
    outcomes += _predict(asked, model)
    for cohort, call in asked:
        outcomes += cohort.step(call)
    return outcomes


def _predict(asked: Sequence[tuple[Cohort, Call]], model: Model) -> list[Outcome]:
    """Make the one model call of this step, and tell every cohort what it said.

    Returns:
        The lanes that it ended, because the model had no prediction for them.
    """
    rows = [row for _, call in asked for row in call.rows]
    if not rows:
        return []
    temperature, draws = _draws(asked)
    asking = _Asking(
        model=model,
        rows=rows,
        needs=frozenset[str]().union(*(cohort.decoder.needs for cohort, _ in asked)),
        temperature=temperature,
        draws=draws,
        wanted=torch.cat([call.wanted.sum(dim=1) for _, call in asked]),
    )
    told, failed = asking.ask()
    outcomes = [out for cohort, call in asked for out in cohort.drop(call, failed)]
    if told is None:
        return outcomes
    first_row = first_wanted = 0
    for _, call in asked:
        rows_here = slice(first_row, first_row + len(call.rows))
        wanted_here = slice(first_wanted, first_wanted + int(call.wanted.sum()))
        extras = {name: value[rows_here] for name, value in told.extras.items()}
        call.statistics = _in_rows(call, told.flat.at(wanted_here), extras, model.codec.mask_id)
        if told.off_law is not None:
            call.off_law = told.off_law[rows_here].tolist()
        first_row, first_wanted = rows_here.stop, wanted_here.stop
    return outcomes


class _Told(NamedTuple):
    """What the model said of some rows, in their order."""

    flat: FlatStatistics
    off_law: Bool[Tensor, " rows"] | None
    extras: Mapping[str, Tensor]


class _Asking(NamedTuple):
    """One model call, in as many batches as memory asks for.

    Attributes:
        model: Is asked.
        rows: Of all cohorts.
        needs: What their decoders want to know.
        temperature: Of each wanted position; None if all are 0.
        draws: A uniform number in [0, 1) for each; likewise.
        wanted: How many positions of each row are wanted.
    """

    model: Model
    rows: Sequence[Row]
    needs: AbstractSet[str]
    temperature: Float[Tensor, " wanted"] | None
    draws: Float[Tensor, " wanted"] | None
    wanted: Int[Tensor, " rows"]

    def ask(self) -> tuple[_Told | None, dict[Row, str]]:
        """Return what the model said, and why it said nothing of the rows that are missing."""
        waiting = deque(self.model.batches(self.rows))
        order: list[int] = []
        parts: list[_Told] = []
        failed: dict[Row, str] = {}
        while waiting:
            batch = waiting.popleft()
            try:
                parts.append(self._about(batch))
                order += batch
            except (torch.OutOfMemoryError, ModelError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    self.model.shrink([self.rows[index] for index in batch])
                if len(batch) == 1:
                    failed[self.rows[batch[0]]] = f"{type(error).__name__}: {error}"
                else:
                    middle = len(batch) // 2
                    waiting.extendleft([batch[middle:], batch[:middle]])
        return (self._joined(parts, order) if parts else None), failed

    def _about(self, batch: list[int]) -> _Told:
        whole = batch == list(range(len(self.rows)))
        lines = slice(None) if whole else self._lines(batch, self.wanted)
        prediction = self.model.predict([self.rows[index] for index in batch])
        forbid_unwritable(prediction, self.model.codec)
        flat = statistics_of(
            prediction,
            self.needs,
            None if self.temperature is None else self.temperature[lines],
            None if self.draws is None else self.draws[lines],
            self.model.codec.size,
        )
        return _Told(flat, prediction.off_law, prediction.extras)

    def _joined(self, parts: Sequence[_Told], order: list[int]) -> _Told:
        """Put what was said in several batches into the order of the rows."""
        flat = FlatStatistics.joined([part.flat for part in parts])
        known = [part.off_law for part in parts if part.off_law is not None]
        off_law = torch.cat(known) if known else None
        extras = {name: torch.cat([p.extras[name] for p in parts]) for name in parts[0].extras}
        if order == sorted(order):
            return _Told(flat, off_law, extras)
        place = torch.tensor(order, device=self.wanted.device).argsort()
        return _Told(
            flat.at(self._lines(place.tolist(), self.wanted[order])),
            None if off_law is None else off_law[place],
            {name: value[place] for name, value in extras.items()},
        )

    @staticmethod
    def _lines(batch: Sequence[int], wanted: Int[Tensor, " rows"]) -> Int[Tensor, " lines"]:
        """Return which lines belong to some rows, of all rows' lines one after the other."""
        starts = (wanted.cumsum(0) - wanted)[batch]
        counts = wanted[batch]
        shifts = starts - (counts.cumsum(0) - counts)
        return torch.arange(int(counts.sum()), device=wanted.device) + shifts.repeat_interleave(
            counts
        )


def _draws(asked: Sequence[tuple[Cohort, Call]]) -> tuple[Tensor | None, Tensor | None]:
    """Return temperature and uniform number of every wanted position, if any is drawn."""
    if all(call.draws is None for _, call in asked):
        return None, None
    draws = [
        (torch.zeros_like(call.wanted, dtype=torch.float64) if call.draws is None else call.draws)[
            call.wanted
        ]
        for _, call in asked
    ]
    temperature = [
        torch.full_like(drawn, cohort.decoder.temperature)
        for (cohort, _), drawn in zip(asked, draws, strict=True)
    ]
    return torch.cat(temperature), torch.cat(draws)


def _in_rows(
    call: Call, flat: FlatStatistics, extras: Mapping[str, Tensor], mask_id: int
) -> Statistics:
    """Put the statistics of one cohort's wanted positions back in the shape of its rows."""

    def placed(values: Tensor | None, missing: float) -> Tensor | None:
        if values is None:
            return None
        shape = (*call.wanted.shape, *values.shape[1:])
        full = torch.full(shape, missing, dtype=values.dtype, device=values.device)
        full[call.wanted] = values
        return full

    token = torch.full(call.wanted.shape, mask_id, device=flat.token.device)
    token[call.wanted] = flat.token
    return Statistics(
        token=token,
        confidence=placed(flat.confidence, -torch.inf),
        margin=placed(flat.margin, -torch.inf),
        entropy=placed(flat.entropy, torch.inf),
        uniform=call.uniform,
        distribution=placed(flat.distribution, 0.0),
        extras=extras,
    )
