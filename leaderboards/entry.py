"""A row of the board before it is ranked: a submission, its records, and how far it was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parallelbench.leaderboards.first_prompt import FirstPrompt
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
        first_prompts: Of each model that is no server, what it reads.
    """

    name: str
    submission: Submission
    records: Sequence[Record]
    level: Level
    remarks: Sequence[str] = ()
    first_prompts: Sequence[FirstPrompt] = ()
