"""The verb ``import results``: published replies of the original -> run, scored by our rules."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from parallelbench.cli.groups import Verb
from parallelbench.console.progress import ProgressDisplay, shown
from parallelbench.console.tables import show
from parallelbench.console.terminal import tell
from parallelbench.errors import StorageError
from parallelbench.model import MODELS
from parallelbench.record import Record
from parallelbench.registry import load_plugins
from parallelbench.run.environment import environment
from parallelbench.run.recording import DecodeId, ReplyContext, draw_sample, published_record_of
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting, build, make_setting
from parallelbench.storage.folders import appearing, refuse_occupied, storage, write_whole
from parallelbench.task import TASKS
from parallelbench.tasks.original_bundle import bundle_digest, bundle_of
from parallelbench.tasks.original_results import PublishedResults, read_results
from parallelbench.tasks.original_rules import TEXT_METRICS


@click.command(
    cls=Verb, short_help="Score the original's published replies by our rules, as a run."
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="New run directory; the questions are written to OUT.jsonl.",
)
@click.option(
    "--grammar",
    default="lingotweaker",
    show_default=True,
    help="Grammar engine for free text; the original's is languagetool.",
)
@click.option("--without-text", is_flag=True, help="Skip free text, which needs a grammar engine.")
@click.option("--json", "as_json", is_flag=True, help="Print the agreement as one JSON array.")
def results(folder: Path, out: Path, grammar: str, *, without_text: bool, as_json: bool) -> None:
    """Read the original benchmark's published results and score the replies by our rules.

    FOLDER is results/MODEL of a checkout of the original, or any folder above or below it.  The
    run has a record for every reply: text, scores, model calls and tokens per step, but no trace.
    It can be reported together with other runs, labelled "published, rescored"; it cannot enter a
    leaderboard.  The command prints how often our scores agree with theirs.  Nothing is written
    if a line is faulty.

    Examples:
      parallelbench import results results/GSAI-ML__LLaDA-1.5 --out runs/published
      parallelbench report runs/published
      parallelbench run runs/published/run.yaml --model hf:GSAI-ML/LLaDA-1.5 --out runs/mine
      parallelbench report runs/published runs/mine
    """
    if "," in str(out) or "|" in str(out):
        raise click.UsageError(f"--out must have no ',' or '|', got {out}")
    load_plugins()
    with shown(f"reading {folder}") as progress:
        published = read_results(folder, with_text=not without_text)
        agreed = _write_run(published, out, grammar, progress)
    for remark in published.remarks:
        tell(remark, err=True)
    rows = [{"task": task, **counts} for task, counts in agreed.items()]
    if as_json:
        tell(json.dumps(rows, indent=1))
    else:
        _show(rows)
    tell(f"run: {out}, {len(published.replies)} replies; questions: {_bundle(out)}", err=as_json)
    tell(f"report it: parallelbench report {out}", err=as_json)


def _bundle(out: Path) -> Path:
    return out.with_name(f"{out.name}.jsonl")


def _write_run(
    published: PublishedResults, out: Path, grammar: str, progress: ProgressDisplay
) -> dict[str, dict[str, Any]]:
    """Write the run, completely or not at all; return the counts of agreement by task."""
    refuse_occupied(out)
    agreed: dict[str, Counter[str]] = {}
    with _bundled(published, out) as digest:
        runfile, tasks = _runfile(published, str(_bundle(out)), digest, grammar)
        with appearing(out) as place:
            run = RunDirectory.begin(place, runfile)
            with run.appending() as writer:
                progress.begin("scoring the replies", len(published.replies), "replies")
                for record, task in progress.count(_records(published, runfile, tasks)):
                    writer.append(record)
                    _count(agreed.setdefault(task, Counter()), record)
            run.add_environment(
                {**environment(), "imported": "published results of the original, rescored"}
            )
    return {task: dict(counts) for task, counts in sorted(agreed.items())}


@contextmanager
def _bundled(published: PublishedResults, out: Path) -> Iterator[str]:
    """Write the questions next to the run; remove them if writing the run fails."""
    path = _bundle(out)
    new = not path.exists()
    bundle = bundle_of(published.samples)
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        other = not new and path.read_bytes() != bundle.encode()
    if other:
        raise StorageError(
            f"{path} exists with other content, which a run may depend on: name another --out"
        )
    write_whole(path, bundle)
    digest = bundle_digest(bundle.encode())
    try:
        yield digest
    except BaseException:
        if new:
            path.unlink(missing_ok=True)
        raise


def _runfile(
    published: PublishedResults, bundle: str, digest: str, grammar: str
) -> tuple[RunFile, dict[str, Setting]]:
    """Return the run file of all replies, and its tasks by the original's names."""
    tasks, counts = {}, Counter(sample.task for sample in published.samples)
    for sample in published.samples:
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
        for name in dict.fromkeys(reply.model for reply in published.replies)
    }
    decoders = {reply.decoder.label: reply.decoder for reply in published.replies}
    had = {(reply.model, reply.decoder.label) for reply in published.replies}
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
    published: PublishedResults, runfile: RunFile, settings: Mapping[str, Setting]
) -> Iterator[tuple[Record, str]]:
    """Yield the record of each reply, with the name of its task."""
    tasks = {name: build(setting, TASKS) for name, setting in settings.items()}
    models = {setting.fields["name"]: setting for setting in runfile.models}
    digests = {
        name: hashlib.sha256(f"published results of {name}".encode()).hexdigest() for name in models
    }
    samples = {
        (name, index): draw_sample(task, runfile.seed, index)
        for name, task in tasks.items()
        for index in range(task.count_samples() or 0)
    }
    for reply in published.replies:
        decode_id = DecodeId(
            models[reply.model], settings[reply.task], reply.decoder, reply.index, 0, {}
        )
        context = ReplyContext(decode_id, tasks[reply.task], samples[reply.task, reply.index])
        digest = digests[reply.model]
        yield published_record_of(context, reply.text, reply.figures, runfile, digest), reply.task


def _count(counts: Counter[str], record: Record) -> None:
    if record.marks is not None and record.published is not None:
        counts["replies"] += 1
        counts["right"] += int(record.marks.lenient == 1)
        counts["published_right"] += int(record.published.score == 1)
        counts["agree"] += int(record.marks.parts["agreement"])


def _show(rows: Sequence[Mapping[str, Any]]) -> None:

    drawn = Table(title="published, rescored", title_justify="left", box=box.SIMPLE)
    drawn.add_column("task")
    for heading in ("replies", "right by our rules", "right as published", "marks agree"):
        drawn.add_column(heading, justify="right")
    for each in rows:
        counts = [each.get(name, 0) for name in ("replies", "right", "published_right", "agree")]
        drawn.add_row(each["task"], *map(str, counts))
    show(drawn)
