"""The last list of names or numbers in a reply, in the shapes in which language models write one.

Entries stand in one line, with commas, semicolons, arrows, dashes, bars or spaces between them; or
one to a line, with numbers, labels ("Day 3:"), bullets or in the rows of a table.  Quotes,
emphasis, brackets, code fences and tags are ignored, and so are remarks in brackets after an entry
that name no entry.

A list ends at a line of prose, before a line that is a list by itself, or where numbers begin
again, so a draft is not part of the list after it.  The last list is the answer: one with a known
entry, or of three unknown words at least.  Entries that are not known remain in it: form is
forgiven, and content never.  Where a line could be an entry or a remark, it is an entry, which
makes the answer wrong rather than right.

Work grows with the length of the reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

from parallelbench.prompt.thinking import answer_of

#: The spelling of a known entry; None for any other text.
_Speller = Callable[[str], str | None]
_Kind = Literal["plain", "titled", "bulleted", "numbered"]

_QUOTES = "\"'`*_\u201c\u201d\u2018\u2019"
_NO_QUOTES = str.maketrans(dict.fromkeys(_QUOTES))
_ANSWER = re.compile("<answer>", re.IGNORECASE)
_ANSWER_END = re.compile("</answer>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:b|br|code|div|em|i|li|ol|p|pre|span|strong|table|tbody|td|th|thead|tr|ul) ?/?>",
    re.IGNORECASE,
)
_FENCE = re.compile(
    r"\s*(?:`{3}|~{3})\s*(?:csv|html|json|markdown|md|plaintext|python|text|txt|yaml)?\s*",
    re.IGNORECASE,
)
_CHECKBOX = re.compile(r"\[[ xX]\]")
_ROUND = re.compile(r"\(([^()]*)\)")
_SQUARE = re.compile(r"[\[\]{}]")
#: A line that stands for a bracket.
_BREAK = "\0"

# After the full stop of a numbered line ("2. Mia") the sentence goes on.
_SENTENCE_OF_NAMES = re.compile(r"(?<=[^\W\d])[.!?]\s+")
_SENTENCE_OF_NUMBERS = re.compile(r"(?<=[^\W\d])[.!?]\s+|(?<=\d)[.!?]\s+(?=[^\W\d])")

_BULLET = re.compile(r"[-+*\u2022\u2013\u2014] ")
_WORD_LABEL = re.compile(
    r"([^\W\d]{1,20}) #?(\d{1,3})(?:st|nd|rd|th)?(?: ?(?:[-=]>|[-:.)=\u2192\u2013\u2014])|$) ?"
)
_LABEL = re.compile(r"\(?#?(\d{1,3})(?: ?[.):] | ?[-.):\u2013\u2014] ?(?=[^\W\d]))")
_NUMBERED_CELL = re.compile(r"(?:[^\W\d]{1,20} )?#?(\d{1,3})[.)]?")
_SEPARATOR = re.compile(r"[,;\u2192\u21d2]|-{1,2}>|=>| > ")
_DASH = re.compile(r"[\u2013\u2014]| - ")
_ENDS_OPEN = re.compile(r"(?:[,;\u2192\u21d2]|[-=]>)\Z")
#: Fewest unknown words that are a list.
_LEAST_WORDS = 3
#: Words that end a heading, and that number alternatives rather than parts of a list.
_TITLES = frozenset(
    {
        *("alternative", "answer", "attempt", "draft", "list", "option", "order", "plan", "result"),
        *("route", "schedule", "solution", "try", "version", "walk"),
    }
)


def read_names(reply: str, names: Collection[str]) -> list[str] | None:
    """Return the entries of the last list of names in ``reply``.

    Args:
        reply: Any text.
        names: Known names, single words that differ in more than case.

    Returns:
        Entries in order, known ones spelled as in ``names``, others as they stand; None if the
        last list has no known name, or thinking at the start of the reply has no end.
    """
    spelled = {name.casefold(): name for name in names}
    return _last_list(reply, lambda text: spelled.get(text.casefold()), _SENTENCE_OF_NAMES)


def read_numbers(reply: str) -> list[str] | None:
    """Return the entries of the last list of whole numbers in ``reply``.

    Args:
        reply: Any text.

    Returns:
        Entries in order, whole numbers of at most nine digits and other texts; None if the last
        list has no number, or thinking at the start of the reply has no end.
    """

    def spell(text: str) -> str | None:
        return text if text.isascii() and text.isdigit() and len(text) < 10 else None

    return _last_list(reply, spell, _SENTENCE_OF_NUMBERS)


@dataclass(frozen=True)
class _EntryLine:
    """A line of a list.

    Attributes:
        entries: Entries in it, known ones in their spelling.
        known: Number of known entries.
        kind: Form of its beginning.
        number: Number at its beginning; None for none.
        several: True if the line is a list by itself.
    """

    entries: list[str]
    known: int
    kind: _Kind
    number: int | None = None
    several: bool = False


@dataclass
class _EntryList:
    """Lines of a list that follow each other.

    Attributes:
        last: Last line with a number; the first line if there is none.
        entries: Entries of all lines.
        known: Number of known entries.
        words: Number of entries of one word.
    """

    last: _EntryLine
    entries: list[str] = field(default_factory=list)
    known: int = 0
    words: int = 0

    def add(self, line: _EntryLine) -> None:
        """Append a line."""
        if line.kind == "numbered":
            self.last = line
        self.entries += line.entries
        self.known += line.known
        self.words += sum(" " not in entry for entry in line.entries)

    def continues_with(self, line: _EntryLine) -> bool:
        """Return True if ``line`` belongs to the same list."""
        last = self.last
        if line.kind == "numbered":
            return last.number is not None and (line.number or 0) >= last.number
        if line.several:
            return False
        if line.kind == "bulleted":
            return last.kind in {"bulleted", "numbered"}
        if line.kind == "titled":
            return last.kind == "titled"
        return line.known > 0 or (last.kind == "plain" and not last.several)


def _last_list(reply: str, spell: _Speller, sentence: re.Pattern[str]) -> list[str] | None:
    text = answer_of(reply)
    if text is None:
        return None
    *before, after = _ANSWER.split(text)
    if before:
        text = _ANSWER_END.split(after, maxsplit=1)[0]
    found: _EntryList | None = None
    current: _EntryList | None = None
    for text_line in _logical_lines(_unbracketed(text, spell), spell, sentence):
        if _is_drawing(text_line):
            continue
        line = _read_line(text_line, spell)
        if line is None:
            current = None
        elif line.entries:
            if current is None or not current.continues_with(line):
                current = _EntryList(line)
            current.add(line)
            if current.known or current.words >= _LEAST_WORDS:
                found = current
    return found.entries if found and found.known else None


# --- Lines of text ----------------------------------------------------------------------


def _unbracketed(text: str, spell: _Speller) -> str:
    """Return ``text`` with brackets as lines of their own, and without remarks in them."""

    def without_remark(match: re.Match[str]) -> str:
        inside, start = match[1], match.start()
        # Brackets around a whole entry hold no remark.
        before = match.string[max(0, start - 4) : start].rstrip(_QUOTES + " ")[-1:]
        follows = before.isalnum() or before in {"]", "}"}
        if follows and not any(spell(word) for word in re.findall(r"\w+", inside)):
            return " "
        return f"[{inside}]" if _SEPARATOR.search(inside) else match[0]

    text = _CHECKBOX.sub(" ", _TAG.sub("\n", text.replace(_BREAK, " ")))
    return _SQUARE.sub(f"\n{_BREAK}\n", _ROUND.sub(without_remark, text))


def _logical_lines(text: str, spell: _Speller, sentence: re.Pattern[str]) -> Iterator[str]:
    """Yield sentences, as one where the first ends or the second begins with a separator.

    A bracket parts a list from a remark before or after it.
    """
    parts: list[str] = []  # of the present sentence
    broken = False
    for part in _sentences(text, sentence):
        if part == _BREAK:
            broken = True
            continue
        begins_open = _SEPARATOR.match(part) is not None
        ends_open = bool(parts) and _ENDS_OPEN.search(parts[-1]) is not None
        outer = part if begins_open else parts[-1] if ends_open else ""
        if parts and outer and not (broken and _is_remark(outer, spell)):
            parts.append(part)
        else:
            if parts:
                yield " ".join(parts)
            parts = [part]
        broken = False
    if parts:
        yield " ".join(parts)


def _sentences(text: str, sentence: re.Pattern[str]) -> Iterator[str]:
    for line in text.splitlines():
        if _FENCE.fullmatch(line):
            continue
        for part in sentence.split(line):
            normal = " ".join(part.split())
            if normal:
                yield normal


def _is_remark(text: str, spell: _Speller) -> bool:
    """Return True if ``text`` before or after a bracket has words, and no known entry."""
    parts = [_bare(part) for part in _SEPARATOR.split(text)]
    return any(parts) and not any(spell(part) for part in parts)


def _is_drawing(line: str) -> bool:
    """Return True for a line of dashes, bars, arrows or quotes alone."""
    return not any(character.isalnum() for character in line)


# --- Entries ----------------------------------------------------------------------------


def _read_line(text: str, spell: _Speller) -> _EntryLine | None:
    """Return a line of a list, without entries for a label alone; None for prose."""
    unquoted = text.lstrip("> ")
    rest = unquoted.lstrip("# ")
    bullet = _BULLET.match(rest)
    if bullet:
        rest = rest[bullet.end() :]
    rest = rest.translate(_NO_QUOTES).strip()
    number, rest = _cells(rest) if "|" in rest else _numbered(rest)
    kind: _Kind = "numbered" if number is not None else "bulleted" if bullet else "plain"
    if not rest:
        return _EntryLine([], 0, kind, number)
    parts, titled = _parts(rest, spell)
    if not parts:
        return None
    if titled and kind == "plain" and len(parts) == 1:
        kind = "titled"
    known = [spell(part) for part in parts]
    count = len(parts) - known.count(None)
    if len(parts) > 1:
        is_prose = _is_enumerating_sentence(parts, count, spell)
    else:
        heading = unquoted.startswith("#") or parts[0].rpartition(" ")[2].casefold() in _TITLES
        is_prose = not count and (heading or _is_prose(parts[0], kind))
    if is_prose:
        return None
    entries = [spelled or part for spelled, part in zip(known, parts, strict=True)]
    return _EntryLine(entries, count, kind, number, len(parts) > 1)


def _cells(row: str) -> tuple[int | None, str]:
    """Return the number and the other cells of a row of a table, as a list."""
    cells = [cell.strip() for cell in row.split("|") if cell.strip()]
    numbered = _NUMBERED_CELL.fullmatch(cells[0]) if len(cells) == 2 else None
    return (int(numbered[1]), cells[1]) if numbered else (None, ", ".join(cells))


def _numbered(text: str) -> tuple[int | None, str]:
    """Return the number before an entry, if it has one, and the entry."""
    label = _WORD_LABEL.match(text)
    if label and label[1].casefold() not in _TITLES:
        return int(label[2]), text[label.end() :]
    label = _LABEL.match(text)
    return (int(label[1]), text[label.end() :]) if label else (None, text)


def _parts(text: str, spell: _Speller) -> tuple[list[str], bool]:
    """Return the entries of a line after its last title, and True if it has a title."""
    if not _SEPARATOR.search(text):
        words = text.rstrip(".").split()
        if len(words) > 1 and all(spell(word) for word in words):
            return words, False
    separator = _SEPARATOR if _SEPARATOR.search(text) else _DASH
    parts = [_bare(_numbered(part)[1] or part) for part in map(str.strip, separator.split(text))]
    while parts and not parts[-1]:  # a separator at the end of a line ends or continues the list
        parts.pop()
    while parts and not parts[0]:
        parts.pop(0)
    titles = [index for index, part in enumerate(parts) if ":" in part]
    if titles:
        after = _bare(parts[titles[-1]].rpartition(":")[2])
        parts = [*([after] if after else []), *parts[titles[-1] + 1 :]]
    if parts:
        parts[-1:] = _both(parts[-1], spell)
    return parts, bool(titles)


def _both(last: str, spell: _Speller) -> list[str]:
    """Return the two entries of "Mia and Leo" and the one of "and Leo"; else ``last`` itself."""
    before, conjunction, after = f" {last}".rpartition(" and ")
    if conjunction and spell(after) and (not before or spell(before.strip())):
        return [entry for entry in (before.strip(), after) if entry]
    return [last]


def _bare(entry: str) -> str:
    return entry.strip(" ()").rstrip(".").rstrip()


def _is_enumerating_sentence(parts: list[str], known: int, spell: _Speller) -> bool:
    """Return True for prose with commas, such as "Mia, Leo, and Ada are never on duty twice"."""
    if not known:
        is_list = len(parts) >= _LEAST_WORDS and not any(" " in part for part in parts)
        return not is_list or parts[-1].endswith(("!", "?"))
    if known == 1 and any(part.count(" ") > 2 for part in parts):
        return True
    last = parts[-1].split()
    return len(last) > 2 and last[0].casefold() == "and" and spell(last[1]) is not None


def _is_prose(text: str, kind: _Kind) -> bool:
    """Return True if a line with a single unknown text is not an entry."""
    if kind in {"bulleted", "numbered"}:
        return False
    is_long = text.count(" ") > 1 or text.endswith(("!", "?"))
    return is_long or (kind == "titled" and any(character.isdigit() for character in text))
