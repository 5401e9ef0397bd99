"""A run directory: the frozen run file, the records, and what is derived from them.

``run.yaml`` says what the run is; ``environment.json`` where it ran, one entry per start;
``records-0.jsonl`` holds one finished decode per line and is only ever appended to;
``shard.json``, if there is one, says which part of the run this directory is for;
``records-0.jsonl.lock`` is empty, and locked by the process that writes the records;
``history.json``, if there is one, which smaller runs this directory held before it was extended.
Everything else in the directory can be made again from these.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filelock import lock_descriptor

from parallelbench.errors import RecordsError, RequestError, RunFileError, StorageError
from parallelbench.record import Record
from parallelbench.record_line import from_line, to_line
from parallelbench.results.throughput import Throughput, throughput_of
from parallelbench.run.runfile import (
    RunFile,
    differences,
    frozen_digest,
    lost_by_growth,
    make_runfile,
    read_content,
)
from parallelbench.run.shard import Shard
from parallelbench.storage.folders import occupied, storage, sync_to_disk, write_whole
from parallelbench.storage.plain_json import json_of, regular_bytes

_RUN_FILE = "run.yaml"
_SHARD = "shard.json"
_ENVIRONMENT = "environment.json"
_RECORDS = "records-0.jsonl"
#: A file of its own: where locks bind everybody, as on Windows, a locked file cannot be read.
_LOCK = f"{_RECORDS}.lock"
_HISTORY = "history.json"
#: Seconds of records that a power cut may cost: forcing them onto a disk takes 8 ms (measured on a
#: virtual disk with ext4; 0.01 ms for a record that is only handed to the operating system).
SYNC_SECONDS = 10.0
#: Stands in the line of a decode that ended in an error, and in no other.
_FAILED = b'"status":"error"'


class RecordPlace(NamedTuple):
    """The place of a record in a run directory.

    Attributes:
        run: The run directory that holds it.
        offset: Bytes of its file of records before its line.
    """

    run: RunDirectory
    offset: int

    def read(self) -> Record:
        """Return the record; raises as :meth:`RunDirectory.record_at`."""
        return self.run.record_at(self.offset)


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder.

    Attributes:
        path: The folder.
        runfile: The whole run.
        shard: The part of the run that the folder is for; None for all of it.
    """

    path: Path
    runfile: RunFile
    shard: Shard | None = None

    @classmethod
    def open(cls, path: Path, *, any_version: bool = False) -> RunDirectory:
        """Open the run in ``path``.

        Args:
            path: The folder.
            any_version: Accept a run whose tasks have changed since, to read its records;
                such a run cannot be continued.

        Raises:
            RunFileError: ``path`` holds no run, or its run file is malformed.
        """
        content = cls.content(path)
        if any_version:
            tasks = [{**task, "version": None} for task in content.get("tasks", [])]
            content = {**content, "tasks": tasks}
        return cls(path, make_runfile(content, where=str(path / _RUN_FILE)), _shard_in(path))

    @classmethod
    def content(cls, path: Path) -> dict[str, Any]:
        """Return the content of the run file in ``path``, unchecked.

        Raises:
            RunFileError: ``path`` holds no run, or its run file is no mapping.
        """
        if not cls.holds_run(path):
            raise RunFileError(f"{path} is not a run directory: it holds no {_RUN_FILE}")
        return read_content(path / _RUN_FILE)

    @staticmethod
    def holds_run(path: Path) -> bool:
        """Tell if a run was begun in ``path``.

        Raises:
            StorageError: That cannot be seen.
        """
        with storage(path):
            return (path / _RUN_FILE).is_file()

    @classmethod
    def begin(cls, path: Path, runfile: RunFile, shard: Shard | None = None) -> RunDirectory:
        """Return the run directory for ``runfile``, new or to be continued.

        Args:
            path: New, empty, or begun with the same run and shard.
            runfile: The whole run, also where only a part of it is done here.
            shard: The part of it that is done here; None for all of it.

        Raises:
            RunFileError: ``path`` holds another run or shard; the message tells the
                difference.
            StorageError: The folder cannot be made or written.
        """
        directory = cls(path, runfile, shard)
        if cls.holds_run(path):
            before, after = read_content(path / _RUN_FILE), runfile.frozen()
            if before != after and _completed(before) != after:
                grew = runfile.digest in {each["digest"] for each in directory.history()}
                again = f"parallelbench run {path / _RUN_FILE} --out {path}"
                advice = (
                    f"this run was extended since: {again} continues it"
                    if grew
                    else "give another --out, or the run file that it began with; "
                    f"--extend {path} adds to it"
                )
                raise RunFileError(
                    f"{path} holds another run: now asked for "
                    f"{'; '.join(differences(before, after))}; {advice}"
                )
            held = _shard_in(path)
            if held != shard:
                raise RunFileError(
                    f"{path} holds {_told(held)} of this run, and now {_told(shard)} is asked "
                    "for; give another --out, or the --shard that it began with"
                )
            return directory
        with storage(path):
            path.mkdir(parents=True, exist_ok=True)
            # A run that was killed as it began may have left what it wrote before its run file.
            if not all(_is_beginning(entry.name) for entry in path.iterdir()):
                raise occupied(path, " and holds no run")
            (path / _SHARD).unlink(missing_ok=True)
        if shard is not None:
            # Before the run file: a part must never be taken for the whole.
            directory.write_text(_SHARD, json.dumps({"shard": str(shard)}) + "\n")
        directory.write_text(_RUN_FILE, runfile.to_yaml())
        return directory

    @classmethod
    def extensible(cls, path: Path, runfile: RunFile) -> RunDirectory:
        """Return the run in ``path`` as it is now, if it can grow into ``runfile``.

        Args:
            path: Folder of a run, of all of its samples.
            runfile: The whole run that it is to become: all that it has, and more.

        Raises:
            RunFileError: ``path`` holds no run or a shard, or ``runfile`` lacks or changes
                something of the run; the message tells the difference.
        """
        held = cls.open(path)
        if held.shard is not None:
            raise RunFileError(
                f"{path} holds shard {held.shard} of a run, and which samples belong to a shard "
                "changes when the run grows; merge the shards, then extend the whole"
            )
        lost = lost_by_growth(held.runfile, runfile)
        if lost:
            raise RunFileError(
                f"{path} cannot be extended: now asked for {'; '.join(lost)}; a run can only gain "
                "models, tasks, decoders, samples and repeats; give another folder as --out"
            )
        return held

    def extend(self, runfile: RunFile) -> RunDirectory:
        """Make this the directory of ``runfile``, and note what it was; return that directory.

        Its records must be open for appending here, so that nobody else writes them.

        Raises:
            StorageError: The folder cannot be written; it holds the run that it held.
        """
        # Once more: another process may have extended it before the records were opened.
        before = self.extensible(self.path, runfile).runfile
        entry = {
            "digest": frozen_digest(self.content(self.path)),
            "extended": datetime.now(UTC).isoformat(timespec="seconds"),
            **{name: len(getattr(before, name)) for name in ("models", "tasks", "decoders")},
            "samples": before.samples,
            "repeats": before.repeats,
        }
        # Before the run file, which takes effect at once: an entry for the run that the folder
        # still holds is passed over, and a lost one could never be told again.
        self._note_history([*self.history(), entry])
        self.write_text(_RUN_FILE, runfile.to_yaml())
        return RunDirectory(self.path, runfile)

    def _note_history(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write down the smaller runs that this folder held before, as :meth:`history` has them."""
        self.write_text(_HISTORY, json.dumps(entries, indent=1) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Return the smaller runs that this folder held before, oldest first.

        Each has the ``digest`` of its run file, when it was ``extended``, the numbers of its
        ``models``, ``tasks`` and ``decoders``, its ``samples`` and its ``repeats``.

        Raises:
            RecordsError: The file of them was altered.
        """
        file = self.path / _HISTORY
        with storage(file):
            if not file.exists():
                return []
            text = regular_bytes(file)
        now = frozen_digest(self.content(self.path))
        try:
            return [entry for entry in json_of(text) if entry["digest"] != now]
        except (ValueError, KeyError, TypeError) as error:
            raise RecordsError(
                f"{file} was altered: it does not say what this run was before it was extended; "
                "delete it, the records do not need it"
            ) from error

    @property
    def samples(self) -> range:
        """The numbers of the samples that are decoded here."""
        every = range(self.runfile.samples)
        return every if self.shard is None else self.shard.of(len(every))

    @property
    def decodes(self) -> int:
        """Number of decodes of this directory: of the whole run, or of its shard."""
        return self.runfile.decodes // self.runfile.samples * len(self.samples)

    def records(self) -> Iterator[Record]:
        """Yield the records, in the order in which they were finished.

        Raises:
            RecordsError: A line is torn, was altered, or belongs to another run.
        """
        return (record for record, _ in self.located_records())

    def located_records(self) -> Iterator[tuple[Record, RecordPlace]]:
        """Yield the records as :meth:`records` does, each with the place where it stands.

        Raises:
            RecordsError: A line is torn, was altered, or belongs to another run.
        """
        file = self.path / _RECORDS
        with storage(file):
            if not file.exists():
                return
            _refuse_device(file)
            offset = 0
            with file.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    # The line that is being written is no record yet.
                    if not line.endswith(b"\n") and self.is_going_on():
                        return
                    text = line.decode(errors="replace")
                    yield self._checked(text, f"{file} line {number}"), RecordPlace(self, offset)
                    offset += len(line)

    def record_at(self, offset: int) -> Record:
        """Return the record whose line begins ``offset`` bytes into the file of records.

        Raises:
            RecordsError: Another line begins there: the file was altered since it was read.
        """
        file = self.path / _RECORDS
        with storage(file), file.open("rb") as lines:
            lines.seek(offset)
            line = lines.readline().decode(errors="replace")
        return self._checked(line, f"{file} byte {offset}")

    def count(self) -> tuple[int, int]:
        """Return the numbers of decodes that are done and of those that ended in an error.

        Records are counted and not checked, unless some ended in an error.

        Raises:
            RecordsError: As :meth:`records`, if some decodes ended in an error.
        """
        file = self.path / _RECORDS
        with storage(file):
            if not file.exists():
                return 0, 0
            _refuse_device(file)
            with file.open("rb") as lines:
                # In a text, quotation marks are escaped: only the field is written so.
                failed = [_FAILED in line for line in lines if line.endswith(b"\n")]
        if not any(failed):
            return len(failed), 0
        # An error may have been made good since.
        statuses = {record.key: record.status for record in self.records()}
        errors = sum(status == "error" for status in statuses.values())
        return len(statuses) - errors, errors

    def is_going_on(self) -> bool:
        """Tell if a process is writing the records right now.

        Raises:
            StorageError: That cannot be seen.
        """
        file = self.path / _LOCK
        with storage(file):
            if not file.is_file():
                return False
            # For reading only: the folder may be somebody else's.
            with file.open("rb") as stream:
                return not _locked(stream)

    @contextmanager
    def appending(self) -> Iterator[RecordWriter]:
        """Open the records for appending; a torn last line is dropped first.

        Raises:
            StorageError: They cannot be written, or another process is writing them.
        """
        file = self.path / _RECORDS
        with ExitStack() as stack:
            with storage(file):
                # Unbuffered: a record is with the operating system, or it raised.
                stream = stack.enter_context(file.open("ab", buffering=0))
                _refuse_device(file)
            with storage(self.path / _LOCK):
                # Closed at the end, as by the system if the process is killed: then it is free.
                lock = stack.enter_context((self.path / _LOCK).open("ab"))
                if not _locked(lock):
                    raise StorageError(
                        f"another process is writing {file}; wait for it or give another --out"
                    )
            with storage(file):
                _drop_torn_line(file, stream)
            writer = RecordWriter(stream, file)
            yield writer
            # Whoever is told that a run is done can rely on it after a power cut.
            writer.sync()

    def add_environment(self, environment: Mapping[str, Any]) -> None:
        """Note where the run was started, or started again."""
        starts = [*self.environments(), dict(environment)]
        self.write_text(_ENVIRONMENT, json.dumps(starts, indent=1) + "\n")

    def note(self, **facts: Any) -> None:
        """Add ``facts`` to the environment of the last start."""
        starts = self.environments()
        if not starts:
            raise StorageError(
                f"{self.path / _ENVIRONMENT} was removed while the run went on; put the folder "
                "back, or start the run again"
            )
        *before, last = starts
        self.write_text(_ENVIRONMENT, json.dumps([*before, {**last, **facts}], indent=1) + "\n")

    def environments(self) -> list[dict[str, Any]]:
        """Return the environment of every start of this run."""
        file = self.path / _ENVIRONMENT
        with storage(file):
            if not file.exists():
                return []
            text = regular_bytes(file)
        try:
            starts: list[dict[str, Any]] = json_of(text)
        except ValueError as error:
            raise RecordsError(
                f"{file} was altered: it is no JSON any more; delete it, the records do not need it"
            ) from error
        if not _are_starts(starts):
            raise RecordsError(
                f"{file} was altered: it is no list with an object for each start, which has one "
                "for each model; delete it, the records do not need it"
            )
        return starts

    def throughput(self) -> list[Throughput]:
        """Return the measured decoding speed, one for each model and machine.

        Raises:
            RecordsError: A measurement was altered.
        """
        return throughput_of(self.environments())

    def provenance(self) -> dict[str, Any]:
        """Return the run's provenance, for its report."""
        history = self.history()
        return {
            "run_digest": frozen_digest(self.content(self.path)),
            "models": [setting.label for setting in self.runfile.models],
            "tasks": [setting.label for setting in self.runfile.tasks],
            "decoders": [setting.label for setting in self.runfile.decoders],
            "samples": self.runfile.samples,
            "seed": self.runfile.seed,
            "repeats": self.runfile.repeats,
            **({} if self.shard is None else {"shard": str(self.shard)}),
            **({"extended_from": history} if history else {}),
            "environments": self.environments(),
            "command": "parallelbench run run.yaml --out ANOTHER_FOLDER",
        }

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the directory, whole or not at all; return its path.

        Raises:
            StorageError: It cannot be written.
        """
        write_whole(self.path / name, text)
        return self.path / name

    def _checked(self, line: str, where: str) -> Record:
        try:
            record = from_line(line, where)
        except RecordsError as error:
            mend = (
                "start the run again to drop that line and do its sample again"
                if not line.endswith("\n")
                else "delete that line and start the run again to do its sample again"
            )
            raise RecordsError(f"{error}; {mend}") from error
        for name, found, allowed in self._belongings(record):
            if found not in allowed:
                raise RecordsError(
                    f"{where} has {name} {found!r}, which the run has not: "
                    "it belongs to another run; delete that line"
                )
        return record

    def _belongings(self, record: Record) -> list[tuple[str, Any, Container[Any]]]:
        """Return the values that a record shares with its run: name, value, and allowed values."""
        run = self.runfile
        return [
            ("seed", record.sample.seed, (run.seed,)),
            ("sample number", record.index, self.samples),
            ("repeat", record.repeat, range(run.repeats)),
            ("model", record.model_label, run.places["model"]),
            ("task", record.task_label, run.places["task"]),
            ("decoder", record.decoder_label, run.places["decoder"]),
        ]


class RecordWriter:
    """Appends records; each is with the operating system before the next is made.

    Killing the process loses none of them.  Every :data:`SYNC_SECONDS` they are forced onto the
    disk, so a power cut or a crash of the machine costs about as much decoding, which the run does
    again when it is continued.
    """

    def __init__(self, stream: FileIO, file: Path) -> None:
        self._stream = stream
        self._file = file
        self._synced = time.monotonic()

    def sync(self) -> None:
        """Force what was written onto the disk.

        Raises:
            StorageError: The disk fails.
        """
        with storage(self._file):
            sync_to_disk(self._stream.fileno())
        self._synced = time.monotonic()

    def append(self, record: Record) -> None:
        """Write one record; raises as :meth:`append_line` does."""
        self.append_line(to_line(record))

    def append_line(self, line: str) -> None:
        """Write one record that is a line already.

        Raises:
            StorageError: The disk is full or the file cannot be written any more.
        """
        content = left = line.encode()
        try:
            with storage(self._file):
                while left:  # a nearly full disk takes part of a line, and raises at the next
                    left = left[self._stream.write(left) :]
                written = os.fstat(self._stream.fileno())
        except StorageError as error:
            if os.fstat(self._stream.fileno()).st_size <= len(content) - len(left):
                raise
            raise StorageError(f"{error}; what is already recorded is safe") from error
        if not written.st_nlink:
            raise StorageError(
                f"{self._file} was removed while the run wrote to it, so what is decoded now would "
                "be lost too; put the folder back, or start the run again"
            )
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()


def _completed(frozen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a frozen run with the fields that models and decoders have gained since."""
    try:
        return make_runfile(frozen).frozen()
    except RequestError:
        return frozen


def _is_beginning(name: str) -> bool:
    return name == _SHARD or name.startswith((f".{_SHARD}-", f".{_RUN_FILE}-"))


def _shard_in(path: Path) -> Shard | None:
    file = path / _SHARD
    with storage(file):
        if not file.exists():
            return None
        text = regular_bytes(file)
    try:
        return Shard.parse(json_of(text)["shard"])
    except (ValueError, KeyError, TypeError, RunFileError) as error:
        raise RunFileError(
            f"{file} was altered: it does not say which part of the run this folder is for; "
            'write {"shard": "2/4"} for the second of four'
        ) from error


def _are_starts(content: Any) -> bool:
    """Tell if an environment has the form that this package writes, as far as it is read."""
    return isinstance(content, list) and all(
        isinstance(start, dict)
        and isinstance(start.get("models") or {}, dict)
        and all(isinstance(facts, dict) for facts in (start.get("models") or {}).values())
        for start in content
    )


def _told(shard: Shard | None) -> str:
    return "the whole" if shard is None else f"shard {shard}"


def _refuse_device(file: Path) -> None:
    if not file.is_file():
        raise StorageError(f"{file} is not a file that can keep records; give another --out")


def _locked(stream: BinaryIO) -> bool:
    """Lock a file until it is closed; return whether nobody else has locked it."""
    return lock_descriptor(stream.fileno(), blocking=False)


def _drop_torn_line(file: Path, stream: FileIO) -> None:
    with file.open("rb") as existing:
        end = existing.seek(0, os.SEEK_END)
        keep = end
        while keep:
            start = max(0, keep - 65536)
            existing.seek(start)
            newline = existing.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
    if keep < end:
        stream.truncate(keep)
