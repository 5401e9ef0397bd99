"""The sentences above a table: true of one setting and of many, of servers and of failures."""

import pytest

from parallelbench.analysis.report.sentences import result_sentences
from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result, average_over_tasks


def result(decoder, accuracy, speed, **changes):
    counts = {"samples": 125, "count": 125, "statuses": {"ok": 125}}
    if accuracy is None:
        counts = {"samples": 0, "count": 0, "statuses": {"error": 125}}
    return Result(
        **{
            "model": "m",
            "task": "t",
            "task_fields": {},
            "task_label": "t",
            "decoder": decoder,
            "fields": {},
            "decoder_label": decoder,
            "oracle": False,
            "accuracy": accuracy,
            "interval": None if accuracy is None else Interval(accuracy - 0.05, accuracy + 0.05),
            "accuracy_strict": accuracy,
            "interval_strict": None,
            "tokens_per_step": speed,
            "tokens_per_step_interval": None,
            "pooled_tokens_per_step": speed,
            "pooled_tokens_per_step_interval": None,
            "answer_tokens_per_step": speed,
            "nfe": 4.0,
            "problems": {},
            "off_law_share": None,
            **counts,
            **changes,
        }
    )


SLOW = result("slow", 0.9, 1.0)
GOOD = result("good", 0.84, 5.5)
FAST = result("fast", 0.4, 9.0)
TO = "\N{EN DASH}"
OF_SLOW = f"slow has an accuracy of 90.0 % (95 % interval 85.0{TO}95.0) on 125 samples"
OF_FAST = f"fast has an accuracy of 40.0 % (95 % interval 35.0{TO}45.0) on 125 samples"
OF_GOOD = (
    "5.50 tokens per step; it has an accuracy of 84.0 % "
    f"(95 % interval 79.0{TO}89.0) on 125 samples"
)
ENOUGH = "an accuracy of at least 80 %"


@pytest.mark.parametrize(
    ("results", "sentences"),
    [
        ([SLOW], [f"{OF_SLOW}, at 1.00 tokens per step."]),
        (
            [SLOW, GOOD, FAST],
            [
                f"{OF_SLOW}, at 1.00 tokens per step, the highest accuracy of 3 settings.",
                f"Of the 2 settings with {ENOUGH}, good is the fastest, with {OF_GOOD}.",
            ],
        ),
        (
            [SLOW, FAST],
            [
                f"{OF_SLOW}, at 1.00 tokens per step, the highest accuracy of 2 settings.",
                "No other setting has an accuracy of at least 80 %.",
            ],
        ),
        (
            [FAST, result("faster", 0.3, 20.0, samples=1, count=2)],
            [
                f"{OF_FAST}, at 9.00 tokens per step, the highest accuracy of 2 settings.",
                "No setting has an accuracy of at least 80 %.",
            ],
        ),
        ([result("server", 0.9, None)], [f"{OF_SLOW.replace('slow', 'server')}."]),
        ([result("slow", None, None)], ["Nothing is marked: all 125 decodes ended in an error."]),
        (
            [SLOW, result("broken", None, None)],
            [f"{OF_SLOW}, at 1.00 tokens per step."],
        ),
        (
            [SLOW, result("oracle", 1.0, 30.0, oracle=True)],
            [f"{OF_SLOW}, at 1.00 tokens per step."],
        ),
        ([result("oracle", 1.0, 30.0, oracle=True)], []),
        ([], []),
        (
            [result("slow", 0.9, 1.0, count=250)],
            [f"{OF_SLOW} in 250 decodes, at 1.00 tokens per step."],
        ),
    ],
)
def test_the_sentences_are_true_of_one_task(results, sentences):
    assert result_sentences("m", results, average_over_tasks(results)) == sentences


def test_several_tasks_are_averaged_and_other_models_left_out():
    other = [result("slow", 0.7, 3.0, task_label="u"), result("good", 0.5, 4.0, task_label="u")]
    results = [SLOW, GOOD, *other, result("good", 1.0, 50.0, model="n")]
    first, second = result_sentences("m", results, average_over_tasks(results))
    assert first.startswith("slow has an accuracy of 80.0 % (95 % interval ")
    assert "on 250 samples, averaged over 2 tasks, at 2.00 tokens per step, the highest" in first
    assert second == "No other setting has an accuracy of at least 80 %."


def test_settings_that_are_not_marked_on_every_task_are_not_averaged():
    results = [SLOW, result("good", 0.5, 4.0, task_label="u")]
    told = result_sentences("m", results, average_over_tasks(results))
    assert told == ["No setting is marked on all 2 tasks yet."]
