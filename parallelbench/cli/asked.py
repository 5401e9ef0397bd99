"""What the command line says of a run: the arguments that verbs share, and the run they ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from parallelbench.console.terminal import tell
from parallelbench.ranges import MOST_AT_A_TIME, MOST_REPEATS, MOST_SAMPLES, MOST_SEED

if TYPE_CHECKING:
    from parallelbench.run.runfile import RunFile

#: A file that is there to be read.
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: A seed of samples, of decoders or of a training.
SEED = click.IntRange(0, MOST_SEED)
#: The number of samples, or which of them.
SAMPLES = click.IntRange(1, MOST_SAMPLES)
INDEX = click.IntRange(0, MOST_SAMPLES - 1)
BATCH = click.IntRange(1, MOST_AT_A_TIME)


@dataclass(frozen=True)
class Asked:
    """What somebody typed.

    Attributes:
        plan: The run.
        first_look: Whether nothing was said of what to run.
    """

    plan: RunFile
    first_look: bool


_ARGUMENTS = (
    click.argument("runfile", required=False, type=click.Path(path_type=Path)),
    click.option("--model", "models", multiple=True, help="Such as ideal, hf:PATH or api:URL."),
    click.option(
        "--template", type=FILE, help="Jinja chat template, for a checkpoint without one."
    ),
    click.option("--tasks", multiple=True, help="Names and globs, such as 'waiting_line/*'."),
    click.option(
        "--decoders", multiple=True, help="Settings, presets, grids: 'confidence:k=1|2|4'."
    ),
    click.option("--samples", type=SAMPLES, help="Samples per task.  [default: 100]"),
    click.option("--seed", type=SEED, help="Of samples and decoders.  [default: 0]"),
    click.option(
        "--repeats",
        type=click.IntRange(1, MOST_REPEATS),
        help="Decodes of each sample.  [default: 1]",
    ),
)


def asks_for_a_run(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take RUNFILE and the options that say what to run.

    The verb is called with one argument ``asked`` in their place, an :class:`Asked`.  If it has
    an option ``extend``, a run's folder, what is asked for is added to that run.
    """

    @functools.wraps(verb)
    def called(  # noqa: PLR0913  each is an option
        *,
        runfile: Path | None,
        template: Path | None,
        models: Sequence[str],
        tasks: Sequence[str],
        decoders: Sequence[str],
        samples: int | None,
        seed: int | None,
        repeats: int | None,
        **others: Any,
    ) -> None:
        options = {
            "models": list(models),
            "tasks": list(tasks),
            "decoders": list(decoders),
            "samples": samples,
            "seed": seed,
            "repeats": repeats,
        }
        verb(asked=_asked(runfile, template, options, others.get("extend")), **others)

    for argument in reversed(_ARGUMENTS):
        argument(called)
    return called


def refuse_idle(because: str, *names: str) -> None:
    """Refuse those options of the verb that were typed although they would do nothing.

    Args:
        because: The end of the error's sentence: why they would.
        names: Of the verb's arguments, such as ``batch_size``.

    Raises:
        click.UsageError: One of them was typed.
    """
    context = click.get_current_context()
    typed = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name in names
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if typed:
        raise click.UsageError(f"{' and '.join(typed)} would do nothing: {because}")


def refuse_idle_with_servers(plan: RunFile, *names: str) -> None:
    """Refuse what steers decodes, where every model is a server, which decodes by itself."""
    from parallelbench.model import MODELS

    if all(MODELS[setting.name].serves for setting in plan.models):
        labels = ", ".join(setting.label for setting in plan.models)
        refuse_idle(f"{labels} decodes by itself", "decoders", *names)


def with_template(models: Any, template: Path | None) -> Any:
    """Return the models asked for, each with the chat template that was given beside them.

    Raises:
        FieldError: One of them takes no chat template, or there is none.
    """
    if template is None:
        return models
    if models is None:
        raise click.UsageError("--template is for a model: name it with --model")
    from parallelbench.errors import FieldError
    from parallelbench.model import MODELS
    from parallelbench.registry import load_plugins
    from parallelbench.setting import make_setting, parse_settings

    load_plugins()
    settings = []
    for asked in models if isinstance(models, list) else [models]:
        if isinstance(asked, str):
            settings += parse_settings(asked, MODELS)
        else:
            settings.append(make_setting(asked["name"], asked.get("fields", {}), MODELS))
    for setting in settings:
        if "template" not in setting.fields:
            raise FieldError(f"--template: model {setting.label!r} takes no chat template")
    return [
        {"name": setting.name, "fields": {**setting.fields, "template": str(template)}}
        for setting in settings
    ]


def _asked(
    runfile: Path | None, template: Path | None, options: Mapping[str, Any], extend: Path | None
) -> Asked:
    from parallelbench.run.runfile import make_runfile

    given = {key: value for key, value in options.items() if value not in (None, [])}
    if extend is None:
        content = {**_base(runfile, given), **given}
        content["models"] = with_template(content.get("models"), template)
    else:
        content = _extended(extend, runfile, template, given)
    plan = make_runfile(content, where=str(runfile) if runfile else "the run")
    for remark in plan.remarks:
        tell(remark, err=True)
    return Asked(plan, first_look=runfile is None and extend is None and not given)


def _extended(
    folder: Path, runfile: Path | None, template: Path | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the run in ``folder`` together with what is to be added to it."""
    from parallelbench.run.rundir import RunDirectory
    from parallelbench.run.runfile import read_content

    held = RunDirectory.open(folder).runfile.frozen()
    added = {**(read_content(runfile) if runfile is not None else {}), **given}
    if not added:
        raise click.UsageError(
            f"--extend {folder} needs what to add: --samples or --repeats with a larger number, "
            "more --model, --tasks or --decoders, or a RUNFILE"
        )
    if template is not None:
        added["models"] = with_template(added.get("models"), template)
    left_out = {**added.pop("left_out", {}), **held.get("left_out", {})}
    for kind in ("models", "tasks", "decoders"):
        more = added.pop(kind, [])
        added[kind] = [*held[kind], *(more if isinstance(more, list) else [more])]
    return {**held, **added, **({"left_out": left_out} if left_out else {})}


def _base(runfile: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run takes from where no option says otherwise."""
    from parallelbench.run.runfile import read_content

    if runfile is not None:
        return read_content(runfile)
    first_look = read_content("default")
    if given.keys().isdisjoint(("models", "tasks", "decoders")):
        return first_look
    return {**first_look, "models": "ideal", "samples": 100}
