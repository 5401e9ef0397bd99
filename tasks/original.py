"""The original benchmark's own samples, imported from a checkout of its repository.

*Question:* the prompts of its files, with its worked examples as turns of the chat.

*Scoring:* by the original's rules (:mod:`parallelbench.tasks.original_rules`), strict score
included, so that scores can be compared with published ones.  The parts of the marks give both:
``original``, and ``ours``, the score after our more careful reading of the reply.  Where they
differ, the form of the reply decided.

*Theory:* that of the task's namesake; the answer distribution is enumerated where the rule leaves
a choice among lists.

Its free text is in :mod:`parallelbench.tasks.original_text`.

None of its data is shipped, because it has no licence:
``parallelbench import original CHECKOUT --out original.jsonl`` makes a bundle of a checkout.

Source: Kang et al., ParallelBench (arXiv:2510.04767).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from parallelbench.errors import NotEnumerableError, RequestError
from parallelbench.registry import unknown
from parallelbench.score import Marks, read_grid, read_list
from parallelbench.task import (
    DEFAULT_LIMIT,
    TASKS,
    Answers,
    Message,
    Question,
    Sample,
    Task,
    refuse_over,
)
from parallelbench.tasks.operations import (
    InsertedAnywhere,
    Operation,
    RemovedAnywhere,
    ReplacedAnywhere,
    Shuffled,
)
from parallelbench.tasks.original_bundle import OriginalSample, read_bundle
from parallelbench.tasks.original_rules import (
    GRID_RULES,
    LIST_RULES,
    original_mark,
    original_strict_mark,
    quoted_list,
)


@dataclass(frozen=True, kw_only=True)
class Imported(Task):
    """Ask the questions of one file of the original benchmark.

    Attributes:
        metrics: Metrics of the original that this class computes.
        other: Registered task for the other metrics.
        path: Bundle quoted_list by ``parallelbench import original``.
        task: Task within the bundle, ``group/task``; None if the bundle has only one.
        digest: Required digest of the bundle; None accepts any.
        shots: Number of worked examples to keep, at most those of the file.

    Raises:
        ValueError: The bundle cannot be read or has another digest, it has no such task, or the
            task's metric belongs to the ``other`` task.
    """

    metrics: ClassVar[tuple[str, ...]]
    other: ClassVar[str]
    address: ClassVar[str] = "path"
    templates: ClassVar[Mapping[str, str]] = {"default": "{question}"}
    origin: ClassVar[str] = "files of the original benchmark, imported by you"
    licence: ClassVar[str] = "none is stated there"

    path: str
    task: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        Task.__post_init__(self)
        if self.metric not in self.metrics:
            task = self._samples[0].task
            raise ValueError(
                f"{task} is scored by {self.metric}: ask for it as "
                f"{self.other}:{self.path}:task={task}"
            )

    @property
    def metric(self) -> str:
        """Metric of the task, by the original's name."""
        return self._samples[0].metric

    def count_samples(self) -> int:
        """Return the number of samples of this task in the bundle."""
        return len(self._samples)

    def sources(self) -> dict[str, str]:
        """Return the digest of the bundle."""
        return {f"path={self.path}": self._bundle[0]}

    def draw(self, rng: random.Random, index: int) -> Sample:
        """Return the sample of line ``index``, for every seed.

        Raises:
            RequestError: The bundle has fewer samples of this task.
        """
        count = self.count_samples()
        if index >= count:
            raise RequestError(
                f"{self.path} has {count} samples of {self._samples[0].task}, but number "
                f"{index + 1} was asked for: --samples {count} takes all of them"
            )
        sample = self._samples[index]
        *examples, (role, question) = sample.messages
        turns = [*examples[: 2 * self.shots], (role, question)]
        return Sample(
            id=f"original/{sample.task}/{index:05d}",
            messages=tuple(_message(*turn) for turn in turns),
            reference=sample.reference,
            facts={**sample.facts, "metric": sample.metric},
        )

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return the question of line ``index``."""
        sample = self.draw(rng, index)
        return Question({"question": sample.messages[-1].content}, sample.reference, sample.facts)

    @cached_property
    def _bundle(self) -> tuple[str, Mapping[str, tuple[OriginalSample, ...]]]:
        return read_bundle(self.path)

    @cached_property
    def _samples(self) -> tuple[OriginalSample, ...]:
        digest, tasks = self._bundle
        if self.digest not in {None, digest}:
            raise ValueError(
                f"{self.path} has digest {digest}, not {self.digest}: it was made from other files"
            )
        task = self.task or (next(iter(tasks)) if len(tasks) == 1 else None)
        if task is None:
            raise ValueError(f"{self.path} holds {', '.join(tasks)}: add task=NAME")
        if task not in tasks:
            raise ValueError(f"{self.path}: {unknown('task', task, tasks)}")
        return tasks[task]


@TASKS.register("original")
@dataclass(frozen=True, kw_only=True)
class Original(Imported):
    """Ask the questions of the original's files of lists and grids, scored by its rules.

    Raises:
        ValueError: The bundle cannot be read or has another digest, it has no such task, or the
            task is one of free text.
    """

    name = "original"
    # 2: lists, grids and strict scores are read as in the original.
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[str, ...]] = (*LIST_RULES, *GRID_RULES)
    other: ClassVar[str] = "original_text"
    scores: ClassVar[tuple[str, ...]] = ("original", "ours")

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if the original's rule passes ``reply``, else 0; strictly in its strict form."""
        facts, metric = sample.facts, str(sample.facts["metric"])
        passed = original_mark(metric, facts, reply)
        strict = passed and original_strict_mark(metric, facts, reply)
        return Marks(
            strict=float(strict),
            lenient=float(passed),
            failure=None if passed else "wrong",
            parts={"original": float(passed), "ours": float(_our_mark(metric, facts, reply))},
        )

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return the uniform distribution over the lists of different items that the rule passes.

        Raises:
            NotEnumerableError: The rule passes more lists than can be listed, or squares.
        """
        metric, facts = str(sample.facts["metric"]), sample.facts
        if metric in {"list_match_score", "sudoku_score"}:
            return Answers.uniform([sample.reference])
        operation = _operation(metric, facts)
        if operation is None:
            raise NotEnumerableError(
                f"{sample.id}: the answers that {metric} passes are not listed for this sample"
            )
        refuse_over(limit, operation.count, sample.id)
        return Answers.uniform(map(quoted_list, operation.results()))


def _message(role: str, content: str) -> Message:
    return Message("assistant" if role == "assistant" else "user", content)


def _our_mark(metric: str, facts: Mapping[str, Any], reply: str) -> bool:
    """Return True if the reply is right after our more careful reading."""
    if metric in LIST_RULES:
        items = read_list(reply)
        return items is not None and LIST_RULES[metric](facts, items)
    if metric == "sudoku_score":
        solution = [list(row) for row in facts["answer"]]
        return read_grid(reply, set().union(*solution)) == solution
    symbols: set[str] = set(facts["symbols"])
    rows: list[list[str]] = read_grid(reply, symbols) or []
    if len(rows) != len(symbols) or any(len(row) != len(symbols) for row in rows):
        return False
    return all(set(line) == symbols for line in (*rows, *zip(*rows, strict=True)))


def _operation(metric: str, facts: Mapping[str, Any]) -> Operation | None:
    items, new = tuple(facts.get("items", ())), facts.get("new")
    if metric == "list_shuffle_score":
        return Shuffled(items)
    if metric == "list_random_remove_score":
        return RemovedAnywhere(items)
    if metric == "list_random_insert_score":
        return InsertedAnywhere(items, str(new))
    return ReplacedAnywhere(items, str(new)) if metric == "list_random_replace_score" else None
