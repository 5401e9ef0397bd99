"""What a task is: it draws samples, marks replies, and knows the law of right answers."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from parallelbench.answers import DEFAULT_LIMIT, Answers
from parallelbench.errors import NotEnumerableError
from parallelbench.ranges import MOST_SHOTS, MOST_TOKENS, check_ranges, whole
from parallelbench.registry import Registry, unknown
from parallelbench.sample import Message, Sample
from parallelbench.score import Marks


@dataclass(frozen=True, slots=True)
class Problem:
    """A question before it is put into words.

    Attributes:
        slots: What a prompt template may name in braces.
        reference: One right answer.
        facts: What scoring and the law need: JSON values only.
        open_spans: As in :class:`~parallelbench.sample.Sample`.
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
    shots: int = whole(0, 1, "examples", most=MOST_SHOTS)
    canvas_length: int = whole(1, 32, "tokens", most=MOST_TOKENS)

    def __post_init__(self) -> None:
        if self.template not in self.templates:
            raise ValueError(unknown("template", self.template, self.templates))
        check_ranges(self)

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
    def pose(self, rng: random.Random, index: int) -> Problem:
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

    def _worded(self, problem: Problem) -> str:
        return self.templates[self.template].format(**problem.slots)

    def _another(self, rng: random.Random, index: int, problem: Problem) -> Problem:
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
    return random.Random(f"{seed}/{name}/{index}")  # noqa: S311  not for secrets


TASKS: Registry[type[Task]] = Registry("task")
