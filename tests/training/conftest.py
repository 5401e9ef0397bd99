"""Trainings small enough for a test, and one thread for all of them."""

import pytest
import torch

from parallelbench.training import Plan, Scratch

#: Three rolls of a die on a canvas of eight tokens; the question is seven words.
DICE = "choices/dice:rolls=3,canvas_length=8,shots=0,template=terse"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small():
    """Return a plan of a very small network, with changes."""

    def make(**changes):
        tiny = {
            "tasks": DICE,
            "steps": 6,
            "batch_size": 4,
            "start": Scratch(hidden=32, layers=1, heads=2, feed_forward=48),
        }
        return Plan(**{**tiny, **changes})

    return make
