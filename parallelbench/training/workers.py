"""The processes that share a training: their start, their exchange of gradients, their end.

A launcher such as ``accelerate launch`` starts the same command several times.  Every process
draws the same batch, computes the gradient of its part, and makes the same step with the sum of
all gradients.  All processes therefore have the same weights, and one of them writes the files.

No process may wait forever for one that failed.  Every exchange therefore begins with a vote in
which a failed process reports its failure, and all processes end.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor

from parallelbench.errors import CheckpointError, ParallelBenchError

#: Numbers summed in one exchange (128 MiB), unless one tensor has more.
_AT_ONCE = 2**25
#: Maximum wait while one process saves a large network to a slow disk.
_PATIENCE = timedelta(hours=2)


class EndedElsewhereError(ParallelBenchError):
    """Another process of the same training failed; that process reports the reason."""


class Workers:
    """One process of a training, and its exchange with the others.

    With a single process, every method returns immediately.  With several, all of them must
    call the same methods in the same order.

    Args:
        count: Number of processes.
        index: Index of this process, from 0.
        device: Device of this process in torch's notation.
    """

    def __init__(self, count: int = 1, index: int = 0, device: str = "auto") -> None:
        self.count = count
        self.index = index
        self.device = device
        self._parted = False

    @classmethod
    def launched(cls, device: str) -> Workers:
        """Join the processes that a launcher started; without a launcher there is only this one.

        Args:
            device: Device of a single process.  Several processes compute on the CPU if it is
                ``cpu``, and otherwise each on an accelerator of its own.

        Raises:
            CheckpointError: The package accelerate is missing, cannot connect the processes,
                or is configured to split the network between them.
        """
        count = _launched_count()
        if count == 1:
            return cls(device=device)
        _refuse_split_networks()
        state = _connect(count, device)
        if state.num_processes != count:
            raise CheckpointError(
                f"the launcher started {count} processes, and accelerate brings "
                f"{state.num_processes} together on {state.device}; say device cpu, or start one"
            )
        return cls(count, state.process_index, str(state.device))

    @property
    def main(self) -> bool:
        """True for the process that writes the files and reports the progress."""
        return self.index == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Context that all processes leave as soon as one of them raises an error.

        Raises:
            EndedElsewhereError: Another process raised and reports the error.
        """
        try:
            yield
            self.wait()
        except BaseException as error:
            if self._parted:
                raise
            failed = self._first_that_failed()
            # Ctrl-C interrupts every process.
            if failed == self.index or isinstance(error, KeyboardInterrupt):
                raise
            raise self._ended_by(failed) from error

    def wait(self) -> None:
        """Wait until all processes arrive here.

        Raises:
            CheckpointError: A process disappeared.
            EndedElsewhereError: A process failed.
        """
        if self.count == 1:
            return
        first = self._vote(failed=False)
        if first < self.count:
            raise self._ended_by(first)

    def any(self, *, flag: bool) -> bool:
        """Return True if ``flag`` is true in any process; raises as :meth:`wait` does."""
        if self.count == 1:
            return flag
        votes = torch.tensor([float(flag)], device=self.device)
        self.add_up([votes])
        return bool(votes)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in float32.

        Raises as :meth:`wait` does.
        """
        if self.count == 1:
            return
        for part in _parts(tensors):
            sums = torch.cat([each.detach().flatten().float() for each in part])
            self.wait()
            self._reduce(sums, "SUM")
            sizes = [each.numel() for each in part]
            with torch.no_grad():
                for each, total in zip(part, sums.split(sizes), strict=True):
                    each.copy_(total.view_as(each))

    def _first_that_failed(self) -> int:
        if self.count == 1:
            return self.index
        try:
            return self._vote(failed=True)
        except CheckpointError:
            return self.index  # the other processes are gone

    def _vote(self, *, failed: bool) -> int:
        """Return the first process that failed, or the number of processes if none did."""
        vote = torch.tensor([self.index if failed else self.count], device=self.device)
        self._reduce(vote, "MIN")
        first = int(vote)
        self._parted = first < self.count
        return first

    def _reduce(self, tensor: Tensor, operation: Literal["SUM", "MIN"]) -> None:
        try:
            torch.distributed.all_reduce(tensor, getattr(torch.distributed.ReduceOp, operation))
            # An accelerator computes asynchronously; reading a value raises its errors.
            tensor[:1].tolist()
        except BaseException as error:
            # After a broken exchange the state of the other processes is unknown.
            self._parted = True
            if not isinstance(error, RuntimeError):
                raise
            raise CheckpointError(
                f"the {self.count} processes of this training lost each other: "
                f"{_first_line(error)}; what was saved before is kept, and the same command "
                "continues from there"
            ) from error

    def _ended_by(self, index: int) -> EndedElsewhereError:
        return EndedElsewhereError(
            f"process {index} of {self.count} ended this training and reports the reason"
        )


def is_first() -> bool:
    """Return True for the process that reports for all: the first or the only one."""
    return _launched_count() == 1 or os.environ.get("RANK") == "0"


def _launched_count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _connect(count: int, device: str) -> Any:
    """Connect the processes; return accelerate's state of them."""
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise CheckpointError(
            f"a training of {count} processes needs the package accelerate: "
            f"pip install 'parallelbench[accelerate]' ({error})"
        ) from error
    # Imported after the process group exists, its functions would hold the group as a default
    # argument, and the group's threads would outlive the interpreter and crash.
    import_module("torch.distributed.nn")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    try:
        state = PartialState(cpu=device == "cpu" or accelerator is None, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the {count} processes of this training cannot find each other: "
            f"{_first_line(error)}; start them with accelerate launch"
        ) from error
    # It outlives this training: a script may start another one.
    atexit.register(state.destroy_process_group)
    return state


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refuse_split_networks() -> None:
    # transformers would load the weights in one process only.
    for way in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{way}", "").lower() == "true":
            raise CheckpointError(
                f"accelerate is configured for {way}, but a training keeps the whole network in "
                "every process; use accelerate launch --multi_gpu"
            )


def _parts(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in groups of limited size."""
    part: list[Tensor] = []
    held = 0
    for tensor in tensors:
        if part and held + tensor.numel() > _AT_ONCE:
            yield part
            part, held = [], 0
        part.append(tensor)
        held += tensor.numel()
    if part:
        yield part
