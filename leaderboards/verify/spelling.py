"""Texts of single tokens, before a tokenizer's decoder joins them.

A model reads and writes ids.  The vocabulary alone shows whether they stand for the prompt and
the reply: letters and digits of a text must be those of its tokens, in order.  Blanks, case and
variants of a character are not compared, since honest tokenizers change these.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Final

from parallelbench.leaderboards.entry.tokenizer_parts import BLANK, CONTINUED, WORD_END, parts_of
from parallelbench.prompt import Codec

_NEITHER: Final = re.compile(r"[\W_]+")
#: Words may contain other characters without blanks: "don't", "well-known", "3.14", "12:30".
_WORD: Final = re.compile(r"[^\W_]+(?:[-.:'\u2019][^\W_]+)*")
_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def words_in(text: str) -> int:
    """Return the number of words in ``text``."""
    return len(_WORD.findall(text))


def letters_of(text: str) -> str:
    """Return the letters and digits of ``text`` in lower case, without diacritics."""
    text = text if text.isascii() else unicodedata.normalize("NFKD", text)
    # Where the transformers library tidies blanks, it also writes "do not" as "don't".
    return _NEITHER.sub("", text).casefold().replace("donot", "dont")


class Spelling:
    """Spells ids by the vocabulary of a codec.

    Args:
        codec: Codec of a model.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._tokenizer = codec.tokenizer.backend_tokenizer
        decoder = self._tokenizer.decoder
        held = None if decoder is None else json.loads(decoder.__getstate__())
        self._parts = {part["type"] for part in parts_of(held)}
        self._known: dict[int, bytes] = {}

    def text(self, ids: Iterable[int]) -> str:
        """Return the joined texts of ``ids``; an id that is no token has none."""
        # A character may be spread over several tokens.
        return b"".join(map(self._own, ids)).decode("utf-8", errors="replace")

    def spells(self, ids: Sequence[int], text: str) -> bool:
        """Return True if ``ids`` spell the letters and digits of ``text``.

        A token for unknown text stands for any part of it.
        """
        letters, place = letters_of(text), 0
        parts = [
            letters_of(self.text(part))
            for unknown, part in itertools.groupby(ids, lambda token: token in self._unknown)
            if not unknown
        ]
        if not any(token in self._unknown for token in ids):
            return letters == "".join(parts)
        for part in parts:
            place = letters.find(part, place)
            if place < 0:
                return False
            place += len(part)
        return True

    @cached_property
    def hidden(self) -> frozenset[int]:
        """Ids of the special tokens, which the text of a reply omits."""
        added = self._codec.tokenizer.added_tokens_decoder
        return frozenset(token for token, each in added.items() if each.special)

    def visible(self, ids: Iterable[int]) -> list[int]:
        """Return those of ``ids`` that are part of the text of a reply."""
        codec = self._codec
        return [
            token
            for token in ids
            if token < codec.size and token != codec.mask_id and token not in self.hidden
        ]

    @cached_property
    def _unknown(self) -> frozenset[int]:
        model = getattr(self._tokenizer.model, "unk_token", None)
        named = None if model is None else self._tokenizer.token_to_id(model)
        return frozenset({named, self._codec.tokenizer.unk_token_id} - {None})

    def _own(self, token: int) -> bytes:
        if token not in self._known:
            self._known[token] = self._spelled(self._tokenizer.id_to_token(token) or "")
        return self._known[token]

    def _spelled(self, name: str) -> bytes:
        if "ByteLevel" in self._parts:
            alphabet = _bytes_of_characters()
            if all(each in alphabet for each in name):
                return bytes(alphabet[each] for each in name)
            return name.encode(errors="replace")
        byte = _BYTE.fullmatch(name) if "ByteFallback" in self._parts else None
        if byte:
            return bytes([int(byte[1], 16)])
        if "BPEDecoder" in self._parts:
            name = name.replace(WORD_END, " ")
        if "WordPiece" in self._parts:
            name = name.removeprefix(CONTINUED) if name.startswith(CONTINUED) else f" {name}"
        return name.replace(BLANK, " ").encode(errors="replace")


@lru_cache(maxsize=1)
def _bytes_of_characters() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for.

    Printable bytes of Latin-1 stand for themselves, the others for the characters from U+0100
    on, in order.

    Source: Radford et al. (2019), GPT-2, ``encoder.py``.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + place): byte for place, byte in enumerate(others)}
