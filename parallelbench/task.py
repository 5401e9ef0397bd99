"""A task: it draws samples, marks replies, and knows the distribution of right answers.

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

from parallelbench.errors import NotEnumerableError
from parallelbench.ranges import MOST_SHOTS, MOST_TOKENS
from parallelbench.registry import Registry, unknown
from parallelbench.score import Marks

#: How many right answers are listed unless the caller asks for more.
DEFAULT_LIMIT = 100_000


class Message(NamedTuple):
    """One turn of the chat that puts the question."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Sample:
    """A question, drawn by a task from nothing but a seed and an index.

    Attributes:
        id: Unique within a run's task; the same for the same task and index.
        messages: The chat: worked examples first (user, assistant, ...), the question last.
        reference: One right answer, in the form that was asked for.
        facts: What the scorer and the law need: JSON values only.
        open_spans: None for a free answer.  In the infilling form, the character spans
            ``(start, end)`` of ``reference`` that the decoder fills; everything else of
            ``reference`` already stands on the canvas.
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
        """SHA-256 over everything above: two samples are the same iff this is."""
        content = [self.id, self.messages, self.reference, dict(self.facts), self.open_spans]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Answers:
    """Every right answer of one sample, with whole-number weights.

    Weights are whole numbers so that conditional probabilities are ratios of exact
    sums: the ideal model then predicts the same bits at any batch size.

    Attributes:
        texts: The right answers, each once, in the form that was asked for.
        weights: One positive whole number each; an answer's probability is its share.

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
            raise ValueError("a law needs at least one right answer, got none")
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
        """Return the law that gives every one of ``texts`` the same probability."""
        listed = tuple(texts)
        return cls(texts=listed, weights=(1,) * len(listed))

    @cached_property
    def probabilities(self) -> tuple[float, ...]:
        """Each answer's probability; they sum to 1 up to rounding."""
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Question:
    """A question before it is put into words.

    Attributes:
        slots: What a prompt template may name in braces.
        reference: One right answer.
        facts: What scoring and the law need: JSON values only.
        open_spans: As in :class:`~parallelbench.task.Sample`.
    """

    slots: Mapping[str, str]
    reference: str
    facts: Mapping[str, Any]
    open_spans: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Draws samples and marks replies to them; holds no state between the two.

    A subclass is a frozen dataclass whose fields are the task's sizes and forms; it says
    how to pose a problem, how to mark a reply and what the right answers are.

    Attributes:
        name: As registered: ``family/task``.
        version: Raised by every change that could change a sample or a mark.
        templates: Prompt templates by name; ``"default"`` and at least two paraphrases.
        words: Words that a word-level tokenizer should give one token each.
        law_known: Whether the law of right answers is known, be it that some sizes have too
            many to be listed.
        scores: What a reply is marked by, the headline first.
        origin: Where the samples come from.
        licence: Of what they are drawn from, as SPDX names it.
        samples: How many different samples there are at the defaults; None for no limit.
        template: Which of ``templates`` puts the question.
        shots: How many worked examples precede it, 0 to 1,000.
        canvas_length: Tokens that the decoder may write, in the free form, 1 to 100,000.

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
    shots: int = 1
    canvas_length: int = 32

    def __post_init__(self) -> None:
        if self.template not in self.templates:
            raise ValueError(unknown("template", self.template, self.templates))
        if not 0 <= self.shots <= MOST_SHOTS:
            raise ValueError(f"shots must be 0 to {MOST_SHOTS:,} examples, got {self.shots}")
        if not 1 <= self.canvas_length <= MOST_TOKENS:
            raise ValueError(
                f"canvas_length must be 1 to {MOST_TOKENS:,} tokens, got {self.canvas_length}"
            )

    def draw(self, rng: random.Random, index: int) -> Sample:
        """Return the sample numbered ``index``, using no randomness but ``rng``.

        The problem is drawn before the examples, so the same seed and index pose the same
        problem under every template and number of shots.
        """
        problem = self.pose(rng, index)
        messages: list[Message] = []
        for _ in range(self.shots):
            example = self._another(rng, index, problem)
            messages += [
                Message("user", self._worded(example)),
                Message("assistant", example.reference),
            ]
        messages.append(Message("user", self._worded(problem)))
        return Sample(
            id=f"{self.name}/{index:05d}",
            messages=tuple(messages),
            reference=problem.reference,
            facts=problem.facts,
            open_spans=problem.open_spans,
        )

    def count_samples(self) -> int | None:
        """Return how many different samples there are; None for no limit.

        Raises:
            RequestError: What they are drawn from cannot be had.
        """
        return self.samples

    def engines(self) -> dict[str, str]:
        """Start what marks replies beside our own rules; return its versions by score.

        Asked once in every process of a run, before a model is loaded.

        Raises:
            EngineError: Something is not installed, or does not start.
        """
        return {}

    def sources(self) -> dict[str, str]:
        """Return the digests of what is read from outside the package, by the field that names it.

        A run in which one of them changed does not go on.

        Raises:
            RequestError: Something cannot be read.
        """
        return {}

    @abstractmethod
    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a problem of this task, using no randomness but ``rng``."""

    @abstractmethod
    def score(self, sample: Sample, reply: str) -> Marks:
        """Return what ``reply`` is worth; never raises, whatever ``reply`` is."""

    @abstractmethod
    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return the exact law of the right answers to ``sample``.

        Raises:
            NotEnumerableError: There are more than ``limit``, or they cannot be listed;
                the message says which, with the number where it is known.
        """

    def _worded(self, problem: Question) -> str:
        return self.templates[self.template].format(**problem.slots)

    def _another(self, rng: random.Random, index: int, problem: Question) -> Question:
        # An example must not give the question away.  A task that asks the same every
        # time has no other example to offer, hence the bound.
        for _ in range(20):
            example = self.pose(rng, index)
            if example.slots != problem.slots:
                break
        return example


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
    """Return the generator of one sample: any (seed, task, index) can be redrawn alone."""
    # Seeding from text goes through SHA-512, which no platform or version changes.
    return random.Random(f"{seed}/{name}/{index}")


TASKS: Registry[type[Task]] = Registry("task")
