"""The log of a training: a JSON line of losses at regular intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from parallelbench.errors import RunFileError
from parallelbench.training.folder import TrainingFolder

_LOG = "log.jsonl"


class TaskLoss(NamedTuple):
    """The loss of one task over the samples since the previous entry.

    Attributes:
        loss: Mean loss, in nats per answer.
        floor: Minimum of the expected loss; None where it is unknown.
        samples: Number of samples.
    """

    loss: float
    floor: float | None
    samples: int


class LogEntry(NamedTuple):
    """One line of the log.

    Attributes:
        step: Number of finished steps.
        samples: Number of samples seen.
        loss: Mean loss over the samples since the previous entry, in nats per answer.
        tasks: Loss of each task with samples since then, by label.
        learning_rate: Learning rate of the last step.
        gradient_norm: Gradient norm of the last step, before clipping.
        seconds: Training time since the beginning, without interruptions.
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


class LossWindow:
    """Sums of losses since the previous log entry.

    Args:
        labels: Labels of the tasks, in the plan's order.
        floors: Minimum losses of the same tasks.
    """

    def __init__(self, labels: Sequence[str], floors: Sequence[float | None]) -> None:
        self._labels = labels
        self._floors = floors
        self.sums = [0.0] * len(labels)
        self.counts = [0] * len(labels)

    def add(self, task: int, loss: float) -> None:
        """Add the loss of one sample."""
        self.sums[task] += loss
        self.counts[task] += 1

    def state(self) -> dict[str, Any]:
        """Return the sums as JSON values, for :meth:`restore`."""
        return {"sums": list(self.sums), "counts": list(self.counts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the sums that :meth:`state` returned."""
        self.sums, self.counts = list(state["sums"]), list(state["counts"])

    def close(self, **fields: Any) -> LogEntry:
        """Return the log entry of these sums, and reset them.

        Args:
            fields: The other fields of the entry.
        """
        tasks = {
            label: TaskLoss(total / count, floor, count)
            for label, floor, total, count in zip(
                self._labels, self._floors, self.sums, self.counts, strict=True
            )
            if count
        }
        mean = sum(self.sums) / sum(self.counts)
        self.restore(LossWindow(self._labels, self._floors).state())
        return LogEntry(loss=mean, tasks=tasks, **fields)


def read_log(folder: TrainingFolder, upto: int) -> list[LogEntry]:
    """Return the entries up to a step; later ones are written again.

    Raises:
        RunFileError: A line is not a log entry.
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
            f"{where} was altered: {ascii(place)[:80]}: {fault['msg']}; delete the file; only "
            "the figure of the loss depends on it"
        ) from error


def write_log(folder: TrainingFolder, entries: Iterable[LogEntry]) -> None:
    """Write the whole log.

    Raises:
        StorageError: It cannot be written.
    """
    folder.write_bytes(_LOG, "".join(entry.to_line() for entry in entries).encode())
