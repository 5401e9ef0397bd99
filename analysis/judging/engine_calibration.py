"""Calibrations of the grammar engines that mark a run, by engine and release.

The releases in ``analysis/judging/data/engines.csv`` judged the shipped calibration set
(:mod:`parallelbench.analysis.judging.calibration_set`); ``python benchmarks/engines.py`` adds the
installed ones.  Other releases have no shipped calibration, because new rules find other errors;
files of labelled and judged sentences add more.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from parallelbench.analysis.judging.judges import Calibration, JudgeError
from parallelbench.analysis.judging.verdicts import Item, calibration_of, read_items

#: Verdict counts of the engines on the shipped set.
SHIPPED_ENGINES = Path(str(files("parallelbench.analysis.judging"))) / "data" / "engines.csv"

_COUNTS = ("good_passed", "good_count", "bad_failed", "bad_count")


class EngineCalibration(NamedTuple):
    """Calibration of one engine release.

    Attributes:
        calibration: Verdict counts on labelled examples.
        source: Description of the examples.
    """

    calibration: Calibration
    source: str


def shipped_calibrations() -> dict[str, EngineCalibration]:
    """Return the shipped calibrations by engine and release, for example ``harper 0.2.0``."""
    with SHIPPED_ENGINES.open(encoding="utf-8", newline="") as file:
        return {
            row["judge"]: EngineCalibration(
                Calibration(*(int(row[count]) for count in _COUNTS)), "the shipped calibration set"
            )
            for row in csv.DictReader(file)
        }


def written_calibrations(calibrations: Mapping[str, Calibration]) -> str:
    """Return calibrations as CSV in the format of the shipped file."""
    lines = [
        f"{judge},{','.join(str(getattr(calibration, count)) for count in _COUNTS)}\n"
        for judge, calibration in sorted(calibrations.items())
    ]
    return "".join([f"judge,{','.join(_COUNTS)}\n", *lines])


def read_calibrations(
    paths: Sequence[Path], tell: Callable[[str], None] = lambda _: None
) -> dict[str, EngineCalibration]:
    """Return the calibration of each judge that files of labelled examples name.

    Args:
        paths: Files that :mod:`parallelbench.analysis.judging.verdicts` reads, with a column
            ``judge`` that holds engine and release as the records of a run do.
        tell: Function that is called with a sentence about ignored columns of a file.

    Raises:
        JudgeError: A file cannot be read, an example lacks its label, verdict or judge, a judge
            has examples of one class only, or two files name the same judge.
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
    """Refuse calibrations of judges that marked none of the runs.

    Args:
        known: Judges whose calibrations were given.
        engines: Engines that marked a run, with their releases.

    Raises:
        JudgeError: A judge is none of the engines.
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
