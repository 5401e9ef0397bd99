"""Forecast the cost of a run before it starts: calls, rows, tokens, and time on this machine.

The totals are extrapolated from the units that a calibration measured
(:mod:`parallelbench.run.calibration`).  A task without a measured unit is left out of them: its
cost is unknown, not zero.

Time is that of the passes of the loop in :mod:`parallelbench.decode.loop` and of the tokens that
went through the model.  Both are needed: a short calibration fills fewer batches than the
run, so a pass serves fewer decodes in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from parallelbench.decoder import DECODERS
from parallelbench.model import MODELS
from parallelbench.results.intervals import CONFIDENCE, Interval
from parallelbench.run.calibration import Batch, UnitCost, passes
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting, build

#: Batches must differ by this factor in tokens per pass before the time per pass can be separated
#: from the time per token.  Until then all time is assigned to tokens, which overestimates runs
#: that fill their batches better.
_APART = 2.0


@dataclass(frozen=True, slots=True)
class ExpectedTotal:
    """The forecast of a total of the run.

    Attributes:
        value: Expected value.
        variance: Variance of the error; None if it is unknown.
        freedom: Degrees of freedom of ``variance``.
        exact: True if the total is certain: everything was measured, or it is fixed.
    """

    value: float
    variance: float | None
    freedom: float = math.inf
    exact: bool = False

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the total, by Student's t; it does not go below 0."""
        if self.variance is None:
            return None
        if self.variance == 0:
            return Interval(self.value, self.value)
        from scipy.stats import t

        half = float(t.ppf((1 + CONFIDENCE) / 2, self.freedom)) * math.sqrt(self.variance)
        return Interval(max(0.0, self.value - half), self.value + half)

    def times(self, factor: float) -> ExpectedTotal:
        """Return the total times ``factor``, for another unit."""
        variance = None if self.variance is None else factor**2 * self.variance
        return replace(self, value=factor * self.value, variance=variance)

    def as_dict(self) -> dict[str, Any]:
        """Return value, interval and exactness as JSON values."""
        interval = self.interval
        return {
            "value": self.value,
            "interval": None if interval is None else list(interval),
            "exact": self.exact,
        }


def expected_total(
    observed: Sequence[int] | Sequence[float], count: int, *, fixed: bool = False
) -> ExpectedTotal:
    r"""Forecast the sum over ``count`` samples from those that were observed.

    Those that were not are expected at the mean :math:`\bar x` of the m that were.  The
    error is that of the mean and of the rest itself; with s the standard deviation,

    .. math:: \mathrm{Var} = s^2 \, \frac{N (N - m)}{m}.

    Args:
        observed: One value per observed sample, at least one.
        count: Number of all samples, N.
        fixed: Treat equal values of the observed samples as proof that all are equal.

    Raises:
        ValueError: Nothing was observed, or more than ``count``.

    Example:
        >>> expected_total([30, 34], 10).value, expected_total([30, 34], 10).variance
        (320.0, 320.0)
    """
    seen = len(observed)
    if not 0 < seen <= count:
        raise ValueError(f"{seen} samples were observed of {count}: give 1 to {count}")
    value = math.fsum(observed) * count / seen
    if seen == count:
        return ExpectedTotal(value, 0.0, exact=True)
    if seen == 1:
        return ExpectedTotal(value, None)
    spread = float(np.var(observed, ddof=1))
    alike = fixed and spread == 0
    return ExpectedTotal(
        value, spread * count * (count - seen) / seen, float(seen - 1), exact=alike
    )


def sum_of_totals(parts: Sequence[ExpectedTotal]) -> ExpectedTotal:
    """Return the sum of totals whose errors are independent.

    Source:
        Satterthwaite (1946), "An approximate distribution of estimates of variance
        components", for the degrees of freedom.
    """
    value = math.fsum(part.value for part in parts)
    exact = all(part.exact for part in parts)
    variances = [part.variance for part in parts if part.variance is not None]
    if len(variances) < len(parts):
        return ExpectedTotal(value, None)
    variance = math.fsum(variances)
    shares = (
        own**2 / part.freedom
        for own, part in zip(variances, parts, strict=True)
        if own and math.isfinite(part.freedom)
    )
    inverse = math.fsum(shares)
    return ExpectedTotal(value, variance, variance**2 / inverse if inverse else math.inf, exact)


@dataclass(frozen=True)
class SpeedModel:
    """A linear model of decoding time on this machine, fitted to timed batches.

    Attributes:
        per_pass: Seconds per pass of the loop, at least 0.
        per_position: Seconds per token that goes through the model, at least 0.
        covariance: Covariance matrix of ``per_pass`` and ``per_position``, by rows; None if
            there were too few batches.
        noise: Variance of the time of a batch, per token; None if there were too few batches.
        freedom: Degrees of freedom of ``covariance`` and ``noise``.
    """

    per_pass: float
    per_position: float
    covariance: tuple[tuple[float, float], tuple[float, float]] | None
    noise: float | None
    freedom: int

    def seconds(self, passes: int, positions: float) -> ExpectedTotal:
        """Forecast the time of known numbers of passes and tokens."""
        value = self.per_pass * passes + self.per_position * positions
        if self.covariance is None or self.noise is None:
            return ExpectedTotal(value, None)
        at = np.array([passes, positions])
        variance = float(at @ np.array(self.covariance) @ at) + self.noise * positions
        return ExpectedTotal(value, variance, float(self.freedom))


def fit_speed(batches: Sequence[Batch]) -> SpeedModel:
    """Fit the speed of this machine to ``batches`` by weighted least squares.

    The first of several batches is left out as a warm-up.  A batch is weighted by its tokens,
    including padding.

    Raises:
        ValueError: There is no batch.
    """
    if not batches:
        raise ValueError("a speed needs at least one batch, got none")
    timed = batches[1:] or batches
    positions = np.array([max(batch.positions * batch.padding, 1.0) for batch in timed])
    design = np.column_stack([[batch.passes for batch in timed], positions])
    seconds = np.array([batch.seconds for batch in timed])
    weight = 1 / np.sqrt(positions)
    columns = _columns(design, seconds, weight)
    design, weighted = design[:, columns], design[:, columns] * weight[:, None]
    found = np.linalg.lstsq(weighted, seconds * weight, rcond=None)[0]
    both = np.zeros(2)
    both[columns] = found
    freedom = len(timed) - len(columns)
    if freedom < 1:
        return SpeedModel(float(both[0]), float(both[1]), None, None, 0)
    noise = float((((seconds - design @ found) * weight) ** 2).sum()) / freedom
    spread = np.zeros((2, 2))
    spread[np.ix_(columns, columns)] = noise * np.linalg.inv(weighted.T @ weighted)
    (first, mixed), (_, second) = spread.tolist()
    return SpeedModel(
        float(both[0]), float(both[1]), ((first, mixed), (mixed, second)), noise, freedom
    )


def _columns(design: np.ndarray, seconds: np.ndarray, weight: np.ndarray) -> list[int]:
    """Return the columns that time depends on: passes (0), tokens (1), or both."""
    fullness = design[:, 1] / np.maximum(design[:, 0], 1)
    if len(design) < 3 or fullness.max() < _APART * fullness.min():
        return [1]
    from scipy.optimize import nnls

    found, _ = nnls(design * weight[:, None], seconds * weight)
    return [int(column) for column in np.flatnonzero(found)] or [1]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a set of decodes.

    Attributes:
        calls: Model calls, summed over decodes; a shared call counts for each.
        rows_asked: Rows that decodes request.
        rows_sent: Rows that go through the model.
        positions: Tokens that go through the model.
        seconds: Wall-clock time on this machine.
    """

    calls: ExpectedTotal
    rows_asked: ExpectedTotal
    rows_sent: ExpectedTotal
    positions: ExpectedTotal
    seconds: ExpectedTotal

    def as_dict(self) -> dict[str, Any]:
        """Return the totals as JSON values."""
        return {name: getattr(self, name).as_dict() for name in self.__dataclass_fields__}

    def scaled(self, factor: float) -> Cost:
        """Return the cost of ``factor`` times as much work of the same kind, without intervals."""
        names = self.__dataclass_fields__
        return Cost(**{n: ExpectedTotal(factor * getattr(self, n).value, None) for n in names})


@dataclass(frozen=True, slots=True)
class TaskCost:
    """The cost of a task.

    Attributes:
        task: Label of the task.
        samples: Number of samples in the run.
        seen: Number of samples that were measured.
        cost: Cost of all samples; None if none was measured.  The time of a model is divided
            among its tasks in proportion to their tokens.
    """

    task: str
    samples: int
    seen: int
    cost: Cost | None


@dataclass(frozen=True, slots=True)
class DecoderCost:
    """The cost of a decoder on the measured tasks.

    Attributes:
        decoder: Label of the decoder.
        decodes: Number of decodes on those tasks.
        calls: Model calls, summed over decodes; None if no task was measured.
    """

    decoder: str
    decodes: int
    calls: ExpectedTotal | None


@dataclass(frozen=True)
class ModelCost:
    """The cost of a model.

    Attributes:
        model: Label of the model.
        decodes: Number of decodes in the run.
        requests: Number of requests to a server, whose model calls are unknown; None for a
            model that decodes in this process.
        tasks: Cost of each task, in the order of the run.
        decoders: Cost of each decoder, in the order of the run.
        seen: Cost of the measured tasks; None if there is none.
        calibrated: Seconds spent on the calibration.
        errors: Messages of the calibration's decodes that ended in an error.
        needed: Forecast of the seconds that the first sample takes, where the time was too short
            for it; else None.
    """

    model: str
    decodes: int
    requests: int | None
    tasks: tuple[TaskCost, ...]
    decoders: tuple[DecoderCost, ...]
    seen: Cost | None
    calibrated: float
    errors: tuple[str, ...]
    needed: float | None = None

    @cached_property
    def unseen(self) -> list[str]:
        """Labels of the tasks without a measured sample."""
        return [task.task for task in self.tasks if task.cost is None]

    @property
    def total(self) -> Cost | None:
        """Cost of all tasks; None if that of some is unknown."""
        return None if self.unseen else self.seen

    @property
    def assumed(self) -> Cost | None:
        """The cost on every task if those not seen cost as much as the mean of the others.

        It has no interval where a task was not seen: nothing is known of the error.  None if no
        task was seen.
        """
        if self.seen is None or not self.unseen:
            return self.seen
        return self.seen.scaled(len(self.tasks) / (len(self.tasks) - len(self.unseen)))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "model": self.model,
            "decodes": self.decodes,
            "requests": self.requests,
            "total": None if self.total is None else self.total.as_dict(),
            "assumed_total": None if self.assumed is None else self.assumed.as_dict(),
            "seen_tasks": None if self.seen is None else self.seen.as_dict(),
            "unseen_tasks": self.unseen,
            "tasks": [
                {**asdict(task), "cost": None if task.cost is None else task.cost.as_dict()}
                for task in self.tasks
            ],
            "decoders": [
                {**asdict(each), "calls": None if each.calls is None else each.calls.as_dict()}
                for each in self.decoders
            ],
            "calibration_seconds": self.calibrated,
            "seconds_of_first_sample": self.needed,
            "errors": list(self.errors),
        }


def cost_of(
    runfile: RunFile, model: Setting, batches: Sequence[Batch], *, batch_size: int = 512
) -> ModelCost:
    """Forecast the cost of ``runfile`` with ``model`` from the measured units.

    Args:
        runfile: The run.
        model: One of its models.
        batches: Timed batches, as :func:`~parallelbench.run.calibration.calibrate` yields them;
            may be empty.
        batch_size: Maximum number of concurrent decodes in the run.
    """
    decoders = runfile.decoders_of(model)
    of_setting = runfile.samples * runfile.repeats
    decodes = len(decoders) * len(runfile.tasks) * of_setting
    if MODELS[model.name].serves:
        return ModelCost(model.label, decodes, decodes, (), (), None, 0.0, ())
    seen: dict[str, list[UnitCost]] = {task.label: [] for task in runfile.tasks}
    for each in itertools.chain.from_iterable(batch.seen for batch in batches):
        seen[each.unit.task].append(each)
    known = {task: units for task, units in seen.items() if units}
    whole, parts = _costs(runfile, decoders, known, batches, batch_size) if known else (None, {})
    calls = _calls(runfile, decoders, known)
    return ModelCost(
        model=model.label,
        decodes=decodes,
        requests=None,
        tasks=tuple(
            TaskCost(task, runfile.samples, len(units), parts.get(task))
            for task, units in seen.items()
        ),
        decoders=tuple(
            DecoderCost(label, of_setting * len(known), sum_of_totals(each) if each else None)
            for label, each in calls.items()
        ),
        seen=whole,
        calibrated=math.fsum(batch.seconds for batch in batches),
        errors=tuple(error for units in seen.values() for unit in units for error in unit.errors),
        needed=next((batch.needed for batch in batches if batch.needed is not None), None),
    )


def _calls(
    runfile: RunFile, decoders: Sequence[Setting], known: Mapping[str, Sequence[UnitCost]]
) -> dict[str, list[ExpectedTotal]]:
    """Return the model calls of each decoder on each measured task, by the decoder's label."""
    return {
        decoder.label: [
            expected_total(
                [unit.calls[decoder.label] for unit in units],
                runfile.samples,
                fixed=not build(decoder, DECODERS).adaptive,
            )
            for units in known.values()
        ]
        for decoder in decoders
    }


def _costs(
    runfile: RunFile,
    decoders: Sequence[Setting],
    known: Mapping[str, Sequence[UnitCost]],
    batches: Sequence[Batch],
    batch_size: int,
) -> tuple[Cost, dict[str, Cost]]:
    """Return the cost of the measured tasks: of all together, and of each."""
    samples = runfile.samples
    fixed = not any(build(decoder, DECODERS).adaptive for decoder in decoders)
    counted = {
        task: {
            "calls": expected_total([sum(u.calls.values()) for u in units], samples, fixed=fixed),
            "rows_asked": expected_total([u.rows_asked for u in units], samples, fixed=fixed),
            "rows_sent": expected_total([u.rows_sent for u in units], samples),
            "positions": expected_total([u.positions for u in units], samples),
        }
        for task, units in known.items()
    }
    sums = {
        name: sum_of_totals([counts[name] for counts in counted.values()])
        for name in next(iter(counted.values()))
    }
    steps = itertools.chain.from_iterable(
        units[index % len(units)].steps for units in known.values() for index in range(samples)
    )
    whole = sums["positions"]
    speed = fit_speed(batches)
    run_time = speed.seconds(passes(steps, batch_size), whole.value)

    def seconds(positions: ExpectedTotal) -> ExpectedTotal:
        """Return the part of the run time that these tokens take."""
        part = positions.value / max(whole.value, 1.0)
        errors = [run_time.times(part), replace(positions.times(speed.per_position), value=0.0)]
        return replace(sum_of_totals(errors), exact=False)

    return Cost(**sums, seconds=seconds(whole)), {
        task: Cost(**counts, seconds=seconds(counts["positions"]))
        for task, counts in counted.items()
    }
