"""The work of the verb ``compare``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from parallelbench.analysis.measures import cells
from parallelbench.analysis.measures import compare as measures
from parallelbench.analysis.measures.compare import ComparisonLine, RunComparison
from parallelbench.cli.options import refuse_idle
from parallelbench.console.progress import shown
from parallelbench.console.tables import new_console, show
from parallelbench.console.terminal import tell
from parallelbench.results.intervals import Estimate
from parallelbench.storage.folders import storage

#: Letters; the other columns take 51, so a terminal of 80 shows all of it.
_LABEL_WIDTH = 28
#: Letters of a reply in the terminal.
_REPLY = 56
#: So many lines have their samples shown without being asked.
_FEW_LINES = 6


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The arguments of the verb ``compare``; its help explains them."""

    run_a: Path
    run_b: Path | None
    decoders: Sequence[str]
    models: Sequence[str]
    changed: int | None
    out: Path | None
    as_json: bool


def compare(options: CompareOptions) -> None:
    """Compare two runs, or two sides of one, and print or write the comparison."""
    if options.as_json:
        refuse_idle("--json has all that changed", "changed")
    runs = [str(run) for run in (options.run_a, options.run_b) if run]
    with shown(f"comparing {' with '.join(runs)}"):
        comparison = measures.compare(
            options.run_a, options.run_b, models=options.models, decoders=options.decoders
        )
    if options.out is not None:
        with storage(options.out):
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(comparison.to_csv(), encoding="utf-8", newline="\n")
    if options.as_json:
        tell(json.dumps(comparison.as_dict(), indent=1))
    else:
        few = len(comparison.lines) <= _FEW_LINES
        _show(comparison, (3 if few else 0) if options.changed is None else options.changed)
    if options.out is not None:
        tell(f"pairs: {options.out}", err=options.as_json)


def _show(found: RunComparison, most: int) -> None:
    for remark in found.remarks:
        tell(remark, bold=True)
    console = new_console()
    blocks: dict[tuple[str, ...], list[ComparisonLine]] = {}
    for line in found.lines:
        blocks.setdefault((*line.first, *line.second), []).append(line)
    for lines in blocks.values():
        for letter, side in (("A", lines[0].first), ("B", lines[0].second)):
            tell(f"{letter}  {side.model} with {side.decoder} in {side.run}", bold=True)
        show(_table(lines), console)
        for line in lines:
            _show_line(line, most)
    tested = sum(line.test is not None for line in found.lines)
    tell(f"p: {' or '.join(_tests(found))}")
    if tested > 1:
        tell(f"p and intervals are adjusted for {tested} lines, after Bonferroni")


def _tests(found: RunComparison) -> list[str]:
    names = {"McNemar, exact": "McNemar's exact test", "sign flips": "flipping signs"}
    return list(dict.fromkeys(names[line.test.name] for line in found.lines if line.test)) or [
        "none"
    ]


def _table(lines: Sequence[ComparisonLine]) -> Table:

    drawn = Table(box=box.SIMPLE, padding=0)
    drawn.add_column("task", min_width=_LABEL_WIDTH)
    for heading in ("A\n%", "B\n%", "B - A\npoints", "95 %\ninterval", "p"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("pairs", justify="right", min_width=6)
    for line in lines:
        drawn.add_row(
            Text(cells.folded(line.task, _LABEL_WIDTH)),
            _percent(line.first_accuracy),
            _percent(line.second_accuracy),
            cells.ABSENT if line.difference is None else f"{100 * line.difference.value:+.1f}",
            _range(line.difference),
            cells.ABSENT if line.test is None else _p_value(line.test.adjusted),
            f"{line.pairs:,}",
        )
    return drawn


def _show_line(line: ComparisonLine, most: int) -> None:
    tell(line.task, bold=True)
    tell(f"  {line.verdict}")
    if line.tokens_per_step_difference is not None:
        tell(f"  {line.speed_verdict}\n    tokens per step: {_speeds(line)}")
    if line.unpaired:
        tell(f"  {line.unpaired:,} decodes have no partner that is marked, and count nowhere")
    changed = line.changed
    if not changed:
        return
    tell(f"  {len(changed):,} of {line.pairs:,} decodes changed")
    for each in changed[:most]:
        tell(f"    sample {each.number}, {each.change}")
        tell(f"      A  {_brief(each.first_reply)}")
        tell(f"      B  {_brief(each.second_reply)}")
    if 0 < most < len(changed):
        tell(f"    {len(changed) - most:,} more: --json and --out FILE.csv have all of them")


def _speeds(line: ComparisonLine) -> str:

    first, second = (
        cells.number(line.first_tokens_per_step),
        cells.number(line.second_tokens_per_step),
    )
    found = line.tokens_per_step_difference
    speeds = f"A {first}, B {second}"
    if found is None or found.interval is None:
        return speeds
    return f"{speeds}, B - A {found.interval.low:+.2f} to {found.interval.high:+.2f}"


def _brief(text: str) -> str:
    line = " ".join(text.split()) or "an empty reply"
    return line if len(line) <= _REPLY else f"{line[:_REPLY]} ..."


def _percent(estimate: Estimate | None) -> str:

    return cells.percent(None if estimate is None else estimate.value)


def _range(estimate: Estimate | None) -> str:

    if estimate is None or estimate.interval is None:
        return cells.ABSENT
    return f"{100 * estimate.interval.low:+.1f} to {100 * estimate.interval.high:+.1f}"


def _p_value(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"
