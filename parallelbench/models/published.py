"""``published:NAME``: a model known only by replies that others published.

``parallelbench import results`` writes runs of such models: their replies are scored again, and
no new reply can be requested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from parallelbench.errors import RunFileError
from parallelbench.model import MODELS, ModelSource


@MODELS.register("published")
@dataclass(frozen=True, kw_only=True)
class Published(ModelSource):
    """The model whose published replies ``import results`` imported.

    Attributes:
        name: Name of the model in the published results, such as a hub id.
    """

    summary: ClassVar[str] = "published replies of others, imported with import results"
    address: ClassVar[str] = "name"
    published: ClassVar[bool] = True

    name: str

    def open(self) -> NoReturn:
        """Refuse: only replies of the model are known.

        Raises:
            RunFileError: Always.
        """
        raise RunFileError(
            f"published:{self.name} stands for published replies and cannot decode; name the model "
            f"itself, such as hf:{self.name}"
        )

    def capabilities(self) -> frozenset[str]:
        """Return no capabilities: it never decodes."""
        return frozenset()
