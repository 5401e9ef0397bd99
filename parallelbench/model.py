"""What a model is: it predicts.  It never chooses, never counts, never sees a decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from parallelbench.decoder import Row
from parallelbench.prompt import Codec, Prompt
from parallelbench.registry import Registry


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a model says of the wanted positions of some rows.

    Attributes:
        logits: One line per wanted position, rows in order and positions ascending within
            a row; aligned to the position they predict (an adapter undoes any shift).
            The loop may overwrite it.
        token_ids: The id of each column; None if column i is id i.  Columns ascend by id,
            so that ties go to the lowest; columns whose logit is -inf may hold any id.
        off_law: True for a row whose canvas no right answer fits; None if the model does
            not know the law.
        auxiliary_calls: Calls beside the counted one, per row; None if there were none.
        extras: What the model provides by name, one entry per row on the first axis.
    """

    logits: Float[Tensor, "wanted columns"]
    token_ids: Int[Tensor, "wanted columns"] | None = None
    off_law: Bool[Tensor, " rows"] | None = None
    auxiliary_calls: Sequence[int] | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class Model(ABC):
    """A loaded model.

    Its prediction for a row depends on that row alone: not on the batch, not on what was
    asked before.  Equal rows may therefore be sent once.

    Attributes:
        codec: How it reads and writes text.
        provides: What it gives beside logits, by the names that decoders need.
        digest: Identifies its predictions: law and tokenizer, or weights.
        device: Where it computes; canvases are kept there too.
        threads: How many CPU threads serve it best; None leaves that to torch.
    """

    codec: Codec
    device: torch.device = torch.device("cpu")
    threads: int | None = None
    provides: frozenset[str] = frozenset()
    digest: str

    @abstractmethod
    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return predictions for the wanted positions of ``rows``, in one call."""

    def check(self, prompt: Prompt) -> None:  # noqa: B027  most serve any prompt
        """Refuse a prompt that this model cannot serve; asked before a run starts.

        Raises:
            RequestError: Why it cannot be served.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return its provenance as JSON values, for the environment of a run."""


@dataclass(frozen=True, kw_only=True)
class ModelSource(ABC):
    """Where a model comes from: the fields of its setting, checked before it is loaded."""

    summary: ClassVar[str]

    @abstractmethod
    def open(self) -> Model:
        """Return the model, ready to predict."""


MODELS: Registry[type[ModelSource]] = Registry("model")
