"""The command ``parallelbench``: one verb per question that a user brings.

The core's verbs stand here; the wings and other packages bring theirs through the entry
point group ``parallelbench.verbs``.  A verb's docstring is its help text.

Exit status: 0 done, 1 our fault (with a traceback) or decodes that ended in an error, 2 the
request is at fault (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from parallelbench.asked import FILE, Asked, asks_for_a_run, with_template
from parallelbench.errors import RequestError, UnknownNameError
from parallelbench.progress import shown

if TYPE_CHECKING:
    from parallelbench.record import Record
    from parallelbench.runfile import RunFile
    from parallelbench.runner import Executor


class _Verbs(click.Group):
    """Our own verbs and those of every installed package, loaded when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_installed_verbs()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = _installed_verbs().get(cmd_name)
        if entry is None:
            from parallelbench.registry import unknown

            raise UnknownNameError(unknown("verb", cmd_name, self.list_commands(ctx)))
        verb: click.Command = entry.load()
        return verb


def _installed_verbs() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="parallelbench.verbs")}


_PATH = click.Path(path_type=Path)

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
        click.echo(context.get_help())


@cli.command()
@asks_for_a_run
@click.option("--out", type=click.Path(path_type=Path), help="Run directory, new or continued.")
@click.option("--batch-size", type=click.IntRange(min=1), default=512, show_default=True)
@click.option("--shard", help="Only a part of the samples: 2/4 is the second of four.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="In this process, or in one worker per GPU or core.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Of ray; instead of one per GPU.")
@click.option("--ray-address", help="HOST:PORT or auto: a cluster, instead of this machine.")
@click.option("--track", "trackers", multiple=True, help="wandb or trackio, with :PROJECT or not.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def run(  # noqa: PLR0913  each is an option
    *,
    asked: Asked,
    out: Path | None,
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

    \b
    Examples:
      parallelbench run
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
    from parallelbench.results import summarize
    from parallelbench.rundir import RunDirectory
    from parallelbench.runner import following, loading
    from parallelbench.runner import run as carry_out
    from parallelbench.shard import Shard
    from parallelbench.tracking import tracking

    plan = asked.plan
    part = Shard.parse(shard) if shard else None
    suffix = f"-shard-{part.index}-of-{part.count}" if part else ""
    folder = out or Path("runs") / f"{plan.digest[:12]}{suffix}"
    total = RunDirectory(folder, plan, part).decodes
    for remark in _remarks(plan):
        click.echo(f"parallelbench: {remark}", err=True)
    failed: list[Record] = []
    with tracking(trackers, plan, _warn) as told:
        with shown(loading(plan)) as progress:
            begins, reach = _begins(total, folder), following(progress, total)

            def advance(count: int) -> None:
                begins(count)
                reach(count)
                told.progress(count)

            directory = carry_out(
                plan,
                folder,
                batch_size=batch_size,
                shard=part,
                executor=_executor(executor, workers, ray_address),
                progress=advance,
                failed=failed.append,
            )
        _report(folder, as_json=as_json)
        if trackers:
            told.results(summarize(directory.records()), total)
    if asked.first_look:
        click.echo(
            f"this was a first look, with {plan.samples} samples of {len(plan.tasks)} tasks; every "
            "task, 100 samples and 35 settings: parallelbench run sweep --model mini",
            err=True,
        )
    if failed:
        click.echo(
            f"parallelbench: {len(failed)} of {total} decodes ended in an error and are not "
            f"counted; the first: {failed[0].error}; the same command tries them again",
            err=True,
        )
        click.get_current_context().exit(1)


@cli.command()
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
    from parallelbench.merge import merge as carry_out

    with shown(f"merging {len(shards)} shards into {out}"):
        merged = carry_out(shards, out)
    if merged.duplicates:
        click.echo(f"{merged.duplicates} records stood in several shards, alike", err=True)
    _report(out, as_json=as_json)


@cli.command(name="list")
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
    from parallelbench.listing import decoder_entries, entry, task_entries, told_of_task

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
        click.echo(json.dumps(entries[what] if what else entries, indent=1))
        return
    if what == "decoders":
        _show_decoders(entries[what])
        return
    for kind, listed in entries.items():
        click.echo(f"{kind}:")
        for each in listed:
            fields = ", ".join(f"{name}={value}" for name, value in each["fields"].items())
            click.echo(f"  {each['name']}\n      {each['summary']}\n      {fields}")
            if kind == "tasks":
                click.echo(f"      {told_of_task(each)}")


@cli.command(name="check-decoder")
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
    from parallelbench.conformance import check_decoder as carry_out

    with shown(f"checking {decoder}"):
        found = carry_out(decoder)
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(found), "passed": found.passed}, indent=1))
    else:
        click.echo(f"{found.decoder}, with {' and '.join(found.models)}")
        for check in found.checks:
            told = f"ok      {check.name}: {check.promise}"
            if check.problem is not None:
                told = f"FAILED  {check.name}: {check.problem}"
            click.echo(f"  {told}")
        if found.note is not None:
            click.echo(found.note)
    click.get_current_context().exit(0 if found.passed else 1)


@cli.command()
@click.argument("task")
@click.option("--count", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(task: str, count: int, seed: int, *, as_json: bool) -> None:
    """Print samples of a task, with a right answer and how many there are.

    \b
    Example:
      parallelbench show waiting_line/shuffle:length=4 --count 2
    """
    from parallelbench.registry import load_plugins
    from parallelbench.runner import draw
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
        click.echo(json.dumps(shown, indent=1))
        return
    for entry in shown:
        click.secho(entry["id"], bold=True)
        for message in entry["messages"]:
            click.echo(f"{message['role']}: {message['content']}")
        click.echo(f"a right answer: {entry['reference'] or 'none is given'}")
        click.echo(f"right answers: {entry['right_answers']}\n")


@cli.command()
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
    from parallelbench.doctor import examine
    from parallelbench.registry import load_plugins

    load_plugins()
    (asked,) = with_template([model], template)
    with shown(f"examining {model}"):
        findings = examine(asked)
    if as_json:
        click.echo(json.dumps(findings, indent=1))
    else:
        for name, value in findings.items():
            click.echo(f"{name.replace('_', ' ')}: {_shown(value)}")
    click.get_current_context().exit(0 if findings["healthy"] else 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal's encoding lacks is shown as "?".
        sys.stdout.reconfigure(errors="replace")
    try:
        status = cli.main(args=arguments, prog_name="parallelbench", standalone_mode=False)
    except RequestError as error:
        return _refuse(str(error))
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "parallelbench: interrupted; every finished decode is recorded, "
            "and the same command goes on from there",
            err=True,
        )
        return 130
    return status if isinstance(status, int) else 0


def _refuse(sentence: str) -> int:
    # What another library says may take many lines; a refusal takes one.
    click.echo(f"parallelbench: {' '.join(sentence.split())}", err=True)
    return 2


def _warn(sentence: str) -> None:
    click.echo(f"parallelbench: {sentence}", err=True)


def _registries() -> dict[str, Any]:
    from parallelbench.decoder import DECODERS
    from parallelbench.model import MODELS
    from parallelbench.registry import load_plugins
    from parallelbench.task import TASKS

    load_plugins()
    return {"tasks": TASKS, "decoders": DECODERS, "models": MODELS}


def _show_decoders(entries: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console

    from parallelbench.listing import below_table, decoder_table

    # What is piped goes to another program, which wants a strategy on a line.
    console = Console() if sys.stdout.isatty() else Console(width=_PIPED)
    console.print(decoder_table(entries, console.width))
    for sentence in below_table(entries):
        click.echo(sentence)


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
        from parallelbench.cluster import on_ray

        return on_ray(workers=workers, address=ray_address)
    for option, value in (("--workers", workers), ("--ray-address", ray_address)):
        if value is not None:
            raise click.UsageError(f"{option} {value} is for --executor ray")
    from parallelbench.runner import local

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

    def tell(count: int) -> None:
        nonlocal first
        if first:
            known = f", {count} recorded before" if count else ""
            nothing = ": nothing is left to decode" if count == total else ""
            click.echo(f"{total} decodes into {folder}{known}{nothing}", err=True)
        first = False

    return tell
