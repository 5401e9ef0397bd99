"""The original benchmark's free text, imported from a checkout, and marked by its scores.

*Asked:* what its files ask, in its words.

*How it is marked:* the headline is grammar, as on the original's board: 1 if the engine named
by the field ``grammar`` finds nothing wrong with the reply and the reply is not empty.  A reply of
more than 4,096 characters is marked as an empty one is, with the problem ``too long``.

*Parts of the marks*, by the metric of the files:

===========================  =============================================================
``sentence_to_words_score``  1 if every word asked for stands in the reply, also inside
                             others, in the same case, and grammar is right; beside it
                             ``words_substring``, the share of them that do, and ``words``,
                             that are whole words in upper or lower case
``summary_score``            ``rouge_l`` times grammar
``paraphrase_score``         ``one_minus_bleu`` times ``bertscore_f1`` times grammar, both
                             against the text that was given; only with a model for BERTScore
===========================  =============================================================

and ``grammar``, and ``ours``: the strict mark that our own task of that kind would give, which
wants whole words and at least one word.

The original's grammar is LanguageTool's.  By another engine it is another score, and so is
every product with it: their names then end in the engine's, as ``grammar@lingotweaker``.

*Where the theory stands:* as for ``text_writing``, the law of right answers cannot be listed.

Source: Kang et al., ParallelBench (arXiv:2510.04767).  What it leaves open, and what is taken
here, is told in ``docs/original.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NoReturn

from parallelbench.errors import NotEnumerableError
from parallelbench.score import Marks
from parallelbench.task import DEFAULT_LIMIT, TASKS, Sample
from parallelbench.tasks.grammar import open_engine
from parallelbench.tasks.original import Imported
from parallelbench.tasks.text_scores import (
    MOST_CHARACTERS,
    bertscore_source,
    plain_text,
    words_of,
)
from parallelbench.tasks.text_writing import Paraphrasing, RelatedWords, Summarization, TextTask

#: Our own task that has the same scores, by the original's metric.
_ALIKE: Mapping[str, type[TextTask]] = {
    "sentence_to_words_score": RelatedWords,
    "summary_score": Summarization,
    "paraphrase_score": Paraphrasing,
}
#: What the original judges grammar with.
_THEIRS = "languagetool"


@TASKS.register("original_text")
@dataclass(frozen=True, kw_only=True)
class OriginalText(Imported):
    """Ask what the original benchmark's files of free text ask, and mark by its scores.

    Attributes:
        grammar: Which engine judges: ``lingotweaker``, ``harper`` or ``languagetool``, which
            is the original's.
        bertscore: Folder of the model for BERTScore, of paraphrases; None leaves that score
            out, and the original's product with it.

    Raises:
        ValueError: As for ``original``; an unknown engine; or a model for BERTScore where
            nothing is marked by it.
    """

    name = "original_text"
    # 2: a reply of more than 4,096 characters is too long.  3: scores as in text_writing/*.
    version: ClassVar[int] = 3
    law_known: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = tuple(_ALIKE)
    other: ClassVar[str] = "original"
    scores: ClassVar[tuple[str, ...]] = ("grammar", *_ALIKE, "ours")

    grammar: str = "lingotweaker"
    bertscore: str | None = None

    def __post_init__(self) -> None:
        Imported.__post_init__(self)
        if self.bertscore is not None and self.metric != "paraphrase_score":
            raise ValueError(
                f"bertscore={self.bertscore} is for paraphrase_score, and {self.metric} does not "
                "ask for it; leave it out"
            )
        self._alike  # noqa: B018  an unknown engine is refused here

    def engines(self) -> dict[str, str]:
        """Start the grammar engine; return the version of each score that is not our own."""
        return {self._named(name): told for name, told in self._alike.engines().items()}

    def sources(self) -> dict[str, str]:
        """Return the digests of the bundle and of the model for BERTScore."""
        return {**Imported.sources(self), **bertscore_source(self.bertscore)}

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return the original's mark for grammar and, strictly, ours for doing what was asked.

        Raises:
            EngineError: What marks it is not installed, or stopped answering.
        """
        text, problem = plain_text(reply), "empty"
        if len(text) > MOST_CHARACTERS:
            text, problem = "", "too long"
        if text:
            (found,) = open_engine(self.grammar).problems([text])
            problem = "ungrammatical" if found else ""
        grammar = float(not problem)
        done, parts = self._alike.fulfilled(sample, text, grammar)
        ours = done * grammar if words_of(text) else 0.0
        return Marks(
            strict=ours,
            lenient=grammar,
            failure=problem or None,
            parts={
                self._named(name): part
                for name, part in {"grammar": grammar, **parts, "ours": ours}.items()
            },
        )

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> NoReturn:  # noqa: ARG002
        """Refuse: nobody can list the right answers.

        Raises:
            NotEnumerableError: Always.
        """
        raise NotEnumerableError(
            f"{sample.id}: any good text is right, so the right answers cannot be listed; the "
            "ideal model and oracles cannot be asked, a model such as hf:PATH or api:URL can"
        )

    @cached_property
    def _alike(self) -> TextTask:
        if self.metric == "paraphrase_score":
            return Paraphrasing(grammar=self.grammar, bertscore=self.bertscore)
        return _ALIKE[self.metric](grammar=self.grammar)

    def _named(self, score: str) -> str:
        by_grammar = score in {"grammar", self.metric, "ours"}
        return f"{score}@{self.grammar}" if by_grammar and self.grammar != _THEIRS else score
