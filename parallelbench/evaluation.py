"""Decode, score and summarize in one call, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallelbench.console.progress import ProgressDisplay, shown
from parallelbench.errors import RequestError, RunFileError
from parallelbench.record import Record
from parallelbench.results.result import Result, summarize, to_row, with_throughput
from parallelbench.results.throughput import Throughput, throughput_of
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile, make_runfile
from parallelbench.run.runner import (
    Executor,
    RunProgress,
    decodes_left,
    following,
    loading,
    local,
    measured_by,
    run,
    with_progress,
)

if TYPE_CHECKING:
    import pandas as pd

#: Globs of the tasks whose answer distribution is known, so that ``ideal`` can decode them too.
LAW_KNOWN = "choices/*,list_operations/*,puzzles/*,waiting_line/*"


@dataclass(frozen=True)
class Evaluation:
    """The records and results of an evaluation.

    Attributes:
        runfile: The run: models, tasks, decoders, samples, seed and repeats.
        records: One record per decode, in the order of the run file.
        folder: The run directory; None if the records were kept in memory only.
        environments: Versions and machine, one for each session.
    """

    runfile: RunFile
    records: Sequence[Record]
    folder: Path | None
    environments: Sequence[Mapping[str, Any]] = ()

    @cached_property
    def results(self) -> list[Result]:
        """One result per (model, task, decoder setting)."""
        return with_throughput(summarize(self.records), self.environments)

    @cached_property
    def throughput(self) -> list[Throughput]:
        """Measured speed of decoding, one for each model and machine."""
        return throughput_of(self.environments)

    def __repr__(self) -> str:
        done = sum(record.status != "error" for record in self.records)
        folder = "" if self.folder is None else f", in {self.folder}"
        return f"Evaluation({done} of {self.runfile.decodes} decodes of {self.runfile}{folder})"

    def _repr_html_(self) -> str:
        """Return the results as a table, which notebooks show instead of the text."""
        from parallelbench.results.notebook import table_of

        return table_of(self.results, repr(self), [str(each) for each in self.throughput])

    def frame(self) -> pd.DataFrame:
        """Return the results as a data frame of pandas, one row per result.

        The columns are those of ``results.csv``: an interval is two columns, ``_low`` and
        ``_high``.  Fields, statuses and problems are dictionaries.

        Raises:
            RequestError: The package pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise RequestError(
                "Evaluation.frame() needs the package pandas, which comes with pip install "
                f"'parallelbench[datasets]'; results are also in to_dicts() ({error})"
            ) from error
        return pd.DataFrame([to_row(result) for result in self.results])

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the results as JSON values; ``pandas.DataFrame(...)`` takes them as they are."""
        return [result.as_dict() for result in self.results]


def evaluate(  # noqa: PLR0913  each is an option of `parallelbench run`
    *,
    model: str | list[str] = "ideal",
    tasks: str | list[str] = LAW_KNOWN,
    decoders: str | list[str] = "one_by_one",
    samples: int = 100,
    seed: int = 0,
    repeats: int = 1,
    out: str | Path | None = None,
    extend: bool = False,
    batch_size: int = 512,
    executor: Executor = local,
    progress: bool = True,
) -> Evaluation:
    """Decode ``tasks`` with ``model`` and ``decoders``, and score the replies.

    Args:
        model: A model setting, such as ``"ideal"`` or ``"ideal:noise=0"``.
        tasks: Names and globs, such as ``"waiting_line/*"``; by default all tasks whose answer
            distribution is known.
        decoders: Settings and grids, such as ``"confidence:k=1|2|4"``.
        samples: Number of samples per task.
        seed: Random seed for samples and decoders.
        repeats: Number of decodes of each sample by each decoder.
        out: A run directory to write or to continue; None keeps the records in memory.
        extend: Allows ``out`` to hold a smaller run, with fewer models, tasks, decoders,
            samples or repeats: it becomes this one, and keeps its records.
        batch_size: Maximum number of concurrent decodes; changes no record.
        executor: Executes the decodes; ``parallelbench.run.cluster.on_ray()`` starts one worker per
            GPU or core.
        progress: Shows progress on stderr once decoding has taken two seconds.

    Raises:
        RequestError: The request is at fault; the message says how to correct it.

    Example:
        >>> from parallelbench import evaluate
        >>> evaluation = evaluate(
        ...     tasks="choices/city", decoders="one_by_one,random:k=32", samples=50
        ... )
        >>> [(r.decoder_label, r.accuracy) for r in evaluation.results][0]
        ('one_by_one', 1.0)
    """
    runfile = make_runfile(
        {
            "models": model,
            "tasks": tasks,
            "decoders": decoders,
            "samples": samples,
            "seed": seed,
            "repeats": repeats,
        }
    )
    if extend and out is None:
        raise RunFileError("extend=True adds to a run directory: say which as out=FOLDER")
    with shown(loading(runfile)) if progress else nullcontext(ProgressDisplay()) as display:
        if out is None:
            return _in_memory(runfile, executor, batch_size, display)
        directory = run(
            runfile,
            Path(out),
            batch_size=batch_size,
            extend=extend,
            executor=executor,
            progress=following(display, runfile.decodes),
        )
        return _evaluation_of(directory)


def _in_memory(
    runfile: RunFile, executor: Executor, batch_size: int, display: ProgressDisplay
) -> Evaluation:
    with executor(runfile, batch_size) as session:
        samples = range(runfile.samples)
        reach = following(display, runfile.decodes)
        reach(RunProgress(0))
        stopwatch, environment = session.stopwatch(), session.environment(batch_size)
        left = decodes_left(runfile, samples) if session.in_turn else {}
        finished = measured_by(stopwatch, session.finish(samples, frozenset()))
        records = []
        for each, reached in with_progress(finished, 0, left):
            reach(reached)
            records.append(each.record)
        environment |= session.statistics(stopwatch)
    return Evaluation(runfile, runfile.in_order(records), None, [environment])


def load_run(path: str | Path) -> Evaluation:
    """Load the records and results of a run directory, finished or not; nothing is decoded.

    Args:
        path: The run directory, also one that is being written, a shard, or a run of an earlier
            version of a task.

    Raises:
        RunFileError: There is no run, or its run file is malformed.
        RecordsError: A record is torn or was altered.
    """
    return _evaluation_of(RunDirectory.open(Path(path), any_version=True))


def _evaluation_of(directory: RunDirectory) -> Evaluation:
    return Evaluation(
        directory.runfile,
        directory.runfile.in_order(directory.records()),
        directory.path,
        directory.environments(),
    )
