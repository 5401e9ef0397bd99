"""What a caption says: enough to read the figure without the page."""

import dataclasses

import pytest

from parallelbench.analysis.figures.captions import (
    SampleFacts,
    caption,
    common_sentences,
    sentences,
)
from parallelbench.results.result import average_over_tasks


def test_a_caption_tells_task_version_model_settings_counts_and_intervals(make_result):
    results = [make_result("random:k=1"), make_result("random:k=2")]
    told = caption(results, ["choices/city"], SampleFacts({"choices/city": 3}, 7), ideal=True)
    for part in (
        "Task: choices/city, version 3. Model: ideal. ",
        "Decoder settings: random:k=1, random:k=2. ",
        "Samples per point: 100, decodes per point: 100, seed 7. ",
        "its bars are 95 % Wilson intervals. ",
        "Dotted: the ideal model with the same decoder settings.",
    ):
        assert part in told
    assert "Hollow" not in told
    assert "repeats" not in told


def test_versions_that_differ_are_told_task_by_task(make_result):
    results = [make_result(task=task) for task in ("a", "b")]
    told = caption(results, ["a", "b"], SampleFacts({"a": 1, "b": 2}, 0))
    assert "Tasks: a (version 1), b (version 2). " in told
    assert "Tasks: a, b, all of version 2. " in caption(
        results, ["a", "b"], SampleFacts({"a": 2, "b": 2}, 0)
    )
    assert "version" not in caption(results, ["a", "b"], SampleFacts())


def test_an_average_has_other_intervals_and_says_so(make_result):
    results = average_over_tasks([make_result(task=task) for task in ("a", "b")])
    told = caption(results, ["a", "b"], SampleFacts())
    assert "on average over 2 tasks, weighted equally" in told
    assert "intervals of the tasks combined" in told


def test_repeats_oracles_and_unequal_counts_are_told(make_result):
    results = [
        make_result(count=300),
        make_result("label", oracle=True, count=90, samples=90),
    ]
    told = caption(results, ["choices/city"], SampleFacts())
    assert "Samples per point: 90 to 100, decodes per point: 90 to 300. " in told
    assert "repeats of a sample count less" in told
    assert told.endswith("Hollow: oracles, which know the right answers.")


@pytest.mark.parametrize("count", [8, 9, 40])
def test_a_long_list_is_cut_and_counted(make_result, count):
    results = [make_result(f"strategy_{number}") for number in range(count)]
    told = caption([dataclasses.replace(each) for each in results], ["a"], SampleFacts())
    assert ("more, listed in its data" in told) == (count > 8)
    assert f"and {count - 8} more" in told or count == 8


def test_what_most_figures_share_is_common_sentences_and_the_rest_under_each(make_result):
    tasks = ["a", "b", "c"]
    results = {task: [make_result(task=task)] for task in tasks}
    every = [sentences(results[task], [task], SampleFacts(), ideal=task != "a") for task in tasks]
    average = average_over_tasks([result for own in results.values() for result in own])
    every.append(sentences(average, tasks, SampleFacts()))
    common = common_sentences(every)
    assert common["models"] == "Model: ideal"
    assert common["counts"].startswith("Samples per point: 100")
    assert "Wilson" in common["accuracy"]
    assert "ideal" in common
    assert "tasks" not in common
    assert every[-1]["accuracy"] != common["accuracy"]  # stays under its own figure
    assert common_sentences(every[:1]) == {}
