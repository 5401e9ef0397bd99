"""The verbs ``report``: records -> table, figures and a page; and ``bounds``: the limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from parallelbench.cli.asked import FILE, INDEX, SEED, refuse_idle
from parallelbench.console.terminal import show, tell
from parallelbench.ranges import MOST_AT_A_TIME

if TYPE_CHECKING:
    from parallelbench.analysis.judging.engine_calibration import EngineCalibration
    from parallelbench.analysis.theory.limits import Caps, Limits
    from parallelbench.results.result import Result
    from parallelbench.run.rundir import RunDirectory
    from parallelbench.setting import Setting


@click.command(short_help="Print the results of runs and write their report.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report.  [default: RUN itself; report, of several]",
)
@click.option(
    "--separate",
    is_flag=True,
    help="A page for each group of runs that ask the same, whatever the others ask.",
)
@click.option(
    "--calibration",
    "calibrations",
    multiple=True,
    type=FILE,
    help="Labelled sentences that a grammar engine judged: its pass rates are corrected by them.",
)
@click.option(
    "--replays",
    type=click.FloatRange(min=0, min_open=True),
    help="Megabytes of replays in the page.  [default: 4, or what figures leave of 10]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON array.")
def report(  # noqa: PLR0913  each is an option
    runs: Sequence[Path],
    out: Path | None,
    calibrations: Sequence[Path],
    replays: float | None,
    *,
    separate: bool,
    as_json: bool,
) -> None:
    """Print the results of RUN, a run directory, and write its report; several are overlaid.

    The report is results.json, results.csv, figures/ and report.html, a page that stands
    alone.  A run that is not finished is reported as far as it is.  Several runs must have the
    same seed and the same versions of their tasks; a decode that two of them hold counts once.
    Pass rates of grammar engines are corrected by what is known of that release, from the file
    of --calibration (columns label, verdict and judge) or from the shipped calibration set.

    \b
    Examples:
      parallelbench report runs/3f2a9c1b7d04
      parallelbench report runs/llada runs/dream --out both
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.analysis.judging.engine_calibration import read_calibrations, refuse_unused
    from parallelbench.analysis.measures.joined_runs import JoinedRuns, open_apart, open_runs

    if separate and len(set(runs)) == 1:
        _refuse_separate(runs[0])
    if out is None and len(set(runs)) > 1:
        out = Path("report")
    if separate:
        groups = open_apart(runs)
    else:
        groups = [open_runs(runs, "give --separate for a page of each")]
    known = read_calibrations(calibrations, _tell)
    every: list[Result] = []
    for number, group in enumerate(groups, start=1):
        run = group[0]
        if out is not None:
            run = JoinedRuns.of(group, out if len(groups) == 1 else out / str(number))
        every += _report(run, known, replays, as_json=as_json)
    if as_json:
        from parallelbench.results.result import to_json

        tell(to_json(every), nl=False)
    refuse_unused(known, [engine for result in every for engine in result.engines.values()])


def _refuse_separate(run: Path) -> None:
    """Refuse --separate for one run, unless its tasks have changed since: else it is not opened."""
    from parallelbench.errors import RunFileError
    from parallelbench.run.rundir import RunDirectory

    try:
        RunDirectory.open(run)
    except RunFileError:
        return
    refuse_idle("a single run has a single page", "separate")


def _tell(sentence: str) -> None:
    tell(f"parallelbench: {sentence}", err=True)


def _report(
    run: RunDirectory,
    known: Mapping[str, EngineCalibration],
    replays: float | None,
    *,
    as_json: bool,
) -> Sequence[Result]:
    from parallelbench.analysis.measures.board_speeds import (
        agreement_table,
        agreements,
        board_speeds,
        board_table,
    )
    from parallelbench.analysis.report.page import cut_off, make_report, shortfall
    from parallelbench.analysis.report.sentences import result_sentences
    from parallelbench.analysis.report.table import tables
    from parallelbench.console.progress import shown
    from parallelbench.results.result import average_over_tasks

    most_bytes = None if replays is None else int(replays * 1e6)
    with shown(f"reading {run.path}") as progress:
        results, page = make_report(run, known, most_bytes, progress)
    if not as_json:
        averages = average_over_tasks(results)
        for model, of_model in tables(results, averages).items():
            told = result_sentences(model, results, averages)
            if told:
                tell(f"{model}: {' '.join(told)}")
            show(of_model)
        board = board_speeds(results, averages)
        if board:
            show(board_table(board))
        agreed = agreements(results)
        if agreed:
            show(agreement_table(agreed))
        for measured in run.throughput():
            tell(str(measured))
    missing = shortfall(run, results)
    if missing:
        tell(f"{run.path}: {missing}", err=as_json)
    cut = cut_off(results)
    if cut:
        tell(f"{run.path}: {cut}", err=as_json)
    tell(f"report: {page}", err=as_json)
    return results


_FIELD = click.IntRange(1, MOST_AT_A_TIME)
_CAP = click.IntRange(1, 1_000_000_000)
#: Options that only say something of one sample's law.
_OF_A_SAMPLE = (
    *("length", "size", "level", "index", "seed"),
    *("frontier", "max_answers", "max_positions", "max_choices"),
)


@click.command(short_help="Print what no decoder can beat on a sample of a task.")
@click.option("--task", "tasks", help="A task's name or setting, such as choices/city.")
@click.option("--length", type=_FIELD, help="The task's field length.")
@click.option("--size", type=_FIELD, help="The task's field size.")
@click.option(
    "--level",
    type=click.Choice(["item", "token"]),
    default="item",
    show_default=True,
    help="What is written at once: items, words and cells, or tokens.",
)
@click.option("--index", type=INDEX, default=0, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--frontier", is_flag=True, help="Also the least bits of adaptive policies.")
@click.option("--max-answers", type=_CAP, help="Most right answers listed.")
@click.option("--max-positions", type=click.IntRange(1, 64), help="Most, solved over all sets.")
@click.option("--max-choices", type=_CAP, help="Most, for exact policies.")
@click.option(
    "--paper",
    type=click.Choice(["table1", "figure2"]),
    help="Instead of a task: what the paper shows.",
)
@click.option(
    "--figure",
    type=click.Choice(["map", "speed_limits"]),
    help="Instead of a task: a picture of all of them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files of --paper and --figure.  [default: bounds]",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def bounds(  # noqa: PLR0913, PLR0917  each is an option
    tasks: str | None,
    length: int | None,
    size: int | None,
    level: Literal["item", "token"],
    index: int,
    seed: int,
    max_answers: int | None,
    max_positions: int | None,
    max_choices: int | None,
    paper: Literal["table1", "figure2"] | None,
    figure: Literal["map", "speed_limits"] | None,
    out: Path | None,
    *,
    frontier: bool,
    as_json: bool,
) -> None:
    """Print what nothing can beat on a sample of a task, from the law of its right answers.

    That is: the least number of bits that writing the answer in 1, 2, ... steps must cost,
    whatever the model, and the fewest expected steps without any error.

    \b
    Examples:
      parallelbench bounds --task list_operations/replace_random --length 10
      parallelbench bounds --task puzzles/latin_square:size=3 --level token --json
      parallelbench bounds --paper figure2 --out figures
      parallelbench bounds --figure speed_limits
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    if sum(asked is not None for asked in (tasks, paper, figure)) != 1:
        raise click.UsageError("bounds needs one of --task, --paper and --figure")
    if tasks is None:
        which = f"--paper {paper}" if figure is None else f"--figure {figure}"
        refuse_idle(f"{which} says what is drawn; they are for --task", *_OF_A_SAMPLE)
    else:
        refuse_idle("--task prints, and writes no file; it is for --paper and --figure", "out")
    if figure is not None:
        _show_landscape(figure, out or Path("bounds"), as_json=as_json)
        return
    if paper is not None:
        _show_paper(paper, out or Path("bounds"), as_json=as_json)
        return
    from parallelbench.analysis.theory.limits import Caps

    given = {"answers": max_answers, "positions": max_positions, "choices": max_choices}
    caps = Caps(**{name: cap for name, cap in given.items() if cap is not None})
    fields = {"length": length, "size": size}
    for name in fields:
        if f"{name}=" in str(tasks).partition(":")[2]:
            refuse_idle(f"--task {tasks} says it already", name)
    found = [
        _limits_of(setting, (seed, index), level, caps, frontier=frontier)
        for setting in _task_settings(
            str(tasks), {name: value for name, value in fields.items() if value is not None}
        )
    ]
    if as_json:
        told = [limits.as_dict() for limits in found]
        tell(json.dumps(told if len(told) > 1 else told[0], indent=1))
        return
    _show_limits(found)


def _task_settings(text: str, fields: Mapping[str, int]) -> list[Setting]:
    from parallelbench.registry import load_plugins
    from parallelbench.setting import make_setting, parse_settings
    from parallelbench.task import TASKS

    load_plugins()
    parsed = parse_settings(text, TASKS)
    return [make_setting(each.name, {**each.fields, **fields}, TASKS) for each in parsed]


def _limits_of(
    setting: Setting,
    seed_and_index: tuple[int, int],
    level: Literal["item", "token"],
    caps: Caps,
    *,
    frontier: bool,
) -> Limits:
    from parallelbench.analysis.theory.limits import find_limits, law_of_sample
    from parallelbench.run.recording import draw
    from parallelbench.setting import build
    from parallelbench.task import TASKS

    task = build(setting, TASKS)
    sample = draw(task, *seed_and_index)
    law = law_of_sample(task, sample, level, caps.answers)
    return find_limits(setting.label, sample, law, level, caps, frontier=frontier)


def _show_limits(found: Sequence[Limits]) -> None:
    from parallelbench.analysis.theory.limits import limits_sentences, limits_table

    for limits in found:
        tell(limits.task, bold=True)
        for sentence in limits_sentences(limits):
            tell(sentence)
        if limits.optimal_bits_by_steps and limits.entropy_bits > 0:
            show(limits_table(limits))


def _show_paper(what: Literal["table1", "figure2"], out: Path, *, as_json: bool) -> None:
    from parallelbench.analysis.figures import paper
    from parallelbench.analysis.figures.pictures import write_picture

    lines = paper.table_1() if what == "table1" else paper.figure_2()
    figure = paper.drawn_figure(lines) if what == "figure2" else None
    files = write_picture(what, lines, figure, out)
    if as_json:
        tell(json.dumps([line.as_dict() for line in lines], indent=1))
    elif what == "table1":
        show(paper.drawn_table(lines))
    for file in files:
        tell(str(file), err=as_json)


def _show_landscape(what: Literal["map", "speed_limits"], out: Path, *, as_json: bool) -> None:
    from parallelbench.analysis.figures import landscape
    from parallelbench.analysis.figures.pictures import write_picture

    if what == "map":
        places = landscape.dependence_map()
        files = write_picture(what, places, landscape.map_figure(places), out)
        told = [place.as_dict() for place in places]
    else:
        needed = landscape.speed_limits()
        files = write_picture(what, needed, landscape.limits_figure(needed), out)
        told = [row.as_dict() for row in needed]
    if as_json:
        tell(json.dumps(told, indent=1))
    for file in files:
        tell(str(file), err=as_json)
