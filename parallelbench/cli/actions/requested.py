"""The run that a user asks for: a :class:`RunRequest` -> a run file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from parallelbench.cli.options import RunRequest, refuse_idle
from parallelbench.console.terminal import tell
from parallelbench.errors import FieldError
from parallelbench.model import MODELS
from parallelbench.registry import load_plugins
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile, make_runfile, read_content
from parallelbench.setting import Setting, make_setting, parse_settings

_LISTS = ("models", "tasks", "decoders")


def runfile_of(request: RunRequest, extend: Path | None = None) -> RunFile:
    """Return the run file of ``request``, and print the remarks about it on stderr.

    Args:
        request: The run.
        extend: Run directory that grows; the request is added to its run.

    Raises:
        RequestError: The request names no valid run.
        click.UsageError: Options do not fit together.
    """
    given = _given(request)
    if extend is None:
        content = {**_base(request.runfile, given), **given}
        content["models"] = with_template(content.get("models"), request.template)
    else:
        content = _extended(extend, request, given)
    where = str(request.runfile) if request.runfile else "the run"
    runfile = make_runfile(content, where=where)
    for remark in runfile.remarks:
        tell(remark, err=True)
    return runfile


def is_first_look(request: RunRequest, extend: Path | None) -> bool:
    """Return True if the user named no run in particular, so that the embedded default is run."""
    return request.runfile is None and extend is None and not _given(request)


def refuse_idle_with_servers(runfile: RunFile, *names: str) -> None:
    """Refuse options that steer decodes where every model is a server, which decodes by itself."""
    if all(MODELS[setting.name].serves for setting in runfile.models):
        labels = ", ".join(setting.label for setting in runfile.models)
        refuse_idle(f"{labels} decodes by itself", "decoders", *names)


def model_setting(model: str, template: Path | None) -> Setting:
    """Return the setting of the one model that ``--model`` names, with its chat template.

    Raises:
        FieldError: The model takes no chat template.
        click.UsageError: ``model`` stands for several settings.
    """
    settings = _settings(with_template([model], template))
    if len(settings) != 1:
        raise click.UsageError(
            f"--model must name one model, got {model!r}, which is {len(settings)}"
        )
    return settings[0]


def with_template(models: Any, template: Path | None) -> Any:
    """Return ``models`` as a run file holds them, each with the chat template ``template``.

    Raises:
        FieldError: A model takes no chat template.
        click.UsageError: There is a template but no model.
    """
    if template is None:
        return models
    if models is None:
        raise click.UsageError("--template is for a model: name it with --model")
    settings = _settings(models if isinstance(models, list) else [models])
    for setting in settings:
        if "template" not in setting.fields:
            raise FieldError(f"--template: model {setting.label!r} takes no chat template")
    return [
        {"name": setting.name, "fields": {**setting.fields, "template": str(template)}}
        for setting in settings
    ]


def _settings(models: list[Any]) -> list[Setting]:
    load_plugins()
    settings: list[Setting] = []
    for model in models:
        if isinstance(model, str):
            settings += parse_settings(model, MODELS)
        else:
            settings.append(make_setting(model["name"], model.get("fields", {}), MODELS))
    return settings


def _given(request: RunRequest) -> dict[str, Any]:
    """Return the keys of a run file that the user gave as options."""
    names = (*_LISTS, "samples", "seed", "repeats")
    options = {name: getattr(request, name) for name in names}
    return {
        name: list(value) if name in _LISTS else value
        for name, value in options.items()
        if value not in (None, ())
    }


def _extended(folder: Path, request: RunRequest, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run in ``folder`` with what ``request`` adds to it."""
    held = RunDirectory.open(folder).runfile.frozen()
    added = {**(read_content(request.runfile) if request.runfile is not None else {}), **given}
    if not added:
        raise click.UsageError(
            f"--extend {folder} needs what to add: --samples or --repeats with a larger number, "
            "more --model, --tasks or --decoders, or a RUNFILE"
        )
    if request.template is not None:
        added["models"] = with_template(added.get("models"), request.template)
    left_out = {**added.pop("left_out", {}), **held.get("left_out", {})}
    for kind in _LISTS:
        more = added.pop(kind, [])
        added[kind] = [*held[kind], *(more if isinstance(more, list) else [more])]
    return {**held, **added, **({"left_out": left_out} if left_out else {})}


def _base(runfile: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content that options override: the run file, or the embedded default."""
    if runfile is not None:
        return read_content(runfile)
    first_look = read_content("default")
    if given.keys().isdisjoint(_LISTS):
        return first_look
    return {**first_look, "models": "ideal", "samples": 100}
