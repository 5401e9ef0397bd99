"""Lower bounds for one sample whose right answers have structure: figures that need no list.

A position is a token of the ideal model's canvas.  Positions at which all right answers agree cost
nothing and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int
from rich import box
from rich.table import Table

from parallelbench.analysis.theory.exact_bits import (
    BitsEstimate,
    dual_total_correlation,
    one_step_bits,
    position_entropies,
)
from parallelbench.analysis.theory.schedules import (
    ErrorFreeSchedule,
    NamedSchedule,
    error_free_schedule,
    named_schedules,
    varying_positions,
)
from parallelbench.analysis.theory.treedepth import Treedepth, treedepth
from parallelbench.console.numbers import count_text
from parallelbench.distributions.contract import AnswerDistribution, DependenceGraph
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import Sample, Task

#: Numbers of steps for which schedules are compared.
_STEPS = (2, 4, 8)
#: Drawn answers, each with other positions written, of a point of the information curve.
_CURVE_DRAWS = 64
_CURVE_POINTS = 11


class CurvePoint(NamedTuple):
    """A point of the information curve.

    Attributes:
        written: Number of varying positions that are written, chosen at random.
        bits: Mean entropy of an open varying position.
        standard_error: Standard error of ``bits``.
    """

    written: int
    bits: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class StructuredLimits:
    """Lower bounds for one sample with structured answers.

    Attributes:
        task: Label of the task.
        sample: Id of the sample.
        level: Unit of a position, always ``token``.
        right_answers: Number of right answers.
        positions: Positions at which the right answers differ, counted from 0.
        entropy_bits: Entropy of the answer.
        total_correlation_bits: Least cost of writing it in one step.
        dual_total_correlation: Dual total correlation, averaged over drawn answers.
        treedepth: Treedepth of the graph that joins two positions that depend on each other given
            all others: the steps that such a graph needs in general, for a distribution in which
            no position is settled by others.  None if the graph takes too long.
        zero_error_steps: Steps of the shortest schedule found that makes no error.
        zero_error_at_least: Steps that every such schedule has.
        zero_error_method: Description of the method.
        zero_error_schedule: Positions of each of its steps.
        schedules: Costs of schedules by kind and number of steps.
        information_curve: Mean entropy of an open position by the number of written ones.
        method: Description of the methods that found the figures.
    """

    task: str
    sample: str
    level: Literal["token"] = "token"
    right_answers: int
    positions: tuple[int, ...]
    entropy_bits: float
    total_correlation_bits: float
    dual_total_correlation: BitsEstimate
    treedepth: Treedepth | None
    zero_error_steps: int
    zero_error_at_least: int
    zero_error_method: str
    zero_error_schedule: tuple[tuple[int, ...], ...]
    schedules: tuple[NamedSchedule, ...]
    information_curve: tuple[CurvePoint, ...]
    method: str

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes, as JSON values; numbers of right answers are exact."""
        return {
            **asdict(self),
            "right_answers_log2": math.log2(self.right_answers),
            "dual_total_correlation": self.dual_total_correlation._asdict(),
            "treedepth": self.treedepth and self.treedepth._asdict(),
            "schedules": [
                {**each._asdict(), "bits": each.bits._asdict()} for each in self.schedules
            ],
            "information_curve": [point._asdict() for point in self.information_curve],
        }


def find_structured_limits(
    label: str, task: Task, sample: Sample, *, seed: int = 0
) -> StructuredLimits:
    """Return the lower bounds for ``sample`` of a task with structured answers.

    Args:
        label: Label of the task.
        task: A task whose right answers have structure.
        sample: A sample of it.
        seed: Random seed of drawn answers.

    Raises:
        CanvasError: A right answer does not fit the canvas.
        NotEnumerableError: The structure is too large.
    """
    prompt = build_prompt(task, sample, Ideal().open().codec)
    distribution, canvas = answer_distribution(prompt), prompt.canvas.numpy()
    varying = varying_positions(distribution, canvas)
    shared = one_step_bits(distribution, canvas)
    fewest = error_free_schedule(distribution, canvas, seed=seed)
    at_least = 2 if shared > 1e-9 else 1
    return StructuredLimits(
        task=label,
        sample=sample.id,
        right_answers=distribution.count(canvas),
        positions=varying,
        entropy_bits=float(distribution.condition(canvas[None]).entropies[0]),
        total_correlation_bits=shared,
        dual_total_correlation=dual_total_correlation(distribution, draws=32, seed=seed),
        treedepth=_treedepth(distribution, varying),
        zero_error_steps=max(1, len(fewest.steps)),
        zero_error_at_least=at_least,
        zero_error_method=_zero_error_method(fewest, at_least),
        zero_error_schedule=fewest.steps,
        schedules=tuple(
            schedule
            for steps in _STEPS
            if steps <= len(varying)
            for schedule in named_schedules(distribution, varying, steps, seed=seed)
        ),
        information_curve=tuple(_information_curve(distribution, canvas, varying, seed)),
        method="exact sums over the structure of the right answers; averages over drawn answers "
        "where there is a standard error",
    )


def structured_sentences(limits: StructuredLimits) -> Iterator[str]:
    """Yield the figures as sentences."""
    yield f"{limits.sample}: {count_text(limits.right_answers)} right answers"
    if not limits.positions:
        yield "There is one right answer: writing it in one step costs nothing."
        return
    dual = limits.dual_total_correlation
    yield (
        f"The right answers differ in {len(limits.positions)} tokens, have "
        f"{limits.entropy_bits:.3f} bits of entropy, and share "
        f"{limits.total_correlation_bits:.3f} bits of total correlation (dual: "
        f"{dual.bits:.3f} \N{PLUS-MINUS SIGN} {dual.standard_error:.3f})."
    )
    if limits.treedepth is None:
        yield "The graph of their dependence takes too long, so its treedepth is not known."
    else:
        about = "" if limits.treedepth.exact else "at most "
        yield (
            f"The graph that joins two tokens that depend on each other given all others has "
            f"treedepth {about}{limits.treedepth.depth} ({limits.treedepth.method}): as many steps "
            "are needed in general, if no token is settled by others."
        )
    yield (
        f"A schedule fixed in advance needs {_steps_text(limits)} to make no error "
        f"({limits.zero_error_method})."
    )


def structured_table(limits: StructuredLimits) -> Table:
    """Return the costs of schedules, for the terminal."""
    drawn = Table(box=box.SIMPLE, padding=(0, 1))
    drawn.add_column("steps", justify="right")
    for kind in dict.fromkeys(schedule.kind for schedule in limits.schedules):
        drawn.add_column(f"{kind}\n(bits)", justify="right")
    for steps in dict.fromkeys(schedule.steps for schedule in limits.schedules):
        drawn.add_row(
            str(steps),
            *(
                f"{schedule.bits.bits:.3f} \N{PLUS-MINUS SIGN} {schedule.bits.standard_error:.3f}"
                for schedule in limits.schedules
                if schedule.steps == steps
            ),
        )
    return drawn


def _steps_text(limits: StructuredLimits) -> str:
    if limits.zero_error_at_least == limits.zero_error_steps:
        return f"{limits.zero_error_steps} step{'s' * (limits.zero_error_steps != 1)}"
    return f"{limits.zero_error_at_least} to {limits.zero_error_steps} steps"


def _zero_error_method(fewest: ErrorFreeSchedule, at_least: int) -> str:
    if len(fewest.steps) <= 1:
        return "exact: no tokens depend on each other"
    checked = f"a schedule built step by step, checked on {fewest.answers} drawn answers"
    if len(fewest.steps) == at_least:
        return f"{checked}; one step has a cost"
    return checked


def _treedepth(distribution: AnswerDistribution, varying: tuple[int, ...]) -> Treedepth | None:
    graph = distribution.dependence_graph()
    if graph is None or not varying:
        return None
    number = {position: index for index, position in enumerate(varying)}
    pairs = frozenset((number[low], number[high]) for low, high in graph.pairs)
    return treedepth(DependenceGraph(len(varying), pairs))


def _information_curve(
    distribution: AnswerDistribution,
    canvas: Int[np.ndarray, " length"],
    varying: tuple[int, ...],
    seed: int,
) -> Iterator[CurvePoint]:
    rng = np.random.default_rng(seed)
    rows = np.repeat(canvas[None], _CURVE_DRAWS, axis=0)
    answers = distribution.draw(rows, rng.random(rows.shape))
    order = np.argsort(rng.random((_CURVE_DRAWS, len(varying))), axis=1)
    places = np.array(varying, dtype=np.int64)[order]
    points = min(_CURVE_POINTS, len(varying))
    for written in sorted({len(varying) * point // points for point in range(points)}):
        canvases = rows.copy()
        lines = np.arange(_CURVE_DRAWS)[:, None]
        shown = places[:, :written]
        canvases[lines, shown] = answers[lines, shown]
        bits = position_entropies(distribution, distribution.condition(canvases))
        means = bits[lines, places[:, written:]].mean(axis=1)
        error = float(means.std(ddof=1)) / math.sqrt(_CURVE_DRAWS)
        yield CurvePoint(written, float(means.mean()), error)
