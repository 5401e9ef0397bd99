"""The whole road in one call, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from parallelbench.progress import Progress, shown
from parallelbench.record import Record, from_line
from parallelbench.results import Result, summarize
from parallelbench.runfile import RunFile, make_runfile
from parallelbench.runner import Executor, following, loading, local, run

#: Globs of the tasks that every model can be asked, the ideal one too.
LAW_KNOWN = "choices/*,list_operations/*,puzzles/*,waiting_line/*"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave.

    Attributes:
        runfile: What was run.
        records: One per decode, in the order of the run file.
        folder: The run directory; None if the records were kept in memory only.
    """

    runfile: RunFile
    records: Sequence[Record]
    folder: Path | None

    @cached_property
    def results(self) -> list[Result]:
        """One result per (model, task, decoder setting)."""
        return summarize(self.records)

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
    batch_size: int = 512,
    executor: Executor = local,
    progress: bool = True,
) -> Evaluation:
    """Decode ``tasks`` with ``model`` and ``decoders``, and mark the replies.

    Args:
        model: Such as ``"ideal"`` or ``"ideal:noise=0"``.
        tasks: Names and globs, such as ``"waiting_line/*"``; all whose law is known by
            default.
        decoders: Settings and grids, such as ``"confidence:k=1|2|4"``.
        samples: Per task.
        seed: Of the samples and of the decoders' randomness.
        repeats: Decodes of each sample by each decoder.
        out: A run directory to write or to continue; None keeps the records in memory.
        batch_size: Most decodes at a time; changes no record.
        executor: Where decodes are done; ``parallelbench.cluster.on_ray()`` is one worker per
            GPU or core.
        progress: Whether stderr shows how far it is, if it takes more than two seconds.

    Raises:
        RequestError: Something cannot be done as asked.

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
    with shown(loading(runfile)) if progress else nullcontext(Progress()) as display:
        if out is None:
            with executor(runfile, batch_size) as crew:
                display.begin("decoding", runfile.decodes, "decodes")
                finished = crew.finish(range(runfile.samples), frozenset())
                lines = [each.line for each in display.count(finished)]
            records = [from_line(line, "a record") for line in lines]
            return Evaluation(runfile, _in_order(runfile, records), None)
        directory = run(
            runfile,
            Path(out),
            batch_size=batch_size,
            executor=executor,
            progress=following(display, runfile.decodes),
        )
        return Evaluation(runfile, _in_order(runfile, directory.records()), directory.path)


def _in_order(runfile: RunFile, records: Iterable[Record]) -> list[Record]:
    """Return one record per decode in the order of the run file; they come as they finish."""
    places = runfile.places

    def place(record: Record) -> tuple[int, ...]:
        return (
            places["model"][record.model],
            places["task"][record.task_label],
            record.index,
            record.repeat,
            places["decoder"][record.decoder_label],
        )

    # A record that replaced an error stands behind it.
    latest = {record.key: record for record in records}
    return sorted(latest.values(), key=place)
