"""How a training went: one line of JSON for every so many steps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from parallelbench.errors import RunFileError
from parallelbench.training.folder import TrainingFolder

_LOG = "log.jsonl"


class TaskLoss(NamedTuple):
    """The loss of one task over the samples since the entry before.

    Attributes:
        loss: Nats an answer.
        floor: The least that it can be in the mean; None where it is not known.
        samples: How many the loss is the mean of.
    """

    loss: float
    floor: float | None
    samples: int


class LogEntry(NamedTuple):
    """One line of the log.

    Attributes:
        step: Steps done.
        samples: Samples seen.
        loss: Mean over the samples since the entry before, in nats an answer.
        tasks: The same for each task that had samples, by its label.
        learning_rate: Of the last step.
        gradient_norm: Of the last step, before it was clipped.
        seconds: Of training since the beginning, breaks left out.
    """

    step: int
    samples: int
    loss: float
    tasks: Mapping[str, TaskLoss]
    learning_rate: float
    gradient_norm: float
    seconds: float

    def to_line(self) -> str:
        """Return the entry as a line of JSON."""
        tasks = {label: each._asdict() for label, each in self.tasks.items()}
        return json.dumps({**self._asdict(), "tasks": tasks}) + "\n"


_ENTRY = TypeAdapter(LogEntry)


class Window:
    """Sums up losses between two entries of the log.

    Args:
        labels: Of the tasks, in the plan's order.
        floors: Of the same tasks.
    """

    def __init__(self, labels: Sequence[str], floors: Sequence[float | None]) -> None:
        self._labels = labels
        self._floors = floors
        self.sums = [0.0] * len(labels)
        self.counts = [0] * len(labels)

    def add(self, task: int, loss: float) -> None:
        """Take in the loss of one sample."""
        self.sums[task] += loss
        self.counts[task] += 1

    def state(self) -> dict[str, Any]:
        """Return the sums, to go on from."""
        return {"sums": list(self.sums), "counts": list(self.counts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the sums that :meth:`state` returned."""
        self.sums, self.counts = list(state["sums"]), list(state["counts"])

    def close(self, **told: Any) -> LogEntry:
        """Return the entry of what was summed up, and begin anew."""
        tasks = {
            label: TaskLoss(total / count, floor, count)
            for label, floor, total, count in zip(
                self._labels, self._floors, self.sums, self.counts, strict=True
            )
            if count
        }
        mean = sum(self.sums) / sum(self.counts)
        self.restore(Window(self._labels, self._floors).state())
        return LogEntry(loss=mean, tasks=tasks, **told)


def read_log(folder: TrainingFolder, upto: int) -> list[LogEntry]:
    """Return the entries up to a step; those after it will be written again.

    Raises:
        RunFileError: A line is no entry.
    """
    file = folder.path / _LOG
    with folder.storage():
        lines = file.read_bytes().splitlines() if file.exists() else []
    entries = [_entry(line, f"{file} line {number}") for number, line in enumerate(lines, start=1)]
    return [entry for entry in entries if entry.step <= upto]


def _entry(line: bytes, where: str) -> LogEntry:
    try:
        return _ENTRY.validate_json(line)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise RunFileError(
            f"{where} was altered: {ascii(place)[:80]}: {fault['msg']}; delete the file, nothing "
            "but the figure of the losses is made of it"
        ) from error


def write_log(folder: TrainingFolder, entries: Iterable[LogEntry]) -> None:
    """Write the whole log.

    Raises:
        StorageError: It cannot be written.
    """
    folder.write_bytes(_LOG, "".join(entry.to_line() for entry in entries).encode())
