"""The work of the verbs ``run`` and ``merge``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import click

from parallelbench.cli.actions.requested import (
    is_first_look,
    refuse_idle_with_servers,
    runfile_of,
)
from parallelbench.cli.actions.runs import RUNS
from parallelbench.cli.options import RunRequest, refuse_idle
from parallelbench.console.progress import ProgressDisplay, shown
from parallelbench.console.terminal import tell, warn
from parallelbench.model import MODELS
from parallelbench.record import Record
from parallelbench.results.result import summarize
from parallelbench.run import merge as merging
from parallelbench.run import runner
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile
from parallelbench.run.shard import Shard
from parallelbench.run.tracking import Tracking, tracking
from parallelbench.setting import build
from parallelbench.task import TASKS

#: Valid names of runs: plain folder names on every system.
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of the verb ``run``; its help explains them."""

    request: RunRequest
    out: Path | None
    name: str | None
    extend: Path | None
    batch_size: int
    shard: str | None
    executor: Literal["local", "ray"]
    workers: int | None
    ray_address: str | None
    trackers: Sequence[str]
    as_json: bool

    @cached_property
    def part(self) -> Shard | None:
        """The shard; None for the whole run."""
        return Shard.parse(self.shard) if self.shard else None

    def folder(self, runfile: RunFile) -> Path:
        """Return the run directory.

        Raises:
            click.UsageError: ``name`` is no name of a run.
        """
        if self.extend or self.out:
            return self.extend or self.out or RUNS
        if self.name is not None and not _RUN_NAME.fullmatch(self.name):
            raise click.UsageError(
                f"--name {self.name!r}: a name has up to 100 letters, digits, dots, hyphens and "
                "underscores, and begins with a letter or digit; --out takes any folder"
            )
        suffix = f"-shard-{self.part.index}-of-{self.part.count}" if self.part else ""
        return RUNS / f"{self.name or runfile.digest[:12]}{suffix}"


@dataclass
class _Recorder:
    """Counts the decodes of a run, and passes the count to whatever shows it.

    Attributes:
        total: Number of decodes of the run directory.
        folder: The run directory.
        recorded: Number of decodes that are recorded.
        failed: Records that ended in an error.
    """

    total: int
    folder: Path
    recorded: int = 0
    failed: list[Record] = field(default_factory=list)

    def progress(
        self, progress: ProgressDisplay, trackers: Tracking
    ) -> Callable[[runner.RunProgress], None]:
        """Return a callback for :func:`parallelbench.run.runner.run`."""
        reach = runner.following(progress, self.total)
        first = not sys.stderr.isatty()

        def advance(reached: runner.RunProgress) -> None:
            nonlocal first
            count = reached.recorded
            if first:
                self._announce(count)
            first = False
            self.recorded = count
            reach(reached)
            trackers.progress(count)

        return advance

    def _announce(self, count: int) -> None:
        """Print how much there is to decode, for logs, which show no bar."""
        before = f", {count} recorded before" if count else ""
        nothing = ": nothing is left to decode" if count == self.total else ""
        tell(f"{self.total} decodes into {self.folder}{before}{nothing}", err=True)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """End with status 130 on an interrupt, and say whether the run has records."""
        try:
            yield
        except (KeyboardInterrupt, click.Abort):
            kept = "every finished decode is recorded, and the same command continues the run"
            warn(f"interrupted; {kept if self.recorded else 'no decode was finished'}")
            click.get_current_context().exit(130)


def run(options: RunOptions) -> None:
    """Run the benchmark, report it, and exit with status 1 if decodes failed."""
    runfile = runfile_of(options.request, options.extend)
    _refuse_idle(options, runfile)
    folder = options.folder(runfile)
    recorder = _Recorder(RunDirectory(folder, runfile, options.part).decodes, folder)
    for remark in _model_remarks(runfile):
        warn(remark)
    with recorder.interruptible(), tracking(options.trackers, runfile, warn) as trackers:
        directory = _decode(options, runfile, recorder, trackers)
        report_run(folder, as_json=options.as_json)
        if options.trackers:
            trackers.results(summarize(directory.records()), recorder.total)
    if is_first_look(options.request, options.extend):
        tell(
            f"this was a first look, with {runfile.samples} samples of {len(runfile.tasks)} tasks; "
            "every task, 100 samples and 35 settings: parallelbench run sweep --model mini",
            err=True,
        )
    if recorder.failed:
        warn(
            f"{len(recorder.failed)} of {recorder.total} decodes ended in an error and are not "
            f"counted; the first: {recorder.failed[0].error}; the same command tries them again"
        )
        click.get_current_context().exit(1)


def merge(shards: Sequence[Path], out: Path, *, as_json: bool) -> None:
    """Join the run directories ``shards`` into ``out``, and report the joined run."""
    with shown(f"merging {len(shards)} shards into {out}"):
        merged = merging.merge(shards, out)
    if merged.duplicates:
        tell(f"{merged.duplicates} records stood in several shards, alike", err=True)
    report_run(out, as_json=as_json)


def report_run(folder: Path, *, as_json: bool) -> None:
    """Report a run, if the verb ``report`` is installed."""
    context = click.get_current_context()
    group = context.find_root().command
    report = group.get_command(context, "report") if isinstance(group, click.Group) else None
    if report is not None:
        context.invoke(report, runs=(folder,), as_json=as_json)


def _refuse_idle(options: RunOptions, runfile: RunFile) -> None:
    refuse_idle_with_servers(runfile, "batch_size")
    if options.extend is not None:
        because = f"--extend {options.extend} adds to that run, to all of its samples"
        refuse_idle(because, "out", "name", "shard")
    if options.out is not None:
        refuse_idle(f"the run goes into --out {options.out}", "name")


def _decode(
    options: RunOptions, runfile: RunFile, recorder: _Recorder, trackers: Tracking
) -> RunDirectory:
    with shown(runner.loading(runfile)) as progress:
        return runner.run(
            runfile,
            recorder.folder,
            batch_size=options.batch_size,
            shard=options.part,
            extend=options.extend is not None,
            executor=_executor(options),
            progress=recorder.progress(progress, trackers),
            failed=recorder.failed.append,
        )


def _executor(options: RunOptions) -> runner.Executor:
    if options.executor == "ray":
        # Ray is an optional dependency.
        from parallelbench.run.cluster import on_ray

        return on_ray(workers=options.workers, address=options.ray_address)
    for option, value in (
        ("--workers", options.workers),
        ("--ray-address", options.ray_address),
    ):
        if value is not None:
            raise click.UsageError(f"{option} {value} is for --executor ray")
    return runner.local


def _model_remarks(runfile: RunFile) -> Iterator[str]:
    kinds = {setting.name: TASKS[setting.name] for setting in runfile.tasks}
    for setting in runfile.models:
        remark = build(setting, MODELS).remark(kinds.values())
        if remark is not None:
            yield remark
