"""Rules for the tokens of right replies: each is a word or a part of one.

An answer of few tokens leaves little to write in parallel.  Nearly all published tokenizers cut
text at blanks, so no token spells two words; a token of a word-level tokenizer spells one.
Therefore the words of right replies that share a token with the word before are counted: where
there are many, the tokenizer was made for the answers.  Counting words rather than characters
leaves the submitter nothing to choose: the mean length of a token in ordinary text also depends
on how much of that text the tokenizer packs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from parallelbench.leaderboards.verify.spelling import Spelling, letters_of, words_in
from parallelbench.prompt import Codec
from parallelbench.record import Record

#: Greatest share of the words of right replies to a task that share a token with the word
#: before, relative to the words of their answers.
MOST_PACKED: Final = 0.1
#: Characters of special tokens, which words do not have.
_SIGNS: Final = re.compile(r"[<>\[\]|{}\u25c1\u25b7\uff5c]|\A\W*\Z")


class ReplyRules:
    """The rules for the replies of one model.

    Args:
        label: The model's setting.
        codec: Codec of the model.
    """

    def __init__(self, label: str, codec: Codec) -> None:
        self._label = label
        self._codec = codec
        self._spelling = Spelling(codec)
        self._known_replies: set[tuple[str, int, tuple[int, ...]]] = set()
        self._words: Counter[str] = Counter()
        self._packed: Counter[str] = Counter()
        self._several: set[str] = set()
        self._alone: list[str] = []
        self._unspelled: list[str] = []
        self._hidden: Counter[str] = Counter()

    def add(self, record: Record, reference: str) -> None:
        """Add a record whose text and marks were computed from its ids.

        Args:
            record: A record of the model.
            reference: A right answer to its sample without any other text: words around the
                answer would dilute the share of packed ones.
        """
        if record.marks is None or not record.marks.lenient > 0:
            return
        ids = tuple(self._codec.before_end(record.require_decoding().output_ids))
        key = (record.task_label, record.index, ids)
        if key in self._known_replies:
            return
        self._known_replies.add(key)
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
        # The text excludes the thinking before the answer.
        if not letters_of(spelled).endswith(letters_of(record.text)):
            self._unspelled.append(record.text)
        hidden = {token for token in ids if token in self._spelling.hidden}
        self._hidden.update(self._spelling.text([token]).strip() for token in hidden)

    def faults(self) -> Iterator[str]:
        """Yield a sentence for each rule that the tokenizer breaks."""
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
        """Yield remarks on the tokenizer for readers."""
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
