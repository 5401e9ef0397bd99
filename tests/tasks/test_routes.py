"""Walks on a map: their law, and the wrong replies that look right."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.errors import RequestError
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.setting import parse_settings
from parallelbench.task import TASKS, sample_rng
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
PATHS = [["Quarry", "Yarrow"], ["Yarrow", "Kestrel"], ["Kestrel", "Thistle"]]


def draw(index=0, **fields):
    task = TASKS["routes/walk"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def posed(length, start=None):
    task, sample = draw(length=length, start="free" if start is None else "fixed")
    named = {} if start is None else {"start": start}
    return task, dataclasses.replace(sample, facts={"paths": PATHS, **named})


@pytest.mark.parametrize("start", [None, "Quarry", "Yarrow"])
def test_the_walks_go_along_paths(start):
    task, sample = posed(4, start)
    places = ["Quarry", "Yarrow", "Kestrel", "Thistle", "Juniper"]
    joined = {*map(tuple, PATHS), *((end, start) for start, end in PATHS)}
    walks = itertools.product(places, repeat=4)
    expected = {
        ", ".join(walk)
        for walk in walks
        if set(itertools.pairwise(walk)) <= joined and walk[0] == (start or walk[0])
    }
    assert {text for text, _ in task.trellis(sample).texts()} == expected
    every = (", ".join(walk) for walk in itertools.product(places, repeat=4))
    assert {text for text in every if task.score(sample, text).strict} == expected


@pytest.mark.parametrize("start", ["free", "fixed"])
@pytest.mark.parametrize("length", [1, 2, 30, 300])
def test_walks_are_counted_by_powers_of_the_matrix_of_paths(length, start):
    for index in range(3):
        task, sample = draw(index, length=length, start=start, canvas_length=700)
        places = sorted({place for path in sample.facts["paths"] for place in path})
        assert len(places) == 8
        matrix = np.zeros((8, 8), dtype=object)
        for path in sample.facts["paths"]:
            one, other = map(places.index, path)
            matrix[one, other] = matrix[other, one] = 1
        counts = np.full(8, 1, dtype=object)
        for _ in range(length - 1):
            counts = matrix @ counts
        walks = counts.sum() if start == "free" else counts[places.index(sample.facts["start"])]
        assert task.trellis(sample).count == walks
        assert task.trellis(sample).entropy == pytest.approx(math.log2(int(walks)))


def test_a_question_names_the_first_stop_only_if_it_is_fixed():
    starts = set()
    for index in range(20):
        _, sample = draw(index, start="fixed")
        start = sample.facts["start"]
        starts.add(start)
        assert start == sample.reference.partition(",")[0]
        for template, named in (
            ("default", f"start at {start}, and"),
            ("terse", f"along them, from {start}, separated"),
            ("story", f"The walk starts at {start}. Make"),
        ):
            _, worded = draw(index, start="fixed", template=template)
            assert named in worded.messages[-1].content
        _, free = draw(index)
        assert list(free.facts) == ["paths"]
        assert "start anywhere, and" in free.messages[-1].content
    assert len(starts) > 5


def test_the_first_stop_shares_no_bits_once_it_is_fixed():
    task, sample = draw(start="fixed", length=12)
    prompt = build_prompt(task, sample, Ideal().open().codec)
    law = answer_distribution(prompt)
    stops = set(range(0, 23, 2))
    assert {stop for pair in law.dependence_graph().pairs for stop in pair} == stops - {0}


def test_every_map_is_connected_and_has_the_paths_asked_for():
    for index in range(20):
        _, sample = draw(index, places=6, paths=7)
        paths = sample.facts["paths"]
        assert len({frozenset(path) for path in paths}) == 7
        reached = {paths[0][0]}
        for _ in range(6):
            reached |= {place for path in paths if reached & set(path) for place in path}
        assert len(reached) == 6


def test_the_law_is_that_of_the_listing():
    task = TASKS["routes/walk"](length=5, places=4, paths=4, canvas_length=12)
    check_law_against_listing(task)
    check_law_against_listing(task, index=1)
    check_law_against_listing(dataclasses.replace(task, start="fixed", length=6))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Quarry, Yarrow, Kestrel", (1, 1, None)),
        ("Quarry -> Yarrow -> Kestrel", (0, 1, None)),
        ("The walk:\n1. quarry\n2. yarrow\n3. quarry", (0, 1, None)),
        ("Quarry, Yarrow", (0, 0, "wrong count")),
        ("Quarry, Yarrow, Juniper", (0, 0, "unknown place")),
        ("Quarry, Yarrow, Yarrow", (0, 0, "stays")),
        ("Quarry, Kestrel, Yarrow", (0, 0, "no path")),
        ("I stay at home", (0, 0, "unreadable")),
    ],
)
def test_each_problem_has_its_name(reply, expected):
    task, sample = posed(3)
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Yarrow, Quarry, Yarrow", (1, 1, None)),
        ("yarrow -> Quarry -> yarrow", (0, 1, None)),
        ("Yarrow, Quarry", (0, 0, "wrong count")),
        ("Juniper, Quarry, Yarrow", (0, 0, "unknown place")),
        ("Quarry, Yarrow, Kestrel", (0, 0, "wrong start")),
        ("Quarry, Quarry, Yarrow", (0, 0, "wrong start")),
        ("Yarrow, Yarrow, Quarry", (0, 0, "stays")),
        ("Yarrow, Thistle, Kestrel", (0, 0, "no path")),
        ("", (0, 0, "unreadable")),
    ],
)
def test_another_first_stop_than_the_named_one_has_its_name(reply, expected):
    task, sample = posed(3, "Yarrow")
    marks = task.score(sample, reply)
    assert (marks.strict, marks.lenient, marks.failure) == expected


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_any_reply_has_marks(reply):
    for start in ("free", "fixed"):
        task, sample = draw(start=start)
        assert task.score(sample, sample.reference).strict == 1
        assert task.score(sample, reply).strict in (0, 1)


def test_maps_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"joins 8 places has 7 to 28 paths, got paths=6"):
        draw(paths=6)
    with pytest.raises(ValueError, match="places must be"):
        draw(places=25, paths=30)
    with pytest.raises(RequestError, match="field 'start' must be one of free, fixed, got 'home'"):
        parse_settings("routes/walk:start=home", TASKS)
