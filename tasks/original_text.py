"""The original benchmark's free text, imported from a checkout, with its scores.

*Question:* the prompts of its files.

*Scoring:* the headline is grammar, as on the original's board: 1 if the engine named by the field
``grammar`` finds no error in the reply and the reply is not empty.  A reply of more than 4,096
characters is scored like an empty one, with the problem ``too long``.

*Parts of the marks*, by the metric of the files:

===========================  =============================================================
``sentence_to_words_score``  1 if every given word occurs in the reply, also inside others, in
                             the same case, and grammar is right; with ``words_substring``,
                             the share of words that do, and ``words``, the share that are
                             whole words in upper or lower case
``summary_score``            ``rouge_l`` times grammar
``paraphrase_score``         ``one_minus_bleu`` times ``bertscore_f1`` times grammar, both
                             against the given text; only with a model for BERTScore
===========================  =============================================================

and ``grammar``, and ``ours``: the strict score of our own task of that kind, which requires whole
words and at least one word.

The original's grammar engine is LanguageTool.  With another engine it is another score, and so is
every product with it: the names then end in the engine, such as ``grammar@lingotweaker``.

*Theory:* as for ``text_writing``, the answer distribution cannot be listed.

Source: Kang et al., ParallelBench (arXiv:2510.04767).  ``docs/original.md`` lists the details that
it leaves open and our choices.
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

#: Our own task with the same scores, by the original's metric.
_ALIKE: Mapping[str, type[TextTask]] = {
    "sentence_to_words_score": RelatedWords,
    "summary_score": Summarization,
    "paraphrase_score": Paraphrasing,
}
#: Grammar engine of the original.
_THEIRS = "languagetool"


@TASKS.register("original_text")
@dataclass(frozen=True, kw_only=True)
class OriginalText(Imported):
    """Ask the questions of the original's files of free text, scored by its scores.

    Attributes:
        grammar: Grammar engine: ``lingotweaker``, ``harper`` or ``languagetool``, the original's.
        bertscore: Folder of the model for BERTScore of paraphrases; None leaves out that score
            and the original's product.

    Raises:
        ValueError: The same as for ``original``; an unknown engine; or a model for BERTScore for a
            task that does not use it.
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
                "use it; leave it out"
            )
        _ = self._alike  # refuses an unknown engine

    def engines(self) -> dict[str, str]:
        """Start the grammar engine; return the versions of external scores, by score."""
        return {self._named(name): version for name, version in self._alike.engines().items()}

    def sources(self) -> dict[str, str]:
        """Return the digests of the bundle and of the model for BERTScore."""
        return {**Imported.sources(self), **bertscore_source(self.bertscore)}

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return the original's grammar score and, as strict score, that of our own task.

        Raises:
            EngineError: An engine is not installed or stopped answering.
        """
        text, problem = plain_text(reply), "empty"
        if len(text) > MOST_CHARACTERS:
            text, problem = "", "too long"
        if text:
            (errors,) = open_engine(self.grammar).problems([text])
            problem = "ungrammatical" if errors else ""
        grammar = float(not problem)
        fulfilled, parts = self._alike.fulfilled(sample, text, grammar)
        ours = fulfilled * grammar if words_of(text) else 0.0
        return Marks(
            strict=ours,
            lenient=grammar,
            failure=problem or None,
            parts={
                self._named(name): part
                for name, part in {"grammar": grammar, **parts, "ours": ours}.items()
            },
        )

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> NoReturn:
        """Refuse, because the right answers cannot be listed.

        Raises:
            NotEnumerableError: Always.
        """
        raise NotEnumerableError(
            f"{sample.id}: any good text is right, so the right answers cannot be listed; the "
            "ideal model and oracles need such a list: use a model such as hf:PATH or api:URL"
        )

    @cached_property
    def _alike(self) -> TextTask:
        if self.metric == "paraphrase_score":
            return Paraphrasing(grammar=self.grammar, bertscore=self.bertscore)
        return _ALIKE[self.metric](grammar=self.grammar)

    def _named(self, score: str) -> str:
        by_grammar = score in {"grammar", self.metric, "ours"}
        return f"{score}@{self.grammar}" if by_grammar and self.grammar != _THEIRS else score
