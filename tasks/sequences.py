"""Sequences: page numbers in rising order, and letters with their mirror image.

*Question:* ``rising`` asks for page numbers of a book in strictly rising order; ``mirror`` for
letters followed by the same letters backwards.

*Why it is hard:* each page number has to lie between its neighbours, so numbers drawn in parallel
cross.  Mirrored letters are the simplest coupling there is: pairs, each independent of the
others, but far apart from each other on the canvas.

*Theory:* in bits, for n numbers up to m, and for n letters out of k with their image:

=======  ==================================================================================
rising   entropy log2 C(m, n), of the sets of n numbers; a Markov chain, so writing the middle
         number splits the rest
mirror   entropy and total correlation n log2 k; two steps suffice for any length
=======  ==================================================================================

*The lenient reading* of numbers is that of :mod:`parallelbench.tasks.item_lists`: the last list
in any notation.  That of letters takes the last line of single letters with any
separators, or of one word, and ignores case.

*Problems of a reply*, first match:

=======  ==================================================================================
rising   ``unreadable``: no numbers; ``wrong count``; ``no such page``; ``repeated``: a number
         twice in a row; ``not rising``
mirror   ``unreadable``: no letters; ``wrong count``; ``not listed``: a letter that was not
         offered; ``not mirrored``
=======  ==================================================================================

Source: our own.
"""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask
from parallelbench.tasks.item_lists import read_numbers


def _marks(reply: str, answer: str, problem: str | None) -> Marks:
    right = problem is None
    return Marks(float(right and reply.strip() == answer), float(right), problem)


@lru_cache(maxsize=16)
def _rising_trellis(length: int, last: int) -> TextTrellis:
    pages = range(1, last + 1)
    first = Stage(Edge(START, str(page), page) for page in pages)
    stages = [first]
    if length > 1:
        later = Stage(
            Edge(before, f", {page}", page) for before in pages for page in pages if page > before
        )
        stages += [later] * (length - 1)
    return TextTrellis(stages)


@TASKS.register("sequences/rising")
@dataclass(frozen=True, kw_only=True)
class Rising(TrellisTask):
    """Ask for page numbers in rising order; all such lists are equally likely.

    Attributes:
        length: Number of page numbers.
        last: Last page of the book.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "sequences/rising"
    templates: ClassVar[dict[str, str]] = {
        "default": "A book has {last} pages. Choose {length} different pages at random and write "
        "their numbers in rising order, separated by commas and spaces, and nothing else.",
        "terse": "{length} different random page numbers from 1 to {last}, in rising order, "
        "separated by commas and spaces:",
        "story": "A reader put {length} bookmarks at random between the pages of a book of {last} "
        "pages, no two at one page. List the pages with a bookmark from front to back, separated "
        "by commas and spaces, and nothing else.",
    }

    length: int = whole(1, 16, "page numbers", most=200)
    last: int = whole(1, 60, "pages", most=200)
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last < self.length:
            raise ValueError(
                f"{self.length} different pages need a book of at least as many, got "
                f"last={self.last}"
            )

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a right answer to the one question of this size."""
        trellis = _rising_trellis(self.length, self.last)
        slots = {"length": str(self.length), "last": str(self.last)}
        return Question(slots, trellis.text(trellis.draw(rng)), {})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all rising lists."""
        return _rising_trellis(self.length, self.last)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last list of numbers in ``reply``."""
        items = read_numbers(reply)
        if items is None or not all(re.fullmatch(r"\d{1,9}", item, re.ASCII) for item in items):
            return Marks(0.0, 0.0, UNREADABLE)
        pages = [int(item) for item in items]
        problem = None
        if len(pages) != self.length:
            problem = "wrong count"
        elif not all(1 <= page <= self.last for page in pages):
            problem = "no such page"
        elif any(before == after for before, after in pairwise(pages)):
            problem = "repeated"
        elif any(before > after for before, after in pairwise(pages)):
            problem = "not rising"
        return _marks(reply, ", ".join(map(str, pages)), problem)


@lru_cache(maxsize=16)
def _mirror_trellis(length: int, letters: int) -> TextTrellis:
    alphabet = string.ascii_lowercase[:letters]
    begin = Stage(Edge(START, letter, letter) for letter in alphabet)
    further = Stage(Edge(START, f" {letter}", letter) for letter in alphabet)
    image = Stage(Edge(letter, f" {letter}", START) for letter in alphabet)
    stages = [begin, image, *[further, image] * (length - 1)]
    places = [place for index in range(length) for place in (index, 2 * length - 1 - index)]
    return TextTrellis(stages, places)


_LETTERS = re.compile(r"[A-Za-z]+")


def _last_letters(reply: str) -> str:
    """Return the letters of the last line of single letters, or of one word; else nothing."""
    for line in reversed(reply.splitlines()):
        words = _LETTERS.findall(line)
        if words and (len(words) == 1 or all(len(word) == 1 for word in words)):
            return "".join(words).lower()
    return ""


@TASKS.register("sequences/mirror")
@dataclass(frozen=True, kw_only=True)
class Mirror(TrellisTask):
    """Ask for letters and their mirror image; all such sequences are equally likely.

    Attributes:
        length: Number of letters before their image.
        letters: Number of letters of the alphabet to choose from.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "sequences/mirror"
    templates: ClassVar[dict[str, str]] = {
        "default": "Choose {length} letters at random from a to {last}. Write them down, and then "
        "the same letters backwards, like b d d b. Put one space between two letters and write "
        "nothing else.",
        "terse": "{length} random letters from a to {last} followed by their mirror image, all "
        "{total} separated by spaces:",
        "story": "A row of {total} tiles, each with a letter from a to {last}, reads the same from "
        "both ends. Choose the tiles at random. Reply with their letters only, with one space "
        "between two of them.",
    }

    length: int = whole(1, 30, "letters", most=500)
    letters: int = whole(2, 26, "letters", most=26)
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a right answer to the one question of this size."""
        trellis = _mirror_trellis(self.length, self.letters)
        slots = {
            "length": str(self.length),
            "total": str(2 * self.length),
            "last": string.ascii_lowercase[self.letters - 1],
        }
        return Question(slots, trellis.text(trellis.draw(rng)), {})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all mirrored sequences."""
        return _mirror_trellis(self.length, self.letters)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last sequence of letters in ``reply``."""
        letters = _last_letters(reply)
        problem = None
        if not letters:
            problem = UNREADABLE
        elif len(letters) != 2 * self.length:
            problem = "wrong count"
        elif not set(letters) <= set(string.ascii_lowercase[: self.letters]):
            problem = "not listed"
        elif letters != letters[::-1]:
            problem = "not mirrored"
        return _marks(reply, " ".join(letters), problem)
