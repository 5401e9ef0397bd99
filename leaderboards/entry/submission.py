"""What a submission says of itself: who decoded what, with which weights, in which division.

Nothing here is believed: what can be recomputed is, and the rest is shown as a claim.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from parallelbench.leaderboards.entry import wording
from parallelbench.ranges import MOST_RUNS

SCHEMA_VERSION: Final = 1

#: Models whose tokenizer and weights are in this package.
BUILT_IN: Final = ("ideal", "mini")

_CONFIG = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

_Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(wording.showing)]
_Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(wording.name)]
_Paragraph = Annotated[str, Field(max_length=2000), AfterValidator(wording.showing_lines)]
_Version = Annotated[str, Field(max_length=64), AfterValidator(wording.version)]
_Link = Annotated[str, Field(max_length=500), AfterValidator(wording.link)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

#: ``closed``: published weights and a decoder that this suite has, as they are; ``open``:
#: anything else, such as weights that were tuned for the suite or a strategy of one's own.
Division = Literal["closed", "open"]

#: How far a submission was checked; each holds all that stands before it.
Level = Literal["self-reported", "recomputed", "spot-checked", "reproduced"]


class SubmittedModel(BaseModel):
    """A model that decoded.

    Attributes:
        label: Its setting, as in the records.
        name: What people call it, such as a hub id.
        revision: Of its weights; None where there is none, as of the ideal model.
        digest: What identifies its predictions, as in the records.
        weights_digest: What identifies its weights alone; None if it has none.
        licence: As SPDX names it, or in words.
    """

    model_config = _CONFIG

    label: _Line
    name: _Line
    revision: _Line | None = None
    digest: _Digest
    weights_digest: _Digest | None = None
    licence: _Name | None = None


class SubmittedDecoder(BaseModel):
    """A decoder setting with every field spelled out."""

    model_config = _CONFIG

    label: _Line
    name: _Line
    fields: dict[str, Any]


class Submission(BaseModel):
    """The content of ``submission.yaml``.

    Attributes:
        schema_version: Of this form.
        title: What the board calls it.
        submitter: Who stands for it.
        contact: How to reach them; shown on the board.
        link: A page about it, as :func:`~parallelbench.leaderboards.entry.wording.link` has it.
        division: See :data:`Division`.
        trained_on_suite: Whether the weights have seen answers of this suite's tasks.
        disclosure: What else a reader should know, in words.
        runs_made: How many runs of the season were made before this one was chosen, itself
            included, 1 to 1,000,000; None where nobody said.
        season: Whose samples were decoded.
        library_version: Of the package that decoded.
        task_versions: Of each task, by label.
        models: Which decoded.
        decoders: Every setting that decoded.
    """

    model_config = _CONFIG

    schema_version: Literal[1] = SCHEMA_VERSION
    title: _Name
    submitter: _Name
    contact: _Name | None = None
    link: _Link | None = None
    division: Division
    trained_on_suite: Literal["yes", "no", "unknown"]
    disclosure: _Paragraph = ""
    runs_made: Annotated[int, Field(ge=1, le=MOST_RUNS)] | None = None
    season: _Line
    library_version: _Version
    task_versions: Annotated[dict[str, int], Field(min_length=1)]
    models: Annotated[tuple[SubmittedModel, ...], Field(min_length=1, strict=False)]
    decoders: Annotated[tuple[SubmittedDecoder, ...], Field(min_length=1, strict=False)]
