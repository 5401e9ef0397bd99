"""Results and runs made up for the tests of this folder."""

import pytest

from parallelbench.results.intervals import Interval, wilson
from parallelbench.results.result import Result


@pytest.fixture
def make_result():
    """A result of ``right`` right answers out of 100; nothing measured if that is None."""

    def make(decoder="confidence:k=2", task="choices/city", *, right=60, speed=2.0, **changes):
        name, _, field = decoder.partition(":k=")
        accuracy = None if right is None else right / 100
        interval = None if right is None else wilson(float(right), 100.0)
        measured = right is not None
        values = {
            "model": "ideal",
            "task": task,
            "task_fields": {},
            "task_label": task,
            "decoder": name,
            "fields": {"block_length": None, "k": int(field or 1)},
            "decoder_label": decoder,
            "oracle": False,
            "samples": 100 if measured else 0,
            "count": 100 if measured else 0,
            "accuracy": accuracy,
            "interval": interval,
            "accuracy_strict": accuracy,
            "interval_strict": interval,
            "tokens_per_step": speed if measured else None,
            "tokens_per_step_interval": Interval(speed - 0.1, speed + 0.1) if measured else None,
            "pooled_tokens_per_step": speed if measured else None,
            "pooled_tokens_per_step_interval": (
                Interval(speed - 0.1, speed + 0.1) if measured else None
            ),
            "answer_tokens_per_step": speed / 2 if measured else None,
            "nfe": 32 / speed if measured else None,
            "statuses": {"ok": 100} if measured else {"error": 100},
            "problems": {"repeated item": 100 - right} if measured and right < 100 else {},
            "off_law_share": None,
        }
        return Result(**{**values, **changes})

    return make


@pytest.fixture
def sweep(make_result):
    """Two decoders at three speeds on two tasks, and one decoder without a dial."""
    return [
        result
        for task, loss in (("choices/city", 5), ("waiting_line/sort:length=4", 12))
        for result in (
            *(
                make_result(f"confidence:k={k}", task, right=100 - loss * k, speed=float(k))
                for k in (4, 1, 2)
            ),
            *(
                make_result(f"random:k={k}", task, right=99 - loss * k, speed=float(k))
                for k in (1, 2, 4)
            ),
            make_result("one_by_one", task, right=100, speed=1.0, fields={"block_length": None}),
        )
    ]
