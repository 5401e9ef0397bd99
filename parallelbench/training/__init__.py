"""Training: masked diffusion on the tasks, from scratch or from a masked checkpoint.

Read the modules in the order of the data: :mod:`~parallelbench.training.plan` ->
:mod:`~parallelbench.training.data` -> :mod:`~parallelbench.training.objective` ->
:mod:`~parallelbench.training.start` -> :mod:`~parallelbench.training.optimizer` ->
:mod:`~parallelbench.training.trainer` -> :mod:`~parallelbench.training.log`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parallelbench.training.plan import AdamW, Base, Muon, Plan, Scratch
    from parallelbench.training.trainer import TrainingProgress, train

__all__ = ["AdamW", "Base", "Muon", "Plan", "Scratch", "TrainingProgress", "train"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `parallelbench --help` must not wait for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "trainer" if name in {"TrainingProgress", "train"} else "plan"
    return getattr(import_module(f"{__name__}.{module}"), name)
