"""JSON files that somebody else may have written: read whole, or refused as ValueError or OSError.

Python's reader has two more ways out, which nobody expects: brackets nested a thousand deep end in
a RecursionError, and a pipe in place of a file waits for ever.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any


def json_of(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is no JSON, or nested deeper than Python reads.

    Example:
        >>> json_of('{"shard": "2/4"}')
        {'shard': '2/4'}
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("brackets are nested too deep") from error


def regular_bytes(path: Path) -> bytes:
    """Return the content of a regular file, also behind a link.

    Raises:
        OSError: There is none, or it is a pipe, a device or a folder.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return path.read_bytes()
