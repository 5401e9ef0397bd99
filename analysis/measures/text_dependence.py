"""How the tokens of free text depend on each other, by the models of a run: ``dependence.json``.

No list holds the right answers to these tasks, so what decoding them in parallel must cost can only
be estimated, from predictions of a model (:mod:`parallelbench.analysis.theory.estimate`).  That
takes the model and many calls, so it is a step of its own: :func:`estimate_run` makes the figures
for a run, and a report shows them if they are of the models that made its records.
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
from parallelbench.prompt import Prompt, build_prompt
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runner import draw
from parallelbench.setting import Setting, build
from parallelbench.storage.plain_json import json_of, regular_bytes
from parallelbench.task import TASKS

FILE = "dependence.json"

#: Of what the tokens depend on each other: what the model writes itself, token by token at
#: temperature 1, or the tasks' reference answers.
Kind = Literal["model", "references"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class TaskDependence:
    """An estimated total correlation of whole canvases, mean over samples of a task.

    Attributes:
        model: The model's setting.
        model_digest: Identifies its predictions.
        task: The task's setting.
        kind: Of which texts.
        order: In which the positions are revealed one by one.
        bits: The estimate; None if it could not be made.
        standard_error: Of ``bits``, over samples.
        at_once: Bits of all positions in one call, each by itself.
        one_by_one: Bits of the same positions revealed one after the other.
        samples: How many questions.
        count: How many texts: completions drawn from the model, or references.
        calls: Model calls made.
        rows: Sequences in those calls.
        seed: Of the draws.
        missing: Why there is no estimate; None if there is one.
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
    """How much is asked for an estimate.

    Attributes:
        samples: Questions of each task, at least 2.
        completions: Texts that the model writes for each, at least 2.
        orders: In which positions are revealed.
        seed: Of the draws.
        batch_size: Most rows of one call.

    Raises:
        RunFileError: Too few samples or completions for a standard error.
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
    found = [setting for setting in run.runfile.tasks if not TASKS[setting.name].law_known]
    if not found:
        raise RunFileError(
            f"{run.path} has only tasks whose law is known: `parallelbench bounds --task "
            f"{run.runfile.tasks[0].label}` computes their dependence exactly"
        )
    return found


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
            f"asked for: give --samples {run.runfile.samples} or fewer"
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
            place = {
                "model": setting.label,
                "model_digest": model.digest,
                "task": task.label,
                "seed": effort.seed,
            }
            for kind in KINDS:
                for order in effort.orders:
                    yield _estimated(model, run, task, effort, kind, order, place)


def model_digests(run: RunDirectory) -> dict[str, str]:
    """Return the digest of each model that made records of ``run``, by its label.

    Raises:
        RecordsError: A record is torn or was altered.
    """
    return {record.model: record.model_digest for record in run.records()}


def write_estimates(run: RunDirectory, estimates: Sequence[TaskDependence]) -> None:
    """Write ``dependence.json`` into the directory of ``run``."""
    lines = ",\n".join(json.dumps(asdict(each)) for each in estimates)
    run.write_text(FILE, f"[\n{lines}\n]\n")


def read_estimates(run: RunDirectory) -> list[TaskDependence]:
    """Return what ``dependence.json`` of ``run`` holds; nothing if there is none.

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
    """Return the estimates by the models of a run, and why others are none; None if all are.

    Args:
        estimates: Of any models.
        digests: Of each model that made the run's records, by its label.
    """
    own = [each for each in estimates if digests.get(each.model) == each.model_digest]
    strange = next((each for each in estimates if each not in own), None)
    if strange is None:
        return own, None
    return own, (
        f"{FILE} holds estimates by {strange.model} with digest {strange.model_digest[:12]}, which "
        "made no record of this run; they are not shown"
    )


def _estimated(  # noqa: PLR0913, PLR0917  what is asked, of whom, and how
    model: object,
    run: RunDirectory,
    setting: Setting,
    effort: Effort,
    kind: Kind,
    order: Order,
    place: Mapping[str, Any],
) -> TaskDependence:
    about: dict[str, Any] = {**place, "kind": kind, "order": order}
    missing = _lacking(model)
    if missing is not None or not isinstance(model, Model):
        return TaskDependence(**about, missing=missing)
    task = build(setting, TASKS)
    prompts = [
        build_prompt(task, draw(task, run.runfile.seed, index), model.codec)
        for index in range(effort.samples)
    ]
    # Each figure has draws of its own: none depends on which others are asked for.
    rng = np.random.default_rng([effort.seed, KINDS.index(kind), ORDERS.index(order)])
    try:
        found = _found(model, prompts, rng, effort, kind, order)
    except (ModelError, RequestError) as error:
        return TaskDependence(**about, missing=str(error))
    if not math.isfinite(found.bits):
        return TaskDependence(
            **about, missing="the model holds a token of a reference for impossible"
        )
    return TaskDependence(
        **about,
        bits=found.bits,
        standard_error=found.standard_error,
        at_once=found.at_once,
        one_by_one=found.one_by_one,
        samples=effort.samples,
        count=found.count,
        calls=found.calls,
        rows=found.rows,
    )


def _lacking(model: object) -> str | None:
    """Return why nothing can be estimated with ``model``; None if it can."""
    if not isinstance(model, Model):
        return "a server decodes by itself and shows no predictions"
    if model.blocks is not None:
        return (
            f"it reads a canvas in blocks of {model.blocks.length}, so that no call sees all open "
            "positions of a reply"
        )
    return None


def _found(  # noqa: PLR0913, PLR0917  what is asked, of whom, and how
    model: Model,
    prompts: Sequence[Prompt],
    rng: np.random.Generator,
    effort: Effort,
    kind: Kind,
    order: Order,
) -> DependenceEstimate:
    if kind == "references":
        if any(not prompt.sample.reference for prompt in prompts):
            raise RunFileError("the task has questions without a reference answer")
        references = [reference_of(prompt) for prompt in prompts]
        return data_dependence(model, references, rng, order=order, batch_size=effort.batch_size)
    return _mean(
        [
            dependence(
                model,
                prompt,
                rng,
                order=order,
                count=effort.completions,
                batch_size=effort.batch_size,
            )
            for prompt in prompts
        ]
    )


def _mean(each: Sequence[DependenceEstimate]) -> DependenceEstimate:
    """Return the mean over samples; its standard error is that between them."""
    bits = np.array([found.bits for found in each])
    return DependenceEstimate(
        bits=float(bits.mean()),
        standard_error=float(bits.std(ddof=1)) / math.sqrt(len(bits)),
        at_once=float(np.mean([found.at_once for found in each])),
        one_by_one=float(np.mean([found.one_by_one for found in each])),
        order=each[0].order,
        count=sum(found.count for found in each),
        calls=sum(found.calls for found in each),
        rows=sum(found.rows for found in each),
    )


def _read(fields: Mapping[str, Any]) -> TaskDependence:
    found = TaskDependence(**fields)
    numbers = (found.bits, found.standard_error, found.at_once, found.one_by_one)
    told = all(isinstance(number, float) and math.isfinite(number) for number in numbers)
    if found.kind not in KINDS or found.order not in ORDERS or told == (found.missing is not None):
        raise ValueError(f"{fields!r:.200} is no estimate")
    return found
