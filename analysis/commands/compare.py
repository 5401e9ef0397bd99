"""The verb ``compare``: two runs, or two decoders or models of one, on the same samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parallelbench.cli.asked import refuse_idle
from parallelbench.console.progress import shown
from parallelbench.console.terminal import new_console, show, tell
from parallelbench.ranges import MOST_SAMPLES

if TYPE_CHECKING:
    from rich.table import Table

    from parallelbench.analysis.measures.compare import ComparisonLine, RunComparison
    from parallelbench.results.intervals import Estimate

#: Letters; the other columns take 51, so a terminal of 80 shows all of it.
_LABEL_WIDTH = 28
#: Letters of a reply in the terminal.
_REPLY = 56
#: So many lines have their samples shown without being asked.
_FEW_LINES = 6


@click.command(short_help="Say whether B is better than A on the same samples.")
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", required=False, type=click.Path(path_type=Path))
@click.option("--decoders", multiple=True, help="One that both sides have, or A's and B's.")
@click.option("--model", "models", multiple=True, help="Likewise; give it twice for two.")
@click.option(
    "--changed",
    type=click.IntRange(0, MOST_SAMPLES),
    help="Samples shown of each line, right on one side only.  [default: 3, or 0 of many lines]",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with all that changed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every pair, with marks and replies, to this file, .csv.",
)
def compare(  # noqa: PLR0913, PLR0917  each is an option
    run_a: Path,
    run_b: Path | None,
    decoders: Sequence[str],
    models: Sequence[str],
    changed: int | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say whether B is better than A on the same samples: two runs, or two sides of one.

    Every model, decoder and task that both runs have is compared with itself.  Where two are
    named, the first is A's and the second B's.  A line has both accuracies of the samples that
    both decoded, their difference with its 95 % interval, and the p-value of McNemar's exact
    test.  Intervals and p-values are adjusted for the number of lines after Bonferroni: all
    intervals hold together, and one without 0 stands beside a p of at most 0.05.

    \b
    Examples:
      parallelbench compare runs/before runs/after
      parallelbench compare runs/mine --decoders random:k=2,confidence:k=2
      parallelbench compare runs/mine --model ideal --model mini --out pairs.csv
      parallelbench compare runs/one runs/other --model hf:ONE --model hf:OTHER --json
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.analysis.measures.compare import compare as carry_out

    if as_json:
        refuse_idle("--json has all that changed", "changed")
    with shown(f"comparing {' with '.join(str(run) for run in (run_a, run_b) if run)}"):
        found = carry_out(run_a, run_b, models=models, decoders=decoders)
    if out is not None:
        from parallelbench.storage.folders import storage

        with storage(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(found.to_csv(), encoding="utf-8", newline="\n")
    if as_json:
        tell(json.dumps(found.as_dict(), indent=1))
    else:
        few = len(found.lines) <= _FEW_LINES
        _show(found, (3 if few else 0) if changed is None else changed)
    if out is not None:
        tell(f"pairs: {out}", err=as_json)


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
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from parallelbench.analysis.measures import cells

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
    from parallelbench.analysis.measures import cells

    first, second = (
        cells.number(line.first_tokens_per_step),
        cells.number(line.second_tokens_per_step),
    )
    found = line.tokens_per_step_difference
    told = f"A {first}, B {second}"
    if found is None or found.interval is None:
        return told
    return f"{told}, B - A {found.interval.low:+.2f} to {found.interval.high:+.2f}"


def _brief(text: str) -> str:
    line = " ".join(text.split()) or "an empty reply"
    return line if len(line) <= _REPLY else f"{line[:_REPLY]} ..."


def _percent(estimate: Estimate | None) -> str:
    from parallelbench.analysis.measures import cells

    return cells.percent(None if estimate is None else estimate.value)


def _range(estimate: Estimate | None) -> str:
    from parallelbench.analysis.measures import cells

    if estimate is None or estimate.interval is None:
        return cells.ABSENT
    return f"{100 * estimate.interval.low:+.1f} to {100 * estimate.interval.high:+.1f}"


def _p_value(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"
