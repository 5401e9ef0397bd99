"""``mini``: the network that ships with the package, a masked diffusion model of its tasks.

Its model card, with training data and limitations, is next to its weights:
``parallelbench/models/data/mini/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from parallelbench.model import MODELS, Model, ModelSource
from parallelbench.models.hf import HuggingFace
from parallelbench.prompt import Codec
from parallelbench.task import Task, TrellisTask

FOLDER = Path(__file__).parent / "data" / "mini"


@MODELS.register("mini")
@dataclass(frozen=True, kw_only=True)
class Mini(ModelSource):
    """A small network of LLaDA's architecture, trained on the tasks; part of the package.

    Attributes:
        device: Device in torch's notation; ``auto`` is the accelerator if there is one.
        cache: Key-value cache, as for ``hf``: ``prefix`` and ``dual`` change the predictions.
    """

    summary: ClassVar[str] = (
        "a small masked diffusion model trained on the tasks; part of the package"
    )

    device: str = "auto"
    cache: Literal["none", "prefix", "dual"] = "none"

    def remark(self, tasks: Iterable[type[Task]]) -> str | None:
        """Return a note on the ``tasks`` that it was never trained on; None if there are none."""
        foreign = ", ".join(
            task.name for task in tasks if not task.law_known or issubclass(task, TrellisTask)
        )
        if not foreign:
            return None
        return (
            f"mini was never trained on {foreign}, whose words it reads and writes letter by "
            "letter: its scores there only show that the run works"
        )

    def open(self) -> Model:
        """Return the model, ready to predict.

        Raises:
            CheckpointError: Files are damaged, or there is no such device.
        """
        return self._checkpoint().open()

    def capabilities(self) -> frozenset[str]:
        """Return its capabilities with this cache."""
        return self._checkpoint().capabilities()

    def open_codec(self, *, fetch: bool = True) -> Codec:
        """Return its codec without reading its weights."""
        return self._checkpoint().open_codec(fetch=fetch)

    def _checkpoint(self) -> HuggingFace:
        return HuggingFace(path=str(FOLDER), dtype="float32", device=self.device, cache=self.cache)
