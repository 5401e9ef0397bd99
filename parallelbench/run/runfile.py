"""The run file: models x tasks x decoders x samples x repeats, checked, completed and frozen.

People write a short run file; when a run begins, globs and grids are expanded and every default
is spelled out, so that its digest keeps its meaning.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from parallelbench.decoder import DECODERS
from parallelbench.errors import RunFileError
from parallelbench.model import MODELS
from parallelbench.ranges import MOST_REPEATS, MOST_SAMPLES, MOST_SEED
from parallelbench.record import DecodeLabels, SettingLabels, latest_records
from parallelbench.registry import Registry, load_plugins, unknown
from parallelbench.setting import (
    Setting,
    build,
    is_glob,
    make_setting,
    parse_settings,
    split_settings,
)
from parallelbench.task import TASKS

#: Runs that ship with the package; the first is made when nothing is asked for.
EMBEDDED = {
    name: Path(__file__).with_name(f"{name}.yaml") for name in ("default", "sweep", "long", "paper")
}

#: The greatest whole number in YAML: more than anything may be, and short enough to be told.
_MOST_WHOLE = 10**100

#: Stands in the place of a decoder where a server decodes by itself.
SERVER_DECODER = Setting(name="server", fields={}, label="server")


_D = TypeVar("_D", bound=DecodeLabels)


class _Named(BaseModel):
    """A setting spelled out, as in a frozen run file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    fields: dict[str, Any] = {}
    version: int | None = None


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


_Asked = Annotated[list[str | _Named], BeforeValidator(_listed), Field(min_length=1)]


class _Form(BaseModel):
    """The form of a run file, before names and fields are looked up."""

    model_config = ConfigDict(strict=True, extra="forbid")

    schema_version: Literal[1] = 1
    models: _Asked
    tasks: _Asked
    decoders: _Asked
    left_out: dict[str, list[str]] = {}
    samples: int = Field(default=100, ge=1, le=MOST_SAMPLES)
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    repeats: int = Field(default=1, ge=1, le=MOST_REPEATS)


_RANGES = {"samples": (1, MOST_SAMPLES), "seed": (0, MOST_SEED), "repeats": (1, MOST_REPEATS)}


@dataclass(frozen=True)
class RunFile:
    """A run, complete: every name exists and every field has an allowed value.

    Attributes:
        models: Settings of the models.
        tasks: Settings of the tasks, in the order of the report.
        decoders: Settings of the decoders, in the order of the report; a server uses none of
            them, since it decodes by itself.
        samples: Samples per task; sample i is the same in every run with the same seed.
        seed: Random seed for samples and decoders.
        repeats: Number of decodes of each sample by each decoder, with different random numbers.
        left_out: Labels of the decoders that a model does not serve though another one does, by
            the model's label.
        remarks: Sentences about decoders that were left out, and about former names.
    """

    models: tuple[Setting, ...]
    tasks: tuple[Setting, ...]
    decoders: tuple[Setting, ...]
    samples: int = 100
    seed: int = 0
    repeats: int = 1
    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)
    remarks: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        parts = {"model": self.models, "task": self.tasks, "decoder": self.decoders}
        counts = ", ".join(
            f"{len(own)} {name}{'s' if len(own) != 1 else ''}" for name, own in parts.items()
        )
        repeats = f", {self.repeats} repeats" if self.repeats > 1 else ""
        return f"RunFile({counts}, {self.samples} samples{repeats}, seed {self.seed})"

    @property
    def decodes(self) -> int:
        """Number of decodes of the run; models whose replies were imported have none."""
        settings = sum(
            len(self.decoders_of(model))
            for model in self.models
            if model.label not in self.published
        )
        return settings * len(self.tasks) * self.samples * self.repeats

    @cached_property
    def published(self) -> frozenset[str]:
        """Labels of the models of which only imported replies are at hand."""
        return frozenset(each.label for each in self.models if MODELS[each.name].published)

    def decoders_of(self, model: Setting) -> tuple[Setting, ...]:
        """Return the decoders of ``model``; a server decodes by itself."""
        if MODELS[model.name].serves:
            return (SERVER_DECODER,)
        left_out = self.left_out.get(model.label, frozenset())
        return tuple(each for each in self.decoders if each.label not in left_out)

    @cached_property
    def places(self) -> dict[str, dict[str, int]]:
        """Position of each label in the run, by ``"model"``, ``"task"`` and ``"decoder"``.

        Records are stored in the order in which they were finished, and shown in this one.
        """
        decoders = dict.fromkeys(each.label for m in self.models for each in self.decoders_of(m))
        kinds = {
            "model": [setting.label for setting in self.models],
            "task": [setting.label for setting in self.tasks],
            "decoder": list(decoders),
        }
        return {
            kind: {label: place for place, label in enumerate(labels)}
            for kind, labels in kinds.items()
        }

    def setting_order(self, labelled: SettingLabels) -> tuple[int, int, int]:
        """Return the place of a (model, task, decoder) setting, a key for sorting results."""
        places = self.places
        return (
            places["model"][labelled.model_label],
            places["task"][labelled.task_label],
            places["decoder"][labelled.decoder_label],
        )

    def decode_order(self, record: DecodeLabels) -> tuple[int, int, int, int, int]:
        """Return the place of a decode, a key for sorting records.

        It is made of the places of model and task, the sample's number, the repeat, and the
        place of the decoder.
        """
        model, task, decoder = self.setting_order(record)
        return (model, task, record.index, record.repeat, decoder)

    def in_order(self, records: Iterable[_D]) -> list[_D]:
        """Return the latest record of each decode, in the order of the run."""
        return sorted(latest_records(records), key=self.decode_order)

    def frozen(self) -> dict[str, Any]:
        """Return the run as JSON values, complete."""
        left_out = {model: sorted(labels) for model, labels in self.left_out.items()}
        return {
            "schema_version": 1,
            "models": [_spelled(setting) for setting in self.models],
            "tasks": [
                {**_spelled(setting), "version": TASKS[setting.name].version}
                for setting in self.tasks
            ],
            "decoders": [_spelled(setting) for setting in self.decoders],
            **({"left_out": left_out} if left_out else {}),
            "samples": self.samples,
            "seed": self.seed,
            "repeats": self.repeats,
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of :meth:`frozen`."""
        return frozen_digest(self.frozen())

    def to_yaml(self) -> str:
        """Return the frozen run as YAML."""
        return str(yaml.safe_dump(self.frozen(), sort_keys=False, allow_unicode=True))


def make_runfile(content: Mapping[str, Any], where: str = "the run") -> RunFile:
    """Return the run that ``content`` asks for.

    Args:
        content: ``models``, ``tasks`` and ``decoders``: text such as ``waiting_line/*`` or
            ``confidence:k=1|2``, or lists of such texts or of ``{name, fields}``;
            ``samples``, ``seed``, ``repeats``; ``left_out`` as :meth:`RunFile.frozen` says.
            Of the decoders that a glob brings, each model is left without those that need
            what it does not give.
        where: Name of the run file in errors.

    Raises:
        RunFileError: An unknown key, a value of the wrong kind, or a model without a decoder.
        UnknownNameError: An unknown task, decoder, model or field.
        FieldError: A field's value is of the wrong kind or out of range.
    """
    load_plugins()
    for key in content:
        if key not in _Form.model_fields:
            raise RunFileError(f"{where}: {unknown('key', str(key), _Form.model_fields)}")
    try:
        form = _Form.model_validate(dict(content))
    except ValidationError as error:
        raise RunFileError(f"{where}: {_told(error)}") from error
    for asked in form.tasks:
        _check_version(asked, where)
    models = _expanded(form.models, MODELS).settings
    expanded = _expanded(form.decoders, DECODERS)
    unserved = _unserved(models, expanded)
    nowhere = set.intersection(*map(set, unserved.values())) if unserved else set()
    decoders = tuple(each for each in expanded.settings if each.label not in nowhere)
    run = RunFile(
        models=models,
        tasks=_expanded(form.tasks, TASKS).settings,
        decoders=decoders,
        samples=form.samples,
        seed=form.seed,
        repeats=form.repeats,
        left_out=_left_out(form, models, decoders, unserved, where),
        remarks=(*_renamed(form.decoders), *_remarks(unserved)),
    )
    for model in models:
        if not run.decoders_of(model):
            raise RunFileError(
                f"{where}: no decoder is left for model {model.label!r}; {'; '.join(run.remarks)}"
            )
    return run


def read_content(run: Path | str) -> dict[str, Any]:
    """Return the content of a YAML run file, unchecked.

    Args:
        run: Path, or the name of one that ships with the package.

    Raises:
        RunFileError: There is no such file, or it is not a YAML mapping.
    """
    path = EMBEDDED.get(str(run), Path(run))
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)  # noqa: S506  a SafeLoader
    except FileNotFoundError as error:
        raise RunFileError(
            f"there is no run file {path}: give the path of a YAML file, or one of "
            f"{', '.join(EMBEDDED)}, which need no file; tasks, models and decoders are named with "
            "--tasks, --model and --decoders"
        ) from error
    # YAML lets Python's own errors through, for the month 13 or a million brackets.
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise RunFileError(
            f"the run file {path} cannot be read: {_one_line(error)}; runs that need no file: "
            f"{', '.join(EMBEDDED)}"
        ) from error
    if not isinstance(content, dict):
        raise RunFileError(f"the run file {path} must hold keys such as models, tasks and decoders")
    return content


def frozen_digest(frozen: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a frozen run file says."""
    return hashlib.sha256(json.dumps(frozen, sort_keys=True).encode()).hexdigest()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return in words how two frozen runs differ, one sentence per key."""
    told = []
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, list) and isinstance(new, list):
            gone = [_brief(item) for item in old if item not in new]
            come = [_brief(item) for item in new if item not in old]
            changes = [f"without {', '.join(gone)}"] * bool(gone)
            changes += [f"with {', '.join(come)}"] * bool(come)
            told.append(f"{key} {' and '.join(changes) or 'in another order'}")
        else:
            told.append(f"{key} {new!r} instead of {old!r}")
    return told


def lost_by_growth(before: RunFile, after: RunFile) -> list[str]:
    """Return in words what of ``before`` is missing or otherwise in ``after``.

    Nothing is where every decode of ``before`` is one of ``after`` too.
    """
    old, new = before.frozen(), after.frozen()
    kept = {
        **new,
        **{key: old[key] for key in ("samples", "repeats") if old[key] <= new[key]},
        "left_out": old.get("left_out"),
    }
    for key in ("models", "tasks", "decoders"):
        if all(item in new[key] for item in old[key]):
            kept[key] = old[key]
    told = differences({"left_out": None, **old}, kept)
    for model in before.models:
        now = [each for each in after.models if each.key == model.key]
        labels = {each.label for kind in now for each in after.decoders_of(kind)}
        gone = [each.label for each in before.decoders_of(model) if each.label not in labels]
        if now and gone and not told:
            told.append(f"model {model.label!r} without {', '.join(gone)}")
    return told


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, which YAML's own loader would drop in silence.

    It also refuses whole numbers that nothing can have: Python neither writes down nor compares
    those of some thousand digits, which hexadecimal ones and such as 1:59:59 bring in.  Whatever
    else a scalar does to Python's own functions is an error of YAML.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return the value of a node."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise _no_value(node, f"is no value of its kind: {error}") from error
        if isinstance(value, int) and abs(value) > _MOST_WHOLE:
            raise _no_value(node, "is a number over 10^100")
        return value

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Return a mapping; refuse duplicate keys."""
        if not isinstance(node, yaml.MappingNode):
            raise _no_value(node, "is no mapping")
        given = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, times in Counter(given).items():
            if times > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.start_mark
                )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _no_value(node: yaml.Node, told: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(
        None, None, f"{reprlib.repr(node.value)[:60]} {told}", node.start_mark
    )


def _told(error: ValidationError) -> str:
    # Of the forms that an entry may have, the one that fits furthest was meant.
    deepest = max(error.errors(), key=lambda each: len(each["loc"]))
    place = ".".join(str(part) for part in deepest["loc"] if part not in ("str", "_Named"))
    if deepest["type"] == "missing":
        return f"{place} is missing"
    if deepest["type"] == "extra_forbidden":
        return unknown("key", str(deepest["loc"][-1]), _Named.model_fields)
    if deepest["type"] == "too_short":
        return f"{place} must name at least one"
    if deepest["type"] in ("greater_than_equal", "less_than_equal"):
        low, high = _RANGES[place]
        return f"{place} must be from {low} to {high:,}, got {deepest['input']}"
    return f"{place}: {deepest['msg'].lower()}, got {reprlib.repr(deepest['input'])[:100]}"


def _spelled(setting: Setting) -> dict[str, Any]:
    return {"name": setting.name, "fields": dict(setting.fields)}


class _Expanded(NamedTuple):
    """The settings that a key of a run file asks for.

    Attributes:
        settings: Each of them once, in the order of the run file.
        named: Keys of those that were asked for by name; globs alone bring the others.
    """

    settings: tuple[Setting, ...]
    named: frozenset[str]


def _expanded(entries: Sequence[str | _Named], registry: Registry[type[Any]]) -> _Expanded:
    settings: dict[str, Setting] = {}
    named: set[str] = set()
    for entry in entries:
        if isinstance(entry, _Named):
            groups = [(True, [make_setting(entry.name, entry.fields, registry)])]
        else:
            groups = [
                (not is_glob(text, registry), parse_settings(text, registry))
                for text in split_settings(entry)
            ]
        for by_name, group in groups:
            # Globs may overlap; a setting asked for twice is run once.
            settings.update({each.key: each for each in group if each.key not in settings})
            named.update(each.key for each in group if by_name)
    _refuse_one_label(tuple(settings.values()), registry.kind)
    return _Expanded(tuple(settings.values()), frozenset(named))


def _refuse_one_label(settings: Sequence[Setting], kind: str) -> None:
    """Refuse two settings of one label: their records could not be told apart."""
    labels: dict[str, Setting] = {}
    for each in settings:
        other = labels.setdefault(each.label, each)
        if other is not each:
            fields = ", ".join(
                f"{name}={other.fields.get(name)!r:.80} and {value!r:.80}"
                for name, value in each.fields.items()
                if repr(other.fields.get(name)) != repr(value)
            )
            raise RunFileError(
                f"two settings of a {kind} are called {each.label!r:.80}, and differ in {fields}: "
                "their records could not be told apart; ask for one of them"
            )


def _unserved(models: Sequence[Setting], decoders: _Expanded) -> dict[str, dict[str, list[str]]]:
    """Return the needs that each model does not meet, of decoders that globs alone bring.

    Returns:
        By the label of every model that does not decode by itself, and the decoder's label.
    """
    from_globs = (each for each in decoders.settings if each.key not in decoders.named)
    built = {each.label: build(each, DECODERS) for each in from_globs}
    demanding = {
        label: decoder
        for label, decoder in built.items()
        if decoder.missing_capabilities(frozenset())
    }
    unserved: dict[str, dict[str, list[str]]] = {}
    for model in models:
        if MODELS[model.name].serves:
            continue
        # A model that nothing is asked of need not be looked at, which may take a download.
        given = build(model, MODELS).capabilities() if demanding else frozenset()
        lacks = {label: decoder.missing_capabilities(given) for label, decoder in demanding.items()}
        unserved[model.label] = {label: needs for label, needs in lacks.items() if needs}
    return unserved


def _left_out(
    form: _Form,
    models: Sequence[Setting],
    decoders: Sequence[Setting],
    unserved: Mapping[str, Mapping[str, object]],
    where: str,
) -> dict[str, frozenset[str]]:
    """Return the decoders to leave out of each model: as requested, or for lack of capabilities."""
    known = {setting.label for setting in decoders}
    for model, labels in form.left_out.items():
        if model not in {setting.label for setting in models}:
            wrong = unknown("model", model, [setting.label for setting in models])
            raise RunFileError(f"{where}: left_out: {wrong}")
        for label in labels:
            if label not in known:
                raise RunFileError(f"{where}: left_out: {unknown('decoder', label, known)}")
    left_out = {
        setting.label: frozenset(form.left_out.get(setting.label, ()))
        | (known & unserved.get(setting.label, {}).keys())
        for setting in models
    }
    return {model: labels for model, labels in left_out.items() if labels}


def _remarks(unserved: Mapping[str, Mapping[str, Sequence[str]]]) -> tuple[str, ...]:
    """Return in words what is left out, a sentence for each model."""
    told = []
    for model, lacks in unserved.items():
        named = ", ".join(f"{label} (needs {', '.join(needs)})" for label, needs in lacks.items())
        if named:
            told.append(f"model {model!r} is run without what it cannot serve: {named}")
    return tuple(told)


def _renamed(asked: Sequence[str | _Named]) -> tuple[str, ...]:
    """Return a sentence for each preset that was asked for by a former name."""
    texts = [text for entry in asked if isinstance(entry, str) for text in split_settings(entry)]
    names = dict.fromkeys(text.partition(":")[0].strip() for text in texts)
    told = []
    for name in names:
        if name in DECODERS.former_presets:
            now, preset = DECODERS.former_presets[name], DECODERS.presets[name]
            told.append(
                f"{name!r} is a former name of the preset {now!r}, {preset.name} with "
                f"{preset.fields}; the strategy at its defaults is {preset.name!r}"
            )
    return tuple(told)


def _check_version(asked: str | _Named, where: str) -> None:
    if isinstance(asked, str) or asked.version is None:
        return
    version = TASKS[asked.name].version
    if asked.version != version:
        raise RunFileError(
            f"{where}: task {asked.name!r} has version {asked.version} there and {version} here; "
            "its samples or marks changed, so begin a new run"
        )


def _brief(item: object) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("fields"), dict):
        return repr(item)
    fields = ",".join(f"{key}={value}" for key, value in item["fields"].items())
    version = f" (version {item['version']})" if "version" in item else ""
    return f"{item.get('name')}:{fields}{version}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
