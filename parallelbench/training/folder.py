"""The folder of a training: its checkpoint, log and state.

In addition to the checkpoint, ``training.json`` holds the plan, ``log.jsonl`` and the figure
``loss`` show the losses, and ``training_state.pt`` holds the state from which the same command
continues, until the last step.  Every file is replaced atomically.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from parallelbench.errors import CheckpointError, RunFileError, StorageError
from parallelbench.run.runfile import differences
from parallelbench.storage.folders import occupied
from parallelbench.storage.plain_json import json_of, regular_bytes

_TRAINING = "training.json"
_STATE = "training_state.pt"


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of a training.

    Attributes:
        path: Path of the folder.
    """

    path: Path

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Prepare the folder for ``plan``, new or continued.

        Raises:
            RunFileError: It contains another training; the message names the difference.
            StorageError: It cannot be created, or contains something else.
        """
        with self.storage():
            self.path.mkdir(parents=True, exist_ok=True)
            # A training that was killed at the start may have left a partial file.
            others = [each for each in self.path.iterdir() if not each.name.startswith(".")]
        record = self.record()
        if record:
            self._refuse_another(record.get("plan", {}), plan)
            return
        if others:
            raise occupied(self.path, " and contains no training", flag="")
        self.write_json(_TRAINING, {"plan": plan})

    def record(self) -> dict[str, Any]:
        """Return the content of ``training.json``; empty if there is none.

        Raises:
            RunFileError: It is not a JSON object.
        """
        file = self.path / _TRAINING
        with self.storage():
            if not file.exists():
                return {}
            text = regular_bytes(file)
        try:
            content = json_of(text)
        except ValueError as error:
            raise RunFileError(f"{file} was altered: it is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise RunFileError(f"{file} was altered: it is not a JSON object")
        return content

    def note(self, **fields: Any) -> None:
        """Add ``fields`` to ``training.json``; they replace fields of the same name."""
        self.write_json(_TRAINING, {**self.record(), **fields})

    def state(self) -> dict[str, Any] | None:
        """Return the saved state of the training; None if nothing was saved.

        Raises:
            CheckpointError: It is damaged.
        """
        file = self.path / _STATE
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            # A damaged file may raise anything.
            first = str(error).partition("\n")[0]
            raise CheckpointError(
                f"{file} is damaged, so the training cannot continue from it: {first}; delete it "
                "to start again"
            ) from error
        return state

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Write the state from which the training continues."""
        with self.replacing(_STATE) as temporary:
            torch.save(dict(state), temporary)

    def drop_state(self) -> None:
        """Delete the saved state of a complete training."""
        with self.storage():
            (self.path / _STATE).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        self.write_bytes(name, (json.dumps(content, indent=1) + "\n").encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file."""
        with self.replacing(name) as temporary:
            temporary.write_bytes(content)

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a safetensors file."""
        held = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
        with self.replacing(name) as temporary:
            save_file(held, temporary, metadata={"format": "pt"})

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Yield a temporary file that replaces ``name`` once it is written.

        Raises:
            StorageError: It cannot be written.
        """
        temporary = self.path / f".{name}-part"
        with self.storage():
            try:
                temporary.touch()
                mode = temporary.stat().st_mode
                yield temporary
                temporary.chmod(mode)  # safetensors makes its files private
                temporary.replace(self.path / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    @contextmanager
    def storage(self) -> Iterator[None]:
        """Raise errors of the file system as a :class:`StorageError`."""
        try:
            yield
        # safetensors and torch raise their own types when a disk is full.
        except (OSError, SafetensorError, RuntimeError) as error:
            raise StorageError(
                f"{self.path} cannot be used: {error}; what was saved before is kept, so fix that "
                "and start again"
            ) from error

    def _refuse_another(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        if before != after:
            raise RunFileError(
                f"{self.path} contains another training: requested "
                f"{'; '.join(differences(before, after))}; give another folder, or the original "
                "options"
            )
