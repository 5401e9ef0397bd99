"""PC-Sampler: commit what is sure and rare, from left to right.

Models are surest of frequent tokens: commas, articles, end-of-text.  Written first, these fix the
rest too early.  Here confidence is weighted by the token's surprise in ordinary text and by its
distance from the beginning.

Rule: ``S = top(s, open, k)`` with
``s_i = exp(-decay * j) min(ceiling, -c_i ln(q_i + 1e-9))``, where j counts positions from the
start of the block and q_i is the share of the predicted token in the table, or one token's
share if it is not in there.
Defaults: decay = 0.25, ceiling = 10 nats, k = 1; one block.  The authors set decay = 0 for
Sudoku and 0.5 for Countdown.  They take a number of steps instead of k; where that
divides the open positions, the two are the same.

The table is a file of ``parallelbench decoder-table``; the authors ship one for LLaDA's
tokenizer.  Its digest becomes a field of the setting, so that no run can go on with another.

Source: Huang et al., "PC-Sampler: Position-Aware Calibration of Decoding Bias in Masked
Diffusion Models" (2025, arXiv:2508.13021), ``generate`` of its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from parallelbench.decoder import DECODERS, Selection, Step
from parallelbench.decoders.selection import FixedCount, top
from parallelbench.errors import DecoderError, FieldError
from parallelbench.models.unigram_table import UnigramTable, read_table
from parallelbench.prompt import Codec
from parallelbench.ranges import nonnegative, positive

#: Added to a share before the logarithm, as in the authors' code.
_FLOOR = 1e-9
#: Hexadecimal digits of a table's digest that a setting shows.
_SHOWN = 16


@DECODERS.register("pc_sampler")
@dataclass(frozen=True, kw_only=True)
class PCSampler(FixedCount):
    """Commit the ``k`` best by confidence, rarity and nearness to the start.

    Attributes:
        table: File of token counts; without one, no model is served.
        digest: First digits of the table's digest; filled in from the table, and refused if
            the table has another.
        decay: Decrease of a score's logarithm from one position to the next, in
            [0, inf).
        ceiling: Upper bound of confidence times surprise, in nats, in (0, inf).

    Raises:
        ValueError: A number is out of range, or the table is not there, malformed or another.
    """

    labelled = ("table", "k", "decay")
    presets = {
        "pc-sampler-paper": "k=1,decay=0.25,ceiling=10.0",
        "pc-sampler-sudoku": "k=1,decay=0.0,ceiling=10.0",
        "pc-sampler-countdown": "k=1,decay=0.5,ceiling=10.0",
    }
    former_presets = {"pc-sampler": "pc-sampler-paper"}
    grid = "k=1|2|4|8|16"

    table: str | None = None
    digest: str | None = None
    decay: float = nonnegative(0.25, "per position")
    ceiling: float = positive(10.0, "nats")

    def __post_init__(self) -> None:
        super().__post_init__()
        digest = None if self._counted is None else self._counted.digest[:_SHOWN]
        if self.digest not in (None, digest):
            raise ValueError(
                f"table {self.table!r} is not the requested one: its digest begins with "
                f"{digest}, not {self.digest}; leave digest out to take the table as it is"
            )
        object.__setattr__(self, "digest", digest)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # without a table it lacks one
        """The token and its confidence; and a table, where none was given."""
        own = frozenset({"token", "confidence"})
        return own if self.table is not None else own | {"table"}

    def check(self, codec: Codec) -> None:
        """Refuse a model whose tokens are not those of the table.

        Raises:
            FieldError: There is no table, or it was made with another tokenizer.
        """
        if self._counted is None:
            raise FieldError(
                "pc_sampler needs a table of token counts: write one with `parallelbench "
                "decoder-table FILE... --model MODEL --out TABLE`, then pc_sampler:table=TABLE"
            )
        if self._counted.tokenizer != codec.tokenizer_digest:
            raise FieldError(
                f"pc_sampler: table {self.table!r} was made with another tokenizer (digest "
                f"{self._counted.tokenizer[:12]}) than the model's ({codec.tokenizer_digest[:12]});"
                " make one with `parallelbench decoder-table FILE... --model MODEL --out TABLE`"
            )

    def choose(self, step: Step) -> Selection:
        """Return the ``k`` best open positions of each sample."""
        confidence = step.confidence.double()
        # The last entry is that of all tokens that were not counted.
        known = self._surprise.to(confidence.device)
        surprise = known[step.token.clamp(max=len(known) - 1)]
        # Counted from the first step.open position, not from the start of the block: that is one
        # factor for all of a sample's scores, and ranks them alike.
        first = step.open.long().argmax(dim=1, keepdim=True)
        place = torch.arange(step.open.shape[1], device=step.open.device) - first
        weight = torch.exp(-self.decay * place.clamp(min=0))
        return top(weight * (confidence * surprise).clamp(max=self.ceiling), step.open, self.k)

    @cached_property
    def _counted(self) -> UnigramTable | None:
        return None if self.table is None else read_table(self.table)

    @cached_property
    def _surprise(self) -> Float[Tensor, " ids"]:
        """Surprise of each token, in nats, by id; the last entry is that of any other token."""
        if self._counted is None:
            raise DecoderError("pc_sampler chooses without a table, which check refuses")
        counts, total = self._counted.counts, self._counted.total
        shares = torch.full((max(counts) + 2,), 1 / total, dtype=torch.float64)
        shares[list(counts)] = torch.tensor(list(counts.values()), dtype=torch.float64) / total
        return -(shares + _FLOOR).log()
