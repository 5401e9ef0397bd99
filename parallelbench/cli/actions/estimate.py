"""The work of the verb ``estimate``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import click
from rich import box
from rich.table import Table
from rich.text import Text

from parallelbench.cli.actions.requested import refuse_idle_with_servers, runfile_of
from parallelbench.cli.options import RunRequest
from parallelbench.console.tables import new_console, show
from parallelbench.console.terminal import tell, warn
from parallelbench.model import MODELS
from parallelbench.run import calibration
from parallelbench.run.calibration import Batch
from parallelbench.run.estimate import ExpectedTotal, ModelCost, cost_of, sum_of_totals
from parallelbench.run.runfile import RunFile
from parallelbench.run.runner import prepare

#: Letters; the other columns of the wider table take 49, so a terminal of 80 shows it.
_LABEL_WIDTH = 31


def estimate(request: RunRequest, batch_size: int, seconds: float, *, as_json: bool) -> None:
    """Calibrate on some samples of the run for ``seconds``, and print the estimated cost."""
    plan = runfile_of(request)
    refuse_idle_with_servers(plan, "batch_size", "seconds")
    batches: dict[str, list[Batch]] = {setting.label: [] for setting in plan.models}
    interrupted = False
    try:
        _calibrate(plan, seconds, batch_size, batches)
    except KeyboardInterrupt:
        interrupted = True
    costs = [
        cost_of(plan, model, batches[model.label], batch_size=batch_size) for model in plan.models
    ]
    if as_json:
        tell(json.dumps(_as_dict(plan, costs), indent=1))
    else:
        _show(plan, costs)
    if interrupted:
        warn("interrupted; this is what was known by then")
        click.get_current_context().exit(130)


def _calibrate(
    plan: RunFile, seconds: float, batch_size: int, batches: dict[str, list[Batch]]
) -> None:
    """Put what is seen of each model that decodes here into ``batches``, as it is seen."""
    here = tuple(model for model in plan.models if not MODELS[model.name].serves)
    parts = prepare(replace(plan, models=here))
    end = time.perf_counter() + seconds
    for place, (setting, model) in enumerate(parts.models):
        share = max(0.0, end - time.perf_counter()) / (len(here) - place)
        tell(f"{setting.label}: decoding samples for up to {_time(share)}", err=True)
        found = calibration.calibrate(
            replace(plan, models=(setting,)),
            parts._replace(models=[(setting, model)]),
            seconds=share,
            batch_size=batch_size,
        )
        for batch in found:
            batches[setting.label].append(batch)


def _as_dict(plan: RunFile, costs: Sequence[ModelCost]) -> dict[str, object]:
    time_of_all = _time_of_all(costs)
    return {
        "decodes": plan.decodes,
        "seconds": None if time_of_all is None else time_of_all.as_dict(),
        "models": [cost.as_dict() for cost in costs],
    }


def _time_of_all(costs: Sequence[ModelCost]) -> ExpectedTotal | None:
    """Return the time of all models, with tasks not seen taken as the mean of the others.

    Returns:
        None if no task of some model was seen.
    """
    known = [cost.assumed.seconds for cost in costs if cost.assumed is not None]
    return sum_of_totals(known) if len(known) == len(costs) else None


def _show(plan: RunFile, costs: Sequence[ModelCost]) -> None:
    console = new_console()
    models = sum(cost.requests is None for cost in costs)
    for cost in costs:
        tell(cost.model, bold=True)
        if cost.seen is not None:
            show(_tasks(cost), console)
            show(_decoders(cost), console)
        for sentence in _sentences(cost, models):
            tell(sentence)
        tell()
    tell(f"all of the run: {plan.decodes:,} decodes, {_told_time(_time_of_all(costs))}")
    if any(cost.unseen for cost in costs) and _time_of_all(costs) is not None:
        tell("(if the tasks that were not reached cost as much as the others)")


def _tasks(cost: ModelCost) -> Table:
    drawn = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    drawn.add_column("task", min_width=_LABEL_WIDTH, overflow="fold")
    for heading in ("samples\nseen", "model\ncalls", "rows\nsent", "tokens", "time"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for task in cost.tasks:
        numbers = ["unknown"] * 4
        if task.cost is not None:
            counts = (task.cost.calls, task.cost.rows_sent, task.cost.positions)
            numbers = [*map(_count, counts), _time(task.cost.seconds.value)]
        drawn.add_row(Text(task.task), f"{task.seen}", *numbers)
    if cost.seen is not None:
        seen = cost.seen
        counts = (seen.calls, seen.rows_sent, seen.positions)
        known = len(cost.tasks) - len(cost.unseen)
        drawn.add_section()
        drawn.add_row(
            f"{known} of {len(cost.tasks)} tasks",
            f"{sum(task.seen for task in cost.tasks)}",
            *map(_count, counts),
            _time(seen.seconds.value),
        )
    return drawn


def _decoders(cost: ModelCost) -> Table:
    drawn = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    drawn.add_column("decoder", min_width=_LABEL_WIDTH, overflow="fold")
    for heading in ("calls\na decode", "model\ncalls", "95 %\ninterval"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for each in cost.decoders:
        if each.calls is None:
            continue
        drawn.add_row(
            Text(each.decoder),
            f"{each.calls.value / each.decodes:.1f}",
            _count(each.calls),
            _range(each.calls),
        )
    return drawn


def _sentences(cost: ModelCost, models: int) -> list[str]:
    """Return the sentences below the tables; ``models`` share the time of the calibration."""
    if cost.requests is not None:
        asked = f"{cost.requests:,} requests: a server decodes by itself, so calls and time are"
        return [f"{asked} unknown; nothing was sent to it"]
    if cost.needed is not None:
        return [_too_short(cost, cost.needed, models)]
    sentences = []
    if cost.seen is not None:
        rows = cost.seen.rows_asked.value
        share = 100 * cost.seen.rows_sent.value / rows if rows else 100.0
        sentences += [
            f"{share:.0f} % of the rows that decodes ask for are sent: equal rows are sent once",
            f"{_told_time(cost.seen.seconds)}; loading the model and the report come on top",
        ]
    seen, samples = (
        sum(getattr(task, name) for task in cost.tasks) for name in ("seen", "samples")
    )
    sentences.append(
        f"{seen:,} of {samples:,} samples ({100 * seen / samples:.1f} %) were decoded, "
        f"in {_time(cost.calibrated)}; ~ marks what is extrapolated from them"
    )
    if any(task.seen == 1 < task.samples for task in cost.tasks):
        sentences.append(
            "samples differ, and tasks were seen once, so there is no interval for all"
        )
    if cost.unseen:
        sentences.append(
            f"not reached in this time, so not in these sums: {', '.join(cost.unseen)}; "
            "give more --seconds"
        )
    if cost.errors:
        sentences.append(
            f"{len(cost.errors)} decodes ended in an error; the first: {cost.errors[0]}"
        )
    return sentences


def _too_short(cost: ModelCost, needed: float, models: int) -> str:
    """Return the sentence for a time in which no sample was finished."""
    one, each = (math.ceil(models * needed * tasks) for tasks in (1, len(cost.tasks)))
    shared = f", as {models} models share the time" if models > 1 else ""
    every = f", and about {each:,} for a sample of each task" if len(cost.tasks) > 1 else ""
    return (
        f"no sample was finished, so the cost is unknown: the first takes about {_time(needed)} "
        f"with all decoders; give at least --seconds {one}{every}{shared}"
    )


def _told_time(seconds: ExpectedTotal | None) -> str:
    if seconds is None:
        return "how long it takes is unknown"
    interval = seconds.interval
    within = "" if interval is None else f" ({_time(interval.low)} to {_time(interval.high)})"
    return f"about {_time(seconds.value)}{within} on this machine"


def _count(expected: ExpectedTotal) -> str:
    return f"{expected.value:,.0f}" if expected.exact else f"~{_short(expected.value)}"


def _range(expected: ExpectedTotal) -> str:
    interval = expected.interval
    if expected.exact:
        return "exact"
    if interval is None:
        return "unknown"
    return f"{_short(interval.low)} to {_short(interval.high)}"


def _short(value: float) -> str:
    """Return a count in at least three digits."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            part = value / min(size, 1e3 if letter == "k" else size)
            return f"{part:.{max(0, 2 - int(math.log10(part)))}f}{letter}"
    return f"{value:,.0f}"


def _time(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    for limit, size, name in ((10, 1, "s"), (100, 1, "s"), (6000, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.{1 if limit in (10, 172800) else 0}f} {name}"
    return f"{seconds / 86400:.1f} days"
