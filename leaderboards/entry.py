"""A row of the board before it is ranked: a submission, its records, and how far it was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parallelbench.leaderboards.submission import Level, Submission
from parallelbench.record import Record


@dataclass(frozen=True)
class Entry:
    """A submission whose records were checked.

    Attributes:
        name: Of its folder: letters, digits, ``-``, ``_`` and ``.``.
        submission: What it says of itself.
        records: Every decode, of the dev part too; marks and counts are recomputed ones.
        level: How far it was checked.
        remarks: What a reader should know of the check, in sentences.
    """

    name: str
    submission: Submission
    records: Sequence[Record]
    level: Level
    remarks: Sequence[str] = ()
