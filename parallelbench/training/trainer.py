"""The training loop: draw, mask, predict, step, average; log and save on the way.

Every draw is seeded by the plan's seed and the number of the step, so the weights, their
average and the optimizer's memory are all that a training must keep to go on as if it had
never stopped.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from parallelbench.environment import environment
from parallelbench.errors import CheckpointError, FieldError
from parallelbench.training.data import Example, examples, floors, look_over, words_of
from parallelbench.training.figure import write_figure
from parallelbench.training.folder import Folder
from parallelbench.training.log import Entry, Window, read_log, write_log
from parallelbench.training.objective import alike, collate, draw_masks, losses, mask_rng
from parallelbench.training.optimizer import Average, make_optimizers, rate, set_rate
from parallelbench.training.plan import Base, Plan, Scratch
from parallelbench.training.start import Trainee, describe, open_trainee, write_random

#: Of the longest sequence, at least; published with the network, which has no such limit.
_POSITIONS = 1024


class Progress(NamedTuple):
    """How far a training is.

    Attributes:
        step: Steps done.
        steps: Of the whole training.
        entry: What was logged of the last of them; None when a training begins or goes on.
        samples_per_second: Since it began or went on.
        left: Seconds that the rest will take; None before the first step.
    """

    step: int
    steps: int
    entry: Entry | None = None
    samples_per_second: float = 0.0
    left: float | None = None


def train(  # noqa: PLR0913  where, how often, and who is told
    plan: Plan,
    out: Path | str,
    *,
    log_every: int = 50,
    save_every: int = 500,
    device: str = "auto",
    compile: bool = False,  # noqa: A002  as torch calls it
    progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Carry out ``plan``, or the rest of it; return the folder of the checkpoint.

    A training that was cut off goes on from where it was last saved, and ends with the
    same weights, bit for bit, on the same machine with the same number of threads.

    Args:
        plan: What to train, on what, for how long.
        out: The folder: new, empty, or of the same plan.
        log_every: Steps between two lines of the log.
        save_every: Steps between two checkpoints; the last step is always one.
        device: As torch names it; ``auto`` is the accelerator if there is one.
        compile: Whether ``torch.compile`` compiles the network: steps are up to twice as
            fast after a minute, and a C++ compiler must be there.
        progress: Told at the beginning and with every line of the log.

    Raises:
        CheckpointError: What it begins with cannot be loaded or trained, or the loss is no
            number any more; the last good checkpoint is kept.
        CanvasError: An answer does not fit its canvas or the tokenizer.
        FieldError: ``log_every`` or ``save_every`` is below 1, or the optimizer is not there.
        RunFileError: ``out`` holds a training with another plan.
        StorageError: ``out`` cannot be written, or holds something else.
        KeyboardInterrupt: Ctrl-C; the last step that was finished is saved.
    """
    for name, value in (("log_every", log_every), ("save_every", save_every)):
        if value < 1:
            raise FieldError(f"{name} must be at least 1 step, got {value}")
    folder = Folder(Path(out))
    folder.begin(plan.frozen())
    if folder.record().get("step") == plan.steps:
        progress(Progress(plan.steps, plan.steps))
        return folder.path
    training = _Training(plan, folder, device)
    if compile:
        training.trainee.checkpoint.network.model.compile(dynamic=True)
    progress(Progress(training.step, plan.steps))
    with _interruptions() as interrupted:
        training.go_on(log_every, save_every, progress, interrupted)
    return folder.path


class _Training:
    """A training between two steps.

    Args:
        plan: What to do.
        folder: Where it is kept; a state that lies there is taken up.
        device: As torch names it.
    """

    def __init__(self, plan: Plan, folder: Folder, device: str) -> None:
        self.plan = plan
        self.folder = folder
        state = folder.state()
        self.trainee = _begin(plan, folder, device, fresh=state is None)
        look_over(plan, self.trainee.checkpoint.codec)
        self.weights = self.trainee.weights
        self.optimizers = make_optimizers(plan.optimizer, self.weights)
        self.average = Average(self.weights, plan.average)
        self.window = Window([each.label for each in plan.settings], floors(plan))
        self.step = 0
        self.seconds = 0.0
        self.norm = 0.0
        if state is not None:
            self._take_up(state)
        self.entries = read_log(folder, self.step)
        starts = [*folder.record().get("environments", []), environment()]
        folder.note(**describe(self.trainee), environments=starts)

    def go_on(
        self,
        log_every: int,
        save_every: int,
        progress: Callable[[Progress], None],
        interrupted: Callable[[], bool],
    ) -> None:
        """Do the steps that are left."""
        first, before, began = self.step, self.seconds, time.monotonic()
        while self.step < self.plan.steps:
            self._do_step()
            self.seconds = before + time.monotonic() - began
            last = self.step == self.plan.steps
            if last or self.step % log_every == 0:
                progress(self._log((self.step - first) / (self.seconds - before)))
            if last or self.step % save_every == 0 or interrupted():
                self._save()
            if interrupted() and not last:
                raise KeyboardInterrupt

    def _do_step(self) -> None:
        plan = self.plan
        drawn = examples(plan, self.trainee.checkpoint.codec, self.step)
        masks = draw_masks([each.open for each in drawn], mask_rng(plan.seed, self.step))
        found = [0.0] * len(drawn)
        for places in alike(drawn):
            part = self._accumulate(
                [drawn[each] for each in places], [masks[each] for each in places]
            )
            for place, loss in zip(places, part, strict=True):
                found[place] = loss
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), plan.clip)
        self.norm = float(norm)
        self._refuse_no_number("gradient", self.norm, self.step + 1)
        set_rate(self.optimizers, self._learning_rate())
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.average.update(self.weights, self.step)
        for each, loss in zip(drawn, found, strict=True):
            self.window.add(each.task, loss)
        self.step += 1

    def _accumulate(
        self, drawn: Sequence[Example], masks: Sequence[Bool[Tensor, " _"]]
    ) -> list[float]:
        """Add the gradient of some samples of a step to that of the others; return their losses."""
        plan, checkpoint = self.plan, self.trainee.checkpoint
        codec = checkpoint.codec
        batch = collate(drawn, masks, codec.mask_id, codec.end_id).to(checkpoint.device)
        low = plan.precision == "bfloat16"
        with torch.autocast(checkpoint.device.type, dtype=torch.bfloat16, enabled=low):
            per_sample = losses(checkpoint.network, batch, checkpoint.family.shift)
        found = per_sample.tolist()
        self._refuse_no_number("loss", math.fsum(found) / len(found), self.step + 1)
        (per_sample.sum() / plan.batch_size).backward()
        return found

    def _learning_rate(self) -> float:
        return self.plan.optimizer.learning_rate * rate(self.plan, self.step)

    def _log(self, steps_per_second: float) -> Progress:
        plan = self.plan
        entry = self.window.close(
            step=self.step,
            samples=self.step * plan.batch_size,
            learning_rate=plan.optimizer.learning_rate * rate(plan, self.step - 1),
            gradient_norm=self.norm,
            seconds=round(self.seconds, 3),
        )
        self.entries.append(entry)
        write_log(self.folder, self.entries)
        left = (plan.steps - self.step) / steps_per_second
        return Progress(self.step, plan.steps, entry, steps_per_second * plan.batch_size, left)

    def _save(self) -> None:
        """Write the checkpoint, then what the training goes on from."""
        if not all(bool(each.isfinite().all()) for each in self.weights.values()):
            self._refuse_no_number("weights", math.nan, self.step)
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

    def _take_up(self, state: dict[str, Any]) -> None:
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


def _begin(plan: Plan, folder: Folder, device: str, *, fresh: bool) -> Trainee:
    """Return the network to be trained, and note which weights it began with."""
    if fresh:
        folder.note(step=0)
    if isinstance(plan.start, Scratch) and fresh:
        words = words_of(plan.built, plan.seed)
        write_random(plan.start, words, _POSITIONS, plan.seed, folder)
    trainee = open_trainee(plan.start, folder, device, plan.seed)
    if isinstance(plan.start, Base):
        _check_base(plan.start, trainee.checkpoint.weights_digest, folder)
    return trainee


def _check_base(start: Base, digest: str, folder: Folder) -> None:
    began = folder.record().get("base_weights_digest", digest)
    if began != digest:
        raise CheckpointError(
            f"{start.model} has other weights than when {folder.path} was begun (SHA-256 "
            f"{digest[:12]} instead of {began[:12]}); begin again in another folder"
        )
    folder.note(base_weights_digest=digest)


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Let the step that is being done end when Ctrl-C is pressed; a second one ends at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # only the main thread hears signals
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
