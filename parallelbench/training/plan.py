"""The plan of a training: everything that determines the resulting weights.

The folder, the frequency of saves and the device are not part of it.  Like a run file, a plan is
short when written and complete when frozen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

from parallelbench.errors import FieldError
from parallelbench.model import MODELS
from parallelbench.registry import load_plugins
from parallelbench.setting import Setting, build, parse_settings, split_settings
from parallelbench.task import TASKS, Task

_WARM_UP = 150


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """Start from a random network of LLaDA's architecture, with a tokenizer of the tasks' words.

    Attributes:
        hidden: Width of the residual stream.
        layers: Number of layers.
        heads: Number of attention heads per layer.
        feed_forward: Inner width of the feed-forward networks.
        dtype: Data type of the saved weights; training is in float32.
        last_message: True for a chat template that renders only the last message: prompts
            without examples are half as long.

    Raises:
        FieldError: A size below 1, or heads that do not divide ``hidden`` into even widths.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 336
    dtype: Literal["float32", "float16"] = "float32"
    last_message: bool = False

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "feed_forward"):
            _refuse_below(1, name, getattr(self, name))
        if self.hidden % (2 * self.heads):
            raise FieldError(
                f"hidden must be a multiple of twice the heads, got hidden={self.hidden} and "
                f"heads={self.heads}: rotary positions turn pairs within a head"
            )


@dataclass(frozen=True, kw_only=True)
class Base:
    """Start from a masked checkpoint.

    Attributes:
        model: Model setting of the form ``hf:PATH``, with fields such as ``dtype``.
        lora: Rank of a LoRA adapter to train; None trains all weights.

    Raises:
        FieldError: A model other than an ``hf:`` checkpoint, a rank below 1, or a field that
            does not apply to training.
    """

    model: str
    lora: int | None = None

    def __post_init__(self) -> None:
        if self.lora is not None:
            _refuse_below(1, "lora", self.lora)
        _ = self.named

    @cached_property
    def named(self) -> Mapping[str, Any]:
        """All fields of the model setting, by name."""
        load_plugins()
        (setting, *others) = parse_settings(self.model, MODELS)
        if setting.name != "hf" or others:
            raise FieldError(
                f"training starts from one checkpoint, hf:PATH, not from {self.model!r}"
            )
        default = {each.name: each.default for each in fields(MODELS["hf"])}
        for name in ("cache", "block_length", "compile"):
            if setting.fields[name] != default[name]:
                raise FieldError(f"{self.model!r}: {name} does not apply to training")
        if self.lora is not None and setting.fields["peft"] is not None:
            raise FieldError(
                f"{self.model!r}: one adapter cannot be trained on top of another; leave lora or "
                "peft= away"
            )
        return setting.fields


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Orthogonalised momentum for the matrices of the layers, AdamW for all other weights.

    Attributes:
        learning_rate: Peak learning rate of both optimizers.
        weight_decay: Share of a weight that a step at learning rate 1 would subtract.

    Source: Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024); Liu et
    al., "Muon is Scalable for LLM Training" (arXiv:2502.16982), section 2.2, for the scale
    of its updates, which matches AdamW's.
    """

    learning_rate: float = 2.5e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        _check_rates(self.learning_rate, self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay, for all weights.

    Attributes:
        learning_rate: Peak learning rate.
        weight_decay: Share of a weight that a step at learning rate 1 would subtract.

    Source: Loshchilov and Hutter (arXiv:1711.05101).
    """

    learning_rate: float = 3e-4
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        _check_rates(self.learning_rate, self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training, complete: every task exists and every number has an allowed value.

    Attributes:
        tasks: Task settings: names, globs and grids, as in a run file.
        weights: Relative frequency of tasks: by name or glob, for every setting of those tasks,
            or by a setting such as ``choices/city:options=3``.  A task without a match has 1;
            the last of several matches applies.
        steps: Number of optimizer steps.
        batch_size: Samples per step.
        seed: Random seed of samples, masks and initial weights.
        start: Network that the training starts from.
        optimizer: Optimizer with its learning rate and weight decay.
        warm_up: Steps of linear warm-up; None is 150, or a tenth of all steps if that is less.
        final_rate: Share of the peak learning rate at the last step.
        clip: Maximum norm of a gradient.
        average: Decay of the moving average of the weights, which is what is saved.
        precision: Precision of matrix products; if all weights are trained, they are updated
            in float32.

    Raises:
        UnknownNameError: No such task, or a task has no such field.
        FieldError: A value is out of range, or a weight matches no task.

    Example:
        >>> Plan(tasks="choices/*", weights={"choices/city": 3.0}, steps=100).warm_up_steps
        10
    """

    tasks: str | tuple[str, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    steps: int = 2000
    batch_size: int = 64
    seed: int = 0
    start: Scratch | Base = field(default_factory=Scratch)
    optimizer: Muon | AdamW = field(default_factory=Muon)
    warm_up: int | None = None
    final_rate: float = 0.1
    clip: float = 1.0
    average: float = 0.998
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _refuse_below(1, "steps", self.steps)
        _refuse_below(1, "batch_size", self.batch_size)
        _refuse_below(0, "seed", self.seed)
        _refuse_below(0, "warm_up", self.warm_up or 0)
        _refuse_no_share("final_rate", self.final_rate)
        _refuse_no_share("average", self.average)
        if not self.clip > 0:
            raise FieldError(f"clip must be more than 0, got {self.clip}")
        _ = self.shares

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """The task settings, each once, with globs and grids expanded."""
        load_plugins()
        requests = [self.tasks] if isinstance(self.tasks, str) else self.tasks
        texts = [text for each in requests for text in split_settings(each)]
        settings = [setting for text in texts for setting in parse_settings(text, TASKS)]
        if not settings:
            raise FieldError("a training needs at least one task, got none")
        return tuple({setting.key: setting for setting in settings}.values())

    @cached_property
    def built(self) -> tuple[Task, ...]:
        """The tasks of the settings, in the same order."""
        return tuple(build(setting, TASKS) for setting in self.settings)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """The share of the samples of each task, in the same order; they sum to 1."""
        weights = dict.fromkeys(range(len(self.settings)), 1.0)
        for pattern, weight in self.weights.items():
            fitting = self._fitting(pattern)
            if not fitting:
                labels = ", ".join(setting.label for setting in self.settings)
                raise FieldError(f"weights: {pattern!r} matches none of the tasks: {labels}")
            if not 0 < weight < math.inf:
                raise FieldError(
                    f"weights: the weight of {pattern} must be more than 0, got {weight}"
                )
            weights.update(dict.fromkeys(fitting, float(weight)))
        total = sum(weights.values())
        return tuple(weight / total for weight in weights.values())

    def _fitting(self, pattern: str) -> list[int]:
        if ":" not in pattern:
            return [
                place
                for place, setting in enumerate(self.settings)
                if fnmatchcase(setting.name, pattern)
            ]
        keys = {setting.key for setting in parse_settings(pattern, TASKS)}
        return [place for place, setting in enumerate(self.settings) if setting.key in keys]

    @property
    def warm_up_steps(self) -> int:
        """Number of steps of linear warm-up."""
        return min(_WARM_UP, self.steps // 10) if self.warm_up is None else self.warm_up

    def frozen(self) -> dict[str, Any]:
        """Return the complete plan as JSON values; a continued training must have the same."""
        start, optimizer = self.start, self.optimizer
        return {
            "schema_version": 1,
            "tasks": [
                {
                    "name": setting.name,
                    "fields": dict(setting.fields),
                    "version": TASKS[setting.name].version,
                }
                for setting in self.settings
            ],
            "shares": dict(zip((each.label for each in self.settings), self.shares, strict=True)),
            "steps": self.steps,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "start": {"kind": type(start).__name__, **asdict(start)},
            "optimizer": {"kind": type(optimizer).__name__, **asdict(optimizer)},
            "warm_up": self.warm_up_steps,
            "final_rate": self.final_rate,
            "clip": self.clip,
            "average": self.average,
            "precision": self.precision,
        }


def _check_rates(learning_rate: float, weight_decay: float) -> None:
    if not 0 < learning_rate < math.inf:
        raise FieldError(f"learning_rate must be more than 0, got {learning_rate}")
    _refuse_no_share("weight_decay", weight_decay)


def _refuse_below(least: int, name: str, value: int) -> None:
    if value < least:
        raise FieldError(f"{name} must be at least {least}, got {value}")


def _refuse_no_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise FieldError(f"{name} must be from 0 to 1, got {value}")
