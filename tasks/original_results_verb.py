"""The verb ``import results``: the original's published replies -> a run, marked by our rules."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parallelbench.console.terminal import tell

if TYPE_CHECKING:
    from parallelbench.console.progress import Progress
    from parallelbench.record import Record
    from parallelbench.run.runfile import RunFile
    from parallelbench.setting import Setting
    from parallelbench.tasks.original_results import PublishedResults


@click.command(short_help="Mark the original's published replies again, as a run.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="New run directory; what was asked stands beside it, as OUT.jsonl.",
)
@click.option(
    "--grammar",
    default="lingotweaker",
    show_default=True,
    help="Engine that judges free text; theirs is languagetool.",
)
@click.option("--without-text", is_flag=True, help="Leave out free text, which needs an engine.")
@click.option("--json", "as_json", is_flag=True, help="Print the agreement as one JSON array.")
def results(folder: Path, out: Path, grammar: str, *, without_text: bool, as_json: bool) -> None:
    """Read the original benchmark's published results, and mark their replies by our rules.

    FOLDER is results/MODEL of a checkout of the original, or any folder above or below it.  The
    run has a record for every reply: text, marks, model calls and tokens per step, without steps.
    It is reported beside other runs and labelled "published, rescored"; it can be no entry of a
    board.  Shown is how often our marks agree with theirs.  Nothing is written where a line is at
    fault.

    \b
    Examples:
      parallelbench import results results/GSAI-ML__LLaDA-1.5 --out runs/published
      parallelbench report runs/published
      parallelbench run runs/published/run.yaml --model hf:GSAI-ML/LLaDA-1.5 --out runs/mine
      parallelbench report runs/published runs/mine
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.console.progress import shown
    from parallelbench.registry import load_plugins
    from parallelbench.tasks.original_results import read_results

    if "," in str(out) or "|" in str(out):
        raise click.UsageError(f"--out must have no ',' or '|', got {out}")
    load_plugins()
    with shown(f"reading {folder}") as progress:
        found = read_results(folder, with_text=not without_text)
        agreed = _write_run(found, out, grammar, progress)
    for remark in found.remarks:
        tell(remark, err=True)
    told = [{"task": task, **counts} for task, counts in agreed.items()]
    if as_json:
        tell(json.dumps(told, indent=1))
    else:
        _show(told)
    tell(f"run: {out}, {len(found.replies)} replies; what was asked: {_bundle(out)}", err=as_json)
    tell(f"report it: parallelbench report {out}", err=as_json)


def _bundle(out: Path) -> Path:
    return out.with_name(f"{out.name}.jsonl")


def _write_run(
    found: PublishedResults, out: Path, grammar: str, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Write the run, whole or not at all; return how marks agree, by task."""
    from parallelbench.errors import StorageError
    from parallelbench.run.environment import environment
    from parallelbench.run.merge import appearing
    from parallelbench.run.rundir import RunDirectory, storage

    with storage(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise StorageError(f"{out} is not empty; give a new or empty folder as --out")
    agreed: dict[str, Counter[str]] = {}
    with _bundled(found, out) as digest:
        runfile, tasks = _runfile(found, str(_bundle(out)), digest, grammar)
        with appearing(out) as place:
            run = RunDirectory.begin(place, runfile)
            with run.appending() as writer:
                progress.begin("marking the replies", len(found.replies), "replies")
                for record, task in progress.count(_records(found, runfile, tasks)):
                    writer.append(record)
                    _count(agreed.setdefault(task, Counter()), record)
            run.add_environment(
                {**environment(), "imported": "published results of the original, rescored"}
            )
    return {task: dict(counts) for task, counts in sorted(agreed.items())}


@contextmanager
def _bundled(found: PublishedResults, out: Path) -> Iterator[str]:
    """Write what was asked beside the run; it is gone again where the run is not written."""
    from parallelbench.errors import StorageError
    from parallelbench.run.rundir import storage, write_whole
    from parallelbench.tasks.original_bundle import bundle_of, digest_of

    path = _bundle(out)
    new = not path.exists()
    bundle = bundle_of(found.samples)
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        other = not new and path.read_bytes() != bundle.encode()
    if other:
        raise StorageError(
            f"{path} is there already and holds something else, maybe what a run was made with: "
            "name another --out"
        )
    write_whole(path, bundle)
    digest = digest_of(bundle.encode())
    try:
        yield digest
    except BaseException:
        if new:
            path.unlink(missing_ok=True)
        raise


def _runfile(
    found: PublishedResults, bundle: str, digest: str, grammar: str
) -> tuple[RunFile, dict[str, Setting]]:
    """Return the run that has all replies, and its tasks by the names of the original."""
    from parallelbench.model import MODELS
    from parallelbench.run.runfile import RunFile
    from parallelbench.setting import make_setting
    from parallelbench.task import TASKS
    from parallelbench.tasks.original_rules import TEXT_METRICS

    tasks, counts = {}, Counter(sample.task for sample in found.samples)
    for sample in found.samples:
        if sample.task not in tasks:
            text = sample.metric in TEXT_METRICS
            fields = {
                "path": bundle,
                "task": sample.task,
                "digest": digest,
                "canvas_length": sample.max_tokens,
                **({"grammar": grammar} if text else {}),
            }
            kind = "original_text" if text else "original"
            tasks[sample.task] = make_setting(kind, fields, TASKS)
    models = {
        name: make_setting("published", {"name": name}, MODELS)
        for name in dict.fromkeys(reply.model for reply in found.replies)
    }
    decoders = {reply.decoder.label: reply.decoder for reply in found.replies}
    had = {(reply.model, reply.decoder.label) for reply in found.replies}
    left_out = {
        setting.label: frozenset(label for label in decoders if (name, label) not in had)
        for name, setting in models.items()
    }
    runfile = RunFile(
        models=tuple(models.values()),
        tasks=tuple(tasks.values()),
        decoders=tuple(decoders.values()),
        samples=max(counts.values()),
        left_out={model: labels for model, labels in left_out.items() if labels},
    )
    return runfile, tasks


def _records(
    found: PublishedResults, runfile: RunFile, settings: Mapping[str, Setting]
) -> Iterator[tuple[Record, str]]:
    """Yield the record of each reply, with its task's name."""
    from parallelbench.run.runner import Asked, Origin, draw, published_record_of
    from parallelbench.setting import build
    from parallelbench.task import TASKS

    tasks = {name: build(setting, TASKS) for name, setting in settings.items()}
    models = {setting.fields["name"]: setting for setting in runfile.models}
    digests = {
        name: hashlib.sha256(f"published results of {name}".encode()).hexdigest() for name in models
    }
    samples = {
        (name, index): draw(task, runfile.seed, index)
        for name, task in tasks.items()
        for index in range(task.count_samples() or 0)
    }
    for reply in found.replies:
        origin = Origin(
            models[reply.model], settings[reply.task], reply.decoder, reply.index, 0, {}
        )
        asked = Asked(origin, tasks[reply.task], samples[reply.task, reply.index])
        digest = digests[reply.model]
        yield published_record_of(asked, reply.text, reply.figures, runfile, digest), reply.task


def _count(counts: Counter[str], record: Record) -> None:
    if record.marks is not None and record.published is not None:
        counts["replies"] += 1
        counts["right"] += int(record.marks.lenient == 1)
        counts["published_right"] += int(record.published.score == 1)
        counts["agree"] += int(record.marks.parts["agreement"])


def _show(told: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    from parallelbench.console.tables import show

    drawn = Table(title="published, rescored", title_justify="left", box=box.SIMPLE)
    drawn.add_column("task")
    for heading in ("replies", "right by our rules", "right as published", "marks agree"):
        drawn.add_column(heading, justify="right")
    for each in told:
        counts = [each.get(name, 0) for name in ("replies", "right", "published_right", "agree")]
        drawn.add_row(each["task"], *map(str, counts))
    show(drawn)
