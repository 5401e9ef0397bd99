"""Small random laws, and the laws of small samples of the tasks, for the tests of analysis."""

import random

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from parallelbench.analysis.theory.dependence import Law, item_law
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

#: For tests that do much with each law; the time of one says nothing.
quick = settings(deadline=None, max_examples=40)

#: A small size of every task that can list its right answers and has a choice.
WITH_A_CHOICE = (
    "choices/city",
    "choices/city:options=10",
    "choices/capital",
    "choices/date:months=2",
    "choices/dice:rolls=3",
    "choices/roster:people=2",
    "choices/sum",
    "list_operations/insert_random:length=5",
    "list_operations/remove_random:length=6",
    "list_operations/replace_random:length=6",
    "list_operations/shuffle:length=5",
    "list_operations/shuffle:length=4,allow_identity=true",
    "waiting_line/insert_random:length=3",
    "waiting_line/remove_random:length=4",
    "waiting_line/replace_random:length=4",
    "waiting_line/shuffle:length=4",
)


@st.composite
def laws(draw, positions=(1, 5), symbols=3):
    """A law over up to 12 rows with weights that are small whole numbers."""
    length = draw(st.integers(*positions))
    row = st.tuples(*[st.integers(0, symbols - 1)] * length)
    rows = draw(st.lists(row, min_size=1, max_size=12, unique=True))
    weights = draw(st.lists(st.integers(1, 9), min_size=len(rows), max_size=len(rows)))
    # beartype picks at random which entry of a sequence it looks at; hypothesis forbids that.
    state = random.getstate()
    law = Law.counted(np.array(rows), np.array(weights, dtype=float))
    random.setstate(state)
    return law


def law_of(text, index=0):
    """The law of a sample, an item for a symbol, without what all right answers agree in."""
    task = build(parse_settings(text, TASKS)[0], TASKS)
    law = item_law(task.answers(draw_sample(task, 0, index)))
    return law.only(law.varying or (0,))


def ordered_partitions(positions):
    """Every ordered partition of ``positions`` into non-empty sets."""
    positions = list(positions)
    if not positions:
        yield ()
        return
    for bits in range(1, 1 << len(positions)):
        step = tuple(one for index, one in enumerate(positions) if bits >> index & 1)
        rest = [one for index, one in enumerate(positions) if not bits >> index & 1]
        for others in ordered_partitions(rest):
            yield (step, *others)
