"""The steps of a decode that follow from its decoder alone, found by decoding a constant model.

The number of calls of a decoder with a schedule does not depend on the predictions.  Unless the
decoder is adaptive, neither does the number of positions that each call fills.  So a decode with
any model shows both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import torch

from parallelbench.decode.lanes import Job, block_ends
from parallelbench.decode.loop import decode
from parallelbench.decoder import Decoder
from parallelbench.errors import SubmissionError
from parallelbench.model import Blocks, Model, Prediction, Row
from parallelbench.prompt import Codec, Prompt
from parallelbench.trace import Trace


class ConstantModel(Model):
    """A model that predicts the same two ordinary tokens, equally likely, at every position.

    Args:
        codec: Codec of the model that it replaces.
        blocks: Block grid of that model.
    """

    threads = 1
    capabilities = frozenset({"positions", "attention_mask", "shorter_rows", "unshifted"})
    digest = "unseen"

    def __init__(self, codec: Codec, blocks: Blocks | None) -> None:
        self.codec = codec
        self.blocks = blocks

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return equal logits for the two tokens at every wanted position."""
        wanted = int(sum(row.wanted.sum() for row in rows))
        return Prediction(torch.zeros((wanted, 2)), self._ordinary.expand(wanted, 2))

    def provenance(self) -> dict[str, Any]:
        """Return an empty mapping."""
        return {}

    @cached_property
    def _ordinary(self) -> torch.Tensor:
        unwritable = {*self.codec.unwritable, *self.codec.ends, self.codec.mask_id}
        writable = (token for token in range(self.codec.size) if token not in unwritable)
        two = list(islice(writable, 2))
        if len(two) < 2:
            raise SubmissionError(
                f"the vocabulary of {self.codec.size} tokens has {len(two)} that can be written; a "
                "model needs at least two to choose from"
            )
        return torch.tensor(two)


class StepSchedule(NamedTuple):
    """The amounts that a decode writes and sends in each step, without positions and tokens.

    Attributes:
        writes: Positions filled in each step, less those opened again; None where the
            predictions determine them.
        rows: Rows sent in each step.
        tokens: Canvas tokens of those rows, prompts excluded.
    """

    writes: list[int] | None
    rows: list[int]
    tokens: list[int]

    @classmethod
    def of(cls, trace: Trace, writes: list[int], prompt: Prompt) -> StepSchedule:
        """Return the schedule of one trace.

        Args:
            trace: A trace of a decode of ``prompt``.
            writes: Net writes of each step, see :func:`net_writes`.
            prompt: The prompt, whose tokens are subtracted from those of the rows.
        """
        pairs = zip(trace.rows, trace.row_tokens, strict=True)
        return cls(writes, trace.rows, [tokens - rows * len(prompt.ids) for rows, tokens in pairs])


def net_writes(
    canvas: Sequence[int], positions: Sequence[int], ids: Sequence[int], mask_id: int
) -> int:
    """Return the number of positions that a step fills, less those that it opens again.

    Args:
        canvas: Canvas before the step.
        positions: Positions that the step writes.
        ids: The ids written there.
        mask_id: Id of an open position.
    """
    return sum(canvas[position] == mask_id for position in positions) - ids.count(mask_id)


def writes_of(trace: Trace, prompt: Prompt) -> list[int]:
    """Return the net writes of every step of ``trace``, a decode of ``prompt``."""
    mask_id, canvas = prompt.codec.mask_id, prompt.canvas.tolist()
    writes = []
    for positions, ids in zip(trace.positions, trace.ids, strict=True):
        writes.append(net_writes(canvas, positions, ids, mask_id))
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
    return writes


def schedule_of(
    prompt: Prompt, decoder: Decoder, key: str, blocks: Blocks | None
) -> StepSchedule | None:
    """Return the steps of a decode by a decoder with a schedule, which no prediction changes.

    Args:
        prompt: The prompt and its canvas.
        decoder: The decoder.
        key: Key of its random numbers.
        blocks: Block grid of the model.

    Returns:
        The schedule; None if it depends on the model, or the decoder fails with a constant one.
    """
    if (
        not decoder.scheduled
        or decoder.missing_capabilities(ConstantModel.capabilities)
        or "answers" in decoder.needs
    ):
        return None
    (outcome,) = decode([Job(prompt, decoder, key)], ConstantModel(prompt.codec, blocks))
    if outcome.status == "error":
        return None
    trace = outcome.trace
    schedule = StepSchedule.of(trace, writes_of(trace, prompt), prompt)
    return schedule._replace(writes=None) if decoder.adaptive else schedule


#: Labels of model and decoder, open positions of the canvas, and end of its first block: decodes
#: with the same ones have the same schedule, up to random numbers.
_Layout = tuple[str, str, bytes, int]


class StepSchedules:
    """The schedules of many decodes, computed once per canvas layout where that suffices."""

    def __init__(self) -> None:
        self._fixed: dict[_Layout, StepSchedule | None] = {}
        self._random: set[_Layout] = set()

    def find(
        self,
        prompt: Prompt,
        decoder: Decoder,
        labels: tuple[str, str],
        key: str,
        blocks: Blocks | None,
    ) -> StepSchedule | None:
        """Return the schedule of one decode, as :func:`schedule_of` does.

        Args:
            prompt: The prompt and its canvas.
            decoder: The decoder.
            labels: Labels of model and decoder.
            key: Key of its random numbers.
            blocks: Block grid of the model.
        """
        layout = (*labels, prompt.open.numpy().tobytes(), block_ends(prompt, blocks)[0])
        if layout not in self._fixed and layout not in self._random:
            self._learn(layout, prompt, decoder, blocks)
        if layout in self._random:
            return schedule_of(prompt, decoder, key, blocks)
        return self._fixed[layout]

    def _learn(
        self, layout: _Layout, prompt: Prompt, decoder: Decoder, blocks: Blocks | None
    ) -> None:
        """Find out whether random numbers change the amounts of a schedule, or only positions."""
        one = schedule_of(prompt, decoder, "one", blocks)
        other = one if decoder.deterministic else schedule_of(prompt, decoder, "another", blocks)
        if one is not None and other is not None and decoder.remasks:
            # Positions opened at random are filled again at random; only the calls must agree.
            writes = one.writes if one.writes == other.writes else None
            one, other = one._replace(writes=writes), other._replace(writes=writes)
        if one == other:
            self._fixed[layout] = one
        else:
            self._random.add(layout)
