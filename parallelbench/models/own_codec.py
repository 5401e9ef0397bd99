"""The codec of the ideal model: small tokenizers of its own.

One word-level tokenizer has a token for each word of the first families of tasks; it never
changes, so neither do their records.  Each other task, one of a plugin too, gets a tokenizer that
keeps every text as it is, with a token for each word of that task alone: installing a task
changes nothing for another.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from parallelbench.models.piece_tokenizer import piece_tokenizer
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Codec
from parallelbench.task import TASKS, Task

#: Families of tasks that share the word-level tokenizer.
WORD_LEVEL: Final = frozenset(
    {
        "choices",
        "list_operations",
        "original",
        "original_text",
        "puzzles",
        "text_writing",
        "waiting_line",
    }
)


class OwnCodec(Codec):
    """The word-level codec, and that of each further task.

    All have the same special ids, and none has more tokens than this one.
    """

    def for_task(self, task: Task) -> Codec:
        """Return the codec of the prompts and canvases of ``task``."""
        return self if _family(task.name) in WORD_LEVEL else _piece_codec(task.words, self.size)


def open_own_codec() -> OwnCodec:
    """Return the codec of the ideal model."""
    words = (
        word for name, task in TASKS.items() if _family(name) in WORD_LEVEL for word in task.words
    )
    tokenizer = word_tokenizer(words)
    return OwnCodec(tokenizer, mask_id=tokenizer.mask_token_id, end_id=tokenizer.eos_token_id)


def _family(name: str) -> str:
    return name.partition("/")[0]


@lru_cache(maxsize=256)
def _piece_codec(words: tuple[str, ...], most: int) -> Codec:
    tokenizer = piece_tokenizer(words, most)
    return Codec(tokenizer, mask_id=tokenizer.mask_token_id, end_id=tokenizer.eos_token_id)
