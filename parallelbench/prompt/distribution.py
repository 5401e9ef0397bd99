"""The distribution of the right answers to a prompt, over the tokens of its canvas."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from weakref import WeakKeyDictionary

import numpy as np

from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.distributions.listed import ListedDistribution
from parallelbench.distributions.text_tokens import (
    PieceIds,
    TooLongError,
    TooManyEdgesError,
    token_distribution,
)
from parallelbench.distributions.texts import TextTrellis
from parallelbench.errors import CanvasError, NotEnumerableError
from parallelbench.prompt.canvas import Prompt, lay_out
from parallelbench.prompt.codec import Codec
from parallelbench.task import DEFAULT_LIMIT, Answers

#: Distributions kept for other prompts with the same right answers.
_KEPT = 64


def answer_distribution(prompt: Prompt, limit: int = DEFAULT_LIMIT) -> AnswerDistribution:
    """Return the distribution of the right answers to ``prompt`` over token ids.

    Args:
        prompt: A prompt.
        limit: Maximum number of right answers, where they are listed.

    Raises:
        NotEnumerableError: The right answers are too many to list and have no structure, or their
            structure is too large.
        CanvasError: One of them does not fit the canvas or the tokenizer.
    """
    canvas = tuple(prompt.canvas.tolist())
    trellis = prompt.task.trellis(prompt.sample)
    if trellis is None:
        answers = prompt.task.answers(prompt.sample, limit)
        # Tasks with the same question in every sample (dice) share one distribution.
        return _listed(_Question((prompt.codec, answers, canvas), prompt), answers)
    facts = json.dumps(dict(prompt.sample.facts), sort_keys=True)
    return _structured(_Structured((prompt.codec, prompt.task, facts, canvas), prompt, trellis))


@dataclass(frozen=True)
class _Question:
    """A prompt in a cache.

    Attributes:
        key: Everything that determines the distribution of its right answers.
        prompt: The prompt.
    """

    key: tuple[Hashable, ...]
    prompt: Prompt = field(compare=False)


@dataclass(frozen=True)
class _Structured(_Question):
    """A prompt in the cache of structured distributions.

    Attributes:
        trellis: Distribution of the right answers over texts.
    """

    trellis: TextTrellis = field(compare=False)


@lru_cache(maxsize=_KEPT)
def _listed(question: _Question, answers: Answers) -> ListedDistribution:
    rows = lay_out(question.prompt, answers).numpy()
    return ListedDistribution(rows, np.array(answers.weights), question.prompt.codec.mask_id)


@lru_cache(maxsize=_KEPT)
def _structured(question: _Structured) -> AnswerDistribution:
    prompt, trellis = question.prompt, question.trellis
    name, length, codec = prompt.task.name, len(prompt.canvas), prompt.codec
    ids = piece_ids(trellis, codec, name)
    try:
        return token_distribution(trellis, ids, length, codec.end_id, codec.mask_id)
    except TooLongError as error:
        raise CanvasError(
            f"{name}: the longest right answer takes {error.longest} tokens, but the canvas has "
            f"{length}; set canvas_length={error.longest} or more, or ask for a smaller size"
        ) from error
    except TooManyEdgesError as error:
        raise NotEnumerableError(
            f"{name}: the structure of the right answers is too large: {error}; ask for a smaller "
            "size"
        ) from error
    except ValueError as error:
        raise CanvasError(
            f"{name}: this tokenizer cannot write the pieces of the right answers: {error}; choose "
            "another tokenizer"
        ) from error


def piece_ids(trellis: TextTrellis, codec: Codec, name: str) -> PieceIds:
    """Return the token ids of each piece of ``trellis``.

    Args:
        trellis: Distribution over texts.
        codec: Codec of a model.
        name: Name of the task.

    Raises:
        CanvasError: The tokenizer merges pieces, or changes a right answer.  Of the first sample
            of a task 200 right answers are compared, of others 10.
    """
    texts = list(
        dict.fromkeys(edge.text for stage in dict.fromkeys(trellis.stages) for edge in stage.edges)
    )
    ids = {text: tuple(own) for text, own in zip(texts, codec.encode(texts), strict=True)}
    known = _COMPARED.setdefault(codec, set())
    _compare(trellis, ids, codec, name, answers=10 if name in known else 200)
    known.add(name)
    return ids


#: Names of the tasks of which the pieces were compared, by codec.
_COMPARED: WeakKeyDictionary[Codec, set[str]] = WeakKeyDictionary()


def _compare(trellis: TextTrellis, ids: PieceIds, codec: Codec, name: str, *, answers: int) -> None:
    """Refuse a tokenizer whose tokens of drawn answers are not those of their pieces."""
    rng = random.Random(0)  # noqa: S311  the same answers in every process
    pieces = [trellis.pieces(trellis.draw(rng)) for _ in range(answers)]
    texts = ["".join(each) for each in pieces]
    encoded = codec.encode(texts)
    codec.check_round_trip(texts, encoded)
    for own, tokens in zip(pieces, encoded, strict=True):
        first = 0
        for index, piece in enumerate(own):
            if tuple(tokens[first : first + len(ids[piece])]) != ids[piece]:
                raise CanvasError(
                    f"{name}: the tokenizer merges pieces of a right answer: {piece!r} after "
                    f"{''.join(own[:index])[-20:]!r} is not written as {piece!r} alone; choose a "
                    "tokenizer that does not merge them, or the ideal model's own"
                )
            first += len(ids[piece])
