"""Lower bounds for one sample of a task: the figures of ``parallelbench bounds``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from rich import box
from rich.table import Table

from parallelbench.analysis.theory.adaptive import (
    STATE_LIMIT,
    AdaptiveFrontier,
    Method,
    adaptive_frontier,
    zero_error_steps,
)
from parallelbench.analysis.theory.bounds import (
    POSITION_LIMIT,
    Bound,
    OverLimitError,
    best_partitions,
    least_validity,
    validity,
)
from parallelbench.analysis.theory.dependence import (
    Law,
    entropy,
    item_law,
    token_law,
    total_correlation,
)
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.task import DEFAULT_LIMIT, Sample, Task

Level = Literal["item", "token"]


class Caps(NamedTuple):
    """Limits beyond which a figure is left out or computed greedily.

    Attributes:
        answers: Number of right answers to list.
        positions: Number of positions that depend on each other, for the least bits by steps.
        choices: Number of (state, set to write) pairs to examine, for adaptive policies.
    """

    answers: int = DEFAULT_LIMIT
    positions: int = POSITION_LIMIT
    choices: int = STATE_LIMIT


DEFAULT_CAPS = Caps()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Lower bounds for one sample.

    Positions at which all right answers agree cost nothing and are left out.

    Attributes:
        task: Label of the task.
        sample: Id of the sample.
        level: Unit of a position: an ``item`` of the answer, or a ``token``.
        right_answers: Number of right answers.
        positions: Positions at which the right answers differ, counted from 0; position 0 if
            they all agree.
        entropy_bits: Entropy of the answer.
        total_correlation_bits: Least cost of writing it in one step.
        validity_one_step: Share of right answers in one step at temperature 1, in [0, 1].
        optimal_bits_by_steps: Least cost of 1, 2, ... steps in a fixed order; None if not
            computed.
        optimal_partitions: Positions to write in each step at that cost; None if not computed.
        optimal_reason: Reason that the two were not computed; None if they were.
        zero_error_expected_steps: Fewest expected steps without any error; None if not computed.
        zero_error_method: ``exact``, or ``greedy`` if some policy needs no more.
        zero_error_reason: Reason that it was not computed or is not exact; else None.
        adaptive_frontier: Corners (expected steps, bits) of the least cost of adaptive policies;
            None if not requested or not computed.
        adaptive_frontier_method: ``exact`` or ``greedy``, as for zero error.
        method: Description of the methods that found the figures.
    """

    task: str
    sample: str
    level: Level
    right_answers: int
    positions: tuple[int, ...]
    entropy_bits: float
    total_correlation_bits: float
    validity_one_step: float
    optimal_bits_by_steps: tuple[float, ...] | None
    optimal_partitions: tuple[tuple[tuple[int, ...], ...], ...] | None
    optimal_reason: str | None
    zero_error_expected_steps: float | None
    zero_error_method: Method | None
    zero_error_reason: str | None
    adaptive_frontier: tuple[tuple[float, float], ...] | None
    adaptive_frontier_method: Method | None
    method: str

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes, as JSON values."""
        return asdict(self)


def law_of_sample(task: Task, sample: Sample, level: Level, limit: int = DEFAULT_LIMIT) -> Law:
    """Return the law of the right answers to ``sample``.

    Args:
        task: The task that drew the sample.
        sample: A sample.
        level: ``item``: the items of a list, or the words and numbers of any other answer.
            ``token``: the tokens of the ideal model's canvas.
        limit: Largest number of right answers.

    Raises:
        NotEnumerableError: The right answers are too many, or cannot be listed.
        CanvasError: A right answer does not fit the canvas.
    """
    answers = task.answers(sample, limit)
    if level == "item":
        return item_law(answers)
    return token_law(build_prompt(task, sample, Ideal().open().codec), answers)


def find_limits(  # noqa: PLR0913  what the figures are of, and how far to go
    label: str,
    sample: Sample,
    law: Law,
    level: Level,
    caps: Caps = DEFAULT_CAPS,
    *,
    frontier: bool = False,
) -> Limits:
    """Return the lower bounds for ``sample``.

    Args:
        label: Label of the task.
        sample: A sample.
        law: Distribution of its right answers, as :func:`law_of_sample` gives it.
        level: Level at which ``law`` was taken.
        caps: Limits of the computation.
        frontier: True to compute the frontier of adaptive policies, too.
    """
    positions = law.varying or (0,)
    varying = law.only(positions)
    bounds, optimal_reason = _optimum(varying, caps.positions)
    corner, corner_method, corner_reason = _zero_error(varying, caps.choices)
    line = _frontier(varying, caps.choices) if frontier else None
    return Limits(
        task=label,
        sample=sample.id,
        level=level,
        right_answers=len(law),
        positions=positions,
        entropy_bits=entropy(varying),
        total_correlation_bits=total_correlation(varying),
        validity_one_step=validity(varying, [range(varying.length)]),
        optimal_bits_by_steps=None if bounds is None else tuple(bound.bits for bound in bounds),
        optimal_partitions=None
        if bounds is None
        else tuple(_named(bound, positions) for bound in bounds),
        optimal_reason=optimal_reason,
        zero_error_expected_steps=corner,
        zero_error_method=corner_method,
        zero_error_reason=corner_reason,
        adaptive_frontier=line and tuple((point[0], point[1]) for point in line.points),
        adaptive_frontier_method=line and line.method,
        method=_method(len(law), bounds, corner_method),
    )


def limits_table(limits: Limits) -> Table:
    """Return the least cost of every number of steps, for the terminal."""
    drawn = Table(box=box.SIMPLE, padding=(0, 1))
    for heading in ("steps", "positions\n/ step", "least cost\n(bits)", "right at\nleast (%)"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("positions, step by step")
    bits, partitions = limits.optimal_bits_by_steps or (), limits.optimal_partitions or ()
    for steps, (cost, partition) in enumerate(zip(bits, partitions, strict=True), start=1):
        order = " | ".join(" ".join(map(str, step)) for step in partition)
        drawn.add_row(
            str(steps),
            f"{len(limits.positions) / steps:.2f}",
            f"{cost:.3f}",
            f"{100 * least_validity(cost):.1f}",
            order,
        )
    return drawn


def limits_sentences(limits: Limits) -> Iterator[str]:
    """Yield the figures as sentences."""
    count, noun = len(limits.positions), f"{limits.level}s"
    yield f"{limits.sample}: {limits.right_answers:,} right answers"
    if limits.entropy_bits == 0:
        yield "There is one right answer: writing it in one step costs nothing."
        return
    yield (
        f"The right answers differ in {count} {noun}, have {limits.entropy_bits:.3f} bits of "
        f"entropy, and share {limits.total_correlation_bits:.3f} bits of total correlation."
    )
    yield (
        "Written in one step at temperature 1, the best model is right in "
        f"{100 * limits.validity_one_step:.1f} % of its replies."
    )
    if limits.optimal_reason:
        yield f"The least cost by steps is not computed: {limits.optimal_reason}."
    yield _zero_error_sentence(limits)
    if limits.adaptive_frontier:
        corners = ", ".join(
            f"{bits:.3f} at {steps:.3f}" for steps, bits in limits.adaptive_frontier
        )
        yield f"Least bits at expected steps ({limits.adaptive_frontier_method}): {corners}."


def _zero_error_sentence(limits: Limits) -> str:
    steps = limits.zero_error_expected_steps
    if steps is None:
        return f"The fewest steps without error are not computed: {limits.zero_error_reason}."
    if limits.zero_error_method == "greedy":
        return (
            f"A greedy policy that sees what it wrote takes {steps:.3f} expected steps without "
            f"error; fewer may be possible ({limits.zero_error_reason})."
        )
    return (
        f"No policy, whatever it sees of what it wrote, takes fewer than {steps:.3f} expected "
        "steps without error."
    )


def _optimum(law: Law, limit: int) -> tuple[list[Bound] | None, str | None]:
    try:
        return best_partitions(law, limit), None
    except OverLimitError as error:
        return None, str(error)


def _zero_error(law: Law, limit: int) -> tuple[float | None, Method | None, str | None]:
    try:
        return zero_error_steps(law, limit, greedy=False).expected_steps, "exact", None
    except OverLimitError as error:
        reason = str(error)
    try:
        return zero_error_steps(law, limit, greedy=True).expected_steps, "greedy", reason
    except OverLimitError as error:
        return None, None, str(error)


def _frontier(law: Law, limit: int) -> AdaptiveFrontier | None:
    try:
        return adaptive_frontier(law, limit)
    except OverLimitError:
        return None


def _named(bound: Bound, positions: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(positions[one] for one in step) for step in bound.partition)


def _method(answers: int, bounds: list[Bound] | None, corner: Method | None) -> str:
    return (
        f"exact law of {answers:,} right answers; least bits by steps: "
        f"{'not computed' if bounds is None else 'exact'}; zero error: {corner or 'not computed'}"
    )
