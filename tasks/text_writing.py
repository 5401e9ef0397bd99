"""Text writing: sentences that a grammar checker judges, for no list holds all the right ones.

*Asked:* a summary of a short dialogue in one sentence, a sentence in other words, or a
sentence that holds some given words: related ones (easy), loosely related ones (medium) or
ones that have nothing to do with each other (hard).

*Why it is hard here:* the words of a sentence agree with each other in number, article and
place.  A decoder that writes several at once, each from its own marginal, doubles words and
joins halves of two sentences.

*Where the theory stands:* the law of right answers cannot be listed, so there is no ideal
model, no bound and no oracle; dependence can only be estimated with a model.

*Marks:* as in the paper the headline is grammar: 1 if the engine named by the field
``grammar`` finds nothing wrong with the reply, else 0.  The strict mark also asks whether
the reply does what was asked: it is grammar times the scores of the task, as in the
original benchmark's products, but with whole words, in upper or lower case, for substrings.

*Problems of a reply*, the first that holds: ``too long``, of more than 4,096 characters, which is
marked as an empty reply is; ``empty``, without a word; ``ungrammatical``.

*Parts of the marks:* ``grammar``; then by task

==============  ==========================================================================
summarization   ``rouge_l``; ``summary_score``, which is ``rouge_l`` times ``grammar``
paraphrasing    ``one_minus_bleu``, against the sentence given; with a model also
                ``bertscore_f1``, likewise, and the product of all, ``paraphrase_score``
w2s             ``words``, the share of them that stand as whole words in upper or lower case,
                and ``words_substring``, that stand at all, in the case that was asked for;
                ``sentence_to_words_score``: 1 if all stand so and grammar is right
==============  ==========================================================================

The products have the names of the original benchmark.  Against what it takes BLEU and
BERTScore the paper does not say.

Source: Kang et al., ParallelBench (arXiv:2510.04767), the tasks "Text Writing".
"""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NoReturn

from parallelbench.errors import NotEnumerableError, SourceError
from parallelbench.registry import unknown
from parallelbench.score import Marks
from parallelbench.task import DEFAULT_LIMIT, TASKS, Question, Sample, Task
from parallelbench.tasks.grammar import ENGINES, open_engine
from parallelbench.tasks.text_scores import (
    MOST_CHARACTERS,
    bertscore_f1,
    bertscore_source,
    check_bertscore,
    engine_versions,
    one_minus_bleu,
    plain_text,
    rouge_l,
    share_of_substrings,
    share_of_words,
    words_of,
)
from parallelbench.tasks.text_sources import (
    CC0,
    COUNT,
    OWN,
    PARAPHRASES,
    SAMSUM,
    Columns,
    Text,
    digest_of,
    read_texts,
    read_word_sets,
)


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """Ask for a sentence, and let a grammar engine judge it.

    A sample's number says which text it gives, whatever the seed.

    Attributes:
        shots: None by default, as in the paper.
        grammar: Which engine judges: ``lingotweaker``, ``harper`` or ``languagetool``.
            Different engines are different metrics.

    Raises:
        ValueError: An unknown engine.
    """

    # 2: a reply of more than 4,096 characters is too long.  3: ROUGE-L is stemmed, BLEU is not
    # smoothed, words that stand at all stand in the same case, and BERTScore reads the first word
    # as one behind a blank.
    version: ClassVar[int] = 3
    law_known: ClassVar[bool] = False
    licence: ClassVar[str] = CC0
    samples: ClassVar[int | None] = COUNT

    shots: int = 0
    canvas_length: int = 64
    grammar: str = "lingotweaker"

    def __post_init__(self) -> None:
        Task.__post_init__(self)
        if self.grammar not in ENGINES:
            raise ValueError(unknown("grammar engine", self.grammar, ENGINES))

    def engines(self) -> dict[str, str]:
        """Start the grammar engine; return the version of each score that is not our own."""
        return {"grammar": f"{self.grammar} {open_engine(self.grammar).version}"}

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return the mark for grammar and, strictly, for doing what was asked.

        Raises:
            EngineError: What marks it is not installed, or stopped answering.
        """
        text, problem = plain_text(reply), "empty"
        if len(text) > MOST_CHARACTERS:
            text, problem = "", "too long"
        if words_of(text):
            (found,) = open_engine(self.grammar).problems([text])
            problem = "ungrammatical" if found else ""
        grammar = float(not problem)
        strict, parts = self.fulfilled(sample, text, grammar)
        return Marks(
            strict=strict * grammar,
            lenient=grammar,
            failure=problem or None,
            parts={"grammar": grammar, **parts},
        )

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> NoReturn:  # noqa: ARG002
        """Refuse: nobody can list the right answers.

        Raises:
            NotEnumerableError: Always.
        """
        raise NotEnumerableError(
            f"{self.name}: the right answers cannot be listed, for any good text is one; the ideal "
            "model, oracles and bounds need tasks whose law is known (parallelbench list tasks), "
            "and this one a model such as hf:PATH or api:URL"
        )

    @abstractmethod
    def fulfilled(
        self, sample: Sample, text: str, grammar: float
    ) -> tuple[float, dict[str, float]]:
        """Return how far ``text`` does what was asked, and the parts of the marks.

        Args:
            sample: Of this task, or one with the same facts.
            text: The reply, as :func:`~parallelbench.tasks.text_scores.plain_text` gives it.
            grammar: The mark for grammar, by which the original's products are multiplied.
        """

    def _another(self, rng: random.Random, index: int, problem: Question) -> Question:  # noqa: ARG002
        # Every text is asked for under its own number.
        others = (self.count_samples() or 0) - 1
        if others < 1:
            raise SourceError(
                f"{self.name}: shots={self.shots} needs another text, and there is only one"
            )
        other = rng.randrange(others)
        return self.pose(rng, other + (other >= index % (others + 1)))


@dataclass(frozen=True, kw_only=True)
class Rewriting(TextTask):
    """Give a text and ask for another that says the same.

    Attributes:
        columns: How the data set of the paper is published.
        source: ``own``, or that data set: an id on the hub, a folder or a file.
    """

    columns: ClassVar[Columns]

    source: str = OWN

    def count_samples(self) -> int:
        """Return how many texts there are."""
        return len(self._texts)

    def sources(self) -> dict[str, str]:
        """Return the digest of the texts that are taken from ``source``, unless they are our own.

        Raises:
            SourceError: It cannot be read.
        """
        return {} if self.source == OWN else {f"source={self.source}": digest_of(self._texts)}

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return the text numbered ``index``; behind the last comes the first again."""
        texts = self._texts
        text, references = texts[index % len(texts)]
        return Question(
            slots={"text": text},
            reference=rng.choice(references),
            facts={"text": text, "references": list(references)},
        )

    @cached_property
    def _texts(self) -> tuple[Text, ...]:
        # Kept: a file that is edited during a run does not mix two versions.
        return read_texts(self.source, self.columns, self.grammar)


@TASKS.register("text_writing/summarization")
@dataclass(frozen=True, kw_only=True)
class Summarization(Rewriting):
    """Summarize a dialogue in one sentence."""

    name = "text_writing/summarization"
    columns = SAMSUM
    scores = ("grammar", "rouge_l", "summary_score")
    origin = "100 dialogues of our own; source=PATH|ID: SAMSum"
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Summarize this conversation in one sentence.\n\n{text}\n\n"
            "Answer with the summary and nothing else."
        ),
        "terse": "{text}\n\nOne-sentence summary, nothing else:",
        "story": (
            "You overhear these people and want to tell a friend, in a single sentence, what "
            "they were talking about.\n\n{text}\n\nWrite just that sentence."
        ),
    }

    def engines(self) -> dict[str, str]:
        """Start the grammar engine; return the version of each score that is not our own."""
        return {**Rewriting.engines(self), **engine_versions(["rouge_l"])}

    def fulfilled(
        self, sample: Sample, text: str, grammar: float
    ) -> tuple[float, dict[str, float]]:
        """Return ROUGE-L against the nearest reference, and the parts of the marks."""
        # The data set has one summary of each dialogue; of several the nearest counts.
        rouge = max(rouge_l(reference, text) for reference in sample.facts["references"])
        return rouge, {"rouge_l": rouge, "summary_score": rouge * grammar}


@TASKS.register("text_writing/paraphrasing")
@dataclass(frozen=True, kw_only=True)
class Paraphrasing(Rewriting):
    """Say a sentence in other words.

    Attributes:
        bertscore: Folder of the model for BERTScore; None leaves that score out, and the
            original's product with it.
    """

    name = "text_writing/paraphrasing"
    columns = PARAPHRASES
    scores = ("grammar", "one_minus_bleu", "bertscore_f1", "paraphrase_score")
    origin = "100 sentences of our own; source=PATH|ID: ChatGPT-paraphrases"
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Say the following in other words, so that the meaning stays the same.\n\n{text}\n\n"
            "Answer with the new sentence and nothing else."
        ),
        "terse": "Paraphrase, and write nothing else: {text}",
        "story": (
            "A newspaper printed this sentence, and you need to report the same without quoting "
            "it.\n\n{text}\n\nWrite just your own sentence."
        ),
    }

    bertscore: str | None = None

    def engines(self) -> dict[str, str]:
        """Start the grammar engine; return the version of each score that is not our own."""
        told = {**Rewriting.engines(self), **engine_versions(["one_minus_bleu"])}
        if self.bertscore is None:
            return told
        check_bertscore(self.bertscore)
        (release,) = engine_versions(["bertscore_f1"]).values()
        return {**told, "bertscore_f1": f"{release}, {self.bertscore}"}

    def sources(self) -> dict[str, str]:
        """Return the digests of texts that are not our own and of the model for BERTScore."""
        return {**Rewriting.sources(self), **bertscore_source(self.bertscore)}

    def fulfilled(
        self, sample: Sample, text: str, grammar: float
    ) -> tuple[float, dict[str, float]]:
        """Return the product of the scores against the text given, and the parts of the marks."""
        given = sample.facts["text"]
        parts = {"one_minus_bleu": one_minus_bleu(given, text)}
        if self.bertscore is not None:
            parts["bertscore_f1"] = bertscore_f1(self.bertscore, given, text)
        fulfilled = math.prod(parts.values())
        # Without BERTScore it would be another product under the same name.
        product = {} if self.bertscore is None else {"paraphrase_score": fulfilled * grammar}
        return fulfilled, {**parts, **product}


@dataclass(frozen=True, kw_only=True)
class WordsToSentence(TextTask):
    """Ask for one sentence that holds some words.

    Attributes:
        level: How the words are related.
        word_count: How many words, from 1 to 7.  A set's first words are the same for each
            number; with more than 4 there is no reference.

    Raises:
        ValueError: Fewer than 1 word or more than 7, or worked examples of more than 4.
    """

    level: ClassVar[str]
    scores = ("grammar", "words", "words_substring", "sentence_to_words_score")
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Write one sentence in which each of the following appears exactly as it is written "
            "here: {words}.\n\nAnswer with the sentence and nothing else."
        ),
        "terse": "One sentence with {words}. Nothing else.",
        "story": (
            "In a parlor game, you draw some cards and must say one sentence in which everything "
            "on them comes up, letter by letter. Your cards say: {words}. Write just your "
            "sentence."
        ),
    }

    word_count: int = 4

    def __post_init__(self) -> None:
        TextTask.__post_init__(self)
        if not 1 <= self.word_count <= 7:
            raise ValueError(f"word_count must be from 1 to 7, got {self.word_count}")
        if self.shots and self.word_count > 4:
            raise ValueError(
                f"shots={self.shots} needs sentences that hold the words, and there are none for "
                f"word_count={self.word_count}; 4 is the most"
            )

    def pose(self, rng: random.Random, index: int) -> Question:  # noqa: ARG002  nothing is left open
        """Return the word set numbered ``index``; behind the last comes the first again."""
        sets = read_word_sets(self.level)
        words, sentence = sets[index % len(sets)]
        asked = words[: self.word_count]
        return Question(
            slots={"words": ", ".join(asked)},
            reference=sentence if self.word_count <= 4 else "",
            facts={"words": list(asked)},
        )

    def fulfilled(
        self, sample: Sample, text: str, grammar: float
    ) -> tuple[float, dict[str, float]]:
        """Return 1 if all words stand as whole words, else 0, and the parts of the marks."""
        asked = sample.facts["words"]
        whole, anywhere = share_of_words(asked, text), share_of_substrings(asked, text)
        return float(whole == 1), {
            "words": whole,
            "words_substring": anywhere,
            "sentence_to_words_score": float(anywhere == 1) * grammar,
        }


@TASKS.register("text_writing/w2s_easy")
class RelatedWords(WordsToSentence):
    """Write a sentence that holds words which belong together."""

    name = "text_writing/w2s_easy"
    level = "easy"
    origin = "100 sets of related words of our own"


@TASKS.register("text_writing/w2s_medium")
class LooselyRelatedWords(WordsToSentence):
    """Write a sentence that holds words which are loosely related."""

    name = "text_writing/w2s_medium"
    level = "medium"
    origin = "100 sets of loosely related words of our own"


@TASKS.register("text_writing/w2s_hard")
class UnrelatedWords(WordsToSentence):
    """Write a sentence that holds words which have nothing to do with each other."""

    name = "text_writing/w2s_hard"
    level = "hard"
    origin = "100 sets of unrelated words of our own"
