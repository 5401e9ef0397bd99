"""The six choices: their laws, and the wrong replies that look right."""

import calendar
import csv
import dataclasses
import itertools
import json
import math
import re
from collections import Counter
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parallelbench.tasks
from parallelbench.errors import NotEnumerableError
from parallelbench.task import TASKS, sample_rng

CHOICES = TASKS.matching("choices/*")
FOUR_CITIES = ("New York", "New Orleans", "Mexico City", "Panama City")
# A size other than the default for each task, small enough to list.
OTHER_SIZES = {
    "choices/city": {"options": 10},
    "choices/capital": {"options": 3},
    "choices/sum": {"largest": 7},
    "choices/date": {"months": 12},
    "choices/dice": {"rolls": 3},
    "choices/roster": {"people": 2},
}
# Surrogates and control characters included: a decoder may write any token anywhere.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(name, index=0, seed=0, **fields):
    task = TASKS[f"choices/{name}"](**fields)
    return task, task.draw(sample_rng(seed, task.name, index), index)


def posed(name, **facts):
    """A task and a sample of it with ``facts`` in place of the drawn ones."""
    task, sample = draw(name)
    return task, dataclasses.replace(sample, facts=facts)


def verdict(task, sample, reply):
    marks = task.score(sample, reply)
    return marks.strict, marks.lenient, marks.failure


def entropy(values):
    counts = Counter(values).values()
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts)


def total_correlation(answers):
    """The total correlation of equally likely answers in bits, one token per item."""
    return sum(map(entropy, zip(*answers, strict=True))) - math.log2(len(answers))


# The laws.


@pytest.mark.parametrize("fields", [{}, OTHER_SIZES], ids=["default size", "other size"])
@pytest.mark.parametrize("name", CHOICES)
def test_every_answer_of_the_law_is_right_in_both_readings(name, fields):
    for index in range(3):
        task, sample = draw(name.partition("/")[2], index, **fields.get(name, {}))
        texts = task.answers(sample).texts
        assert sample.reference in texts
        for text in texts[:: max(1, len(texts) // 100)]:
            assert verdict(task, sample, text) == (1, 1, None), text
            assert set(task.score(sample, f" \n{text}\t").parts.values()) == {1}


@pytest.mark.parametrize("name", CHOICES)
def test_the_law_is_uniform_and_sums_to_one(name):
    task, sample = draw(name.partition("/")[2])
    answers = task.answers(sample)
    assert len(set(answers.weights)) == 1
    assert sum(Fraction(weight, sum(answers.weights)) for weight in answers.weights) == 1
    assert sum(answers.probabilities) == pytest.approx(1)


@pytest.mark.parametrize("name", CHOICES)
def test_the_law_is_read_from_facts_that_survive_a_file(name):
    task, sample = draw(name.partition("/")[2])
    again = dataclasses.replace(
        sample, reference="", messages=(), facts=json.loads(json.dumps(sample.facts))
    )
    assert again.facts == sample.facts
    assert task.answers(again) == task.answers(sample)
    assert task.score(again, sample.reference) == task.score(sample, sample.reference)


@pytest.mark.parametrize("name", CHOICES)
def test_a_law_over_the_limit_is_refused_with_its_size(name):
    task, sample = draw(name.partition("/")[2])
    count = len(task.answers(sample))
    with pytest.raises(NotEnumerableError, match=f"{count:,} right answers, over the limit of 1;"):
        task.answers(sample, limit=1)


@pytest.mark.parametrize("options", range(2, 11))
def test_a_city_is_one_of_the_options(options):
    task, sample = draw("city", options=options)
    texts = task.answers(sample).texts
    assert len(texts) == options
    assert texts[:4] == FOUR_CITIES[:options]
    assert all(len(text.split()) == 2 for text in texts)


@pytest.mark.parametrize("options", [2, 8, 60])
def test_there_is_one_capital_for_each_listed_country(options):
    task, sample = draw("capital", options=options)
    assert len(task.answers(sample)) == len(set(sample.facts["countries"])) == options


@pytest.mark.parametrize("total", [0, 1, 12, 20])
def test_a_sum_of_n_has_n_plus_1_ordered_pairs(total):
    task, sample = posed("sum", total=total)
    pairs = [tuple(map(int, text.split(" + "))) for text in task.answers(sample).texts]
    square = itertools.product(range(total + 1), repeat=2)
    assert sorted(pairs) == sorted(pair for pair in square if sum(pair) == total)
    assert len(pairs) == total + 1


@pytest.mark.parametrize("months", [1, 2, 12])
def test_the_dates_are_those_that_the_calendar_shows(months):
    for index in range(40):
        task, sample = draw("date", index, months=months)
        facts = sample.facts
        shown = [
            f"{facts['year']}-{month:02d}-{week[facts['weekday']]:02d}"
            for month in range(facts["first_month"], facts["first_month"] + months)
            for week in calendar.monthcalendar(facts["year"], month)
            if week[facts["weekday"]]
        ]
        assert list(task.answers(sample).texts) == shown
        assert len(shown) in {1: (4, 5), 2: (8, 9), 12: (52, 53)}[months]


@pytest.mark.parametrize("rolls", [1, 2, 5])
def test_n_dice_have_6_to_the_n_rolls(rolls):
    task, sample = draw("dice", rolls=rolls)
    assert len(task.answers(sample)) == 6**rolls


def test_the_law_of_the_dice_is_listed_once_for_all_samples():
    task, first = draw("dice", 0)
    _, second = draw("dice", 1)
    assert task.answers(first) is task.answers(second)


@pytest.mark.parametrize(("name", "size"), [("dice", {"rolls": 100}), ("roster", {"people": 12})])
def test_a_law_beyond_reach_is_refused_before_it_is_listed(name, size):
    task, sample = draw(name, **size)
    assert task.score(sample, sample.reference).strict == 1
    with pytest.raises(NotEnumerableError, match="over the limit of 100,000"):
        task.answers(sample)


@pytest.mark.parametrize("people", [1, 2, 3, 5])
def test_m_people_have_4_to_the_m_rosters(people):
    task, sample = draw("roster", people=people)
    assert len(task.answers(sample)) == 4**people


# Where the theory stands: the table of the module, by enumeration.


def test_the_two_words_of_a_city_share_one_bit():
    task, sample = draw("city")
    words = [text.split() for text in task.answers(sample).texts]
    assert total_correlation(words) == pytest.approx(1)


def test_country_and_capital_share_all_their_bits():
    task, sample = draw("capital", options=8)
    words = [text.split() for text in task.answers(sample).texts]
    assert total_correlation(words) == pytest.approx(3)


@pytest.mark.parametrize("total", [3, 12])
def test_the_two_numbers_of_a_sum_share_all_their_bits(total):
    task, sample = posed("sum", total=total)
    pairs = [text.split(" + ") for text in task.answers(sample).texts]
    assert total_correlation(pairs) == pytest.approx(math.log2(total + 1))


def test_the_last_digit_of_a_day_settles_the_tens_digit():
    found = Counter()
    for index in range(100):
        task, sample = draw("date", index)
        texts = task.answers(sample).texts
        assert len({text[-1] for text in texts}) == len(texts)
        found[len(texts), round(total_correlation(texts), 2)] += 1
    assert set(found) == {(4, 1.5), (5, 1.52), (5, 1.92)}


def test_dice_share_nothing_though_all_are_uncertain():
    task, sample = draw("dice")
    rolls = [text.split() for text in task.answers(sample).texts]
    assert total_correlation(rolls) == pytest.approx(0)
    assert math.log2(len(rolls)) == pytest.approx(5 * math.log2(6))


@pytest.mark.parametrize("people", [1, 2, 3])
def test_a_roster_shares_one_bit_for_each_person(people):
    task, sample = draw("roster", people=people)
    words = [re.findall(r"\w+", text) for text in task.answers(sample).texts]
    assert total_correlation(words) == pytest.approx(people)


# City.


def test_two_city_words_are_right_iff_they_are_one_of_the_four_cities():
    task, sample = draw("city")
    words = sorted({word for city in FOUR_CITIES for word in city.split()})
    for pair in itertools.product(words, repeat=2):
        right = " ".join(pair) in FOUR_CITIES
        expected = (1, 1, None) if right else (0, 0, "glued name")
        assert verdict(task, sample, " ".join(pair)) == expected


def test_a_glued_name_has_two_right_words():
    task, sample = draw("city")
    assert task.score(sample, "New City").parts == {"first word": 1, "second word": 1}
    assert task.score(sample, "York New").parts == {"first word": 0, "second word": 0}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("New", "unreadable"),
        ("York, New", "unreadable"),
        ("Los Angeles", "unreadable"),
        ("NewYork", "unreadable"),
        ("New York City", "glued name"),
        ("New York Mexico City", "glued name"),
        ("I pick New York. No: Panama York!", "glued name"),
        ("Kuwait City", "not listed"),
    ],
)
def test_a_wrong_city_is_told_by_its_problem(reply, problem):
    assert verdict(*draw("city"), reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply",
    [
        "New York.",
        "new york",
        "**Mexico City**",
        "The finger lands on Panama City, which is a city by the sea.",
        "City: New  Orleans",
        "Not New City, of course: New Orleans",
    ],
)
def test_a_city_is_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(*draw("city"), reply) == (0, 1, None)


# Capital.

COUNTRIES = ["France", "Italy", "Peru", "Japan"]


def test_the_list_of_capitals_names_each_country_and_capital_in_one_word_and_once():
    folder = parallelbench.tasks.__path__[0]
    with open(f"{folder}/data/capitals.csv", encoding="ascii", newline="") as file:  # noqa: PTH123
        header, *pairs = csv.reader(file)
    names = list(itertools.chain(*pairs))
    assert header == ["country", "capital"]
    assert len(pairs) >= 60
    assert len(set(names)) == len(names) == 2 * len(pairs)
    assert all(name.isalpha() and name == name.capitalize() for name in names)


def test_a_capital_is_right_iff_it_is_that_of_the_country():
    task, sample = posed("capital", countries=COUNTRIES)
    capitals = ["Paris", "Rome", "Lima", "Tokyo"]
    for country, capital in itertools.product(COUNTRIES, capitals):
        right = capitals.index(capital) == COUNTRIES.index(country)
        expected = (1, 1, None) if right else (0, 0, "wrong capital")
        assert verdict(task, sample, f"{capital} is the capital of {country}.") == expected


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("Paris", "unreadable"),
        ("Madrid is the capital of Spain.", "not listed"),
        ("Italy is the capital of Rome.", "not listed"),
        ("Rome is the capital of Atlantis, not Italy.", "not listed"),
        ("Lyon is the capital of France.", "wrong capital"),
        ("Madrid is the capital of France.", "wrong capital"),
        ("France is my country.", "wrong capital"),
        ("Paris is the capital of France. Rome is the capital of France.", "wrong capital"),
        ("The capital of Peru is Tokyo.", "wrong capital"),
        ("Parisian is the capital of France.", "wrong capital"),
    ],
)
def test_a_wrong_capital_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("capital", countries=COUNTRIES), reply) == (0, 0, problem)


def test_a_mixture_of_two_pairs_has_both_parts():
    marks = draw("capital")[0].score(
        posed("capital", countries=COUNTRIES)[1], "Rome is the capital of France."
    )
    assert marks.parts == {"country": 1, "capital": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "Paris is the capital of France",
        "paris is the capital of france.",
        "The capital of France is Paris.",
        "I choose Peru. Its capital: Lima.",
        "From France, Italy, Peru I draw Japan. **Tokyo** is the capital city of Japan.",
        "Rome is the capital of France. Sorry: Rome is the capital of Italy.",
    ],
)
def test_a_capital_is_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(*posed("capital", countries=COUNTRIES), reply) == (0, 1, None)


# Sum.


def test_two_numbers_are_right_iff_they_make_the_sum():
    task, sample = posed("sum", total=6)
    for first, second in itertools.product(range(9), repeat=2):
        expected = (1, 1, None) if first + second == 6 else (0, 0, "wrong sum")
        assert verdict(task, sample, f"{first} + {second}") == expected


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("12", "unreadable"),
        ("-7 + 19", "unreadable"),
        ("20 + -8", "unreadable"),
        ("1.5 + 10.5", "unreadable"),
        ("7 + 5.0", "unreadable"),
        ("\u0667 + \u0665", "unreadable"),
        ("7 + ⁵", "unreadable"),
        ("7 + 5²", "unreadable"),
        ("7 + 6", "wrong sum"),
        ("7 + 5 is wrong, so 7 + 6", "wrong sum"),
        ("2 + 5 + 5", "wrong count"),
        ("7 + 5 + 0", "wrong count"),
        ("9" * 5000 + " + 5", "wrong sum"),
    ],
)
def test_a_wrong_sum_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("sum", total=12), reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply", ["7+5", "7 + 5 = 12", "12 = 7 + 5.", "07 + 5", "- 7 + 5", "0" * 5000 + "7 + 5"]
)
def test_a_sum_is_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(*posed("sum", total=12), reply) == (0, 1, None)


@pytest.mark.parametrize("largest", [2, 7, 20])
def test_the_sum_asked_for_comes_from_the_upper_half(largest):
    totals = {draw("sum", index, largest=largest)[1].facts["total"] for index in range(200)}
    assert totals == set(range(largest // 2, largest + 1))


# Date.

# The Tuesdays of April 2028 are the 4th, 11th, 18th and 25th.
APRIL = {"year": 2028, "first_month": 4, "months": 1, "weekday": 1}


def test_an_iso_date_is_right_iff_it_has_that_weekday_month_and_year():
    task, sample = posed("date", **APRIL)
    for offset in range(3 * 366):
        day = date(2027, 1, 1) + timedelta(days=offset)
        right = (day.year, day.month, day.strftime("%w")) == (2028, 4, "2")
        assert verdict(task, sample, f"{day}")[:2] == (right, right)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("Tuesday", "unreadable"),
        ("2028-04", "unreadable"),
        ("2028-04-111", "unreadable"),
        ("\u0662\u0660\u0662\u0668-\u0660\u0664-\u0661\u0661", "unreadable"),
        ("2028-04-31", "no such date"),
        ("the 31st of April 2028", "no such date"),
        ("0000-04-11", "no such date"),
        ("2028-13-11", "no such date"),
        ("2023-04-11", "wrong year"),  # a Tuesday too
        ("2028-07-11", "wrong month"),  # a Tuesday too
        ("2028-04-12", "wrong weekday"),
        ("2028-04-11 or rather 2028-04-12", "wrong weekday"),
        ("2028-11-04", "wrong month"),
    ],
)
def test_a_wrong_date_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("date", **APRIL), reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply",
    [
        "2028-4-11",
        "2028/04/11",
        "The date is 2028-04-11.",
        "Tuesday, April 11, 2028",
        "the 11th of april 2028",
        "2028-04-12 is a Wednesday, so: 4 April 2028",
    ],
)
def test_a_date_is_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(*posed("date", **APRIL), reply) == (0, 1, None)


def test_a_month_that_matches_but_for_case_folding_can_be_scored():
    # A long s equals an s when case is ignored, though not in lower case.
    reply = "4 Augu\u017ft 2028"
    assert verdict(*posed("date", **APRIL), reply) == (0, 0, "wrong month")


@pytest.mark.parametrize("months", [1, 5, 12])
def test_the_months_lie_in_one_year(months):
    firsts = {draw("date", index, months=months)[1].facts["first_month"] for index in range(200)}
    assert firsts == set(range(1, 14 - months))


def test_the_months_are_named_in_the_prompt():
    _, sample = draw("date", shots=0)
    _, long_sample = draw("date", shots=0, months=12)
    month = calendar.month_name[sample.facts["first_month"]]
    assert f"in {month} {sample.facts['year']} that" in sample.messages[-1].content
    assert "the months from January to December" in long_sample.messages[-1].content


# Dice.


def test_three_numbers_are_right_iff_all_are_faces():
    task, sample = posed("dice", rolls=3)
    for rolls in itertools.product(range(9), repeat=3):
        expected = (1, 1, None) if set(rolls) <= set(range(1, 7)) else (0, 0, "not a face")
        assert verdict(task, sample, " ".join(map(str, rolls))) == expected


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("three", "unreadable"),
        ("² ³ ¹ ² ³", "unreadable"),
        ("\u0663 \u0665 \u0661 \u0666 \u0662", "unreadable"),
        ("3 5 1 6", "wrong count"),
        ("3 5 1 6 2 4", "wrong count"),
        ("35162", "wrong count"),
        ("3 51 6 2 2 7", "wrong count"),
        ("3 5 7 6 2", "not a face"),
        ("3 5 0 6 2", "not a face"),
        ("3 5 01 6 2", "not a face"),
        ("3 5 " + "1" * 5000 + " 6 2", "not a face"),
    ],
)
def test_wrong_dice_are_told_by_their_problem(reply, problem):
    assert verdict(*posed("dice", rolls=5), reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply",
    [
        "3, 5, 1, 6, 2",
        "[3, 5, 1, 6, 2]",
        "3\n5\n1\n6\n2",
        "The 5 rolls: 3 5 1 6 2.",
        "I rolled 3, 5, 1, 6 and 2 (17 in all)",
    ],
)
def test_dice_are_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(*posed("dice", rolls=5), reply) == (0, 1, None)


def test_a_single_roll_may_stand_alone():
    task, sample = posed("dice", rolls=1)
    assert verdict(task, sample, "4") == (1, 1, None)
    assert verdict(task, sample, "4 4") == (0, 0, "wrong count")


# Roster.

ROSTER = {"people": ["Ada", "Boris", "Clara"], "cities": list(FOUR_CITIES)}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("Ada; Boris; Clara", "unreadable"),
        ("Ada: New; Boris: York; Clara: City", "unreadable"),
        ("Ada: New York; Boris: Mexico City; Zed: New York; Clara: New York", "extra person"),
        ("Ada: New York; Hugo: New York; Boris: New York; Clara: New York", "extra person"),
        ("Ada: New York; Boris: New York; Ada: New York; Clara: New York", "person twice"),
        ("Ada: New York; Boris: New York; Boris: New York", "person twice"),
        ("Ada: New York; Clara: New York", "missing person"),
        ("Ada: New York; Boris: New York; Clara: Mexico", "missing person"),
        ("Ada: New; Boris: New York; Clara: New York", "extra person"),
        ("Ada: New York; Boris: New City; Clara: New York", "glued name"),
        ("Ada: New York; Boris: Kuwait City; Clara: New York", "not listed"),
        ("Adam: New York; Boris: New York; Clara: New York", "extra person"),
    ],
)
def test_a_wrong_roster_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("roster", **ROSTER), reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply",
    [
        "Ada: New York, Boris: Mexico City, Clara: New York",
        "Boris: Mexico City; Ada: New York; Clara: New York",
        "ada: new york; boris: mexico city; clara: new york",
        "- Ada: **New York**\n- Boris: **Mexico City**\n- Clara: **New York**",
        "Ada goes to New York, Boris to Mexico City and Clara to New York.",
    ],
)
def test_a_roster_is_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(*posed("roster", **ROSTER), reply) == (0, 1, None)


def test_the_parts_of_a_roster_are_shares_of_people_and_places():
    task, sample = posed("roster", **ROSTER)
    parts = task.score(sample, "Ada: New York; Boris: New City; Boris: Panama City").parts
    assert parts == {"people": pytest.approx(1 / 3), "places": pytest.approx(2 / 3)}


# What holds for all of them.

NEAR_ANSWERS = st.lists(
    st.sampled_from(
        [
            *("New", "York", "Mexico", "City", "Kuwait", "Ada", "Boris", "Clara", ":", ";"),
            *("Paris", "Rome", "is the capital of", "France", "Italy", "capital of the"),
            *("7", "5", "12", "+", "-", ".", ",", " ", "\n", "and", "9" * 5000, "²", "\u0663"),
            *("2028", "04", "11", "April", "Augu\u017ft", "of", "11th", "\ud800", "\x00", "\u017f"),
        ]
    ),
    max_size=12,
).flatmap(lambda words: st.sampled_from([" ".join(words), "".join(words), "-".join(words)]))

FIXED = {
    "city": {"cities": list(FOUR_CITIES)},
    "capital": {"countries": COUNTRIES},
    "sum": {"total": 12},
    "date": APRIL,
    "dice": {"rolls": 5},
    "roster": ROSTER,
}


@pytest.mark.parametrize("name", FIXED)
@given(reply=ANY_TEXT | NEAR_ANSWERS)
@settings(deadline=None, max_examples=150)
def test_any_text_can_be_scored_and_strict_goes_with_the_law(name, reply):
    task, sample = posed(name, **FIXED[name])
    marks = task.score(sample, reply)
    assert marks.strict == (reply.strip() in task.answers(sample).texts)
    assert marks.strict <= marks.lenient
    assert all(0 <= share <= 1 for share in marks.parts.values())


@pytest.mark.parametrize("unit", ["1", "1 ", "1 + ", "New ", "2028-", " ", "capital of "])
@pytest.mark.parametrize("name", FIXED)
def test_a_huge_reply_is_scored_quickly(name, unit):
    task, sample = posed(name, **FIXED[name])
    assert task.score(sample, unit * 20_000).lenient == 0


@pytest.mark.parametrize("name", CHOICES)
def test_a_sample_is_drawn_again_alone(name):
    all_drawn = [draw(name.partition("/")[2], index)[1] for index in range(20)]
    assert draw(name.partition("/")[2], 17)[1].digest == all_drawn[17].digest
    assert len({sample.digest for sample in all_drawn}) == 20


@pytest.mark.parametrize("name", CHOICES)
def test_templates_and_shots_pose_the_same_problem(name):
    task = TASKS[name]
    assert {"default", "terse", "story"} <= set(task.templates)
    drawn = [
        draw(name.partition("/")[2], 5, template=template, shots=shots)[1]
        for template in task.templates
        for shots in (0, 1, 3)
    ]
    assert len({(sample.reference, json.dumps(sample.facts)) for sample in drawn}) == 1
    assert len({sample.messages[-1].content for sample in drawn}) == len(task.templates)
    assert [len(sample.messages) for sample in drawn[:3]] == [1, 3, 7]


@pytest.mark.parametrize("name", CHOICES)
def test_every_name_in_an_answer_is_one_of_the_words_of_the_task(name):
    for index in range(20):
        task, sample = draw(name.partition("/")[2], index)
        assert set(re.findall(r"[A-Za-z]+", sample.reference)) <= set(task.words)


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("city", {"options": 1}, "options must be 2 to 10 places, got 1"),
        ("city", {"options": 11}, "options must be 2 to 10 places, got 11"),
        ("capital", {"options": 1}, "options must be 2 to 60 countries, got 1"),
        ("capital", {"options": 61}, "options must be 2 to 60 countries, got 61"),
        ("sum", {"largest": 1}, "largest must be 2 to 1,000,000, got 1"),
        ("sum", {"largest": 1_000_001}, "largest must be 2 to 1,000,000, got 1000001"),
        ("date", {"months": 0}, "months must be 1 to 12, got 0"),
        ("date", {"months": 13}, "months must be 1 to 12, got 13"),
        ("dice", {"rolls": 0}, "rolls must be 1 to 100, got 0"),
        ("dice", {"rolls": 101}, "rolls must be 1 to 100, got 101"),
        ("roster", {"people": 0}, "people must be 1 to 12, got 0"),
        ("roster", {"people": 13}, "people must be 1 to 12, got 13"),
        ("city", {"template": "rude"}, "no template is called 'rude'"),
        ("dice", {"canvas_length": 0}, "canvas_length must be 1 to 100,000 tokens, got 0"),
    ],
)
def test_a_size_out_of_range_is_refused(name, fields, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        TASKS[f"choices/{name}"](**fields)
