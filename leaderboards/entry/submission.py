"""The statement of a submitter: decodes, weights, division and season of an entry.

Whatever can be recomputed is recomputed, and the rest is shown as a claim.
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

_ShownLine = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(wording.showing)]
_Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(wording.name)]
_Paragraph = Annotated[str, Field(max_length=2000), AfterValidator(wording.showing_lines)]
_Version = Annotated[str, Field(max_length=64), AfterValidator(wording.version)]
_Link = Annotated[str, Field(max_length=500), AfterValidator(wording.link)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

#: ``closed``: published weights and a decoder that this suite has, as they are; ``open``:
#: anything else, such as weights that were tuned for the suite or a strategy of one's own.
Division = Literal["closed", "open"]

#: Levels of the check of a submission; each one includes those before it.
Level = Literal["self-reported", "recomputed", "spot-checked", "reproduced"]


class SubmittedModel(BaseModel):
    """A model that decoded.

    Attributes:
        label: The model's setting, as in the records.
        name: Common name, such as a hub id.
        revision: Revision of the weights; None without one, as for the ideal model.
        digest: Model digest, as in the records.
        weights_digest: Digest of the weights alone; None without weights.
        licence: SPDX identifier of the licence, or a description.
    """

    model_config = _CONFIG

    label: _ShownLine
    name: _ShownLine
    revision: _ShownLine | None = None
    digest: _Digest
    weights_digest: _Digest | None = None
    licence: _Name | None = None


class SubmittedDecoder(BaseModel):
    """A decoder setting with every field spelled out."""

    model_config = _CONFIG

    label: _ShownLine
    name: _ShownLine
    fields: dict[str, Any]


class Submission(BaseModel):
    """The content of ``submission.yaml``.

    Attributes:
        schema_version: Version of this schema.
        title: Title on the board.
        submitter: Person or group responsible for the entry.
        contact: Address of the submitter; shown on the board.
        link: A page about it, as :func:`~parallelbench.leaderboards.entry.wording.link` has it.
        division: See :data:`Division`.
        trained_on_suite: ``yes`` if the weights were trained on answers to this suite's tasks.
        disclosure: Anything else that a reader should know.
        runs_made: Number of runs of the season from which this one was chosen, itself
            included, 1 to 1,000,000; None if not stated.
        season: Name of the season.
        library_version: Version of the package that decoded.
        task_versions: Version of each task, by label.
        models: Models that decoded.
        decoders: Decoder settings that decoded.
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
    season: _ShownLine
    library_version: _Version
    task_versions: Annotated[dict[str, int], Field(min_length=1)]
    models: Annotated[tuple[SubmittedModel, ...], Field(min_length=1, strict=False)]
    decoders: Annotated[tuple[SubmittedDecoder, ...], Field(min_length=1, strict=False)]
