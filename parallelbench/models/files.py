"""The files of a checkpoint's folder: its weights, and checks for damaged or missing files.

The errors are specific: a file that was not downloaded, two sets of weights in one folder, JSON
that no library can read.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from parallelbench.errors import CheckpointError
from parallelbench.storage.plain_json import json_of, regular_bytes

_INDEX = ".index.json"
#: File names of weights in transformers, in the order in which it looks for them.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: A pointer of git-lfs: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/.*^size (\d+)$", re.DOTALL | re.MULTILINE
)
_LONGEST_POINTER = 1024


def read_json_file(path: Path, source: str) -> dict[str, Any]:
    """Return the object in a JSON file; a byte-order mark is ignored.

    Args:
        path: Path of the file.
        source: Checkpoint as the user named it, for error messages.

    Raises:
        CheckpointError: There is no such file, or it contains something else.
    """
    check_downloaded(path, source)
    try:
        content = json_of(regular_bytes(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source} is not a checkpoint: {path.name}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{source} is not a checkpoint: {path.name} does not contain a JSON object"
        )
    return content


def read_optional_json(path: Path, source: str) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is no such file.

    Raises:
        CheckpointError: It contains something else, or cannot be read.
    """
    return read_json_file(path, source) if path.exists() else {}


def check_downloaded(path: Path, source: str) -> None:
    """Refuse a placeholder of a file that was not downloaded.

    Raises:
        CheckpointError: It is a pointer of git-lfs.
    """
    if not path.is_file() or path.stat().st_size > _LONGEST_POINTER:
        return
    if found := _POINTER.match(path.read_bytes()):
        raise CheckpointError(
            f"{source}: {path.name} is a git-lfs pointer to a file of {int(found[1]):,} bytes that "
            "was not downloaded; run git lfs pull in the folder"
        )


def check_plain(path: Path, source: str) -> None:
    """Refuse a file that a library could not read; the error says how to fix it.

    Raises:
        CheckpointError: It is a pointer of git-lfs, or begins with a byte-order mark.
    """
    check_downloaded(path, source)
    if path.is_file():
        with path.open("rb") as file:
            marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
        if marked:
            raise CheckpointError(
                f"{source}: {path.name} begins with a byte-order mark, which libraries do not "
                "accept; save it as UTF-8 without one"
            )


def weight_files(folder: Path, source: str) -> list[Path]:
    """Return the files of the weights; others in the folder have no effect.

    Args:
        folder: Folder of the checkpoint.
        source: Checkpoint as the user named it, for error messages.

    Raises:
        CheckpointError: There are none, two sets that differ, a left-over adapter, or files
            that were not downloaded.
    """
    if (folder / "adapter_config.json").exists():
        # transformers would silently add it to the weights if peft is installed.
        raise CheckpointError(
            f"{source} contains a LoRA adapter (adapter_config.json) beside its weights; move it "
            "to another folder and say peft=FOLDER, or remove it"
        )
    for name in _WEIGHTS:
        whole, index = folder / name, folder / f"{name}{_INDEX}"
        shards = _shards(index, source, alone=not whole.is_file())
        for path in (*shards, whole):
            check_downloaded(path, source)
        if whole.is_file() and shards:
            _check_same(whole, index, shards, source)
        if whole.is_file():
            return [whole]
        if shards:
            return shards
    raise CheckpointError(
        f"{source} contains no weights: neither model.safetensors nor pytorch_model.bin, whole or "
        f"as shards with their {_INDEX.removeprefix('.')}"
    )


def _shards(index: Path, source: str, *, alone: bool) -> list[Path]:
    """Return the files that an index names; empty if there is no index.

    Args:
        index: Path of the index.
        source: Checkpoint as the user named it, for error messages.
        alone: True if the weights can only be in these files; else an index without any of its
            files is ignored as left over.
    """
    check_plain(index, source)
    places = read_optional_json(index, source).get("weight_map", {})
    if not isinstance(places, dict) or not all(isinstance(p, str) for p in places.values()):
        raise CheckpointError(
            f"{source} is not a checkpoint: weight_map in {index.name} must name a file for each "
            "tensor"
        )
    files = [index.parent / name for name in sorted(set(places.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing and len(missing) == len(files) and not alone:
        return []
    if missing:
        raise CheckpointError(
            f"{source}: {index.name} names {len(missing)} file(s) that are not in the folder: "
            f"{', '.join(missing[:3])}; download them again"
        )
    return files


def _check_same(whole: Path, index: Path, shards: list[Path], source: str) -> None:
    """Refuse a whole file together with shards, unless they contain the same tensors."""
    if whole.suffix == ".safetensors" and _tensors_agree(whole, shards):
        return
    raise CheckpointError(
        f"{source} contains two sets of weights, {whole.name} and the {len(shards)} shard(s) of "
        f"{index.name}, and they differ; remove the outdated one"
    )


def _tensors_agree(whole: Path, shards: list[Path]) -> bool:
    try:
        with safe_open(whole, framework="pt") as one:
            names = set(one.keys())
            for shard in shards:
                with safe_open(shard, framework="pt") as part:
                    shard_names = part.keys()
                    for name in shard_names:
                        if name not in names:
                            return False
                        first, second = one.get_tensor(name), part.get_tensor(name)
                        if first.dtype != second.dtype or not first.equal(second):
                            return False
                        names.remove(name)
    except SafetensorError:
        return False
    return not names
