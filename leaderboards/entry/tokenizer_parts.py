"""Parts of a ``tokenizer.json`` that an entry may have: those that rewrite no text.

A tokenizer is a row of rules between text and tokens.  Rules that only move blanks, change
case or form of characters, or cut a text into pieces are what published tokenizers have.
Rules that put one text in the place of another could hold answers, or make a short text very
long, and are refused by name.  So are ids that stand far apart, for which memory would be
taken that no text needs.

Source: the parts are those of the tokenizers library 0.23 (huggingface.co/docs/tokenizers).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from parallelbench.leaderboards.entry.folder import brief

#: Character for a blank in the tokens of SentencePiece.
BLANK: Final = "\u2581"
#: Suffix of the last token of a word in BPE without bytes; prefix of later ones in WordPiece.
WORD_END: Final = "</w>"
CONTINUED: Final = "##"

#: Parts of one section, and how far the greatest id may lie beyond twice the number of tokens.
#: Published tokenizers leave out some hundred ids.
_MOST_PARTS: Final = 64
_MOST_GAP: Final = 2**16
#: Bytes that one character may become; the longest in the map of SentencePiece takes 33.
_MOST_EXPANSION: Final = 64
_MODELS: Final = ("BPE", "Unigram", "WordLevel", "WordPiece")
_QUOTES: Final = {("``", '"'), ("''", '"')}
#: Matches one blank or more, and nothing else.
_BLANK_PATTERN = re.compile(r"\^?\[?(?: |\\s|\\n|\\r|\\t|\u2581)+\]?(?:\+|\{[1-9]\d*,\d*\})?\$?")

_Part = Mapping[str, Any]


def parts_of(section: Any) -> Iterator[_Part]:
    """Yield the parts of a section of ``tokenizer.json``, those within sequences too.

    Raises:
        TypeError: It is neither null nor an object with a type.
    """
    if section is None:
        return
    if not isinstance(section, dict) or not isinstance(section.get("type"), str):
        raise TypeError("a part is no object with a type")
    if section["type"] != "Sequence":
        yield section
        return
    inner = [each for name, each in section.items() if name != "type"]
    if len(inner) != 1 or not isinstance(inner[0], list):
        raise TypeError("a sequence of parts is no list")
    for each in inner[0]:
        yield from parts_of(each)


def part_faults(content: Any) -> Iterator[str]:
    """Yield a sentence for each part of a ``tokenizer.json`` that no entry may have.

    Args:
        content: Content of the file.

    Raises:
        TypeError: It has another form.
    """
    if not isinstance(content, dict):
        raise TypeError("it is no object")
    for section, allowed in _ALLOWED.items():
        parts = list(parts_of(content.get(section)))
        if len(parts) > _MOST_PARTS:
            yield f"its {section} has {len(parts)} parts, and {_MOST_PARTS} are allowed"
            continue
        for part in parts:
            rule = allowed.get(part["type"])
            if rule is None or not rule(part):
                yield (
                    f"its {section} has the part {_shown(part)}, which could rewrite texts; allowed"
                    f" are {', '.join(sorted(allowed))}, as published tokenizers have them"
                )
        for kind, count in Counter(part["type"] for part in parts).items():
            if count > 1 and (section, kind) in _ONCE:
                yield f"its {section} has the part {kind} {count} times, and once is allowed"
    yield from _id_faults(content)


def _id_faults(content: Mapping[str, Any]) -> Iterator[str]:
    model = content.get("model")
    if not isinstance(model, dict):
        raise TypeError("it has no model")
    if model.get("type", "BPE") not in _MODELS:
        yield f"its model is none of {', '.join(_MODELS)}"
        return
    tokens = dict(_tokens(model.get("vocab"), content.get("added_tokens") or []))
    if not all(type(each) is int for each in tokens.values()):
        raise TypeError("an id of its tokens is no whole number")
    if len(set(tokens.values())) < len(tokens):
        yield "two of its tokens have the same id, so what it reads and writes may mean either"
    count, greatest = len(tokens), max(tokens.values(), default=0)
    if greatest > 2 * count + _MOST_GAP:
        yield (
            f"its greatest id is {greatest:,} with {count:,} tokens; ids that far apart stand for "
            f"nothing, and {2 * count + _MOST_GAP:,} is allowed"
        )


def _tokens(vocabulary: Any, added: Any) -> Iterator[tuple[str, Any]]:
    """Yield every token with its id; a token that was added may stand in the vocabulary too."""
    if not isinstance(vocabulary, dict | list) or not isinstance(added, list):
        raise TypeError("its vocabulary or its added tokens have another form")
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    else:
        for number, each in enumerate(vocabulary):
            if not isinstance(each, list) or not each or not isinstance(each[0], str):
                raise TypeError("its vocabulary has another form")
            yield each[0], number
    for each in added:
        if not isinstance(each, dict) or not isinstance(each.get("content"), str):
            raise TypeError("its added tokens have another form")
        yield each["content"], each.get("id")


def _always(_: _Part) -> bool:
    return True


def _is(name: str, *values: str) -> Callable[[_Part], bool]:
    return lambda part: part.get(name) in values


def _moves_blanks(part: _Part) -> bool:
    """Return True if a replacement rule changes only blanks, and adds none."""
    pattern, content = part.get("pattern"), part.get("content")
    if not isinstance(pattern, dict) or not isinstance(content, str):
        return False
    if isinstance(text := pattern.get("String"), str) and text:
        same = _without_blanks(text) == _without_blanks(content)
        return same and len(content) <= len(text)
    written = pattern.get("Regex")
    whole = isinstance(written, str) and _BLANK_PATTERN.fullmatch(written)
    return bool(whole) and content in {"", " ", BLANK}


def _replaces_before(part: _Part) -> bool:
    pattern = part.get("pattern")
    text = pattern.get("String") if isinstance(pattern, dict) else None
    return (text, part.get("content")) in _QUOTES or _moves_blanks(part)


def _expands_little(part: _Part) -> bool:
    """Return True if a compiled map expands no character more than that of SentencePiece.

    It is the size of a trie in 4 bytes, the trie, and the texts that it leads to, each with a
    zero behind it.
    """
    written = part.get("precompiled_charsmap")
    try:
        content = base64.b64decode(written if isinstance(written, str) else "", validate=True)
    except binascii.Error:
        return False
    texts = content[4 + int.from_bytes(content[:4], "little") :]
    return bool(texts) and max(map(len, texts.split(b"\0"))) <= _MOST_EXPANSION


def _has_the_text_once(part: _Part) -> bool:
    single = part.get("single")
    if not isinstance(single, list):
        return False
    return sum(isinstance(each, dict) and "Sequence" in each for each in single) == 1


def _without_blanks(text: str) -> str:
    return "".join(text.replace(BLANK, " ").split())


def _shown(part: _Part) -> str:
    fields = {name: value for name, value in part.items() if name != "type"}
    return f"{part['type']:.40} with {brief(fields)}"


#: Parts that each section may have, with their conditions.
_ALLOWED: Final[Mapping[str, Mapping[str, Callable[[_Part], bool]]]] = {
    "normalizer": {
        **dict.fromkeys(("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase"), _always),
        **dict.fromkeys(("BertNormalizer", "ByteLevel", "Strip", "StripAccents"), _always),
        "Precompiled": _expands_little,
        "Prepend": _is("prepend", BLANK, " "),
        "Replace": _replaces_before,
    },
    "pre_tokenizer": {
        **dict.fromkeys(("BertPreTokenizer", "ByteLevel", "Digits", "FixedLength"), _always),
        **dict.fromkeys(("Punctuation", "Split", "UnicodeScripts"), _always),
        **dict.fromkeys(("Whitespace", "WhitespaceSplit"), _always),
        "CharDelimiterSplit": _is("delimiter", BLANK, " "),
        "Metaspace": _is("replacement", BLANK),
    },
    "post_processor": {
        **dict.fromkeys(("BertProcessing", "ByteLevel", "RobertaProcessing"), _always),
        "TemplateProcessing": _has_the_text_once,
    },
    "decoder": {
        **dict.fromkeys(("ByteFallback", "ByteLevel", "Fuse"), _always),
        "BPEDecoder": _is("suffix", WORD_END),
        "Metaspace": _is("replacement", BLANK),
        "Replace": _moves_blanks,
        "Strip": _is("content", BLANK, " "),
        "WordPiece": _is("prefix", CONTINUED),
    },
}
#: Parts that make a text longer, so that several of them would multiply.
_ONCE: Final = {
    ("normalizer", "ByteLevel"),
    ("normalizer", "Precompiled"),
    ("post_processor", "TemplateProcessing"),
    ("pre_tokenizer", "ByteLevel"),
}
