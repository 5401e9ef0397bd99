"""Derive every figure of an entry again from its folder alone, and refuse what differs.

Samples are drawn again from seed and number, prompts and canvases built again, traces
replayed, replies decoded and marked again, and the record that follows is compared with the
submitted one, byte by byte.  The only submitted code that executes is the tokenizer and the chat
template, which transformers confines to a sandbox; nothing is downloaded.  The only models that
predict are those of this package, whose records are decoded again.  Files are parsed in a child
process first, whose failure is a refusal; this process reads what the child accepted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, overload

from parallelbench.console.progress import SILENT, ProgressDisplay
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry.confined import SECONDS, allow_records, confined
from parallelbench.leaderboards.entry.eligibility import refuse_published
from parallelbench.leaderboards.entry.entry import Entry, Redecoded, level_of
from parallelbench.leaderboards.entry.folder import (
    RESULTS,
    RUN,
    SUBMISSION,
    EntryFolder,
    Read,
    parse_as,
)
from parallelbench.leaderboards.entry.season import seasons
from parallelbench.leaderboards.entry.submission import Submission
from parallelbench.leaderboards.verify.alike import alike_to_earlier
from parallelbench.leaderboards.verify.cache import Finding, VerificationCache, key_of
from parallelbench.leaderboards.verify.claims import claimed_run, serving_faults, statement_faults
from parallelbench.leaderboards.verify.model_facts import digest_faults, model_facts
from parallelbench.leaderboards.verify.rebuilt_run import RebuiltRun, record_keys
from parallelbench.leaderboards.verify.record_checker import FaultList, RecordChecker
from parallelbench.leaderboards.verify.redecode import built_in_again, remark_of
from parallelbench.leaderboards.verify.result_rules import result_faults
from parallelbench.model import MODELS
from parallelbench.record import Record
from parallelbench.record_line import from_line
from parallelbench.registry import load_plugins, unknown
from parallelbench.run.runfile import RunFile, make_runfile


@dataclass(frozen=True)
class Verified:
    """A verified entry.

    Attributes:
        entry: The entry.
        runfile: The run that was verified.
        digest: SHA-256 of its manifest.
        content: Digest of its decodes: equal for the same records in any order, submitted by
            anybody under any name.
        read: Amounts that were read to verify it.
    """

    entry: Entry
    runfile: RunFile
    digest: str
    content: str
    read: Read


def verify_folder(path: Path, name: str | None = None) -> Entry:
    """Verify the entry in ``path`` and return it.

    Args:
        path: A folder written by ``parallelbench leaderboard pack``.
        name: Name of the entry on the board; None takes the folder's name.

    Raises:
        SubmissionError: It is malformed, or a claim cannot be derived again.
    """
    return verified(path, name).entry


def verified(  # noqa: PLR0913  all but the path are options
    path: Path,
    name: str | None = None,
    *,
    redecode: bool = True,
    cache: VerificationCache | None = None,
    progress: ProgressDisplay = SILENT,
    seconds: int = SECONDS,
) -> Verified:
    """Verify the entry in ``path`` and return it with its digests.

    Args:
        path: A folder written by ``parallelbench leaderboard pack``.
        name: Name of the entry on the board; None takes the folder's name.
        redecode: True to decode records of built-in models again, see
            :mod:`~parallelbench.leaderboards.verify.redecode`.
        cache: Cache of earlier findings, which also receives this one; None verifies in any case.
        progress: Shows the progress.
        seconds: Time limit of reading the claims, and again of checking them.

    Raises:
        SubmissionError: It is malformed, a claim cannot be derived again, or the check takes too
            much time or memory.
    """
    name = name or path.resolve().name
    progress.begin(f"reading {name}")
    folder = EntryFolder.open(path)
    load_plugins()
    in_child = partial(confined, what=name, seconds=seconds, progress=progress)
    claims = in_child(partial(_claims, folder, name))
    claim = _Claim(
        parse_as(Submission, claims["submission"], SUBMISSION),
        make_runfile(claims["run"], where=RUN),
        redecode,
    )
    keys = _cache_keys(folder, claim) if cache is not None else []
    finding = _cached_finding(cache, keys)
    if finding is None:
        checked = in_child(partial(_checked_content, folder, name, claim))
        finding = Finding.model_validate(checked["finding"])
        folder.read.decompressed, folder.read.lines = checked["read"]
        if cache is not None and keys:
            cache.keep(keys[-1], finding)
    entry = Entry(
        name,
        claim.submission,
        StoredRecords(folder, claim.runfile, name, progress),
        finding.level,
        finding.remarks,
        finding.redecoded,
        finding.first_prompts,
    )
    return Verified(entry, claim.runfile, folder.digest, finding.content, folder.read)


class _Claim(NamedTuple):
    """The claims of an entry that are to be checked.

    Attributes:
        submission: The entry's statement.
        runfile: The run that it claims.
        redecode: True if records of built-in models are decoded again.
    """

    submission: Submission
    runfile: RunFile
    redecode: bool


def _cache_keys(folder: EntryFolder, claim: _Claim) -> list[str]:
    """Return the cache keys of sufficient findings; the last one is that of this check."""
    season = seasons()[claim.submission.season]
    # A check that decodes again covers one that does not.
    keys = [key_of(folder.digest, season, claim.runfile, redecode=True)]
    if not claim.redecode:
        keys.append(key_of(folder.digest, season, claim.runfile, redecode=False))
    return [key for key in keys if key is not None]


def _cached_finding(cache: VerificationCache | None, keys: Sequence[str]) -> Finding | None:
    """Return the first cached finding under one of ``keys``; None if there is none."""
    findings = (cache.find(key) for key in keys) if cache is not None else ()
    return next((each for each in findings if each is not None), None)


class StoredRecords(Sequence[Record]):
    """The records of a verified entry, read on first use, in the order of the run.

    Args:
        folder: Folder of the verified entry.
        runfile: Run.
        name: Name on the board.
        progress: Shows the progress of reading.
    """

    def __init__(
        self, folder: EntryFolder, runfile: RunFile, name: str, progress: ProgressDisplay = SILENT
    ) -> None:
        self._folder = folder
        self._runfile = runfile
        self._name = name
        self._progress = progress

    def __len__(self) -> int:
        """Return the number of records, without reading them."""
        return self._runfile.decodes

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | Sequence[Record]:
        """Return one record, or a slice of them."""
        return self._read[place]

    def __iter__(self) -> Iterator[Record]:
        """Yield all records."""
        return iter(self._read)

    def __eq__(self, other: object) -> bool:
        """Return True if ``other`` has the same records in the same order."""
        return isinstance(other, Sequence) and self._read == list(other)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _read(self) -> list[Record]:
        places = {key: place for place, key in enumerate(record_keys(self._runfile))}
        self._progress.begin(f"reading {self._name}", len(self), "records")
        lines = self._progress.count(self._folder.lines())
        records = [from_line(line, where) for line, where in lines]
        return sorted(records, key=lambda record: places[record.key])


def content_of(records: Iterable[Record]) -> str:
    """Return a digest of decodes: of their texts and of the step that fills each position.

    It does not depend on the order of records, names, notes, times, token ids, decoder fields
    without effect, or repeated decodes.
    """
    digest = hashlib.sha256()
    for each in sorted({hashlib.sha256(_decoded(record)).digest() for record in records}):
        digest.update(each)
    return digest.hexdigest()


def _decoded(record: Record) -> bytes:
    trace = None if record.decoding is None else record.decoding.trace
    steps = None if trace is None else [trace.positions, trace.rows]
    sample = [record.task.name, record.task.fields, record.index]
    return json.dumps([sample, record.decoder.name, record.text, steps], sort_keys=True).encode()


def _claims(folder: EntryFolder, name: str, progress: ProgressDisplay) -> dict[str, Any]:
    """Return the statement of an entry and the run that it claims, as JSON values.

    Raises:
        SubmissionError: Either is malformed, or there is no such season.
    """
    progress.begin(f"reading {SUBMISSION} of {name}")
    submission: Submission = parse_as(Submission, folder.yaml(SUBMISSION), SUBMISSION)
    season = seasons().get(submission.season)
    if season is None:
        raise SubmissionError(f"{SUBMISSION}: {unknown('season', submission.season, seasons())}")
    progress.begin(f"reading {RUN} of {name}")
    runfile = claimed_run(folder.yaml(RUN), season)
    refuse_published(runfile, RUN)
    return {"submission": submission.model_dump(mode="json"), "run": runfile.frozen()}


def _checked_content(
    folder: EntryFolder, name: str, claim: _Claim, progress: ProgressDisplay
) -> dict[str, Any]:
    """Check an entry; return the finding and the amounts read, as JSON values."""
    allow_records(claim.runfile.decodes)
    finding = _finding(folder, name, claim, progress)
    read = folder.read
    return {
        "finding": finding.model_dump(mode="json"),
        "read": [read.decompressed, read.lines],
    }


def _finding(folder: EntryFolder, name: str, claim: _Claim, progress: ProgressDisplay) -> Finding:
    """Check everything that an entry claims.

    Raises:
        SubmissionError: A claim is wrong.
    """
    submission, runfile, redecode = claim
    faults = FaultList()
    faults.extend(statement_faults(submission, runfile))
    faults.refuse()
    progress.begin(f"reading the tokenizers of {name}")
    models = model_facts(folder, submission, runfile)
    faults.extend(digest_faults(submission, models))
    faults.extend(serving_faults(runfile, models))
    faults.refuse()
    checker = RecordChecker(submission, RebuiltRun(runfile, models), faults, progress)
    progress.begin(f"verifying {name}", runfile.decodes, "records")
    records = checker.records(folder)
    faults.refuse()
    progress.begin(f"verifying {RESULTS} of {name}")
    faults.extend(result_faults(folder.json(RESULTS), records))
    faults.extend(checker.reply_faults())
    faults.refuse()
    redecoded: dict[str, Redecoded] = {}
    if redecode:
        progress.begin(f"decoding records of {name} again")
        redecoded = built_in_again(runfile, models, records)
    serves = any(MODELS[setting.name].serves for setting in runfile.models)
    labels = [setting.label for setting in runfile.models]
    return Finding(
        level="self-reported" if serves else level_of(labels, redecoded),
        remarks=(
            *checker.remarks(),
            *_repeated(records),
            *(remark_of(label, each) for label, each in redecoded.items()),
        ),
        redecoded=redecoded,
        content=content_of(records),
        first_prompts=tuple(checker.first_prompts(seasons()[submission.season])),
    )


def _repeated(records: Sequence[Record]) -> Iterator[str]:
    """Yield a remark on settings that decode as others do, which a board counts once."""
    alike = alike_to_earlier(records)
    if alike:
        pairs = [f"{label} as {earlier}" for (_, label), earlier in alike.items()]
        more = f" and {len(pairs) - 10} more" if len(pairs) > 10 else ""
        yield (
            "these settings decode every sample as another does, which counts once: "
            f"{', '.join(pairs[:10])}{more}"
        )
