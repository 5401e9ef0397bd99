"""Speeds of rows at each accuracy, and ranks where differences exceed chance.

A *row* is a strategy of one entry with one of its models: the settings of a decoder that differ in
one dial, see :mod:`parallelbench.analysis.measures.curves`.  Strategies with a fixed and with an
adaptive number of tokens are read alike, by
:func:`~parallelbench.analysis.measures.speed.speed_at`: at their settings only, so that a row that
leaves settings out is nowhere faster.  The public board's rule is shown too and ranks nobody.
All figures are of the test part of the season; a row that lacks a decode of it has no figures and
says what is missing.

**Sections.**  Rows are ranked with their like only: networks of one division, or the ideal model.
Oracles were told the right answers, so they have speeds and no rank; an entry that reported
itself has an accuracy and nothing else.  What was drawn or marked by different versions of a
task, or marked by different engines, is never in one section.

**Ranks.**  At an accuracy A, rows are sorted by ``speed_at(A)``, and share a rank unless a row is
surely faster, by 10,000 resamples that are the same for all rows of a section: the rule, and what
it keeps to, stands in :mod:`~parallelbench.leaderboards.board.ranks`.  A row that does not reach A
has no rank there.

**Oracle efficiency** at A is the row's speed over that of the oracle that the entry ran with the
same model: ``label``, which goes by the model's predictions.  Without one it is
that of choosing a setting for each sample afterwards, among all that the entry has of that model.
For the ideal model of this package it is the information oracle, as the package has it.

**What one entry does to others.**  Nothing but being there: figures of a row follow from its own
entry, its season and this package, and the ranks of two rows from their two entries; of an entry
with many strategies the first :data:`MOST_ROWS` are ranked.

Source: the paired bootstrap is Efron's (1979).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from parallelbench.analysis.measures.curves import Curve, curves_of
from parallelbench.analysis.measures.hindsight import frontier_of
from parallelbench.analysis.measures.losses import IDEAL, is_ideal
from parallelbench.analysis.measures.oracle_efficiency import (
    INFORMATION,
    oracle_for,
    relative_speeds,
)
from parallelbench.analysis.measures.speed import (
    areas_under,
    drawn_means,
    drawn_weights,
    interval_if_reached,
    is_adaptive,
    points_of,
    published_speed_at,
    speeds_at,
)
from parallelbench.analysis.measures.sweep import Sweep, refuse_other_samples, speed_of, sweep_of
from parallelbench.leaderboards.board.bound import bound_of
from parallelbench.leaderboards.board.ranks import RowDraws, tied_ranks
from parallelbench.leaderboards.entry.entry import Entry
from parallelbench.leaderboards.entry.season import Season, season
from parallelbench.leaderboards.verify.alike import alike_to_earlier
from parallelbench.leaderboards.verify.model_facts import is_ideal_with_other_tokenizer
from parallelbench.record import Record, latest_records
from parallelbench.results.intervals import Estimate, Interval, percentile_interval
from parallelbench.results.result import Result, average_over_tasks, summarize
from parallelbench.setting import Setting
from parallelbench.task import TASKS

#: Per cent at which rows are compared; the first three are the board's headline.
PERCENTS = range(50, 101)
HEADLINE = (90, 80, 70)

#: Resamples of the bootstrap behind speeds and ranks.
RESAMPLES = 10_000
#: Number of those used for areas and efficiencies, and for hindsight.
_AREA_RESAMPLES = 1000
_HINDSIGHT_RESAMPLES = 200

#: Strategies of one entry that the board ranks: twice as many as this package has.  Each keeps
#: some 2 MB of resamples.  The first ones of its run stand there, not the best ones: a choice by
#: results would be one more way to be lucky.
MOST_ROWS = 100

HINDSIGHT = "hindsight"

Kind = Literal["network", "ideal", "self-reported", "oracle"]

#: Kinds in the order of the board, with what their sections are called.
_TITLES: Mapping[Kind, str] = {
    "network": "Networks, {division} division",
    "ideal": "The ideal model",
    "self-reported": "Self-reported: accuracy only",
    "oracle": "Oracles, told the right answers",
}


class Scope(NamedTuple):
    """Tasks that a figure is a mean over.

    Attributes:
        kind: Every task, those of one family, or one.
        label: ``all tasks``, the family's name, or the task's setting.
        tasks: Labels of the tasks, which have equal weights.
    """

    kind: Literal["all", "category", "task"]
    label: str
    tasks: tuple[str, ...]


class RowAtAccuracy(NamedTuple):
    """Figures of a row at one accuracy that it reaches.

    Attributes:
        speed: Pooled tokens per step.
        interval: Interval of the speed; None if more than 2.5 % of the resamples do not reach the
            accuracy, or with a single sample of each task.
        reached: Share of the resamples that reach the accuracy, in [0, 1]; None with a single
            sample of each task.
        efficiency: Speed over that of the oracle; None if the oracle does not reach the accuracy.
        efficiency_interval: Interval of the efficiency; None where either may not reach it.
        rank: Rank in its section; None where the section has no ranks.
    """

    speed: float
    interval: Interval | None
    reached: float | None
    efficiency: float | None
    efficiency_interval: Interval | None
    rank: int | None


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures of a row in one scope.

    Attributes:
        points: One result per setting; means over the tasks of the scope.
        adaptive: True if the public board's rule reads them as those of an adaptive strategy.
        at: Figures at each per cent of accuracy that the row reaches.
        area: Area under accuracy over log2(tokens per step), as a share of the greatest possible,
            which is a right answer in a single step; None without steps.
    """

    points: tuple[Result, ...]
    adaptive: bool
    at: Mapping[int, RowAtAccuracy]
    area: Estimate | None

    @cached_property
    def best(self) -> Result:
        """The most accurate setting; the fastest of equally accurate ones."""
        return max(
            self.points, key=lambda each: (each.accuracy or 0.0, each.pooled_tokens_per_step or 0.0)
        )

    def published(self, percent: int) -> float:
        """Return the speed by the public board's rule, where never reached is 0.0."""
        return published_speed_at(percent / 100, points_of(self.points), adaptive=self.adaptive)


@dataclass(frozen=True, eq=False)
class BoardRow:
    """One strategy of an entry with one model.

    Attributes:
        entry: Entry of the row.
        model: The model's setting.
        strategy: Name and fields that its settings share.
        kind: Kind of rows that it is compared with.
        settings: Labels of the decoder settings.
        oracle: Reference of its oracle efficiency: ``label``, ``information`` or ``hindsight``;
            None where it has none.
        oracle_told: Description of that reference.
        missing: Reason for having no figures and no rank; None if it has them.
        figures: Figures by the label of their scope.
    """

    entry: Entry
    model: str
    strategy: str
    kind: Kind
    settings: tuple[str, ...]
    oracle: str | None
    oracle_told: str | None
    missing: str | None
    figures: Mapping[str, Figures]


@dataclass(frozen=True, eq=False)
class Section:
    """Rows that are compared with each other.

    Attributes:
        title: Title on the board.
        kind: Kind of the rows.
        rows: Rows in the order of the entries.
    """

    title: str
    kind: Kind
    rows: tuple[BoardRow, ...]


class ReferenceCurve(NamedTuple):
    """The greatest speed at every accuracy, of an oracle or of a bound.

    Attributes:
        title: Name of the oracle or bound.
        speeds: Tokens per step at 0, 1, ..., 100 %, by scope label; NaN where not reached.
    """

    title: str
    speeds: Mapping[str, Float[np.ndarray, " percents"]]


@dataclass(frozen=True, eq=False)
class Standings:
    """The board of one season.

    Attributes:
        season: The season.
        scopes: All tasks, then each family of tasks, then each task.
        sections: Sections in the order of the board.
        oracles: Reference curve of each (entry, model).
        bound: The ideal model under the information oracle, see
            :mod:`~parallelbench.leaderboards.board.bound`: the fastest without an error where
            predictions are the exact law.  A network that has settled on one of several right
            answers may go beyond.  None where the bound of the season is not known.
        results: Results of every setting on every task, by the entry's name.
        beyond: (strategy, model) of the strategies beyond :data:`MOST_ROWS`, by the entry's name.
    """

    season: Season
    scopes: tuple[Scope, ...]
    sections: tuple[Section, ...]
    oracles: Mapping[tuple[str, str], ReferenceCurve]
    bound: ReferenceCurve | None
    results: Mapping[str, Sequence[Result]]
    beyond: Mapping[str, Sequence[tuple[str, str]]]


def standings(entries: Sequence[Entry]) -> list[Standings]:
    """Return the board of every season that has an entry, in alphabetical order.

    Raises:
        RequestError: An entry names a season that is not known.
        IncompleteSweepError: Two entries hold different samples under the same number.
    """
    seasons: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        seasons[entry.submission.season].append(entry)
    return [_standings(season(name), own) for name, own in sorted(seasons.items())]


def scopes_of(of_season: Season) -> tuple[Scope, ...]:
    """Return the scopes of a season."""
    labels = tuple(task.label for task in of_season.tasks)
    families: dict[str, list[str]] = {}
    for task in of_season.tasks:
        families.setdefault(task.name.partition("/")[0], []).append(task.label)
    categories = [Scope("category", name, tuple(own)) for name, own in families.items()]
    return (
        Scope("all", "all tasks", labels),
        *(categories if len(categories) > 1 else ()),
        *(Scope("task", label, (label,)) for label in labels),
    )


# One entry with one model


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Decodes of the test part by one model of an entry.

    Attributes:
        entry: The entry.
        model: The model's setting.
        records: Records of the test part, in the order of the season.
        curves: Curve of each setting, by decoder label.
        missing: Reason why a setting has no figures, by decoder label.
        results: Results of every (task, decoder setting).
        sweep: The complete settings; None if there is none, or without steps.
        season_bound: Bound of the season; None where it is not known.
    """

    entry: Entry
    model: str
    records: tuple[Record, ...]
    curves: Mapping[str, Curve]
    missing: Mapping[str, str]
    results: tuple[Result, ...]
    sweep: Sweep | None
    season_bound: Sweep | None

    @cached_property
    def families(self) -> Mapping[Curve, tuple[str, ...]]:
        """The labels of each strategy's settings."""
        families: dict[Curve, list[str]] = {}
        for label, curve in self.curves.items():
            families.setdefault(curve, []).append(label)
        return {curve: tuple(labels) for curve, labels in families.items()}

    @cached_property
    def bound(self) -> Sweep | None:
        """The reference of its efficiency if it is this package's ideal model; else None."""
        ours = self.model == IDEAL and not self.deviations
        return self.season_bound if ours else None

    @cached_property
    def oracle(self) -> str | None:
        """The name of the complete oracle that its efficiency is against."""
        if self.bound is not None:
            return INFORMATION
        whole = {
            r.decoder.name
            for r in self.records
            if r.decoder.oracle and r.decoder_label in self._measured
        }
        return oracle_for(self.model, whole)

    @cached_property
    def others(self) -> tuple[str, ...]:
        """The settings with figures that were not told the answers."""
        return tuple(label for label in self._measured if not self.curves[label].oracle)

    @cached_property
    def _measured(self) -> tuple[str, ...]:
        return tuple(each.label for each in self.sweep.settings) if self.sweep else ()

    @cached_property
    def deviations(self) -> tuple[str, ...]:
        """Its differences from the present task versions and engines, in words."""
        found = {(r.task_label, r.task.name, r.task.version) for r in self.records}
        engines = {
            f"{score} by {engine}" for r in self.records for score, engine in r.task.engines.items()
        }
        own = {r.model.digest for r in self.records if is_ideal_with_other_tokenizer(r.model_label)}
        older = [f"with a tokenizer of its own ({digest:.8})" for digest in sorted(own)]
        older += [
            f"{label} at version {version}"
            for label, task, version in sorted(found)
            if TASKS[task].version != version
        ]
        return (*older, *sorted(engines))

    def repeats(self, curve: Curve) -> bool:
        """Return True if all settings of a strategy decode as earlier ones of another row."""
        own = self.families[curve]
        return all(self._alike.get((self.model, label), label) not in own for label in own)

    @cached_property
    def _alike(self) -> Mapping[tuple[str, str], str]:
        return alike_to_earlier(self.records)

    def why_missing(self, curve: Curve) -> str | None:
        """Return the reason why a strategy has no figures; None if it has them."""
        reasons = [self.missing[each] for each in self.families[curve] if each in self.missing]
        return "; ".join(reasons) or None

    def kind(self, curve: Curve) -> Kind:
        """Return the kind of rows that a strategy is compared with."""
        if self.entry.level == "self-reported" or not all(r.steered for r in self.records):
            return "self-reported"
        if curve.oracle:
            return "oracle"
        return "ideal" if is_ideal(self.model) else "network"

    def points(self, scope: Scope, curve: Curve) -> tuple[Result, ...]:
        """Return one result per setting of a strategy: means over the tasks of ``scope``."""
        labels = self.families[curve]
        own = [
            each
            for each in self.results
            if each.decoder_label in labels and each.task_label in scope.tasks
        ]
        return tuple(own if len(scope.tasks) == 1 else average_over_tasks(own))


def _decoded(entry: Entry, of_season: Season) -> list[_Decoded]:
    places = {task.label: place for place, task in enumerate(of_season.tasks)}
    models: dict[str, list[Record]] = defaultdict(list)
    # Of several records of the same decode only the last counts: it replaced an error.
    for record in latest_records(entry.records):
        if record.index in of_season.test and record.task_label in places:
            models[record.model_label].append(record)
    return [
        _of_model(entry, sorted(own, key=lambda r: (places[r.task_label], r.index)), of_season)
        for own in models.values()
    ]


def _of_model(entry: Entry, records: Sequence[Record], of_season: Season) -> _Decoded:
    results = summarize(records)
    missing = _missing(records, of_season)
    whole = [record for record in records if record.decoder_label not in missing]
    steered = bool(whole) and all(record.steered for record in whole)
    return _Decoded(
        entry=entry,
        model=records[0].model_label,
        records=tuple(records),
        curves=curves_of(results),
        missing=missing,
        results=tuple(results),
        sweep=sweep_of(whole) if steered and entry.level != "self-reported" else None,
        season_bound=bound_of(of_season),
    )


def _missing(records: Sequence[Record], of_season: Season) -> dict[str, str]:
    """Return the reason of each setting that lacks a decode, by its label."""
    repeats = range(1 + max(record.repeat for record in records))
    wanted = [
        (task.label, index, repeat)
        for task in of_season.tasks
        for index in of_season.test
        for repeat in repeats
    ]
    held: dict[str, set[tuple[str, int, int]]] = {r.decoder_label: set() for r in records}
    for record in records:
        # A server shows no steps, so a mark is all that it can give.
        measured = speed_of(record) if record.steered else record.marks
        if measured is not None:
            held[record.decoder_label].add((record.task_label, record.index, record.repeat))
    reasons = {}
    for label, own in held.items():
        missing = [decode for decode in wanted if decode not in own]
        if missing:
            task, index, _ = missing[0]
            reasons[label] = (
                f"{label} has no mark and speed for {len(missing):,} of {len(wanted):,} decodes of "
                f"the test part, the first of them {task} sample {index}"
            )
    return reasons


# A season


class _RankingGroup(NamedTuple):
    """Properties that compared rows share."""

    kind: Kind
    division: str
    deviations: tuple[str, ...]

    @property
    def title(self) -> str:
        """Title of their section."""
        return ", ".join([_TITLES[self.kind].format(division=self.division), *self.deviations])

    @property
    def place(self) -> tuple[int, str, int, tuple[str, ...]]:
        """Sort key of their section."""
        return (
            list(_TITLES).index(self.kind),
            self.division,
            len(self.deviations),
            self.deviations,
        )


class _Contender(NamedTuple):
    """A row before it has figures; ``adaptive`` as :attr:`Figures.adaptive`."""

    decoded: _Decoded
    curve: Curve
    group: _RankingGroup
    adaptive: bool


def _standings(of_season: Season, entries: Sequence[Entry]) -> Standings:
    decoded = [each for entry in entries for each in _decoded(entry, of_season)]
    _refuse_other_samples(decoded)
    curves = [(each, curve) for each in decoded for curve in each.families]
    contenders, beyond = _within_the_cap(
        [_contender(each, curve) for each, curve in curves if not each.repeats(curve)]
    )
    scopes = scopes_of(of_season)
    figures: list[dict[str, Figures]] = [{} for _ in contenders]
    lines: dict[tuple[str, str], dict[str, Float[np.ndarray, " percents"]]] = defaultdict(dict)
    weights = _season_weights(decoded)
    for scope in scopes:
        drawn = _draw(decoded, scope, weights)
        for own in drawn.values():
            lines[own.decoded.entry.name, own.decoded.model][scope.label] = own.oracle_line
        for place, found in enumerate(_figures(contenders, drawn, scope, len(of_season.test))):
            if found is not None:
                figures[place][scope.label] = found
    results: dict[str, list[Result]] = defaultdict(list)
    for each in decoded:
        results[each.entry.name] += each.results
    return Standings(
        season=of_season,
        scopes=scopes,
        sections=_sections(contenders, figures),
        oracles={
            (each.entry.name, each.model): ReferenceCurve(
                _oracle_told(each), lines[each.entry.name, each.model]
            )
            for each in decoded
            if each.sweep is not None
        },
        bound=_bound(of_season, scopes),
        results=results,
        beyond=beyond,
    )


def _within_the_cap(
    contenders: Sequence[_Contender],
) -> tuple[list[_Contender], dict[str, list[tuple[str, str]]]]:
    """Return the rows of the board, and those that stand on their entry's page only."""
    kept: list[_Contender] = []
    counts: dict[str, int] = defaultdict(int)
    beyond: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in contenders:
        name = each.decoded.entry.name
        counts[name] += 1
        if counts[name] <= MOST_ROWS:
            kept.append(each)
        else:
            beyond[name].append((each.curve.label, each.decoded.model))
    return kept, beyond


def _refuse_other_samples(decoded: Iterable[_Decoded]) -> None:
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for each in decoded:
        if each.entry.level != "self-reported":
            groups[each.deviations] += each.records
    for records in groups.values():
        refuse_other_samples(records)


def _contender(decoded: _Decoded, curve: Curve) -> _Contender:
    kind = decoded.kind(curve)
    division = decoded.entry.submission.division if kind == "network" else ""
    group = _RankingGroup(kind, division, decoded.deviations)
    label = decoded.families[curve][0]
    result = next(each for each in decoded.results if each.decoder_label == label)
    adaptive = is_adaptive(Setting(result.decoder, result.fields, label))
    return _Contender(decoded, curve, group, adaptive)


def _oracle_told(decoded: _Decoded) -> str:
    if decoded.bound is not None:
        return "the information oracle of this package's ideal model"
    name = decoded.entry.name
    if decoded.oracle is not None:
        return f"the {decoded.oracle} oracle of {decoded.model!r} in entry {name}"
    return f"hindsight over every setting of {decoded.model!r} in entry {name}"


def _bound(of_season: Season, scopes: Iterable[Scope]) -> ReferenceCurve | None:
    whole = bound_of(of_season)
    if whole is None:
        return None
    speeds = {}
    for scope in scopes:
        part = _part(whole, scope.tasks)
        speeds[scope.label] = speeds_at(_WHOLE_RANGE, *drawn_means(part, part.weights[None]))[0]
    return ReferenceCurve(
        "bound of the exact law: the ideal model under the information oracle", speeds
    )


def _sections(
    contenders: Sequence[_Contender], figures: Sequence[Mapping[str, Figures]]
) -> tuple[Section, ...]:
    groups: dict[_RankingGroup, list[BoardRow]] = defaultdict(list)
    for contender, own in zip(contenders, figures, strict=True):
        decoded, curve, group, _ = contender
        steered = decoded.sweep is not None and group.kind != "self-reported"
        groups[group].append(
            BoardRow(
                entry=decoded.entry,
                model=decoded.model,
                strategy=curve.label,
                kind=group.kind,
                settings=decoded.families[curve],
                oracle=(decoded.oracle or HINDSIGHT) if own and steered else None,
                oracle_told=_oracle_told(decoded) if own and steered else None,
                missing=decoded.why_missing(curve),
                figures=own,
            )
        )
    return tuple(
        Section(group.title, group.kind, tuple(groups[group]))
        for group in sorted(groups, key=lambda group: group.place)
    )


# A scope


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The settings of one model in one scope, as observed in the first draw, then resampled.

    Attributes:
        decoded: Decodes of an entry and model.
        labels: Labels of the settings.
        speeds: Pooled tokens per step.
        marks: accuracy, doubted where all samples are right.
        highest: Tokens per step of a canvas written at once.
        oracle: Speeds of the oracle at every one of :data:`PERCENTS`; maybe fewer draws.
        oracle_line: Observed speeds of the oracle at 0, 1, ..., 100 %.
    """

    decoded: _Decoded
    labels: tuple[str, ...]
    speeds: Float[np.ndarray, "draws settings"]
    marks: Float[np.ndarray, "draws settings"]
    highest: float
    oracle: Float[np.ndarray, "oracle_draws accuracies"]
    oracle_line: Float[np.ndarray, " percents"]


_ACCURACIES = np.array(PERCENTS) / 100
_WHOLE_RANGE = np.arange(101) / 100


def _season_weights(decoded: Iterable[_Decoded]) -> Float[np.ndarray, "draws samples"] | None:
    """Return the weight of each test sample in every draw; None without figures.

    Whatever has figures has every sample, so all rows and all scopes share the draws.
    """
    sweeps = [each.sweep for each in decoded if each.sweep is not None]
    return drawn_weights(sweeps[0], RESAMPLES) if sweeps else None


def _draw(
    decoded: Sequence[_Decoded],
    scope: Scope,
    season_weights: Float[np.ndarray, "draws samples"] | None,
) -> dict[int, _Drawn]:
    """Return the draws of everything that has figures, by the identity of what was decoded."""
    sweeps = {id(each): each.sweep for each in decoded if each.sweep is not None}
    if not sweeps or season_weights is None:
        return {}
    parts = {key: _part(sweep, scope.tasks) for key, sweep in sweeps.items()}
    weights = _part_weights(next(iter(sweeps.values())), scope.tasks, season_weights)
    drawn: dict[int, _Drawn] = {}
    for each in decoded:
        if each.sweep is None:
            continue
        part = parts[id(each)]
        speeds, marks = drawn_means(part, weights)
        labels = tuple(setting.label for setting in part.settings)
        if each.oracle is not None:
            if each.bound is not None:
                reference = drawn_means(
                    _part(each.bound, scope.tasks), weights[: 1 + _AREA_RESAMPLES]
                )
            else:
                own = [row for row, s in enumerate(part.settings) if s.name == each.oracle]
                reference = speeds[: 1 + _AREA_RESAMPLES, own], marks[: 1 + _AREA_RESAMPLES, own]
            oracle = speeds_at(_ACCURACIES, *reference)
            line = speeds_at(_WHOLE_RANGE, reference[0][:1], reference[1][:1])[0]
        else:
            oracle, line = _hindsight(part.of(each.others), weights)
        highest = float(part.weights @ part.canvas)
        drawn[id(each)] = _Drawn(each, labels, speeds, marks, highest, oracle, line)
    return drawn


def _part(sweep: Sweep, tasks: Iterable[str]) -> Sweep:
    return sweep.at(np.flatnonzero(np.isin(sweep.tasks, list(tasks))))


def _part_weights(
    sweep: Sweep, tasks: Iterable[str], weights: Float[np.ndarray, "draws samples"]
) -> Float[np.ndarray, "draws part_samples"]:
    """Return the weights of a mean over ``tasks`` from those of a mean over all tasks."""
    columns = np.isin(sweep.tasks, list(tasks))
    if columns.all():
        return weights
    share = len(set(np.array(sweep.tasks)[columns])) / len(set(sweep.tasks))
    return weights[:, columns] / share


def _hindsight(
    part: Sweep, weights: Float[np.ndarray, "draws samples"]
) -> tuple[Float[np.ndarray, "fewer_draws accuracies"], Float[np.ndarray, " percents"]]:
    """Return the speeds of choosing a setting for each sample afterwards."""
    draws = weights[: 1 + _HINDSIGHT_RESAMPLES]
    if not part.settings:  # every decoder of the run is an oracle
        return np.full((len(draws), len(_ACCURACIES)), np.nan), np.full(len(_WHOLE_RANGE), np.nan)
    frontier = frontier_of(part)
    speeds = frontier.speeds_along(_ACCURACIES, draws)
    return speeds, frontier.speeds_along(_WHOLE_RANGE, draws[:1])[0]


def _figures(
    contenders: Sequence[_Contender], drawn: Mapping[int, _Drawn], scope: Scope, test: int
) -> list[Figures | None]:
    """Return the figures of each contender in ``scope``; None where a decode is missing.

    Args:
        contenders: All rows of a season.
        drawn: Draws by the identity of their :class:`_Decoded`.
        scope: Scope of the figures.
        test: Number of test samples of each task.
    """
    having = {
        place: (drawn[id(each.decoded)], _columns_of(drawn[id(each.decoded)], each))
        for place, each in enumerate(contenders)
        if id(each.decoded) in drawn and each.decoded.why_missing(each.curve) is None
    }
    speeds = {
        place: _speeds(own.speeds[:, columns], own.marks[:, columns])
        for place, (own, columns) in having.items()
    }
    ranks: dict[int, Sequence[int | None]] = {}
    groups: dict[_RankingGroup, list[int]] = defaultdict(list)
    for place in speeds:
        groups[contenders[place].group].append(place)
    for group, places in groups.items():
        # A single sample tells nothing of the spread.
        if group.kind in {"network", "ideal"} and test > 1:
            rows = [
                RowDraws(own.speeds[:, columns], own.marks[:, columns])
                for own, columns in map(having.__getitem__, places)
            ]
            entries = [contenders[place].decoded.entry.name for place in places]
            ranks |= dict(zip(places, tied_ranks(_ACCURACIES, rows, entries), strict=True))
    found: list[Figures | None] = []
    for place, each in enumerate(contenders):
        if each.decoded.why_missing(each.curve) is not None:
            found.append(None)
            continue
        points = each.decoded.points(scope, each.curve)
        if place not in speeds:
            found.append(Figures(tuple(map(_without_steps, points)), each.adaptive, {}, None))
            continue
        own = drawn[id(each.decoded)]
        at = _at(speeds[place], own.oracle, ranks.get(place), spread=test > 1)
        area = _area(own, each, scope, test)
        found.append(Figures(points, each.adaptive, at, area))
    return found


def _columns_of(own: _Drawn, contender: _Contender) -> list[int]:
    settings = contender.decoded.families[contender.curve]
    return [column for column, label in enumerate(own.labels) if label in settings]


class _Speeds(NamedTuple):
    """The speeds of a row at every one of :data:`PERCENTS`; NaN where not reached.

    Attributes:
        observed: Observed in the samples themselves.
        draws: observed, then in resamples; in single precision to save memory.
    """

    observed: Float[np.ndarray, " accuracies"]
    draws: Float[np.ndarray, "accuracies draws"]


def _speeds(
    speeds: Float[np.ndarray, "draws settings"], marks: Float[np.ndarray, "draws settings"]
) -> _Speeds:
    found = speeds_at(_ACCURACIES, speeds, marks)
    return _Speeds(found[0], np.ascontiguousarray(found.T, dtype=np.float32))


def _area(own: _Drawn, contender: _Contender, scope: Scope, test: int) -> Estimate | None:
    if own.highest <= 1:
        return None
    columns = _columns_of(own, contender)
    draws = slice(1 + _AREA_RESAMPLES)
    areas = areas_under(
        own.speeds[draws, columns], own.marks[draws, columns], low=1.0, high=own.highest
    ) / np.log2(own.highest)
    interval = percentile_interval(areas[1:]) if test > 1 else None
    return Estimate(float(areas[0]), interval, test * len(scope.tasks))


def _without_steps(result: Result) -> Result:
    return replace(
        result,
        tokens_per_step=None,
        tokens_per_step_interval=None,
        pooled_tokens_per_step=None,
        pooled_tokens_per_step_interval=None,
        answer_tokens_per_step=None,
        nfe=None,
    )


def _at(
    speeds: _Speeds,
    oracle: Float[np.ndarray, "oracle_draws accuracies"],
    ranks: Sequence[int | None] | None,
    *,
    spread: bool,
) -> dict[int, RowAtAccuracy]:
    efficiencies = relative_speeds(speeds.observed[None], oracle[:1])[0]
    ratios = relative_speeds(speeds.draws.T, oracle).T
    intervals = _intervals(speeds.draws) if spread else [None] * len(PERCENTS)
    ratio_intervals = _intervals(ratios) if spread else [None] * len(PERCENTS)
    return {
        percent: RowAtAccuracy(
            speed=float(speeds.observed[column]),
            interval=intervals[column],
            reached=float(np.isfinite(speeds.draws[column, 1:]).mean()) if spread else None,
            efficiency=float(efficiencies[column]) if np.isfinite(efficiencies[column]) else None,
            efficiency_interval=ratio_intervals[column],
            rank=ranks[column] if ranks else None,
        )
        for column, percent in enumerate(PERCENTS)
        if np.isfinite(speeds.observed[column])
    }


def _intervals(draws: Float[np.ndarray, "accuracies draws"]) -> list[Interval | None]:
    """Return the interval at every accuracy; None where it is not surely reached."""
    intervals: list[Interval | None] = []
    for column, own in enumerate(draws):
        # Between the accuracies of its settings a strategy has the same speeds.
        if column and np.array_equal(own, draws[column - 1], equal_nan=True):
            intervals.append(intervals[-1])
        else:
            reached = np.isfinite(own[0])
            intervals.append(interval_if_reached(own[1:]) if reached else None)
    return intervals
