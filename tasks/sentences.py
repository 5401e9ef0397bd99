"""Sentences of a fixed pattern, found in a reply whatever stands around them.

Letters alone count: case, punctuation, numbering, line breaks and emphasis are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

#: The words that may stand at each place of a sentence; None for any word.
Pattern = Sequence[Collection[str] | None]

_WORD = re.compile(r"[^\W\d_]+")


def last_sentences(reply: str, pattern: Pattern) -> list[tuple[str, ...]]:
    """Return the words of the last sentences in ``reply`` that no other word separates.

    Args:
        reply: Any text.
        pattern: Words in lower case that may stand at each place of a sentence.

    Returns:
        The words of each sentence, in lower case; no sentence if the pattern occurs nowhere.
    """
    words = [word.lower() for word in _WORD.findall(reply)]
    constrained = [(place, allowed) for place, allowed in enumerate(pattern) if allowed is not None]
    sentences: list[tuple[str, ...]] = []
    position, end = 0, 0
    while position + len(pattern) <= len(words):
        if all(words[position + place] in allowed for place, allowed in constrained):
            if position > end:
                sentences.clear()
            end = position + len(pattern)
            sentences.append(tuple(words[position:end]))
            position = end
        else:
            position += 1
    return sentences
