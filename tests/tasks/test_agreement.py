"""The two families of agreement: their laws, and the wrong replies that look right."""

import ast
import dataclasses
import itertools
import json
import math
import re
import warnings
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.adaptive import zero_error_steps
from parallelbench.errors import CanvasError
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks import agreement
from support.laws import law_of
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def draw(name, index=0, **fields):
    task = TASKS[f"agreement/{name}"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def posed(name, **facts):
    """A task and a sample of it with ``facts`` in place of the drawn ones."""
    task, sample = draw(name)
    return task, dataclasses.replace(sample, facts=facts)


def verdict(task, sample, reply):
    marks = task.score(sample, reply)
    return marks.strict, marks.lenient, marks.failure


def entropy(counts):
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts)


def total_correlation(texts):
    """The total correlation of equally likely texts, in bits, one item for a word or sign."""
    rows = [re.findall(r"\w+|[^\w\s]+", text) for text in texts]
    columns = zip(*rows, strict=True)
    return sum(entropy(Counter(column).values()) for column in columns) - math.log2(len(rows))


# Pronoun.

STORY = {
    "people": [["Mia", "she"], ["Leo", "he"], ["Robin", "they"]],
    "actions": ["take", "find"],
    "things": ["lamp", "map"],
    "places": ["mill", "inn"],
}
RIGHT = "Mia takes her lamp to the mill. She finds her map behind the inn."


def is_right_story(text, facts):
    """The rule of the task, written out a second time."""
    for name, pronoun in facts["people"]:
        possessive = {"she": "her", "he": "his", "they": "their"}[pronoun]
        third = {"take": "takes", "find": "finds"}
        way = {"take": "to", "find": "behind"}
        parts = []
        for number, action in enumerate(facts["actions"]):
            subject = pronoun.capitalize() if number else name
            verb = action if number and pronoun == "they" else third[action]
            things, places = ("|".join(facts[key]) for key in ("things", "places"))
            parts.append(
                rf"{subject} {verb} {possessive} ({things}) {way[action]} the ({places})\."
            )
        if re.fullmatch(" ".join(parts), text):
            return True
    return False


@pytest.mark.parametrize(
    "facts",
    [
        {**STORY, "actions": ["find"]},
        {**STORY, "people": STORY["people"][1:], "things": ["lamp"], "places": ["mill"]},
    ],
)
def test_the_stories_of_the_law_are_all_texts_that_are_right(facts):
    task, sample = posed("pronoun", **facts)
    names = [name for name, _ in facts["people"]]
    things = [*facts["things"], "kite"]
    sentence = (
        [*names, "Nora", "She", "He", "They"],
        ["take", "takes"] if len(facts["actions"]) == 2 else ["find", "finds", "takes"],
        ["her", "his", "their"],
        things,
        ["to"] if len(facts["actions"]) == 2 else ["behind", "to"],
        ["the"],
        [*facts["places"], "tower"],
    )
    later = (
        [*names, "She", "He", "They"],
        ["find", "finds"],
        ["her", "his", "their"],
        facts["things"],
        ["behind"],
        ["the"],
        facts["places"],
    )
    firsts = [" ".join(words) + "." for words in itertools.product(*sentence)]
    rests = [" " + " ".join(words) + "." for words in itertools.product(*later)]
    candidates = firsts
    if len(facts["actions"]) == 2:
        candidates = [one + other for one in firsts for other in rests]
    strict = {text for text in candidates if task.score(sample, text).strict}
    assert strict == {text for text in candidates if is_right_story(text, facts)}
    answers = task.answers(sample)
    assert strict == set(answers.texts)
    assert len(answers) == len(strict)
    assert set(answers.weights) == {1}


@pytest.mark.parametrize(
    ("length", "people", "options"), [(1, 2, 1), (14, 6, 4), (62, 7, 3), (150, 24, 12)]
)
def test_the_number_of_stories_is_the_closed_form(length, people, options):
    task, sample = draw("pronoun", length=length, people=people, options=options)
    trellis = task.trellis(sample)
    assert trellis.count == people * options ** (2 * length)
    expected = math.log2(people) + 2 * length * math.log2(options)
    assert trellis.entropy == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("length", "people", "options"), [(1, 2, 2), (2, 3, 2), (3, 5, 1), (4, 7, 1), (2, 2, 3)]
)
def test_the_total_correlation_of_a_story_is_the_closed_form(length, people, options):
    for index in range(4):
        task, sample = draw("pronoun", index, length=length, people=people, options=options)
        pronouns = [pronoun for _, pronoun in sample.facts["people"]]
        plural = pronouns.count("they")
        of_pronoun = entropy(Counter(pronouns).values())
        of_verb = entropy([each for each in (plural, people - plural) if each])
        expected = (2 * length - 1) * of_pronoun + (length - 1) * of_verb
        assert total_correlation(task.answers(sample).texts) == pytest.approx(expected, abs=1e-9)


def test_people_have_each_pronoun_as_equally_often_as_possible():
    for people in range(2, 25):
        _, sample = draw("pronoun", index=people, people=people)
        counts = Counter(pronoun for _, pronoun in sample.facts["people"]).values()
        assert max(counts) - min([*counts, *[0] * (3 - len(counts))]) <= 1
        assert len({name for name, _ in sample.facts["people"]}) == people


def test_every_verb_has_a_preposition_and_no_word_has_two_roles():
    roles = [
        set(agreement.VERBS) | set(agreement.VERBS.values()),
        set(agreement.PREPOSITIONS.values()) | {"the"},
        set(agreement.THINGS),
        set(agreement.PLACES),
        {name.lower() for names in agreement.NAMES.values() for name in names},
        {*agreement.POSSESSIVES, *agreement.POSSESSIVES.values()},
    ]
    assert agreement.VERBS.keys() == agreement.PREPOSITIONS.keys()
    assert sum(map(len, roles)) == len(set.union(*roles))


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("Mia takes her lamp.", "unreadable"),
        ("Mia takes her lamp to the mill.", "wrong count"),
        (f"{RIGHT} She finds her map behind the inn.", "wrong count"),
        (RIGHT.replace(". She", ". Then it rains. She"), "wrong count"),
        (RIGHT.replace("her map", "map"), "wrong count"),
        (RIGHT.replace("Mia", "Nora"), "unknown person"),
        (RIGHT.replace("Mia", "She"), "unknown person"),
        (RIGHT.replace("finds her map behind", "takes her map to"), "wrong action"),
        (RIGHT.replace("behind", "near"), "wrong action"),
        (RIGHT.replace("She", "He"), "wrong pronoun"),
        (RIGHT.replace("She", "Mia"), "wrong pronoun"),
        (RIGHT.replace("She finds her", "They find their"), "wrong pronoun"),
        (RIGHT.replace("takes her", "takes his"), "wrong possessive"),
        (RIGHT.replace("finds her", "finds their"), "wrong possessive"),
        (RIGHT.replace("finds", "find"), "wrong verb form"),
        (RIGHT.replace("takes", "take"), "wrong verb form"),
        (
            "Robin take their lamp to the mill. They find their map behind the inn.",
            "wrong verb form",
        ),
        (
            "Robin takes their lamp to the mill. They finds their map behind the inn.",
            "wrong verb form",
        ),
        (RIGHT.replace("lamp", "kite"), "not listed"),
        (RIGHT.replace("inn", "tower"), "not listed"),
    ],
)
def test_a_wrong_story_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("pronoun", **STORY), reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply",
    [
        RIGHT.lower(),
        RIGHT.replace(". ", ".\n"),
        RIGHT.replace(".", ""),
        f"Here is the story:\n\n**{RIGHT}**\n\nI hope you like it.",
        f"```\n{RIGHT}\n```",
        "1. Mia takes her \u201clamp\u201d to the mill;\n2. She finds her *map* behind the inn!",
        f"{RIGHT.replace('lamp', 'kite')} Sorry, again: {RIGHT}",
    ],
)
def test_a_story_is_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(*posed("pronoun", **STORY), reply) == (0, 1, None)


def test_the_parts_of_a_story_are_shares_of_its_sentences():
    task, sample = posed("pronoun", **STORY)
    reply = "Mia takes her kite to the mill. He finds his map behind the inn."
    assert task.score(sample, reply).parts == {"agreement": 0.5, "choices": 0.5}
    assert set(task.score(sample, "nothing").parts.values()) == {0}


# Identifier.

FUNCTION = {
    "function": "adjust",
    "argument": "number",
    "names": ["total", "level"],
    "steps": [["+=", 3], ["//=", 2]],
}
CODE = """\
def adjust(number):
    total = number
    total += 3
    total //= 2
    return total"""


def test_the_functions_of_the_law_are_all_texts_that_are_right():
    task, sample = posed("identifier", **FUNCTION)
    names = ["total", "level", "price", "number"]
    candidates = [
        f"def adjust(number):\n    {one} = {start}\n    {two} {step}\n    {three} //= 2\n"
        f"    return {four}"
        for one, two, three, four in itertools.product(names, repeat=4)
        for start in ("number", "total")
        for step in ("+= 3", "-= 3", "+= 4")
    ]
    strict = {text for text in candidates if task.score(sample, text).strict}
    right = {CODE, CODE.replace("total", "level")}
    assert strict == right == set(task.answers(sample).texts)
    assert task.answers(sample).weights == (1, 1)


@pytest.mark.parametrize(("length", "names"), [(2, 2), (14, 6), (62, 5), (150, 16)])
def test_there_is_one_function_for_each_name(length, names):
    task, sample = draw("identifier", length=length, names=names)
    trellis = task.trellis(sample)
    assert trellis.count == names
    assert trellis.entropy == pytest.approx(math.log2(names), abs=1e-9)
    texts = task.answers(sample).texts
    assert total_correlation(texts) == pytest.approx((length - 1) * math.log2(names), abs=1e-9)
    for text, name in zip(texts, sample.facts["names"], strict=True):
        uses = [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
        assert uses.count(name) == length
        assert len(uses) == length + 1


def test_every_function_runs_as_its_steps_say():
    steps = {
        "+=": lambda one, two: one + two,
        "-=": lambda one, two: one - two,
        "*=": lambda one, two: one * two,
        "//=": lambda one, two: one // two,
        "%=": lambda one, two: one % two,
    }
    assert steps.keys() == agreement.STEPS.keys()
    for index in range(20):
        _, sample = draw("identifier", index)
        expected = 1000
        for operator, number in sample.facts["steps"]:
            expected = steps[operator](expected, number)
        space = {}
        exec(sample.reference, space)  # noqa: S102  a right answer of our own
        assert space[sample.facts["function"]](1000) == expected


def test_names_of_variables_functions_and_arguments_differ():
    listed = (*agreement.VARIABLES, *agreement.FUNCTIONS, *agreement.ARGUMENTS)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("total = number", "unreadable"),
        ("By default I would call it total.", "unreadable"),
        ("def adjust(number:\n    return total", "syntax error"),
        (CODE.replace("    total += 3", "  total += 3"), "syntax error"),
        (CODE.replace("total", "my total"), "syntax error"),
        (f"def adjust(number):\n    return {'(' * 3000}", "syntax error"),
        (f"def adjust(number):\n    return {'-' * 60_000}1", "syntax error"),
        (f"def adjust(number):\n    return {'9' * 60_000}", "syntax error"),
        (CODE.replace("total", "\x00"), "syntax error"),
        (CODE.replace("total", "\ud800"), "syntax error"),
        (CODE.replace("adjust", "convert"), "wrong function"),
        (CODE.replace("(number)", "(value)"), "wrong function"),
        (CODE.replace("(number)", "(number, other=1)"), "wrong function"),
        (CODE.replace("(number)", "(number: int)"), "wrong function"),
        (CODE.replace("+= 3", "+= 4"), "wrong steps"),
        (CODE.replace("//=", "/="), "wrong steps"),
        (CODE.replace("    total += 3\n", ""), "wrong steps"),
        (CODE.replace("total += 3", "total = total + 3"), "wrong steps"),
        (CODE.replace("return total", "return"), "wrong steps"),
        (CODE.replace("= number", "= total"), "wrong steps"),
        (CODE.replace("total = number", 'total = number\n    "notes"'), "wrong steps"),
        (CODE.replace("+= 3", f"+= 0x{'f' * 5000}"), "wrong steps"),
        (CODE.replace("total //=", "level //="), "mixed names"),
        (CODE.replace("return total", "return number"), "mixed names"),
        (CODE.replace("total += 3", "number += 3"), "mixed names"),
        (CODE.replace("return total", "return totals"), "mixed names"),
        (CODE.replace("total", "price"), "not listed"),
        (CODE.replace("total", "number"), "not listed"),
        (f"{CODE}\n\n{CODE.replace('+= 3', '+= 4')}", "wrong steps"),
    ],
)
def test_a_wrong_function_is_told_by_its_problem(reply, problem):
    assert verdict(*posed("identifier", **FUNCTION), reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply",
    [
        f"```python\n{CODE}\n```",
        f"Here is the function:\n\n```\n{CODE}\n```\nIt uses `total`.",
        f"Here is the function:\n\n{CODE}\n\nIt adds 3 first.",
        CODE.replace("    ", "\t"),
        CODE.replace("    ", "  "),
        CODE.replace(" = ", "=").replace("+= 3", "+=3"),
        CODE.replace("\n", "\n\n"),
        CODE.replace("= number", "= number  # the start"),
        CODE.replace("//= 2", "//= 0x2"),
        "\n".join(f"    {line}" for line in CODE.splitlines()),
        "def adjust(number): total = number; total += 3; total //= 2; return total",
        "def adjust(\n    number,\n):\n" + CODE.partition("\n")[2],
        f"{CODE}\n\n\nprint(adjust(3))",
        f"{CODE.replace('+= 3', '+= 4')}\n\n{CODE}",
        f"```python\n{CODE.replace('+= 3', '+= 4')}\n```\nor rather\n```python\n{CODE}\n```",
        f"```python\n{CODE}",
    ],
)
def test_a_function_is_found_in_other_forms_only_by_the_lenient_reading(reply):
    assert verdict(*posed("identifier", **FUNCTION), reply) == (0, 1, None)


def test_a_reply_with_odd_escapes_gives_no_warning():
    reply = f'"\\d"\n0x1or 2\n{CODE}'
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert verdict(*posed("identifier", **FUNCTION), reply)[1:] == (1, None)
    assert not shown


def test_the_parts_of_a_function_are_its_steps_and_the_share_of_its_commonest_name():
    task, sample = posed("identifier", **FUNCTION)
    parts = task.score(sample, CODE.replace("return total", "return level")).parts
    assert parts == {"steps": 1, "names": 0.75}
    assert task.score(sample, CODE.replace("3", "4")).parts == {"steps": 0, "names": 0}


def test_the_longest_default_function_fits_the_default_canvas():
    task = TASKS["agreement/identifier"]()
    facts = {**FUNCTION, "steps": [["//=", 2]] * (task.length - 2)}
    sample = dataclasses.replace(posed("identifier", **facts)[1], reference="def")
    law = answer_distribution(build_prompt(task, sample, Ideal().open().codec))
    assert law.length == task.canvas_length == 128


# What holds for both.

NEAR_STORY = ["Mia", "She", "takes", "take", "her", "lamp", "to", "the", "mill", ".", "finds"]
NEAR_CODE = ["def", " adjust(number):", "\n    ", "total", " = ", "number", " += 3", "```", "("]
ODD = ["\ud800", "\x00", "\u017fhe", "\\", "9" * 5000, "\N{FULLWIDTH LATIN SMALL LETTER T}", "'"]
NEAR_ANSWERS = st.lists(st.sampled_from(NEAR_STORY + NEAR_CODE + ODD), max_size=20).flatmap(
    lambda words: st.sampled_from([" ".join(words), "".join(words)])
)
FIXED = {"pronoun": STORY, "identifier": FUNCTION}


@pytest.mark.parametrize("name", FIXED)
@given(reply=ANY_TEXT | NEAR_ANSWERS)
@settings(deadline=None, max_examples=100)
def test_any_text_can_be_scored_and_strict_goes_with_the_law(name, reply):
    task, sample = posed(name, **FIXED[name])
    marks = task.score(sample, reply)
    assert marks.strict == (reply.strip() in task.answers(sample).texts)
    assert all(0 <= share <= 1 for share in marks.parts.values())


@pytest.mark.parametrize("name", FIXED)
@given(data=st.data())
@settings(deadline=None, max_examples=100)
def test_a_right_answer_with_a_part_replaced_is_right_only_if_it_is_another(name, data):
    task, sample = posed(name, **FIXED[name])
    answers = task.answers(sample).texts
    text = data.draw(st.sampled_from(answers))
    low, high = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    other = data.draw(st.sampled_from(answers) | ANY_TEXT)
    changed = text[:low] + other[low:high] + text[high:]
    assert task.score(sample, changed).strict == (changed.strip() in answers)


@pytest.mark.parametrize("name", FIXED)
def test_a_reference_is_right_and_its_facts_survive_a_file(name):
    for index in range(20):
        task, sample = draw(name, index)
        again = dataclasses.replace(
            sample, reference="", messages=(), facts=json.loads(json.dumps(sample.facts))
        )
        assert again.facts == sample.facts
        assert verdict(task, again, f" \n{sample.reference}\t") == (1, 1, None)
        assert set(task.score(sample, sample.reference).parts.values()) == {1}
        assert verdict(task, sample, f"Well:\n\n{sample.reference}\n\nDone.") == (0, 1, None)
        assert task.trellis(again) is task.trellis(sample)
        assert draw(name, index)[1].digest == sample.digest


@pytest.mark.parametrize("name", FIXED)
def test_templates_and_shots_pose_the_same_problem(name):
    templates = TASKS[f"agreement/{name}"].templates
    assert {"default", "terse", "story"} <= set(templates)
    drawn = [
        draw(name, 5, template=template, shots=shots)[1]
        for template in templates
        for shots in (0, 1)
    ]
    assert len({(sample.reference, json.dumps(sample.facts)) for sample in drawn}) == 1
    assert len({sample.messages[-1].content for sample in drawn}) == len(templates)


@pytest.mark.parametrize("name", FIXED)
def test_every_word_of_an_answer_is_one_of_the_words_of_the_task(name):
    words = TASKS[f"agreement/{name}"].words
    assert len(set(words)) == len(words) <= 200
    for index in range(20):
        assert set(re.findall(r"[A-Za-z]+", draw(name, index)[1].reference)) <= set(words)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("pronoun", {"length": 2, "people": 3, "options": 2}),
        ("pronoun", {"length": 3, "people": 4, "options": 1}),
        ("pronoun", {"length": 1, "people": 7, "options": 3}),
        ("identifier", {}),
        ("identifier", {"length": 2, "names": 2}),
        ("identifier", {"length": 30, "names": 16, "canvas_length": 290}),
    ],
)
def test_the_law_over_tokens_equals_its_listing(name, fields):
    check_law_against_listing(TASKS[f"agreement/{name}"](**fields), index=1)


@pytest.mark.parametrize(
    "text",
    [
        "agreement/pronoun:length=2,people=3,options=1",
        "agreement/pronoun:length=3,people=6,options=1",
        "agreement/pronoun:length=2,people=2,options=2",
        "agreement/identifier:length=3,names=2",
        "agreement/identifier:length=14",
    ],
)
def test_two_steps_suffice_and_one_does_not(text):
    assert zero_error_steps(law_of(text)).expected_steps == 2


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("pronoun", {"length": 0}, "length must be 1 to 150 sentences, got 0"),
        ("pronoun", {"length": 151}, "length must be 1 to 150 sentences, got 151"),
        ("pronoun", {"people": 1}, "people must be 2 to 24 people, got 1"),
        ("pronoun", {"people": 25}, "people must be 2 to 24 people, got 25"),
        ("pronoun", {"options": 0}, "options must be 1 to 12 things and places, got 0"),
        ("pronoun", {"options": 13}, "options must be 1 to 12 things and places, got 13"),
        ("identifier", {"length": 1}, "length must be 2 to 150 uses, got 1"),
        ("identifier", {"length": 151}, "length must be 2 to 150 uses, got 151"),
        ("identifier", {"names": 1}, "names must be 2 to 16 names, got 1"),
        ("identifier", {"names": 17}, "names must be 2 to 16 names, got 17"),
        ("identifier", {"template": "rude"}, "no template is called 'rude'"),
    ],
)
def test_a_size_out_of_range_is_refused(name, fields, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        TASKS[f"agreement/{name}"](**fields)


@pytest.mark.parametrize("name", FIXED)
def test_an_answer_beyond_the_canvas_is_refused_with_the_numbers(name):
    task, sample = draw(name, length=40)
    with pytest.raises(CanvasError, match=r"takes \d+ tokens, but the canvas has 128"):
        build_prompt(task, sample, Ideal().open().codec)
