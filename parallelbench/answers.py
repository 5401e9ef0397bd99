"""The law of a sample's right answers: finitely many texts, each with its probability.

Source: the set V(x) and the law P(y|x) of Kang et al., ParallelBench (arXiv:2510.04767),
section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

#: How many right answers are listed unless the caller asks for more.
DEFAULT_LIMIT = 100_000


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
