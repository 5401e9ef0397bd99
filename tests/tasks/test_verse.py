"""Rhyming couplets: their law, and the wrong poems that look right."""

import dataclasses
import itertools
import json
import math
import re
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
from parallelbench.tasks import verse
from support.laws import law_of
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
POEM = {
    "letters": ["S", "A"],
    "openings": ["Silent", "Amber"],
    "nouns": ["clouds", "rivers"],
    "verbs": ["cross"],
    "ends": ["light", "sea", "night", "tree"],
}
RIGHT = "Silent clouds cross the light,\nAmber rivers cross the night."


def draw(index=0, **fields):
    task = TASKS["verse/rhyme"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def posed(**facts):
    """The task and a sample of it with ``facts`` in place of the drawn ones."""
    task, sample = draw()
    return task, dataclasses.replace(sample, facts=facts)


def verdict(reply, facts=POEM):
    task, sample = posed(**facts)
    marks = task.score(sample, reply)
    return marks.strict, marks.lenient, marks.failure


def total_correlation(texts):
    """The total correlation of equally likely poems, in bits, one item for a word."""
    rows = [re.findall(r"\w+", text) for text in texts]
    total = -math.log2(len(rows))
    for column in zip(*rows, strict=True):
        shares = [count / len(rows) for count in Counter(column).values()]
        total -= sum(share * math.log2(share) for share in shares)
    return total


def is_rhyme(one, other):
    """The rhymes of the fixed question, written out a second time."""
    return {one, other} in ({"light", "night"}, {"sea", "tree"})


def test_the_poems_of_the_law_are_all_texts_that_are_right():
    task, sample = posed(**POEM)
    ends = [*POEM["ends"], "moon"]
    candidates = itertools.product(
        ["Silent", "Amber", "Soft"],
        ["clouds", "rivers", "voices"],
        ["cross"],
        ends,
        ["Amber", "Silent"],
        ["clouds", "rivers"],
        ["cross", "guard"],
        ends,
    )
    right, strict = set(), set()
    for one, two, three, four, five, six, seven, eight in candidates:
        text = f"{one} {two} {three} the {four},\n{five} {six} {seven} the {eight}."
        if task.score(sample, text).strict:
            strict.add(text)
        begins = (one, five) == ("Silent", "Amber")
        if begins and two != "voices" and seven == "cross" and is_rhyme(four, eight):
            right.add(text)
    answers = task.answers(sample)
    assert strict == right == set(answers.texts)
    assert len(answers) == 16
    assert set(answers.weights) == {1}


SIZES = [
    {"length": 1, "classes": 2, "rhymes": 2, "openings": 1, "options": 1},
    {"length": 1, "classes": 3, "rhymes": 4, "openings": 2, "options": 2},
    {"length": 2, "classes": 2, "rhymes": 3, "openings": 1, "options": 1},
    {"length": 2, "classes": 3, "rhymes": 2, "openings": 1, "options": 2},
]
LARGE_SIZES = [
    {},
    {"length": 36, "canvas_length": 512},
    {"length": 40, "classes": 12, "rhymes": 5, "openings": 4, "options": 12},
]


@pytest.mark.parametrize("fields", SIZES + LARGE_SIZES)
def test_the_number_of_poems_is_the_closed_form(fields):
    task, sample = draw(**fields)
    pairs = task.classes * task.rhymes * (task.rhymes - 1)
    couplets = pairs * (task.openings * task.options**2) ** 2
    trellis = task.trellis(sample)
    assert trellis.count == couplets**task.length
    assert trellis.entropy == pytest.approx(task.length * math.log2(couplets), abs=1e-9)


def test_the_number_of_poems_is_that_of_rhyming_pairs_of_any_classes():
    facts = {**POEM, "ends": ["light", "sea", "night", "kite", "tree", "moon"]}
    task, sample = posed(**facts)
    assert task.trellis(sample).count == (3 * 2 + 2 * 1) * (2 * 1) ** 2


@pytest.mark.parametrize("fields", SIZES)
def test_the_total_correlation_is_the_closed_form(fields):
    task, sample = draw(**fields)
    expected = task.length * math.log2(task.classes * task.rhymes / (task.rhymes - 1))
    assert total_correlation(task.answers(sample).texts) == pytest.approx(expected, abs=1e-9)


def test_a_word_of_the_lexicon_has_one_role_and_one_class():
    words = [*verse.NOUNS, *verse.VERBS, *itertools.chain(*verse.RHYMES), "the"]
    words += [word.lower() for word in verse.OPENINGS]
    assert len(set(words)) == len(words) == len(TASKS["verse/rhyme"].words)
    letters = Counter(word[0] for word in verse.OPENINGS)
    assert set(letters.values()) == {4}
    assert {len(words) for words in verse.RHYMES} == {5}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "unreadable"),
        ("Roses are red", "unreadable"),
        ("Silent clouds cross light", "unreadable"),
        ("Silent clouds cross the light.", "wrong count"),
        (f"{RIGHT}\nAmber rivers cross the night.", "wrong count"),
        (RIGHT.replace(",\n", ", and\n"), "wrong count"),
        (RIGHT.replace("Amber", "Silent"), "wrong letter"),
        ("\n".join(reversed(RIGHT.split("\n"))), "wrong letter"),
        (RIGHT.replace("Silent", "Soft"), "not listed"),
        (RIGHT.replace("clouds", "voices"), "not listed"),
        (RIGHT.replace("cross", "guard"), "not listed"),
        (RIGHT.replace("night", "flight"), "not listed"),
        (RIGHT.replace("night", "zebra"), "not listed"),
        (RIGHT.replace("night", "light"), "same word"),
        (RIGHT.replace("night", "sea"), "no rhyme"),
    ],
)
def test_a_wrong_poem_is_told_by_its_problem(reply, problem):
    assert verdict(reply) == (0, 0, problem)


@pytest.mark.parametrize(
    "reply",
    [
        RIGHT.lower(),
        RIGHT.replace("\n", " / "),
        RIGHT.replace("\n", "\n\n"),
        RIGHT.replace(",", ""),
        f"```\n{RIGHT}\n```",
        f"Here is a poem:\n\n*{RIGHT}*\n\nEnjoy!",
        "1. Silent clouds cross the \u201clight\u201d;\n2. Amber rivers cross the night!",
        f"{RIGHT.replace('night', 'sea')}\nNo, better:\n{RIGHT}",
    ],
)
def test_a_poem_is_found_in_prose_only_by_the_lenient_reading(reply):
    assert verdict(reply) == (0, 1, None)


def test_the_parts_of_a_poem_are_shares_of_lines_and_couplets():
    task, sample = posed(**{**POEM, "letters": ["S", "A", "S", "A"]})
    reply = f"{RIGHT}\n{RIGHT.replace('night', 'sea').replace('Silent', 'Amber')}"
    assert task.score(sample, reply).parts == {"letters": 0.75, "rhymes": 0.5}
    assert task.score(sample, RIGHT).parts == {"letters": 0.5, "rhymes": 0.5}
    assert task.score(sample, f"{RIGHT}\n" * 3).parts == {"letters": 1, "rhymes": 1}
    assert task.score(sample, "").parts == {"letters": 0, "rhymes": 0}


NEAR_ANSWERS = st.lists(
    st.sampled_from(
        [
            *("Silent", "Amber", "clouds", "rivers", "cross", "the", "light,", "night.", "sea."),
            *("\n", "\ud800", "\x00", "\u017filent", "Silent clouds cross the light,\n", RIGHT),
        ]
    ),
    max_size=12,
).flatmap(lambda words: st.sampled_from([" ".join(words), "".join(words)]))


@given(reply=ANY_TEXT | NEAR_ANSWERS)
@settings(deadline=None, max_examples=150)
def test_any_text_can_be_scored_and_strict_goes_with_the_law(reply):
    task, sample = posed(**POEM)
    marks = task.score(sample, reply)
    assert marks.strict == (reply.strip() in task.answers(sample).texts)
    assert all(0 <= share <= 1 for share in marks.parts.values())


def test_a_reference_is_right_and_its_facts_survive_a_file():
    for index in range(20):
        task, sample = draw(index)
        again = dataclasses.replace(
            sample, reference="", messages=(), facts=json.loads(json.dumps(sample.facts))
        )
        assert again.facts == sample.facts
        marks = task.score(again, f" \n{sample.reference}\t")
        assert (marks.strict, marks.failure, set(marks.parts.values())) == (1, None, {1})
        prose = task.score(sample, f"Well:\n\n{sample.reference}\n\nDone.")
        assert (prose.strict, prose.lenient) == (0, 1)
        assert task.trellis(again) is task.trellis(sample)
        assert draw(index)[1].digest == sample.digest
        assert set(re.findall(r"[A-Za-z]+", sample.reference)) <= set(task.words)


def test_templates_and_shots_pose_the_same_problem():
    templates = TASKS["verse/rhyme"].templates
    assert {"default", "terse", "story"} <= set(templates)
    drawn = [
        draw(5, template=template, shots=shots)[1] for template in templates for shots in (0, 1)
    ]
    assert len({(sample.reference, json.dumps(sample.facts)) for sample in drawn}) == 1
    assert len({sample.messages[-1].content for sample in drawn}) == len(templates)


def test_the_prompt_of_one_couplet_speaks_of_one():
    assert "a poem of 1 couplet, 2 lines" in draw(length=1)[1].messages[-1].content
    assert "a poem of 8 couplets, 16 lines" in draw()[1].messages[-1].content


@pytest.mark.parametrize("fields", SIZES)
def test_the_law_over_tokens_equals_its_listing(fields):
    check_law_against_listing(TASKS["verse/rhyme"](canvas_length=40, **fields), index=1)


@pytest.mark.parametrize(
    "text",
    [
        "verse/rhyme:length=1,classes=2,rhymes=2,openings=1,options=1",
        "verse/rhyme:length=1,classes=2,rhymes=3,openings=1,options=1",
        "verse/rhyme:length=2,classes=2,rhymes=2,openings=1,options=1",
    ],
)
def test_two_steps_suffice_and_one_does_not(text):
    assert zero_error_steps(law_of(text)).expected_steps == 2


def test_only_the_two_ends_of_a_couplet_depend_on_each_other():
    task, sample = draw(length=2, canvas_length=32)
    law = answer_distribution(build_prompt(task, sample, Ideal().open().codec))
    # A line is five words, a sign and, but for the last line, a line break.
    assert law.dependence_graph().pairs == {(4, 11), (18, 25)}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"length": 0}, "length must be 1 to 40 couplets, got 0"),
        ({"length": 41}, "length must be 1 to 40 couplets, got 41"),
        ({"classes": 1}, "classes must be 2 to 12 rhyme classes, got 1"),
        ({"classes": 13}, "classes must be 2 to 12 rhyme classes, got 13"),
        ({"rhymes": 1}, "rhymes must be 2 to 5 words, got 1"),
        ({"rhymes": 6}, "rhymes must be 2 to 5 words, got 6"),
        ({"openings": 0}, "openings must be 1 to 4 opening words, got 0"),
        ({"openings": 5}, "openings must be 1 to 4 opening words, got 5"),
        ({"options": 0}, "options must be 1 to 12 nouns and verbs, got 0"),
        ({"options": 13}, "options must be 1 to 12 nouns and verbs, got 13"),
        ({"template": "rude"}, "no template is called 'rude'"),
    ],
)
def test_a_size_out_of_range_is_refused(fields, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        TASKS["verse/rhyme"](**fields)


def test_an_answer_beyond_the_canvas_is_refused_with_the_numbers():
    task, sample = draw(length=10)
    with pytest.raises(CanvasError, match="takes 139 tokens, but the canvas has 128"):
        build_prompt(task, sample, Ideal().open().codec)
