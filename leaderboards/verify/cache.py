"""Cache of findings: an entry that this machine has verified is not verified again.

The key of a finding is a digest of everything that it follows from: the entry's files, its
season, the source of this package and the versions of its dependencies.  If any of them
changes, the entry is verified again.  The cache folder belongs to the user and lies outside
every board and entry, so nothing that a submitter writes is ever read from it.  It holds JSON,
never code, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import re
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parallelbench.decoder import DECODERS
from parallelbench.leaderboards.entry.entry import Redecoded
from parallelbench.leaderboards.entry.first_prompt import FirstPrompt
from parallelbench.leaderboards.entry.season import Season
from parallelbench.leaderboards.entry.submission import Level
from parallelbench.model import MODELS
from parallelbench.run.runfile import RunFile
from parallelbench.task import TASKS

#: Packages whose source verification runs, and the folder of a checkout's own entries.
_PACKAGES: Final = ("", ".tasks", ".decoders", ".analysis", ".leaderboards")
_ENTRIES: Final = "submissions"
_MOST_BYTES: Final = 2**20


class Finding(BaseModel):
    """Result of verifying an entry.

    Attributes:
        level: Level of the check.
        remarks: Sentences on the limits of the check, for readers.
        redecoded: Counts of records decoded again, by the label of their model.
        content: Digest of the decodes, see
            :class:`~parallelbench.leaderboards.verify.verification.Verified`.
        first_prompts: One prompt of each model that is no server.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    level: Level
    remarks: Annotated[tuple[str, ...], Field(strict=False)]
    redecoded: dict[str, Redecoded]
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    first_prompts: Annotated[tuple[FirstPrompt, ...], Field(strict=False)] = ()


class VerificationCache:
    """The findings of this user on this machine.

    Args:
        folder: Folder of the findings; None takes ``parallelbench/verified`` in the user's cache
            folder, which is ``$XDG_CACHE_HOME`` or else ``~/.cache``.
        fresh: True to ignore cached findings, so that everything is verified again.
    """

    def __init__(self, folder: Path | None = None, *, fresh: bool = False) -> None:
        self._folder = folder or _user_folder()
        self._fresh = fresh

    def find(self, key: str) -> Finding | None:
        """Return the finding under ``key``; None if there is none or it cannot be read."""
        if self._fresh or not _is_ours(self._folder):
            return None
        try:
            with self._file(key).open("rb") as stream:
                return Finding.model_validate_json(stream.read(_MOST_BYTES))
        except (OSError, ValidationError):
            return None

    def keep(self, key: str, finding: Finding) -> None:
        """Store a finding, completely or not at all; do nothing where nothing can be written."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(self._folder):
                return
            handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    stream.write(finding.model_dump_json(indent=1))
                Path(temporary).replace(self._file(key))
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def key_of(manifest: str, season: Season, runfile: RunFile, *, redecode: bool) -> str | None:
    """Return the key of a finding: a digest of everything that it follows from.

    Args:
        manifest: SHA-256 of the entry's manifest, and so of its files.
        season: Season of the entry.
        runfile: The run that it claims.
        redecode: True if records of built-in models were decoded again.

    Returns:
        64 hexadecimal digits; None where a part of the run is no part of this package, whose
        code may change without its version.
    """
    kinds = (
        *(MODELS[setting.name] for setting in runfile.models),
        *(TASKS[setting.name] for setting in runfile.tasks),
        *(DECODERS[setting.name] for setting in runfile.decoders),
    )
    if not all(kind.__module__.startswith("parallelbench.") for kind in kinds):
        return None
    content = [manifest, repr(season), redecode, _source_digest(), _versions()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@cache
def _source_digest() -> str:
    """Return a digest of every file of this package, its data too."""
    digest = hashlib.sha256()
    for name in _PACKAGES:
        root = Path(importlib.import_module(f"parallelbench{name}").__path__[0])
        for file in sorted(root.rglob("*")):
            place = file.relative_to(root)
            if place.parts[0] == _ENTRIES or "__pycache__" in place.parts or not file.is_file():
                continue
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{name}/{place.as_posix()} {content}\n".encode())
    return digest.hexdigest()


@cache
def _versions() -> dict[str, str | None]:
    """Return the versions of Python and of the dependencies of this package."""
    requirements = importlib.metadata.requires("parallelbench") or ()
    names = sorted({"parallelbench", *(re.split(r"[^\w.-]", each)[0] for each in requirements)})
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        versions[name] = None
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _user_folder() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME")
    return (
        (Path(configured) if configured else Path.home() / ".cache") / "parallelbench" / "verified"
    )


def _is_ours(folder: Path) -> bool:
    """Return True if a folder exists and only this user can write into it."""
    try:
        status = folder.stat(follow_symlinks=False)
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    if not hasattr(os, "geteuid"):  # Windows keeps a user's folders to the user
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
