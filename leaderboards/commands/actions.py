"""The work of the leaderboard verbs, imported when one runs: it loads models and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from parallelbench.analysis.measures import cells
from parallelbench.console.progress import shown
from parallelbench.console.tables import show
from parallelbench.console.terminal import tell, tell_line
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.board.board import add, read_board, write_check
from parallelbench.leaderboards.board.pages import build_site
from parallelbench.leaderboards.board.standings import Section, Standings
from parallelbench.leaderboards.commands.packing import Statement, pack
from parallelbench.leaderboards.commands.regenerate import regenerated
from parallelbench.leaderboards.entry.entry import Entry
from parallelbench.leaderboards.entry.season import season
from parallelbench.leaderboards.entry.submission import Submission
from parallelbench.leaderboards.verify.cache import VerificationCache
from parallelbench.leaderboards.verify.verification import Verified, verified
from parallelbench.run.runfile import RunFile, make_runfile

#: Rows of the table in the terminal, and the accuracy at which they are compared.
_ROWS, _PERCENT = 10, 80


class SpotCheck(NamedTuple):
    """Request to decode records of an entry again.

    Attributes:
        records: Number of records of each model; None for all.
        weights: Setting of the model on this machine; None takes that of the entry.
    """

    records: int | None
    weights: str | None


class BuiltBoard(NamedTuple):
    """Pages of a board.

    Attributes:
        boards: The board of each season.
        page: Path of the first page.
        refusals: Refusals of the entries that were left out.
    """

    boards: Sequence[Standings]
    page: Path
    refusals: Sequence[SubmissionError]


def season_runfile(
    name: str, models: Sequence[str], decoders: Sequence[str], repeats: int
) -> RunFile:
    """Return a run file with the tasks, samples and seed of a season."""
    chosen = season(name)
    return make_runfile(
        {
            "models": list(models),
            "tasks": [{"name": task.name, "fields": dict(task.fields)} for task in chosen.tasks],
            "decoders": list(decoders),
            "samples": chosen.samples,
            "seed": chosen.seed,
            "repeats": repeats,
        },
        where=f"season {name}",
    )


def pack_run(run: Path, out: Path, seconds: int, statement: dict[str, Any]) -> Submission:
    """Write the entry of a finished run into ``out``; return its statement."""
    with shown(f"packing {run}") as progress:
        return pack(
            run,
            out,
            Statement(**statement),
            cache=VerificationCache(),
            progress=progress,
            seconds=seconds,
        )


def verify_entry(
    path: Path, seconds: int, spot_check: SpotCheck | None, *, record: bool
) -> dict[str, Any]:
    """Verify an entry; return the result, or its faults, as JSON values.

    Args:
        path: Folder of the entry.
        seconds: Time limit of the check.
        spot_check: Records to decode again; None for those of built-in models only.
        record: True to write the result next to the entry, as the keeper of its board.
    """
    try:
        with shown(f"verifying {path}") as progress:
            cache = VerificationCache(fresh=True)
            result = verified(path, cache=cache, progress=progress, seconds=seconds)
        if spot_check is not None:
            with shown(f"decoding records of {path} again"):
                result = regenerated(result, spot_check.records, weights=spot_check.weights)
        if record:
            write_check(path.resolve().parent, result)
    except SubmissionError as error:
        return {"entry": str(path), "level": None, "faults": list(error.faults)}
    return _summary(path, result)


def add_entry(entry: Path, board: Path, name: str | None, seconds: int, *, fresh: bool) -> Entry:
    """Verify an entry, copy it to a board and return it."""
    with shown(f"verifying {entry}") as progress:
        cache = VerificationCache(fresh=fresh)
        return add(entry, board, name=name, cache=cache, progress=progress, seconds=seconds)


def build_board(board: Path, out: Path, seconds: int, *, fresh: bool) -> BuiltBoard:
    """Verify the entries of a board and write its pages into ``out``."""
    refusals: list[SubmissionError] = []
    with shown(f"reading {board}") as progress:
        entries = read_board(
            board,
            cache=VerificationCache(fresh=fresh),
            progress=progress,
            seconds=seconds,
            refused=refusals.append,
        )
        boards, index = build_site(entries, out, progress)
    return BuiltBoard(boards, index, refusals)


def build_and_show(board: Path, out: Path, seconds: int, *, fresh: bool) -> bool:
    """Make the pages and print the leaders; return True if an entry was refused and left out."""
    boards, page, refusals = build_board(board, out, seconds, fresh=fresh)
    for each in boards:
        for section in each.sections:
            show(leaders(each, section))
    if not boards and not refusals:
        tell(f"{board} holds no entry yet; the page says how to enter")
    for refusal in refusals:
        first, *others = refusal.faults
        tell_line(f"parallelbench: left out: {first}", err=True)
        for fault in others:
            tell_line(f"  {fault}", err=True)
    tell(f"board: {page}")
    return bool(refusals)


def leaders(board: Standings, section: Section) -> Table:
    """Return the fastest rows of a section over all tasks, for the terminal."""
    scope = board.scopes[0].label
    table = Table(title=f"{section.title} ({board.season.title})", title_justify="left")
    for head in ("rank", f"tokens per step at {_PERCENT} %", "95 % interval"):
        table.add_column(head, justify="right")
    for head in ("level", "strategy", "model", "entry"):
        table.add_column(head, overflow="fold")
    rows = [
        (row.figures[scope].at.get(_PERCENT) if scope in row.figures else None, row)
        for row in section.rows
    ]
    rows.sort(key=lambda each: -(each[0].speed if each[0] else 0.0))
    for at, row in rows[:_ROWS]:
        table.add_row(
            cells.ABSENT if at is None or at.rank is None else str(at.rank),
            cells.number(at.speed if at else None),
            cells.range_if_reached(at.interval, at.reached, _PERCENT) if at else cells.ABSENT,
            row.entry.level,
            row.strategy,
            row.model,
            row.entry.name,
        )
    if len(rows) > _ROWS:
        table.caption = f"and {len(rows) - _ROWS} more"
    return table


def _summary(path: Path, result: Verified) -> dict[str, Any]:
    entry = result.entry
    return {
        "entry": str(path),
        "title": entry.submission.title,
        "season": entry.submission.season,
        "division": entry.submission.division,
        "level": entry.level,
        "level_told": entry.level_told,
        "records": len(entry.records),
        "manifest_sha256": result.digest,
        "remarks": list(entry.remarks),
        "faults": [],
    }
