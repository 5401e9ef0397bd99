"""Choices: one short answer out of several that are equally right.

*Question:* a place, a country with its capital, two summands, a date, some dice rolls, or a
place for each of several people.  Every right answer is equally good.

*Why it is hard:* the answers are so short and so well known that only decoding can go
wrong.  Each word is uncertain and determines the others once it is committed: words drawn in
parallel, each from its own marginal, make names such as "New City" that are not on the list.
The dice are the control: as uncertain as the others, but no roll depends on another, so one
step is perfect and a decoder that waits for confidence waits for nothing.

*Theory:* the total correlation C(Y|X) of the answer's words, in bits, is the least that
committing them in one step costs (layout and certain words cost nothing):

=======  ==================================================================================
city     H(first) + H(second) - 2 = 1 for the four places of the default
capital  log2 ``options``: the country determines the capital and vice versa
sum      log2 (N + 1) for sum N: either number determines the other
date     tens digit and last digit of the day: 1.5 for the 4 dates of a month, 1.52 or 1.92
         for 5
dice     0, with ``rolls`` * log2 6 bits of entropy
roster   1 per person, 2 steps for any number of people: all first words, all second words
=======  ==================================================================================

*The lenient reading* finds an answer in prose, ignores case, and takes the last answer where a
reply names several.

*Problems of a reply*, first match:

=======  ==================================================================================
city     ``unreadable``: no two adjacent words of place names; ``glued name``: they make no
         place; ``not listed``: they make one that was not offered
capital  ``unreadable``: no country is named; ``not listed``: not one that was offered;
         ``wrong capital``: the capital named is not its capital, or none is
sum      ``unreadable``: no sum is found; ``wrong count``: not two numbers; ``wrong sum``
date     ``unreadable``: no date is found; ``no such date``; ``wrong year``;
         ``wrong month``; ``wrong weekday``
dice     ``unreadable``: no number is found; ``wrong count``: too few or too many rolls;
         ``not a face``: a number outside 1 to 6
roster   ``unreadable``: no two adjacent words of place names; ``extra person``: a place
         without a listed person; ``person twice``; ``missing person``; then as for city, for
         any of the places
=======  ==================================================================================

Source: the four places are the founding example of Kang et al., ParallelBench
(arXiv:2510.04767).
"""

from __future__ import annotations

import csv
import itertools
import random
import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any, ClassVar, NamedTuple

from parallelbench.ranges import whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import DEFAULT_LIMIT, TASKS, Answers, Question, Sample, Task, refuse_over


def _marks(reply: str, answer: str, problem: str | None, parts: Mapping[str, float]) -> Marks:
    """Return the marks of ``reply``, in which ``answer`` was found.

    Args:
        reply: Unchanged reply.
        answer: Answer found in the reply, in the requested form.
        problem: Name of the answer's problem; None if it is right.
        parts: Named shares of right parts, each in [0, 1].
    """
    right = problem is None
    return Marks(
        strict=float(right and reply.strip() == answer),
        lenient=float(right),
        failure=problem,
        parts=parts,
    )


def _unreadable(*parts: str) -> Marks:
    return Marks(strict=0.0, lenient=0.0, failure=UNREADABLE, parts=dict.fromkeys(parts, 0.0))


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


# --- Places -----------------------------------------------------------------------------

#: Real places of two words; the first four are the founding example.
CITIES = (
    "New York",
    "New Orleans",
    "Mexico City",
    "Panama City",
    "Kuwait City",
    "New Delhi",
    "San Diego",
    "San Juan",
    "Cape Town",
    "George Town",
)
CITY_WORDS = tuple(dict.fromkeys(word for city in CITIES for word in city.split()))

_ANY_CITY_WORD = f"(?:{'|'.join(CITY_WORDS)})"
# A single word is ignored: "New York is a city" names one place.
_CITY_WORDS_IN_A_ROW = re.compile(
    rf"\b{_ANY_CITY_WORD}(?:[ \t]+{_ANY_CITY_WORD})+\b", re.IGNORECASE
)
_SPELLING = {city.casefold(): city for city in CITIES}


class _Place(NamedTuple):
    """Adjacent words of place names in a reply.

    Attributes:
        before: Text between the previous place, or the beginning of the reply, and this one.
        name: The words, spelled as in ``CITIES`` if they make one of those places.
    """

    before: str
    name: str

    def problem(self, offered: Sequence[str]) -> str | None:
        """Return the problem of a place that is not ``offered``; None if it is offered."""
        if self.name in offered:
            return None
        return "not listed" if self.name in CITIES else "glued name"


def _places(reply: str) -> list[_Place]:
    places, end = [], 0
    for found in _CITY_WORDS_IN_A_ROW.finditer(reply):
        name = " ".join(found.group().split())
        places.append(_Place(reply[end : found.start()], _SPELLING.get(name.casefold(), name)))
        end = found.end()
    return places


@TASKS.register("choices/city")
@dataclass(frozen=True, kw_only=True)
class City(Task):
    """Ask for one of ``options`` places with names of two words.

    The parts ``first word`` and ``second word`` are 1 where the word could begin, or end,
    a right answer: "New City" has both, and is wrong.

    Attributes:
        options: Number of places offered, 2 to 10; with 2, both begin with "New" and the words
            are independent.

    Raises:
        ValueError: ``options`` is out of range.
    """

    name: ClassVar[str] = "choices/city"
    words: ClassVar[tuple[str, ...]] = CITY_WORDS
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Pick one of these places at random: {places}. "
            "Reply with the name of the place and nothing else."
        ),
        "terse": "One at random, name only: {places}",
        "story": (
            "A traveller spins a globe that shows only these places: {places}. She stops it "
            "with a finger, and each is as likely as the next. Where does she go? Write just "
            "the name of the place."
        ),
    }

    options: int = whole(2, 4, "places", most=len(CITIES))

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return the question, which is always the same, with a random right answer."""
        offered = list(CITIES[: self.options])
        return Question(
            slots={"places": ", ".join(offered)},
            reference=rng.choice(offered),
            facts={"cities": offered},
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if the last place that ``reply`` names was offered, else 0."""
        offered = sample.facts["cities"]
        places = _places(reply)
        if not places:
            return _unreadable("first word", "second word")
        first, *_, last = places[-1].name.casefold().split()
        parts = {
            "first word": float(any(first == city.casefold().split()[0] for city in offered)),
            "second word": float(any(last == city.casefold().split()[1] for city in offered)),
        }
        return _marks(reply, places[-1].name, places[-1].problem(offered), parts)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return the places offered, all equally likely.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        refuse_over(limit, len(sample.facts["cities"]), self.name)
        return Answers.uniform(sample.facts["cities"])


# --- Countries and capitals -------------------------------------------------------------


def _read_capitals() -> Mapping[str, str]:
    file = resources.files("parallelbench.tasks") / "data" / "capitals.csv"
    rows = csv.DictReader(file.read_text(encoding="ascii").splitlines())
    return {row["country"]: row["capital"] for row in rows}


#: The capital of each country; every name is one word and unique.
CAPITALS = _read_capitals()

_COUNTRY = re.compile(rf"\b(?:{'|'.join(CAPITALS)})\b", re.IGNORECASE)
_CAPITAL = re.compile(rf"\b(?:{'|'.join(CAPITALS.values())})\b", re.IGNORECASE)
_CAPITAL_OF = re.compile(r"\bcapital (?:city )?of (\w+)", re.IGNORECASE)


@TASKS.register("choices/capital")
@dataclass(frozen=True, kw_only=True)
class Capital(Task):
    """Ask for any of ``options`` countries, together with its capital.

    The lenient reading takes the country after the last "capital of", or else the country
    named last, and the capital named last.  The parts ``country`` and ``capital`` are 1
    where a country of the list, and the capital of one, is named: "Rome is the capital of
    France" has both, and is wrong.

    Attributes:
        options: Number of countries listed, 2 to 60; they differ from sample to sample.

    Raises:
        ValueError: ``options`` is out of range.
    """

    name: ClassVar[str] = "choices/capital"
    words: ClassVar[tuple[str, ...]] = (
        *CAPITALS,
        *CAPITALS.values(),
        "is",
        "the",
        "capital",
        "of",
    )
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Choose one of these countries at random and name its capital: {countries}. Reply "
            'with one sentence of the form "Xxx is the capital of Yyy." and nothing else.'
        ),
        "terse": 'Any one of {countries}. Reply exactly: "Xxx is the capital of Yyy."',
        "story": (
            "In a classroom quiz, a pupil draws one card from a shuffled pack with these "
            "countries: {countries}. She must name the capital of the country on her card. "
            'What does she say? Write only her sentence, in the form "Xxx is the capital of '
            'Yyy."'
        ),
    }

    options: int = whole(2, 8, "countries", most=60)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about countries drawn without repetition."""
        listed = rng.sample(list(CAPITALS), self.options)
        return Question(
            slots={"countries": ", ".join(listed)},
            reference=_capital_sentence(rng.choice(listed)),
            facts={"countries": listed},
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if ``reply`` names a listed country with its own capital, else 0."""
        listed = sample.facts["countries"]
        named = _CAPITAL_OF.findall(reply) or _COUNTRY.findall(reply)
        if not named:
            return _unreadable("country", "capital")
        country = named[-1].capitalize()
        capital = ["", *_CAPITAL.findall(reply)][-1].capitalize()
        parts = {
            "country": float(country in listed),
            "capital": float(any(capital == CAPITALS[one] for one in listed)),
        }
        if country not in listed:
            return _marks(reply, country, "not listed", parts)
        problem = None if capital == CAPITALS[country] else "wrong capital"
        return _marks(reply, _capital_sentence(country), problem, parts)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return one sentence for each listed country, all equally likely.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        listed = sample.facts["countries"]
        refuse_over(limit, len(listed), self.name)
        return Answers.uniform(map(_capital_sentence, listed))


def _capital_sentence(country: str) -> str:
    return f"{CAPITALS[country]} is the capital of {country}."


# --- Two numbers that add up ------------------------------------------------------------

# Only ASCII digits count, and no sign, fraction or letter may touch the numbers.
_SUM = re.compile(r"(?<![\w.\u2212-])[0-9]+(?:\s*\+\s*[0-9]+)+(?!\w|\.[0-9])")


@TASKS.register("choices/sum")
@dataclass(frozen=True, kw_only=True)
class Sum(Task):
    """Ask for two whole numbers, 0 or greater, that add up to a given one.

    Attributes:
        largest: Bound on the given number, 2 to 1,000,000; it is drawn from the upper
            half, ``largest // 2`` to ``largest``.

    Raises:
        ValueError: ``largest`` is out of range.
    """

    name: ClassVar[str] = "choices/sum"
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Pick at random two whole numbers, 0 or greater, that add up to {total}. Reply with "
            "the two numbers with a plus sign between them, separated by single spaces, and "
            "nothing else."
        ),
        "terse": "{total} as a sum of two whole numbers, 0 or greater. Format: number + number",
        "story": (
            "A farmer puts {total} apples into two baskets, any way she likes; a basket may stay "
            "empty. How many go into the first, and how many into the second? Write only the two "
            "numbers, joined by a plus sign with one space on either side."
        ),
    }

    largest: int = whole(2, 20, most=1_000_000)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about a number drawn from the upper half of the range."""
        total = rng.randint(self.largest // 2, self.largest)
        first = rng.randint(0, total)
        return Question(
            slots={"total": str(total)},
            reference=_sum_form(first, total - first),
            facts={"total": total},
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if the last sum in ``reply`` has two terms that make the total, else 0."""
        total = sample.facts["total"]
        sums = _SUM.findall(reply)
        if not sums:
            return _unreadable("count", "total")
        terms = [_number(digits) for digits in re.findall(r"[0-9]+", sums[-1])]
        parts = {"count": float(len(terms) == 2), "total": float(sum(terms) == total)}
        if len(terms) != 2:
            return _marks(reply, sums[-1], "wrong count", parts)
        problem = None if sum(terms) == total else "wrong sum"
        return _marks(reply, _sum_form(*terms), problem, parts)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return all ordered pairs with the given sum, all equally likely.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        total = sample.facts["total"]
        refuse_over(limit, total + 1, f"{self.name} for the sum {total:,}")
        return Answers.uniform(_sum_form(first, total - first) for first in range(total + 1))


def _sum_form(first: int, second: int) -> str:
    return f"{first} + {second}"


def _number(digits: str) -> int:
    # Python refuses to parse thousands of digits.  The first 19 digits of a longer number
    # already exceed every number that is asked for.
    return int(digits.lstrip("0")[:19] or "0")


# --- Dates ------------------------------------------------------------------------------

# The names in ``calendar`` follow the locale; a prompt must not.
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_MONTH_NAME = f"(?P<month>{'|'.join(_MONTHS)})"
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[0-9]{4})"
_DATE_FORMS = tuple(
    re.compile(rf"(?<!\w){form}(?!\w)", re.IGNORECASE)
    for form in (
        r"(?P<year>[0-9]{4})[-/.](?P<month>[0-9]{1,2})[-/.](?P<day>[0-9]{1,2})",
        rf"{_DAY}\s+(?:of\s+)?{_MONTH_NAME},?\s+{_YEAR}",
        rf"{_MONTH_NAME}\s+{_DAY},?\s+{_YEAR}",
    )
)


class _Ymd(NamedTuple):
    """Year, month and day as a reply gives them; the date may not exist."""

    year: int
    month: int
    day: int

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}-{self.day:02d}"

    def on_calendar(self) -> date | None:
        """Return the date, or None if there is no such day."""
        try:
            return date(*self)
        except ValueError:
            return None


def _last_date(reply: str) -> _Ymd | None:
    found = [match for form in _DATE_FORMS for match in form.finditer(reply)]
    if not found:
        return None
    last = max(found, key=lambda match: match.start())
    return _Ymd(int(last["year"]), _month_number(last["month"]), int(last["day"]))


def _month_number(text: str) -> int:
    names = [month.casefold() for month in _MONTHS]
    return int(text) if text.isdecimal() else names.index(text.casefold()) + 1


@TASKS.register("choices/date")
@dataclass(frozen=True, kw_only=True)
class Date(Task):
    """Ask for a date in given months of a given year that falls on a given weekday.

    The lenient reading takes the last date in ISO form, with or without leading zeros and
    with any of ``-/.``, or with the month's English name.

    Attributes:
        months: Number of consecutive months in which the date may lie, 1 to 12; all in one
            year from 2000 to 2099 of the Gregorian calendar.

    Raises:
        ValueError: ``months`` is out of range.
    """

    name: ClassVar[str] = "choices/date"
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Pick at random a date in {months} that falls on a {weekday}. Reply with the date "
            "in the form YYYY-MM-DD and nothing else."
        ),
        "terse": "Any {weekday} in {months}, as YYYY-MM-DD",
        "story": (
            "The chess club meets on a {weekday}, and the hall is free in {months}. Which date "
            "does the club book? Any {weekday} will do. Write only the date: four digits for the "
            "year, two for the month, two for the day, joined by hyphens."
        ),
    }

    months: int = whole(1, 1, most=12)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about months, a year and a weekday drawn at random."""
        facts = {
            "year": rng.randint(2000, 2099),
            "first_month": rng.randint(1, 13 - self.months),
            "months": self.months,
            "weekday": rng.randrange(7),
        }
        first, count = _first_and_count(facts)
        return Question(
            slots={"months": _months_in_words(facts), "weekday": _WEEKDAYS[facts["weekday"]]},
            reference=str(first + timedelta(weeks=rng.randrange(count))),
            facts=facts,
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if the last date in ``reply`` is one that was asked for, else 0."""
        facts = sample.facts
        given = _last_date(reply)
        if given is None:
            return _unreadable("year", "month", "weekday")
        day = given.on_calendar()
        months = range(facts["first_month"], facts["first_month"] + facts["months"])
        parts = {
            "year": float(given.year == facts["year"]),
            "month": float(given.month in months),
            "weekday": float(day is not None and day.weekday() == facts["weekday"]),
        }
        wrong = next((f"wrong {part}" for part, share in parts.items() if not share), None)
        return _marks(reply, str(given), "no such date" if day is None else wrong, parts)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return the dates asked for, in ISO form, all equally likely.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        first, count = _first_and_count(sample.facts)
        refuse_over(limit, count, self.name)
        return Answers.uniform(str(first + timedelta(weeks=week)) for week in range(count))


def _first_and_count(facts: Mapping[str, Any]) -> tuple[date, int]:
    """Return the first right date and the number of right dates, a week apart."""
    year, last_month = facts["year"], facts["first_month"] + facts["months"] - 1
    begin = date(year, facts["first_month"], 1)
    end = date(year, last_month, monthrange(year, last_month)[1])
    first = begin + timedelta(days=(facts["weekday"] - begin.weekday()) % 7)
    return first, (end - first).days // 7 + 1


def _months_in_words(facts: Mapping[str, Any]) -> str:
    first = _MONTHS[facts["first_month"] - 1]
    last = _MONTHS[facts["first_month"] + facts["months"] - 2]
    if first == last:
        return f"{first} {facts['year']}"
    return f"the months from {first} to {last} {facts['year']}"


# --- Dice -------------------------------------------------------------------------------

_FACES = "123456"
_NUMBER = r"(?<![\w.\u2212-])[0-9]+(?!\w|\.[0-9])"
_ROLLS = re.compile(rf"{_NUMBER}(?:[\s,;|]+(?:and\s+)?{_NUMBER})*")


@TASKS.register("choices/dice")
@dataclass(frozen=True, kw_only=True)
class Dice(Task):
    """Ask for the results of ``rolls`` independent rolls of a fair die.

    The lenient reading takes the last row of two or more numbers with nothing but spaces,
    commas, semicolons, bars or "and" between them; failing that, the last number.

    Attributes:
        rolls: Number of rolls, 1 to 100.

    Raises:
        ValueError: ``rolls`` is out of range.
    """

    name: ClassVar[str] = "choices/dice"
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Roll a fair six-sided die {rolls} times. Reply with the {rolls} results in order, "
            "separated by single spaces, and nothing else."
        ),
        "terse": "{rolls} fair die rolls, digits 1 to 6, single spaces between",
        "story": (
            "On a rainy afternoon a child throws one die {rolls} times and writes down what "
            "comes up, on one line with a space between the digits. Write the line, nothing else."
        ),
    }

    rolls: int = whole(1, 5, most=100)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return the question, which is always the same, with a random right answer."""
        return Question(
            slots={"rolls": str(self.rolls)},
            reference=" ".join(rng.choice(_FACES) for _ in range(self.rolls)),
            facts={"rolls": self.rolls},
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if ``reply`` gives the requested number of faces, else 0."""
        expected = sample.facts["rolls"]
        rows = [re.findall(r"[0-9]+", row) for row in _ROLLS.findall(reply)]
        if not rows:
            return _unreadable("count", "faces")
        rolls = ([row for row in rows if len(row) > 1] or rows)[-1]
        faces = [roll in tuple(_FACES) for roll in rolls]
        parts = {"count": float(len(rolls) == expected), "faces": _share(faces)}
        wrong = {"wrong count": len(rolls) != expected, "not a face": not all(faces)}
        problem = next((kind for kind, holds in wrong.items() if holds), None)
        return _marks(reply, " ".join(rolls), problem, parts)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return all sequences of rolls, all equally likely; the same object for every sample.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        rolls = sample.facts["rolls"]
        refuse_over(limit, 6**rolls, f"{self.name} with {rolls} rolls")
        return _all_rolls(rolls)


@lru_cache(maxsize=4)
def _all_rolls(rolls: int) -> Answers:
    return Answers.uniform(map(" ".join, itertools.product(_FACES, repeat=rolls)))


# --- A place for each of several people -------------------------------------------------

#: Names of one word that occur in no place name.
PEOPLE = (
    "Ada",
    "Boris",
    "Clara",
    "Dmitri",
    "Edith",
    "Felix",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Leo",
)


@TASKS.register("choices/roster")
@dataclass(frozen=True, kw_only=True)
class Roster(Task):
    """Ask for one of four places for each of ``people`` people, independently.

    The lenient reading gives each place to the one listed person named between the previous
    place and this one, in any order of the people.

    Attributes:
        people: Number of people, 1 to 12, all different.

    Raises:
        ValueError: ``people`` is out of range.
    """

    name: ClassVar[str] = "choices/roster"
    words: ClassVar[tuple[str, ...]] = (*PEOPLE, *CITY_WORDS)
    templates: ClassVar[Mapping[str, str]] = {
        "default": (
            "Give each of these people one of the places at random. People: {people}. Places: "
            "{places}. Several people may get the same place. Reply on one line, in the order "
            "of the people: name, colon, space, place, with a semicolon and a space between "
            "the people, and nothing else."
        ),
        "terse": (
            "A random place for each. People: {people}. Places: {places}. "
            "Format, people in order: Name: Place; Name: Place"
        ),
        "story": (
            "{people} won holidays. Each draws a destination from an urn of their own, which "
            "holds four tickets: {places}. Who goes where? Write one line that keeps the order "
            "of the names, each followed by a colon, a space and the destination, and put a "
            "semicolon and a space between one winner and the next. Write nothing else."
        ),
    }

    people: int = whole(1, 3, most=len(PEOPLE))

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return a question about people drawn without repetition."""
        people, offered = rng.sample(PEOPLE, self.people), list(CITIES[:4])
        return Question(
            slots={"people": ", ".join(people), "places": ", ".join(offered)},
            reference=_roster(people, [rng.choice(offered) for _ in people]),
            facts={"people": people, "cities": offered},
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 if each person is given exactly one of the places offered, else 0."""
        people, offered = sample.facts["people"], sample.facts["cities"]
        places = _places(reply)
        if not places:
            return _unreadable("people", "places")
        owners = [_person_in(place.before, people) for place in places]
        problems = [place.problem(offered) for place in places]
        parts = {
            "people": _share([owners.count(person) == 1 for person in people]),
            "places": _share([problem is None for problem in problems]),
        }
        problem = _assignment_problem(owners, people) or next(filter(None, problems), None)
        given = {owner: place.name for owner, place in zip(owners, places, strict=True)}
        answer = _roster(people, [given.get(person, "") for person in people])
        return _marks(reply, answer, problem, parts)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return every assignment of a place to each person, all equally likely.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        people, offered = sample.facts["people"], sample.facts["cities"]
        refuse_over(limit, len(offered) ** len(people), f"{self.name} with {len(people)} people")
        ways = itertools.product(offered, repeat=len(people))
        return Answers.uniform(_roster(people, places) for places in ways)


def _roster(people: Sequence[str], places: Sequence[str]) -> str:
    pairs = zip(people, places, strict=True)
    return "; ".join(f"{person}: {place}" for person, place in pairs)


def _person_in(text: str, people: Sequence[str]) -> str | None:
    """Return the only person named in ``text``; None if there is none or several."""
    words = re.findall(r"\w+", text.casefold())
    named = [person for person in people if person.casefold() in words]
    return named[0] if len(named) == 1 else None


def _assignment_problem(owners: Sequence[str | None], people: Sequence[str]) -> str | None:
    if None in owners:
        return "extra person"
    if len(set(owners)) < len(owners):
        return "person twice"
    return "missing person" if len(owners) < len(people) else None
