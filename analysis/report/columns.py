"""The columns of the tables of results, declared once: key, heading, explanation, cell.

The pages' tables, their headings' explanations and their glossary are all made from this list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from parallelbench.analysis.measures import cells
from parallelbench.analysis.measures.derived_figures import DerivedFigures
from parallelbench.analysis.measures.losses import Loss
from parallelbench.analysis.measures.oracle_efficiency import DEFINITION, PERCENT
from parallelbench.analysis.measures.speed import SpeedEstimate
from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result

#: A cell's text, or its interval's, of a result and what stands beside it.
Cell = Callable[[Result, DerivedFigures], str]


class Column(NamedTuple):
    """One column.

    Attributes:
        key: Name in the address of a page; never changes.
        heading: Words above the column.
        explanation: Definition in plain text, shown where the heading is pointed at.
        cell: Text of a cell.
        interval: Text of the 95 % interval below it; None for a column without intervals.
        text: True if its cells are words, not numbers.
        fixed: True if a reader cannot hide it.
        optional: True if it is hidden until a reader asks for it.
    """

    key: str
    heading: str
    explanation: str
    cell: Cell
    interval: Cell | None = None
    text: bool = False
    fixed: bool = False
    optional: bool = False


def _efficiency(result: Result, aside: DerivedFigures) -> SpeedEstimate | None:
    return aside.efficiency.get((result.model, result.task_label, result.decoder_label))


def _efficiency_cell(result: Result, aside: DerivedFigures) -> str:
    found = _efficiency(result, aside)
    return cells.number(found.value if found else None)


def _efficiency_interval(result: Result, aside: DerivedFigures) -> str:
    found = _efficiency(result, aside)
    if found is None:
        return cells.ABSENT
    return cells.range_if_reached(found.interval, found.reached, PERCENT)


def _loss_cell(part: Callable[[Loss], float | None]) -> Cell:
    def cell(result: Result, aside: DerivedFigures) -> str:
        found = aside.losses.get((result.model, result.task_label, result.decoder_label))
        return cells.percent(part(found) if found else None)

    return cell


def _percent_interval(of: Callable[[Result], Interval | None]) -> Cell:
    return lambda result, _: cells.percent_range(of(result))


COLUMNS = (
    Column(
        "accuracy",
        "accuracy %",
        "Share of right answers, where the answer may stand anywhere in the reply (the lenient "
        "reading): prose, quotes or numbering around it are forgiven, a wrong answer never. A "
        "sample's repeats are averaged first, then the samples.",
        lambda result, _: cells.percent(result.accuracy),
        _percent_interval(lambda result: result.interval),
        fixed=True,
    ),
    Column(
        "tokens",
        "tokens per step",
        "Canvas tokens divided by model calls, mean over samples; 1 for one token per step.",
        lambda result, _: cells.number(result.tokens_per_step),
        lambda result, _: cells.number_range(result.tokens_per_step_interval),
        fixed=True,
    ),
    Column(
        "calls",
        "model calls",
        "Model calls of a decode, mean over samples.",
        lambda result, _: cells.number(result.nfe, 1),
        fixed=True,
    ),
    Column(
        "pooled",
        "pooled tokens per step",
        "Canvas tokens of all samples divided by their model calls, with the sample weights of "
        "the accuracy: a few very fast samples raise it little. Oracle efficiency and boards "
        "compare these.",
        lambda result, _: cells.number(result.pooled_tokens_per_step),
        lambda result, _: cells.number_range(result.pooled_tokens_per_step_interval),
    ),
    Column(
        "answer",
        "answer tokens per step",
        "Tokens before the first end-of-text, divided by model calls: the useful tokens per call.",
        lambda result, _: cells.number(result.answer_tokens_per_step),
    ),
    Column(
        "efficiency",
        "oracle efficiency",
        f"{DEFINITION} The oracle is label (for the ideal model information) where the run "
        "has one, else the best choice of a setting for each sample, made afterwards among all "
        "settings of the run.",
        _efficiency_cell,
        _efficiency_interval,
    ),
    Column(
        "law",
        "lost to the task %",
        "First part of the lost accuracy: the loss of the ideal model with the same decoder. It "
        "comes from the dependence between the tokens of the task's answers, and no training "
        "regains it. Needs the ideal model in the run.",
        _loss_cell(lambda loss: loss.law),
    ),
    Column(
        "scheduler",
        "lost to the scheduler %",
        "Second part of the lost accuracy: the part of the rest that the label oracle regains from "
        "the same model by a better choice of positions. Needs the decoder label in the run.",
        _loss_cell(lambda loss: loss.scheduler),
    ),
    Column(
        "model",
        "lost to the model %",
        "Third part of the lost accuracy: the rest, after the parts of task and scheduler. "
        "Needs the decoder label in the run.",
        _loss_cell(lambda loss: loss.model),
    ),
    Column(
        "strict",
        "strict accuracy %",
        "Share of replies that are a right answer in exactly the form that was asked for.",
        lambda result, _: cells.percent(result.accuracy_strict),
        _percent_interval(lambda result: result.interval_strict),
        optional=True,
    ),
    Column(
        "samples",
        "samples",
        "Distinct samples that were marked.",
        lambda result, _: str(result.samples),
    ),
    Column(
        "decodes",
        "decodes",
        "How all decodes ended: ok; stalled, stopped when the budget of steps was spent; "
        "unfinished, ended by the decoder with open positions. Both of these count as wrong. An "
        "error is not counted at all.",
        lambda result, _: cells.decodes(result),
        text=True,
    ),
    Column(
        "off-law",
        "calls after the loss %",
        "Share of the model calls that were made after no right answer fitted the canvas any more, "
        "so that the answer was lost before. Needs a model that knows the answer distribution.",
        lambda result, _: cells.percent(result.off_law_share),
        optional=True,
    ),
    Column(
        "problems",
        "why wrong",
        "Why answers were wrong, with the number of decodes, most frequent first.",
        lambda result, _: cells.problems(result),
        text=True,
    ),
)

#: Columns that need nothing but a result, for pages without a whole run beside it.
PLAIN_COLUMNS = tuple(
    column
    for column in COLUMNS
    if column.key not in ("efficiency", "law", "scheduler", "model", "strict", "off-law")
)
