"""Records as lines of JSON: writes schema 2, reads schemas 1 and 2.

A line ends in a digest of its content, so that a torn or altered line is detected and never
becomes a wrong number.  Lines of schema 1 are read into the same :class:`Record` and are never
rewritten; entries are compared with their records in the schema of each line.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError

from parallelbench.errors import RecordsError
from parallelbench.record import (
    SCHEMA_VERSION,
    STRICT,
    Counts,
    Decoding,
    ForeignText,
    PublishedFigures,
    Record,
    RecordedDecoder,
    RecordedMarks,
    RecordedModel,
    RecordedSample,
    RecordedTask,
    Served,
    Status,
)
from parallelbench.trace import Trace

_DIGEST: Final = ',"digest":"'
_FLAT: Final = re.compile(r'\{\s*"schema_version"\s*:\s*1\s*,')


def to_line(record: Record) -> str:
    """Return ``record`` as one line of JSON, its digest last."""
    return _with_digest(record.model_dump_json())


def to_line_like(record: Record, line: str) -> str:
    """Return ``record`` in the schema of ``line``, for comparison with it.

    Args:
        record: A record.
        line: A line that :func:`from_line` reads.
    """
    return _with_digest(FlatRecord.of(record).to_json()) if _is_flat(line) else to_line(record)


def from_line(line: str, where: str) -> Record:
    """Return the record that ``line`` holds, in schema 1 or 2.

    Args:
        line: Output of :func:`to_line`, of this release or of one that wrote schema 1; its line
            end may have been converted to that of Windows.
        where: File and line number, for the error's sentence.

    Raises:
        RecordsError: The line is torn, was altered, or has another schema.
    """
    # The digest covers what the line says, so an end that was converted can hide nothing.
    content = line.rstrip("\n").removesuffix("\r")
    body, found, digest = content.rpartition(_DIGEST)
    if not line.endswith("\n") or not found or not digest.endswith('"}'):
        raise RecordsError(f"{where} is torn: it ends in the middle of a record")
    if _digest_of(body) != digest[:-2]:
        raise RecordsError(f"{where} was altered: its digest does not match what it says")
    flat = _is_flat(line)
    try:
        if flat:
            return FlatRecord.model_validate_json(body + "}").record()
        return Record.model_validate_json(body + "}")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise RecordsError(
            f"{where} does not have the form of schema version {1 if flat else SCHEMA_VERSION}: "
            f"{field}: {first['msg'].lower()}"
        ) from error


class FlatRecord(BaseModel):
    """A record in schema 1: one object, in which some fields are None together.

    The fields are those of :class:`Record` and of the objects in it.
    """

    model_config = STRICT

    schema_version: Literal[1] = 1
    library_version: str
    model: str
    model_digest: str
    weights_digest: str | None = None
    task: str
    task_fields: dict[str, Any]
    task_label: str
    task_version: int
    engines: dict[str, str] = {}
    sources: dict[str, str] = {}
    decoder: str
    decoder_fields: dict[str, Any]
    decoder_label: str
    oracle: bool
    sample: str
    sample_digest: str
    index: int
    seed: int
    repeat: int
    prompt_digest: str
    prompt_tokens: int | None
    mask_id: int | None
    end_id: int | None
    stop_ids: list[int] = []
    initial_ids: list[int] | None
    output_ids: list[int] | None
    text: ForeignText
    status: Status
    error: ForeignText | None
    note: ForeignText | None = None
    marks: RecordedMarks | None
    counts: Counts | None
    trace: Trace | None
    served: Served | None = None
    published: PublishedFigures | None = None
    seconds: float

    @classmethod
    def of(cls, record: Record) -> FlatRecord:
        """Return ``record`` in schema 1."""
        model, task, decoder, sample = record.model, record.task, record.decoder, record.sample
        return cls(
            library_version=record.library_version,
            model=model.label,
            model_digest=model.digest,
            weights_digest=model.weights_digest,
            task=task.name,
            task_fields=task.fields,
            task_label=task.label,
            task_version=task.version,
            engines=task.engines,
            sources=task.sources,
            decoder=decoder.name,
            decoder_fields=decoder.fields,
            decoder_label=decoder.label,
            oracle=decoder.oracle,
            sample=sample.id,
            sample_digest=sample.digest,
            **{name: getattr(sample, name) for name in _SAMPLE_FIELDS},
            **_flat_decoding(record.decoding),
            **{name: getattr(record, name) for name in _SHARED_FIELDS},
        )

    def record(self) -> Record:
        """Return the record.

        Raises:
            ValidationError: Some of the fields that only a decode with steps has are missing.
        """
        return Record(
            library_version=self.library_version,
            model=RecordedModel(
                label=self.model, digest=self.model_digest, weights_digest=self.weights_digest
            ),
            task=RecordedTask(
                name=self.task,
                label=self.task_label,
                fields=self.task_fields,
                version=self.task_version,
                engines=self.engines,
                sources=self.sources,
            ),
            decoder=RecordedDecoder(
                name=self.decoder,
                label=self.decoder_label,
                fields=self.decoder_fields,
                oracle=self.oracle,
            ),
            sample=RecordedSample(
                id=self.sample,
                digest=self.sample_digest,
                **{name: getattr(self, name) for name in _SAMPLE_FIELDS},
            ),
            decoding=self._decoding(),
            **{name: getattr(self, name) for name in _SHARED_FIELDS},
        )

    def to_json(self) -> str:
        """Return the record as JSON, without the empty fields that schema 1 leaves out."""
        left_out: dict[str, Any] = {} if self.sources else {"sources": True}
        if self.published is None:
            left_out["published"] = True
        if self.served is not None:
            optional = {"content": self.served.content, "reasoning": self.served.reasoning}
            left_out["served"] = {name for name, value in optional.items() if value is None}
        return self.model_dump_json(exclude=left_out)

    def _decoding(self) -> Decoding | None:
        values = {name: getattr(self, name) for name in Decoding.model_fields}
        return None if values == _flat_decoding(None) else Decoding(**values)


_SAMPLE_FIELDS: Final = ("index", "seed", "repeat", "prompt_digest")
_SHARED_FIELDS: Final = ("text", "status", "error", "marks", "served", "published", "seconds")


def _flat_decoding(decoding: Decoding | None) -> dict[str, Any]:
    """Return the fields of ``decoding``; without one, those that schema 1 wrote in its place."""
    if decoding is None:
        return {**dict.fromkeys(Decoding.model_fields), "stop_ids": []}
    return {name: getattr(decoding, name) for name in Decoding.model_fields}


def _is_flat(line: str) -> bool:
    return _FLAT.match(line) is not None


def _with_digest(content: str) -> str:
    body = content[:-1]
    return f'{body}{_DIGEST}{_digest_of(body)}"}}\n'


def _digest_of(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
