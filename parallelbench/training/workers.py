"""The processes that share a training: who they are, what they add up, how they end.

A launcher such as ``accelerate launch`` starts the same command several times.  Every
process draws the same batch, shows its part of it to the network, and does the same step
with the sum of all gradients; so all have the same weights, and one of them writes the files.

Nobody may be left waiting for a process that failed.  Every exchange therefore begins with
a vote: whoever failed says so there, where the others are sure to come by, and all end.
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

#: Numbers that are summed at once, unless one tensor has more: 128 MiB.
_AT_ONCE = 2**25
#: How long the others may wait while one saves a large network on a slow disk.
_PATIENCE = timedelta(hours=2)


class EndedElsewhereError(ParallelBenchError):
    """Another process of the same training failed, and it is that one which says why."""


class Workers:
    """The processes of one training, as one of them sees them.

    Alone, every method returns at once.  With others, each must be called by all of them,
    in the same order.

    Args:
        count: How many there are.
        index: Which one this is, counted from 0.
        device: Where this one computes, as torch names it.
    """

    def __init__(self, count: int = 1, index: int = 0, device: str = "auto") -> None:
        self.count = count
        self.index = index
        self.device = device
        self._parted = False

    @classmethod
    def launched(cls, device: str) -> Workers:
        """Return the processes that a launcher started; this one alone, if none did.

        Args:
            device: As asked for, where this process is alone.  Several are on the CPU if
                this says ``cpu``, and otherwise each on an accelerator of its own.

        Raises:
            CheckpointError: The package accelerate is missing, cannot bring the processes
                together, or was told to split the network between them.
        """
        count = _launched_count()
        if count == 1:
            return cls(device=device)
        _refuse_split_networks()
        state = _brought_together(count, device)
        if state.num_processes != count:
            raise CheckpointError(
                f"the launcher started {count} processes, and accelerate brings "
                f"{state.num_processes} together on {state.device}; say device cpu, or start one"
            )
        return cls(count, state.process_index, str(state.device))

    @property
    def main(self) -> bool:
        """Whether this process writes the files and tells how far the training is."""
        return self.index == 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """End what is done within in all processes, as soon as it ends with an error in one.

        Raises:
            EndedElsewhereError: It is another process that tells the error.
        """
        try:
            yield
            self.wait()
        except BaseException as error:
            if self._parted:
                raise
            teller = self._first_that_failed()
            # The others were interrupted by the same keys.
            if teller == self.index or isinstance(error, KeyboardInterrupt):
                raise
            raise self._ended_by(teller) from error

    def wait(self) -> None:
        """Wait until all processes are here.

        Raises:
            CheckpointError: One of them is gone.
            EndedElsewhereError: One of them failed on the way.
        """
        if self.count == 1:
            return
        first = self._vote(failed=False)
        if first < self.count:
            raise self._ended_by(first)

    def any(self, flag: bool) -> bool:  # noqa: FBT001  said once, by its name
        """Return whether ``flag`` is true in any process; raises as :meth:`wait` does."""
        if self.count == 1:
            return flag
        told = torch.tensor([float(flag)], device=self.device)
        self.add_up([told])
        return bool(told)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes, in float32, in the place of each tensor.

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
            return self.index  # nobody else is there any more

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
            # An accelerator computes later, and errors come up when somebody looks.
            tensor[:1].tolist()
        except BaseException as error:
            # Torn out of an exchange, it cannot know where the others are.
            self._parted = True
            if not isinstance(error, RuntimeError):
                raise
            raise CheckpointError(
                f"the {self.count} processes of this training lost each other: "
                f"{_first_line(error)}; what was saved before is kept, and the same command goes "
                "on from there"
            ) from error

    def _ended_by(self, index: int) -> EndedElsewhereError:
        return EndedElsewhereError(
            f"process {index} of {self.count} ended this training, and says why"
        )


def is_first() -> bool:
    """Return whether this process says what all of them would say: the first, or the only one."""
    return _launched_count() == 1 or os.environ.get("RANK") == "0"


def _launched_count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _brought_together(count: int, device: str) -> Any:
    """Return what accelerate knows of the processes, once all of them are here."""
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise CheckpointError(
            f"a training of {count} processes needs the package accelerate: "
            f"pip install 'parallelbench[accelerate]' ({error})"
        ) from error
    # Imported later, its functions would take the group for a default argument, and keep the
    # group's threads alive until they fail in a Python that is no longer there.
    import_module("torch.distributed.nn")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    try:
        state = PartialState(cpu=device == "cpu" or accelerator is None, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the {count} processes of this training cannot find each other: "
            f"{_first_line(error)}; start them with accelerate launch"
        ) from error
    # It outlives this training: a script may begin another one.
    atexit.register(state.destroy_process_group)
    return state


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refuse_split_networks() -> None:
    # transformers would give all processes but one a network without its weights.
    for way in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{way}", "").lower() == "true":
            raise CheckpointError(
                f"accelerate is configured for {way}, and a training keeps the whole network in "
                "every process; say accelerate launch --multi_gpu"
            )


def _parts(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in few parts, each of not too many numbers."""
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
