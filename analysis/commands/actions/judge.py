"""The work of the verb ``judge``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from parallelbench.analysis.commands.actions.pictures import write_rows
from parallelbench.analysis.figures.coverage import coverage_figure, simulate_judges
from parallelbench.analysis.judging.calibration_set import SHIPPED, write_shipped
from parallelbench.analysis.judging.judges import (
    JudgedSystem,
    calibration_needed,
    corrected_difference,
    corrected_rate,
)
from parallelbench.analysis.judging.llm_judge import GRAMMAR_RUBRIC, LlmJudge, LlmVerdicts, ask
from parallelbench.analysis.judging.verdicts import (
    Item,
    by_kind,
    calibration_of,
    passed_of,
    read_items,
)
from parallelbench.analysis.measures import cells
from parallelbench.cli.options import refuse_idle
from parallelbench.console.tables import show
from parallelbench.console.terminal import tell, warn

_SHIPPED = "shipped"
#: Options that say what is judged, and how.
_OF_JUDGING = (
    *("verdicts", "calibration", "against", "against_calibration"),
    *("width", "judge", "rubric", "out"),
)


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """The arguments of the verb ``judge``; its help explains them."""

    verdicts: Path | None
    calibration: str | None
    against: Path | None
    against_calibration: str | None
    width: float | None
    judge: str | None
    rubric: Path | None
    out: Path | None
    sentences: Path | None
    figure: Path | None
    as_json: bool


def judge(options: JudgeOptions) -> None:
    """Correct pass rates and print them, or write the sentences or the figure asked for."""
    if options.figure is not None:
        because = f"--figure {options.figure} draws, and judges nothing"
        refuse_idle(because, *_OF_JUDGING, "sentences")
        rows = simulate_judges()
        write_rows("judges", rows, coverage_figure(rows), options.figure, as_json=options.as_json)
    elif options.sentences is not None:
        because = f"--sentences {options.sentences} writes, and judges nothing"
        refuse_idle(because, *_OF_JUDGING, "as_json")
        write_shipped(options.sentences)
        tell(f"{options.sentences}: add a column verdict, pass or fail")
    else:
        _refuse_incomplete(options)
        _judge(options)


def _refuse_incomplete(options: JudgeOptions) -> None:
    if options.calibration is None:
        raise click.UsageError(
            "judge needs --calibration FILE, examples with the judge's verdict and their label; "
            "--sentences FILE writes our labelled sentences for your judge to decide"
        )
    if options.against is not None and options.verdicts is None:
        raise click.UsageError("--against needs VERDICTS to compare with")
    if options.against_calibration is not None and options.against is None:
        raise click.UsageError("--against-calibration is for --against FILE")
    if options.judge is None:
        refuse_idle("it is for --judge, a server that is asked for verdicts", "rubric", "out")


def _judge(options: JudgeOptions) -> None:
    names = ("calibration", "verdicts", "against", "against_calibration")
    files = {name: getattr(options, name) for name in names}
    items = {name: _items(str(file)) for name, file in files.items() if file is not None}
    asked = None
    if options.judge is not None:
        # Another judge's calibration file holds that judge's verdicts already.
        own = names[: 3 if options.against_calibration is None else 2]
        theirs = {name: items[name] for name in own if name in items}
        asked = _ask([item for each in theirs.values() for item in each], options)
        items |= {name: asked.of(each) for name, each in theirs.items()}
    findings = _findings(items, options.width)
    if options.as_json:
        tell(json.dumps(findings, indent=1))
    else:
        _show(findings)
    if asked is not None:
        _tell_missing(asked)


def _items(path: str) -> list[Item]:

    return read_items(SHIPPED if path == _SHIPPED else Path(path), warn)


def _ask(items: Sequence[Item], options: JudgeOptions) -> LlmVerdicts:
    if options.out is None:
        raise click.UsageError("--judge needs --out FILE.jsonl, where every verdict is kept")
    rubric = GRAMMAR_RUBRIC
    if options.rubric is not None:
        rubric = options.rubric.read_text(encoding="utf-8").strip()
    return ask(LlmJudge.open(str(options.judge), rubric), items, options.out)


def _tell_missing(asked: LlmVerdicts) -> None:
    if asked.unclear:
        warn(f"{asked.unclear} replies of the judge held neither PASS nor FAIL and are not counted")
    if asked.failed:
        warn(
            f"{asked.failed} texts got no reply and are not counted; the first: {asked.error}; "
            "the same command asks for them again"
        )
        click.get_current_context().exit(1)


def _findings(items: Mapping[str, Sequence[Item]], width: float | None) -> dict[str, Any]:
    """Return all that the files allow to say, as JSON values."""
    calibration = calibration_of(items["calibration"])
    findings: dict[str, Any] = {
        "sensitivity": calibration.sensitivity._asdict(),
        "specificity": calibration.specificity._asdict(),
        "kinds": [share.as_dict() for share in by_kind({"judge": items["calibration"]})],
    }
    judged = None
    if "verdicts" in items:
        judged = JudgedSystem(*passed_of(items["verdicts"]), calibration)
        findings |= _rate(judged)
    if width is not None:
        needed = calibration_needed(width, calibration, judged)
        findings["needed"] = {"width": width, **needed._asdict()}
    if "against" in items and judged is not None:
        same = "against_calibration" not in items
        other = JudgedSystem(
            *passed_of(items["against"]),
            calibration if same else calibration_of(items["against_calibration"]),
        )
        difference = corrected_difference(judged, other, same_judge=same)
        findings["against"] = _rate(other)
        findings["difference"] = difference._asdict()
    return findings


def _rate(judged: JudgedSystem) -> dict[str, Any]:

    rate = corrected_rate(passed=judged.passed, count=judged.count, calibration=judged.calibration)
    corrected = {"value": rate.value, "interval": rate.interval, "samples": judged.count}
    return {"raw": rate.raw._asdict(), "corrected": corrected}


def _show(findings: Mapping[str, Any]) -> None:
    tell(f"the judge passes {_share(findings['sensitivity'])} good examples (sensitivity)")
    tell(f"and fails        {_share(findings['specificity'])} bad examples (specificity)")
    if len(findings["kinds"]) > 2:
        _show_kinds(findings["kinds"])
    for name in ("first", "second"):
        rates = findings if name == "first" else findings.get("against", {})
        if "raw" in rates:
            which = f"{name} system: " if "against" in findings else ""
            tell(f"{which}as judged {_share(rates['raw'])} replies pass")
            tell(f"{which}corrected {_share(rates['corrected'])} replies are good")
    if "difference" in findings:
        found = findings["difference"]
        low, high = found["interval"]
        tell(
            f"difference, corrected: {100 * found['value']:+.1f} points, 95 % interval "
            f"{100 * low:+.1f} to {100 * high:+.1f}; as judged: {100 * found['raw']:+.1f}"
        )
    if "needed" in findings:
        tell(_needed(findings["needed"], findings))


def _show_kinds(kinds: Sequence[Mapping[str, Any]]) -> None:

    drawn = Table(box=box.SIMPLE, padding=0)
    drawn.add_column("kind of example", min_width=20)
    for heading in ("examples", "right is", "judged so %", "95 % interval"):
        drawn.add_column(heading, justify="right", min_width=len(heading) + 2)
    for kind in kinds:
        right = "pass" if kind["label"] == "good" else "fail"
        share, interval = cells.percent(kind["share"]), cells.percent_range(kind["interval"])
        drawn.add_row(kind["kind"], str(kind["count"]), right, share, interval)
    show(drawn)


def _share(share: Mapping[str, Any]) -> str:
    low, high = share["interval"]
    return (
        f"{100 * share['value']:5.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f}, "
        f"of {share['samples']}"
    )


def _needed(needed: Mapping[str, Any], findings: Mapping[str, Any]) -> str:
    wished = f"an interval {100 * needed['width']:g} points wide, from end to end,"
    if needed["good"] is None:
        return (
            f"{wished} cannot be had from {findings['raw']['samples']} replies, however many "
            f"examples are labelled; judge at least {needed['judged']}"
        )
    have = (
        f"there are {findings['sensitivity']['samples']} and {findings['specificity']['samples']}"
    )
    whatever = "" if "raw" in findings else " whatever the pass rate, if enough replies are judged"
    return (
        f"{wished} takes about {needed['good']} good and {needed['bad']} bad examples{whatever}; "
        f"{have}"
    )
