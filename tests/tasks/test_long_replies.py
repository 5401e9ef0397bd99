"""A hostile reply of 64 kB is marked, and the work grows with its length and not with its square.

Work is counted in executed lines and in the lengths of texts that engines of others are given; no
clock is read.
"""

import itertools
import sys

import pytest

from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.task import TASKS
from parallelbench.tasks import text_writing
from parallelbench.tasks.grammar import open_engine
from parallelbench.tasks.text_scores import MOST_CHARACTERS

load_plugins()
OUR_OWN = [name for name in TASKS if not name.startswith(("original", "text_writing"))]
TEXTS = [name for name in TASKS if name.startswith("text_writing")]
#: What a reply repeats; ``None`` stands for a right answer.
UNITS = ["1", "a, ", "[", "(,", "\n", "1 2\n", "- ", "a: b; ", "2028-02-01\n", "1+", None]
SMALL, LARGE, HOSTILE = 2**9, 2**11, 2**16


def executed_lines(function, *arguments):
    """The number of lines of Python that a call executes, in comprehensions too."""
    count = itertools.count()

    def trace(frame, event, argument):
        next(count)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return next(count)


@pytest.mark.parametrize("name", OUR_OWN)
def test_a_reply_of_64_kb_is_marked_and_work_grows_with_its_length(name):
    task = TASKS[name]()
    sample = draw_sample(task, 0, 0)
    for unit in UNITS:
        text = sample.reference + "\n" if unit is None else unit
        # Both replies hold a right answer of any length at least once.
        scale = 1 + len(text) // SMALL
        small, large = (
            executed_lines(task.score, sample, text * (scale * size // len(text)))
            for size in (SMALL, LARGE)
        )
        assert large < 6 * small + 1000, f"{name} {unit!r}"
        assert task.score(sample, text * (HOSTILE // len(text))).strict == 0


class Watched:
    """A grammar engine, and the lengths of the texts that it was given."""

    def __init__(self, engine):
        self.engine = engine
        self.given = []

    def problems(self, sentences):
        self.given += map(len, sentences)
        return self.engine.problems(sentences)


@pytest.mark.parametrize("name", TEXTS)
def test_an_engine_is_never_given_a_reply_that_is_too_long(name, monkeypatch):
    engine = Watched(open_engine("lingotweaker"))
    monkeypatch.setattr(text_writing, "open_engine", lambda _: engine)
    task = TASKS[name]()
    sample = draw_sample(task, 0, 0)
    longest = "word " * (MOST_CHARACTERS // 5) + "w"
    assert task.score(sample, longest).failure == "ungrammatical"
    assert engine.given == [MOST_CHARACTERS]
    marks = task.score(sample, longest + "w" * HOSTILE)
    assert engine.given == [MOST_CHARACTERS]
    assert (marks.strict, marks.lenient, marks.failure) == (0.0, 0.0, "too long")
    assert marks.parts == task.score(sample, "").parts
