"""A calibration set for judges of grammar, and the rules that break its good sentences.

The set is ``analysis/judging/data/calibration.csv``: plain English sentences written for it, each
followed by a broken one.  The errors are typical of parallel decoding, which
writes words without knowledge of each other.  Sentence number i (from 0) is broken by rule number
i modulo 6, so that all kinds are equally frequent; a glued sentence ends like the one after it.
The result of every rule is wrong in any context:

``doubled word``
    The first article or preposition, but not at the beginning, is repeated: *on on the roof*.
``wrong article``
    The first *a* becomes *an*, or the reverse.
``broken agreement``
    The first of *is*, *was*, *has* becomes *are*, *were*, *have*, or the reverse.
``dropped word``
    The first *a*, *an*, *is*, *are*, *was* or *were* is missing.
``swapped words``
    The first article, but not at the beginning, changes places with the next word.
``glued halves``
    The sentence up to its first article, but not at the beginning, goes on with what the next
    one has from its first preposition on: *He locked the | on the roof of the garage.*

No rule draws at random: the file equals what :func:`calibration_set` makes of its good
sentences.  They are in the public domain (CC0 1.0), and so are the broken ones.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from parallelbench.analysis.judging.judges import JudgeError
from parallelbench.errors import StorageError

#: File of the shipped set.
SHIPPED = Path(str(files("parallelbench.analysis.judging"))) / "data" / "calibration.csv"

#: Kind of a good sentence, in the place of a kind of error.
CLEAN = "clean"

_ARTICLES = frozenset({"a", "an", "the"})
# fmt: off
_PREPOSITIONS = frozenset({
    "about", "across", "after", "against", "along", "around", "at", "before", "behind",
    "beneath", "beside", "by", "during", "for", "from", "in", "into", "near", "of", "off",
    "on", "over", "through", "to", "under", "with",
})
# fmt: on
_AGREEMENT: Mapping[str, str] = {
    "is": "are",
    "are": "is",
    "was": "were",
    "were": "was",
    "has": "have",
    "have": "has",
}
_DROPPED = frozenset({"a", "an", "is", "are", "was", "were"})


def calibration_set(clean: Sequence[str]) -> list[dict[str, str]]:
    """Return rows of a calibration file: each sentence as it is, then broken.

    Args:
        clean: Good sentences, at least 2, with words separated by single spaces.

    Raises:
        JudgeError: A rule cannot break its sentence.
    """
    rows = []
    kinds = list(RULES)
    for index, sentence in enumerate(clean):
        kind = kinds[index % len(kinds)]
        broken = break_sentence(sentence, kind, following=clean[(index + 1) % len(clean)])
        rows.append({"text": sentence, "label": "good", "kind": CLEAN})
        rows.append({"text": broken, "label": "bad", "kind": kind})
    return rows


def break_sentence(sentence: str, kind: str, *, following: str) -> str:
    """Return ``sentence`` with an error of ``kind``.

    Args:
        sentence: A good sentence.
        kind: A key of :data:`RULES`.
        following: The next sentence, whose end the rule ``glued halves`` takes.

    Raises:
        JudgeError: The sentence has no word that the rule could break.

    Example:
        >>> break_sentence("He locked the shop.", "swapped words", following="It rained.")
        'He locked shop the.'
    """
    # The full stop stays at the end, even if the last word moves.
    body, stop = sentence[:-1], sentence[-1]
    words = RULES[kind](body.split(), following[:-1].split())
    text = " ".join(words)
    return text[:1].upper() + text[1:] + stop


def written_set(rows: Sequence[Mapping[str, str]]) -> str:
    """Return ``rows`` as CSV in the format of the shipped file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["text", "label", "kind"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_shipped(path: Path) -> None:
    """Copy the shipped set to ``path``, where a judge adds its verdicts in a further column.

    Raises:
        StorageError: ``path`` exists or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(SHIPPED.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise StorageError(
            f"{path} is there already, and may hold verdicts: name another"
        ) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def _doubled(words: Sequence[str], _: Sequence[str]) -> list[str]:
    at = _first(words, _ARTICLES | _PREPOSITIONS, begin=1)
    return [*words[: at + 1], *words[at:]]


def _wrong_article(words: Sequence[str], _: Sequence[str]) -> list[str]:
    at = _first(words, {"a", "an"})
    return [*words[:at], "an" if words[at].lower() == "a" else "a", *words[at + 1 :]]


def _broken_agreement(words: Sequence[str], _: Sequence[str]) -> list[str]:
    at = _first(words, _AGREEMENT)
    return [*words[:at], _AGREEMENT[words[at].lower()], *words[at + 1 :]]


def _dropped(words: Sequence[str], _: Sequence[str]) -> list[str]:
    at = _first(words, _DROPPED)
    return [*words[:at], *words[at + 1 :]]


def _swapped(words: Sequence[str], _: Sequence[str]) -> list[str]:
    at = _first(words, _ARTICLES, begin=1)
    return [*words[:at], words[at + 1], words[at], *words[at + 2 :]]


def _glued(words: Sequence[str], following: Sequence[str]) -> list[str]:
    here, there = _first(words, _ARTICLES, begin=1), _first(following, _PREPOSITIONS, begin=1)
    return [*words[: here + 1], *following[there:]]


#: Rule of each kind of error: takes the words of a sentence and of the next one, without stops.
RULES: Mapping[str, Callable[[Sequence[str], Sequence[str]], list[str]]] = {
    "doubled word": _doubled,
    "wrong article": _wrong_article,
    "broken agreement": _broken_agreement,
    "dropped word": _dropped,
    "swapped words": _swapped,
    "glued halves": _glued,
}


def _first(words: Sequence[str], wanted: Collection[str], *, begin: int = 0) -> int:
    for at, word in enumerate(words[begin:], begin):
        if word.lower() in wanted:
            return at
    raise JudgeError(
        f"{' '.join(words)!r} has none of the words {', '.join(sorted(wanted))} to break"
        + (" after its first" if begin else "")
    )
