"""Work on untrusted files in a child process with limits: its death is a refusal.

A tokenizer, a chat template or a number may make a library take all memory, compute for hours
inside one call that nothing in its own process can end, or abort the process.  The child is a
fork, so that it costs milliseconds and needs nothing imported again.  It has limits on memory,
processor time and time, writes no file and no core, and hands back JSON values of a bounded
size.  Linux alone has all of that: elsewhere the work is done in this process, without limits.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from parallelbench.console.progress import ProgressDisplay
from parallelbench.errors import RequestError, SubmissionError

#: Time limit of a check, in seconds of wall-clock time and of processor time per core.
SECONDS: Final = 600
#: Address space of a child beyond that of this process at the fork, in bytes.
MEMORY_BYTES: Final = 2**30
#: Additional bytes for each declared record: one with a canvas of 32 tokens takes 10 kB while it
#: is checked.
RECORD_BYTES: Final = 2**14
#: Greatest addition by :func:`allow_records`, in bytes.
_MOST_MORE_BYTES = 4 * 2**30
#: Greatest length of a line that a child writes, such as its result.
_MOST_LINE_BYTES = 16 * 2**20
#: Between two reports of a child on how far it is.
_REPORT_SECONDS = 0.1
#: Bytes that are read at once.
_PART_BYTES = 2**16
#: From linux/prctl.h: the signal that this process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
#: For refusals.
_MORE_TIME = "give more --seconds, or look at its chat template and its tokenizer"
_ALLOWED_MEMORY = (
    f"the {MEMORY_BYTES // 2**20:,} MiB of memory, and {RECORD_BYTES // 2**10} KiB for each "
    "declared record, that it may have"
)

#: Whether this process is such a child.
_limited = False


def confined(
    work: Callable[[ProgressDisplay], Any],
    what: str,
    *,
    seconds: int = SECONDS,
    progress: ProgressDisplay,
) -> Any:
    """Run ``work`` in a child process with limits and return its result.

    Args:
        work: Function of a progress display that returns JSON values.  Its changes to memory
            are those of the child alone.
        what: Name of the entry, for the message of a refusal.
        seconds: Time limit.
        progress: Shows the progress.

    Raises:
        SubmissionError: The work raised it or another exception, or its process exceeded a limit
            or died.
    """
    report = _Report(what, progress)
    if sys.platform != "linux":
        report.take(json.loads(json.dumps(_outcome(work, progress))))
        return report.answer(0)
    reading, writing = os.pipe()
    parent = os.getpid()
    with warnings.catch_warnings():
        # Python warns of other threads, whose locks a child inherits.  Those here only show
        # progress, and the child writes to none of their streams.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _work_as_child(work, writing, parent, seconds)
    os.close(writing)
    try:
        in_time = report.follow(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        # It has sent its result or is out of time, whatever it still does.
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if not in_time:
        raise SubmissionError(report.too_slow(seconds))
    return report.answer(status)


def allow_records(count: int) -> None:
    """Raise the memory limit of this child, if it is one, by the need of ``count`` records."""
    if _limited:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (min(soft + count * RECORD_BYTES, hard), hard))


class _Report:
    """Messages of a child: its progress, line by line, and at last its result."""

    def __init__(self, what: str, progress: ProgressDisplay) -> None:
        self._what = what
        self._progress = progress
        self._stage = ProgressDisplay()
        self._answer: dict[str, Any] | None = None

    def follow(self, reading: int, deadline: float) -> bool:
        """Read until the child closes its end; return True if that is before ``deadline``."""
        kept = b""
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if not poll.poll(left * 1000):
                continue
            part = os.read(reading, _PART_BYTES)
            if not part:
                return True
            *lines, kept = (kept + part).split(b"\n")
            for line in lines:
                self.take(json.loads(line))
            if len(kept) > _MOST_LINE_BYTES:
                raise SubmissionError(
                    f"{self._what}: the answer of its check is over {_MOST_LINE_BYTES:,} bytes, "
                    f"{self._place}"
                )

    def answer(self, status: int) -> Any:
        """Return the child's answer.

        Raises:
            SubmissionError: It refuses, or there is none.
        """
        if self._answer is None:
            raise SubmissionError(self._told_death(status))
        if "faults" in self._answer:
            raise SubmissionError(*self._answer["faults"])
        if "memory" in self._answer:
            raise SubmissionError(
                f"{self._what}: its check took more than {_ALLOWED_MEMORY}, {self._place}"
            )
        return self._answer["answer"]

    def too_slow(self, seconds: int) -> str:
        """Return the sentence for work that was not done in time."""
        return f"{self._what}: it was not checked within {seconds} s, {self._place}; {_MORE_TIME}"

    def take(self, message: Any) -> None:
        """Handle a message: an object is the result, a list a stage, a number its progress."""
        if isinstance(message, dict):
            self._answer = message
        elif isinstance(message, list):
            doing, total, unit, done = message
            for display in (self._progress, self._stage):
                display.begin(doing, total, unit, done)
        else:
            for display in (self._progress, self._stage):
                display.reach(message)

    @property
    def _place(self) -> str:
        """The stage that the child had reached, in words."""
        stage = self._stage
        if not stage.doing:
            return "before anything was read"
        counted = f" after {stage.done:,} {stage.unit}" if stage.done else ""
        return f"while {stage.doing}{counted}"

    def _told_death(self, status: int) -> str:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGXCPU:
                return (
                    f"{self._what}: its check took too much processor time, {self._place}; "
                    f"{_MORE_TIME}"
                )
            ended = f"by {signal.Signals(number).name}"
        else:
            ended = "without an answer"
        return (
            f"{self._what}: the process of its check ended {ended}, {self._place}: what it read "
            f"there took more than {_ALLOWED_MEMORY}, or made a library abort"
        )


class _SentProgress(ProgressDisplay):
    """Progress display that sends the progress of this process to its parent."""

    def __init__(self, writing: int) -> None:
        super().__init__()
        self._writing = writing
        self._next = 0.0

    def begin(self, doing: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """Begin a stage; send it, and the progress of the one before."""
        self.send(self.done)
        super().begin(doing, total, unit, done)
        self.send([doing, total, unit, done])

    def reach(self, done: int) -> None:
        """Record the progress; send it now and then."""
        self.done = done
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_SECONDS
            self.send(done)

    def send(self, content: Any) -> None:
        """Write JSON values as a line."""
        line = json.dumps(content).encode() + b"\n"
        while line:
            line = line[os.write(self._writing, line) :]


def _work_as_child(
    work: Callable[[ProgressDisplay], Any], writing: int, parent: int, seconds: int
) -> NoReturn:
    """Run the work, send its result, and exit without the exit handlers of the parent."""
    try:
        _limit_this_process(parent, seconds)
        progress = _SentProgress(writing)
        progress.send(_outcome(work, progress))
    finally:
        os._exit(0)


def _outcome(work: Callable[[ProgressDisplay], Any], progress: ProgressDisplay) -> dict[str, Any]:
    try:
        return {"answer": work(progress)}
    except SubmissionError as error:
        return {"faults": list(error.faults)}
    except RequestError as error:
        return {"faults": [str(error)]}
    except MemoryError:
        return {"memory": True}
    except KeyboardInterrupt:  # where this is no child, which hears of none
        raise
    except BaseException as error:  # noqa: BLE001  no untrusted file ends the parent
        return {"faults": [_told_failure(error)]}


def _told_failure(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"its check failed at {Path(place.filename).name}:{place.lineno} with "
        f"{type(error).__name__}: {' '.join(str(error).split()):.200}; no entry should be able to "
        "bring that about, so please report it"
    )


def _limit_this_process(parent: int, seconds: int) -> None:
    global _limited  # noqa: PLW0603  a fact of the process
    import resource

    _limited = True
    # Ctrl-C reaches both processes: the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    faulthandler.disable()
    # What was there before the fork is never collected here: looking through it would copy it.
    gc.freeze()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    # Another thread may have held the locks of the old ones.
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    # Threads are not forked, and a pool that waits for them would wait for ever.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    whole = seconds + 1
    taken = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    most = taken + MEMORY_BYTES
    for limit, now, later in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CPU, whole, whole),
        (resource.RLIMIT_AS, most, most + _MOST_MORE_BYTES),
    ):
        _, before = resource.getrlimit(limit)
        hard = later if before == resource.RLIM_INFINITY else min(later, before)
        resource.setrlimit(limit, (min(now, hard), hard))
