"""Checks of a submitter's texts, and notes on their letters for readers."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pydantic_core import PydanticCustomError

#: Shown as nothing, or as a space, though their category says otherwise.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Marks over and under one letter: more than four hide the neighbouring lines.
_STACKED: Final = re.compile("[\u0300-\u036f\u0483-\u0489\u20d0-\u20ff]{5,}")

#: An i without a dot, and where the letters begin that few languages are written with.
_DOTLESS: Final = "\u0131"
_EXTENDED: Final = "\u0180"

#: As PEP 440 writes versions.
_VERSION: Final = re.compile(
    r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+(\.[a-z0-9]+)*)?",
    re.ASCII,
)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LINK: Final = re.compile(
    rf"https://(?P<host>{_LABEL}(?:\.{_LABEL})+)(?::\d{{1,5}})?(?:[/?#][!#-&(-;=?-\[\]-~]*)?",
    re.ASCII,
)


def showing(text: str) -> str:
    """Return a line of text if every character of it is visible.

    Raises:
        PydanticCustomError: It holds something that does not, or that turns text around.
    """
    _refuse_hidden({each for each in text if _is_hidden(each) or _is_blank(each)})
    if _STACKED.search(text):
        raise _refusal("has a letter with more than four marks, which hide what stands beside it")
    if not text.strip():
        raise _refusal("is blank")
    return text


def showing_lines(text: str) -> str:
    """Return text of several lines without invisible characters; raises as :func:`showing`."""
    _refuse_hidden({each for each in text if each != "\n" and _is_hidden(each)})
    return text


def name(text: str) -> str:
    """Return a name if no text in other characters looks the same.

    Raises:
        PydanticCustomError: It has spaces at an end or side by side, is no composed Unicode, or
            holds a character that does not show.
    """
    showing(text)
    if text != text.strip() or "  " in text:
        raise _refusal("has spaces at an end or side by side, which do not show; leave them out")
    if not unicodedata.is_normalized("NFC", text):
        raise _refusal("is no composed Unicode (NFC): an accent stands apart from its letter")
    return text


def version(text: str) -> str:
    """Return a version as PEP 440 writes it.

    Raises:
        PydanticCustomError: It is none.
    """
    if not _VERSION.fullmatch(text):
        raise _refusal("is no version as PEP 440 writes it, such as 0.1.0 or 0.2.0rc1")
    return text


def link(text: str) -> str:
    """Return an address if its host is the one that a reader sees.

    Raises:
        PydanticCustomError: It is another kind of address.
    """
    if not _LINK.fullmatch(text):
        raise _refusal(
            "is no plain address: https://HOST or https://HOST/PATH is asked for, in ASCII and "
            "with no user before the host (write other letters as xn-- and %XX)"
        )
    return text


def host_of(address: str) -> str:
    """Return the host of what :func:`link` returned, in lower case."""
    found = _LINK.fullmatch(address)
    return found["host"].lower() if found else ""


def scripts_in(text: str) -> str:
    """Return a note on the scripts of a text's letters; ``""`` if all are Latin.

    A letter of another script may look like one that a reader knows, and so may Latin letters
    that few languages are written with, such as an i without a dot.

    Example:
        >>> scripts_in("mini"), scripts_in("m\u0456ni")
        ('', 'Cyrillic and Latin letters')
        >>> scripts_in("m\u0131ni"), scripts_in("M\u00fcller")
        ('Latin and rare Latin letters', '')
    """
    scripts = sorted({_script(each) for each in text if unicodedata.category(each)[0] in "LN"})
    others = [script for script in scripts if script]
    if others in ([], ["Latin"]):
        return ""
    return " and ".join([", ".join(others[:-1]), others[-1]] if others[1:] else others) + " letters"


def _script(character: str) -> str:
    """Return the script of a letter or digit; ``""`` for ASCII digits."""
    if character.isascii() and character.isdigit():
        return ""
    # No table of scripts comes with Python; names begin with them.
    script = unicodedata.name(character, "unnamed").partition(" ")[0].capitalize()
    return "rare Latin" if script == "Latin" and _is_rare(character) else script


def _is_rare(character: str) -> bool:
    """Return True if a Latin letter is a variant of another, or of a block of few languages."""
    plain = unicodedata.normalize("NFD", character)
    if unicodedata.normalize("NFKD", character) != plain:
        return True
    return not plain[0].isascii() and (character == _DOTLESS or character >= _EXTENDED)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN


def _is_blank(character: str) -> bool:
    strange_space = unicodedata.category(character) == "Zs" and character != " "
    return strange_space or _INVISIBLE.fullmatch(character) is not None


def _refuse_hidden(characters: set[str]) -> None:
    if characters:
        names = sorted(unicodedata.name(each, f"U+{ord(each):04X}") for each in characters)
        raise _refusal(f"holds {', '.join(names)[:200]}, which does not show")


def _refusal(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("wording", "{told}", {"told": sentence})
