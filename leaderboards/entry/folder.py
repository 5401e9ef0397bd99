"""Reader of untrusted folders with limits on names, sizes, lines and nesting.

An entry is a flat folder of regular files with fixed names, listed with size and SHA-256 in
``MANIFEST.json``.  A file is read whole and once, so that what was checked is what is used.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import reprlib
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parallelbench.errors import SubmissionError
from parallelbench.registry import unknown
from parallelbench.run.runfile import StrictLoader

MANIFEST: Final = "MANIFEST.json"
SUBMISSION: Final = "submission.yaml"
RUN: Final = "run.yaml"
ENVIRONMENT: Final = "environment.json"
RESULTS: Final = "results.json"
RECORDS: Final = "records-{:03d}.jsonl.xz"
CODEC: Final = "codec-{:02d}.json.xz"

_NEEDED: Final = (SUBMISSION, RUN, ENVIRONMENT, RESULTS, RECORDS.format(0))
_RECORDS = re.compile(r"records-\d{3}\.jsonl\.xz")
_CODEC = re.compile(r"codec-\d{2}\.json\.xz")

#: No count and no id is as large; JSON readers elsewhere would round it.
LARGEST: Final = 2**53

_MIB = 2**20
#: Greatest number of files that MANIFEST.json lists.
_MOST_FILES = 300
#: Greatest compressed size of one file, and of all.
_MOST_FILE_BYTES = 32 * _MIB
_MOST_BYTES = 256 * _MIB
#: Greatest size of a YAML file: parsing a fifth of it takes a second.
_MOST_YAML_BYTES = _MIB // 2
_MOST_JSON_BYTES = 16 * _MIB
#: Greatest decompressed size of a codec, of all records, and of one of them.
_MOST_CODEC_BYTES = 64 * _MIB
_MOST_RECORD_BYTES = 1024 * _MIB
MOST_LINE_BYTES = _MIB
#: Memory limit of decompression; the presets up to 6 need 9 MiB.
_DECODER_BYTES = 32 * _MIB
_PART = _MIB // 4
_CRLF = b"\r\n"


class _Listed(BaseModel):
    """Size and digest of a file in the manifest."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0, le=_MOST_FILE_BYTES)]


class _Manifest(BaseModel):
    """The content of ``MANIFEST.json``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    files: Annotated[dict[str, _Listed], Field(min_length=1, max_length=_MOST_FILES)]


@dataclass
class Read:
    """Amounts read of a folder.

    Attributes:
        bytes: Bytes of its files as stored.
        decompressed: Bytes after decompression.
        lines: Lines of records.
    """

    bytes: int = 0
    decompressed: int = 0
    lines: int = 0


@dataclass(frozen=True)
class EntryFolder:
    """The files of an entry, whose names and sizes and digests are those of its manifest.

    Attributes:
        path: Path of the folder.
        digest: SHA-256 of its manifest, and so of everything in it.
        files: Their names and content, the manifest's too; whatever else lies there is refused.
        read: Amounts read of it so far.
    """

    path: Path
    digest: str
    files: Mapping[str, bytes]
    read: Read = field(default_factory=Read)

    @classmethod
    def open(cls, path: Path) -> EntryFolder:
        """Return the entry in ``path``.

        Raises:
            SubmissionError: It is not a flat folder of the files that its manifest lists.
        """
        names = _names(path)
        if MANIFEST not in names:
            raise SubmissionError(
                f"{path} is no entry: it holds no {MANIFEST}; name the folder of an entry itself, "
                "or make one with `parallelbench leaderboard pack RUN --submitter NAME --out ENTRY`"
            )
        read = Read()
        content = _bytes(path / MANIFEST, _MIB, read)
        listed = parse_as(_Manifest, read_json(content, MANIFEST), MANIFEST).files
        faults = [*_strange(listed), *_unlisted(names, listed)]
        if sum(each.bytes for each in listed.values()) > _MOST_BYTES:
            faults.append(f"{MANIFEST}: its files are larger than {_MOST_BYTES:,} bytes together")
        if faults:
            raise SubmissionError(*faults)
        files = {MANIFEST: content}
        converted = [MANIFEST] if _CRLF in content else []
        for name, expected in listed.items():
            # Room for lines that end otherwise than they were packed, to tell that.
            most = expected.bytes * (1 if name.endswith(".xz") else 2)
            found = _bytes(path / name, most, read)
            digest = hashlib.sha256(found).hexdigest()
            if _is_converted(found, expected):
                converted.append(name)
            elif (len(found), digest) != (expected.bytes, expected.sha256):
                faults.append(
                    f"{name}: {MANIFEST} claims {expected.bytes} bytes with SHA-256 "
                    f"{expected.sha256[:12]}, and the file has {len(found)} with {digest[:12]}; "
                    "pack the run again, and change nothing by hand"
                )
            files[name] = found
        if converted:
            faults.append(_told_converted(converted))
        if faults:
            raise SubmissionError(*faults)
        return cls(path, hashlib.sha256(content).hexdigest(), files, read)

    @property
    def records(self) -> list[str]:
        """The names of the files with records, in order."""
        return sorted(name for name in self.files if _RECORDS.fullmatch(name))

    def yaml(self, name: str) -> Any:
        """Parse a YAML file; refuse aliases, Python tags and repeated keys.

        Raises:
            SubmissionError: It is not such a file.
        """
        content = self.files[name]
        if len(content) > _MOST_YAML_BYTES:
            raise SubmissionError(f"{name} has {len(content):,} bytes, over {_MOST_YAML_BYTES:,}")
        try:
            return yaml.load(_text(content, name), _WithoutAliases)  # noqa: S506  a SafeLoader
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise SubmissionError(f"{name} is no plain YAML: {_brief(error)}") from error

    def json(self, name: str) -> Any:
        """Parse a JSON file.

        Raises:
            SubmissionError: It is no JSON, or holds numbers that are none or keys given twice.
        """
        content = self.files[name]
        if name.endswith(".xz"):
            parts = _decompressed(content, name, _MOST_CODEC_BYTES, self.read)
            content = b"".join(parts)
        elif len(content) > _MOST_JSON_BYTES:
            raise SubmissionError(f"{name} has {len(content):,} bytes, over {_MOST_JSON_BYTES:,}")
        return read_json(content, name)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield every line of records, with the file and line number that it has.

        Raises:
            SubmissionError: A file is damaged, or holds too much, or something else than UTF-8.
        """
        left = _MOST_RECORD_BYTES
        for name in self.records:
            kept, number = b"", 0
            for part in _decompressed(self.files[name], name, left, self.read):
                left -= len(part)
                *whole, kept = (kept + part).split(b"\n")
                for line in whole:
                    number += 1
                    self.read.lines += 1
                    where = f"{name} line {number}"
                    if len(line) > MOST_LINE_BYTES:
                        raise SubmissionError(_too_long(where))
                    yield _text(line, where) + "\n", where
                if len(kept) > MOST_LINE_BYTES:
                    raise SubmissionError(_too_long(f"{name} line {number + 1}"))
            if kept:
                raise SubmissionError(f"{name} line {number + 1} is torn: it does not end")


def write_manifest(path: Path) -> None:
    """List the files of ``path`` in its manifest."""
    files = {}
    for name in sorted(entry.name for entry in path.iterdir() if entry.name != MANIFEST):
        content = (path / name).read_bytes()
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    text = json.dumps({"schema_version": 1, "files": files}, indent=1)
    (path / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")


def read_json(content: bytes, where: str) -> Any:
    """Parse JSON; refuse NaN, infinities and repeated keys.

    Raises:
        SubmissionError: It says something else.
    """
    try:
        return json.loads(
            _text(content, where), parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except (ValueError, RecursionError) as error:
        raise SubmissionError(f"{where} is no plain JSON: {_brief(error)}") from error


def parse_as(form: type[Any], content: Any, where: str) -> Any:
    """Return ``content`` as the pydantic model ``form``.

    Raises:
        SubmissionError: It has another form; every difference is named.
    """
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise SubmissionError(
            *(_told(each, where, form) for each in error.errors()[:20])
        ) from error


def hidden_characters(text: str, allowed: str = "") -> list[str]:
    """Return the names of characters in ``text`` that are invisible or reverse its direction."""
    return sorted(
        {
            unicodedata.name(each, f"U+{ord(each):04X}")
            for each in text
            if each not in allowed and unicodedata.category(each) in {"Cc", "Cf", "Cs", "Co", "Cn"}
        }
    )


def brief(value: Any) -> str:
    """Return a value in a few characters, however large it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= LARGEST:
        return "a number over 2^53"
    return reprlib.repr(value)[:120]


class _WithoutAliases(StrictLoader):
    """YAML loader that refuses aliases, with which a short text has a long content."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def _names(path: Path) -> list[str]:
    if path.is_symlink() or not path.is_dir():
        raise SubmissionError(f"{path} is no folder, so it is no entry")
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > _MOST_FILES:
                if MANIFEST not in names and not os.path.lexists(path / MANIFEST):
                    break  # it is any folder, which may have many more files
                raise SubmissionError(
                    f"{path} holds more than {_MOST_FILES} files, the most that an entry has"
                )
    return names


def _strange(listed: Mapping[str, _Listed]) -> list[str]:
    """Return a sentence for every file name that an entry may not have, or that is missing."""
    faults = [
        f"{MANIFEST} lists {name!r:.80}, which is no file of an entry; allowed are "
        f"{', '.join(_NEEDED)} and codec-00.json.xz, each with its number"
        for name in listed
        if name not in _NEEDED and not _RECORDS.fullmatch(name) and not _CODEC.fullmatch(name)
    ]
    faults += [f"{MANIFEST} does not list {name}" for name in _NEEDED if name not in listed]
    for pattern, form in ((_RECORDS, RECORDS), (_CODEC, CODEC)):
        numbered = sorted(name for name in listed if pattern.fullmatch(name))
        if pattern is _RECORDS and numbered != [form.format(n) for n in range(len(numbered))]:
            faults.append(
                f"{MANIFEST}: {', '.join(numbered)} are not numbered from 000 without gap"
            )
    return faults


def _unlisted(names: list[str], listed: Mapping[str, _Listed]) -> list[str]:
    faults = [
        f"{name!r:.80} lies in the folder, and {MANIFEST} does not list it; remove it"
        for name in sorted(set(names) - {MANIFEST, *listed})
    ]
    faults += [
        f"{MANIFEST} lists {name!r:.80}, and the folder does not hold it"
        for name in sorted(set(listed) - set(names))
    ]
    return faults


def _bytes(file: Path, most: int, read: Read) -> bytes:
    """Return the content of a regular file, or one byte more than ``most`` of it."""
    try:
        # Neither through a link, nor waiting for whoever writes into a pipe.
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SubmissionError(
            f"{file.name} cannot be read as a regular file: {error.strerror}; an entry holds no "
            "links, pipes or devices"
        ) from error
    try:
        _check_file(file.name, os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as stream:
            content = stream.read(most + 1)
    finally:
        os.close(handle)
    read.bytes += len(content)
    if len(content) > most:
        raise SubmissionError(f"{file.name} is larger than the {most:,} bytes that it may have")
    return content


def _check_file(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SubmissionError(f"{name} is no regular file, so it is no part of an entry")
    if status.st_nlink > 1:
        raise SubmissionError(
            f"{name} is a hard link to a file that has another name too; copy it instead"
        )


def _is_converted(found: bytes, expected: _Listed) -> bool:
    """Return True if a file differs from the packed one only by line ends of Windows."""
    packed = found.replace(_CRLF, b"\n")
    return (
        len(packed) == expected.bytes < len(found)
        and hashlib.sha256(packed).hexdigest() == expected.sha256
    )


def _told_converted(names: list[str]) -> str:
    return (
        f"{', '.join(names)}: the line ends were converted to those of Windows (CRLF), so the "
        "digests differ, though nothing else was changed; copy the entry again as it was packed. "
        "Git converts where core.autocrlf is true: write the line "
        "'leaderboards/submissions/** -text' into .gitattributes and check the entry out again"
    )


def _decompressed(content: bytes, name: str, most: int, read: Read) -> Iterator[bytes]:
    """Yield the decompressed parts of an xz stream, up to ``most`` bytes in all."""
    try:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DECODER_BYTES)
        total, waiting = 0, content
        while not decoder.eof:
            part = decoder.decompress(waiting, max_length=_PART)
            waiting = b""
            total += len(part)
            read.decompressed += len(part)
            if total > most:
                raise SubmissionError(
                    f"{name} holds more than {most:,} bytes when decompressed; an entry of "
                    "20,000 records takes a twentieth of that"
                )
            if part:
                yield part
            elif decoder.needs_input:
                raise SubmissionError(f"{name} is cut short: its compressed stream does not end")
    except lzma.LZMAError as error:
        raise SubmissionError(f"{name} is not compressed as xz -6 does: {_brief(error)}") from error
    if decoder.unused_data:
        raise SubmissionError(f"{name} holds {len(decoder.unused_data)} bytes behind its stream")


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise SubmissionError(
            f"{where} is no UTF-8: byte {content[error.start]:#04x} at place {error.start}"
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key is given twice")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _told(fault: Any, where: str, form: type[Any]) -> str:
    place = ".".join(str(part)[:60] for part in fault["loc"])
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        return f"{where}: {unknown('key', place, form.model_fields)}"
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{where}: {place or 'the whole'}: {message}, got {brief(fault['input'])}"


def _too_long(where: str) -> str:
    return f"{where} is longer than the {MOST_LINE_BYTES:,} bytes that a record may have"


def _brief(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
