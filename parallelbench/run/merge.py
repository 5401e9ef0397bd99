"""Merge the shards of a run, if no decode is missing and no two records contradict each other.

Records are read twice and not kept in memory: a digest of each tells whether two shards agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from parallelbench.errors import RecordsError, RunFileError
from parallelbench.record import Record
from parallelbench.results.consistency import Consistency
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile, differences
from parallelbench.run.shard import Shard
from parallelbench.storage.folders import appearing, refuse_occupied


class Merged(NamedTuple):
    """A run that was put together.

    Attributes:
        run: The whole.
        duplicates: Records that stood in the shards more than once, and stand here once.
    """

    run: RunDirectory
    duplicates: int


def merge(paths: Sequence[Path], out: Path) -> Merged:
    """Write into ``out`` the run whose shards are in ``paths``, which stay as they are.

    Args:
        paths: Run directories of the same run file.
        out: New or empty; it appears when it is complete.

    Raises:
        RunFileError: One is a whole run, they are of different runs, or decodes are missing.
        RecordsError: A record is spoilt, or two say different things of the same decode.
        StorageError: ``out`` holds something, or cannot be written.
    """
    refuse_occupied(out)
    shards = [_shard_at(path) for path in paths]
    runfile = _common_runfile(shards)
    found = _looked_through(shards)
    _refuse_gaps(shards, found)
    with appearing(out) as place:
        whole = RunDirectory.begin(place, runfile)
        with whole.appending() as writer:
            for shard in shards:
                for record in shard.records():
                    if found.kept.get(runfile.decode_order(record)) == record_digest(record):
                        del found.kept[runfile.decode_order(record)]
                        writer.append(record)
        for shard in shards:
            for start in shard.environments():
                whole.add_environment({**start, "shard": str(shard.shard)})
    return Merged(RunDirectory(out, runfile), found.duplicates)


def _shard_at(path: Path) -> RunDirectory:
    directory = RunDirectory.open(path)
    if directory.shard is None:
        raise RunFileError(
            f"{path} is a whole run and not a shard of one, so it is not joined with others: leave "
            "it out; `parallelbench report` takes several runs, and an unfinished one is continued "
            f"with: parallelbench run {path / 'run.yaml'} --out {path}"
        )
    return directory


#: The place of a decode in its run, see :meth:`RunFile.decode_order`.
_Place = tuple[int, int, int, int, int]


class _Found(NamedTuple):
    """Digests of the records in the shards.

    Attributes:
        kept: The digest of the record that is kept of each decode.
        duplicates: Records that say again what another has said.
    """

    kept: dict[_Place, bytes]
    duplicates: int


def _common_runfile(shards: Sequence[RunDirectory]) -> RunFile:
    first, *others = shards
    for other in others:
        if other.runfile.frozen() != first.runfile.frozen():
            told = "; ".join(differences(first.runfile.frozen(), other.runfile.frozen()))
            raise RunFileError(
                f"{other.path} is of another run than {first.path}: {told}; only shards of the "
                "same run can be merged"
            )
    return first.runfile


def _looked_through(shards: Sequence[RunDirectory]) -> _Found:
    """Read every record once; of a decode that failed and was done again, keep the last."""
    kept: dict[_Place, bytes] = {}
    failed: set[_Place] = set()
    consistency = Consistency("only shards of the same models and tasks can be merged")
    duplicates = 0
    for shard in shards:
        for record in shard.records():
            consistency.record(record, str(shard.path))
            place, digest = shard.runfile.decode_order(record), record_digest(record)
            known = kept.get(place) if place not in failed else None
            if record.status == "error":
                if known is None:
                    failed.add(place)
                    kept[place] = digest
                continue
            if known is None:
                failed.discard(place)
                kept[place] = digest
            elif known == digest:
                duplicates += 1
            else:
                raise RecordsError(
                    f"{shard.path} says something else of {record.sample.id} with "
                    f"{record.decoder_label} than a record before: the same decode must give the "
                    "same tokens everywhere; find out which shard is wrong (other packages, "
                    "another device?) and leave it out"
                )
    return _Found(kept, duplicates)


def _refuse_gaps(shards: Sequence[RunDirectory], found: _Found) -> None:
    """Refuse to make a whole that is none, and say how to do what is missing."""
    runfile = shards[0].runfile
    missing = runfile.decodes - len(found.kept)
    if not missing:
        return
    count = max(each.shard.count for each in shards if each.shard)
    parts = [Shard(index, count) for index in range(1, count + 1)]
    of_sample = runfile.decodes // runfile.samples
    recorded = [0] * runfile.samples
    for place in found.kept:
        recorded[place[2]] += 1
    lacking = [p for p in parts if any(recorded[i] < of_sample for i in p.of(runfile.samples))]
    commands = "; ".join(_command(part, shards) for part in lacking)
    names = ", ".join(str(part) for part in lacking)
    which = f"shard {names} lacks" if len(lacking) == 1 else f"shards {names} lack"
    raise RunFileError(
        f"{missing} of {runfile.decodes} decodes are missing: {which} some; nothing was written. "
        f"To do them: {commands}"
    )


def _command(part: Shard, shards: Sequence[RunDirectory]) -> str:
    begun = [each.path for each in shards if each.shard == part]
    told = f"parallelbench run {shards[0].path / 'run.yaml'} --shard {part}"
    return f"{told} --out {begun[0]}" if begun else told


def record_digest(record: Record) -> bytes:
    """Return a digest of a record without its time, which differs between equal decodes."""
    body = record.model_dump_json(exclude={"seconds"})
    return hashlib.blake2b(body.encode(), digest_size=16).digest()
