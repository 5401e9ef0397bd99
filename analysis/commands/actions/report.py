"""The work of the verb ``report``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parallelbench.analysis.judging.engine_calibration import (
    EngineCalibration,
    read_calibrations,
    refuse_unused,
)
from parallelbench.analysis.measures.board_speeds import (
    agreement_table,
    agreements,
    board_speeds,
    board_table,
)
from parallelbench.analysis.measures.joined_runs import JoinedRuns, open_apart, open_runs
from parallelbench.analysis.report.page import cut_off, make_report, shortfall
from parallelbench.analysis.report.sentences import result_sentences
from parallelbench.analysis.report.table import tables
from parallelbench.cli.options import refuse_idle
from parallelbench.console.progress import shown
from parallelbench.console.tables import show
from parallelbench.console.terminal import tell, warn
from parallelbench.errors import RunFileError
from parallelbench.results.result import Result, average_over_tasks, to_json
from parallelbench.run.rundir import RunDirectory


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The arguments of the verb ``report``; its help explains them."""

    runs: Sequence[Path]
    out: Path | None
    separate: bool
    calibrations: Sequence[Path]
    replays: float | None
    as_json: bool


def report(options: ReportOptions) -> None:
    """Print the results of runs, and write their reports."""
    known = read_calibrations(options.calibrations, warn)
    results: list[Result] = []
    for run in _reported(options):
        results += _report(run, known, options)
    if options.as_json:
        tell(to_json(results), nl=False)
    refuse_unused(known, [engine for result in results for engine in result.engines.values()])


def _reported(options: ReportOptions) -> list[RunDirectory]:
    """Return one run directory per report: a run, or several overlaid."""
    runs, out = options.runs, options.out
    if options.separate and len(set(runs)) == 1:
        _refuse_separate(runs[0])
    if out is None and len(set(runs)) > 1:
        out = Path("report")
    if options.separate:
        groups = open_apart(runs)
    else:
        groups = [open_runs(runs, "give --separate for a page of each")]
    if out is None:
        return [group[0] for group in groups]
    folders = [out] if len(groups) == 1 else [out / str(n + 1) for n in range(len(groups))]
    return [JoinedRuns.of(group, folder) for group, folder in zip(groups, folders, strict=True)]


def _refuse_separate(run: Path) -> None:
    """Refuse --separate for one run, unless its tasks have changed since: else it is not opened."""
    try:
        RunDirectory.open(run)
    except RunFileError:
        return
    refuse_idle("a single run has a single page", "separate")


def _report(
    run: RunDirectory, known: Mapping[str, EngineCalibration], options: ReportOptions
) -> Sequence[Result]:
    most_bytes = None if options.replays is None else int(options.replays * 1e6)
    with shown(f"reading {run.path}") as progress:
        results, page = make_report(run, known, most_bytes, progress)
    if not options.as_json:
        _show(run, results)
    for remark in (shortfall(run, results), cut_off(results)):
        if remark:
            tell(f"{run.path}: {remark}", err=options.as_json)
    tell(f"report: {page}", err=options.as_json)
    return results


def _show(run: RunDirectory, results: Sequence[Result]) -> None:
    averages = average_over_tasks(results)
    for model, table in tables(results, averages).items():
        sentences = result_sentences(model, results, averages)
        if sentences:
            tell(f"{model}: {' '.join(sentences)}")
        show(table)
    board = board_speeds(results, averages)
    if board:
        show(board_table(board))
    agreed = agreements(results)
    if agreed:
        show(agreement_table(agreed))
    for measured in run.throughput():
        tell(str(measured))
