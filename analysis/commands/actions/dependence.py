"""The work of the verb ``dependence``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from parallelbench.analysis.measures.text_dependence import (
    Effort,
    TaskDependence,
    estimate_run,
    write_estimates,
)
from parallelbench.analysis.theory.estimate import ORDERS
from parallelbench.console.terminal import tell
from parallelbench.registry import load_plugins
from parallelbench.run.rundir import RunDirectory


@dataclass(frozen=True, kw_only=True)
class DependenceOptions:
    """The arguments of the verb ``dependence``; its help explains them."""

    run: Path
    samples: int
    completions: int
    orders: Sequence[str]
    seed: int
    batch_size: int
    as_json: bool


def dependence(options: DependenceOptions) -> None:
    """Estimate the dependence of the tokens of a run's tasks, and write it into the run."""
    load_plugins()
    directory = RunDirectory.open(options.run)
    effort = Effort(
        samples=options.samples,
        completions=options.completions,
        orders=tuple(order for order in ORDERS if not options.orders or order in options.orders),
        seed=options.seed,
        batch_size=options.batch_size,
    )
    estimates = []
    for estimate in estimate_run(directory, effort):
        estimates.append(estimate)
        tell(_sentence(estimate), err=options.as_json)
    write_estimates(directory, estimates)
    if options.as_json:
        tell(json.dumps([asdict(estimate) for estimate in estimates], indent=1))
    tell(f"parallelbench report {options.run} shows them", err=options.as_json)


def _sentence(estimate: TaskDependence) -> str:
    texts = "what it writes" if estimate.kind == "model" else "reference answers"
    order = estimate.order.replace("_", " ")
    if estimate.bits is None:
        return f"{estimate.model}, {estimate.task}, {texts}, {order}: {estimate.missing}"
    return (
        f"{estimate.model}, {estimate.task}, {texts}, {order}: {estimate.bits:.1f} bits, "
        f"standard error {estimate.standard_error:.1f}, of {estimate.count} texts; "
        f"{estimate.calls} calls"
    )
