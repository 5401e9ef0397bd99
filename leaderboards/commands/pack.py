"""The verbs of an entry: ``pack`` a run, ``verify`` the folder, ``add`` it to a board."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import WholeNumber, refuse_idle
from parallelbench.console.terminal import tell
from parallelbench.ranges import LEAST_SPOT_CHECK, MOST_REPEATS, MOST_RUNS, MOST_SAMPLES

_PATH = click.Path(path_type=Path)
_A_WEEK = 604_800
#: Option of every verb that checks entries.
limited = click.option(
    "--seconds",
    type=WholeNumber(1, _A_WEEK),
    default=600,
    show_default=True,
    help="Time limit for checking an entry, whose chat template might never end.",
)


@click.command(cls=Verb, name="run-file", short_help="Write the run file of a season.")
@click.argument("season")
@click.option("--model", "models", multiple=True, required=True, help="Model, such as hf:PATH.")
@click.option(
    "--decoders",
    multiple=True,
    default=("*:*",),
    show_default=True,
    help="Decoder settings, presets or grids, such as 'confidence:k=1|2|4'.",
)
@click.option(
    "--repeats",
    type=WholeNumber(1, MOST_REPEATS),
    default=1,
    show_default=True,
    help="Decodes of each sample.",
)
def run_file(season: str, models: Sequence[str], decoders: Sequence[str], repeats: int) -> None:
    """Write the run file of a season: its tasks, samples and seed, your model and decoders.

    Examples:
      parallelbench leaderboard run-file 2026-1 --model hf:PATH > run.yaml
      parallelbench run run.yaml --out runs/mine
    """
    from parallelbench.leaderboards.commands.actions import season_runfile

    runfile = season_runfile(season, models, decoders, repeats)
    for remark in runfile.remarks:
        tell(remark, err=True)
    tell(runfile.to_yaml(), nl=False)


@click.command(cls=Verb, short_help="Make an entry of a finished run.")
@click.argument("run", type=_PATH)
@click.option("--submitter", required=True, help="Person or group responsible for the entry.")
@click.option("--out", required=True, type=_PATH, help="The entry's folder, new or empty.")
@click.option("--title", help="Title on the board.  [default: submitter and models]")
@click.option("--contact", help="Your address; everybody will see it.")
@click.option("--link", help="Address of a page about the entry: https://...")
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
    help="yes: the weights were trained on answers to these tasks.  [default: unknown, or the "
    "known value for a built-in model]",
)
@click.option("--disclosure", default="", help="Anything else that a reader should know.")
@click.option("--licence", help="SPDX identifier of the licence of the weights.")
@click.option(
    "--runs-made",
    type=WholeNumber(1, MOST_RUNS),
    metavar="N",
    help="Number of runs of the season that you made, this one included; the board shows it.",
)
@limited
def pack(run: Path, out: Path, seconds: int, **statement: Any) -> None:
    r"""Make an entry of a finished run: everything needed to compute its figures again.

    The entry is verified before it is written, so `verify` accepts every packed entry.

    Examples:
      parallelbench leaderboard pack runs/mine --submitter 'A. Person' --out entry
      parallelbench leaderboard pack runs/mine --submitter 'A. Group' --out entry \
                                     --division closed --trained-on-suite no --licence MIT
    """
    from parallelbench.leaderboards.commands.actions import pack_run

    submission = pack_run(run, out, seconds, statement)
    size = sum(file.stat().st_size for file in out.iterdir())
    tell(
        f"{out}: {submission.title!r}, season {submission.season}, division {submission.division}, "
        f"trained on the suite: {submission.trained_on_suite}, {size / 1e6:.1f} MB, verified; now: "
        f"parallelbench leaderboard add {out}"
    )


@click.command(cls=Verb, short_help="Compute every figure of an entry again.")
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...", type=_PATH)
@click.option(
    "--spot-check",
    type=WholeNumber(LEAST_SPOT_CHECK, MOST_SAMPLES),
    metavar="K",
    help=f"Decode K records of each model again, {LEAST_SPOT_CHECK} or more, chosen at random, "
    "with the named weights.",
)
@click.option("--reproduce", is_flag=True, help="Decode all of them again.")
@limited
@click.option(
    "--weights", help="Setting of the model with the weights on this machine, such as hf:FOLDER."
)
@click.option(
    "--record",
    is_flag=True,
    help="Write the result next to the entry, as the keeper of its board.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def verify(
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

    Nothing is downloaded.  Records of the models of this package are decoded again, all of ideal
    and 200 of mini; those of other models if --spot-check or --reproduce asks for it.  The exit
    status is 2 if an entry is refused, with a sentence for each fault.

    Examples:
      parallelbench leaderboard verify entry
      parallelbench leaderboard verify entry --spot-check 20 --weights hf:checkpoints/mine
      parallelbench leaderboard verify leaderboards/submissions/mini --reproduce --record
    """
    from parallelbench.leaderboards.commands.actions import SpotCheck, verify_entry

    if reproduce:
        refuse_idle("--reproduce decodes all records again", "spot_check")
    elif not spot_check:
        refuse_idle("it is for --spot-check and --reproduce, which decode again", "weights")
    decode_again = bool(spot_check or reproduce)
    request = SpotCheck(None if reproduce else spot_check, weights) if decode_again else None
    results = []
    for path in entries:
        results.append(verify_entry(path, seconds, request, record=record))
        if not as_json:
            _show(results[-1])
    if as_json:
        tell(json.dumps(results, indent=1))
    click.get_current_context().exit(2 if any(each["faults"] for each in results) else 0)


@click.command(cls=Verb, short_help="Verify an entry and copy it to a board.")
@click.argument("entry", type=_PATH)
@click.option(
    "--board",
    type=_PATH,
    default=Path("leaderboards/submissions"),
    show_default=True,
    help="The board's folder.",
)
@click.option("--name", help="Name of the entry on the board.  [default: the folder's name]")
@click.option(
    "--fresh", is_flag=True, help="Verify it even if this machine has verified it before."
)
@limited
def add(entry: Path, board: Path, name: str | None, seconds: int, *, fresh: bool) -> None:
    """Check an entry and copy it to a board, completely or not at all.

    Records that are already on the board, under any name, are refused.

    Example:
      parallelbench leaderboard add entry --name my-model
    """
    from parallelbench.leaderboards.commands.actions import add_entry

    added = add_entry(entry, board, name, seconds, fresh=fresh)
    tell(f"{board / added.name}: {added.level_told}; {len(added.records):,} records")


def _show(result: dict[str, Any]) -> None:
    if result["faults"]:
        tell(f"{result['entry']}: refused", err=True)
        for fault in result["faults"]:
            tell(f"  {' '.join(fault.split())}", err=True)
        return
    tell(
        f"{result['entry']}: {result['level_told']}; {result['records']:,} records of season "
        f"{result['season']} hold what they claim"
    )
    for remark in result["remarks"]:
        tell(f"  {' '.join(remark.split())}")
