"""Progress of long work, with an estimate of the time left.

Work that may take more than seconds gets a :class:`ProgressDisplay` and reports its stage and the
number of finished units.  The caller shows it with :func:`shown`: as a bar on a terminal,
elsewhere as a line every half minute, always on stderr.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, TypeVar

from parallelbench.console.terminal import plain

T = TypeVar("T")

#: Seconds until the first line, counted from when the command line has read its arguments: with
#: what Python needs to start, something shows within five.
FIRST_SECONDS = 2.0
#: Seconds between two lines.
LINE_SECONDS = 30.0
#: Seconds of the past that the time left is computed from.
WINDOW_SECONDS: Final = 60.0
#: Units, or a hundredth of all if that is less, that the time left is computed from at least.
_MOST_UNITS = 50
#: Seconds between two points of the past that are kept.
_POINT_SECONDS = 0.5


class _Reading(NamedTuple):
    """The number of finished units at a time."""

    seconds: float
    done: int


class ProgressDisplay:
    """The progress of one piece of work: one stage after another, with counts where possible.

    Nothing is shown unless :func:`shown` made it.  It may be read while another thread works.

    Args:
        clock: Seconds that never go back.

    Attributes:
        doing: The stage, as a noun phrase or participle; empty before the first.
        unit: Plural of the units that are counted.
        total: Number of units; None if it is unknown.
        done: Number of finished units.
        part: Name of the part of the stage that is at work; empty for a stage without parts.
        part_left: Units left of that part; None for a stage without parts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.doing = ""
        self.unit = ""
        self.total: int | None = None
        self.done = 0
        self.part = ""
        self.part_left: int | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._points: deque[_Reading] = deque([_Reading(self._began, 0)])

    def begin(self, doing: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """Begin a stage.

        Args:
            doing: Name of the stage, such as ``verifying mini``.
            total: Number of units, including those finished before; None if unknown.
            unit: Plural of the units, such as ``records``.
            done: Number of units finished before, which do not count for the speed.
        """
        with self._lock:
            self.doing, self.total, self.unit, self.done = doing, total, unit, done
            self.part, self.part_left = "", None
            self._began = self._clock()
            self._points = deque([_Reading(self._began, done)])

    def reach(self, done: int) -> None:
        """Note that ``done`` units of the stage are done by now."""
        with self._lock:
            if done == self.done:
                return
            self.done = done
            now = self._clock()
            if len(self._points) > 1 and now - self._points[-2].seconds < _POINT_SECONDS:
                self._points.pop()
            self._points.append(_Reading(now, done))
            self._forget()

    def reach_part(self, done: int, part: str, left: int) -> None:
        """Note that ``done`` units of the stage are done by now, the last one of ``part``.

        The parts follow each other, and their speeds may differ: that of one says nothing about
        the next, so the time left is that of the part.

        Args:
            done: Number of finished units of the stage.
            part: Name of the part.
            left: Units left of the part.
        """
        with self._lock:
            if part != self.part:
                self._points = deque([self._points[-1]])
            self.part, self.part_left = part, left
        self.reach(done)

    def advance(self, count: int = 1) -> None:
        """Note that ``count`` more units are done."""
        self.reach(self.done + count)

    def count(self, items: Iterable[T]) -> Iterator[T]:
        """Yield ``items``, and note each as done when the next is asked for."""
        for item in items:
            yield item
            self.advance()

    def seconds_left(self) -> float | None:
        """Return the time left in the stage or its part, at the last minute's speed, in seconds.

        The minute ends with the latest finished unit, and the time since then counts too.  If few
        units were finished in it, as after a long step, more of the past counts.  None if nothing
        is finished yet, or the number of units is unknown.
        """
        with self._lock:
            seconds, done = self._points[0]
            if self.total is None or self.done <= done:
                return None
            passed = self._clock() - seconds
            left = self.total - self.done if self.part_left is None else self.part_left
            return max(0, left) * passed / (self.done - done)

    def sentence(self) -> str:
        """Return the progress in words, such as ``decoding: 3 of 9 decodes, 5 s left``."""
        left = self.seconds_left()
        time_told = (
            f"{duration(self._clock() - self._began)} so far"
            if left is None
            else f"{duration(left)} left"
        )
        if self.total is None:
            return f"{self.doing}, {time_told}"
        counted = f"{self.done:,} of {self.total:,} {self.unit}".rstrip()
        later = 0 if self.part_left is None else self.total - self.done - self.part_left
        then = f" with {self.part}; then {later:,} more" if later > 0 and left is not None else ""
        return f"{self.doing}: {counted}, {time_told}{then}"

    def _forget(self) -> None:
        """Drop the points before the last minute, as long as enough was done since the first."""
        units = max(1, min(_MOST_UNITS, (self.total or 0) // 100))
        horizon = self._points[-1].seconds - WINDOW_SECONDS
        while (
            len(self._points) > 1
            and self._points[1].seconds <= horizon
            and self._points[1].done <= self.done - units
        ):
            self._points.popleft()


#: Progress that is not shown.
SILENT: Final = ProgressDisplay()


def duration(seconds: float) -> str:
    """Return a length of time in whole units, such as ``40 s``, ``12 min`` or ``2 h 05 min``."""
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h"


@contextmanager
def shown(doing: str) -> Iterator[ProgressDisplay]:
    """Show the progress of the work inside on stderr until it ends.

    Args:
        doing: Name of its first stage.
    """
    progress = ProgressDisplay()
    progress.begin(doing)
    if sys.stderr.isatty():
        # Rich takes as long to load as everything else that help needs.
        from parallelbench.console.bar import bar

        display = bar(progress)
    else:
        display = _lines(progress)
    with display:
        yield progress


@contextmanager
def _lines(progress: ProgressDisplay) -> Iterator[None]:
    ended, stream = threading.Event(), sys.stderr

    def tell() -> None:
        wait = FIRST_SECONDS
        while not ended.wait(wait):
            # Nobody may be listening any more; the work goes on.
            with suppress(OSError, ValueError):
                stream.write(f"{plain(progress.sentence())}\n")
                stream.flush()
            wait = LINE_SECONDS

    # A thread of its own: while a model is loaded, nothing else could say so.
    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
