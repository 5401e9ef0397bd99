"""Measured speed of decoding: how much was finished in how much time, and on what.

Decodes run side by side and settings share model calls.  The times of single decodes therefore
overlap: their sum is no time that passed, and no part of a shared call belongs to one setting.
What can be measured is the wall-clock time in which a whole set of decodes was finished.

A *span* is such a measurement: the decodes of one model in one session of a run, from the first
prompt to the last record, without the loading of models.  Where workers decode several models
at the same time, the span is of all of them.  The spans of a run that was continued, or merged
from shards, add up: decodes over seconds is then the mean speed of its sessions.  A session that
was not measured, as those of earlier releases, is absent.

A speed belongs to its machine and batch size.  It is shown with them and never ranked.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parallelbench.errors import RecordsError

#: The name of the spans in the environment of a session.
SPANS = "decoding"


class Span(BaseModel):
    """One measurement, as it is written down.

    Attributes:
        models: Labels of the models that were decoded; several if that was at the same time.
        settings: Number of (task, decoder) settings among the decodes.
        task: Label of the task, if there was a single setting; else None.
        decoder: Label of the decoder, likewise.
        decodes: Number of finished decodes; those that ended in an error are left out.
        answer_tokens: Tokens before the first end-of-text; None if a server did not count them.
        seconds: Wall-clock time.
        calls: Batches that went through the model; of a server, replies.
        rows: Sequences in these batches; 0 of a server.
        call_seconds: Sum of the times of the calls.  Calls of one process follow each other;
            replies of a server, and calls of several workers, overlap.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    models: list[str] = Field(min_length=1)
    settings: int = Field(ge=1)
    task: str | None
    decoder: str | None
    decodes: int = Field(ge=1)
    answer_tokens: int | None = Field(ge=0)
    seconds: float = Field(ge=0)
    calls: int = Field(ge=0)
    rows: int = Field(ge=0)
    call_seconds: float = Field(ge=0)


class Conditions(NamedTuple):
    """Machine and batch policy of a measurement; None for what is unknown.

    Attributes:
        device: Such as ``cpu`` or the name of a GPU.
        dtype: Number format of the weights.
        attention: Kernel of the attention.
        batch_size: Most decodes at a time, of each worker; None for a server.
        concurrency: Requests that a server is sent at a time; None for other models.
        workers: Number of Ray workers; None for one process.
        cores: Processor cores of the machine.
    """

    device: str | None
    dtype: str | None
    attention: str | None
    batch_size: int | None
    concurrency: int | None
    workers: int | None
    cores: int | None

    def __str__(self) -> str:
        if self.concurrency is not None:
            return f"a server ({self.concurrency} requests at a time)"
        kernel = [f"{self.attention} attention"] if self.attention else []
        batch = [f"batch size {self.batch_size}"] if self.batch_size else []
        cores = [f"{self.cores} cores"] if self.cores and self.device == "cpu" else []
        details = ", ".join([*([self.dtype] if self.dtype else []), *kernel, *cores, *batch])
        workers = f"{self.workers} workers on " if self.workers else ""
        device = f"{workers}{self.device or 'an unknown device'}"
        return f"{device} ({details})" if details else device


@dataclass(frozen=True, slots=True)
class Throughput:
    """Measured speed of the decodes of one model, or of several that shared the time.

    Attributes:
        models: Labels of the models.
        settings: Number of (task, decoder) settings that shared the time, at least.
        sessions: Number of measurements that were added up.
        decodes: Number of finished decodes; a sample counts once for each setting and repeat.
        answer_tokens: Their tokens before the first end-of-text; None if not all are known.
        seconds: Wall-clock time of decoding, with the marking and writing of records; the
            loading of models is left out.
        calls: Batches that went through the model; of a server, replies.
        rows: Sequences in these batches; 0 of a server.
        call_seconds: Sum of the times of the calls; of a server, from request to end of reply.
        conditions: The machine and the batch size.
    """

    models: tuple[str, ...]
    settings: int
    sessions: int
    decodes: int
    answer_tokens: int | None
    seconds: float
    calls: int
    rows: int
    call_seconds: float
    conditions: Conditions

    @property
    def decodes_per_second(self) -> float | None:
        """Finished decodes over wall-clock time; None if no time passed."""
        return _ratio(float(self.decodes), self.seconds)

    @property
    def answer_tokens_per_second(self) -> float | None:
        """Answer tokens over wall-clock time; None if not all are known."""
        tokens = self.answer_tokens
        return None if tokens is None else _ratio(float(tokens), self.seconds)

    @property
    def seconds_per_call(self) -> float | None:
        """Mean time of a model call, or of a reply of a server; None without one."""
        return _ratio(self.call_seconds, float(self.calls))

    @property
    def rows_per_call(self) -> float | None:
        """Mean number of sequences in a model call; None for a server."""
        return _ratio(float(self.rows), float(self.calls)) if self.rows else None

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and the rates as JSON values."""
        return {
            **asdict(self),
            "models": list(self.models),
            "decodes_per_second": self.decodes_per_second,
            "answer_tokens_per_second": self.answer_tokens_per_second,
            "seconds_per_call": self.seconds_per_call,
            "rows_per_call": self.rows_per_call,
            "conditions": self.conditions._asdict(),
        }

    def __str__(self) -> str:
        tokens = self.answer_tokens_per_second
        rates = f"{_digits(self.decodes_per_second)} decodes"
        rates += "" if tokens is None else f" and {_digits(tokens)} answer tokens"
        told = f"{', '.join(self.models)}: measured {rates} per second on {self.conditions}"
        told += f"; {self.decodes:,} decodes in {_digits(self.seconds)} s"
        if self.seconds_per_call is not None:
            told += f", {_time(self.seconds_per_call)} per {self._call}"
        if self.settings > 1:
            told += (
                f"; measured over {self.settings} settings together, not the speed of a single one"
            )
        return told

    @property
    def _call(self) -> str:
        rows = self.rows_per_call
        return "reply" if rows is None else f"model call of {_digits(rows)} rows"


def throughput_of(environments: Iterable[Mapping[str, Any]]) -> list[Throughput]:
    """Return the throughput of a run: one for each model and machine, in order of appearance.

    Args:
        environments: Environments of the sessions of one run, or of several.

    Raises:
        RecordsError: A measurement was altered: it is not of the form of :class:`Span`.
    """
    return _added_up((span, where, ()) for span, where in _measured(environments))


def throughput_of_settings(
    environments: Iterable[Mapping[str, Any]],
) -> dict[tuple[str, str, str], Throughput]:
    """Return the throughput of the settings that were decoded by themselves.

    A setting that shared its calls with others has none, and one that was measured on several
    machines has no single one.

    Args:
        environments: Environments of the sessions of one run, or of several.

    Returns:
        By the labels of model, task and decoder.

    Raises:
        RecordsError: As :func:`throughput_of`.
    """
    settings: dict[tuple[str, str, str], list[tuple[Span, Conditions]]] = defaultdict(list)
    for span, where in _measured(environments):
        if span.task is not None and span.decoder is not None and len(span.models) == 1:
            settings[span.models[0], span.task, span.decoder].append((span, where))
    added = {
        key: _added_up((span, where, key) for span, where in spans)
        for key, spans in settings.items()
    }
    return {key: found[0] for key, found in added.items() if len(found) == 1}


def _added_up(
    spans: Iterable[tuple[Span, Conditions, tuple[str, ...]]],
) -> list[Throughput]:
    groups: dict[tuple[object, ...], list[Span]] = defaultdict(list)
    places: dict[tuple[object, ...], Conditions] = {}
    for span, where, setting in spans:
        key = (tuple(span.models), where, setting)
        groups[key].append(span)
        places[key] = where
    return [_sum(own, places[key]) for key, own in groups.items()]


def _sum(spans: Sequence[Span], where: Conditions) -> Throughput:
    tokens = [span.answer_tokens for span in spans if span.answer_tokens is not None]
    alone = {(span.task, span.decoder) for span in spans if span.settings == 1}
    return Throughput(
        models=tuple(spans[0].models),
        # Which settings shared a span is not written down; it had at least so many.
        settings=max(len(alone), *(span.settings for span in spans)),
        sessions=len(spans),
        decodes=sum(span.decodes for span in spans),
        answer_tokens=sum(tokens) if len(tokens) == len(spans) else None,
        seconds=math.fsum(span.seconds for span in spans),
        calls=sum(span.calls for span in spans),
        rows=sum(span.rows for span in spans),
        call_seconds=math.fsum(span.call_seconds for span in spans),
        conditions=where,
    )


def _measured(environments: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Span, Conditions]]:
    for environment in environments:
        try:
            spans = [Span.model_validate(each) for each in environment.get(SPANS, [])]
            found = [(span, _conditions(environment, span.models)) for span in spans]
        except (ValidationError, TypeError, AttributeError) as error:
            raise RecordsError(
                f"environment.json was altered: its entry {SPANS!r} is not of the form that a run "
                f"writes ({' '.join(str(error).split())[:200]}); delete that entry, the records do "
                "not need it"
            ) from error
        yield from found


def _conditions(environment: Mapping[str, Any], models: Sequence[str]) -> Conditions:
    facts = [environment.get("models", {}).get(model, {}) for model in models]

    def joined(*names: str) -> str | None:
        values = [next((str(own[n]) for n in names if own.get(n)), None) for own in facts]
        return None if None in values else ", ".join(dict.fromkeys(map(str, values)))

    # Servers are asked one after the other, so that a span has one of them or none.
    concurrency = facts[0].get("concurrency")
    return Conditions(
        device=joined("device_name", "device"),
        dtype=joined("dtype"),
        attention=joined("attention"),
        batch_size=environment.get("batch_size") if concurrency is None else None,
        concurrency=concurrency,
        workers=environment.get("workers"),
        cores=environment.get("cores"),
    )


def to_json(measured: Sequence[Throughput]) -> str:
    """Return ``measured`` as a JSON array, one object per line."""
    lines = ",\n".join(json.dumps(each.as_dict()) for each in measured)
    return f"[\n{lines}\n]\n"


def _ratio(part: float | None, whole: float) -> float | None:
    return part / whole if part is not None and whole else None


def _digits(value: float | None) -> str:
    """Return ``value`` with three digits that count, and a comma for thousands."""
    if value is None:
        return "an unknown number of"
    places = 2 - math.floor(math.log10(value)) if 0 < value < 100 else 0
    return f"{value:,.{places}f}"


def _time(seconds: float) -> str:
    return f"{_digits(seconds)} s" if seconds >= 1 else f"{_digits(1000 * seconds)} ms"
