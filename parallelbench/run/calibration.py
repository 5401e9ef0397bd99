"""Decode and time a few samples of a run as the run will decode them; nothing is written.

A *unit* is a sample of a task with every decoder of the run: the decoders of a sample share model
calls.  Units alternate between tasks, so that every task is measured before any is measured
twice.  Batches of units grow, so that model calls fill up as they will in the run.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from parallelbench.decode.loop import Tally
from parallelbench.model import Model, Row, Server
from parallelbench.record import Record
from parallelbench.record_line import to_line
from parallelbench.run import runner
from parallelbench.run.runfile import RunFile
from parallelbench.run.runner import Parts

#: Largest share of the remaining time that a batch may be forecast to take.
_SAFE = 0.75


class CalibrationUnit(NamedTuple):
    """A sample of a task, with every decoder of the run.

    Attributes:
        task: Label of the task.
        sample: Number of the sample.
    """

    task: str
    sample: int


@dataclass(frozen=True, slots=True)
class UnitCost:
    """The cost of one unit.

    Attributes:
        unit: The unit.
        calls: Model calls by label of the decoder, summed over repeats.
        steps: Number of passes of the loop that each decode took part in, in the order of the run.
        rows_asked: Rows that its decodes requested.
        rows_sent: Rows that went through the model.
        positions: Tokens of the rows that were sent.
        errors: Messages of the decodes that ended in an error.
    """

    unit: CalibrationUnit
    calls: Mapping[str, int]
    steps: tuple[int, ...]
    rows_asked: int
    rows_sent: int
    positions: float
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Units that were decoded together.

    Attributes:
        seen: Cost of each unit, in the order of the run.
        passes: Number of passes of the loop.
        seconds: Wall-clock time of all of it.
        padding: Tokens including padding, over tokens; at least 1.  The run
            decodes task by task, so its rows are of similar length and need almost none.
        needed: Forecast of the seconds of an aborted batch, which has no units; else None.
    """

    seen: tuple[UnitCost, ...]
    passes: int
    seconds: float
    padding: float = 1.0
    needed: float | None = None

    @property
    def positions(self) -> float:
        """Tokens that went through the model."""
        return math.fsum(seen.positions for seen in self.seen)


def passes(steps: Iterable[int], batch_size: int) -> int:
    """Return the number of passes of the loop for decodes with these numbers of steps.

    Args:
        steps: Number of steps of each decode, in the order in which they start.
        batch_size: Maximum number of concurrent decodes, at least 1.

    Example:
        >>> passes([3, 1, 1, 2], batch_size=2)
        4
    """
    ends: list[int] = []
    for count in steps:
        begin = heapq.heappop(ends) if len(ends) == batch_size else 0
        heapq.heappush(ends, begin + count)
    return max(ends, default=0)


def order(runfile: RunFile) -> Iterator[CalibrationUnit]:
    """Return the units of ``runfile`` in the order in which a calibration takes them.

    All tasks come once before any comes again.  The samples of a task follow each other,
    but each task begins with another one: where lengths take turns, the first samples of
    all tasks would be the shortest.
    """
    for turn in range(runfile.samples):
        for place, task in enumerate(runfile.tasks):
            yield CalibrationUnit(task.label, (place + turn) % runfile.samples)


def calibrate(
    runfile: RunFile,
    parts: Parts,
    *,
    seconds: float,
    batch_size: int = 512,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Batch]:
    """Decode units of a run with one model, and yield each batch of them as it is finished.

    Args:
        runfile: The run, of one model that decodes in this process.
        parts: The parts of the run, loaded.
        seconds: Time limit.  A batch that exceeds it is aborted and discarded; of the first one
            the forecast of its time is kept, in a batch without units.
        batch_size: Maximum number of concurrent decodes in the run.
        clock: Returns the time in seconds.

    Raises:
        RequestError: As :func:`parallelbench.run.runner.execute`.
    """
    end = clock() + seconds
    units = order(runfile)
    ((setting, model),) = parts.models
    settings = len(runfile.decoders_of(setting)) * runfile.repeats
    # More units than fill the loop twice would say no more of it.
    most = 2 * math.ceil(batch_size / settings)
    count = 1
    first = True
    while taken := list(itertools.islice(units, count)):
        tally = _RowTally(model)
        began = clock()
        records: list[Record] = []
        for record in _decoded(runfile, parts, taken, batch_size, tally):
            to_line(record)  # the run will do so, and it takes time
            records.append(record)
            now = clock()
            if now > end and len(records) < settings * len(taken):
                if first:
                    yield Batch((), 0, now - began, needed=(now - began) * settings / len(records))
                return
        spent = clock() - began
        seen = _unit_costs(runfile, parts, records, tally)
        steps = itertools.chain.from_iterable(each.steps for each in seen)
        yield Batch(seen, passes(steps, batch_size), spent, tally.padding)
        first = False
        fitting = int(_SAFE * (end - clock()) * len(taken) / spent) if spent else most
        count = max(0, min(2 * count, most, fitting))


class _RowTally(Tally):
    """Counts also the rows sent for each sample, and their padding.

    Args:
        model: The model that they were sent to.

    Attributes:
        sent_by_sample: Number of rows sent, by id of the task object and of the sample.
    """

    def __init__(self, model: Model | Server) -> None:
        super().__init__()
        self.sent_by_sample: Counter[tuple[int, str]] = Counter()
        self._model = model
        self._tokens = self._padded = 0

    @property
    def padding(self) -> float:
        """Tokens including padding, over tokens."""
        return self._padded / self._tokens if self._tokens else 1.0

    def add(self, asked: Sequence[Row], sent: Sequence[Row]) -> None:
        """Count the rows of one step."""
        super().add(asked, sent)
        self.sent_by_sample.update((id(row.prompt.task), row.prompt.sample.id) for row in sent)
        if isinstance(self._model, Server) or not self._model.pads or not sent:
            return
        for batch in self._model.batches(sent):
            tokens = [self._model.compute_cost(sent[place]).tokens for place in batch]
            self._tokens += sum(tokens)
            self._padded += len(tokens) * max(tokens)


def _decoded(
    runfile: RunFile, parts: Parts, units: Sequence[CalibrationUnit], batch_size: int, tally: Tally
) -> Iterator[Record]:
    """Decode ``units`` as every run does, and in its order."""
    places = runfile.places["task"]
    (model,) = runfile.models
    ordered = sorted(units, key=lambda unit: (places[unit.task], unit.sample))
    portions = [
        runner.WorkUnit(model.label, unit.task, range(unit.sample, unit.sample + 1))
        for unit in ordered
    ]
    return runner.execute(runfile, parts=parts, units=portions, batch_size=batch_size, tally=tally)


def _unit_costs(
    runfile: RunFile, parts: Parts, records: Iterable[Record], tally: _RowTally
) -> tuple[UnitCost, ...]:
    """Return the cost of each unit, in the order of the run."""
    of_unit: dict[CalibrationUnit, list[Record]] = defaultdict(list)
    for record in records:
        of_unit[CalibrationUnit(record.task_label, record.index)].append(record)
    places = runfile.places["task"]
    tasks = {setting.label: id(task) for setting, task in parts.tasks}
    return tuple(
        _unit_cost(runfile, unit, of_unit[unit], tally.sent_by_sample[tasks[unit.task], name])
        for unit in sorted(of_unit, key=lambda unit: (places[unit.task], unit.sample))
        for name in [of_unit[unit][0].sample.id]
    )


def _unit_cost(
    runfile: RunFile, unit: CalibrationUnit, records: Sequence[Record], sent: int
) -> UnitCost:
    ordered = sorted(records, key=runfile.decode_order)
    calls: Counter[str] = Counter(dict.fromkeys(runfile.places["decoder"], 0))
    steps: list[int] = []
    asked = positions = 0
    for record in ordered:
        decoding = record.require_decoding()
        counts = decoding.counts
        calls[record.decoder_label] += counts.nfe
        # The fill by the model's stop rule takes no pass.
        steps.append(counts.steps - decoding.trace.stopped)
        asked += counts.rows
        positions += counts.token_positions
    return UnitCost(
        unit=unit,
        calls=dict(calls),
        steps=tuple(steps),
        rows_asked=asked,
        rows_sent=sent,
        positions=positions * sent / asked if asked else 0.0,
        errors=tuple(record.error for record in ordered if record.error),
    )
