"""A model of which only replies are at hand, because somebody else published them.

``parallelbench import results`` writes runs of such models: what they answered is marked again,
and nothing new can be asked of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from parallelbench.errors import RunFileError
from parallelbench.model import MODELS, ModelSource


@MODELS.register("published")
@dataclass(frozen=True, kw_only=True)
class Published(ModelSource):
    """Whoever decoded the replies that ``import results`` brought.

    Attributes:
        name: The model's name there, such as a hub id.
    """

    summary: ClassVar[str] = "replies that others published, as import results brings them"
    address: ClassVar[str] = "name"
    published: ClassVar[bool] = True

    name: str

    def open(self) -> NoReturn:
        """Refuse: there are replies of it, and no model.

        Raises:
            RunFileError: Always.
        """
        raise RunFileError(
            f"published:{self.name} stands for replies that others published, and decodes nothing; "
            f"name the model itself, such as hf:{self.name}"
        )

    def capabilities(self) -> frozenset[str]:
        """Return nothing: it is never asked."""
        return frozenset()
