"""The one loop: plan, predict, step, apply, count.  Nobody else runs a model.

Many decodes go on together and share each model call, whatever their decoders, canvases
and progress; one that is finished leaves at once and the next takes its place.  Nothing
that a decode does depends on those beside it: its randomness is its own, and its counts
are of the calls in which it took part.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from parallelbench.decoder import Row, Statistics
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
        ValueError: The model gave no admissible token at some position, or not a number.
    """
    with torch.inference_mode():
        prediction = model.predict(rows)
        forbid_unwritable(prediction, model.codec)
        logs = torch.log_softmax(prediction.logits.float(), dim=-1)
        if logs.isnan().any():
            raise ValueError("the model's logits at some position are all -inf, or not numbers")
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
    _predict(asked, model)
    for cohort, call in asked:
        outcomes += cohort.step(call)
    return outcomes


def _predict(asked: Sequence[tuple[Cohort, Call]], model: Model) -> None:
    """Make the one model call of this step, and tell every cohort what it said."""
    rows = [row for _, call in asked for row in call.rows]
    if not rows:
        return
    prediction = model.predict(rows)
    forbid_unwritable(prediction, model.codec)
    needs = frozenset[str]().union(*(cohort.decoder.needs for cohort, _ in asked))
    temperature, draws = _draws(asked)
    flat = statistics_of(prediction, needs, temperature, draws, model.codec.size)
    first_row = first_wanted = 0
    for _, call in asked:
        rows_here = slice(first_row, first_row + len(call.rows))
        wanted_here = slice(first_wanted, first_wanted + int(call.wanted.sum()))
        extras = {name: value[rows_here] for name, value in prediction.extras.items()}
        call.statistics = _in_rows(call, flat, wanted_here, extras, model.codec.mask_id)
        if prediction.off_law is not None:
            call.off_law = prediction.off_law[rows_here].tolist()
        if prediction.auxiliary_calls is not None:
            call.auxiliary_calls = prediction.auxiliary_calls[rows_here]
        first_row, first_wanted = rows_here.stop, wanted_here.stop


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
    call: Call, flat: FlatStatistics, wanted: slice, extras: Mapping[str, Tensor], mask_id: int
) -> Statistics:
    """Put the statistics of one cohort's wanted positions back in the shape of its rows."""

    def placed(values: Tensor | None, missing: float) -> Tensor | None:
        if values is None:
            return None
        shape = (*call.wanted.shape, *values.shape[1:])
        full = torch.full(shape, missing, dtype=values.dtype, device=values.device)
        full[call.wanted] = values[wanted]
        return full

    token = torch.full(call.wanted.shape, mask_id, device=flat.token.device)
    token[call.wanted] = flat.token[wanted]
    return Statistics(
        token=token,
        confidence=placed(flat.confidence, -torch.inf),
        margin=placed(flat.margin, -torch.inf),
        entropy=placed(flat.entropy, torch.inf),
        uniform=call.uniform,
        distribution=placed(flat.distribution, 0.0),
        extras=extras,
    )
