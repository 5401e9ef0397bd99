"""The verb ``judge``: verdicts and labels -> corrected pass rates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parallelbench.cli.asked import FILE, refuse_idle
from parallelbench.console.terminal import show, tell

if TYPE_CHECKING:
    from parallelbench.analysis.judging.judges import JudgedSystem
    from parallelbench.analysis.judging.llm_judge import LlmVerdicts
    from parallelbench.analysis.judging.verdicts import Item

_SHIPPED = "shipped"
#: Options that say what is judged, and how.
_OF_JUDGING = (
    *("verdicts", "calibration", "against", "against_calibration"),
    *("width", "judge", "rubric", "out"),
)


@click.command(short_help="Correct a pass rate for the errors of its judge.")
@click.argument("verdicts", required=False, type=FILE)
@click.option(
    "--calibration",
    help="File of labelled examples that the same judge judged; or shipped: our sentences.",
)
@click.option("--against", type=FILE, help="Verdicts on another system, to compare with.")
@click.option("--against-calibration", help="Of the judge of --against, if that is another judge.")
@click.option("--width", type=float, help="How much to label for an interval so wide, as 0.05.")
@click.option("--judge", help="A server to ask for the verdicts, such as api:URL:model=NAME.")
@click.option("--rubric", type=FILE, help="Text file: what the judge goes by, PASS or FAIL.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the verdicts of --judge are written, .jsonl; a run cut off goes on from there.",
)
@click.option(
    "--sentences",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Instead: write our labelled sentences to this file, .csv, for a judge of yours.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path, file_okay=False),
    help="Instead: draw into this folder how often the intervals hold the truth.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def judge(  # noqa: PLR0913, PLR0917  each is an option
    verdicts: Path | None,
    calibration: str | None,
    against: Path | None,
    against_calibration: str | None,
    width: float | None,
    judge: str | None,
    rubric: Path | None,
    out: Path | None,
    sentences: Path | None,
    figure: Path | None,
    *,
    as_json: bool,
) -> None:
    """Correct the pass rate of VERDICTS for the errors of their judge.

    Files are CSV (.csv) with a header or JSON Lines (.jsonl).  VERDICTS has a column verdict,
    pass or fail, and maybe the text.  A calibration file also has a column label, good or
    bad, and maybe the kind of error.  Other columns are ignored.  Without VERDICTS, the judge
    itself is described.

    \b
    Examples:
      parallelbench judge verdicts.csv --calibration calibration.csv
      parallelbench judge verdicts.csv --calibration calibration.csv --width 0.05
      parallelbench judge first.csv --calibration one.csv \\
                          --against second.csv --against-calibration other.csv
      parallelbench judge texts.csv --calibration shipped --out verdicts.jsonl \\
                          --judge api:http://127.0.0.1:8000/v1:model=NAME
      parallelbench judge --sentences to_judge.csv
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    if figure is not None:
        refuse_idle(f"--figure {figure} draws, and judges nothing", *_OF_JUDGING, "sentences")
        _draw(figure, as_json=as_json)
        return
    if sentences is not None:
        from parallelbench.analysis.judging.calibration_set import write_shipped

        refuse_idle(f"--sentences {sentences} writes, and judges nothing", *_OF_JUDGING, "as_json")
        write_shipped(sentences)
        tell(f"{sentences}: add a column verdict, pass or fail")
        return
    if calibration is None:
        raise click.UsageError("judge needs --calibration FILE, or --sentences FILE to make one")
    if against is not None and verdicts is None:
        raise click.UsageError("--against needs VERDICTS to compare with")
    if against_calibration is not None and against is None:
        raise click.UsageError("--against-calibration is for --against FILE")
    if judge is None:
        refuse_idle("it is for --judge, a server that is asked for verdicts", "rubric", "out")
    roles = {
        "calibration": calibration,
        "verdicts": verdicts,
        "against": against,
        "against_calibration": against_calibration,
    }
    items = {role: _items(str(path)) for role, path in roles.items() if path is not None}
    asked = None
    if judge is not None:
        # The judge of another calibration has said already what it has to say.
        own = ("calibration", "verdicts", "against")[: 3 if against_calibration is None else 2]
        theirs = {role: items[role] for role in own if role in items}
        asked = _ask([item for each in theirs.values() for item in each], judge, rubric, out)
        items |= {role: asked.of(each) for role, each in theirs.items()}
    told = _findings(items, width)
    if as_json:
        tell(json.dumps(told, indent=1))
    else:
        _show(told)
    if asked is not None:
        _tell_missing(asked)


def _tell(sentence: str) -> None:
    tell(f"parallelbench: {sentence}", err=True)


def _items(path: str) -> list[Item]:
    from parallelbench.analysis.judging.calibration_set import SHIPPED
    from parallelbench.analysis.judging.verdicts import read_items

    return read_items(SHIPPED if path == _SHIPPED else Path(path), _tell)


def _ask(items: Sequence[Item], judge: str, rubric: Path | None, out: Path | None) -> LlmVerdicts:
    from parallelbench.analysis.judging.llm_judge import GRAMMAR_RUBRIC, LlmJudge, ask

    if out is None:
        raise click.UsageError("--judge needs --out FILE.jsonl, where every verdict is kept")
    told = GRAMMAR_RUBRIC if rubric is None else rubric.read_text(encoding="utf-8").strip()
    return ask(LlmJudge.open(judge, told), items, out)


def _tell_missing(asked: LlmVerdicts) -> None:
    if asked.unclear:
        tell(
            f"parallelbench: {asked.unclear} replies of the judge held neither PASS nor FAIL and "
            "are not counted",
            err=True,
        )
    if asked.failed:
        tell(
            f"parallelbench: {asked.failed} texts got no reply and are not counted; the first: "
            f"{asked.error}; the same command asks for them again",
            err=True,
        )
        click.get_current_context().exit(1)


def _findings(items: Mapping[str, Sequence[Item]], width: float | None) -> dict[str, Any]:
    """Return all that the files allow to say, as JSON values."""
    from parallelbench.analysis.judging.judges import (
        JudgedSystem,
        calibration_needed,
        corrected_difference,
    )
    from parallelbench.analysis.judging.verdicts import by_kind, calibration_of, passed_of

    calibration = calibration_of(items["calibration"])
    told: dict[str, Any] = {
        "sensitivity": calibration.sensitivity._asdict(),
        "specificity": calibration.specificity._asdict(),
        "kinds": [share.as_dict() for share in by_kind({"judge": items["calibration"]})],
    }
    judged = None
    if "verdicts" in items:
        judged = JudgedSystem(*passed_of(items["verdicts"]), calibration)
        told |= _rate(judged)
    if width is not None:
        needed = calibration_needed(width, calibration, judged)
        told["needed"] = {"width": width, **needed._asdict()}
    if "against" in items and judged is not None:
        same = "against_calibration" not in items
        other = JudgedSystem(
            *passed_of(items["against"]),
            calibration if same else calibration_of(items["against_calibration"]),
        )
        difference = corrected_difference(judged, other, same_judge=same)
        told["against"] = _rate(other)
        told["difference"] = difference._asdict()
    return told


def _rate(judged: JudgedSystem) -> dict[str, Any]:
    from parallelbench.analysis.judging.judges import corrected_rate

    rate = corrected_rate(passed=judged.passed, count=judged.count, calibration=judged.calibration)
    corrected = {"value": rate.value, "interval": rate.interval, "samples": judged.count}
    return {"raw": rate.raw._asdict(), "corrected": corrected}


def _show(told: Mapping[str, Any]) -> None:
    tell(f"the judge passes {_told(told['sensitivity'])} good examples (sensitivity)")
    tell(f"and fails        {_told(told['specificity'])} bad examples (specificity)")
    if len(told["kinds"]) > 2:
        _show_kinds(told["kinds"])
    for name in ("first", "second"):
        rates = told if name == "first" else told.get("against", {})
        if "raw" in rates:
            which = f"{name} system: " if "against" in told else ""
            tell(f"{which}as judged {_told(rates['raw'])} replies pass")
            tell(f"{which}corrected {_told(rates['corrected'])} replies are good")
    if "difference" in told:
        found = told["difference"]
        low, high = found["interval"]
        tell(
            f"difference, corrected: {100 * found['value']:+.1f} points, 95 % interval "
            f"{100 * low:+.1f} to {100 * high:+.1f}; as judged: {100 * found['raw']:+.1f}"
        )
    if "needed" in told:
        tell(_needed(told["needed"], told))


def _show_kinds(kinds: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    from parallelbench.analysis.measures import cells

    drawn = Table(box=box.SIMPLE, padding=0)
    drawn.add_column("kind of example", min_width=20)
    for heading in ("examples", "right is", "judged so %", "95 % interval"):
        drawn.add_column(heading, justify="right", min_width=len(heading) + 2)
    for kind in kinds:
        right = "pass" if kind["label"] == "good" else "fail"
        share, interval = cells.percent(kind["share"]), cells.percent_range(kind["interval"])
        drawn.add_row(kind["kind"], str(kind["count"]), right, share, interval)
    show(drawn)


def _told(share: Mapping[str, Any]) -> str:
    low, high = share["interval"]
    return (
        f"{100 * share['value']:5.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f}, "
        f"of {share['samples']}"
    )


def _needed(needed: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    wished = f"an interval {100 * needed['width']:g} points wide, from end to end,"
    if needed["good"] is None:
        return (
            f"{wished} cannot be had from {told['raw']['samples']} replies, however many "
            f"examples are labelled; judge at least {needed['judged']}"
        )
    have = f"there are {told['sensitivity']['samples']} and {told['specificity']['samples']}"
    whatever = "" if "raw" in told else " whatever the pass rate, if enough replies are judged"
    return (
        f"{wished} takes about {needed['good']} good and {needed['bad']} bad examples{whatever}; "
        f"{have}"
    )


def _draw(folder: Path, *, as_json: bool) -> None:
    from parallelbench.analysis.figures.coverage import coverage_figure, simulated
    from parallelbench.analysis.figures.pictures import write_picture

    rows = simulated()
    files = write_picture("judges", rows, coverage_figure(rows), folder)
    if as_json:
        tell(json.dumps([row.as_dict() for row in rows], indent=1))
    for file in files:
        tell(str(file), err=as_json)
