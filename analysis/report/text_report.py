"""Free text in a report: every score, and pass rates corrected for the errors of their judges.

Tasks whose replies are marked by engines, or by the original benchmark's rules, have a table of
the parts of their marks.  Where one is the verdict of a grammar engine whose error rates are
known, the corrected rate stands beside the rate as judged; where they are not, the page says so,
and there is no corrected rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from parallelbench.analysis.judging.engine_calibration import EngineCalibration
from parallelbench.analysis.judging.judges import CorrectedRate, JudgeError, corrected_rate
from parallelbench.analysis.measures import cells
from parallelbench.analysis.measures.text_dependence import TaskDependence, estimates_of_models
from parallelbench.results.intervals import Estimate
from parallelbench.results.result import Result

#: A model's label and a task's.
Place = tuple[str, str]

#: The part of the marks that a grammar engine gives; behind an @ may stand which one.
_GRAMMAR = "grammar"


class ScoreRow(NamedTuple):
    """One decoder setting.

    Attributes:
        result: Result with its parts.
        corrected: Grammar, corrected for the errors of the engine; None if that cannot be.
    """

    result: Result
    corrected: CorrectedRate | None


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The parts of the marks of one task by one model.

    Attributes:
        engines: Version of the engine of each score that is not marked by our own rules.
        names: Names of the parts, the headline first.
        grammar: The one of them that is a grammar engine's verdict; None if there is none.
        known: Error rates of that engine; None if they are not known, or cannot correct.
        told: Sentences about what is corrected, or why nothing is.
        rows: One for each decoder setting.
    """

    engines: Mapping[str, str]
    names: Sequence[str]
    grammar: str | None
    known: EngineCalibration | None
    told: Sequence[str]
    rows: Sequence[ScoreRow]

    @property
    def judge(self) -> str | None:
        """The grammar engine and its release."""
        return None if self.grammar is None else self.engines.get(self.grammar)


@dataclass(frozen=True, slots=True)
class TextReport:
    """Scores and dependence of free text, by model and task.

    Attributes:
        scores: The parts of the marks.
        dependence: Estimates of how the tokens of a reply depend on each other.
        missing: Why there are estimates that are not shown; None if all are.
    """

    scores: Mapping[Place, ScoreTable] = field(default_factory=dict)
    dependence: Mapping[Place, Sequence[TaskDependence]] = field(default_factory=dict)
    missing: str | None = None


def text_report(
    results: Sequence[Result],
    known: Mapping[str, EngineCalibration],
    estimates: Sequence[TaskDependence],
    digests: Mapping[str, str],
) -> TextReport:
    """Return scores and dependence of free text.

    Args:
        results: One result per (model, task, decoder setting), marked or not.
        known: Calibrations, by engine and release.
        estimates: Estimates of dependence, by any model.
        digests: Digest of each model that made the run's records, by its label.
    """
    own, missing = estimates_of_models(estimates, digests)
    dependence: dict[Place, list[TaskDependence]] = {}
    for each in own:
        dependence.setdefault((each.model, each.task), []).append(each)
    return TextReport(score_tables(results, known), dependence, missing)


def score_tables(
    results: Sequence[Result], known: Mapping[str, EngineCalibration]
) -> dict[Place, ScoreTable]:
    """Return the tables of all tasks that have one.

    Args:
        results: One result per (model, task, decoder setting), marked or not.
        known: Calibrations, by engine and release.
    """
    groups: dict[Place, list[Result]] = {}
    for result in results:
        if result.parts and (result.engines or "original" in result.parts):
            groups.setdefault((result.model, result.task_label), []).append(result)
    return {place: _table(own, known) for place, own in groups.items()}


def judged_rates(tables: Mapping[Place, ScoreTable]) -> list[dict[str, Any]]:
    """Return every rate, as judged and corrected, with what is known of its judge."""
    return [
        {
            "model": model,
            "task": task,
            "decoder": row.result.decoder_label,
            "judge": table.judge,
            **_rates(table, row),
        }
        for (model, task), table in tables.items()
        for row in table.rows
        if table.grammar in row.result.parts
    ]


def _table(results: Sequence[Result], known: Mapping[str, EngineCalibration]) -> ScoreTable:
    engines = results[0].engines
    names = list(dict.fromkeys(name for result in results for name in result.parts))
    grammar = next((name for name in names if name.partition("@")[0] == _GRAMMAR), None)
    judge = None if grammar is None else engines.get(grammar)
    rows = [ScoreRow(result, None) for result in results]
    if grammar is None or judge is None:
        return ScoreTable(engines, names, grammar, None, (), rows)
    if judge not in known:
        return ScoreTable(engines, names, grammar, None, _unknown(judge), rows)
    try:
        corrected = [ScoreRow(each, _corrected(each, grammar, known[judge])) for each in results]
    except JudgeError as error:
        return ScoreTable(engines, names, grammar, None, (f"Not corrected: {error}.",), rows)
    return ScoreTable(engines, names, grammar, known[judge], _told(judge, known[judge]), corrected)


def _corrected(result: Result, grammar: str, known: EngineCalibration) -> CorrectedRate | None:
    part = result.parts.get(grammar)
    if part is None:
        return None
    # Repeats of a sample are alike: samples are counted, each by the share of its repeats.
    passed = min(part.value * part.samples, float(part.samples))
    return corrected_rate(passed=passed, count=part.samples, calibration=known.calibration)


def _unknown(judge: str) -> tuple[str, ...]:
    told = (
        f"Grammar is as judged and not corrected: how often {judge} errs is not known here. "
        "Judge labelled sentences with it (parallelbench judge --sentences FILE.csv writes some), "
        "and give them to parallelbench report RUN --calibration FILE.csv."
    )
    return (told,)


def _told(judge: str, known: EngineCalibration) -> tuple[str, ...]:
    calibration, source = known
    rates = (
        f"{judge} passes {_share(calibration.sensitivity, 'good sentences')} (its sensitivity) and "
        f"fails {_share(calibration.specificity, 'bad ones')} (its specificity), by {source}. "
        "Corrected is the share of right replies that would make such a judge pass as many."
    )
    caution = (
        "The bad sentences of a calibration set are not those that this model writes: where its "
        "own errors are harder to find, fewer of its replies are right than the corrected rate "
        "says."
    )
    return rates, caution


def _share(estimate: Estimate, what: str) -> str:
    return (
        f"{cells.percent(estimate.value)} % ({cells.percent_range(estimate.interval)}) of "
        f"{estimate.samples} {what}"
    )


def _rates(table: ScoreTable, row: ScoreRow) -> dict[str, Any]:
    part = row.result.parts[str(table.grammar)]
    told: dict[str, Any] = {"raw": asdict(part), "corrected": None}
    if row.corrected is not None:
        value, interval = row.corrected.value, row.corrected.interval
        told["corrected"] = {"value": value, "interval": interval, "samples": part.samples}
    if table.known is not None:
        calibration, source = table.known
        told["sensitivity"] = calibration.sensitivity._asdict()
        told["specificity"] = calibration.specificity._asdict()
        told["calibration"] = source
    else:
        told["missing"] = " ".join(table.told)
    return told
