"""The core's verbs: their arguments and their help; :mod:`parallelbench.cli.actions` does the work.

Each function imports its action when it is called: what an action needs takes seconds to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import (
    BATCH,
    PATH,
    SAMPLES,
    SEED,
    WholeNumber,
    json_option,
    requests_a_run,
    template_option,
)
from parallelbench.ranges import MOST_WORKERS


@click.command(cls=Verb, short_help="Run the benchmark, or the rest of a run.")
@requests_a_run
@click.option("--out", type=PATH, help="Run directory, new or to be continued.")
@click.option("--name", help="Name of the run: its directory is runs/NAME.")
@click.option(
    "--extend",
    type=PATH,
    metavar="RUN",
    help="Run directory to extend: what you ask for is added to it.",
)
@click.option(
    "--batch-size", type=BATCH, default=512, show_default=True, help="Samples decoded at a time."
)
@click.option("--shard", help="Run only a part of the samples: 2/4 is the second of four.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Decode in this process, or in one worker per GPU or core.",
)
@click.option(
    "--workers",
    type=WholeNumber(1, MOST_WORKERS),
    help="Number of Ray workers.  [default: one per GPU]",
)
@click.option("--ray-address", help="HOST:PORT or auto: an existing Ray cluster.")
@click.option(
    "--track", "trackers", multiple=True, help="Experiment tracker: wandb or trackio[:PROJECT]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def run(**options: Any) -> None:
    r"""Run the benchmark, or the rest of an interrupted run.

    RUNFILE is a YAML file with models, tasks, decoders, samples, seed and repeats, or the
    name of an embedded one: default, sweep, long or paper.  Options override it.  Without
    RUNFILE and options, a few samples are decoded with the ideal model, which knows the exact
    answer distributions, and with a small trained network.  With options alone, the defaults are
    the model ideal, the tasks and decoders of the run file default, and 100 samples.

    A run can be extended: with --extend, more models, tasks, decoders, samples or repeats are
    added to it, and its records are kept.

    Examples:
      parallelbench run
      parallelbench run --model mini --tasks choices/city --name cities
      parallelbench run --extend runs/cities --samples 200 --decoders margin:k=2
      parallelbench run sweep --model mini
      parallelbench run long --samples 5
      parallelbench run --tasks 'waiting_line/*' --decoders 'confidence:k=1|2|4'
      parallelbench run --model mini --decoders 'fast-dllm,klass-llada,confidence_factor:*'
      parallelbench run --model hf:GSAI-ML/LLaDA-8B-Instruct --tasks waiting_line/copy
      parallelbench run --tasks list_operations/shuffle:form=infill,length=5 \
                        --decoders random:k=5 --samples 2000
      parallelbench run sweep --model hf:GSAI-ML/LLaDA-8B-Instruct --executor ray
      parallelbench run sweep --shard 2/4
      parallelbench run --model mini --track trackio:my-project
    """
    from parallelbench.cli.actions import run as action

    action.run(action.RunOptions(**options))


@click.command(cls=Verb, short_help="Join the shards of a run.")
@click.argument("shards", nargs=-1, required=True, metavar="SHARD...", type=PATH)
@click.option("--out", required=True, type=PATH, help="Directory of the joined run; must be new.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def merge(**options: Any) -> None:
    """Join the run directories of all shards of a run into one run directory.

    The shards are not changed.  Nothing is written if a shard is missing or unfinished, or if
    the shards belong to different runs.

    Example:
      parallelbench merge runs/3f2a9c1b7d04-shard-* --out runs/3f2a9c1b7d04
    """
    from parallelbench.cli.actions.run import merge as action

    action(**options)


@click.command(
    name="list", cls=Verb, short_help="List tasks, decoders and models with their fields."
)
@click.argument("what", type=click.Choice(["tasks", "decoders", "models"]), required=False)
@json_option
def list_(**options: Any) -> None:
    """List tasks, decoders and models with their fields and defaults.

    Of decoders alone it prints a table: what each one needs, costs and guarantees, which
    families of models support it, and its names in papers.  --json prints everything.

    Examples:
      parallelbench list tasks
      parallelbench list decoders
      parallelbench list decoders --json
    """
    from parallelbench.cli.actions.listing import list_registered as action

    action(**options)


@click.command(
    name="check-decoder", cls=Verb, short_help="Check that a decoder keeps the decoder contract."
)
@click.argument("decoder")
@json_option
def check_decoder(**options: Any) -> None:
    """Check that a decoder keeps the contract; yours too, once its package is installed.

    It decodes a few samples with the exact ideal model and with a tiny random transformer:
    batched and alone, twice, after other samples, and with other random numbers.  The exit
    status is 1 if a check fails, and its line says how to fix it.

    Examples:
      parallelbench check-decoder confidence_threshold
      parallelbench check-decoder my_strategy:threshold=0.8
    """
    from parallelbench.cli.actions.inspection import check_decoder as action

    action(**options)


@click.command(cls=Verb, short_help="Print samples of a task with their right answers.")
@click.argument("task")
@click.option("--count", type=SAMPLES, default=3, show_default=True, help="Number of samples.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed for samples.")
@json_option
def show(**options: Any) -> None:
    """Print samples of a task, each with a right answer and the number of right answers.

    Example:
      parallelbench show waiting_line/shuffle:length=4 --count 2
    """
    from parallelbench.cli.actions.inspection import show as action

    action(**options)


@click.command(cls=Verb, short_help="Inspect a model: family, decoders, batch independence.")
@click.option("--model", default="ideal", show_default=True, help="Such as hf:PATH or api:URL.")
@template_option
@json_option
def doctor(**options: Any) -> None:
    """Inspect a model: family, supported decoders, and whether batch size changes its output.

    Examples:
      parallelbench doctor
      parallelbench doctor --model hf:GSAI-ML/LLaDA-8B-Instruct
    """
    from parallelbench.cli.actions.inspection import doctor as action

    action(**options)


@click.command(cls=Verb, short_help="List the runs below a folder with their states.")
@click.argument(
    "folders",
    nargs=-1,
    metavar="[FOLDER]...",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@json_option
def runs(**options: Any) -> None:
    """List the runs in FOLDER or below it (default: runs), the oldest first.

    For each run: its name, start time and state, the number of finished decodes, its models and
    its tasks.  The state is complete, running, interrupted, errors (the same command tries
    those decodes again) or unreadable.

    Examples:
      parallelbench runs
      parallelbench runs runs/old experiments --json
    """
    from parallelbench.cli.actions.runs import list_runs as action

    action(**options)


ALL: Final = (run, merge, list_, check_decoder, show, doctor, runs)
