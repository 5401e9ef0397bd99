"""Trackers of experiments: what a run tells them, and how little they may do to it.

A tracker is asked for by name, ``--track wandb:my-project``, and never otherwise.  Packages bring
theirs through the entry point group ``parallelbench.trackers``, as ours come: the name of an entry
point is the tracker's, its object is called with a project and the run's configuration, and
returns a :class:`Tracker`.

A run does not depend on its tracker: one that fails is told of once and then left alone.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from parallelbench.errors import RequestError, UnknownNameError
from parallelbench.registry import unknown
from parallelbench.results.result import Result
from parallelbench.run.runfile import RunFile

#: Of a project, where none is named.
PROJECT = "parallelbench"
#: Seconds between two notes of progress.
_EVERY = 10.0


class Tracker(ABC):
    """Is told how a run goes; made with a project's name and the run's configuration.

    What it raises is told to the user, and costs the run nothing.
    """

    @abstractmethod
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Take numbers by name.

        Args:
            metrics: ``decodes`` while the run goes; the results at its end.
            step: Number of decodes recorded.
        """

    @abstractmethod
    def finish(self) -> None:
        """Close what was opened; nothing is told afterwards."""


#: What an entry point of the group ``parallelbench.trackers`` holds.
Start = Callable[[str, Mapping[str, Any]], Tracker]


class Tracking:
    """Trackers that a run tells how it goes.

    Args:
        warn: Is told in a sentence what failed.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._warn = warn
        self._told: float | None = None

    def add(self, name: str, tracker: Tracker) -> None:
        """Add a tracker under its name."""
        self._trackers[name] = tracker

    def progress(self, done: int) -> None:
        """Send the number of recorded decodes to every tracker, at most every ten seconds."""
        now = time.monotonic()
        if self._told is None or now - self._told >= _EVERY:
            self._told = now
            self._tell(lambda tracker: tracker.log({"decodes": float(done)}, done))

    def results(self, results: Sequence[Result], done: int) -> None:
        """Send the results to every tracker, after ``done`` decodes."""
        metrics = {"decodes": float(done), **metrics_of(results)}
        self._tell(lambda tracker: tracker.log(metrics, done))

    def finish(self) -> None:
        """Close all of them."""
        self._tell(lambda tracker: tracker.finish())

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            problem = _problem(what, tracker)
            if problem is not None:
                del self._trackers[name]
                self._warn(
                    f"tracker {name!r} failed and is told no more; the run goes on, and its folder "
                    f"holds everything ({problem})"
                )


@contextmanager
def tracking(
    asked: Sequence[str], runfile: RunFile, warn: Callable[[str], None]
) -> Iterator[Tracking]:
    """Start the trackers that are asked for, and close them at the end.

    Args:
        asked: ``NAME`` or ``NAME:PROJECT``.
        runfile: The run.
        warn: Is told in a sentence what failed.

    Raises:
        UnknownNameError: No tracker has that name.
        RequestError: One is not installed or cannot start; nothing has been run.
    """
    config = {**runfile.frozen(), "run_digest": runfile.digest}
    told = Tracking(warn)
    try:
        for name in asked:
            told.add(name, _started(name, config))
        yield told
    finally:
        told.finish()


def metrics_of(results: Sequence[Result]) -> dict[str, float]:
    """Return the numbers of ``results`` by name: ``MODEL | TASK | DECODER/accuracy`` and so on.

    What was not measured is absent; oracles say what they are.
    """
    metrics: dict[str, float | None] = {}
    for result in results:
        oracle = "oracle " if result.oracle else ""
        name = f"{oracle}{result.model} | {result.task_label} | {result.decoder_label}"
        low, high = result.interval or (None, None)
        metrics[f"{name}/accuracy"] = result.accuracy
        metrics[f"{name}/accuracy_low"] = low
        metrics[f"{name}/accuracy_high"] = high
        metrics[f"{name}/tokens_per_step"] = result.tokens_per_step
        metrics[f"{name}/samples"] = float(result.samples)
        metrics[f"{name}/errors"] = float(result.statuses.get("error", 0))
    return {name: value for name, value in metrics.items() if value is not None}


def wandb(project: str, config: Mapping[str, Any]) -> Tracker:
    """Start a run of Weights & Biases; ``WANDB_MODE=offline`` keeps it on this machine."""
    return _Library("wandb", project, config)


def trackio(project: str, config: Mapping[str, Any]) -> Tracker:
    """Start a run of trackio, which keeps it on this machine unless told otherwise."""
    return _Library("trackio", project, config)


class _Library(Tracker):
    """A library with the calls of wandb: ``init``, ``log`` and ``finish``."""

    def __init__(self, name: str, project: str, config: Mapping[str, Any]) -> None:
        try:
            self._library: Any = importlib.import_module(name)
        except ImportError as error:
            raise RequestError(
                f"--track {name} needs the package {name}: "
                f"pip install 'parallelbench[{name}]' ({error})"
            ) from error
        self._run = self._library.init(
            project=project, name=str(config["run_digest"])[:12], config=dict(config)
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        self._library.finish()


def _problem(what: Callable[[Tracker], None], tracker: Tracker) -> str | None:
    """Tell a tracker something; return how it failed, if it did."""
    try:
        with _quiet():
            what(tracker)
    # It may raise whatever it likes; the run is worth more.
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return None


def _started(asked: str, config: Mapping[str, Any]) -> Tracker:
    name, _, project = asked.partition(":")
    entry = _installed().get(name)
    if entry is None:
        raise UnknownNameError(f"--track: {unknown('tracker', name, _installed())}")
    start: Start = entry.load()
    try:
        with _quiet():
            return start(project or PROJECT, config)
    except RequestError:
        raise
    # It may raise whatever it likes, and often wants a key; nothing has been run yet.
    except Exception as error:
        raise RequestError(
            f"tracker {name!r} cannot start, so nothing was run; leave --track {asked} out, or "
            f"mend it ({type(error).__name__}: {error})"
        ) from error


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="parallelbench.trackers")}


def _quiet() -> contextlib.AbstractContextManager[Any]:
    # What a tracker has to say must not stand among the results.
    return contextlib.redirect_stdout(sys.stderr)
