"""The waiting line: whole people, glued halves, and the lengths in turn."""

import itertools
from collections import Counter
from importlib import resources

import pytest

from parallelbench.setting import build, make_setting, parse_settings
from parallelbench.task import TASKS, sample_rng
from parallelbench.tasks.list_operations import WORDS
from parallelbench.tasks.waiting_line import FIRST_NAMES, LAST_NAMES

ALL = TASKS.matching("waiting_line/*")


def draw(name, index=0, **fields):
    task = TASKS[name](**fields)
    return task, task.draw(sample_rng(0, name, index), index)


def written(items):
    return "[" + ", ".join(items) + "]"


def glue(one, other):
    return f"{one.split()[0]} {other.split()[1]}"


@pytest.mark.parametrize("name", ALL)
def test_halves_of_two_people_are_nobody(name):
    task, sample = draw(name, length=4)
    people = sample.reference[1:-1].split(", ")
    for one, other in itertools.permutations(people, 2):
        reply = [glue(one, other) if person == one else person for person in people]
        marks = task.score(sample, written(reply))
        assert (marks.lenient, marks.failure) == (0, "glued name")


def test_swapped_last_names_are_two_glued_names():
    task, sample = draw("waiting_line/shuffle", length=3)
    one, two, three = sample.facts["items"]
    reply = written([three, glue(one, two), glue(two, one)])
    marks = task.score(sample, reply)
    assert marks.failure == "glued name"
    assert marks.parts == {"items": pytest.approx(1 / 3)}


def test_a_newcomer_can_be_glued_too():
    task, sample = draw("waiting_line/replace_random", length=3)
    one, two, three = sample.facts["items"]
    reply = written([glue(sample.facts["new"], one), two, three])
    assert task.score(sample, reply).failure == "glued name"


@pytest.mark.parametrize(
    "wrong", ["{first}", "{last}", "{last} {first}", "{first} Nobody", "{first}{last}"]
)
def test_a_name_that_is_not_glued_is_unknown(wrong):
    task, sample = draw("waiting_line/copy", length=3)
    first, last = sample.facts["items"][0].split()
    reply = written([wrong.format(first=first, last=last), *sample.facts["items"][1:]])
    assert task.score(sample, reply).failure == "unknown item"


def test_a_glued_name_goes_before_an_unknown_one_and_after_a_repeated_one():
    task, sample = draw("waiting_line/copy", length=3)
    one, two, three = sample.facts["items"]
    assert (
        task.score(sample, written(["Nobody Here", glue(one, two), three])).failure == "glued name"
    )
    assert task.score(sample, written([glue(one, two), three, three])).failure == "repeated item"


@pytest.mark.parametrize("name", ALL)
def test_no_two_people_in_a_line_share_a_name(name):
    for index in range(30):
        _, sample = draw(name, index)
        people = [*sample.facts["items"], *([sample.facts["new"]] if "new" in sample.facts else [])]
        for half in (0, 1):
            assert len({person.split()[half] for person in people}) == len(people)


@pytest.mark.parametrize("name", ALL)
def test_a_hundred_lines_hold_25_of_each_length(name):
    lines = [draw(name, index)[1].facts["items"] for index in range(100)]
    assert Counter(map(len, lines)) == {3: 25, 4: 25, 5: 25, 6: 25}


def test_a_length_that_is_told_holds_for_all():
    assert {
        len(draw("waiting_line/copy", index, length=9)[1].facts["items"]) for index in range(8)
    } == {9}


def test_people_are_sorted_by_their_whole_names():
    task, sample = draw("waiting_line/sort", length=6)
    assert sample.reference == written(sorted(sample.facts["items"]))
    by_last_name = sorted(sample.facts["items"], key=lambda person: person.split()[1])
    assert task.score(sample, written(by_last_name)).failure == "wrong order"


def test_every_name_is_a_word_of_its_own():
    task, sample = draw("waiting_line/copy")
    assert {half for person in sample.facts["items"] for half in person.split()} <= set(task.words)
    assert not any(" " in word for word in task.words)


def test_pools_have_nothing_in_common():
    pools = [FIRST_NAMES, LAST_NAMES, WORDS]
    together = [word.lower() for pool in pools for word in pool]
    assert len(set(together)) == len(together)
    assert (len(FIRST_NAMES), len(LAST_NAMES)) == (100, 100)
    assert len(WORDS) >= 100


@pytest.mark.parametrize("file", ["first_names.txt", "last_names.txt", "words.txt"])
def test_a_pool_is_one_plain_word_a_line_in_alphabetical_order(file):
    text = (resources.files("parallelbench.tasks") / "data" / file).read_text("utf-8")
    lines = text.splitlines()
    assert all(line.isascii() and line.isalpha() for line in lines)
    assert lines == sorted(lines)
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("operation", "length", "sentence"),
    [
        ("copy", 0, "waiting_line/copy needs 1 to 100 people, got length=0"),
        ("copy", 101, "waiting_line/copy needs 1 to 100 people, got length=101"),
        ("insert_index", 100, "waiting_line/insert_index needs 1 to 99 people, got length=100"),
        ("shuffle", 1, "waiting_line/shuffle needs 2 to 100 people, got length=1"),
    ],
)
def test_a_line_without_an_answer_cannot_be_asked_for(operation, length, sentence):
    with pytest.raises(ValueError, match=sentence):
        TASKS[f"waiting_line/{operation}"](length=length)


def test_a_setting_names_a_length_or_none():
    (nine, in_turn) = parse_settings("waiting_line/shuffle:length=9|none", TASKS)
    assert build(nine, TASKS).length == 9
    assert in_turn == make_setting("waiting_line/shuffle", {}, TASKS)
