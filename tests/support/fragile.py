"""A plugin whose parts hurt the process that they are in, or differ in each: for workers.

A sample's decode kills its process as long as the file exists that ``FRAGILE`` names.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parallelbench.decoder import DECODERS
from parallelbench.model import MODELS, ModelSource
from parallelbench.models.ideal import Ideal
from parallelbench.task import TASKS
from support.toys import Colours, Surest

#: The sample over which workers die.
DEADLY = 2


@DECODERS.register("fragile")
@dataclass(frozen=True, kw_only=True)
class Fragile(Surest):
    """Kill the process at one sample."""

    def start(self, view):
        if view.prompt.sample.id.endswith(f"{DEADLY:05}") and Path(os.environ["FRAGILE"]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().start(view)


@MODELS.register("fragile")
@dataclass(frozen=True, kw_only=True)
class FragileModel(ModelSource):
    """An ideal model that is another one in every process, or kills it, or fails in it."""

    summary = "not for use"
    mode: Literal["unlike", "deadly", "faulty"] = "unlike"

    def open(self):
        if self.mode == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "faulty":
            raise ZeroDivisionError("a fault of ours")
        model = Ideal().open()
        model.digest = f"{os.getpid():064}"
        return model


@TASKS.register("fragile")
@dataclass(frozen=True, kw_only=True)
class FragileTask(Colours):
    """A task whose engine is another release in every process."""

    name = "fragile"

    def engines(self):
        return {"colour": f"eye 1.{os.getpid()}"}
