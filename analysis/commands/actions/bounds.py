"""The work of the verb ``bounds``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from parallelbench.analysis.commands.actions.pictures import write_rows
from parallelbench.analysis.figures import growth, landscape, paper
from parallelbench.analysis.theory.limits import (
    Caps,
    Limits,
    find_limits,
    law_of_sample,
    limits_sentences,
    limits_table,
)
from parallelbench.analysis.theory.structured_limits import (
    StructuredLimits,
    find_structured_limits,
    structured_sentences,
    structured_table,
)
from parallelbench.cli.options import refuse_idle
from parallelbench.console.tables import show
from parallelbench.console.terminal import tell
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import Setting, build, make_setting, parse_settings
from parallelbench.task import TASKS

#: Options that only apply to one sample of a task.
_OF_A_SAMPLE = (
    *("length", "size", "level", "index", "seed"),
    *("frontier", "max_answers", "max_positions", "max_choices"),
)

#: Options that only apply to right answers that are listed.
_OF_LISTED_ANSWERS = ("level", "frontier", "max_answers", "max_positions", "max_choices")


#: Pictures of many tasks.
Figures = Literal["map", "speed_limits", "growth"]


@dataclass(frozen=True, kw_only=True)
class BoundsOptions:
    """The arguments of the verb ``bounds``; its help explains them."""

    task: str | None
    length: int | None
    size: int | None
    level: Literal["item", "token"]
    index: int
    seed: int
    max_answers: int | None
    max_positions: int | None
    max_choices: int | None
    paper: Literal["table1", "figure2"] | None
    figure: Figures | None
    out: Path | None
    frontier: bool
    as_json: bool

    @property
    def folder(self) -> Path:
        """The folder of a picture's files."""
        return self.out or Path("bounds")

    @property
    def caps(self) -> Caps:
        """The limits of the computation."""
        given = {
            "answers": self.max_answers,
            "positions": self.max_positions,
            "choices": self.max_choices,
        }
        return Caps(**{name: cap for name, cap in given.items() if cap is not None})


def bounds(options: BoundsOptions) -> None:
    """Print the limits of a sample, or draw a picture of many tasks."""
    if sum(each is not None for each in (options.task, options.paper, options.figure)) != 1:
        raise click.UsageError("bounds needs one of --task, --paper and --figure")
    if options.task is not None:
        refuse_idle("--task prints, and writes no file; it is for --paper and --figure", "out")
        _bound_task(options, options.task)
    elif options.paper is not None:
        refuse_idle(
            f"--paper {options.paper} says what is drawn; they are for --task", *_OF_A_SAMPLE
        )
        _draw_paper(options.paper, options)
    elif options.figure is not None:
        refuse_idle(
            f"--figure {options.figure} says what is drawn; they are for --task", *_OF_A_SAMPLE
        )
        _draw_landscape(options.figure, options)


def _bound_task(options: BoundsOptions, task: str) -> None:
    limits = [_found_limits(setting, options) for setting in _task_settings(options, task)]
    if options.as_json:
        entries = [each.as_dict() for each in limits]
        tell(json.dumps(entries if len(entries) > 1 else entries[0], indent=1))
    else:
        _show(limits)


def _task_settings(options: BoundsOptions, task: str) -> list[Setting]:
    fields = {"length": options.length, "size": options.size}
    for name in fields:
        if f"{name}=" in task.partition(":")[2]:
            refuse_idle(f"--task {task} says it already", name)
    given = {name: value for name, value in fields.items() if value is not None}
    load_plugins()
    parsed = parse_settings(task, TASKS)
    for each in parsed:
        _refuse_absent(each, given)
    return [make_setting(each.name, {**each.fields, **given}, TASKS) for each in parsed]


def _refuse_absent(setting: Setting, given: Mapping[str, int]) -> None:
    for name in given:
        if name not in setting.fields:
            raise click.UsageError(
                f"--{name} sets the task's field {name}, and task {setting.name!r} has none: leave "
                f"it out; its fields are {', '.join(setting.fields)}, written as "
                f"--task {setting.name}:FIELD=VALUE"
            )


def _found_limits(setting: Setting, options: BoundsOptions) -> Limits | StructuredLimits:
    task = build(setting, TASKS)
    sample = draw_sample(task, options.seed, options.index)
    if task.trellis(sample) is not None:
        refuse_idle(
            f"the right answers of {setting.name} are not listed; their limits are of tokens",
            *_OF_LISTED_ANSWERS,
        )
        return find_structured_limits(setting.label, task, sample, seed=options.seed)
    caps, level = options.caps, options.level
    law = law_of_sample(task, sample, level, caps.answers)
    return find_limits(setting.label, sample, law, level, caps, frontier=options.frontier)


def _show(found: Sequence[Limits | StructuredLimits]) -> None:
    for limits in found:
        tell(limits.task, bold=True)
        if isinstance(limits, StructuredLimits):
            for sentence in structured_sentences(limits):
                tell(sentence)
            if limits.schedules:
                show(structured_table(limits))
            continue
        for sentence in limits_sentences(limits):
            tell(sentence)
        if limits.optimal_bits_by_steps and limits.entropy_bits > 0:
            show(limits_table(limits))


def _draw_paper(name: Literal["table1", "figure2"], options: BoundsOptions) -> None:
    figure = None
    if name == "figure2":
        lines = paper.figure_2()
        figure = paper.drawn_figure(lines)
    else:
        lines = paper.table_1()
        if not options.as_json:
            show(paper.drawn_table(lines))
    write_rows(name, lines, figure, options.folder, as_json=options.as_json)


def _draw_landscape(name: Figures, options: BoundsOptions) -> None:
    if name == "map":
        places = landscape.dependence_map()
        figure = landscape.map_figure(places)
        write_rows(name, places, figure, options.folder, as_json=options.as_json)
    elif name == "speed_limits":
        needed = landscape.speed_limits()
        figure = landscape.limits_figure(needed)
        write_rows(name, needed, figure, options.folder, as_json=options.as_json)
    else:
        points = growth.growth_points()
        figure = growth.growth_figure(points)
        write_rows(name, points, figure, options.folder, as_json=options.as_json)
        tell(growth.growth_caption(points), err=options.as_json)
