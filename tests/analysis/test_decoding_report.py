"""Decoding order and traits of the tasks in a report."""

import json

import pytest

from parallelbench import evaluate
from parallelbench.analysis.figures.task_traits import TraitPoint, trait_points
from parallelbench.analysis.measures.task_traits import TaskTraits
from parallelbench.analysis.report.page import make_report
from parallelbench.results.intervals import Estimate
from parallelbench.run.rundir import RunDirectory
from support import browser as chromium


def traits_of(task, parallel, preference, model="ideal", decoder="confidence"):
    pair = [None if each is None else Estimate(each, None, 3) for each in (parallel, preference)]
    return TaskTraits(model, task, decoder, (1, 2), pair[0], (8, 32), pair[1])


def test_a_task_stands_at_the_means_over_the_decoders_that_have_both_traits():
    traits = [
        traits_of("a", 1.0, -0.02),
        traits_of("a", 2.0, 0.04, decoder="random"),
        traits_of("a", 9.0, None, decoder="margin"),
        traits_of("b", 3.0, 0.0),
        traits_of("b", 3.0, 0.0, model="alone"),
    ]
    points = trait_points(traits)
    assert list(points) == ["ideal"]  # a single task is no map
    first, second = points["ideal"]
    assert (first.task, first.decoders) == ("a", 2)
    assert (first.parallelizability, first.order_preference) == pytest.approx((1.5, 1.0))
    assert second == TraitPoint("ideal", "b", 3.0, 0.0, 1)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    evaluate(
        model="ideal",
        tasks="choices/city,waiting_line/copy:length=3",
        decoders=["confidence:k=1|2", "confidence:k=2,block_length=8"],
        samples=3,
        out=folder,
    )
    return make_report(RunDirectory.open(folder))[1]


def test_the_report_has_orders_traits_and_their_map(report):
    folder = report.parent
    text = report.read_text(encoding="utf-8")
    assert text.count("<h4>Decoding order</h4>") == 2
    assert '<section id="-traits">' in text
    assert "one point per task, mean over decoders" in text
    orders = json.loads((folder / "orders.json").read_text())
    assert len(orders) == 6
    traits = json.loads((folder / "task_traits.json").read_text())
    assert {each["task_label"] for each in traits} == {"choices/city", "waiting_line/copy:length=3"}
    assert (folder / "figures" / "task-traits--ideal.svg").exists()


@chromium.NEEDED
def test_a_page_with_a_map_of_tasks_replays_its_decodes(browser, report):
    with chromium.opened(browser, report, "#replay/0/0") as shown:
        assert shown.locator("#-traits img").is_visible()
        assert "model call" in shown.locator(".side .ignored").first.inner_text()
