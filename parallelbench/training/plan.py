"""What a training is: everything that decides which weights come out of it.

Where the weights are kept, how often, and on which device they are computed is no part of
it.  A plan is short when people write it and complete when it is frozen, as a run file is.
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
    """Begin with a random network of LLaDA's architecture, and a tokenizer of the tasks' words.

    Attributes:
        hidden: Width of the residual stream.
        layers: How many.
        heads: Of attention, in each layer.
        feed_forward: Width between the matrices of a feed-forward part.
        dtype: Of the weights as saved; they are trained in float32.
        last_message: Whether the chat template shows the network nothing but the last
            message: prompts without the examples before it are half as long.

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
    """Begin with a masked checkpoint.

    Attributes:
        model: As a run takes it: ``hf:PATH``, with fields such as ``dtype`` behind it.
        lora: Rank of the LoRA adapter that is trained; None trains every weight.

    Raises:
        FieldError: A model that is no ``hf:`` checkpoint, a rank below 1, or a field that
            has no meaning in a training.
    """

    model: str
    lora: int | None = None

    def __post_init__(self) -> None:
        if self.lora is not None:
            _refuse_below(1, "lora", self.lora)
        _ = self.named

    @cached_property
    def named(self) -> Mapping[str, Any]:
        """Every field of the model."""
        load_plugins()
        (setting, *others) = parse_settings(self.model, MODELS)
        if setting.name != "hf" or others:
            raise FieldError(
                f"training begins with one checkpoint, hf:PATH, and not with {self.model!r}"
            )
        default = {each.name: each.default for each in fields(MODELS["hf"])}
        for name in ("cache", "block_length", "compile"):
            if setting.fields[name] != default[name]:
                raise FieldError(f"{self.model!r}: {name} has no meaning in a training")
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
        learning_rate: At its peak, of both.
        weight_decay: Share of a weight that a step at learning rate 1 would take away.

    Source: Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024); Liu et
    al., "Muon is Scalable for LLM Training" (arXiv:2502.16982), section 2.2, for the scale
    of its steps, which are as long as AdamW's.
    """

    learning_rate: float = 2.5e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        _check_rates(self.learning_rate, self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay, for all weights.

    Attributes:
        learning_rate: At its peak.
        weight_decay: Share of a weight that a step at learning rate 1 would take away.

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
        tasks: Names, globs and grids, as a run takes them.
        weights: How often a task is drawn, relative to the others, by a name or glob, which
            stands for every setting of those tasks, or by a setting such as
            ``choices/city:options=3``; 1 where nothing fits, the last where several do.
        steps: Of the optimizer.
        batch_size: Samples per step.
        seed: Of the samples, the masks and the random weights.
        start: What it begins with.
        optimizer: How a gradient becomes a step.
        warm_up: Steps over which the learning rate rises; None takes 150, or a tenth of the
            steps where that is less.
        final_rate: Share of the learning rate that is left at the last step.
        clip: Greatest norm of a gradient.
        average: Decay of the moving average of the weights, which is what is saved.
        precision: In which products are computed; weights are always stepped in float32
            when all of them are trained.

    Raises:
        UnknownNameError: No such task, or a task has no such field.
        FieldError: A value is out of range, or a weight fits no task.

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
        """The tasks asked for, each once, globs and grids expanded."""
        load_plugins()
        asked = [self.tasks] if isinstance(self.tasks, str) else self.tasks
        texts = [text for each in asked for text in split_settings(each)]
        found = [setting for text in texts for setting in parse_settings(text, TASKS)]
        if not found:
            raise FieldError("a training needs at least one task, got none")
        return tuple({setting.key: setting for setting in found}.values())

    @cached_property
    def built(self) -> tuple[Task, ...]:
        """The tasks themselves, in the same order."""
        return tuple(build(setting, TASKS) for setting in self.settings)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """What share of the samples each task has, in the same order; they sum to 1."""
        weights = dict.fromkeys(range(len(self.settings)), 1.0)
        for pattern, weight in self.weights.items():
            fitting = self._fitting(pattern)
            if not fitting:
                labels = ", ".join(setting.label for setting in self.settings)
                raise FieldError(f"weights: {pattern!r} is none of the tasks: {labels}")
            if not 0 < weight < math.inf:
                raise FieldError(f"weights: {pattern} must have more than 0, got {weight}")
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
        """Steps over which the learning rate rises."""
        return min(_WARM_UP, self.steps // 10) if self.warm_up is None else self.warm_up

    def frozen(self) -> dict[str, Any]:
        """Return the plan as JSON values, complete: what two trainings must have in common."""
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
