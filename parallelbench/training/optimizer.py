"""Optimizers, learning rate schedule, and moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parallelbench.errors import FieldError
from parallelbench.training.plan import AdamW, Muon, Plan

_BETAS = (0.9, 0.95)


def make_optimizers(
    optimizer: Muon | AdamW, weights: Mapping[str, nn.Parameter]
) -> list[torch.optim.Optimizer]:
    """Return the optimizers of ``weights``; each weight belongs to one of them.

    Vectors (scales and biases) have no weight decay.

    Raises:
        FieldError: The installed torch has no Muon.
    """
    if isinstance(optimizer, AdamW):
        return [_adamw(optimizer, list(weights.values()))]
    if not hasattr(torch.optim, "Muon"):
        raise FieldError(
            f"optimizer muon needs torch 2.9 or later, and this is {torch.__version__}; upgrade "
            "torch, or use adamw"
        )
    matrices = {name for name, each in weights.items() if each.ndim == 2 and ".layers." in name}
    rest = [each for name, each in weights.items() if name not in matrices]
    muon = torch.optim.Muon(
        [weights[name] for name in weights if name in matrices],
        lr=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [muon, _adamw(optimizer, rest)] if rest else [muon]


def rate(plan: Plan, step: int) -> float:
    """Return the factor of the learning rate in a step.

    It rises linearly to 1 and falls along half a cosine to ``final_rate`` at the last step.

    Args:
        plan: Plan with the numbers of steps.
        step: Number of the step, from 0.

    Source: Loshchilov and Hutter, "SGDR" (arXiv:1608.03983), equation 5, without restarts.
    """
    warm_up = plan.warm_up_steps
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    gone = (step - warm_up) / max(1, plan.steps - 1 - warm_up)
    return plan.final_rate + (1 - plan.final_rate) * (1 + math.cos(math.pi * gone)) / 2


def set_rate(optimizers: list[torch.optim.Optimizer], learning_rate: float) -> None:
    """Set the learning rate of every weight."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate


class Average:
    """The exponential moving average of the weights, which is less noisy than their last values.

    The decay of step t is min(``decay``, (1 + t) / (10 + t)), so that the random weights of
    the start are soon forgotten.

    Args:
        weights: Initial weights.
        decay: Decay per step, after the warm-up.

    Source: Polyak and Juditsky (1992); the warm-up is that of TensorFlow's
    ``ExponentialMovingAverage``.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {
            name: each.detach().float().clone() for name, each in weights.items()
        }

    def update(self, weights: Mapping[str, nn.Parameter], step: int) -> None:
        """Update with the weights after ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in self.tensors.items():
            tensor.lerp_(weights[name].detach().float(), 1 - decay)


def _adamw(optimizer: Muon | AdamW, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [each for each in weights if each.ndim > 1]},
        {"params": [each for each in weights if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optimizer.learning_rate,
        betas=_BETAS,
        weight_decay=optimizer.weight_decay,
    )
