"""The verb ``replay``: a decode, step by step, in the terminal or as a picture that moves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parallelbench.cli.asked import INDEX, refuse_idle
from parallelbench.console.terminal import new_console, tell
from parallelbench.errors import RequestError

if TYPE_CHECKING:
    from parallelbench.analysis.replay.scene import Scene
    from parallelbench.analysis.replay.steps import Replay

#: Wide enough for a canvas, where there is no terminal that would cut it off.
_PIPED = 500
_PICTURES = (".gif", ".svg")


@click.command(short_help="Replay a decode step by step.")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--sample", help="TASK/NUMBER, or a number if the run has one task.")
@click.option("--decoder", "decoders", multiple=True, help="A setting's label, or two.")
@click.option("--model", help="A model's label.")
@click.option("--step", type=INDEX, help="Only the canvas behind that step.")
@click.option("--all", "every", is_flag=True, help="Print every step below the other.")
@click.option(
    "--delay",
    type=click.FloatRange(min=0.01, max=60),
    default=0.8,
    show_default=True,
    help="Seconds between steps.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="FILE.svg or FILE.gif."
)
@click.option("--json", "as_json", is_flag=True, help="Print the steps as JSON.")
def replay(  # noqa: PLR0913  each is an option
    *,
    run: Path,
    sample: str | None,
    decoders: Sequence[str],
    model: str | None,
    step: int | None,
    every: bool,
    delay: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Replay a decode of RUN, a run directory: what each step wrote, and could not know.

    Where nothing is named it is the clearest failure, beside a setting that got the same sample
    right.  On a terminal it moves; what is piped, or asked for with --all, is a list.  A position
    that is written is marked with +, one that is opened again with -.

    \b
    Examples:
      parallelbench replay runs/3f2a9c1b7d04
      parallelbench replay runs/3f2a9c1b7d04 --sample waiting_line/shuffle/3 --step 2
      parallelbench replay runs/3f2a9c1b7d04 --decoder 'random:k=1,random:k=4' --out glued.svg
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.analysis.replay.choice import Wanted, choose
    from parallelbench.analysis.replay.steps import Replayer
    from parallelbench.run.rundir import RunDirectory
    from parallelbench.setting import split_settings

    if sum((step is not None, every, out is not None, as_json)) > 1:
        raise click.UsageError("replay takes one of --step, --all, --out and --json")
    if step is not None or every or as_json:
        refuse_idle("only what moves on a terminal, and --out, wait between steps", "delay")
    if out is not None and out.suffix not in _PICTURES:
        raise click.UsageError(f"--out {out}: replay writes files that end in .svg or .gif")
    directory = RunDirectory.open(run)
    labels = tuple(label for each in decoders for label in split_settings(each))
    chosen = choose(directory, Wanted(sample, labels, model))
    replayer = Replayer(directory.runfile)
    replays = [replayer.replay(record) for record in chosen]
    if as_json:
        tell(json.dumps([_as_dict(each) for each in replays], indent=1))
    elif out is not None:
        _draw(replays, delay, out, directory.runfile.digest)
        tell(str(out))
    else:
        _show(replays, step, delay, every=every)


def _show(replays: Sequence[Replay], step: int | None, delay: float, *, every: bool) -> None:
    from parallelbench.analysis.replay import terminal
    from parallelbench.analysis.replay.scene import scene_of

    # What a terminal does not show must not be lost on a file either.
    console = new_console(highlight=False, width=None if sys.stdout.isatty() else _PIPED)
    scene = scene_of(replays)
    if step is not None:
        terminal.show(console, scene, _tick(scene, step))
    elif every or not console.is_terminal:
        terminal.write_all(console, scene)
    else:
        terminal.play(console, scene, delay)


def _tick(scene: Scene, step: int) -> int:
    steps = max(panel.steps for panel in scene.panels)
    if step > steps:
        raise RequestError(f"--step {step}: {scene.title} was decoded in {steps} steps")
    return max(panel.tick_of(step) for panel in scene.panels)


def _draw(replays: Sequence[Replay], delay: float, out: Path, digest: str) -> None:
    from parallelbench.analysis.replay.scene import scene_of
    from parallelbench.storage.folders import storage

    if out.suffix == ".svg":
        from parallelbench.analysis.replay.svg import to_svg

        content = to_svg(scene_of(replays), delay, f"parallelbench replay, run {digest}").encode()
    else:
        from parallelbench.analysis.replay.gif import letters, to_gif

        content = to_gif(scene_of(replays, letters()), delay)
    with storage(out):
        out.write_bytes(content)


def _as_dict(replay: Replay) -> dict[str, Any]:
    from parallelbench.analysis.replay.gallery import what_was_lost

    record = replay.record
    steps = [
        {
            "positions": list(step.positions),
            "ids": list(step.ids),
            "texts": [replay.text(token) for token in step.ids],
            "bits": step.bits,
            "answers": step.answers,
            "probabilities": list(step.probabilities),
        }
        for step in replay.steps
    ]
    return {
        "model": record.model,
        "task": record.task_label,
        "index": record.index,
        "decoder": record.decoder_label,
        "repeat": record.repeat,
        "oracle": record.oracle,
        "status": record.status,
        "text": record.text,
        "marks": None if record.marks is None else record.marks.model_dump(),
        "canvas": record.canvas,
        "answers": replay.answers,
        "steps": steps,
        "lost": None if replay.lost is None else replay.lost + 1,
        "told": what_was_lost(replay),
        "missing": replay.missing,
        "right_answer": None if replay.right is None else replay.right.text,
    }
