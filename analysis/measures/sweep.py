"""Sweeps: a complete table of several decoder settings on the same samples.

Curves, oracles and intervals compare settings sample by sample, so they all start from a sweep.
A sample's repeats are averaged first, as in :mod:`parallelbench.results.result`; all tasks have
equal weight, whatever their numbers of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from parallelbench.errors import RequestError
from parallelbench.record import latest_records
from parallelbench.results.record_summary import AnyRecord
from parallelbench.setting import Setting


class IncompleteSweepError(RequestError):
    """Some decoder setting lacks a sample that another one has."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Decoder settings (rows) on the same samples (columns) of one model.

    Attributes:
        model: The model's setting.
        settings: The setting of each row.
        tasks: Task label of each column.
        indices: Number of each column's sample within its task.
        canvas: Canvas length of each column, in tokens.
        accuracy: Lenient mark in [0, 1], mean over the sample's repeats.
        canvas_tokens: Positions that the decoder had to fill, mean over the repeats; above 0.
            Positions after the end at which a model stops do not count.
        calls: Model calls, mean over the repeats; at least 1.
    """

    model: str
    settings: tuple[Setting, ...]
    tasks: tuple[str, ...]
    indices: tuple[int, ...]
    canvas: Int[np.ndarray, " samples"]
    accuracy: Float[np.ndarray, "settings samples"]
    canvas_tokens: Float[np.ndarray, "settings samples"]
    calls: Float[np.ndarray, "settings samples"]

    @property
    def samples(self) -> int:
        """The number of samples of each setting."""
        return len(self.tasks)

    @property
    def weights(self) -> Float[np.ndarray, " samples"]:
        """The weight of each column in a mean: equal for tasks, and for samples within a task."""
        sizes = {task: self.tasks.count(task) for task in set(self.tasks)}
        return np.array([1 / (len(sizes) * sizes[task]) for task in self.tasks])

    def resampled_weights(
        self, resamples: int, seed: int = 0
    ) -> Float[np.ndarray, "resamples samples"]:
        """Return the weight of each column when every task's samples are resampled.

        Each row is one bootstrap resample, drawn with replacement within each task and
        the same for all settings, which keeps their comparison paired.

        Args:
            resamples: Number of resamples, at least 1.
            seed: Random seed of the resamples.
        """
        rng = np.random.default_rng(seed)
        weights = np.empty((resamples, self.samples))
        names = np.array(self.tasks)
        tasks = dict.fromkeys(self.tasks)
        for task in tasks:
            columns = np.flatnonzero(names == task)
            size = len(columns)
            counts = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
            weights[:, columns] = counts / (size * len(tasks))
        return weights

    def of(self, labels: Collection[str]) -> Sweep:
        """Return the rows of the settings with these labels, in their order here.

        Raises:
            ValueError: A label is of no setting of this sweep.
        """
        held = [setting.label for setting in self.settings]
        unknown = sorted(set(labels) - set(held))
        if unknown:
            raise ValueError(f"no setting of the sweep is labelled {unknown[0]!r}; it has {held}")
        rows = [row for row, label in enumerate(held) if label in labels]
        return replace(
            self,
            settings=tuple(self.settings[row] for row in rows),
            accuracy=self.accuracy[rows],
            canvas_tokens=self.canvas_tokens[rows],
            calls=self.calls[rows],
        )

    def pooled_tokens_per_step(
        self, weights: Float[np.ndarray, "draws samples"]
    ) -> Float[np.ndarray, "draws settings"]:
        """Return canvas tokens per model call of every setting: a ratio of weighted sums.

        A few very fast samples hardly change it, unlike the mean of the samples' own ratios.

        Args:
            weights: Weight of each sample, one row per draw.
        """
        pooled: Float[np.ndarray, "draws settings"] = (weights @ self.canvas_tokens.T) / (
            weights @ self.calls.T
        )
        return pooled

    def by_task(self) -> dict[str, Sweep]:
        """Return the columns of each task, by its label, in their order here."""
        names = np.array(self.tasks)
        parts = {task: np.flatnonzero(names == task) for task in dict.fromkeys(self.tasks)}
        return {task: self.at(columns) for task, columns in parts.items()}

    def at(self, columns: Int[np.ndarray, " part_samples"]) -> Sweep:
        """Return the samples of these columns."""
        return replace(
            self,
            tasks=tuple(self.tasks[column] for column in columns),
            indices=tuple(self.indices[column] for column in columns),
            canvas=self.canvas[columns],
            accuracy=self.accuracy[:, columns],
            canvas_tokens=self.canvas_tokens[:, columns],
            calls=self.calls[:, columns],
        )


def sweep_of(records: Iterable[AnyRecord]) -> Sweep:
    """Return the table of all decoder settings in ``records``.

    Of several records of the same decode only the last counts: it replaced an error.

    Args:
        records: Records of one model, without oracles and without settings that are not to be
            compared.

    Raises:
        IncompleteSweepError: A setting lacks a mark or a speed that another has, or two
            settings met different samples under the same number.
        ValueError: There is no record, or they are of several models.
    """
    latest = latest_records(records)
    models = sorted({record.model_label for record in latest})
    if len(models) != 1:
        raise ValueError(f"a sweep is made of the records of one model, got models {models}")
    refuse_other_samples(latest)
    settings = {
        r.decoder_label: Setting(r.decoder.name, r.decoder.fields, r.decoder_label) for r in latest
    }
    _refuse_gaps(latest, list(settings))
    cells: dict[tuple[str, str, int], list[AnyRecord]] = {}
    for record in sorted(latest, key=lambda record: record.repeat):
        cell = (record.decoder_label, record.task_label, record.index)
        cells.setdefault(cell, []).append(record)
    columns = _columns(latest)
    return Sweep(
        model=models[0],
        settings=tuple(settings.values()),
        tasks=tuple(task for task, _ in columns),
        indices=tuple(index for _, index in columns),
        canvas=np.array([columns[column] for column in columns]),
        accuracy=_table(cells, list(settings), list(columns), mark_of),
        canvas_tokens=_table(cells, list(settings), list(columns), _canvas_tokens_of),
        calls=_table(cells, list(settings), list(columns), _calls_of),
    )


def mark_of(record: AnyRecord) -> float | None:
    """Return the lenient mark in [0, 1]; None if the decode ended in an error."""
    return None if record.marks is None else record.marks.lenient


def speed_of(record: AnyRecord) -> float | None:
    """Return canvas tokens per model call; None without a mark or without a call."""
    if record.marks is None or record.costs is None:
        return None
    return record.costs.tokens_per_step


def _canvas_tokens_of(record: AnyRecord) -> float | None:
    return None if record.costs is None else float(record.costs.canvas_tokens)


def _calls_of(record: AnyRecord) -> float | None:
    return None if record.costs is None else float(record.costs.nfe)


def refuse_other_samples(records: Iterable[AnyRecord]) -> None:
    """Refuse records that hold different samples under the same number.

    Raises:
        IncompleteSweepError: They do: they come from runs with different seeds.
    """
    digests: dict[tuple[str, int], str] = {}
    for record in records:
        known = digests.setdefault((record.task_label, record.index), record.sample_digest)
        if known != record.sample_digest:
            raise IncompleteSweepError(
                f"{record.task_label} has two different samples with number {record.index}: "
                "only decodes of the same samples can be compared, so give every run the same seed"
            )


def _columns(records: Sequence[AnyRecord]) -> dict[tuple[str, int], int]:
    """Return the columns with their canvas lengths: tasks as they come, samples by number."""
    tasks = {task: place for place, task in enumerate(dict.fromkeys(r.task_label for r in records))}
    lengths = {(r.task_label, r.index): r.canvas_length or 0 for r in records}
    order = sorted(lengths, key=lambda column: (tasks[column[0]], column[1]))
    return {column: lengths[column] for column in order}


def _refuse_gaps(records: Sequence[AnyRecord], labels: Sequence[str]) -> None:
    wanted: set[tuple[str, int, int]] = set()
    held: dict[str, set[tuple[str, int, int]]] = {label: set() for label in labels}
    for record in records:
        decode = (record.task_label, record.index, record.repeat)
        wanted.add(decode)
        if speed_of(record) is not None:
            held[record.decoder_label].add(decode)
    for label in labels:
        missing = sorted(wanted - held[label])
        if missing:
            task, index, repeat = missing[0]
            raise IncompleteSweepError(
                f"{label} has no mark and speed for {len(missing)} of {len(wanted)} decodes, "
                f"the first of them {task} sample {index} repeat {repeat}; "
                "continue the run until it is finished, or leave that setting out"
            )


def _table(
    cells: Mapping[tuple[str, str, int], Sequence[AnyRecord]],
    labels: Sequence[str],
    columns: Sequence[tuple[str, int]],
    measure: Callable[[AnyRecord], float | None],
) -> Float[np.ndarray, "settings samples"]:
    def mean(cell: Sequence[AnyRecord]) -> float:
        values = [value for value in map(measure, cell) if value is not None]
        return math.fsum(values) / len(values)

    return np.array([[mean(cells[(label, *column)]) for column in columns] for label in labels])
