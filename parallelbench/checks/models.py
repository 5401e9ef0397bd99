"""The models and prompts with which a strategy is checked, without any download."""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from parallelbench.model import MODELS, Model
from parallelbench.prompt import Prompt, build_prompt
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS, sample_rng
from parallelbench.training.folder import TrainingFolder
from parallelbench.training.plan import Scratch
from parallelbench.training.start import write_random

#: Tasks of the checks, with short canvases in the free and the infilling form, and the number of
#: samples of each.
_TASKS = {
    "waiting_line/shuffle:length=3,canvas_length=10,shots=0": 2,
    "list_operations/shuffle:form=infill,length=4,shots=0": 1,
}
#: Factors of a random network's matrices, so that every token affects the others, and of its
#: output matrix, so that some predictions are confident and others are not.
_STIRRED, _SHARPENED = 30.0, 60.0
_POSITIONS = 256


@functools.cache
def ideal_model() -> Model:
    """Return the ideal model."""
    return _opened("ideal", {})


@functools.cache
def random_transformer() -> Model:
    """Return a tiny random network of LLaDA's architecture."""
    words = {word for name in _TASKS for word in TASKS[name.partition(":")[0]].words}
    sizes = Scratch(hidden=16, layers=1, heads=2, feed_forward=32)
    with TemporaryDirectory() as path:
        write_random(sizes, words, _POSITIONS, 0, TrainingFolder(Path(path)))
        model = _opened("hf", {"path": path, "device": "cpu"})
    network: Any = model
    with torch.no_grad():
        head = network.network.get_output_embeddings().weight
        for weight in network.network.parameters():
            if weight.dim() == 2:
                weight.mul_(_SHARPENED if weight is head else _STIRRED)
    return model


def _opened(name: str, fields: dict[str, Any]) -> Model:
    model = MODELS[name](**fields).open()
    if not isinstance(model, Model):
        raise TypeError(f"{name} is not a model that decoders can use")
    return model


def check_prompts(model: Model) -> list[Prompt]:
    """Return the prompts of the checks, rendered for ``model``."""
    tasks = {build(parse_settings(text, TASKS)[0], TASKS): n for text, n in _TASKS.items()}
    return [
        build_prompt(task, task.draw(sample_rng(0, task.name, index), index), model.codec)
        for task, count in tasks.items()
        for index in range(count)
    ]
