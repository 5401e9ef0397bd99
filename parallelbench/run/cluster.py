"""Many devices: one worker per GPU, on this machine or on a cluster that Ray holds together.

This process alone writes the run directory.  It cuts the run into units (samples of a task,
with all their settings), hands them out as workers have room, and gets records back as
lines.  A worker that dies is replaced, and what it had not told is done again: records are
told apart by their keys, so each is written once.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import math
import os
import queue
import socket
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TextIO, cast

import torch

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import Tally
from parallelbench.errors import RequestError, RunFileError, WorkersError
from parallelbench.model import MODELS, Model
from parallelbench.registry import load_plugins
from parallelbench.results.consistency import Consistency
from parallelbench.run.environment import environment
from parallelbench.run.runfile import RunFile
from parallelbench.run.runner import (
    Crew,
    Executor,
    Finished,
    Key,
    Loaded,
    Parts,
    Unit,
    assemble,
    check,
    decode_jobs,
    engines,
    jobs_of,
    loaded,
    planned,
    sources,
)

#: Workers that may die over the same samples, or one after the other before they could begin.
_DEATHS = 3
#: Seconds until an address must answer, and until the cluster must have room for a worker.
_PATIENCE = 10.0
_PATIENCE_FOR_ROOM = 180.0
#: Seconds for which a worker gathers records before it tells them: at least, and at most as
#: long as it has units that it has not begun.
_GATHERING = (0.05, 0.5)
#: How a client of HTTP/2 begins, and the empty frame of settings that both sides send.
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
#: A local Ray keeps what is larger than a message there; records are not.
_OBJECT_STORE = 100 * 2**20


def on_ray(*, workers: int | None = None, address: str | None = None) -> Executor:
    """Return what does decodes in the workers of a Ray cluster.

    Args:
        workers: How many; None for one per GPU, or one per core where models compute on
            processors.
        address: Of a cluster: ``HOST:PORT``, or ``auto`` for the one that this machine
            belongs to.  None starts Ray on this machine, and ends it with the run.
    """

    @contextmanager
    def executor(runfile: RunFile, batch_size: int) -> Iterator[Crew]:
        _refuse_servers(runfile)
        with _connected(address):
            crew = _Staff(runfile, batch_size, _staffing(runfile, workers))
            try:
                crew.begin()
                yield crew
            finally:
                crew.dismiss()

    return executor


class _News(NamedTuple):
    """What a worker has finished since it was asked before."""

    finished: list[Finished]
    tally: Tally


class _Opened(NamedTuple):
    """What a worker decodes and marks with: the attributes of a :class:`Crew`."""

    models: dict[str, Loaded]
    engines: dict[str, dict[str, str]]
    sources: dict[str, dict[str, str]]


class _Hand:
    """A worker, in its own process: models, and units to be done with them.

    Args:
        runfile: What is run.
        batch_size: Most decodes at a time.
        threads: How many CPU threads are this worker's.
    """

    def __init__(self, runfile: RunFile, batch_size: int, threads: int) -> None:
        self._runfile = runfile
        self._batch_size = batch_size
        self._threads = threads
        self._units: queue.SimpleQueue[Unit] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Finished | BaseException] = queue.SimpleQueue()
        self._tally = Tally()
        self._told = Tally()

    def arrive(self) -> dict[str, Any]:
        """Return where this worker is."""
        told = environment()
        del told["started"]
        return told

    def open(self, *, checking: bool) -> _Opened:
        """Load the models, and show them what they will be asked if ``checking``."""
        load_plugins()
        torch.set_num_threads(self._threads)
        parts = assemble(self._runfile)
        if checking:
            check(self._runfile, parts)
        threading.Thread(target=self._work, args=(parts,), daemon=True).start()
        return _Opened(loaded(parts), engines(parts), sources(parts))

    def exchange(self, units: Sequence[Unit]) -> _News:
        """Take ``units``, and return what is finished, as soon as something is."""
        for unit in units:
            self._units.put(unit)
        news = [self._done.get()]
        least, most = _GATHERING
        latest = time.monotonic() + most
        time.sleep(least)
        while time.monotonic() < latest and not self._units.empty():
            time.sleep(least)
        with contextlib.suppress(queue.Empty):
            while True:
                news.append(self._done.get_nowait())
        finished = [each for each in news if isinstance(each, Finished)]
        fault = next((each for each in news if isinstance(each, BaseException)), None)
        if fault is not None:
            if not finished:
                raise fault
            self._done.put(fault)  # told when next asked: these are done
        told, self._told = self._told, replace(self._tally)
        return _News(finished, self._told.less(told))

    def _work(self, parts: Parts) -> None:
        torch.set_num_threads(self._threads)  # each thread has its own number
        waiting = _Waiting(self._runfile, parts, self._units)
        try:
            while True:
                model = waiting.next_model()
                records = decode_jobs(self._runfile, model, waiting, self._batch_size, self._tally)
                for record in records:
                    self._done.put(Finished.of(record).as_line())
        except BaseException as error:  # noqa: BLE001  raised where records are awaited
            self._done.put(error)


class _Waiting(Iterator[Job]):
    """The jobs of the units at hand, of one model.

    Where no unit is at hand the iterator ends, but only for now: decodes that are under way
    must not wait for more.
    """

    def __init__(self, runfile: RunFile, parts: Parts, units: queue.SimpleQueue[Unit]) -> None:
        self._runfile = runfile
        self._parts = parts
        self._models = {
            setting.label: model for setting, model in parts.models if isinstance(model, Model)
        }
        self._units = units
        self._next: Unit | None = None
        self._label = ""
        self._jobs: Iterator[Job] = iter(())

    def next_model(self) -> Model:
        """Wait for a unit; return the model whose jobs come from now on."""
        self._next = self._next or self._units.get()
        self._label = self._next.model
        return self._models[self._label]

    def __next__(self) -> Job:
        while True:
            job = next(self._jobs, None)
            if job is not None:
                return job
            try:
                self._next = self._next or self._units.get_nowait()
            except queue.Empty:
                raise StopIteration from None
            if self._next.model != self._label:
                raise StopIteration
            model = self._models[self._label]
            self._jobs = jobs_of(self._runfile, self._parts, model, self._next)
            self._next = None


class _Staffing(NamedTuple):
    """How many workers there are, and what each takes of its machine.

    Attributes:
        workers: How many.
        cores: What each reserves of them; 0 where GPUs say who goes where.
        gpus: Likewise.
        threads: CPU threads of each.
    """

    workers: int
    cores: int
    gpus: int
    threads: int


@dataclass(slots=True, eq=False)
class _Share:
    """A unit on its way to being done.

    Attributes:
        unit: With what is done already.
        left: Decodes not told yet.
        deaths: Workers that died over it.
        told: Keys that were told since it was planned.
    """

    unit: Unit
    left: int
    deaths: int = 0
    told: set[Key] = field(default_factory=set)

    @property
    def alone(self) -> bool:
        """Whether it must be done alone, so that it is known who kills its workers."""
        return self.deaths >= _DEATHS - 1

    def __str__(self) -> str:
        first, last = self.unit.samples[0], self.unit.samples[-1]
        which = f"sample {first}" if first == last else f"samples {first} to {last}"
        return f"{self.unit.model} on {which} of {self.unit.task}"


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker as it is seen from here.

    Attributes:
        name: Names it in errors, such as ``worker 2``.
        handle: Of its process.
        awaited: What it was asked and has not answered.
        checking: Whether it is the one that shows its models what they will be asked.
        arrived: Whether its process is there.
        ready: Whether its models are loaded.
        shares: What it has in hand, by the samples.
    """

    name: str
    handle: Any
    awaited: Any
    checking: bool
    arrived: bool = False
    ready: bool = False
    shares: dict[tuple[str, str, int], _Share] = field(default_factory=dict)

    @property
    def held(self) -> list[_Share]:
        return list(dict.fromkeys(self.shares.values()))

    @property
    def left(self) -> int:
        return sum(share.left for share in self.held)


class _Staff(Crew):
    """The workers of a run."""

    def __init__(self, runfile: RunFile, batch_size: int, staffing: _Staffing) -> None:
        self.models: dict[str, Loaded] = {}
        self.engines: dict[str, dict[str, str]] = {}
        self.sources: dict[str, dict[str, str]] = {}
        self.tally = Tally()
        self.in_turn = len(runfile.models) == 1
        self._runfile = runfile
        self._batch_size = batch_size
        self._staffing = staffing
        self._workers: list[_Worker] = []
        self._queue: deque[_Share] = deque()
        self._left = 0
        self._environments: list[dict[str, Any]] = []
        self._checked = False
        self._hired = 0
        self._lost = 0
        self._stillborn = 0
        self._consistency = Consistency(
            "give every machine the same files, and install the same releases there", RunFileError
        )

    def begin(self) -> None:
        """Start every worker, and wait until one of them has checked what will be asked."""
        for _ in range(self._staffing.workers):
            self._hire()
        while not self._checked:
            self._hear()

    def dismiss(self) -> None:
        """End every worker, whatever it is doing."""
        import ray

        while self._workers:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(self._workers.pop().handle)

    def facts(self) -> dict[str, Any]:
        kinds = {json.dumps(each, sort_keys=True): each for each in self._environments}
        alike = Counter(json.dumps(each, sort_keys=True) for each in self._environments)
        return {
            "executor": "ray",
            "ray": importlib.metadata.version("ray"),
            "workers": self._staffing.workers,
            "workers_lost": self._lost,
            "workers_started": [{"count": alike[key], **kinds[key]} for key in kinds],
        }

    def finish(self, samples: range, done: AbstractSet[Key]) -> Iterator[Finished]:
        self._queue.extend(self._planned(samples, done))
        self._left = sum(share.left for share in self._queue)
        while True:
            self._hand_out()
            if not self._queue and not any(worker.shares for worker in self._workers):
                return
            yield from self._hear()

    def _planned(self, samples: range, done: AbstractSet[Key]) -> Iterator[_Share]:
        by_sample: dict[tuple[str, str, int], set[Key]] = defaultdict(set)
        for key in done:
            by_sample[key[:3]].add(key)
        of_model = {
            model.label: len(self._runfile.decoders_of(model)) * self._runfile.repeats
            for model in self._runfile.models
        }
        of_sample = max(of_model.values())
        # Small enough for workers to end together, large enough to be worth a message.
        wanted = len(samples) * len(self._runfile.tasks) * of_sample / self._staffing.workers / 8
        size = max(1, int(min(wanted, self._batch_size / 4) / of_sample))
        for whole in planned(self._runfile, samples):
            for first in range(0, len(samples), size):
                own = whole.samples[first : first + size]
                known = [by_sample.get((whole.model, whole.task, index), set()) for index in own]
                left = len(own) * of_model[whole.model] - sum(map(len, known))
                if left:
                    yield _Share(replace(whole, samples=own, done=set().union(*known)), left)

    def _hand_out(self) -> None:
        """Give units to every worker that listens and has room."""
        # Towards the end nobody takes more than the others have.
        room = min(self._batch_size * 3 // 2, math.ceil(self._left / self._staffing.workers))
        idle = [worker for worker in self._workers if worker.ready and worker.awaited is None]
        for worker in sorted(idle, key=lambda worker: worker.left):
            units = [share.unit for share in self._taken(worker, room)]
            if units or worker.shares:
                worker.awaited = worker.handle.exchange.remote(units)

    def _taken(self, worker: _Worker, room: int) -> Iterator[_Share]:
        left = worker.left
        alone = any(share.alone for share in worker.held)
        while self._queue and not alone and (left < room or not left):
            alone = self._queue[0].alone
            if alone and left:
                return
            share = self._queue.popleft()
            left += share.left
            unit = share.unit
            worker.shares.update({(unit.model, unit.task, index): share for index in unit.samples})
            yield share

    def _hear(self) -> list[Finished]:
        """Wait until a worker says something; return what it has finished."""
        import ray

        by_reference = {w.awaited: w for w in self._workers if w.awaited is not None}
        answered, _ = ray.wait(list(by_reference), num_returns=1, timeout=_PATIENCE_FOR_ROOM)
        if not answered:
            self._refuse_waiting_for_room()
            return []
        worker = by_reference[answered[0]]
        try:
            answer = ray.get(answered[0])
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError as error:
            self._bury(worker, error)
            return []
        worker.awaited = None
        if isinstance(answer, _News):
            return self._booked(worker, answer)
        if worker.arrived:
            self._welcome(worker, answer)
        else:
            worker.arrived = True
            worker.awaited = worker.handle.open.remote(checking=worker.checking)
            self._environments.append(answer)
        return []

    def _booked(self, worker: _Worker, news: _News) -> list[Finished]:
        self.tally.merge(news.tally)
        self._left -= len(news.finished)
        for each in news.finished:
            share = worker.shares[each.key[:3]]
            share.told.add(each.key)
            share.left -= 1
            if not share.left:
                for index in share.unit.samples:
                    del worker.shares[share.unit.model, share.unit.task, index]
        return news.finished

    def _hire(self) -> None:
        import ray

        staffing = self._staffing
        kind = ray.remote(_Hand).options(num_cpus=staffing.cores, num_gpus=staffing.gpus)
        handle: Any = kind.remote(self._runfile, self._batch_size, staffing.threads)
        # One worker's word is enough that everything can be decoded.
        checking = not (self._checked or any(worker.checking for worker in self._workers))
        self._hired += 1
        name = f"worker {self._hired}"
        self._workers.append(_Worker(name, handle, handle.arrive.remote(), checking))

    def _welcome(self, worker: _Worker, opened: _Opened) -> None:
        worker.ready = True
        self._checked = self._checked or worker.checking
        self._stillborn = 0
        for label, model in opened.models.items():
            self.models.setdefault(label, model)
            self._consistency.model(label, model.digest, worker.name)
        for label, engines_of_task in opened.engines.items():
            self.engines.setdefault(label, engines_of_task)
            self._consistency.engines(label, engines_of_task, worker.name)
        for label, sources_of_task in opened.sources.items():
            self.sources.setdefault(label, sources_of_task)
            self._consistency.sources(label, sources_of_task, worker.name)

    def _bury(self, worker: _Worker, error: Exception) -> None:
        """Hire another worker for one that died, and put back what it had in hand."""
        import ray

        self._lost += 1
        self._workers.remove(worker)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(worker.handle)  # it may only be out of reach
        reason = str(error).partition("\n")[0]
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= _DEATHS:
                raise WorkersError(
                    f"{_DEATHS} workers died one after the other as they loaded "
                    f"{', '.join(model.label for model in self._runfile.models)}, the last with: "
                    f"{reason}; if memory ran out, fewer --workers leave more for each"
                )
        for share in worker.held:
            share.deaths += 1
            if share.deaths >= _DEATHS:
                raise WorkersError(
                    f"{_DEATHS} workers died over {share}, the last with: {reason}; if "
                    "memory ran out, a smaller --batch-size or fewer --workers take less"
                )
            share.unit = replace(share.unit, done=share.unit.done | share.told)
            # Behind all others: if it is these samples, the rest is finished first.
            self._queue.append(share)
        self._hire()

    def _refuse_waiting_for_room(self) -> None:
        if not any(worker.arrived for worker in self._workers):
            kind = "a GPU" if self._staffing.gpus else f"{self._staffing.cores} cores"
            raise WorkersError(
                f"Ray started no worker in {_PATIENCE_FOR_ROOM:.0f} s: each takes {kind}, and "
                "others may hold what the cluster has; wait for them, or give another "
                "--ray-address"
            )


def _refuse_servers(runfile: RunFile) -> None:
    for model in runfile.models:
        if MODELS[model.name].serves:
            raise RunFileError(
                f"model {model.label!r} decodes elsewhere, and one process asks it for as many "
                "replies at a time as it can give: run it without --executor ray"
            )


def _staffing(runfile: RunFile, workers: int | None) -> _Staffing:
    """Divide the cluster.

    Raises:
        WorkersError: It has not room for that many workers.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    on_gpus = sum(gpus) > 0 and any(
        str(model.fields.get("device", "cpu")) != "cpu" for model in runfile.models
    )
    room, kind = (sum(gpus), "GPUs") if on_gpus else (sum(cores), "cores")
    count = workers or room
    if not 1 <= count <= room:
        raise WorkersError(
            f"--workers {count}: each needs one of the {kind}, and the cluster has {room}"
        )
    if on_gpus:
        # Workers on GPUs are placed by these alone: their processors mostly wait.
        return _Staffing(count, 0, 1, max(1, sum(cores) // count))
    largest = max(c for c in range(1, max(cores) + 1) if sum(n // c for n in cores) >= count)
    return _Staffing(count, largest, 0, largest)


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to Ray, or start it; keep to a connection that this process has already.

    Raises:
        WorkersError: Ray is not installed, or does not answer at ``address``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The workers are the run: nothing else of it must go before them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Workers without a GPU would be warned of a change to come.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise WorkersError(
            f"--executor ray needs the package ray: pip install 'parallelbench[ray]' ({error})"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address is not None:
        _refuse_silence(address)
    with _hushed():
        if ray.is_initialized():
            yield
            return
        try:
            _start(address)
            yield
        finally:
            ray.shutdown()


def _start(address: str | None) -> None:
    import ray

    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "logging_level": logging.ERROR,
    }
    if address is None:
        ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE, **quiet)
        return
    try:
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkersError(
            f"no Ray cluster answers at --ray-address {address}: {error}; start one by "
            "`ray start --head`, or leave the address out to use this machine alone (a cluster "
            "that wants a token needs RAY_AUTH_MODE=token here)"
        ) from error


def _refuse_silence(address: str) -> None:
    """Refuse an address at which no Ray listens, for which Ray itself would wait minutes.

    Source:
        RFC 9113, sections 3.4 and 6.5: how a connection of HTTP/2 begins, which Ray speaks.
    """
    if address == "auto":
        return
    if "://" in address:
        raise WorkersError(
            f"--ray-address {address}: a cluster is not used from outside; start the command on "
            "one of its machines, with --ray-address auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise WorkersError(
            "--ray-address is auto or of the form HOST:PORT, such as 10.0.0.1:6379, got "
            f"{address!r}"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=_PATIENCE) as connection:
            connection.sendall(_GREETING)
            answer = connection.recv(len(_SETTINGS))
    except OSError as error:
        raise _silent(address, str(error)) from error
    # Whoever is greeted like this and understands it sends settings first.
    if answer[3:4] != _SETTINGS[3:4] and os.environ.get("RAY_USE_TLS") != "1":
        raise _silent(address, "what listens there is no Ray")


def _silent(address: str, reason: str) -> WorkersError:
    return WorkersError(
        f"no Ray cluster answers at --ray-address {address}: {reason}; is that the address that "
        "`ray start --head` printed?"
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep to ourselves what Ray's threads print: whatever it means for a run is told there."""
    with contextlib.redirect_stdout(cast("TextIO", _Hush(sys.stdout))):
        yield


class _Hush:
    """A stream on which threads of Ray cannot be heard."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        written: int = self._stream.write(text)
        return written


def _cause(error: Any) -> Exception:
    """Return what a worker raised: a request's sentence, or a fault with its traceback."""
    cause: Exception = error.cause
    return cause if isinstance(cause, RequestError) else error
