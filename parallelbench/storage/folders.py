"""Folders and files that a run writes: whole or not at all, and never over something else."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from parallelbench.errors import StorageError

#: Ends the name of a folder that is being written.
_UNFINISHED = ".unfinished"


@contextmanager
def storage(place: Path) -> Iterator[None]:
    """Turn a fault of the file system into a sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{place} cannot be used: {reason.lower()}; correct that or name another place, and "
            "start again"
        ) from error


def refuse_occupied(folder: Path, found: str = "", flag: str = " as --out") -> None:
    """Refuse a place for a new folder that holds something already.

    Args:
        folder: The place: free, or an empty folder.
        found: Continues the error's sentence: what else would have been allowed there.
        flag: Names the option that gives another place.

    Raises:
        StorageError: A file is there, or a folder that is not empty.
    """
    with storage(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise occupied(folder, found, flag)


def occupied(folder: Path, found: str = "", flag: str = " as --out") -> StorageError:
    """Return the error of :func:`refuse_occupied`, for folders in which some files may stand."""
    return StorageError(f"{folder} is not empty{found}; give a new or empty folder{flag}")


def write_whole(file: Path, text: str) -> None:
    """Write a file, whole or not at all, and the folders that it needs.

    Raises:
        StorageError: It cannot be written.
    """
    with storage(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                # Else a power cut may leave the new name with an empty file behind it.
                sync_to_disk(stream.fileno())
            # mkstemp keeps the file to its owner; a report is for everybody.
            umask = os.umask(0)
            os.umask(umask)
            Path(temporary).chmod(0o666 & ~umask)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def sync_to_disk(descriptor: int) -> None:
    """Force a file onto the disk, where its file system can do that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``out`` when everything is written.

    Until then it stands beside ``out``, hidden and locked.  What killed processes left there is
    removed: their locks are free.

    Raises:
        StorageError: It cannot be made, or ``out`` is there and not empty.
    """
    with storage(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(out.parent)
        place, lock = _locked_folder(out)
    try:
        yield place
        with storage(out):
            place.replace(out)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        _unlock(lock)


def _locked_folder(out: Path) -> tuple[Path, int | None]:
    """Return a new folder beside ``out`` and the lock that says that its owner is alive."""
    while True:
        place = out.parent / f".{out.name}-{secrets.token_hex(4)}{_UNFINISHED}"
        place.mkdir()
        try:
            lock = _lock(place)
            if lock is None or os.path.samestat(os.fstat(lock), place.stat()):
                return place, lock
            _unlock(lock)
        except (FileNotFoundError, BlockingIOError):
            continue  # another process took it for one that was left behind, and removes it


def _remove_left_behind(parent: Path) -> None:
    """Remove the folders that processes which are dead were writing in ``parent``."""
    for place in parent.glob(f".*{_UNFINISHED}"):
        if place.is_symlink() or not place.is_dir():
            continue
        try:
            lock = _lock(place)
        except OSError:
            continue  # it is being written, or just gone, or somebody else's
        if lock is not None:
            shutil.rmtree(place, ignore_errors=True)
            _unlock(lock)


def _lock(folder: Path) -> int | None:
    """Return a descriptor that locks ``folder``; None where folders cannot be locked.

    Raises:
        BlockingIOError: Another process has locked it.
        OSError: It cannot be opened.
    """
    if os.name == "nt":  # no folder can be opened there
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        locked = lock_descriptor(descriptor, blocking=False)
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    if not locked:
        os.close(descriptor)
        raise BlockingIOError
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
