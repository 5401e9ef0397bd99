"""A few samples of a run, decoded as the run will decode them, and timed; nothing is written.

They are taken a *unit* at a time, a sample of a task with every setting of the run, because
the settings of a sample share what they ask.  The first units are the tasks in turn, so
that every task is seen before any is seen twice; units that are decoded together grow in
number, so that batches fill as they will in the run.
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
from parallelbench.record import Record, to_line
from parallelbench.run import runner
from parallelbench.run.runfile import RunFile
from parallelbench.run.runner import Parts

#: A batch may be expected to take this share of the time left, because forecasts err.
_SAFE = 0.75


class Unit(NamedTuple):
    """A sample of a task, with every setting of the run.

    Attributes:
        task: The task's label.
        sample: Its number.
    """

    task: str
    sample: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What one unit cost.

    Attributes:
        unit: Which.
        calls: Model calls by the decoder's label, of all repeats together.
        steps: In how many passes of the loop each decode took part, in the order of the run.
        rows_asked: Rows that its decodes asked for.
        rows_sent: Rows that went through the model.
        positions: Tokens of the rows that were sent.
        errors: Why decodes ended in an error.
    """

    unit: Unit
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
        seen: What each cost, in the order of the run.
        passes: How often the loop went round.
        seconds: Wall-clock time of all of it.
        padding: Tokens with those that only fill rows up, over tokens; at least 1.  The run
            decodes task by task, so that rows are of like length and need next to none.
    """

    seen: tuple[Seen, ...]
    passes: int
    seconds: float
    padding: float = 1.0

    @property
    def positions(self) -> float:
        """Tokens that went through the model."""
        return math.fsum(seen.positions for seen in self.seen)


def passes(steps: Iterable[int], batch_size: int) -> int:
    """Return how often the loop goes round for decodes that take so many steps.

    Args:
        steps: Of each decode, in the order in which they wait.
        batch_size: Most decodes at a time, at least 1; who is finished makes room.

    Example:
        >>> passes([3, 1, 1, 2], batch_size=2)
        4
    """
    ends: list[int] = []
    for count in steps:
        begin = heapq.heappop(ends) if len(ends) == batch_size else 0
        heapq.heappush(ends, begin + count)
    return max(ends, default=0)


def order(runfile: RunFile) -> Iterator[Unit]:
    """Return the units of ``runfile`` in the order in which a calibration takes them.

    All tasks come once before any comes again.  The samples of a task follow each other,
    but each task begins with another one: where lengths take turns, the first samples of
    all tasks would be the shortest.
    """
    for turn in range(runfile.samples):
        for place, task in enumerate(runfile.tasks):
            yield Unit(task.label, (place + turn) % runfile.samples)


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
        runfile: The run, of one model that decodes here.
        parts: What it is made of.
        seconds: When to end, counted from here.  A batch that takes longer than it was
            thought to is broken off and counts for nothing.
        batch_size: Most decodes at a time in the run.
        clock: In seconds.

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
    while taken := list(itertools.islice(units, count)):
        tally = _SentOf(model)
        began = clock()
        records: list[Record] = []
        for record in _decoded(runfile, parts, taken, batch_size, tally):
            to_line(record)  # the run will do so, and it takes time
            records.append(record)
            if clock() > end and len(records) < settings * len(taken):
                return
        spent = clock() - began
        seen = _all_seen(runfile, parts, records, tally)
        steps = itertools.chain.from_iterable(each.steps for each in seen)
        yield Batch(seen, passes(steps, batch_size), spent, tally.padding)
        fitting = int(_SAFE * (end - clock()) * len(taken) / spent) if spent else most
        count = max(0, min(2 * count, most, fitting))


class _SentOf(Tally):
    """Also counts the rows that were sent of each sample, and how they were padded.

    Args:
        model: To which they were sent.

    Attributes:
        sent_of: How many, by the sample's task object and its id.
    """

    def __init__(self, model: Model | Server) -> None:
        super().__init__()
        self.sent_of: Counter[tuple[int, str]] = Counter()
        self._model = model
        self._tokens = self._padded = 0

    @property
    def padding(self) -> float:
        """Tokens with those that only fill rows up, over tokens."""
        return self._padded / self._tokens if self._tokens else 1.0

    def add(self, asked: Sequence[Row], sent: Sequence[Row]) -> None:
        """Count the rows of one step."""
        super().add(asked, sent)
        self.sent_of.update((id(row.prompt.task), row.prompt.sample.id) for row in sent)
        if isinstance(self._model, Server) or not self._model.pads or not sent:
            return
        for batch in self._model.batches(sent):
            tokens = [self._model.compute_cost(sent[place]).tokens for place in batch]
            self._tokens += sum(tokens)
            self._padded += len(tokens) * max(tokens)


def _decoded(
    runfile: RunFile, parts: Parts, units: Sequence[Unit], batch_size: int, tally: Tally
) -> Iterator[Record]:
    """Decode ``units`` by the road of every run, and in its order."""
    places = runfile.places["task"]
    (model,) = runfile.models
    ordered = sorted(units, key=lambda unit: (places[unit.task], unit.sample))
    portions = [
        runner.Unit(model.label, unit.task, range(unit.sample, unit.sample + 1)) for unit in ordered
    ]
    return runner.execute(runfile, parts=parts, units=portions, batch_size=batch_size, tally=tally)


def _all_seen(
    runfile: RunFile, parts: Parts, records: Iterable[Record], tally: _SentOf
) -> tuple[Seen, ...]:
    """Return what each unit cost, in the order of the run."""
    of_unit: dict[Unit, list[Record]] = defaultdict(list)
    for record in records:
        of_unit[Unit(record.task_label, record.index)].append(record)
    places = runfile.places["task"]
    tasks = {setting.label: id(task) for setting, task in parts.tasks}
    return tuple(
        _seen(runfile, unit, of_unit[unit], tally.sent_of[tasks[unit.task], name])
        for unit in sorted(of_unit, key=lambda unit: (places[unit.task], unit.sample))
        for name in [of_unit[unit][0].sample]
    )


def _seen(runfile: RunFile, unit: Unit, records: Sequence[Record], sent: int) -> Seen:
    ordered = sorted(records, key=runfile.decode_order)
    calls: Counter[str] = Counter(dict.fromkeys(runfile.places["decoder"], 0))
    steps: list[int] = []
    asked = positions = 0
    for record in ordered:
        trace, counts, *_ = record.decoding
        calls[record.decoder_label] += counts.nfe
        # What the model's stop rule fills takes no pass.
        steps.append(counts.steps - trace.stopped)
        asked += counts.rows
        positions += counts.token_positions
    return Seen(
        unit=unit,
        calls=dict(calls),
        steps=tuple(steps),
        rows_asked=asked,
        rows_sent=sent,
        positions=positions * sent / asked if asked else 0.0,
        errors=tuple(record.error for record in ordered if record.error),
    )
