"""The work of the verb ``replay``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from parallelbench.analysis.replay import terminal
from parallelbench.analysis.replay.choice import ReplayRequest, choose
from parallelbench.analysis.replay.gallery import what_was_lost
from parallelbench.analysis.replay.gif import letters, to_gif
from parallelbench.analysis.replay.scene import Scene, scene_of
from parallelbench.analysis.replay.steps import Replay, Replayer
from parallelbench.analysis.replay.svg import to_svg
from parallelbench.cli.options import refuse_idle
from parallelbench.console.tables import new_console
from parallelbench.console.terminal import tell
from parallelbench.errors import RequestError
from parallelbench.run.rundir import RunDirectory
from parallelbench.setting import split_settings
from parallelbench.storage.folders import storage

#: Wide enough for a canvas, where there is no terminal that would cut it off.
_PIPED = 500
_PICTURES = (".gif", ".svg")


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """The arguments of the verb ``replay``; its help explains them."""

    run: Path
    sample: str | None
    decoders: Sequence[str]
    model: str | None
    step: int | None
    every: bool
    delay: float
    out: Path | None
    as_json: bool


def replay(options: ReplayOptions) -> None:
    """Replay decodes of a run: print them, draw them or play them on the terminal."""
    _refuse_contradictions(options)
    directory = RunDirectory.open(options.run)
    labels = tuple(label for each in options.decoders for label in split_settings(each))
    chosen = choose(directory, ReplayRequest(options.sample, labels, options.model))
    replayer = Replayer(directory.runfile)
    replays = [replayer.replay(record) for record in chosen]
    if options.as_json:
        tell(json.dumps([_as_dict(each) for each in replays], indent=1))
    elif options.out is not None:
        _draw(replays, options.delay, options.out, directory.runfile.digest)
        tell(str(options.out))
    else:
        _show(replays, options)


def _refuse_contradictions(options: ReplayOptions) -> None:
    moves = (options.step is not None, options.every, options.out is not None, options.as_json)
    if sum(moves) > 1:
        raise click.UsageError("replay takes one of --step, --all, --out and --json")
    if options.step is not None or options.every or options.as_json:
        refuse_idle("only what moves on a terminal, and --out, wait between steps", "delay")
    if options.out is not None and options.out.suffix not in _PICTURES:
        raise click.UsageError(f"--out {options.out}: replay writes files that end in .svg or .gif")


def _show(replays: Sequence[Replay], options: ReplayOptions) -> None:
    # What a terminal does not show must not be lost on a file either.
    console = new_console(highlight=False, width=None if sys.stdout.isatty() else _PIPED)
    scene = scene_of(replays)
    if options.step is not None:
        terminal.show(console, scene, _tick(scene, options.step))
    elif options.every or not console.is_terminal:
        terminal.write_all(console, scene)
    else:
        terminal.play(console, scene, options.delay)


def _tick(scene: Scene, step: int) -> int:
    steps = max(panel.steps for panel in scene.panels)
    if step > steps:
        raise RequestError(f"--step {step}: {scene.title} was decoded in {steps} steps")
    return max(panel.tick_of(step) for panel in scene.panels)


def _draw(replays: Sequence[Replay], delay: float, out: Path, digest: str) -> None:

    if out.suffix == ".svg":
        content = to_svg(scene_of(replays), delay, f"parallelbench replay, run {digest}").encode()
    else:
        content = to_gif(scene_of(replays, letters()), delay)
    with storage(out):
        out.write_bytes(content)


def _as_dict(replay: Replay) -> dict[str, Any]:

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
        "model": record.model_label,
        "task": record.task_label,
        "index": record.index,
        "decoder": record.decoder_label,
        "repeat": record.repeat,
        "oracle": record.decoder.oracle,
        "status": record.status,
        "text": record.text,
        "marks": None if record.marks is None else record.marks.model_dump(),
        "canvas": record.require_decoding().canvas,
        "answers": replay.answers,
        "steps": steps,
        "total_bits": replay.total_bits,
        "lost": None if replay.lost is None else replay.lost + 1,
        "told": what_was_lost(replay),
        "missing": replay.missing,
        "right_answer": None if replay.right is None else replay.right.text,
    }
