"""What the command line says of a run: the arguments that verbs share, and the run they ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from parallelbench.runfile import RunFile

#: A file that is there to be read.
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


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
    click.option("--samples", type=int, help="Samples per task.  [default: 100]"),
    click.option("--seed", type=int, help="Of samples and decoders.  [default: 0]"),
    click.option("--repeats", type=int, help="Decodes of each sample.  [default: 1]"),
)


def asks_for_a_run(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take RUNFILE and the options that say what to run.

    The verb is called with one argument ``asked`` in their place, an :class:`Asked`.
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
        verb(asked=_asked(runfile, template, options), **others)

    for argument in reversed(_ARGUMENTS):
        argument(called)
    return called


def with_template(models: Any, template: Path | None) -> Any:
    """Return the models asked for, each with the chat template that was given beside them.

    Raises:
        FieldError: One of them takes no chat template.
    """
    if template is None:
        return models
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


def _asked(runfile: Path | None, template: Path | None, options: Mapping[str, Any]) -> Asked:
    from parallelbench.runfile import make_runfile

    given = {key: value for key, value in options.items() if value not in (None, [])}
    content = {**_base(runfile, given), **given}
    content["models"] = with_template(content.get("models"), template)
    plan = make_runfile(content, where=str(runfile) if runfile else "the run")
    for remark in plan.remarks:
        click.echo(remark, err=True)
    return Asked(plan, first_look=runfile is None and not given)


def _base(runfile: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run takes from where no option says otherwise."""
    from parallelbench.runfile import read_content

    if runfile is not None:
        return read_content(runfile)
    first_look = read_content("default")
    if given.keys().isdisjoint(("models", "tasks", "decoders")):
        return first_look
    return {**first_look, "models": "ideal", "samples": 100}
