"""Verse: couplets of which the line ends rhyme.

*Question:* ``rhyme`` asks for couplets from a small lexicon.  Each line begins with a given
letter, an acrostic, and the last words of the two lines of a couplet are different and rhyme.

*Why it is hard:* every last word is free, but the two of a couplet determine each other's rhyme.
Drawn in parallel, each from its own marginal, they seldom rhyme, and the poem is wrong if one
couplet is.  Couplets do not depend on each other, so one step can write the first of every pair
and the next all of the second, in a poem of any length.

*Theory:* with n couplets, c rhyme classes of r words each, a opening words for a letter, and o
nouns and as many verbs to choose from:

=====  ====================================================================================
count  (c r (r - 1) (a o o)^2)^n
C      n log2 (c r / (r - 1)) bits: the total correlation of the line ends; other words are
       independent
=====  ====================================================================================

Two steps suffice for any length: the product of n pairs, of tree depth 2.

*The lenient reading* takes the last lines of the form with no other word between them, and
ignores case, punctuation, numbering and the breaks between lines.

*Problems of a reply*, first match: ``unreadable``: no line of the form; ``wrong count`` of lines;
``wrong letter``: a line begins with another letter; ``not listed``: a word that was not offered;
``same word``: a couplet ends twice in one word; ``no rhyme``.

Source: lexicon, rhyme classes and letters are our own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis, constant_stage
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask
from parallelbench.tasks.sentences import last_sentences

#: Opening words, four for each letter.
OPENINGS = (
    *("Amber", "Ancient", "Airy", "Azure"),
    *("Bright", "Bold", "Brave", "Bitter"),
    *("Calm", "Clear", "Cold", "Curious"),
    *("Deep", "Distant", "Dusty", "Dreamy"),
    *("Faint", "Fair", "Frozen", "Fragile"),
    *("Gentle", "Golden", "Grey", "Green"),
    *("Hidden", "Hollow", "Humble", "Happy"),
    *("Lonely", "Loud", "Little", "Lofty"),
    *("Mellow", "Misty", "Merry", "Modest"),
    *("Narrow", "Noble", "Nimble", "Northern"),
    *("Pale", "Proud", "Patient", "Peaceful"),
    *("Restless", "Ruby", "Rough", "Rare"),
    *("Silent", "Silver", "Slow", "Soft"),
    *("Tall", "Tender", "Tiny", "Tired"),
    *("Warm", "Wild", "Wise", "Weary"),
)
NOUNS = (
    "rivers",
    "shadows",
    "lanterns",
    "swallows",
    "voices",
    "petals",
    "dancers",
    "clouds",
    "embers",
    "feathers",
    "children",
    "horses",
)
VERBS = (
    "follow",
    "carry",
    "remember",
    "greet",
    "circle",
    "praise",
    "cross",
    "seek",
    "guard",
    "paint",
    "forget",
    "watch",
)
#: Line ends: the words of a class rhyme with each other and with no word of another class.
RHYMES = (
    ("light", "night", "flight", "height", "kite"),
    ("day", "bay", "clay", "hay", "way"),
    ("moon", "dune", "tune", "spoon", "lagoon"),
    ("sea", "tree", "bee", "key", "knee"),
    ("rain", "lane", "grain", "train", "chain"),
    ("stone", "throne", "bone", "cone", "phone"),
    ("hill", "mill", "sill", "quill", "drill"),
    ("shore", "door", "floor", "core", "store"),
    ("sand", "land", "hand", "band", "strand"),
    ("ring", "king", "wing", "spring", "string"),
    ("snow", "crow", "glow", "toe", "foe"),
    ("star", "car", "jar", "guitar", "bar"),
)

_BY_LETTER = {
    letter: tuple(word for word in OPENINGS if word[0] == letter)
    for letter in sorted({word[0] for word in OPENINGS})
}
_CLASS = {word: number for number, words in enumerate(RHYMES) for word in words}
_PER_LETTER = min(map(len, _BY_LETTER.values()))
_PER_CLASS = min(map(len, RHYMES))
_LINES = 2


class _Line(NamedTuple):
    """The words of a line, in lower case."""

    opening: str
    noun: str
    verb: str
    the: str
    end: str


_FORM = (None, frozenset(NOUNS), frozenset(VERBS), {"the"}, None)


@TASKS.register("verse/rhyme")
@dataclass(frozen=True, kw_only=True)
class Rhyme(TrellisTask):
    """Ask for ``length`` rhyming couplets whose lines begin with given letters.

    The parts ``letters`` and ``rhymes`` are the shares of lines that begin with the letter asked
    for, and of couplets that end in two different words that rhyme.

    Attributes:
        length: Number of couplets, 1 to 40.
        classes: Number of classes of rhyming line ends to choose from, 2 to 12.
        rhymes: Number of words in each class, 2 to 5.
        openings: Number of opening words for each letter, 1 to 4.
        options: Number of nouns, and of verbs, to choose from, 1 to 12.

    Raises:
        ValueError: A size is out of range.
    """

    name: ClassVar[str] = "verse/rhyme"
    words: ClassVar[tuple[str, ...]] = (
        "the",
        *OPENINGS,
        *NOUNS,
        *VERBS,
        *(word for words in RHYMES for word in words),
    )
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Write a poem of {couplets}, {lines} lines. The lines begin with these letters, from "
            "the first to the last: {letters}. Each line has an opening word, a noun, a verb, the "
            'word "the" and a last word, chosen at random from these lists. Opening words: '
            "{openings}. Nouns: {nouns}. Verbs: {verbs}. Last words: {ends}. The two lines of a "
            "couplet end in two different words that rhyme. The first line of a couplet ends with "
            "a comma, the second with a full stop. Reply with the poem, one line of it to a line, "
            "without blank lines, and nothing else."
        ),
        "terse": (
            'Poem of {couplets}; line form: Opening noun verb "the" end. First letters: '
            "{letters}. Openings: {openings}. Nouns: {nouns}. Verbs: {verbs}. Ends: {ends}. Choose "
            "at random; the ends of a couplet rhyme and differ; comma after its first line, full "
            "stop after its second. No blank lines, no other text."
        ),
        "story": (
            "Two friends play a game with word cards. They draw letters, and each letter starts "
            "one line of a poem: {letters}. A line takes a card from each pile, any that fits: an "
            "opening word ({openings}), a noun ({nouns}), a verb ({verbs}), then always the word "
            '"the", and a last word ({ends}). One friend lays a line and adds a comma; the other '
            "answers with a line that rhymes, though not with the same last word, and adds a "
            "full stop. So they make {couplets}. Write down their poem, {lines} lines without "
            "gaps, and nothing else."
        ),
    }

    canvas_length: int = whole(1, 128, "tokens", most=MOST_TOKENS)
    length: int = whole(1, 8, "couplets", most=40)
    classes: int = whole(2, 5, "rhyme classes", most=len(RHYMES))
    rhymes: int = whole(2, 3, "words", most=_PER_CLASS)
    openings: int = whole(1, 3, "opening words", most=_PER_LETTER)
    options: int = whole(1, 4, "nouns and verbs", most=len(NOUNS))

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about letters and words drawn at random."""
        letters = [rng.choice(list(_BY_LETTER)) for _ in range(_LINES * self.length)]
        ends = [
            word
            for words in rng.sample(RHYMES, self.classes)
            for word in rng.sample(words, self.rhymes)
        ]
        rng.shuffle(ends)
        facts: dict[str, Any] = {
            "letters": letters,
            "openings": [
                word
                for letter in sorted(set(letters))
                for word in rng.sample(_BY_LETTER[letter], self.openings)
            ],
            "nouns": rng.sample(NOUNS, self.options),
            "verbs": rng.sample(VERBS, self.options),
            "ends": ends,
        }
        trellis = _poem_trellis(facts)
        lists = {name: ", ".join(words) for name, words in facts.items()}
        couplets = f"{self.length} couplet{'s' if self.length > 1 else ''}"
        return Question(
            slots={"couplets": couplets, "lines": str(len(letters)), **lists},
            reference=trellis.text(trellis.draw(rng)),
            facts=facts,
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if ``reply`` holds the lines asked for, with couplets that rhyme, else 0."""
        facts = sample.facts
        lines = [_Line(*words) for words in last_sentences(reply, _FORM)]
        if not lines:
            parts = {"letters": 0.0, "rhymes": 0.0}
            return Marks(strict=0.0, lenient=0.0, failure=UNREADABLE, parts=parts)
        letters = facts["letters"]
        asked = list(zip(lines, letters, strict=False))
        begun = [line.opening[0] == letter.lower() for line, letter in asked]
        ends = [line.end for line, _ in asked]
        couplets = list(zip(ends[::2], ends[1::2], strict=False))
        failures = {
            "wrong count": len(lines) != len(letters),
            "wrong letter": not all(begun),
            "not listed": not all(_is_offered(line, facts) for line in lines),
            "same word": any(one == other for one, other in couplets),
            "no rhyme": not all(_rhymes(one, other) for one, other in couplets),
        }
        failure = next((each for each, holds in failures.items() if holds), None)
        right = failure is None
        rhyming = [one != other and _rhymes(one, other) for one, other in couplets]
        return Marks(
            strict=float(right and reply.strip() == _poem_text(lines)),
            lenient=float(right),
            failure=failure,
            parts={
                "letters": sum(begun) / len(letters),
                "rhymes": sum(rhyming) * _LINES / len(letters),
            },
        )

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return the poems: within a couplet the state is its first line end."""
        return _poem_trellis(sample.facts)


def _rhymes(one: str, other: str) -> bool:
    return one in _CLASS and _CLASS[one] == _CLASS.get(other)


def _is_offered(line: _Line, facts: Mapping[str, Any]) -> bool:
    return (
        line.opening.capitalize() in facts["openings"]
        and line.noun in facts["nouns"]
        and line.verb in facts["verbs"]
        and line.end in facts["ends"]
    )


def _poem_text(lines: Sequence[_Line]) -> str:
    return "\n".join(
        f"{' '.join(line).capitalize()}{'.' if number % _LINES else ','}"
        for number, line in enumerate(lines)
    )


def _poem_trellis(facts: Mapping[str, Any]) -> TextTrellis:
    return _cached_poem_trellis(
        *(tuple(facts[name]) for name in ("letters", "openings", "nouns", "verbs", "ends"))
    )


@lru_cache(maxsize=64)
def _cached_poem_trellis(
    letters: tuple[str, ...],
    openings: tuple[str, ...],
    nouns: tuple[str, ...],
    verbs: tuple[str, ...],
    ends: tuple[str, ...],
) -> TextTrellis:
    def chosen(words: Sequence[str], nodes: Sequence[str | None]) -> Stage:
        return Stage(Edge(node, word, node) for node in nodes for word in words)

    def beginnings(nodes: Sequence[str | None]) -> Mapping[str, Stage]:
        return {
            letter: chosen([word for word in openings if word[0] == letter], nodes)
            for letter in dict.fromkeys(letters)
        }

    def middle(nodes: Sequence[str | None]) -> list[Stage]:
        spaced = [[f" {word}" for word in words] for words in (nouns, verbs)]
        return [*(chosen(words, nodes) for words in spaced), constant_stage(" the", nodes)]

    first_openings, second_openings = beginnings([START]), beginnings(ends)
    first_middle, second_middle = middle([START]), middle(ends)
    first_end = Stage(Edge(START, f" {word}", word) for word in ends)
    second_end = Stage(
        Edge(first, f" {word}", START)
        for first in ends
        for word in ends
        if word != first and _rhymes(first, word)
    )
    comma, stop = constant_stage(",\n", ends), constant_stage(".\n")
    stages: list[Stage] = []
    for first, second in zip(letters[::2], letters[1::2], strict=True):
        stages += [first_openings[first], *first_middle, first_end, comma]
        stages += [second_openings[second], *second_middle, second_end, stop]
    return TextTrellis([*stages[:-1], constant_stage(".")])
