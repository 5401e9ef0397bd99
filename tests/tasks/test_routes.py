"""Walks on a map: their law, and the wrong replies that look right."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.task import TASKS, sample_rng
from support.trellis_laws import check_law_against_listing

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
PATHS = [["Quarry", "Yarrow"], ["Yarrow", "Kestrel"], ["Kestrel", "Thistle"]]


def draw(index=0, **fields):
    task = TASKS["routes/walk"](**fields)
    return task, task.draw(sample_rng(0, task.name, index), index)


def posed(length):
    task, sample = draw(length=length)
    return task, dataclasses.replace(sample, facts={"paths": PATHS})


def test_the_walks_go_along_paths():
    task, sample = posed(4)
    places = ["Quarry", "Yarrow", "Kestrel", "Thistle", "Juniper"]
    joined = {*map(tuple, PATHS), *((end, start) for start, end in PATHS)}
    walks = itertools.product(places, repeat=4)
    expected = {", ".join(w) for w in walks if set(itertools.pairwise(w)) <= joined}
    assert {text for text, _ in task.trellis(sample).texts()} == expected
    every = (", ".join(walk) for walk in itertools.product(places, repeat=4))
    assert {text for text in every if task.score(sample, text).strict} == expected


@pytest.mark.parametrize("length", [1, 2, 30, 300])
def test_walks_are_counted_by_powers_of_the_matrix_of_paths(length):
    for index in range(3):
        task, sample = draw(index, length=length, canvas_length=700)
        places = sorted({place for path in sample.facts["paths"] for place in path})
        assert len(places) == 8
        matrix = np.zeros((8, 8), dtype=object)
        for start, end in sample.facts["paths"]:
            one, other = places.index(start), places.index(end)
            matrix[one, other] = matrix[other, one] = 1
        counts = np.full(8, 1, dtype=object)
        for _ in range(length - 1):
            counts = matrix @ counts
        assert task.trellis(sample).count == counts.sum()


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


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_any_reply_has_marks(reply):
    task, sample = draw()
    assert task.score(sample, sample.reference).strict == 1
    assert task.score(sample, reply).strict in (0, 1)


def test_maps_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"joins 8 places has 7 to 28 paths, got paths=6"):
        draw(paths=6)
    with pytest.raises(ValueError, match="places must be"):
        draw(places=25, paths=30)
