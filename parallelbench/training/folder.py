"""The folder of a training: the checkpoint that grows in it, and what goes on from there.

Beside the checkpoint, ``training.json`` says what the training is, ``log.jsonl`` and the
figure ``loss`` how it went, and ``training_state.pt`` holds what the same command goes on
from, until the last step is done.  Every file is replaced whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parallelbench.errors import CheckpointError, RunFileError, StorageError
from parallelbench.run.runfile import differences
from parallelbench.storage.folders import occupied
from parallelbench.storage.plain_json import json_of, regular_bytes

_TRAINING = "training.json"
_STATE = "training_state.pt"


@dataclass(frozen=True)
class TrainingFolder:
    """Where a training is kept.

    Attributes:
        path: Of the folder.
    """

    path: Path

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Make the folder ready for ``plan``, new or to be continued.

        Raises:
            RunFileError: It holds another training; the message tells the difference.
            StorageError: It cannot be made, or holds something else.
        """
        with self.storage():
            self.path.mkdir(parents=True, exist_ok=True)
            # A training that was killed as it began may have left a half-written file.
            others = [each for each in self.path.iterdir() if not each.name.startswith(".")]
        record = self.record()
        if record:
            self._refuse_another(record.get("plan", {}), plan)
            return
        if others:
            raise occupied(self.path, " and holds no training", flag="")
        self.write_json(_TRAINING, {"plan": plan})

    def record(self) -> dict[str, Any]:
        """Return what ``training.json`` holds; nothing, if there is none.

        Raises:
            RunFileError: It is no JSON object.
        """
        file = self.path / _TRAINING
        with self.storage():
            if not file.exists():
                return {}
            text = regular_bytes(file)
        try:
            found = json_of(text)
        except ValueError as error:
            raise RunFileError(f"{file} was altered: it is no JSON any more: {error}") from error
        if not isinstance(found, dict):
            raise RunFileError(f"{file} was altered: it holds no JSON object")
        return found

    def note(self, **facts: Any) -> None:
        """Add ``facts`` to ``training.json``, in the place of those of the same name."""
        self.write_json(_TRAINING, {**self.record(), **facts})

    def state(self) -> dict[str, Any] | None:
        """Return what the training goes on from; None if nothing was saved.

        Raises:
            CheckpointError: It is damaged.
        """
        file = self.path / _STATE
        if not file.exists():
            return None
        try:
            held: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            # What is damaged may be read as anything, and fail in any way.
            first = str(error).partition("\n")[0]
            raise CheckpointError(
                f"{file} is damaged, so the training cannot go on from there: {first}; delete it "
                "to begin anew"
            ) from error
        return held

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Write what the training goes on from."""
        with self.replacing(_STATE) as temporary:
            torch.save(dict(state), temporary)

    def drop_state(self) -> None:
        """Delete it: nothing is left to do."""
        with self.storage():
            (self.path / _STATE).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of JSON."""
        self.write_bytes(name, (json.dumps(content, indent=1) + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file."""
        with self.replacing(name) as temporary:
            temporary.write_bytes(content)

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a file of safetensors."""
        from safetensors.torch import save_file

        held = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
        with self.replacing(name) as temporary:
            save_file(held, temporary, metadata={"format": "pt"})

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Hand out a file that takes the place of ``name`` once it is written.

        Raises:
            StorageError: It cannot be written.
        """
        temporary = self.path / f".{name}-part"
        with self.storage():
            try:
                temporary.touch()
                mode = temporary.stat().st_mode
                yield temporary
                temporary.chmod(mode)  # safetensors keeps its files to their owner
                temporary.replace(self.path / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    @contextmanager
    def storage(self) -> Iterator[None]:
        """Turn a fault of the file system into a sentence."""
        from safetensors import SafetensorError

        try:
            yield
        # Both libraries have errors of their own for a disk that is full.
        except (OSError, SafetensorError, RuntimeError) as error:
            raise StorageError(
                f"{self.path} cannot be used: {error}; what was saved before is kept, so mend "
                "that and start again"
            ) from error

    def _refuse_another(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        if before != after:
            raise RunFileError(
                f"{self.path} holds another training: now asked for "
                f"{'; '.join(differences(before, after))}; give another folder, or what it "
                "began with"
            )
