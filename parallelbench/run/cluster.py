"""Many devices: one worker per GPU, on this machine or on a cluster that Ray holds together.

Only this process writes the run directory.  It splits the run into work units (samples of a
task, with all decoders), assigns them as workers have room, and receives records as lines.  A
worker that dies is replaced and its unreported samples are rerun: records are identified by
their keys, so each is written once.
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
from parallelbench.run.recording import RecordKey
from parallelbench.run.runfile import RunFile
from parallelbench.run.runner import (
    Executor,
    ExecutorSession,
    Finished,
    Loaded,
    Parts,
    WorkUnit,
    assemble,
    check,
    decode_jobs,
    engines,
    jobs_of,
    loaded,
    planned,
    sources,
)

#: A run ends when this many workers died over the same samples, or in a row before they were ready.
_MOST_DEATHS = 3
#: Seconds in which an address must answer, and in which the cluster must start a worker.
_CONNECT_TIMEOUT = 10.0
_START_TIMEOUT = 180.0
#: Seconds for which a worker collects records before it reports them: the minimum, and the maximum
#: while it has units that it has not begun.
_REPORT_INTERVAL = (0.05, 0.5)
#: Connection preface of an HTTP/2 client, and the empty settings frame that both sides send.
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
#: Bytes of a local Ray's object store, for values larger than a message, which records never are.
_OBJECT_STORE = 100 * 2**20


def on_ray(*, workers: int | None = None, address: str | None = None) -> Executor:
    """Return an executor that decodes in the workers of a Ray cluster.

    Args:
        workers: Number of workers; None for one per GPU, or one per core where models run on
            the CPU.
        address: Address of a cluster: ``HOST:PORT``, or ``auto`` for the one that this machine
            belongs to.  None starts Ray on this machine, and stops it after the run.
    """

    @contextmanager
    def executor(runfile: RunFile, batch_size: int) -> Iterator[ExecutorSession]:
        _refuse_servers(runfile)
        with _connected(address):
            session = _RaySession(runfile, batch_size, _allocate(runfile, workers))
            try:
                session.begin()
                yield session
            finally:
                session.dismiss()

    return executor


class WorkerReport(NamedTuple):
    """Decodes that a worker finished since its last report, and their row counts."""

    finished: list[Finished]
    tally: Tally


class LoadedModels(NamedTuple):
    """Models, engines and sources of a worker: attributes of :class:`ExecutorSession`."""

    models: dict[str, Loaded]
    engines: dict[str, dict[str, str]]
    sources: dict[str, dict[str, str]]


class RayWorker:
    """A Ray actor in its own process that loads the models and executes work units.

    Args:
        runfile: The run.
        batch_size: Maximum number of concurrent decodes.
        threads: Number of CPU threads of this worker.
    """

    def __init__(self, runfile: RunFile, batch_size: int, threads: int) -> None:
        self._runfile = runfile
        self._batch_size = batch_size
        self._threads = threads
        self._units: queue.SimpleQueue[WorkUnit] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Finished | BaseException] = queue.SimpleQueue()
        self._tally = Tally()
        self._reported = Tally()

    def environment_here(self) -> dict[str, Any]:
        """Return versions and machine of this worker."""
        here = environment()
        del here["started"]
        return here

    def open(self, *, checking: bool) -> LoadedModels:
        """Load the models, and check them against the run file if ``checking``."""
        load_plugins()
        torch.set_num_threads(self._threads)
        parts = assemble(self._runfile)
        if checking:
            check(self._runfile, parts)
        threading.Thread(target=self._work, args=(parts,), daemon=True).start()
        return LoadedModels(loaded(parts), engines(parts), sources(parts))

    def exchange(self, units: Sequence[WorkUnit]) -> WorkerReport:
        """Queue ``units``; wait until a decode is finished, and report what is."""
        for unit in units:
            self._units.put(unit)
        results = [self._done.get()]
        least, most = _REPORT_INTERVAL
        latest = time.monotonic() + most
        time.sleep(least)
        while time.monotonic() < latest and not self._units.empty():
            time.sleep(least)
        with contextlib.suppress(queue.Empty):
            while True:
                results.append(self._done.get_nowait())
        finished = [each for each in results if isinstance(each, Finished)]
        fault = next((each for each in results if isinstance(each, BaseException)), None)
        if fault is not None:
            if not finished:
                raise fault
            self._done.put(fault)  # raised by the next call: these decodes are finished
        before, self._reported = self._reported, replace(self._tally)
        return WorkerReport(finished, self._reported.less(before))

    def _work(self, parts: Parts) -> None:
        torch.set_num_threads(self._threads)  # each thread has its own number
        jobs = _QueuedJobs(self._runfile, parts, self._units)
        try:
            while True:
                model = jobs.next_model()
                records = decode_jobs(self._runfile, model, jobs, self._batch_size, self._tally)
                for record in records:
                    self._done.put(Finished.of(record).as_line())
        except BaseException as error:  # noqa: BLE001  raised where records are awaited
            self._done.put(error)


class _QueuedJobs(Iterator[Job]):
    """The jobs of the queued units, one model at a time.

    The iterator ends when the queue is empty, and can be resumed: decodes in flight must not wait
    for more units.
    """

    def __init__(self, runfile: RunFile, parts: Parts, units: queue.SimpleQueue[WorkUnit]) -> None:
        self._runfile = runfile
        self._parts = parts
        self._models = {
            setting.label: model for setting, model in parts.models if isinstance(model, Model)
        }
        self._units = units
        self._next: WorkUnit | None = None
        self._label = ""
        self._jobs: Iterator[Job] = iter(())

    def next_model(self) -> Model:
        """Wait for a unit; return the model whose jobs come next."""
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


class _Allocation(NamedTuple):
    """Number of workers, and the resources of each.

    Attributes:
        workers: Number of workers.
        cores: CPU cores that each reserves; 0 where workers are placed by GPUs.
        gpus: GPUs that each reserves.
        threads: CPU threads of each worker.
    """

    workers: int
    cores: int
    gpus: int
    threads: int


@dataclass(slots=True, eq=False)
class _AssignedUnit:
    """A work unit and its progress.

    Attributes:
        unit: The unit, with the keys of the decodes that were done when it was assigned.
        left: Number of decodes not reported yet.
        deaths: Number of workers that died while they had it.
        reported: Keys that were reported since it was assigned.
    """

    unit: WorkUnit
    left: int
    deaths: int = 0
    reported: set[RecordKey] = field(default_factory=set)

    @property
    def alone(self) -> bool:
        """True if no other unit may be assigned with it, to isolate what kills workers."""
        return self.deaths >= _MOST_DEATHS - 1

    def __str__(self) -> str:
        first, last = self.unit.samples[0], self.unit.samples[-1]
        which = f"sample {first}" if first == last else f"samples {first} to {last}"
        return f"{self.unit.model} on {which} of {self.unit.task}"


@dataclass(slots=True, eq=False)
class _WorkerHandle:
    """A worker as the session sees it.

    Attributes:
        name: Name in errors, such as ``worker 2``.
        handle: The Ray actor.
        awaited: Reference of the pending call; None while no call is pending.
        checking: True if this worker checks its models against the run file.
        arrived: True if its process has started.
        ready: True if its models are loaded.
        assigned: Units, by model, task and sample.
    """

    name: str
    handle: Any
    awaited: Any
    checking: bool
    arrived: bool = False
    ready: bool = False
    assigned: dict[tuple[str, str, int], _AssignedUnit] = field(default_factory=dict)

    @property
    def held(self) -> list[_AssignedUnit]:
        return list(dict.fromkeys(self.assigned.values()))

    @property
    def left(self) -> int:
        return sum(assigned_unit.left for assigned_unit in self.held)


class _RaySession(ExecutorSession):
    """Executes the decodes in Ray workers."""

    def __init__(self, runfile: RunFile, batch_size: int, allocation: _Allocation) -> None:
        self.models: dict[str, Loaded] = {}
        self.engines: dict[str, dict[str, str]] = {}
        self.sources: dict[str, dict[str, str]] = {}
        self.tally = Tally()
        self.in_turn = len(runfile.models) == 1
        self._runfile = runfile
        self._batch_size = batch_size
        self._allocation = allocation
        self._workers: list[_WorkerHandle] = []
        self._queue: deque[_AssignedUnit] = deque()
        self._left = 0
        self._environments: list[dict[str, Any]] = []
        self._checked = False
        self._hired = 0
        self._lost = 0
        self._startup_failures = 0
        self._consistency = Consistency(
            "give every machine the same files, and install the same releases there", RunFileError
        )

    def begin(self) -> None:
        """Start every worker, and wait until one has checked its models against the run file."""
        for _ in range(self._allocation.workers):
            self._start_worker()
        while not self._checked:
            self._wait()

    def dismiss(self) -> None:
        """Kill every worker."""
        import ray

        while self._workers:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(self._workers.pop().handle)

    def provenance(self) -> dict[str, Any]:
        kinds = {json.dumps(each, sort_keys=True): each for each in self._environments}
        alike = Counter(json.dumps(each, sort_keys=True) for each in self._environments)
        return {
            "executor": "ray",
            "ray": importlib.metadata.version("ray"),
            "workers": self._allocation.workers,
            "workers_lost": self._lost,
            "workers_started": [{"count": alike[key], **kinds[key]} for key in kinds],
        }

    def finish(self, samples: range, done: AbstractSet[RecordKey]) -> Iterator[Finished]:
        self._queue.extend(self._planned(samples, done))
        self._left = sum(assigned_unit.left for assigned_unit in self._queue)
        while True:
            self._hand_out()
            if not self._queue and not any(worker.assigned for worker in self._workers):
                return
            yield from self._wait()

    def _planned(self, samples: range, done: AbstractSet[RecordKey]) -> Iterator[_AssignedUnit]:
        by_sample: dict[tuple[str, str, int], set[RecordKey]] = defaultdict(set)
        for key in done:
            by_sample[key[:3]].add(key)
        of_model = {
            model.label: len(self._runfile.decoders_of(model)) * self._runfile.repeats
            for model in self._runfile.models
        }
        of_sample = max(of_model.values())
        # Small enough for workers to finish together, large enough to be worth a message.
        wanted = len(samples) * len(self._runfile.tasks) * of_sample / self._allocation.workers / 8
        size = max(1, int(min(wanted, self._batch_size / 4) / of_sample))
        for whole in planned(self._runfile, samples):
            for first in range(0, len(samples), size):
                own = whole.samples[first : first + size]
                known = [by_sample.get((whole.model, whole.task, index), set()) for index in own]
                left = len(own) * of_model[whole.model] - sum(map(len, known))
                if left:
                    yield _AssignedUnit(replace(whole, samples=own, done=set().union(*known)), left)

    def _hand_out(self) -> None:
        """Assign units to every idle worker that has room."""
        # Near the end no worker takes more than an equal part.
        room = min(self._batch_size * 3 // 2, math.ceil(self._left / self._allocation.workers))
        idle = [worker for worker in self._workers if worker.ready and worker.awaited is None]
        for worker in sorted(idle, key=lambda worker: worker.left):
            units = [assigned_unit.unit for assigned_unit in self._taken(worker, room)]
            if units or worker.assigned:
                worker.awaited = worker.handle.exchange.remote(units)

    def _taken(self, worker: _WorkerHandle, room: int) -> Iterator[_AssignedUnit]:
        left = worker.left
        alone = any(assigned_unit.alone for assigned_unit in worker.held)
        while self._queue and not alone and (left < room or not left):
            alone = self._queue[0].alone
            if alone and left:
                return
            assigned_unit = self._queue.popleft()
            left += assigned_unit.left
            unit = assigned_unit.unit
            worker.assigned.update(
                {(unit.model, unit.task, index): assigned_unit for index in unit.samples}
            )
            yield assigned_unit

    def _wait(self) -> list[Finished]:
        """Wait for an answer of any worker; return the decodes that it finished."""
        import ray

        by_reference = {w.awaited: w for w in self._workers if w.awaited is not None}
        answered, _ = ray.wait(list(by_reference), num_returns=1, timeout=_START_TIMEOUT)
        if not answered:
            self._refuse_waiting_for_room()
            return []
        worker = by_reference[answered[0]]
        try:
            answer = ray.get(answered[0])
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError as error:
            self._replace_worker(worker, error)
            return []
        worker.awaited = None
        if isinstance(answer, WorkerReport):
            return self._record_progress(worker, answer)
        if worker.arrived:
            self._register(worker, answer)
        else:
            worker.arrived = True
            worker.awaited = worker.handle.open.remote(checking=worker.checking)
            self._environments.append(answer)
        return []

    def _record_progress(self, worker: _WorkerHandle, report: WorkerReport) -> list[Finished]:
        self.tally.merge(report.tally)
        self._left -= len(report.finished)
        for each in report.finished:
            assigned_unit = worker.assigned[each.key[:3]]
            assigned_unit.reported.add(each.key)
            assigned_unit.left -= 1
            if not assigned_unit.left:
                for index in assigned_unit.unit.samples:
                    del worker.assigned[assigned_unit.unit.model, assigned_unit.unit.task, index]
        return report.finished

    def _start_worker(self) -> None:
        import ray

        allocation = self._allocation
        kind = ray.remote(RayWorker).options(num_cpus=allocation.cores, num_gpus=allocation.gpus)
        handle: Any = kind.remote(self._runfile, self._batch_size, allocation.threads)
        # The check of one worker is enough: all load the same files.
        checking = not (self._checked or any(worker.checking for worker in self._workers))
        self._hired += 1
        name = f"worker {self._hired}"
        self._workers.append(
            _WorkerHandle(name, handle, handle.environment_here.remote(), checking)
        )

    def _register(self, worker: _WorkerHandle, opened: LoadedModels) -> None:
        worker.ready = True
        self._checked = self._checked or worker.checking
        self._startup_failures = 0
        for label, model in opened.models.items():
            self.models.setdefault(label, model)
            self._consistency.model(label, model.digest, worker.name)
        for label, engines_of_task in opened.engines.items():
            self.engines.setdefault(label, engines_of_task)
            self._consistency.engines(label, engines_of_task, worker.name)
        for label, sources_of_task in opened.sources.items():
            self.sources.setdefault(label, sources_of_task)
            self._consistency.sources(label, sources_of_task, worker.name)

    def _replace_worker(self, worker: _WorkerHandle, error: Exception) -> None:
        """Start another worker for one that died, and requeue the units that it had."""
        import ray

        self._lost += 1
        self._workers.remove(worker)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(worker.handle)  # it may only be out of reach
        reason = str(error).partition("\n")[0]
        if not worker.ready:
            self._startup_failures += 1
            if self._startup_failures >= _MOST_DEATHS:
                raise WorkersError(
                    f"{_MOST_DEATHS} workers died one after the other as they loaded "
                    f"{', '.join(model.label for model in self._runfile.models)}, the last with: "
                    f"{reason}; if memory ran out, fewer --workers leave more for each"
                )
        for assigned_unit in worker.held:
            assigned_unit.deaths += 1
            if assigned_unit.deaths >= _MOST_DEATHS:
                raise WorkersError(
                    f"{_MOST_DEATHS} workers died over {assigned_unit}, the last with: {reason}; "
                    "if memory ran out, a smaller --batch-size or fewer --workers take less"
                )
            assigned_unit.unit = replace(
                assigned_unit.unit, done=assigned_unit.unit.done | assigned_unit.reported
            )
            # At the end of the queue: if these samples kill workers, the rest is finished first.
            self._queue.append(assigned_unit)
        self._start_worker()

    def _refuse_waiting_for_room(self) -> None:
        if not any(worker.arrived for worker in self._workers):
            kind = "a GPU" if self._allocation.gpus else f"{self._allocation.cores} cores"
            raise WorkersError(
                f"Ray started no worker in {_START_TIMEOUT:.0f} s: each takes {kind}, and "
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


def _allocate(runfile: RunFile, workers: int | None) -> _Allocation:
    """Divide the cluster's GPUs or cores among the workers.

    Raises:
        WorkersError: It has too few GPUs or cores for that many workers.
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
        return _Allocation(count, 0, 1, max(1, sum(cores) // count))
    largest = max(c for c in range(1, max(cores) + 1) if sum(n // c for n in cores) >= count)
    return _Allocation(count, largest, 0, largest)


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to Ray, or start it; an existing connection of this process is reused.

    Raises:
        WorkersError: Ray is not installed, or does not answer at ``address``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray lowers the priority of workers, but this process only waits for them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Silences a warning about a future default for workers without a GPU.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise WorkersError(
            f"--executor ray needs the package ray: pip install 'parallelbench[ray]' ({error})"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address is not None:
        _refuse_unreachable(address)
    with _mute_ray_threads():
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


def _refuse_unreachable(address: str) -> None:
    """Refuse an address at which no Ray listens; Ray itself would wait for minutes.

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
        with socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT) as connection:
            connection.sendall(_HTTP2_PREFACE)
            answer = connection.recv(len(_SETTINGS))
    except OSError as error:
        raise _unreachable(address, str(error)) from error
    # An HTTP/2 server answers the preface with its settings.
    if answer[3:4] != _SETTINGS[3:4] and os.environ.get("RAY_USE_TLS") != "1":
        raise _unreachable(address, "what listens there is no Ray")


def _unreachable(address: str, reason: str) -> WorkersError:
    return WorkersError(
        f"no Ray cluster answers at --ray-address {address}: {reason}; is that the address that "
        "`ray start --head` printed?"
    )


@contextmanager
def _mute_ray_threads() -> Iterator[None]:
    """Discard what Ray's threads print; what matters to a run is raised as an error."""
    with contextlib.redirect_stdout(cast("TextIO", _WithoutRayThreads(sys.stdout))):
        yield


class _WithoutRayThreads:
    """A stream that discards what threads of Ray write."""

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
    """Return the error that a worker raised: a request error, or else with its traceback."""
    cause: Exception = error.cause
    return cause if isinstance(cause, RequestError) else error
