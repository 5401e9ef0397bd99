"""Arguments and options that several verbs share; nothing heavy is imported here."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from parallelbench.ranges import MOST_AT_A_TIME, MOST_REPEATS, MOST_SAMPLES, MOST_SEED


class WholeNumber(click.IntRange):
    """A whole number between two bounds, whose help and errors are written for people.

    Args:
        least: Lowest allowed number.
        most: Highest allowed number.
        written: Range as text; by default both bounds.
    """

    name = "integer"

    def __init__(self, least: int, most: int, written: str | None = None) -> None:
        super().__init__(least, most)
        self._written = written or f"{least:,} to {most:,}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number that ``value`` holds."""
        number = int(click.INT.convert(value, param, ctx))
        if (self.min is not None and number < self.min) or (
            self.max is not None and number > self.max
        ):
            self.fail(f"it must be {self._written}, got {number}", param, ctx)
        return number

    def _describe_range(self) -> str:
        return self._written


class PositiveNumber(click.FloatRange):
    """A finite number above 0, whose help and errors are written for people.

    Args:
        least: Lowest allowed number; None for any number above 0.
        most: Highest allowed number; None for no bound.
    """

    name = "number"

    def __init__(self, least: float | None = None, most: float | None = None) -> None:
        super().__init__(least or 0.0, most, min_open=least is None)
        bounds = "above 0" if least is None else f"at least {least:g}"
        self._written = f"{bounds}{'' if most is None else f' and at most {most:g}'}"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number that ``value`` holds."""
        number = float(click.FLOAT.convert(value, param, ctx))
        above = number > 0 if self.min_open else number >= (self.min or 0)
        if not math.isfinite(number) or not above or (self.max is not None and number > self.max):
            self.fail(f"it must be a number {self._written}, got {number:g}", param, ctx)
        return number

    def _describe_range(self) -> str:
        return self._written


#: An existing file.
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: A path that need not exist, such as a run directory.
PATH = click.Path(path_type=Path)
#: A folder that need not exist.
FOLDER = click.Path(path_type=Path, file_okay=False)
#: A random seed of samples, of decoders or of a training.
SEED = WholeNumber(0, MOST_SEED, "0 to 2^128 - 1")
#: A number of samples, and the number of one of them.
SAMPLES = WholeNumber(1, MOST_SAMPLES)
INDEX = WholeNumber(0, MOST_SAMPLES - 1)
BATCH = WholeNumber(1, MOST_AT_A_TIME)

template_option = click.option(
    "--template", type=FILE, help="Jinja chat template for a checkpoint that has none."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@dataclass(frozen=True)
class RunRequest:
    """A run as the user asked for it on the command line; None and () are left to the defaults.

    Attributes:
        runfile: Path of a run file, or the name of an embedded one.
        template: Jinja chat template for every model.
        models: Settings of models.
        tasks: Settings and globs of tasks.
        decoders: Settings, presets and grids of decoders.
        samples: Number of samples per task.
        seed: Random seed for samples and decoders.
        repeats: Number of decodes of each sample.
    """

    runfile: Path | None
    template: Path | None
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    decoders: tuple[str, ...]
    samples: int | None
    seed: int | None
    repeats: int | None


_RUN_ARGUMENTS = (
    click.argument("runfile", required=False, type=PATH),
    click.option("--model", "models", multiple=True, help="Such as ideal, hf:PATH or api:URL."),
    template_option,
    click.option("--tasks", multiple=True, help="Names and globs, such as 'waiting_line/*'."),
    click.option(
        "--decoders", multiple=True, help="Settings, presets, grids: 'confidence:k=1|2|4'."
    ),
    click.option("--samples", type=SAMPLES, help="Samples per task.  [default: 100]"),
    click.option("--seed", type=SEED, help="Random seed for samples and decoders.  [default: 0]"),
    click.option(
        "--repeats",
        type=WholeNumber(1, MOST_REPEATS),
        help="Decodes of each sample.  [default: 1]",
    ),
)


def requests_a_run(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb RUNFILE and the options that describe a run.

    The verb is called with one argument ``request`` in their place, a :class:`RunRequest`.
    """
    names = [field.name for field in fields(RunRequest)]

    @functools.wraps(verb)
    def called(**options: Any) -> None:
        request = RunRequest(**{name: options.pop(name) for name in names})
        verb(request=request, **options)

    for argument in reversed(_RUN_ARGUMENTS):
        argument(called)
    return called


def refuse_idle(because: str, *names: str) -> None:
    """Refuse those options of the verb that the user gave although they would have no effect.

    Args:
        because: Reason why they would have none; the end of the error's sentence.
        names: Names of the verb's arguments, such as ``batch_size``.

    Raises:
        click.UsageError: One of them was given.
    """
    context = click.get_current_context()
    given = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name in names
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{' and '.join(given)} would do nothing: {because}")
