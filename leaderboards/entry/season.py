"""A season: the samples that a board compares, and those of them for tuning thresholds.

Each season has a new seed, so that memorized answers of an earlier one do not help.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parallelbench.errors import RequestError
from parallelbench.registry import load_plugins, unknown
from parallelbench.setting import Setting, parse_settings
from parallelbench.task import TASKS


class _SeasonFile(BaseModel):
    """The content of a season's file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    title: str
    seed: Annotated[int, Field(ge=0)]
    tasks: Annotated[list[str], Field(min_length=1)]
    samples: Annotated[int, Field(ge=2)]
    dev: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> _SeasonFile:
        if self.dev >= self.samples:
            raise ValueError(f"dev takes {self.dev} of {self.samples} samples and leaves none")
        return self


@dataclass(frozen=True)
class Season:
    """The samples that entries are compared on.

    Attributes:
        name: Name of its file, without the ending.
        title: Title on the board.
        seed: Random seed of the samples.
        tasks: Task settings, in the order of the board.
        samples: Number of samples of each task.
        dev: Number of the first samples, which are for tuning; figures use the others.
    """

    name: str
    title: str
    seed: int
    tasks: tuple[Setting, ...]
    samples: int
    dev: int

    @property
    def test(self) -> range:
        """The numbers of the samples that figures use."""
        return range(self.dev, self.samples)


@cache
def seasons() -> MappingProxyType[str, Season]:
    """Return every season by name, in alphabetical order."""
    folder = resources.files("parallelbench.leaderboards").joinpath("seasons")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    return MappingProxyType(
        {
            name.removesuffix(".yaml"): _season(
                name.removesuffix(".yaml"), yaml.safe_load(folder.joinpath(name).read_text("utf-8"))
            )
            for name in files
        }
    )


def season(name: str) -> Season:
    """Return the season called ``name``.

    Raises:
        RequestError: There is none.
    """
    if name not in seasons():
        raise RequestError(unknown("season", name, seasons()))
    return seasons()[name]


def _season(name: str, content: dict[str, Any]) -> Season:
    load_plugins()
    form = _SeasonFile.model_validate(content)
    tasks = tuple(setting for text in form.tasks for setting in parse_settings(text, TASKS))
    return Season(name, form.title, form.seed, tasks, form.samples, form.dev)
