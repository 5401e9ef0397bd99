"""``mini``: the network that ships with the package, a masked diffusion model of its tasks.

What it was trained on, how, and what it can and cannot do: see the model card beside its
weights, ``parallelbench/models/data/mini/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from parallelbench.model import MODELS, Model, ModelSource
from parallelbench.models.hf import HuggingFace
from parallelbench.prompt import Codec
from parallelbench.task import Task

FOLDER = Path(__file__).parent / "data" / "mini"


@MODELS.register("mini")
@dataclass(frozen=True, kw_only=True)
class Mini(ModelSource):
    """A small network of LLaDA's architecture, trained on the tasks, which ships with us.

    Attributes:
        device: As torch names it; ``auto`` is the accelerator if there is one.
        cache: As for ``hf``: ``prefix`` and ``dual`` change what is predicted.
    """

    summary: ClassVar[str] = "a small masked diffusion model of the tasks, which ships with us"

    device: str = "auto"
    cache: Literal["none", "prefix", "dual"] = "none"

    def remark(self, tasks: Iterable[type[Task]]) -> str | None:
        """Return which of ``tasks`` it was never trained on."""
        foreign = ", ".join(task.name for task in tasks if not task.law_known)
        if not foreign:
            return None
        return (
            f"mini was never trained on {foreign}, whose words it reads and writes letter by "
            "letter: its marks there say nothing but that the run works"
        )

    def open(self) -> Model:
        """Return the model, ready to predict.

        Raises:
            CheckpointError: Its files were damaged, or there is no such device.
        """
        return self._checkpoint().open()

    def capabilities(self) -> frozenset[str]:
        """Return what it gives with this cache."""
        return self._checkpoint().capabilities()

    def open_codec(self, *, fetch: bool = True) -> Codec:
        """Return how it reads and writes text, without a look at its weights."""
        return self._checkpoint().open_codec(fetch=fetch)

    def _checkpoint(self) -> HuggingFace:
        return HuggingFace(path=str(FOLDER), dtype="float32", device=self.device, cache=self.cache)
