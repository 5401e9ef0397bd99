"""The results of a run as tables for the terminal: one per model, grouped by task."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from parallelbench.analysis.measures import cells
from parallelbench.results.result import Result

#: Letters; the other columns take 48, so a terminal of 80 shows all of it.
_LABEL_WIDTH = 31
_NUMBERS = (
    "accuracy\n%",
    "95 %\ninterval",
    "tokens\n/ step",
    "answer\n/ step",
    "model\ncalls",
)


def table(results: Sequence[Result], averages: Sequence[Result]) -> Group:
    """Return one table per model: a section per task, then the average over tasks.

    Args:
        results: One result per (model, task, decoder setting).
        averages: One average per (model, decoder setting), as
            :func:`~parallelbench.results.result.average_over_tasks` makes them.  They are left
            out for a model with a single task, which would only be repeated.
    """
    return Group(*tables(results, averages).values())


def tables(results: Sequence[Result], averages: Sequence[Result]) -> dict[str, Table]:
    """Return the tables of :func:`table` by model."""
    models = dict.fromkeys(result.model for result in results)
    return {model: _table_of(model, results, averages) for model in models}


def _table_of(model: str, results: Sequence[Result], averages: Sequence[Result]) -> Table:
    drawn = Table(title=Text(model), title_justify="left", box=box.SIMPLE, padding=0)
    drawn.add_column("task\n decoder", min_width=_LABEL_WIDTH)
    for heading in _NUMBERS:
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("\ndecodes", min_width=8)
    sections = _by_task([result for result in results if result.model == model])
    for label, rows in sections.items():
        _add_section(drawn, label, rows)
    of_model = [average for average in averages if average.model == model]
    if len(sections) > 1 and of_model:
        _add_section(drawn, f"average over {len(sections)} tasks", of_model)
    return drawn


def _by_task(results: Sequence[Result]) -> dict[str, list[Result]]:
    sections: dict[str, list[Result]] = {}
    for result in results:
        sections.setdefault(result.task_label, []).append(result)
    return sections


def _add_section(drawn: Table, label: str, results: Sequence[Result]) -> None:
    drawn.add_row(Text(cells.folded(label, _LABEL_WIDTH), style="bold"))
    for result in results:
        drawn.add_row(
            Text(cells.folded(cells.decoder(result), _LABEL_WIDTH, indent=" ")),
            cells.percent(result.accuracy),
            cells.percent_range(result.interval),
            cells.number(result.tokens_per_step),
            cells.number(result.answer_tokens_per_step),
            cells.number(result.nfe, digits=1),
            cells.decodes(result),
        )
    drawn.add_section()
