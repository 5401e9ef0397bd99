"""The command ``parallelbench``: one verb per question that a user brings.

The core's verbs stand here; the wings and other packages bring theirs through the entry
point group ``parallelbench.cli.estimate``.  A verb's docstring is its help text.

Exit status: 0 done, 1 our fault (with a traceback), decodes that ended in an error or output
that cannot be written, 2 the request is at fault (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import click

from parallelbench.cli.asked import (
    BATCH,
    FILE,
    SAMPLES,
    SEED,
    Asked,
    asks_for_a_run,
    refuse_idle,
    refuse_idle_with_servers,
    with_template,
)
from parallelbench.cli.groups import InstalledCommands
from parallelbench.cli.runs import FOLDER, runs
from parallelbench.console.progress import shown
from parallelbench.console.terminal import new_console, tell, tell_line
from parallelbench.console.terminal import show as show_table
from parallelbench.errors import RequestError
from parallelbench.ranges import MOST_WORKERS

if TYPE_CHECKING:
    from parallelbench.record import Record
    from parallelbench.run.runfile import RunFile
    from parallelbench.run.runner import Executor
    from parallelbench.run.shard import Shard


class _Verbs(InstalledCommands):
    """Our own verbs and those of every installed package, loaded when they are used."""

    entry_point_group = "parallelbench.verbs"
    noun = "verb"


_PATH = click.Path(path_type=Path)
#: What may be the name of a run: a plain folder name on every system.
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

#: Wide enough for any table, in characters, where there is no terminal that would cut it off.
_PIPED = 500


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(version("parallelbench"), prog_name="parallelbench")
@click.pass_context
def cli(context: click.Context) -> None:
    """Measure what parallel decoding costs a diffusion language model.

    \b
    Example:
      parallelbench run
    """
    if context.invoked_subcommand is None:
        tell(context.get_help())


@cli.command(short_help="Run the benchmark, or the rest of a run.")
@asks_for_a_run
@click.option("--out", type=click.Path(path_type=Path), help="Run directory, new or continued.")
@click.option("--name", help="Name of the run: its directory is runs/NAME.")
@click.option(
    "--extend",
    type=_PATH,
    metavar="RUN",
    help="Run directory that grows: what is asked for is added to it.",
)
@click.option("--batch-size", type=BATCH, default=512, show_default=True)
@click.option("--shard", help="Only a part of the samples: 2/4 is the second of four.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="In this process, or in one worker per GPU or core.",
)
@click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), help="Of ray; instead of one per GPU."
)
@click.option("--ray-address", help="HOST:PORT or auto: a cluster, instead of this machine.")
@click.option("--track", "trackers", multiple=True, help="wandb or trackio, with :PROJECT or not.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def run(  # noqa: PLR0913  each is an option
    *,
    asked: Asked,
    out: Path | None,
    name: str | None,
    extend: Path | None,
    batch_size: int,
    shard: str | None,
    executor: Literal["local", "ray"],
    workers: int | None,
    ray_address: str | None,
    trackers: Sequence[str],
    as_json: bool,
) -> None:
    """Run the benchmark, or the rest of a run that was cut off.

    RUNFILE is a YAML file with models, tasks, decoders, samples, seed and repeats, or the
    name of an embedded one: default, sweep or paper.  Options override it.  Without it and without
    options, a few samples are decoded with the exact law of their right answers and with a
    small network; where options say what to run, what they leave out is model ideal, the
    default's tasks and decoders, and 100 samples.

    A run can grow: with --extend, more models, tasks, decoders, samples or repeats are added to
    a run, whose records stay.

    \b
    Examples:
      parallelbench run
      parallelbench run --model mini --tasks choices/city --name cities
      parallelbench run --extend runs/cities --samples 200 --decoders margin:k=2
      parallelbench run sweep --model mini
      parallelbench run --tasks 'waiting_line/*' --decoders 'confidence:k=1|2|4'
      parallelbench run --model mini --decoders 'fast-dllm,klass-llada,confidence_factor:*'
      parallelbench run --model hf:GSAI-ML/LLaDA-8B-Instruct --tasks waiting_line/copy
      parallelbench run --tasks list_operations/shuffle:form=infill,length=5 \\
                        --decoders random:k=5 --samples 2000
      parallelbench run sweep --model hf:GSAI-ML/LLaDA-8B-Instruct --executor ray
      parallelbench run sweep --shard 2/4
      parallelbench run --model mini --track trackio:my-project
    """
    from parallelbench.results.result import summarize
    from parallelbench.run.rundir import RunDirectory
    from parallelbench.run.runner import following, loading
    from parallelbench.run.runner import run as carry_out
    from parallelbench.run.shard import Shard
    from parallelbench.run.tracking import tracking

    plan = asked.plan
    refuse_idle_with_servers(plan, "batch_size")
    if extend is not None:
        refuse_idle(
            f"--extend {extend} adds to that run, to all of its samples", "out", "name", "shard"
        )
    if out is not None:
        refuse_idle(f"the run goes into --out {out}", "name")
    part = Shard.parse(shard) if shard else None
    folder = extend or out or _folder(plan, name, part)
    total = RunDirectory(folder, plan, part).decodes
    for remark in _remarks(plan):
        tell(f"parallelbench: {remark}", err=True)
    failed: list[Record] = []
    recorded = 0
    with _interruptible(lambda: recorded), tracking(trackers, plan, _warn) as told:
        with shown(loading(plan)) as progress:
            begins, reach = _begins(total, folder), following(progress, total)

            def advance(count: int) -> None:
                nonlocal recorded
                recorded = count
                begins(count)
                reach(count)
                told.progress(count)

            directory = carry_out(
                plan,
                folder,
                batch_size=batch_size,
                shard=part,
                extend=extend is not None,
                executor=_executor(executor, workers, ray_address),
                progress=advance,
                failed=failed.append,
            )
        _report(folder, as_json=as_json)
        if trackers:
            told.results(summarize(directory.records()), total)
    if asked.first_look:
        tell(
            f"this was a first look, with {plan.samples} samples of {len(plan.tasks)} tasks; every "
            "task, 100 samples and 35 settings: parallelbench run sweep --model mini",
            err=True,
        )
    if failed:
        tell(
            f"parallelbench: {len(failed)} of {total} decodes ended in an error and are not "
            f"counted; the first: {failed[0].error}; the same command tries them again",
            err=True,
        )
        click.get_current_context().exit(1)


@cli.command(short_help="Join the shards of a run.")
@click.argument("shards", nargs=-1, required=True, metavar="SHARD...", type=_PATH)
@click.option("--out", required=True, type=_PATH, help="New run directory.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def merge(shards: Sequence[Path], out: Path, *, as_json: bool) -> None:
    """Join the run directories of all shards of a run into that of the whole.

    The shards stay as they are.  Nothing is written where one is missing or unfinished, or
    where they are not of the same run.

    \b
    Example:
      parallelbench merge runs/3f2a9c1b7d04-shard-* --out runs/3f2a9c1b7d04
    """
    from parallelbench.run.merge import merge as carry_out

    with shown(f"merging {len(shards)} shards into {out}"):
        merged = carry_out(shards, out)
    if merged.duplicates:
        tell(f"{merged.duplicates} records stood in several shards, alike", err=True)
    _report(out, as_json=as_json)


@cli.command(name="list", short_help="List tasks, decoders and models with their fields.")
@click.argument("what", type=click.Choice(["tasks", "decoders", "models"]), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(what: str | None, *, as_json: bool) -> None:
    """List tasks, decoders and models: what each is, with its fields and their defaults.

    Of decoders alone it prints a table: what each of them needs, costs and promises, which
    families of models can serve it, and under which names papers know it; --json has it all.

    \b
    Examples:
      parallelbench list tasks
      parallelbench list decoders
      parallelbench list decoders --json
    """
    from parallelbench.cli.listing import (
        decoder_entries,
        entry,
        fields_with_ranges,
        task_entries,
        told_of_task,
    )

    registries = _registries()
    chosen = {what: registries[what]} if what else registries
    entries = {
        kind: decoder_entries()
        if kind == "decoders"
        else task_entries()
        if kind == "tasks"
        else [entry(name, item) for name, item in items.items()]
        for kind, items in chosen.items()
    }
    if as_json:
        tell(json.dumps(entries[what] if what else entries, indent=1))
        return
    if what == "decoders":
        _show_decoders(entries[what])
        return
    for kind, listed in entries.items():
        tell(f"{kind}:")
        for each in listed:
            fields = fields_with_ranges(each)
            tell(f"  {each['name']}\n      {each['summary']}\n      {fields}")
            if kind == "tasks":
                tell(f"      {told_of_task(each)}")


@cli.command(
    name="check-decoder", short_help="Check that a strategy keeps the contract of decoders."
)
@click.argument("decoder")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check_decoder(decoder: str, *, as_json: bool) -> None:
    """Check that a strategy keeps its contract: yours too, once its package is installed.

    It decodes a few samples with the exact ideal model and with a tiny random transformer:
    together and alone, again, after others, with other random numbers.  The exit status is 1
    where a check fails, and the line says how to mend it.

    \b
    Examples:
      parallelbench check-decoder confidence_threshold
      parallelbench check-decoder my_strategy:threshold=0.8
    """
    from parallelbench.checks.conformance import check_decoder as carry_out

    with shown(f"checking {decoder}"):
        found = carry_out(decoder)
    if as_json:
        tell(json.dumps({**dataclasses.asdict(found), "passed": found.passed}, indent=1))
    else:
        tell(f"{found.decoder}, with {' and '.join(found.models)}")
        for check in found.checks:
            told = f"ok      {check.name}: {check.promise}"
            if check.problem is not None:
                told = f"FAILED  {check.name}: {check.problem}"
            tell(f"  {told}")
        if found.note is not None:
            tell(found.note)
    click.get_current_context().exit(0 if found.passed else 1)


@cli.command(short_help="Print samples of a task with their right answers.")
@click.argument("task")
@click.option("--count", type=SAMPLES, default=3, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(task: str, count: int, seed: int, *, as_json: bool) -> None:
    """Print samples of a task, with a right answer and how many there are.

    \b
    Example:
      parallelbench show waiting_line/shuffle:length=4 --count 2
    """
    from parallelbench.registry import load_plugins
    from parallelbench.run.recording import draw
    from parallelbench.setting import build, parse_settings
    from parallelbench.task import TASKS

    load_plugins()
    shown: list[dict[str, Any]] = []
    for setting in parse_settings(task, TASKS):
        made = build(setting, TASKS)
        for index in range(count):
            sample = draw(made, seed, index)
            shown.append(
                {
                    "id": sample.id,
                    "messages": [message._asdict() for message in sample.messages],
                    "reference": sample.reference,
                    "right_answers": _count_answers(made, sample),
                    "facts": dict(sample.facts),
                    "digest": sample.digest,
                }
            )
    if as_json:
        tell(json.dumps(shown, indent=1))
        return
    for entry in shown:
        tell(entry["id"], bold=True)
        for message in entry["messages"]:
            tell(f"{message['role']}: {message['content']}")
        tell(f"a right answer: {entry['reference'] or 'none is given'}")
        tell(f"right answers: {entry['right_answers']}\n")


@cli.command(short_help="Inspect a model: family, decoders, batch independence.")
@click.option("--model", default="ideal", show_default=True, help="Such as hf:PATH or api:URL.")
@click.option("--template", type=FILE, help="Jinja chat template, for a checkpoint without one.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(model: str, template: Path | None, *, as_json: bool) -> None:
    """Look a model over: what it is, what it serves, whether the batch changes its tokens.

    \b
    Examples:
      parallelbench doctor
      parallelbench doctor --model hf:GSAI-ML/LLaDA-8B-Instruct
    """
    from parallelbench.checks.doctor import examine
    from parallelbench.registry import load_plugins

    load_plugins()
    (asked,) = with_template([model], template)
    with shown(f"examining {model}"):
        findings = examine(asked)
    if as_json:
        tell(json.dumps(findings, indent=1))
    else:
        for name, value in findings.items():
            tell(f"{name.replace('_', ' ')}: {_shown(value)}")
    click.get_current_context().exit(0 if findings["healthy"] else 1)


cli.add_command(runs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    if sys.stdout is None:  # whoever started this process closed it
        sys.stdout = io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding lacks is shown as "?".
        sys.stdout.reconfigure(errors="replace")
    output = _Output(sys.stdout)
    try:
        with contextlib.redirect_stdout(cast("TextIO", output)):
            status = cli.main(args=arguments, prog_name="parallelbench", standalone_mode=False)
            output.flush()
    except RequestError as error:
        return _refuse(str(error))
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        _warn("interrupted")
        return 130
    except BrokenPipeError:
        return 1
    except _UnwrittenError as error:
        output.give_up()
        _warn(f"standard output cannot be written: {error}")
        return 1
    return status if isinstance(status, int) else 0


def _refuse(sentence: str) -> int:
    # What another library says may take many lines; a refusal takes one.
    tell_line(f"parallelbench: {sentence}", err=True)
    return 2


class _UnwrittenError(Exception):
    """Standard output takes no more."""


class _Output:
    """Standard output, whose faults are told apart from those of other files."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._told():
            written: int = self._stream.write(text)
        return written

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    def give_up(self) -> None:
        """Send what is left in the buffer nowhere: else the interpreter fails on it at its end."""
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.give_up()
            raise  # whoever reads has read enough, which click and rich expect
        except OSError as error:
            raise _UnwrittenError((error.strerror or str(error)).lower()) from error


@contextmanager
def _interruptible(recorded: Callable[[], int]) -> Iterator[None]:
    """End with status 130 on an interrupt, and say what a run has recorded by then."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        kept = "every finished decode is recorded, and the same command goes on from there"
        _warn(f"interrupted; {kept if recorded() else 'no decode was finished'}")
        click.get_current_context().exit(130)


def _warn(sentence: str) -> None:
    tell(f"parallelbench: {sentence}", err=True)


def _registries() -> dict[str, Any]:
    from parallelbench.decoder import DECODERS
    from parallelbench.model import MODELS
    from parallelbench.registry import load_plugins
    from parallelbench.task import TASKS

    load_plugins()
    return {"tasks": TASKS, "decoders": DECODERS, "models": MODELS}


def _folder(plan: RunFile, name: str | None, part: Shard | None) -> Path:
    """Return the directory of a run that was not told one."""
    suffix = f"-shard-{part.index}-of-{part.count}" if part else ""
    if name is not None and not _FOLDER_NAME.fullmatch(name):
        raise click.UsageError(
            f"--name {name!r}: a name has up to 100 letters, digits, dots, hyphens and "
            "underscores, and begins with a letter or digit; --out takes any folder"
        )
    return FOLDER / f"{name or plan.digest[:12]}{suffix}"


def _show_decoders(entries: Sequence[Mapping[str, Any]]) -> None:
    from parallelbench.cli.listing import below_table, decoder_sentences, decoder_table

    # What is piped goes to another program, which wants a strategy on a line.
    console = new_console(width=None if sys.stdout.isatty() else _PIPED)
    if console.width < _PIPED:
        show_table(decoder_sentences(entries), console)
    show_table(decoder_table(entries, console.width, sentences=console.width >= _PIPED), console)
    for sentence in below_table(entries):
        tell(sentence)


def _remarks(plan: RunFile) -> Iterator[str]:
    from parallelbench.model import MODELS
    from parallelbench.setting import build
    from parallelbench.task import TASKS

    kinds = {setting.name: TASKS[setting.name] for setting in plan.tasks}
    for setting in plan.models:
        remark = build(setting, MODELS).remark(kinds.values())
        if remark is not None:
            yield remark


def _executor(name: str, workers: int | None, ray_address: str | None) -> Executor:
    if name == "ray":
        from parallelbench.run.cluster import on_ray

        return on_ray(workers=workers, address=ray_address)
    for option, value in (("--workers", workers), ("--ray-address", ray_address)):
        if value is not None:
            raise click.UsageError(f"{option} {value} is for --executor ray")
    from parallelbench.run.runner import local

    return local


def _report(folder: Path, *, as_json: bool) -> None:
    """Report a run, if the verb for it is installed."""
    context = click.get_current_context()
    report = cli.get_command(context, "report")
    if report is not None:
        context.invoke(report, runs=(folder,), as_json=as_json)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {part}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return "none" if value is None else str(value)


def _count_answers(task: Any, sample: Any) -> str:
    from parallelbench.errors import NotEnumerableError

    try:
        return f"{len(task.answers(sample)):,}"
    except NotEnumerableError as error:
        return str(error)


def _begins(total: int, folder: Path) -> Callable[[int], None]:
    """Return what tells at its first call how much of a run there is, for logs without a bar."""
    first = not sys.stderr.isatty()

    def begins(count: int) -> None:
        nonlocal first
        if first:
            known = f", {count} recorded before" if count else ""
            nothing = ": nothing is left to decode" if count == total else ""
            tell(f"{total} decodes into {folder}{known}{nothing}", err=True)
        first = False

    return begins
