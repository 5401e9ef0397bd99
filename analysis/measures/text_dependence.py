"""Estimated dependence of the tokens of free text, by the models of a run: ``dependence.json``.

The right answers to these tasks cannot be listed, so the cost of parallel decoding can only be
estimated, from predictions of a model (:mod:`parallelbench.analysis.theory.estimate`).  That needs
the model and many calls, so it is a separate step: :func:`estimate_run` makes the estimates for a
run, and a report shows those by the models that made its records.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from parallelbench.analysis.theory.estimate import (
    ORDERS,
    DependenceEstimate,
    Order,
    data_dependence,
    dependence,
    reference_of,
)
from parallelbench.errors import ModelError, RecordsError, RequestError, RunFileError
from parallelbench.model import MODELS, Model
from parallelbench.prompt import build_prompt
from parallelbench.run.recording import draw_sample
from parallelbench.run.rundir import RunDirectory
from parallelbench.setting import Setting, build
from parallelbench.storage.plain_json import json_of, regular_bytes
from parallelbench.task import TASKS

FILE = "dependence.json"

#: Texts of an estimate: completions that the model writes itself, token by token at temperature 1,
#: or the tasks' reference answers.
Kind = Literal["model", "references"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class TaskDependence:
    """An estimated total correlation of whole canvases, mean over samples of a task.

    Attributes:
        model: The model's setting.
        model_digest: Digest that identifies its predictions.
        task: The task's setting.
        kind: Kind of the texts.
        order: Order in which the positions are revealed one by one.
        bits: The estimate; None if it could not be made.
        standard_error: Standard error of ``bits``, over samples.
        at_once: Bits of all positions in one call, each by itself.
        one_by_one: Bits of the same positions revealed one after the other.
        samples: Number of questions.
        count: Number of texts: completions drawn from the model, or references.
        calls: Number of model calls.
        rows: Number of sequences in those calls.
        seed: Random seed of the draws.
        missing: Reason that there is no estimate; None if there is one.
    """

    model: str
    model_digest: str
    task: str
    kind: Kind
    order: Order
    bits: float | None = None
    standard_error: float | None = None
    at_once: float | None = None
    one_by_one: float | None = None
    samples: int = 0
    count: int = 0
    calls: int = 0
    rows: int = 0
    seed: int = 0
    missing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Size of an estimate.

    Attributes:
        samples: Number of questions of each task, at least 2.
        completions: Number of texts that the model writes for each question, at least 2.
        orders: Orders in which positions are revealed.
        seed: Random seed of the draws.
        batch_size: Largest number of rows in one call.

    Raises:
        RunFileError: There are too few samples or completions for a standard error.
    """

    samples: int = 8
    completions: int = 4
    orders: Sequence[Order] = ORDERS
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name, count in (("samples", self.samples), ("completions", self.completions)):
            if count < 2:
                raise RunFileError(f"a standard error takes at least 2 {name}, got {count}")


def open_tasks(run: RunDirectory) -> list[Setting]:
    """Return the tasks of ``run`` whose right answers cannot be listed.

    Raises:
        RunFileError: There is none: bounds are exact for the others.
    """
    settings = [setting for setting in run.runfile.tasks if not TASKS[setting.name].law_known]
    if not settings:
        raise RunFileError(
            f"{run.path} has only tasks whose law is known: `parallelbench bounds --task "
            f"{run.runfile.tasks[0].label}` computes their dependence exactly"
        )
    return settings


def estimate_run(run: RunDirectory, effort: Effort) -> Iterator[TaskDependence]:
    """Yield the estimates of every model and open task of ``run``.

    Raises:
        RunFileError: All its tasks have a known law, it has fewer samples, or a model is not
            the one that made the records.
        RequestError: A model cannot be loaded.
    """
    tasks = open_tasks(run)
    if effort.samples > run.runfile.samples:
        raise RunFileError(
            f"{run.path} has {run.runfile.samples} samples of each task, and {effort.samples} were "
            f"requested: give --samples {run.runfile.samples} or fewer"
        )
    digests = model_digests(run)
    for setting in run.runfile.models:
        model = build(setting, MODELS).open()
        recorded = digests.get(setting.label, model.digest)
        if recorded != model.digest:
            raise RunFileError(
                f"{run.path} was made with another {setting.label!r}: its digest was "
                f"{recorded[:12]} and is now {model.digest[:12]}; estimates by another model say "
                "nothing of that run"
            )
        for task in tasks:
            estimator = _Estimator(model, setting.label, model.digest, run, task, effort)
            for kind in KINDS:
                for order in effort.orders:
                    yield estimator.estimate(kind, order)


def model_digests(run: RunDirectory) -> dict[str, str]:
    """Return the digest of each model that made records of ``run``, by its label.

    Raises:
        RecordsError: A record is torn or was altered.
    """
    return {record.model_label: record.model.digest for record in run.records()}


def write_estimates(run: RunDirectory, estimates: Sequence[TaskDependence]) -> None:
    """Write ``dependence.json`` into the directory of ``run``."""
    lines = ",\n".join(json.dumps(asdict(each)) for each in estimates)
    run.write_text(FILE, f"[\n{lines}\n]\n")


def read_estimates(run: RunDirectory) -> list[TaskDependence]:
    """Return the estimates in ``dependence.json`` of ``run``; none without the file.

    Raises:
        RecordsError: It is not of the form that :func:`write_estimates` gives it.
    """
    file = run.path / FILE
    if not file.exists():
        return []
    try:
        return [_read(fields) for fields in json_of(regular_bytes(file))]
    except (ValueError, TypeError, OSError) as error:
        raise RecordsError(
            f"{file} was altered: it holds no estimates ({error}); delete it, and "
            f"`parallelbench dependence {run.path}` makes it again"
        ) from error


def estimates_of_models(
    estimates: Sequence[TaskDependence], digests: Mapping[str, str]
) -> tuple[list[TaskDependence], str | None]:
    """Return the estimates by the models of a run, and a remark on others; None if there are none.

    Args:
        estimates: Estimates by any models.
        digests: Digest of each model that made the run's records, by its label.
    """
    own = [each for each in estimates if digests.get(each.model) == each.model_digest]
    strange = next((each for each in estimates if each not in own), None)
    if strange is None:
        return own, None
    return own, (
        f"{FILE} holds estimates by {strange.model} with digest {strange.model_digest[:12]}, which "
        "made no record of this run; they are not shown"
    )


@dataclass(frozen=True, slots=True)
class _Estimator:
    """Estimates for one model and one task of a run.

    Attributes:
        model: The opened model or server.
        label: The model's setting.
        digest: Digest of the model.
        run: The run.
        task: The task's setting.
        effort: Size of the estimates.
    """

    model: object
    label: str
    digest: str
    run: RunDirectory
    task: Setting
    effort: Effort

    def estimate(self, kind: Kind, order: Order) -> TaskDependence:
        """Return one estimate, or the reason that there is none."""
        about: dict[str, Any] = {
            "model": self.label,
            "model_digest": self.digest,
            "task": self.task.label,
            "seed": self.effort.seed,
            "kind": kind,
            "order": order,
        }
        missing = _lacking(self.model)
        if missing is not None or not isinstance(self.model, Model):
            return TaskDependence(**about, missing=missing)
        try:
            mean = self._mean_dependence(self.model, kind, order)
        except (ModelError, RequestError) as error:
            return TaskDependence(**about, missing=str(error))
        if not math.isfinite(mean.bits):
            return TaskDependence(
                **about, missing="the model gives a token of a reference probability 0"
            )
        return TaskDependence(
            **about,
            bits=mean.bits,
            standard_error=mean.standard_error,
            at_once=mean.at_once,
            one_by_one=mean.one_by_one,
            samples=self.effort.samples,
            count=mean.count,
            calls=mean.calls,
            rows=mean.rows,
        )

    def _mean_dependence(self, model: Model, kind: Kind, order: Order) -> DependenceEstimate:
        """Return the mean over samples."""
        effort, task = self.effort, build(self.task, TASKS)
        prompts = [
            build_prompt(task, draw_sample(task, self.run.runfile.seed, index), model.codec)
            for index in range(effort.samples)
        ]
        # Every estimate has its own draws, so that it does not depend on which others are made.
        rng = np.random.default_rng([effort.seed, KINDS.index(kind), ORDERS.index(order)])
        if kind == "references":
            if any(not prompt.sample.reference for prompt in prompts):
                raise RunFileError("the task has questions without a reference answer")
            references = [reference_of(prompt) for prompt in prompts]
            return data_dependence(
                model, references, rng, order=order, batch_size=effort.batch_size
            )
        count, size = effort.completions, effort.batch_size
        return _mean(
            [
                dependence(model, prompt, rng, order=order, count=count, batch_size=size)
                for prompt in prompts
            ]
        )


def _lacking(model: object) -> str | None:
    """Return the reason that ``model`` allows no estimate; None if it does."""
    if not isinstance(model, Model):
        return "a server decodes by itself and shows no predictions"
    if model.blocks is not None:
        return (
            f"it reads a canvas in blocks of {model.blocks.length}, so that no call sees all open "
            "positions of a reply"
        )
    return None


def _mean(each: Sequence[DependenceEstimate]) -> DependenceEstimate:
    """Return the mean over samples; its standard error is that between them."""
    bits = np.array([one.bits for one in each])
    return DependenceEstimate(
        bits=float(bits.mean()),
        standard_error=float(bits.std(ddof=1)) / math.sqrt(len(bits)),
        at_once=float(np.mean([one.at_once for one in each])),
        one_by_one=float(np.mean([one.one_by_one for one in each])),
        order=each[0].order,
        count=sum(one.count for one in each),
        calls=sum(one.calls for one in each),
        rows=sum(one.rows for one in each),
    )


def _read(fields: Mapping[str, Any]) -> TaskDependence:
    estimate = TaskDependence(**fields)
    numbers = (estimate.bits, estimate.standard_error, estimate.at_once, estimate.one_by_one)
    complete = all(isinstance(number, float) and math.isfinite(number) for number in numbers)
    known = estimate.kind in KINDS and estimate.order in ORDERS
    if not known or complete == (estimate.missing is not None):
        raise ValueError(f"{fields!r:.200} is no estimate")
    return estimate
