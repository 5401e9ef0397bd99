"""A named thing with its fields, as people write it: ``confidence:k=2,block_length=8``.

Tasks, decoders and models are all written in this one form, on the command line, in
Python and in run files.  ``|`` separates the values of a grid: ``confidence:k=1|2|4`` is
three settings.  A class may name one of its fields :attr:`address`; that one is written
without its name, and may hold colons: ``hf:checkpoints/mine:dtype=bfloat16``.

A class may also give names to settings, ``presets``, which are typed like a name of their
own: ``fast-dllm``, or ``fast-dllm:threshold=0.8``.  And it may say which settings a sweep
covers, its ``grid``: ``confidence:*`` stands for those, and so does ``confidence:*,block_length=8``
with a field of each set otherwise; without a grid it is one setting.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from parallelbench.errors import FieldError, UnknownNameError
from parallelbench.ranges import MOST_IN_A_FIELD, MOST_SEED, check_ranges
from parallelbench.registry import Registry, unknown

T = TypeVar("T")

FieldValue = bool | int | float | str | None


#: Name of the attribute in which a setting keeps its object; no field, so it is not compared.
_BUILT = "_built"


@dataclass(frozen=True)
class Setting:
    """One registered name with every one of its fields, defaults included.

    Attributes:
        name: Registered name.
        fields: Every field of the named class, so that a later change of a default
            cannot change what an old run file means.
        label: Short text for people: the name, the fields that differ from their defaults and
            those that the class wants to be seen, in the form that can be typed again.
    """

    name: str
    fields: Mapping[str, FieldValue]
    label: str

    @property
    def key(self) -> str:
        """The same text for the same name and fields, whatever the defaults are."""
        return f"{self.name}:{json.dumps(dict(self.fields), sort_keys=True)}"

    def __getstate__(self) -> dict[str, Any]:
        # Another process builds its own object: this one may hold open files or large tables.
        return {name: value for name, value in vars(self).items() if name != _BUILT}


def split_settings(text: str) -> list[str]:
    """Return the settings that a comma-separated list holds.

    A part such as ``block_length=8`` belongs to the setting before it.

    Example:
        >>> split_settings("one_by_one,confidence:k=1|2,block_length=8,random")
        ['one_by_one', 'confidence:k=1|2,block_length=8', 'random']
    """
    settings: list[str] = []
    for part in text.split(","):
        before_equals, equals, _ = part.partition("=")
        if settings and equals and ":" not in before_equals:
            settings[-1] += f",{part}"
        else:
            settings.append(part)
    return settings


def parse_settings(text: str, registry: Registry[type[T]]) -> list[Setting]:
    """Return the settings that ``text`` stands for, globs, presets and grids expanded.

    Args:
        text: ``name``, ``preset`` or ``glob``, alone or followed by
            ``:field=value|value,field=value``, by ``:*`` for the class's own grid, or by
            ``:*,field=value`` for that grid with other values; for a class with an address
            ``name:address``, followed by fields.  A glob leaves out such classes, unless it
            gives the address as a field.
        registry: Registry in which the names are looked up.

    Raises:
        UnknownNameError: No such name, or a name has no such field.
        FieldError: A value is of the wrong kind or out of range.
    """
    pattern, _, tail = (part.strip() for part in text.partition(":"))
    if pattern in registry.presets:
        preset = registry.presets[pattern]
        if _asks_for_grid(tail):
            raise FieldError(
                f"{text!r}: a preset is one setting; the grid is that of {preset.name}:*"
            )
        grid = {**_grid(preset.fields, text), **_grid(tail, text)}
        return _settings(preset.name, grid, registry)
    address = getattr(registry[pattern], "address", None) if pattern in registry else None
    if address is not None:
        return _settings(pattern, _grid_behind_address(tail, text, address), registry)
    _refuse_bare_address(pattern, text, registry)
    of_class = _asks_for_grid(tail)
    fields = _grid(tail.partition("*")[2] if of_class else tail, text)
    names = registry.matching(pattern)
    # What needs an address is not meant by a glob that gives none.
    complete = [
        name for name in names if getattr(registry[name], "address", None) in {None, *fields}
    ]
    settings: list[Setting] = []
    for name in complete or names:
        default = getattr(registry[name], "grid", "") if of_class else ""
        settings += _settings(name, {**_grid(default, text), **fields}, registry)
    return settings


def _refuse_bare_address(pattern: str, text: str, registry: Registry[type[T]]) -> None:
    """Refuse a folder, a checkpoint of the hub or a URL in place of a model's name."""
    if registry.kind != "model" or pattern in registry:
        return
    kinds = {"path": "/" in pattern, "url": pattern in ("http", "https")}
    for name, kind in registry.items():
        if kinds.get(getattr(kind, "address", None) or ""):
            raise UnknownNameError(
                f"no {registry.kind} is called {pattern!r}; did you mean '{name}:{text}'?"
            )


def is_glob(text: str, registry: Registry[type[T]]) -> bool:
    """Return True if ``text``, as :func:`parse_settings` takes it, is a pattern and no name."""
    pattern = text.partition(":")[0].strip()
    return pattern not in registry and pattern not in registry.presets


def make_setting(name: str, fields: Mapping[str, Any], registry: Registry[type[T]]) -> Setting:
    """Return the setting of ``name`` with ``fields``, checked and made complete.

    Args:
        name: Registered name.
        fields: Some of its fields; values may be text.
        registry: Registry in which ``name`` is looked up.

    Raises:
        UnknownNameError: No such name, or it has no such field.
        FieldError: A value is of the wrong kind or out of range.
    """
    kind = registry[name]
    built = _build(name, kind, fields, registry.kind)
    complete = {field: getattr(built, field) for field in _fields(kind)}
    setting = Setting(name=name, fields=complete, label=_label(name, kind, complete))
    vars(setting)[_BUILT] = built
    return setting


def build(setting: Setting, registry: Registry[type[T]]) -> T:
    """Return the object that ``setting`` describes; it is built once and kept by the setting."""
    kind = registry[setting.name]
    built = vars(setting).get(_BUILT)
    if type(built) is not kind:
        built = vars(setting)[_BUILT] = _build(setting.name, kind, setting.fields, registry.kind)
    return built


def _settings(
    name: str, grid: Mapping[str, list[str]], registry: Registry[type[T]]
) -> list[Setting]:
    return [
        make_setting(name, dict(zip(grid, values, strict=True)), registry)
        for values in itertools.product(*grid.values())
    ]


def _asks_for_grid(tail: str) -> bool:
    return tail.partition(",")[0].strip() == "*"


_UNSET = object()

#: Where an address ends: at the first colon that a field's name and "=" follow.
_FIELDS_BEGIN = re.compile(r"(?:^|:)(?=[a-z_]+=)")


def _label(name: str, kind: type[Any], fields: Mapping[str, FieldValue]) -> str:
    # A class may name fields that its label always shows: the strength of a strategy
    # means something to a reader even at its default.
    always = [field for field in getattr(kind, "labelled", ()) if field in fields]
    default = _defaults(kind)
    changed = [field for field in fields if fields[field] != default.get(field, _UNSET)]
    address = getattr(kind, "address", None)
    shown = [field for field in dict.fromkeys((*always, *changed)) if field != address]
    values = ",".join(f"{field}={_written(fields[field])}" for field in shown)
    place = str(fields[address]) if address else ""
    if _FIELDS_BEGIN.search(place):  # it would be taken for a field
        values, place = ",".join(part for part in (f"{address}={place}", values) if part), ""
    return ":".join(part for part in (name, place, values) if part)


def _grid_behind_address(tail: str, text: str, address: str) -> dict[str, list[str]]:
    before, *after = _FIELDS_BEGIN.split(tail, maxsplit=1)
    grid = _grid(after[0] if after else "", text)
    if before.strip():
        if address in grid:
            raise FieldError(f"{text!r}: field {address!r} is given twice")
        return {address: [before.strip()], **grid}
    return grid


def _grid(tail: str, text: str) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in tail.split(","))):
        field, equals, values = part.partition("=")
        if not equals or not field.strip() or not values.strip():
            raise FieldError(f"{text!r}: {part!r} is not of the form field=value")
        if field.strip() in grid:
            raise FieldError(f"{text!r}: field {field.strip()!r} is given twice")
        grid[field.strip()] = [value.strip() for value in values.split("|")]
    return grid


def _build(name: str, kind: type[T], fields: Mapping[str, Any], what: str) -> T:
    types = _fields(kind)
    for field in fields:
        if field not in types:
            raise UnknownNameError(f"{what} {name!r}: {unknown('field', field, types)}")
    address = getattr(kind, "address", None)
    if address is not None and address not in fields:
        raise FieldError(f"{what} {name!r} needs a {address}: write {name}:{address.upper()}")
    values = {
        field: _converted(value, types[field], f"{what} {name!r}: field {field!r}")
        for field, value in fields.items()
    }
    try:
        built = kind(**values)
        check_ranges(built)  # a plugin's own __post_init__ need not call that of its base class
    except ValueError as error:
        raise FieldError(f"{what} {name!r}: {error}") from error
    return built


def _fields(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _defaults(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _converted(value: Any, annotation: Any, where: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    kinds = (annotation, *typing.get_args(annotation))
    if value in ("none", "None") and type(None) in kinds:
        return None
    # Choices that are numbers are written like any number.
    written = {str(choice): choice for choice in _choices(annotation)}
    if isinstance(value, str) and value in written:
        return written[value]
    wrong = FieldError(f"{where} must be {_kind_of(annotation)}, got {value!r}")
    if isinstance(value, bool) and bool not in kinds:  # True would pass as the number 1
        raise wrong
    try:
        converted = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise wrong from error
    most = MOST_SEED if where.endswith("'seed'") else MOST_IN_A_FIELD
    if isinstance(converted, int) and abs(converted) > most:
        raise FieldError(f"{where} must lie between -{most:,} and {most:,}, got {value}")
    if isinstance(converted, str) and not _can_be_typed(converted):
        raise FieldError(
            f"{where} must be text without ',' or '|', or spaces at its ends, got {value!r}"
        )
    # -0.0 equals 0.0 and is written otherwise: one setting would have two names.
    return converted + 0.0 if isinstance(converted, float) else converted


def _choices(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def _can_be_typed(text: str) -> bool:
    return bool(text) and text == text.strip() and not set(text) & {",", "|"}


def _kind_of(annotation: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if annotation in words:
        return words[annotation]
    if _choices(annotation):
        return "one of " + ", ".join(str(choice) for choice in _choices(annotation))
    parts = typing.get_args(annotation)
    return " or ".join("none" if part is type(None) else _kind_of(part) for part in parts)


def _written(value: FieldValue) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
