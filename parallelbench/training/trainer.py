"""The training loop: draw, mask, predict, step, average; log and save.

Every draw is seeded by the plan's seed and the step number, so the weights, their average and
the state of the optimizer suffice to continue as if the training had never stopped.  Processes
that share a training draw the same samples and add up their gradients in every step.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from parallelbench.errors import CheckpointError, FieldError, StorageError
from parallelbench.run.environment import environment
from parallelbench.training.data import Example, check_tasks, examples, floors, task_words
from parallelbench.training.figure import write_figure
from parallelbench.training.folder import TrainingFolder
from parallelbench.training.log import LogEntry, LossWindow, read_log, write_log
from parallelbench.training.objective import (
    collate,
    draw_masks,
    group_by_length,
    mask_rng,
    masked_losses,
)
from parallelbench.training.optimizer import Average, make_optimizers, rate, set_rate
from parallelbench.training.plan import Base, Plan, Scratch
from parallelbench.training.start import Trainee, describe, open_trainee, write_random
from parallelbench.training.workers import Workers

#: Sequence length written into the configuration; the network itself has no such limit.
_POSITIONS = 1024


class TrainingProgress(NamedTuple):
    """The progress of a training.

    Attributes:
        step: Number of finished steps.
        steps: Number of all steps.
        entry: Latest log entry; None when a training begins or continues.
        samples_per_second: Throughput since this command started.
        left: Estimated seconds to the end; None before the first step.
        processes: Number of processes that share the training.
    """

    step: int
    steps: int
    entry: LogEntry | None = None
    samples_per_second: float = 0.0
    left: float | None = None
    processes: int = 1


def train(  # noqa: PLR0913  a public call, all by keyword
    plan: Plan,
    out: Path | str,
    *,
    log_every: int = 50,
    save_every: int = 500,
    device: str = "auto",
    compile: bool = False,  # noqa: A002  as torch calls it
    progress: Callable[[TrainingProgress], None] = lambda _: None,
) -> Path:
    """Train, or continue an interrupted training; return the folder of the checkpoint.

    An interrupted training continues from the last save and ends with the same weights, bit
    for bit, on the same machine with the same number of threads.

    If a launcher such as ``accelerate launch`` started several processes, each of them must
    make the same call.  They share the samples of each step and end with the same weights as
    one process would, up to the rounding of sums.

    Args:
        plan: Network, tasks and length of the training.
        out: Folder of the checkpoint: new, empty, or of the same plan.
        log_every: Steps between log entries.
        save_every: Steps between checkpoints; the last step always saves one.
        device: Device in torch's notation; ``auto`` is the accelerator if there is one, and
            each process's own if there are several.
        compile: True to compile the network with ``torch.compile``: after a minute, steps are
            up to twice as fast; needs a C++ compiler.
        progress: Called at the beginning and with every log entry, in the first process.

    Raises:
        CheckpointError: The checkpoint cannot be loaded or trained, the loss became NaN or
            infinite, or the processes lost their connection; the last good checkpoint stays.
        CanvasError: An answer does not fit its canvas or the tokenizer.
        EndedElsewhereError: Another process raised an error, and this one ended with it.
        FieldError: ``log_every`` or ``save_every`` is below 1, the optimizer or a compiler is
            not installed, or one device was named for several processes.
        RunFileError: ``out`` contains a training with another plan.
        StorageError: ``out`` cannot be written, or contains something else.
        KeyboardInterrupt: Ctrl-C; the last finished step is saved.
    """
    requested = _device(plan, device)
    workers = Workers.launched(requested)
    with workers.together():
        for name, value in (("log_every", log_every), ("save_every", save_every)):
            if value < 1:
                raise FieldError(f"{name} must be at least 1 step, got {value}")
        if workers.count > 1 and requested not in {"auto", "cpu"}:
            raise FieldError(
                f"device must be auto or cpu in a training of {workers.count} processes, got "
                f"{requested!r}: each uses a device of its own"
            )
        folder = TrainingFolder(Path(out))
        training = _opened(plan, folder, workers, compiled=compile)
        report = progress if workers.main else (lambda _: None)
        if training is None:
            report(TrainingProgress(plan.steps, plan.steps))
            return folder.path
        workers.wait()  # the time until all processes are ready does not count
        report(TrainingProgress(training.step, plan.steps, processes=workers.count))
        with _interruptions() as interrupted:
            training.go_on(log_every, save_every, report, interrupted)
    return folder.path


def _device(plan: Plan, requested: str) -> str:
    """Return the requested device; that of the checkpoint's setting takes precedence."""
    named: str = plan.start.named["device"] if isinstance(plan.start, Base) else "auto"
    return requested if named == "auto" else named


def _opened(
    plan: Plan,
    folder: TrainingFolder,
    workers: Workers,
    *,
    compiled: bool,
) -> _Training | None:
    """Return the training in ``folder``, new or continued; None if it is complete."""
    if workers.main:
        folder.begin(plan.frozen())
    workers.wait()
    begun = folder.record()
    if not begun:
        raise StorageError(
            f"process {workers.index} of {workers.count} does not see what process 0 wrote into "
            f"{folder.path}; give a folder that all of them share"
        )
    if begun.get("step") == plan.steps:
        return None
    training = _Training(plan, folder, workers)
    if compiled:
        _refuse_no_compiler()
        network: Any = training.trainee.checkpoint.network
        network.model.compile(dynamic=True)
    return training


def _refuse_no_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")  # where torch looks
    if shutil.which(compiler) is None:
        raise FieldError(
            f"compile needs the C++ compiler {compiler!r}, which is not installed; install one, "
            "name another in the environment variable CXX, or leave compile away"
        )


class _Training:
    """The state of a training between two steps.

    Args:
        plan: Plan of the training.
        folder: Folder of the training; a saved state is restored from it.
        workers: Processes that share the training.
    """

    def __init__(self, plan: Plan, folder: TrainingFolder, workers: Workers) -> None:
        self.plan = plan
        self.folder = folder
        self.workers = workers
        state = folder.state()
        self.trainee = _begin(plan, folder, workers, fresh=state is None)
        check_tasks(plan, self.trainee.checkpoint.codec)
        self.weights = self.trainee.weights
        self.optimizers = make_optimizers(plan.optimizer, self.weights)
        self.average = Average(self.weights, plan.average)
        self.window = LossWindow([each.label for each in plan.settings], floors(plan))
        self.step = 0
        self.seconds = 0.0
        self.norm = 0.0
        if state is not None:
            self._restore(state)
        self.entries = read_log(folder, self.step)
        if workers.main:
            here = {**environment(), "processes": workers.count}
            starts = [*folder.record().get("environments", []), here]
            folder.note(**describe(self.trainee), environments=starts)

    def go_on(
        self,
        log_every: int,
        save_every: int,
        progress: Callable[[TrainingProgress], None],
        interrupted: Callable[[], bool],
    ) -> None:
        """Run the remaining steps."""
        first, before, began = self.step, self.seconds, time.monotonic()
        while self.step < self.plan.steps:
            self._do_step()
            self.seconds = before + time.monotonic() - began
            last = self.step == self.plan.steps
            if last or self.step % log_every == 0:
                progress(self._log((self.step - first) / (self.seconds - before)))
            stop = self.workers.any(flag=interrupted())
            if last or stop or self.step % save_every == 0:
                self._save()
                self.workers.wait()  # a later failure names the checkpoint that was saved
            if stop and not last:
                raise KeyboardInterrupt

    def _do_step(self) -> None:
        plan = self.plan
        drawn = examples(plan, self.trainee.checkpoint.codec, self.step)
        masks = draw_masks([each.open for each in drawn], mask_rng(plan.seed, self.step))
        step_losses = [0.0] * len(drawn)
        for places in self._own(drawn):
            part = self._accumulate(
                [drawn[each] for each in places], [masks[each] for each in places]
            )
            for place, loss in zip(places, part, strict=True):
                step_losses[place] = loss
        step_losses = self._add_up(step_losses)
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), plan.clip)
        self.norm = float(norm)
        self._refuse_no_number("gradient", self.norm, self.step + 1)
        set_rate(self.optimizers, self._learning_rate())
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.average.update(self.weights, self.step)
        for each, loss in zip(drawn, step_losses, strict=True):
            self.window.add(each.task, loss)
        self.step += 1

    def _own(self, drawn: Sequence[Example]) -> list[list[int]]:
        """Return the indices of this process's samples, in groups of similar length."""
        # Assigned in order of length, so that all processes have about the same work.
        ordered = [place for places in group_by_length(drawn) for place in places]
        own = ordered[self.workers.index :: self.workers.count]
        return [
            [own[each] for each in part] for part in group_by_length([drawn[each] for each in own])
        ]

    def _add_up(self, own_losses: list[float]) -> list[float]:
        """Add up gradients and losses over all processes; return the losses."""
        if self.workers.count == 1:
            return own_losses
        total = torch.tensor(own_losses, device=self.trainee.checkpoint.device)
        for each in self.weights.values():
            if each.grad is None:  # a small batch has no sample for this process
                each.grad = torch.zeros_like(each)
        gradients = [each.grad for each in self.weights.values() if each.grad is not None]
        self.workers.add_up([total, *gradients])
        return total.tolist()

    def _accumulate(
        self, drawn: Sequence[Example], masks: Sequence[Bool[Tensor, " _"]]
    ) -> list[float]:
        """Add the gradient of some samples of a step; return their losses."""
        plan, checkpoint = self.plan, self.trainee.checkpoint
        codec = checkpoint.codec
        batch = collate(drawn, masks, codec.mask_id, codec.end_id).to(checkpoint.device)
        low = plan.precision == "bfloat16"
        with torch.autocast(checkpoint.device.type, dtype=torch.bfloat16, enabled=low):
            per_sample = masked_losses(checkpoint.network, batch, checkpoint.family.shift)
        values = per_sample.tolist()
        self._refuse_no_number("loss", math.fsum(values) / len(values), self.step + 1)
        (per_sample.sum() / plan.batch_size).backward()
        return values

    def _learning_rate(self) -> float:
        return self.plan.optimizer.learning_rate * rate(self.plan, self.step)

    def _log(self, steps_per_second: float) -> TrainingProgress:
        plan = self.plan
        entry = self.window.close(
            step=self.step,
            samples=self.step * plan.batch_size,
            learning_rate=plan.optimizer.learning_rate * rate(plan, self.step - 1),
            gradient_norm=self.norm,
            seconds=round(self.seconds, 3),
        )
        self.entries.append(entry)
        if self.workers.main:
            write_log(self.folder, self.entries)
        left = (plan.steps - self.step) / steps_per_second
        speed = steps_per_second * plan.batch_size
        return TrainingProgress(self.step, plan.steps, entry, speed, left, self.workers.count)

    def _save(self) -> None:
        """Write the checkpoint, then the state from which the training continues."""
        if not all(bool(each.isfinite().all()) for each in self.weights.values()):
            self._refuse_no_number("weights", math.nan, self.step)
        if not self.workers.main:
            return
        self.trainee.save(self.average.tensors, self.folder)
        if self.entries:
            write_figure(self.folder, self.entries)
        done = self.step == self.plan.steps
        if not done:
            self.folder.write_state(self._state())
        self.folder.note(
            step=self.step,
            samples=self.step * self.plan.batch_size,
            seconds=round(self.seconds, 1),
        )
        if done:
            self.folder.drop_state()

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "weights": {name: each.detach() for name, each in self.weights.items()},
            "average": self.average.tensors,
            "optimizers": [each.state_dict() for each in self.optimizers],
            "window": self.window.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, each in self.weights.items():
                each.copy_(state["weights"][name])
                self.average.tensors[name].copy_(state["average"][name])
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        self.window.restore(state["window"])
        self.step, self.seconds = state["step"], state["seconds"]

    def _refuse_no_number(self, what: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        saved = self.folder.record().get("step")
        kept = (
            f"the checkpoint of step {saved} is kept in {self.folder.path}"
            if saved
            else "no checkpoint was saved before"
        )
        raise CheckpointError(
            f"training stopped at step {step}: the {what} became {value}; {kept}; begin "
            "again in another folder with a lower learning rate or a longer warm-up"
        )


def _begin(plan: Plan, folder: TrainingFolder, workers: Workers, *, fresh: bool) -> Trainee:
    """Return the network to train, and record the weights that it started with."""
    if fresh and workers.main:
        folder.note(step=0)
        if isinstance(plan.start, Scratch):
            words = task_words(plan.built, plan.seed)
            write_random(plan.start, words, _POSITIONS, plan.seed, folder)
    workers.wait()
    if isinstance(plan.start, Scratch) or workers.main:
        trainee = open_trainee(plan.start, folder, workers.device, plan.seed)
    else:
        # Only the main process copies the other files of a base checkpoint.
        with TemporaryDirectory() as aside:
            trainee = open_trainee(
                plan.start, TrainingFolder(Path(aside)), workers.device, plan.seed
            )
    if isinstance(plan.start, Base):
        digest = trainee.checkpoint.weights_digest
        _check_base(plan.start, digest, folder)
        if workers.main:
            folder.note(base_weights_digest=digest)
    return trainee


def _check_base(start: Base, digest: str, folder: TrainingFolder) -> None:
    began = folder.record().get("base_weights_digest", digest)
    if began != digest:
        raise CheckpointError(
            f"{start.model} has other weights than when {folder.path} was begun (SHA-256 "
            f"{digest[:12]} instead of {began[:12]}); begin again in another folder"
        )


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Finish the current step after Ctrl-C; a second Ctrl-C stops immediately."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread receives signals
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        if pressed.is_set():
            signal.default_int_handler(number, frame)
        pressed.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
