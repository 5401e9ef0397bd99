"""The work of the verb ``runs``: the run directories below a folder with their states."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from parallelbench.console.tables import show
from parallelbench.console.terminal import tell
from parallelbench.errors import RequestError
from parallelbench.run.rundir import RunDirectory

#: Folder of the runs whose directory the user did not name.
RUNS = Path("runs")
#: Names that a cell of the table shows.
_SHOWN = 3


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
        folder: The run directory.
        state: ``complete``, ``running``, ``errors`` (all is recorded, but some decodes ended in
            an error), ``interrupted`` or ``unreadable``.
        started: ISO time of its first start; None if that was not noted.
        models: Labels of its models.
        tasks: Labels of its tasks.
        decoders: Number of its decoder settings.
        samples: Samples of each task in this folder.
        decodes: Number of decodes that it asks for.
        done: Number of decodes that are recorded without an error.
        errors: Number of decodes that ended in an error.
        shard: Shard of a run, such as ``2/4``; None for the whole.
        extended: Number of times the run was extended.
        problem: Reason why it cannot be read; None if it can.
    """

    folder: str
    state: Literal["complete", "running", "errors", "interrupted", "unreadable"]
    started: str | None = None
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    decoders: int | None = None
    samples: int | None = None
    decodes: int | None = None
    done: int | None = None
    errors: int | None = None
    shard: str | None = None
    extended: int | None = None
    problem: str | None = None


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield the run directories in ``folder`` or below it; a run is not searched for others."""
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if "run.yaml" in files:
            below.clear()
            yield Path(place)


def summary_of(folder: Path) -> RunSummary:
    """Return the summary of the run in ``folder``, also if it cannot be read."""
    try:
        # Tasks may have changed since.
        directory = RunDirectory.open(folder, any_version=True)
        done, errors = directory.count()
        starts = directory.environments()
        extended = len(directory.history())
        going_on = directory.is_going_on()
    except RequestError as error:
        return RunSummary(str(folder), "unreadable", problem=str(error))
    # Imported replies are in no run file.
    decodes = max(directory.decodes, done)
    missing = decodes - done
    ended: Literal["errors", "interrupted"] = "errors" if errors == missing else "interrupted"
    return RunSummary(
        folder=str(folder),
        state="running" if going_on else ended if missing else "complete",
        started=next((start["started"] for start in starts if "started" in start), None),
        models=tuple(setting.label for setting in directory.runfile.models),
        tasks=tuple(setting.label for setting in directory.runfile.tasks),
        decoders=len(directory.runfile.decoders),
        samples=len(directory.samples),
        decodes=decodes,
        done=done,
        errors=errors,
        shard=None if directory.shard is None else str(directory.shard),
        extended=extended,
    )


def list_runs(folders: Sequence[Path], *, as_json: bool) -> None:
    """Print the runs in ``folders`` or below them, the oldest first."""
    found = {path.resolve(): path for folder in folders or (RUNS,) for path in find_runs(folder)}
    summaries = sorted(
        (summary_of(path) for path in found.values()),
        key=lambda each: (each.started or "", each.folder),
    )
    if as_json:
        tell(json.dumps([asdict(each) for each in summaries], indent=1))
        return
    if not summaries:
        where = ", ".join(str(folder) for folder in folders or (RUNS,))
        tell(f"no run in {where}; parallelbench run makes one, --name NAME in runs/NAME")
        return

    show(_table(summaries))
    for each in summaries:
        if each.problem is not None:
            tell(f"{each.folder} is unreadable: {' '.join(each.problem.split())}")


def _table(summaries: Iterable[RunSummary]) -> Table:
    drawn = Table(box=box.SIMPLE, padding=0)
    drawn.add_column("run", overflow="fold")
    for heading in ("started", "state", "done"):
        drawn.add_column(heading, no_wrap=True)
    for heading in ("models", "tasks"):
        drawn.add_column(heading, overflow="fold", min_width=12)
    for each in summaries:
        started = "" if each.started is None else each.started[:16].replace("T", " ")
        done = "" if each.done is None else f"{each.done:,}/{each.decodes:,}"
        cells = (each.folder, started, each.state, done, *map(_names, (each.models, each.tasks)))
        drawn.add_row(*map(Text, cells))
    return drawn


def _names(labels: Sequence[Any]) -> str:
    more = len(labels) - _SHOWN
    shown = labels[:_SHOWN] if more > 1 else labels
    return ", ".join(shown) + (f" and {more} more" if more > 1 else "")
