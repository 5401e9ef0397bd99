"""The board as a folder of pages that open from disk: a table, its curves, a page per entry.

Every page stands alone, as the report does, and shares its looks: style, script and figures are
inside it, nothing is fetched, and whatever an entry says of itself is shown as text.  The figures
are drawn by a small script of our own.  A plotting library would bring four megabytes to every
page for what are a few lines and marks, and would draw what others wrote by its own rules.

The page computes a speed at any accuracy from the settings that it holds, by the rule of
:func:`~parallelbench.analysis.measures.speed.speed_at`; intervals, efficiencies and ranks are those
of :mod:`~parallelbench.leaderboards.board.standings`, at every whole per cent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from parallelbench.analysis.measures.derived_figures import DerivedFigures
from parallelbench.analysis.replay.gallery import Gallery, gallery_of
from parallelbench.analysis.report.columns import PLAIN_COLUMNS
from parallelbench.analysis.report.page import (
    content_digest,
    page_script,
    page_template,
    safe_names,
)
from parallelbench.console.progress import SILENT, ProgressDisplay
from parallelbench.errors import RequestError, StorageError
from parallelbench.leaderboards.board.standings import (
    HEADLINE,
    MOST_ROWS,
    PERCENTS,
    BoardRow,
    Figures,
    ReferenceCurve,
    Scope,
    Standings,
    standings,
)
from parallelbench.leaderboards.entry.entry import Entry
from parallelbench.leaderboards.entry.season import Season, season
from parallelbench.leaderboards.entry.submission import Level
from parallelbench.leaderboards.entry.wording import host_of, scripts_in
from parallelbench.model import MODELS
from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result
from parallelbench.run.runfile import SERVER_DECODER, RunFile
from parallelbench.setting import Setting, parse_settings

#: Greatest size of the replays of one entry.
REPLAY_BYTES = 800_000
#: Rows of all tables of settings on the page of one entry: a row takes about 1 kB.
MOST_TABLE_ROWS = 2_000


class LevelMeaning(NamedTuple):
    """Meaning of a level, for readers.

    Attributes:
        done: Sentences on the checks of this level.
        left: Clauses on the ways to cheat that remain.
    """

    done: str
    left: str


#: From the lowest to the highest; leaderboards/RULES.md has the same sentences.
LEVELS: Mapping[Level, LevelMeaning] = {
    "self-reported": LevelMeaning(
        "Samples were drawn again and replies marked again; a server shows no steps, so there is "
        "no speed.",
        "have another model, a person or a better prompt write the replies; train on these "
        "samples after the season opened; show the best of many tries.",
    ),
    "recomputed": LevelMeaning(
        "Every sample was drawn again, every trace replayed, every reply marked again and every "
        "figure computed from that. Of one model at least, nothing was decoded again.",
        "choose tokens by other means than the named weights; claim predictions that let an "
        "adaptive strategy write more in a call; bring another tokenizer or chat template than "
        "the checkpoint's; train on these samples after the season opened; show the best of many "
        "tries.",
    ),
    "spot-checked": LevelMeaning(
        "All that is recomputed, and records of every model, chosen at random, were decoded again "
        "with the named weights.",
        "invent a few of the records, in the hope that none of them is chosen, or that rounding is "
        "held to account for them; train on these samples after the season opened; show the best "
        "of many tries.",
    ),
    "reproduced": LevelMeaning(
        "All that is recomputed, and every record was decoded again with the named weights.",
        "invent as few records as rounding may account for; train on these samples after the "
        "season opened; show the best of many tries.",
    ),
}

_HERE = "parallelbench.leaderboards.board"
#: Decimals of figures that the page only shows; those that it computes with have twelve.
_SHOWN = 4


def build_site(
    entries: Sequence[Entry], folder: Path, progress: ProgressDisplay = SILENT
) -> tuple[list[Standings], Path]:
    """Write the pages of a board into ``folder``.

    Pages of an earlier board whose entries are gone are removed.

    Args:
        entries: Entries of the board; without any, the page explains how to enter.
        folder: Folder of the pages; made if it does not exist.
        progress: Shows the progress.

    Returns:
        The board of every season, and where its page is.

    Raises:
        StorageError: A file cannot be written.
        RequestError: An entry names a season that is not known.
        IncompleteSweepError: Two entries hold different samples under the same number.
    """
    progress.begin("ranking the rows of the board")
    boards = standings(entries)
    progress.begin("making the pages", len(entries), "entries")
    pages = safe_names(entry.name for entry in entries)
    texts = {
        f"{pages[entry.name]}.html": _entry_page(entry, boards) for entry in progress.count(entries)
    }
    index = folder / "index.html"
    own = folder / "entries"
    try:
        own.mkdir(parents=True, exist_ok=True)
        for old in own.glob("*.html"):
            if old.name not in texts:
                old.unlink()
        for name, text in texts.items():
            (own / name).write_text(text, encoding="utf-8", newline="\n")
        index.write_text(_index_page(entries, boards, pages), encoding="utf-8", newline="\n")
    except OSError as error:
        raise StorageError(f"the board cannot be written into {folder}: {error}") from error
    return boards, index


def _rendered(template: str, script: str, **content: Any) -> str:
    return page_template(_HERE, f"templates/{template}").render(
        levels=LEVELS,
        theirs=_theirs,
        host_of=host_of,
        orders={},
        marks=[],
        columns=PLAIN_COLUMNS,
        aside=DerivedFigures(),
        script=Markup(script),  # noqa: S704  our own
        script_digest=content_digest(script),
        **content,
    )


def _theirs(text: str) -> Markup:
    """Return a submitter's text marked as such, so that no reader takes it for the board's own.

    It is isolated, so that no direction mark in it affects the text around it; scripts with
    look-alike letters are named.
    """
    quoted = Markup('<q class="theirs"><bdi>{}</bdi></q>').format(text)
    letters = scripts_in(text)
    return quoted + (Markup(' <span class="claim">{}</span>').format(letters) if letters else "")


# The table and the curves


def _index_page(
    entries: Sequence[Entry], boards: Sequence[Standings], pages: Mapping[str, str]
) -> str:
    return _rendered(
        "index.html.jinja",
        page_script(_HERE, "templates/board.js"),
        gallery=Gallery(),
        entries=entries,
        beyond={name: len(own) for board in boards for name, own in board.beyond.items()},
        pages=pages,
        data=[season_data(board, pages) for board in boards],
    )


def season_data(board: Standings, pages: Mapping[str, str]) -> dict[str, Any]:
    """Return the board of a season as JSON values, as the page reads them.

    Args:
        board: The season's board.
        pages: File name of each entry's page, without the ending, by the entry's name.
    """
    keys = list(board.oracles)
    return {
        "name": board.season.name,
        "title": board.season.title,
        "samples": len(board.season.test),
        "percents": [PERCENTS[0], PERCENTS[-1]],
        "headline": list(HEADLINE),
        "levels": list(LEVELS),
        "scopes": [_scope_data(scope) for scope in board.scopes],
        "sections": [
            {"title": section.title, "kind": section.kind, "rows": len(section.rows)}
            for section in board.sections
        ],
        "rows": [
            {
                **_row_data(row, board.scopes, pages),
                "section": number,
                "oracle": keys.index(key) if (key := (row.entry.name, row.model)) in keys else None,
            }
            for number, section in enumerate(board.sections)
            for row in section.rows
        ],
        "oracles": [_curve_data(curve, board.scopes) for curve in board.oracles.values()],
        "bound": None if board.bound is None else _curve_data(board.bound, board.scopes),
    }


def _scope_data(scope: Scope) -> dict[str, Any]:
    return {"kind": scope.kind, "label": scope.label, "tasks": len(scope.tasks)}


def _row_data(row: BoardRow, scopes: Sequence[Scope], pages: Mapping[str, str]) -> dict[str, Any]:
    submission = row.entry.submission
    return {
        "id": f"{row.entry.name}/{row.model}/{row.strategy}",
        "title": submission.title,
        "submitter": submission.submitter,
        "letters": [scripts_in(submission.title), scripts_in(row.model)],
        "runs": submission.runs_made,
        "page": f"entries/{pages[row.entry.name]}.html",
        "model": row.model,
        "strategy": row.strategy,
        "division": submission.division,
        "level": row.entry.level,
        "checked": row.entry.level_told.partition(": ")[2],
        "against": row.oracle,
        "missing": row.missing,
        "figures": [
            _figures_data(row.figures[scope.label]) if scope.label in row.figures else None
            for scope in scopes
        ],
    }


def _figures_data(figures: Figures) -> dict[str, Any]:
    reached = [percent for percent in PERCENTS if percent in figures.at]
    return {
        "adaptive": figures.adaptive,
        "points": [_point_data(point) for point in figures.points],
        "at": [
            [
                _ends(at.interval),
                _rounded(at.efficiency),
                _ends(at.efficiency_interval),
                at.rank,
                _rounded(at.reached),
            ]
            for at in (figures.at[percent] for percent in reached)
        ],
        "area": figures.area and [_rounded(figures.area.value), _ends(figures.area.interval)],
        "best": figures.points.index(figures.best),
    }


def _point_data(point: Result) -> list[Any]:
    return [
        _exact(point.pooled_tokens_per_step),
        _exact(point.accuracy),
        _ends(point.pooled_tokens_per_step_interval),
        _ends(point.interval),
        _rounded(point.answer_tokens_per_step),
        point.samples,
        point.decoder_label,
        _rounded(point.nfe),
        _exact(point.tokens_per_step),
    ]


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(end, _SHOWN) for end in interval]


def _exact(value: float | None) -> float | None:
    return None if value is None else round(value, 12)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _SHOWN)


def _curve_data(curve: ReferenceCurve, scopes: Sequence[Scope]) -> dict[str, Any]:
    return {
        "title": curve.title,
        "scopes": [
            [None if math.isnan(speed) else round(speed, _SHOWN) for speed in speeds.tolist()]
            for speeds in (curve.speeds[scope.label] for scope in scopes)
        ],
    }


# An entry


class _ResultTable(NamedTuple):
    """Results of the settings of one model on one task.

    Attributes:
        task: Label of the task.
        model: The model's setting.
        results: Results shown on the page, at least one.
        settings: Number of settings of the entry for this model and task.
    """

    task: str
    model: str
    results: Sequence[Result]
    settings: int


def _entry_page(entry: Entry, boards: Sequence[Standings]) -> str:
    own = season(entry.submission.season)
    board = next(each for each in boards if each.season == own)
    rows = [
        (section, row)
        for section in board.sections
        for row in section.rows
        if row.entry.name == entry.name
    ]
    return _rendered(
        "entry.html.jinja",
        page_script("parallelbench.analysis.report", "page.js"),
        entry=entry,
        said=entry.submission,
        season=own,
        rows=rows,
        percents=HEADLINE,
        whole=board.scopes[0].label,
        most_rows=MOST_ROWS,
        beyond=board.beyond.get(entry.name, ()),
        tables=_tables(board.results.get(entry.name, ()), own),
        gallery=_gallery(entry, own),
    )


def _tables(results: Iterable[Result], of_season: Season) -> list[_ResultTable]:
    groups: dict[tuple[str, str], list[Result]] = {
        (task.label, model): []
        for task in of_season.tasks
        for model in dict.fromkeys(result.model for result in results)
    }
    for result in results:
        groups[result.task_label, result.model].append(result)
    tables = {place: own for place, own in groups.items() if own}
    shown = max(1, MOST_TABLE_ROWS // max(1, len(tables)))
    return [
        _ResultTable(task, model, own[:shown], len(own)) for (task, model), own in tables.items()
    ]


def _gallery(entry: Entry, of_season: Season) -> Gallery:
    records = [record for record in entry.records if record.index in of_season.test]
    decoders = {
        record.decoder_label: Setting(
            record.decoder.name, record.decoder.fields, record.decoder_label
        )
        for record in records
    }
    runfile = RunFile(
        models=tuple(map(_model_setting, dict.fromkeys(record.model_label for record in records))),
        tasks=of_season.tasks,
        decoders=tuple(each for each in decoders.values() if each.name != SERVER_DECODER.name),
        samples=of_season.samples,
        seed=of_season.seed,
    )
    try:
        return gallery_of(runfile, records, REPLAY_BYTES)
    except RequestError as error:
        return Gallery(told=(f"Its decodes cannot be shown step by step here: {error}.",))


def _model_setting(label: str) -> Setting:
    """Return the setting of a model label; a bare name where the label does not parse."""
    try:
        settings = parse_settings(label, MODELS)
    except RequestError:
        settings = []
    return next(
        (e for e in settings if e.label == label), Setting(label.partition(":")[0], {}, label)
    )
