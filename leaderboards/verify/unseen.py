"""The course of a decode that follows from its strategy alone, found with a stand-in for the model.

How many calls a strategy with a schedule makes does not depend on predictions, and unless it is
adaptive, neither does how many positions are filled after each of them: a decode with any model
tells both.
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


class Unseen(Model):
    """A stand-in for a model: it finds two ordinary tokens alike everywhere.

    Args:
        codec: How the model that it stands for reads and writes text.
        blocks: Its grid.
    """

    threads = 1
    provides = frozenset({"positions", "attention_mask", "shorter_rows", "unshifted"})
    digest = "unseen"

    def __init__(self, codec: Codec, blocks: Blocks | None) -> None:
        self.codec = codec
        self.blocks = blocks

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the same for every wanted position."""
        wanted = int(sum(row.wanted.sum() for row in rows))
        return Prediction(torch.zeros((wanted, 2)), self._ordinary.expand(wanted, 2))

    def facts(self) -> dict[str, Any]:
        """Return nothing: there is nothing to know."""
        return {}

    @cached_property
    def _ordinary(self) -> torch.Tensor:
        unwritable = {*self.codec.unwritable, *self.codec.ends, self.codec.mask_id}
        found = (token for token in range(self.codec.size) if token not in unwritable)
        two = list(islice(found, 2))
        if len(two) < 2:
            raise SubmissionError(
                f"the vocabulary of {self.codec.size} tokens has {len(two)} that can be written; a "
                "model chooses between two at least"
            )
        return torch.tensor(two)


class Course(NamedTuple):
    """What a decode writes and sends in each step, but not where, and not which tokens.

    Attributes:
        writes: Positions filled, less those opened again; None where predictions tell how many.
        rows: Sequences sent.
        tokens: Of the canvases of those, without the prompt.
    """

    writes: list[int] | None
    rows: list[int]
    tokens: list[int]

    @classmethod
    def of(cls, trace: Trace, prompt: Prompt) -> Course:
        """Return the course of ``trace``, a decode of ``prompt``."""
        pairs = zip(trace.rows, trace.row_tokens, strict=True)
        return cls(
            _net(trace, prompt),
            trace.rows,
            [tokens - rows * len(prompt.ids) for rows, tokens in pairs],
        )


def _net(trace: Trace, prompt: Prompt) -> list[int]:
    """Return by how many fewer positions are open after each step than before it."""
    mask = prompt.codec.mask_id
    canvas = prompt.canvas.tolist()
    net = []
    for positions, ids in zip(trace.positions, trace.ids, strict=True):
        open_before = sum(canvas[position] == mask for position in positions)
        net.append(open_before - sum(token == mask for token in ids))
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
    return net


def course_of(prompt: Prompt, decoder: Decoder, key: str, blocks: Blocks | None) -> Course | None:
    """Return how a decode by a strategy with a schedule goes, whatever the model says.

    Args:
        prompt: What is asked, and the canvas.
        decoder: The strategy.
        key: What its randomness is drawn from.
        blocks: The grid of the model.

    Returns:
        None where that depends on the model, or the strategy needs more than it says.
    """
    if (
        not decoder.scheduled
        or decoder.missing_capabilities(Unseen.provides)
        or "answers" in decoder.needs
    ):
        return None
    (outcome,) = decode([Job(prompt, decoder, key)], Unseen(prompt.codec, blocks))
    if outcome.status == "error":
        return None
    course = Course.of(outcome.trace, prompt)
    return course._replace(writes=None) if decoder.adaptive else course


#: Decodes of one model and strategy whose canvases have the same places to fill.
_Place = tuple[str, str, bytes, int]


class Courses:
    """Knows the course of every decode, and finds out as few of them as will do."""

    def __init__(self) -> None:
        self._known: dict[_Place, Course | None] = {}
        self._drawn: set[_Place] = set()

    def find(
        self,
        prompt: Prompt,
        decoder: Decoder,
        of: tuple[str, str],
        key: str,
        blocks: Blocks | None,
    ) -> Course | None:
        """Return the course of one decode, as :func:`course_of` does.

        Args:
            prompt: What is asked, and the canvas.
            decoder: The strategy.
            of: The labels of model and decoder.
            key: What its randomness is drawn from.
            blocks: The grid of the model.
        """
        place = (*of, prompt.open.numpy().tobytes(), block_ends(prompt, blocks)[0])
        if place not in self._known and place not in self._drawn:
            self._learn(place, prompt, decoder, blocks)
        if place in self._drawn:
            return course_of(prompt, decoder, key, blocks)
        return self._known[place]

    def _learn(
        self, place: _Place, prompt: Prompt, decoder: Decoder, blocks: Blocks | None
    ) -> None:
        """Find out whether random numbers tell how many tokens are written, or only where."""
        course = course_of(prompt, decoder, "one", blocks)
        other = course if decoder.deterministic else course_of(prompt, decoder, "another", blocks)
        if course is not None and other is not None and decoder.remasks:
            # What falls open by chance is written again by chance; its calls are what counts.
            of_writes = course.writes if course.writes == other.writes else None
            course, other = course._replace(writes=of_writes), other._replace(writes=of_writes)
        if course == other:
            self._known[place] = course
        else:
            self._drawn.add(place)
