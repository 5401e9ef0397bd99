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
    """Counts of the records of one model that were decoded again.

    Attributes:
        records: Number of records decoded again, chosen at random unless all were.
        of: Number of records of the model in the entry.
        same: Number of those decoded again with the same tokens in the same number of calls.
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
    """Return the level of an entry without servers: the lowest one of its models.

    Args:
        labels: Labels of its models.
        redecoded: Counts of records decoded again, by these labels.
    """
    counts = [redecoded.get(label) for label in labels]
    if any(each is None or each.records == 0 for each in counts):
        return "recomputed"
    complete = all(each is not None and each.records == each.of for each in counts)
    return "reproduced" if complete else "spot-checked"


@dataclass(frozen=True)
class Entry:
    """A submission whose records were checked.

    Attributes:
        name: Name of its folder: letters, digits, ``-``, ``_`` and ``.``.
        submission: Statement of the submitter.
        records: All records, the dev part included; marks and counts are recomputed.
        level: Level of the check.
        remarks: Sentences on the limits of the check, for readers.
        redecoded: Counts of records decoded again, by the label of their model.
        first_prompts: One prompt of each model that is no server.
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
        """The level with the numbers of records decoded again and reproduced."""
        counts = self.redecoded.values()
        records, of, same = (
            sum(getattr(each, name) for each in counts) for name in ("records", "of", "same")
        )
        if self.level not in {"spot-checked", "reproduced"} or not records:
            return self.level
        return f"{self.level}: {records:,} of {of:,} records, {100 * same / records:.1f} % the same"
