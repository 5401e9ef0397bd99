"""The verbs of an entry: ``pack`` a run, ``verify`` the folder, ``add`` it to a board."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parallelbench.cli.options import refuse_idle
from parallelbench.console.terminal import tell
from parallelbench.ranges import LEAST_SPOT_CHECK, MOST_REPEATS, MOST_RUNS, MOST_SAMPLES

if TYPE_CHECKING:
    from parallelbench.leaderboards.verify.verification import Verified

_PATH = click.Path(path_type=Path)
_A_WEEK = 604_800
#: For every verb that checks entries.
limited = click.option(
    "--seconds",
    type=click.IntRange(1, _A_WEEK),
    default=600,
    show_default=True,
    help="How long checking an entry may take: a stranger's chat template might never end.",
)


@click.command(name="run-file", short_help="Write the run file of a season.")
@click.argument("season")
@click.option("--model", "models", multiple=True, required=True, help="Such as hf:PATH.")
@click.option(
    "--decoders",
    multiple=True,
    default=("*:*",),
    show_default=True,
    help="Settings, presets, grids: 'confidence:k=1|2|4'.",
)
@click.option("--repeats", type=click.IntRange(1, MOST_REPEATS), default=1, show_default=True)
def run_file(season: str, models: Sequence[str], decoders: Sequence[str], repeats: int) -> None:
    """Write the run file of a season: its tasks, samples and seed, your model and decoders.

    \b
    Examples:
      parallelbench leaderboard run-file 2026-1 --model hf:PATH > run.yaml
      parallelbench run run.yaml --out runs/mine
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.leaderboards.entry.season import season as called
    from parallelbench.run.runfile import make_runfile

    of = called(season)
    runfile = make_runfile(
        {
            "models": list(models),
            "tasks": [{"name": task.name, "fields": dict(task.fields)} for task in of.tasks],
            "decoders": list(decoders),
            "samples": of.samples,
            "seed": of.seed,
            "repeats": repeats,
        },
        where=f"season {season}",
    )
    for remark in runfile.remarks:
        tell(remark, err=True)
    tell(runfile.to_yaml(), nl=False)


@click.command(short_help="Make an entry of a finished run.")
@click.argument("run", type=_PATH)
@click.option("--submitter", required=True, help="Who stands for the entry: a person or group.")
@click.option("--out", required=True, type=_PATH, help="The entry's folder, new or empty.")
@click.option("--title", help="What the board calls it.  [default: submitter and models]")
@click.option("--contact", help="How to reach you; everybody will see it.")
@click.option("--link", help="A page about it: https://...")
@click.option(
    "--division",
    type=click.Choice(["closed", "open"]),
    default="open",
    show_default=True,
    help="closed: published weights and decoders of this suite, as they are.",
)
@click.option(
    "--trained-on-suite",
    type=click.Choice(["yes", "no", "unknown"]),
    help="Whether the weights have seen answers of these tasks.  [default: unknown, or what is "
    "known of a built-in model]",
)
@click.option("--disclosure", default="", help="What else a reader should know.")
@click.option("--licence", help="Of the weights, as SPDX names it.")
@click.option(
    "--runs-made",
    type=click.IntRange(1, MOST_RUNS),
    metavar="N",
    help="How many runs of the season you made, this one included; the board shows it.",
)
@limited
def pack(run: Path, out: Path, seconds: int, **said: Any) -> None:
    """Make an entry of a finished run: all that is needed to compute its figures again.

    The entry is verified before it appears, so what is packed is what `verify` accepts.

    \b
    Examples:
      parallelbench leaderboard pack runs/mine --submitter 'A. Person' --out entry
      parallelbench leaderboard pack runs/mine --submitter 'A. Group' --out entry \\
                                     --division closed --trained-on-suite no --licence MIT
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.console.progress import shown
    from parallelbench.leaderboards.commands.packing import Statement
    from parallelbench.leaderboards.commands.packing import pack as carry_out
    from parallelbench.leaderboards.verify.cache import VerificationCache

    with shown(f"packing {run}") as progress:
        statement = Statement(**said)
        submission = carry_out(
            run,
            out,
            statement,
            cache=VerificationCache(),
            progress=progress,
            seconds=seconds,
        )
    size = sum(file.stat().st_size for file in out.iterdir())
    tell(
        f"{out}: {submission.title!r}, season {submission.season}, division {submission.division}, "
        f"trained on the suite: {submission.trained_on_suite}, {size / 1e6:.1f} MB, verified; now: "
        f"parallelbench leaderboard add {out}"
    )


@click.command(short_help="Compute every figure of an entry again.")
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...", type=_PATH)
@click.option(
    "--spot-check",
    type=click.IntRange(LEAST_SPOT_CHECK, MOST_SAMPLES),
    metavar="K",
    help=f"Decode K records of each model again, {LEAST_SPOT_CHECK} or more, chosen at random, "
    "with the named weights.",
)
@click.option("--reproduce", is_flag=True, help="Decode all of them again.")
@limited
@click.option("--weights", help="Where the weights lie here, such as hf:FOLDER.")
@click.option(
    "--record",
    is_flag=True,
    help="Write down beside an entry of a board how far it was checked, as the board's keeper.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def verify(  # noqa: PLR0913  each is an option
    entries: Sequence[Path],
    spot_check: int | None,
    seconds: int,
    weights: str | None,
    *,
    reproduce: bool,
    record: bool,
    as_json: bool,
) -> None:
    """Compute every figure of an entry again from its folder, and refuse what differs.

    Nothing is fetched.  Records of the models of this package are decoded again, all of ideal and
    200 of mini; those of other models if --spot-check or --reproduce asks for it.  The exit status
    is 2 where an entry is refused, with a sentence for each fault.

    \b
    Examples:
      parallelbench leaderboard verify entry
      parallelbench leaderboard verify entry --spot-check 20 --weights hf:checkpoints/mine
      parallelbench leaderboard verify leaderboards/submissions/mini --reproduce --record
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.console.progress import shown
    from parallelbench.errors import SubmissionError
    from parallelbench.leaderboards.board.board import write_check
    from parallelbench.leaderboards.commands.regenerate import regenerated
    from parallelbench.leaderboards.verify.cache import VerificationCache
    from parallelbench.leaderboards.verify.verification import verified

    if reproduce:
        refuse_idle("--reproduce decodes all records again", "spot_check")
    elif not spot_check:
        refuse_idle("it is for --spot-check and --reproduce, which decode again", "weights")
    told: list[dict[str, Any]] = []
    for path in entries:
        try:
            with shown(f"verifying {path}") as progress:
                cache = VerificationCache(fresh=True)
                found = verified(path, cache=cache, progress=progress, seconds=seconds)
            if spot_check or reproduce:
                count = None if reproduce else spot_check
                with shown(f"decoding records of {path} again"):
                    found = regenerated(found, count, weights=weights)
            if record:
                write_check(path.resolve().parent, found)
        except SubmissionError as error:
            told.append({"entry": str(path), "level": None, "faults": list(error.faults)})
        else:
            told.append(_told(path, found))
        if not as_json:
            _show(told[-1])
    if as_json:
        tell(json.dumps(told, indent=1))
    click.get_current_context().exit(2 if any(each["faults"] for each in told) else 0)


@click.command(short_help="Verify an entry and copy it to a board.")
@click.argument("entry", type=_PATH)
@click.option(
    "--board",
    type=_PATH,
    default=Path("leaderboards/submissions"),
    show_default=True,
    help="The board's folder.",
)
@click.option("--name", help="What the board calls it.  [default: the folder's name]")
@click.option("--fresh", is_flag=True, help="Verify it again, also if this machine has before.")
@limited
def add(entry: Path, board: Path, name: str | None, seconds: int, *, fresh: bool) -> None:
    """Check an entry and copy it to a board, whole or not at all.

    Records that are on the board already, under whatever name, are refused.

    \b
    Example:
      parallelbench leaderboard add entry --name my-model
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.console.progress import shown
    from parallelbench.leaderboards.board.board import add as carry_out
    from parallelbench.leaderboards.verify.cache import VerificationCache

    with shown(f"verifying {entry}") as progress:
        cache = VerificationCache(fresh=fresh)
        found = carry_out(entry, board, name=name, cache=cache, progress=progress, seconds=seconds)
    tell(f"{board / found.name}: {found.level_told}; {len(found.records):,} records")


def _told(path: Path, found: Verified) -> dict[str, Any]:
    entry = found.entry
    return {
        "entry": str(path),
        "title": entry.submission.title,
        "season": entry.submission.season,
        "division": entry.submission.division,
        "level": entry.level,
        "level_told": entry.level_told,
        "records": len(entry.records),
        "manifest_sha256": found.digest,
        "remarks": list(entry.remarks),
        "faults": [],
    }


def _show(told: dict[str, Any]) -> None:
    if told["faults"]:
        tell(f"{told['entry']}: refused", err=True)
        for fault in told["faults"]:
            tell(f"  {' '.join(fault.split())}", err=True)
        return
    tell(
        f"{told['entry']}: {told['level_told']}; {told['records']:,} records of season "
        f"{told['season']} hold what they claim"
    )
    for remark in told["remarks"]:
        tell(f"  {' '.join(remark.split())}")
