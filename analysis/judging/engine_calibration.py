"""What is known of the grammar engines that mark a run: calibrations by engine and release.

The releases in ``analysis/judging/data/engines.csv`` judged the shipped calibration set
(:mod:`parallelbench.analysis.judging.calibration_set`); ``python benchmarks/engines.py`` adds those
that are installed.  A release that is not there has no shipped calibration, for new rules find
other faults; files of labelled and judged sentences add more.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from parallelbench.analysis.judging.judges import Calibration, JudgeError
from parallelbench.analysis.judging.verdicts import Item, calibration_of, read_items

#: What the engines did with the shipped set.
SHIPPED_ENGINES = Path(str(files("parallelbench.analysis.judging"))) / "data" / "engines.csv"

_COUNTS = ("good_passed", "good_count", "bad_failed", "bad_count")


class EngineCalibration(NamedTuple):
    """What is known of an engine.

    Attributes:
        calibration: What it did with examples whose labels are known.
        source: Which examples those were.
    """

    calibration: Calibration
    source: str


def shipped_calibrations() -> dict[str, EngineCalibration]:
    """Return what is shipped, by engine and release, such as ``harper 0.2.0+doubled-words-1``."""
    with SHIPPED_ENGINES.open(encoding="utf-8", newline="") as file:
        return {
            row["judge"]: EngineCalibration(
                Calibration(*(int(row[count]) for count in _COUNTS)), "the shipped calibration set"
            )
            for row in csv.DictReader(file)
        }


def written_calibrations(calibrations: Mapping[str, Calibration]) -> str:
    """Return calibrations as CSV, as the shipped file holds them."""
    lines = [
        f"{judge},{','.join(str(getattr(calibration, count)) for count in _COUNTS)}\n"
        for judge, calibration in sorted(calibrations.items())
    ]
    return "".join([f"judge,{','.join(_COUNTS)}\n", *lines])


def read_calibrations(
    paths: Sequence[Path], tell: Callable[[str], None] = lambda _: None
) -> dict[str, EngineCalibration]:
    """Return what files of labelled examples say of each judge that they name.

    Args:
        paths: As :mod:`parallelbench.analysis.judging.verdicts` reads them, with a column ``judge``
            that holds engine and release as the records of a run do.
        tell: Is told in a sentence which columns of a file are ignored.

    Raises:
        JudgeError: A file cannot be read, an example lacks its label, verdict or judge, a
            judge has examples of one class only, or stands in two files.
    """
    known: dict[str, EngineCalibration] = {}
    for path in paths:
        for judge, items in _by_judge(read_items(path, tell)).items():
            if judge in known:
                raise JudgeError(
                    f"{path} and {known[judge].source} both hold verdicts of {judge}: give one "
                    "file for each judge"
                )
            known[judge] = EngineCalibration(calibration_of(items), path.name)
    return known


def refuse_unused(known: Iterable[str], engines: Iterable[str]) -> None:
    """Refuse calibrations of judges that marked nothing.

    Args:
        known: The judges whose calibrations were given.
        engines: Those that marked a run, with their releases.

    Raises:
        JudgeError: One is of another judge.
    """
    used = sorted(set(engines))
    for judge in known:
        if judge not in used:
            raise JudgeError(
                f"--calibration: {judge!r} marked none of the runs; their grammar is judged by "
                f"{', '.join(used) or 'nothing'}, and another release errs differently: calibrate "
                "that one"
            )


def _by_judge(items: Iterable[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        if item.judge is None:
            raise JudgeError(
                f"{item.where} does not say whose verdict it is: add a column judge with engine "
                "and release, as 'lingotweaker 0.2.8+data-0.1.6'"
            )
        groups.setdefault(item.judge, []).append(item)
    return groups
