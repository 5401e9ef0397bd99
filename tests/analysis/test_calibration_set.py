"""The shipped calibration set: it is what its rules make, and its errors are errors."""

import difflib
import itertools
from collections import Counter

import pytest

from parallelbench.analysis.judging.calibration_set import (
    RULES,
    SHIPPED,
    break_sentence,
    calibration_set,
    written_set,
)
from parallelbench.analysis.judging.judges import JudgeError
from parallelbench.analysis.judging.verdicts import read_items


@pytest.fixture(scope="module")
def items():
    return read_items(SHIPPED)


@pytest.fixture(scope="module")
def clean(items):
    return [item.text for item in items if item.label]


def test_the_file_equals_what_the_rules_make_of_its_good_sentences(clean):
    assert SHIPPED.read_text(encoding="utf-8") == written_set(calibration_set(clean))


def test_it_has_more_than_a_hundred_good_sentences_and_as_many_broken_ones_of_each_kind(items):
    assert len(items) >= 200
    kinds = Counter(item.kind for item in items)
    assert kinds.pop("clean") == sum(kinds.values()) == 120
    assert kinds == dict.fromkeys(RULES, 20)


def test_no_text_comes_twice_and_none_is_a_fragment_of_form(items, clean):
    assert len({item.text for item in items}) == len(items)
    for text in (item.text for item in items):
        assert text[0].isupper(), text
        assert text[-1] in ".?", text
        assert text == " ".join(text.split()), text
    assert all(4 <= len(text.split()) <= 14 for text in clean)


def test_every_kind_differs_from_its_sentence_as_its_rule_says(items):
    for good, broken in zip(items[::2], items[1::2], strict=True):
        before, after = (item.text[:-1].split() for item in (good, broken))
        steps = difflib.SequenceMatcher(
            None, [w.lower() for w in before], [w.lower() for w in after], autojunk=False
        ).get_opcodes()
        changes = [(tag, j2 - j1, i2 - i1) for tag, i1, i2, j1, j2 in steps if tag != "equal"]
        added = len(after) - len(before)
        if broken.kind == "doubled word":
            assert changes == [("insert", 1, 0)]
            assert any(one == two for one, two in itertools.pairwise(after))
        if broken.kind == "dropped word":
            assert changes == [("delete", 0, 1)]
        if broken.kind in {"wrong article", "broken agreement"}:
            assert changes == [("replace", 1, 1)]
        if broken.kind == "swapped words":
            assert added == 0
            assert sorted(before) == sorted(after)
        if broken.kind == "glued halves":
            assert changes


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("doubled word", "There is a a lamp in the hall."),
        ("wrong article", "There is an lamp in the hall."),
        ("broken agreement", "There are a lamp in the hall."),
        ("dropped word", "There a lamp in the hall."),
        ("swapped words", "There is lamp a in the hall."),
        ("glued halves", "There is a of tea on the floor."),
    ],
)
def test_each_rule_breaks_a_sentence_in_its_way(kind, broken):
    sentence, following = "There is a lamp in the hall.", "She spilled a cup of tea on the floor."
    assert break_sentence(sentence, kind, following=following) == broken


def test_a_dropped_first_word_leaves_a_sentence_that_begins_with_a_capital():
    assert break_sentence("A cat slept.", "dropped word", following="It rained.") == "Cat slept."


@pytest.mark.parametrize("kind", RULES)
def test_a_sentence_that_a_rule_cannot_break_is_refused_not_passed_on_as_broken(kind):
    with pytest.raises(JudgeError, match=r"has none of the words .* to break"):
        break_sentence("Birds sing.", kind, following="Birds sing.")
