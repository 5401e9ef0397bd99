"""The bound of a season: the fastest schedule without an error, from the exact law.

The ideal model of this package, as it comes, under the information oracle without a tolerance:
each call writes as many tokens as can be right for sure.  What it needs on the test part of a
season follows from nothing but the season, so it is stored next to the season's file, and no entry
has a say in it.  A test decodes it again;
``python -m parallelbench.leaderboards.board.bound SEASON`` writes the file of a new season.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from parallelbench.analysis.measures.losses import IDEAL
from parallelbench.analysis.measures.sweep import Sweep
from parallelbench.decoder import DECODERS
from parallelbench.leaderboards.entry.season import Season, season, seasons
from parallelbench.record import Record
from parallelbench.setting import make_setting

_DECODER = "information:eps=0"
_FILE = "{}.bound.json"


def bound_of(of_season: Season) -> Sweep | None:
    """Return the bound on the test part of a season, as a sweep of one setting.

    Every decode of it is right.  None where the season has no such file.
    """
    return _read(of_season.name, of_season.test)


@cache
def _read(name: str, test: range) -> Sweep | None:
    file = resources.files("parallelbench.leaderboards").joinpath("seasons", _FILE.format(name))
    if not file.is_file():
        return None
    held: dict[str, list[list[int]]] = json.loads(file.read_text("utf-8"))
    columns = [(task, index) for task in held for index in test]
    canvas, calls = np.array([pair for pairs in held.values() for pair in pairs]).T
    return Sweep(
        model=IDEAL,
        settings=(make_setting("information", {"eps": 0.0}, DECODERS),),
        tasks=tuple(task for task, _ in columns),
        indices=tuple(index for _, index in columns),
        canvas=canvas,
        accuracy=np.ones((1, len(columns))),
        canvas_tokens=canvas[None, :].astype(float),
        calls=calls[None, :].astype(float),
    )


def decoded_bound(
    of_season: Season, indices: Sequence[int] | None = None
) -> dict[str, list[list[int]]]:
    """Return canvas tokens and model calls of each decode of a bound, by the task's label.

    Args:
        of_season: The season whose samples are decoded.
        indices: Numbers of the samples; None takes the test part.
    """
    from parallelbench.evaluation import evaluate

    chosen = of_season.test if indices is None else indices
    found = evaluate(
        model=IDEAL,
        tasks=[task.label for task in of_season.tasks],
        decoders=[_DECODER],
        samples=max(chosen) + 1,
        seed=of_season.seed,
    )
    held: dict[str, dict[int, list[int]]] = {task.label: {} for task in of_season.tasks}
    for record in found.records:
        held[record.task_label][record.index] = _measured(record)
    return {task: [own[index] for index in chosen] for task, own in held.items()}


def _measured(record: Record) -> list[int]:
    if record.marks is None or record.decoding is None or record.marks.lenient < 1:
        raise ValueError(f"{record.task_label} sample {record.index} was not decoded rightly")
    return [len(record.decoding.output_ids), record.decoding.counts.nfe]


def main() -> None:
    """Write the bound of a season next to its file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("season", choices=sorted(seasons()))
    name = parser.parse_args().season
    content = decoded_bound(season(name))
    lines = [f"{json.dumps(task)}: {json.dumps(own)}" for task, own in content.items()]
    file = Path(__file__).parents[1] / "seasons" / _FILE.format(name)
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
