"""Text writing: sentences judged by a grammar engine, since right answers cannot be listed.

*Question:* a summary of a short dialogue in one sentence, a sentence in other words, or a
sentence with given words: related ones (easy), loosely related ones (medium) or unrelated ones
(hard).

*Why it is hard:* the words of a sentence agree with each other in number, article and
position.  A decoder that commits several in parallel, each from its own marginal, doubles words
and joins halves of two sentences.

*Theory:* the answer distribution cannot be listed, so there is no ideal model, no bound and no
oracle; dependence can only be estimated with a model.

*Marks:* as in the paper the headline is grammar: 1 if the engine named by the field
``grammar`` finds no error in the reply, else 0.  The strict mark also asks whether
the reply fulfils the task: it is grammar times the scores of the task, as in the
original benchmark's products, but with whole words, in upper or lower case, for substrings.

*Problems of a reply*, first match: ``too long``, over 4,096 characters, scored
like an empty reply; ``empty``, without a word; ``ungrammatical``.

*Parts of the marks:* ``grammar``; then by task

==============  ==========================================================================
summarization   ``rouge_l``; ``summary_score``, which is ``rouge_l`` times ``grammar``
paraphrasing    ``one_minus_bleu``, against the sentence given; with a model also
                ``bertscore_f1``, against the same, and the product of all, ``paraphrase_score``
w2s             ``words``, the share that occur as whole words in upper or lower case, and
                ``words_substring``, that occur anywhere, in the given case;
                ``sentence_to_words_score``: 1 if all occur anywhere and grammar is right
==============  ==========================================================================

The products have the names of the original benchmark.  The paper does not say which text BLEU and
BERTScore are taken against.

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
from parallelbench.ranges import whole
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
    read_texts,
    read_word_sets,
    texts_digest,
)


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """Ask for a sentence and let a grammar engine judge it.

    The number of a sample determines its text, for every seed.

    Attributes:
        shots: Number of worked examples; 0 by default, as in the paper.
        grammar: Grammar engine: ``lingotweaker``, ``harper`` or ``languagetool``.  Different
            engines are different metrics.

    Raises:
        ValueError: An unknown engine.
    """

    # 2: a reply of more than 4,096 characters is too long.  3: ROUGE-L is stemmed, BLEU is not
    # smoothed, words_substring is case-sensitive, and BERTScore reads the first word as if a blank
    # preceded it.
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
        """Start the grammar engine; return the versions of external scores, by score."""
        return {"grammar": f"{self.grammar} {open_engine(self.grammar).version}"}

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return the grammar score and, as strict score, grammar times fulfilment.

        Raises:
            EngineError: An engine is not installed or stopped answering.
        """
        text, problem = plain_text(reply), "empty"
        if len(text) > MOST_CHARACTERS:
            text, problem = "", "too long"
        if words_of(text):
            (errors,) = open_engine(self.grammar).problems([text])
            problem = "ungrammatical" if errors else ""
        grammar = float(not problem)
        strict, parts = self.fulfilled(sample, text, grammar)
        return Marks(
            strict=strict * grammar,
            lenient=grammar,
            failure=problem or None,
            parts={"grammar": grammar, **parts},
        )

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> NoReturn:
        """Refuse, because the right answers cannot be listed.

        Raises:
            NotEnumerableError: Always.
        """
        raise NotEnumerableError(
            f"{self.name}: the right answers cannot be listed, as every good text is one; "
            "the ideal model, oracles and bounds need tasks with a known answer distribution "
            "(parallelbench list tasks); run this task with a model such as hf:PATH or api:URL"
        )

    @abstractmethod
    def fulfilled(
        self, sample: Sample, text: str, grammar: float
    ) -> tuple[float, dict[str, float]]:
        """Return the degree in [0, 1] to which ``text`` fulfils the task, and the parts.

        Args:
            sample: Sample of this task, or one with the same facts.
            text: Reply, as returned by :func:`~parallelbench.tasks.text_scores.plain_text`.
            grammar: Grammar score, a factor of the original benchmark's products.
        """

    def _another(self, rng: random.Random, index: int, problem: Question) -> Question:
        # Each number is another text, so an example is another number.
        others = (self.count_samples() or 0) - 1
        if others < 1:
            raise SourceError(
                f"{self.name}: shots={self.shots} needs a second text, but there is only one"
            )
        other = rng.randrange(others)
        return self.pose(rng, other + (other >= index % (others + 1)))


@dataclass(frozen=True, kw_only=True)
class Rewriting(TextTask):
    """Give a text and ask for another one with the same meaning.

    Attributes:
        columns: Columns of the paper's data set.
        source: ``own``, or the paper's data set: an id on the hub, a folder or a file.
    """

    columns: ClassVar[Columns]

    source: str = OWN

    def count_samples(self) -> int:
        """Return the number of texts."""
        return len(self._texts)

    def sources(self) -> dict[str, str]:
        """Return the digest of the texts of ``source``; nothing for our own.

        Raises:
            SourceError: The source cannot be read.
        """
        return {} if self.source == OWN else {f"source={self.source}": texts_digest(self._texts)}

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return the text numbered ``index``, modulo the number of texts."""
        texts = self._texts
        text, references = texts[index % len(texts)]
        return Question(
            slots={"text": text},
            reference=rng.choice(references),
            facts={"text": text, "references": list(references)},
        )

    @cached_property
    def _texts(self) -> tuple[Text, ...]:
        # Cached, so that editing the file during a run does not mix two versions.
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
        """Start the grammar engine; return the versions of external scores, by score."""
        return {**Rewriting.engines(self), **engine_versions(["rouge_l"])}

    def fulfilled(
        self, sample: Sample, text: str, grammar: float
    ) -> tuple[float, dict[str, float]]:
        """Return ROUGE-L against the closest reference, and the parts of the marks."""
        # The data set has one summary per dialogue; of several the closest counts.
        rouge = max(rouge_l(reference, text) for reference in sample.facts["references"])
        return rouge, {"rouge_l": rouge, "summary_score": rouge * grammar}


@TASKS.register("text_writing/paraphrasing")
@dataclass(frozen=True, kw_only=True)
class Paraphrasing(Rewriting):
    """Paraphrase a sentence.

    Attributes:
        bertscore: Folder of the model for BERTScore; None leaves out that score and the
            original's product.
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
        """Start the grammar engine; return the versions of external scores, by score."""
        versions = {**Rewriting.engines(self), **engine_versions(["one_minus_bleu"])}
        if self.bertscore is None:
            return versions
        check_bertscore(self.bertscore)
        (release,) = engine_versions(["bertscore_f1"]).values()
        return {**versions, "bertscore_f1": f"{release}, {self.bertscore}"}

    def sources(self) -> dict[str, str]:
        """Return the digests of external texts and of the model for BERTScore."""
        return {**Rewriting.sources(self), **bertscore_source(self.bertscore)}

    def fulfilled(
        self, sample: Sample, text: str, grammar: float
    ) -> tuple[float, dict[str, float]]:
        """Return the product of the scores against the given text, and the parts."""
        given = sample.facts["text"]
        parts = {"one_minus_bleu": one_minus_bleu(given, text)}
        if self.bertscore is not None:
            parts["bertscore_f1"] = bertscore_f1(self.bertscore, given, text)
        fulfilled = math.prod(parts.values())
        # Without BERTScore the product would be another score under the same name.
        product = {} if self.bertscore is None else {"paraphrase_score": fulfilled * grammar}
        return fulfilled, {**parts, **product}


@dataclass(frozen=True, kw_only=True)
class WordsToSentence(TextTask):
    """Ask for one sentence with given words.

    Attributes:
        level: Relation of the words: ``easy``, ``medium`` or ``hard``.
        word_count: Number of words, 1 to 7: the first ones of each set; with more than 4 there is
            no reference.

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

    word_count: int = whole(1, 4, "words", most=7)

    def __post_init__(self) -> None:
        TextTask.__post_init__(self)
        if self.shots and self.word_count > 4:
            raise ValueError(
                f"shots={self.shots} needs example sentences, and there are none for "
                f"word_count={self.word_count}; use at most 4 words"
            )

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return the word set numbered ``index``, modulo the number of sets."""
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
        """Return 1 if all words occur as whole words, else 0, and the parts of the marks."""
        asked = sample.facts["words"]
        whole, anywhere = share_of_words(asked, text), share_of_substrings(asked, text)
        return float(whole == 1), {
            "words": whole,
            "words_substring": anywhere,
            "sentence_to_words_score": float(anywhere == 1) * grammar,
        }


@TASKS.register("text_writing/w2s_easy")
class RelatedWords(WordsToSentence):
    """Write a sentence with related words."""

    name = "text_writing/w2s_easy"
    level = "easy"
    origin = "100 sets of related words of our own"


@TASKS.register("text_writing/w2s_medium")
class LooselyRelatedWords(WordsToSentence):
    """Write a sentence with loosely related words."""

    name = "text_writing/w2s_medium"
    level = "medium"
    origin = "100 sets of loosely related words of our own"


@TASKS.register("text_writing/w2s_hard")
class UnrelatedWords(WordsToSentence):
    """Write a sentence with unrelated words."""

    name = "text_writing/w2s_hard"
    level = "hard"
    origin = "100 sets of unrelated words of our own"
