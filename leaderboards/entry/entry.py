"""A row of the board before it is ranked: a submission, its records, and how far it was checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from parallelbench.leaderboards.entry.first_prompt import FirstPrompt
from parallelbench.leaderboards.entry.submission import Level, Submission
from parallelbench.record import Record

_Count = Annotated[int, Field(ge=0)]


class Redecoded(BaseModel):
    """How many records of a model were decoded again.

    Attributes:
        records: So many, chosen at random unless all were.
        of: All that the entry holds of it.
        same: Those of them that gave the same tokens in the same number of calls.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    records: _Count
    of: _Count
    same: _Count

    @model_validator(mode="after")
    def _is_a_part(self) -> Redecoded:
        if not self.same <= self.records <= self.of:
            raise ValueError("no more can be the same than were decoded, nor than there are")
        return self


def level_of(labels: Iterable[str], redecoded: Mapping[str, Redecoded]) -> Level:
    """Return how far an entry of steered models was checked: as far as the least of them.

    Args:
        labels: Of its models.
        redecoded: What was decoded again, by these labels.
    """
    found = [redecoded.get(label) for label in labels]
    if any(each is None or each.records == 0 for each in found):
        return "recomputed"
    complete = all(each is not None and each.records == each.of for each in found)
    return "reproduced" if complete else "spot-checked"


@dataclass(frozen=True)
class Entry:
    """A submission whose records were checked.

    Attributes:
        name: Of its folder: letters, digits, ``-``, ``_`` and ``.``.
        submission: What it says of itself.
        records: Every decode, of the dev part too; marks and counts are recomputed ones.
        level: How far it was checked.
        remarks: What a reader should know of the check, in sentences.
        redecoded: What was decoded again, by the label of its model.
        first_prompts: Of each model that is no server, what it reads.
    """

    name: str
    submission: Submission
    records: Sequence[Record]
    level: Level
    remarks: Sequence[str] = ()
    redecoded: Mapping[str, Redecoded] = field(default_factory=dict)
    first_prompts: Sequence[FirstPrompt] = ()

    @property
    def level_told(self) -> str:
        """The level, with how many records were decoded again and came out the same."""
        found = self.redecoded.values()
        records, of, same = (
            sum(getattr(each, name) for each in found) for name in ("records", "of", "same")
        )
        if self.level not in {"spot-checked", "reproduced"} or not records:
            return self.level
        return f"{self.level}: {records:,} of {of:,} records, {100 * same / records:.1f} % the same"
