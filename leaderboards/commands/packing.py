"""A finished run -> a folder that holds all that is needed to compute its figures again."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from parallelbench.console.progress import SILENT, ProgressDisplay
from parallelbench.errors import RunFileError, SubmissionError
from parallelbench.leaderboards.entry.confined import SECONDS
from parallelbench.leaderboards.entry.eligibility import reads_a_file, refuse_published, season_of
from parallelbench.leaderboards.entry.folder import (
    CODEC,
    ENVIRONMENT,
    RECORDS,
    RESULTS,
    RUN,
    SUBMISSION,
    parse_as,
    write_manifest,
)
from parallelbench.leaderboards.entry.season import Season
from parallelbench.leaderboards.entry.submission import BUILT_IN, Division, Submission
from parallelbench.leaderboards.entry.tokenizer_file import to_file
from parallelbench.leaderboards.verify.cache import VerificationCache
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.model import MODELS
from parallelbench.record import Record
from parallelbench.record_line import to_line
from parallelbench.results.result import summarize
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting, build
from parallelbench.storage.folders import appearing, refuse_occupied, storage
from parallelbench.task import TASKS

#: Decompressed bytes of one file of records: at most 3 MB when compressed.
_CHUNK_BYTES = 48 * 2**20

_PLACES = re.compile(r"^(?:[/~]|[A-Za-z]:\\|\w+://)")
_WHERE = frozenset({"address", "host", "hostname", "node", "nodes", "key_env", "url", "worker"})


@dataclass(frozen=True, kw_only=True)
class Statement:
    """The submitter's own part of a submission.

    Attributes:
        submitter: Person or group responsible for the entry.
        title: Title on the board; None makes one of the submitter and the models.
        contact: Address of the submitter.
        link: Address of a page about the entry.
        division: See :data:`~parallelbench.leaderboards.entry.submission.Division`.
        trained_on_suite: ``yes`` if the weights were trained on answers to this suite's tasks; None
            takes the known value for built-in models, and ``unknown`` for others.
        disclosure: Anything else that a reader should know.
        licence: SPDX identifier of the licence of the weights.
        runs_made: Number of runs of the season that were made, this one included; None states
            nothing.
    """

    submitter: str
    title: str | None = None
    contact: str | None = None
    link: str | None = None
    division: Division = "open"
    trained_on_suite: Literal["yes", "no", "unknown"] | None = None
    disclosure: str = ""
    licence: str | None = None
    runs_made: int | None = None


def pack(  # noqa: PLR0913  the last three are options
    run: Path,
    out: Path,
    statement: Statement,
    *,
    cache: VerificationCache | None = None,
    progress: ProgressDisplay = SILENT,
    seconds: int = SECONDS,
) -> Submission:
    """Write the entry of a finished run into ``out`` after verifying it.

    Args:
        run: Folder of the run, which is not changed.
        out: New or empty folder; it appears once the entry is complete and verified.
        statement: The submitter's own part of the submission.
        cache: Cache that receives the finding, so that a board need not verify it again.
        progress: Shows the progress.
        seconds: Time limit, see :func:`~parallelbench.leaderboards.verify.verification.verified`.

    Raises:
        RequestError: The run is not finished, not of a season, or has decodes that failed.
        SubmissionError: A board would refuse the entry.
    """
    refuse_occupied(out)
    directory = RunDirectory.open(run)
    refuse_published(directory.runfile, str(run))
    season = season_of(directory.runfile, str(run))
    records = _finished(directory)
    environment = [_public(start) for start in directory.environments()]
    submission = _submission(directory.runfile, season, records, environment, statement)
    with appearing(out) as place, storage(place):
        _write_records(place, records)
        for number, setting in enumerate(directory.runfile.models):
            content = _codec_of(setting)
            if content is not None:
                packed = lzma.compress(_json(content).encode(), preset=6)
                (place / CODEC.format(number)).write_bytes(packed)
        results = [result.as_dict() for result in summarize(records)]
        texts = {
            SUBMISSION: _yaml(submission.model_dump(mode="json", exclude_none=True)),
            RUN: directory.runfile.to_yaml(),
            ENVIRONMENT: _json(environment),
            RESULTS: _json(results),
        }
        for name, text in texts.items():
            (place / name).write_text(text, encoding="utf-8", newline="\n")
        write_manifest(place)
        _refuse_unverified(place, out.name, cache, progress, seconds)
    return submission


def _refuse_unverified(
    place: Path,
    name: str,
    cache: VerificationCache | None,
    progress: ProgressDisplay,
    seconds: int,
) -> None:
    """Refuse an entry that a board would refuse."""
    try:
        verified(place, name, cache=cache, progress=progress, seconds=seconds)
    except SubmissionError as error:
        raise SubmissionError(
            *(f"no entry was made, since a board would refuse it: {each}" for each in error.faults)
        ) from error


def _finished(directory: RunDirectory) -> list[Record]:
    """Return the records of a finished run, in its order."""
    if directory.shard is not None:
        raise RunFileError(
            f"{directory.path} is shard {directory.shard} of a run; merge all shards first: "
            "parallelbench merge SHARD... --out RUN"
        )
    latest = directory.runfile.in_order(directory.records())
    missing = directory.decodes - len(latest)
    again = f"parallelbench run {directory.path / 'run.yaml'} --out {directory.path}"
    if missing:
        raise RunFileError(
            f"{directory.path} is not finished: {missing} of {directory.decodes} decodes are "
            f"missing; go on with: {again}"
        )
    failed = [record for record in latest if record.status == "error"]
    if failed:
        raise RunFileError(
            f"{len(failed)} decodes of {directory.path} ended in an error, the first with "
            f"{failed[0].error!r:.200}; a board cannot compare what is not counted, so try again "
            f"({again}), or run without what fails"
        )
    reading = [each.label for each in directory.runfile.decoders if reads_a_file(each)]
    if reading:
        raise RunFileError(
            f"decoder {reading[0]!r} reads a file that an entry does not hold, so nobody could "
            "check it; run without it"
        )
    return latest


def _submission(
    runfile: RunFile,
    season: Season,
    records: Sequence[Record],
    environment: Sequence[Mapping[str, Any]],
    statement: Statement,
) -> Submission:
    versions = sorted({record.library_version for record in records})
    if len(versions) > 1:
        raise RunFileError(
            f"the run was decoded by versions {' and '.join(versions)} of this package; an entry "
            "is of one: decode it again in a new folder"
        )
    labels = [setting.label for setting in runfile.models]
    content = {
        "title": statement.title or f"{statement.submitter}: {', '.join(labels)}"[:200],
        "submitter": statement.submitter,
        "contact": statement.contact,
        "link": statement.link,
        "division": statement.division,
        "trained_on_suite": statement.trained_on_suite or _trained(runfile),
        "disclosure": statement.disclosure,
        "runs_made": statement.runs_made,
        "season": season.name,
        "library_version": versions[0],
        "task_versions": {setting.label: TASKS[setting.name].version for setting in runfile.tasks},
        "models": _models(runfile, records, environment, statement.licence),
        "decoders": [
            {"label": setting.label, "name": setting.name, "fields": dict(setting.fields)}
            for setting in runfile.decoders
        ],
    }
    submission: Submission = parse_as(Submission, content, SUBMISSION)
    return submission


def _models(
    runfile: RunFile,
    records: Sequence[Record],
    environment: Sequence[Mapping[str, Any]],
    licence: str | None,
) -> list[dict[str, Any]]:
    """Return the models of a run as a submission lists them."""
    facts: dict[str, Any] = {}
    for start in environment:
        facts.update(start.get("models") or {})
    last = {record.model_label: record for record in records}
    return [
        {
            "label": setting.label,
            "name": _called(setting),
            "revision": (facts.get(setting.label) or {}).get("revision"),
            "digest": last[setting.label].model.digest,
            "weights_digest": last[setting.label].model.weights_digest,
            "licence": licence,
        }
        for setting in runfile.models
    ]


def _trained(runfile: RunFile) -> Literal["yes", "no", "unknown"]:
    names = {setting.name for setting in runfile.models}
    if "mini" in names:
        return "yes"
    return "no" if names == {"ideal"} else "unknown"


def _called(setting: Setting) -> str:
    address = getattr(MODELS[setting.name], "address", None)
    return str(setting.fields[address]) if address else setting.name


def _codec_of(setting: Setting) -> dict[str, Any] | None:
    """Return tokenizer and template of a model of another package; None for a built-in one."""
    own = setting.name in BUILT_IN and setting.fields.get("tokenizer") is None
    if own or MODELS[setting.name].serves:
        return None
    return to_file(build(setting, MODELS).open_codec(fetch=False))


def _write_records(place: Path, records: Sequence[Record]) -> None:
    for number, lines in enumerate(_chunks(records)):
        (place / RECORDS.format(number)).write_bytes(lzma.compress(lines, preset=6))


def _chunks(records: Sequence[Record]) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    for record in records:
        line = to_line(record).encode()
        if lines and size + len(line) > _CHUNK_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    yield b"".join(lines)


def _public(value: Any) -> Any:
    """Return an environment without names of people, places or machines."""
    if isinstance(value, Mapping):
        return {
            key: _public(item)
            for key, item in value.items()
            if key not in _WHERE and not (isinstance(item, str) and _PLACES.match(item))
        }
    if isinstance(value, list):
        return [_public(i) for i in value if not (isinstance(i, str) and _PLACES.match(i))]
    return value


def _json(content: Any) -> str:
    return json.dumps(content, indent=1) + "\n"


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
