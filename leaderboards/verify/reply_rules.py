"""What the tokens of right replies may be: pieces of words, or words, that stand for themselves.

Whoever writes an answer with few tokens has little to write in parallel.  A tokenizer of pieces
that are cut at blanks, as nearly all published ones are, never spells two words with one
token, and a word-level tokenizer spells one.  So the words of right replies are counted that
share a token with the word before: where these are many, the tokenizer was made for the answers.
Counting words rather than characters leaves nothing to choose for the submitter: how many
characters a token of ordinary text has depends on how much of that the tokenizer packs, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from parallelbench.leaderboards.verify.spelling import Spelling, letters_of, words_in
from parallelbench.prompt import Codec
from parallelbench.record import Record

#: Words of right replies to a task that may share a token with the word before, as a share of the
#: words that their answers have.
MOST_PACKED: Final = 0.1
#: What special tokens are written with, and words are not.
_SIGNS: Final = re.compile(r"[<>\[\]|{}\u25c1\u25b7\uff5c]|\A\W*\Z")


class ReplyRules:
    """The rules for the replies of one model.

    Args:
        label: The model's setting.
        codec: How it reads and writes text.
    """

    def __init__(self, label: str, codec: Codec) -> None:
        self._label = label
        self._codec = codec
        self._spelling = Spelling(codec)
        self._seen: set[tuple[str, int, tuple[int, ...]]] = set()
        self._words: Counter[str] = Counter()
        self._packed: Counter[str] = Counter()
        self._several: set[str] = set()
        self._alone: list[str] = []
        self._unspelled: list[str] = []
        self._hidden: Counter[str] = Counter()

    def add(self, record: Record, reference: str) -> None:
        """Take note of a record whose text and marks were computed from its ids.

        Args:
            record: Of the model.
            reference: A right answer to its sample and nothing else: words around the answer
                would make those that are packed into tokens look few.
        """
        if record.marks is None or not record.marks.lenient > 0:
            return
        ids = tuple(self._codec.before_end(record.decoding.output_ids))
        key = (record.task_label, record.index, ids)
        if key in self._seen:
            return
        self._seen.add(key)
        visible = self._spelling.visible(ids)
        spelled = self._spelling.text(visible)
        words = [words_in(self._spelling.text([token])) for token in visible]
        self._words[record.task_label] += words_in(reference)
        self._packed[record.task_label] += sum(max(0, count - 1) for count in words)
        self._several |= {
            self._spelling.text([token]).strip()
            for token, count in zip(visible, words, strict=True)
            if count > 1
        }
        if len(visible) == 1 and words[0] > 1:
            self._alone.append(record.text)
        # What was thought before the answer is no part of the text.
        if not letters_of(spelled).endswith(letters_of(record.text)):
            self._unspelled.append(record.text)
        hidden = {token for token in ids if token in self._spelling.hidden}
        self._hidden.update(self._spelling.text([token]).strip() for token in hidden)

    def faults(self) -> Iterator[str]:
        """Yield what no tokenizer may do that reads replies for a board."""
        if self._alone:
            yield (
                f"{self._label!r}: {len(self._alone)} right replies of several words are a single "
                f"token, the first {self._alone[0]!r:.80}: such a tokenizer writes answers that no "
                "other has to write in parallel; enter with the checkpoint's own"
            )
        for task, words in self._words.items():
            packed = self._packed[task]
            if packed > MOST_PACKED * words:
                yield (
                    f"{self._label!r}: {packed} words of its right replies to {task}, whose "
                    f"answers have {words} words, share a token with the word before, such as "
                    f"{max(self._several, key=len)!r:.80}; at most {MOST_PACKED:.0%} may, since "
                    "such a tokenizer leaves little to write in parallel; enter with the "
                    "checkpoint's own"
                )
        if self._unspelled:
            yield (
                f"{self._label!r}: the tokens of {len(self._unspelled)} right replies do not spell "
                f"them, the first {self._unspelled[0]!r:.80}: the tokenizer's decoder writes "
                "another text; enter with the checkpoint's own"
            )
        plain = [text for text in self._hidden if not _SIGNS.search(text)]
        if plain:
            yield (
                f"{self._label!r}: {plain[0]!r:.60} is called a special token, so replies hide it, "
                "and it is a word like others; enter with the checkpoint's own tokenizer"
            )

    def remarks(self) -> Iterator[str]:
        """Yield what a reader should know of the tokenizer."""
        if self._several:
            longest = max(self._several, key=len)
            yield (
                f"{self._label!r}: {len(self._several)} of the tokens in its right replies spell "
                f"several words at once, such as {longest!r:.60}"
            )
        if self._hidden:
            text, count = self._hidden.most_common(1)[0]
            yield (
                f"{self._label!r}: right replies hold special tokens, which are no part of their "
                f"text, such as {text!r:.60} in {count} of them"
            )
