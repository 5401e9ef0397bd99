"""The contract of tasks: draw samples, score replies, and know the answer distribution.

Source: the set V(x) of right answers and the distribution P(y|x) over it are those of Kang et
al., ParallelBench (arXiv:2510.04767), section 3.
"""

from __future__ import annotations

import hashlib
import json
import random
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from parallelbench.distributions.texts import TextTrellis
from parallelbench.errors import NotEnumerableError
from parallelbench.ranges import MOST_SHOTS, MOST_TOKENS, check_ranges, whole
from parallelbench.registry import Registry, unknown
from parallelbench.score import Marks

#: Default maximum number of right answers to list.
DEFAULT_LIMIT = 100_000


class Message(NamedTuple):
    """One message of a prompt's chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Sample:
    """A question of a task, determined by a seed and an index.

    Attributes:
        id: Identifier, unique within a run's task; the same for the same task and index.
        messages: Chat: worked examples first (user, assistant, ...), the question last.
        reference: One right answer, in the requested form.
        facts: Values that scoring and the answer distribution need: JSON values only.
        open_spans: None for a free answer.  In the infilling form, the character spans
            ``(start, end)`` of ``reference`` that the decoder fills; the rest of ``reference``
            is already on the canvas.
    """

    id: str
    messages: tuple[Message, ...]
    reference: str
    facts: Mapping[str, Any]
    open_spans: tuple[tuple[int, int], ...] | None = None

    def __repr__(self) -> str:
        turns = f"{len(self.messages)} message{'s' if len(self.messages) != 1 else ''}"
        return f"Sample({self.id}: {turns}, a right answer is {reprlib.repr(self.reference)})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all fields: equal for equal samples only."""
        content = [self.id, self.messages, self.reference, dict(self.facts), self.open_spans]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Answers:
    """The distribution of a sample's right answers: their texts and whole-number weights.

    Weights are whole numbers so that conditional probabilities are ratios of exact
    sums: the ideal model then predicts the same bits at any batch size.

    Attributes:
        texts: Right answers, each once, in the requested form.
        weights: Weight of each answer, a positive whole number proportional to its
            probability.

    Raises:
        ValueError: No answer, an answer twice, or weights that are not one positive
            whole number per answer.

    Example:
        >>> Answers.uniform(["heads", "tails"]).probabilities
        (0.5, 0.5)
    """

    texts: tuple[str, ...]
    weights: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.texts:
            raise ValueError("an answer distribution needs at least one right answer, got none")
        if len(set(self.texts)) != len(self.texts):
            twice = next(text for text in self.texts if self.texts.count(text) > 1)
            raise ValueError(f"a right answer is listed twice: {twice!r}")
        if len(self.weights) != len(self.texts):
            raise ValueError(f"{len(self.texts)} answers have {len(self.weights)} weights")
        for text, weight in zip(self.texts, self.weights, strict=True):
            if weight <= 0:
                raise ValueError(f"answer {text!r} has weight {weight}; it must be at least 1")

    @classmethod
    def uniform(cls, texts: Iterable[str]) -> Answers:
        """Return the uniform distribution over ``texts``."""
        listed = tuple(texts)
        return cls(texts=listed, weights=(1,) * len(listed))

    @cached_property
    def probabilities(self) -> tuple[float, ...]:
        """The probability of each answer; they sum to 1 up to rounding."""
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Question:
    """A question before it is rendered by a prompt template.

    Attributes:
        slots: Values of the fields in braces of a prompt template.
        reference: One right answer.
        facts: Values that scoring and the answer distribution need: JSON values only.
        open_spans: Open character spans of ``reference``, as in
            :class:`~parallelbench.task.Sample`.
    """

    slots: Mapping[str, str]
    reference: str
    facts: Mapping[str, Any]
    open_spans: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task: it draws samples and scores replies, without state.

    A subclass is a frozen dataclass whose fields are the task's sizes and forms; it defines how
    to pose a question, how to score a reply and what the right answers are.

    Attributes:
        name: Registered name: ``family/task``.
        version: Version number, raised by every change that could change a sample or a score.
        templates: Prompt templates by name; ``"default"`` and at least two paraphrases.
        words: Words that a word-level tokenizer should make one token each.
        law_known: True if the answer distribution is known, even if some sizes have too many
            answers to list.
        scores: Names of the scores of a reply, the headline first.
        origin: Origin of the samples.
        licence: SPDX name of the licence of their source.
        samples: Number of different samples at the defaults; None for no limit.
        template: Name of the template that renders the question.
        shots: Number of worked examples before it, 0 to 1,000.
        canvas_length: Number of canvas tokens in the free form, 1 to 100,000.

    Raises:
        ValueError: An unknown template, or a number of shots or tokens out of range.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    templates: ClassVar[Mapping[str, str]]
    words: ClassVar[tuple[str, ...]] = ()
    law_known: ClassVar[bool] = True
    scores: ClassVar[tuple[str, ...]] = ("exact",)
    origin: ClassVar[str] = "drawn by rule from lists of our own"
    licence: ClassVar[str] = "Apache-2.0"
    samples: ClassVar[int | None] = None

    template: str = "default"
    shots: int = whole(0, 1, "examples", most=MOST_SHOTS)
    canvas_length: int = whole(1, 32, "tokens", most=MOST_TOKENS)

    def __post_init__(self) -> None:
        if self.template not in self.templates:
            raise ValueError(unknown("template", self.template, self.templates))
        check_ranges(self)

    def draw(self, rng: random.Random, index: int) -> Sample:
        """Draw the sample numbered ``index``; all randomness comes from ``rng``.

        The question is drawn before the examples, so the same seed and index give the same
        question under every template and number of shots.
        """
        question = self.pose(rng, index)
        messages: list[Message] = []
        for _ in range(self.shots):
            example = self._another(rng, index, question)
            messages += [
                Message("user", self._worded(example)),
                Message("assistant", example.reference),
            ]
        messages.append(Message("user", self._worded(question)))
        return Sample(
            id=f"{self.name}/{index:05d}",
            messages=tuple(messages),
            reference=question.reference,
            facts=question.facts,
            open_spans=question.open_spans,
        )

    def count_samples(self) -> int | None:
        """Return the number of different samples; None for no limit.

        Raises:
            RequestError: Their source cannot be read.
        """
        return self.samples

    def engines(self) -> dict[str, str]:
        """Start external scoring engines; return their versions by score.

        Called once in every process of a run, before a model is loaded.

        Raises:
            EngineError: An engine is not installed, or does not start.
        """
        return {}

    def sources(self) -> dict[str, str]:
        """Return the digests of files outside the package, by the field that names them.

        A run whose digests changed cannot be continued.

        Raises:
            RequestError: A file cannot be read.
        """
        return {}

    @abstractmethod
    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a question of this task; all randomness comes from ``rng``."""

    @abstractmethod
    def score(self, sample: Sample, reply: str) -> Marks:
        """Score ``reply``; never raises, for any text."""

    @abstractmethod
    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return the exact distribution of the right answers to ``sample``.

        Raises:
            NotEnumerableError: There are more than ``limit``, or they cannot be listed; the
                message gives the reason, with the number if it is known.
        """

    def trellis(self, sample: Sample) -> TextTrellis | None:  # noqa: ARG002  most tasks list
        """Return the distribution of the right answers as a trellis; None if they are listed.

        Raises:
            NotEnumerableError: The trellis would be too large; the message has the numbers.
        """
        return None

    def _worded(self, question: Question) -> str:
        return self.templates[self.template].format(**question.slots)

    def _another(self, rng: random.Random, index: int, question: Question) -> Question:
        # An example must not equal the question.  A task with a single question has no other
        # example, hence the limit.
        for _ in range(20):
            example = self.pose(rng, index)
            if example.slots != question.slots:
                break
        return example


class TrellisTask(Task):
    """A task whose right answers have structure and may be far too many to list.

    A subclass defines :meth:`trellis` in place of :meth:`~Task.answers`.
    """

    @abstractmethod
    def trellis(self, sample: Sample) -> TextTrellis:
        """Return the distribution of the right answers as a trellis."""

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """List the right answers of the trellis.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        trellis = self.trellis(sample)
        refuse_over(limit, trellis.count, f"{self.name}, with this sample,")
        texts, weights = zip(*trellis.texts(), strict=True)
        return Answers(texts=texts, weights=weights)


def refuse_over(limit: int, count: int, of_what: str) -> None:
    """Refuse to list more than ``limit`` right answers.

    Raises:
        NotEnumerableError: ``count`` exceeds ``limit``.
    """
    if count > limit:
        raise NotEnumerableError(
            f"{of_what} has {count:,} right answers, over the limit of {limit:,}; "
            "ask for a smaller size or raise the limit"
        )


def sample_rng(seed: int, name: str, index: int) -> random.Random:
    """Return the random generator of one sample, determined by seed, task and index."""
    # Seeding from text uses SHA-512, which is the same on every platform and version.
    return random.Random(f"{seed}/{name}/{index}")


TASKS: Registry[type[Task]] = Registry("task")
