"""Every kind of figure on a light and on a dark page: all of its text can be read."""

import ast
from pathlib import Path

import pytest

from parallelbench.analysis.commands.actions import published
from parallelbench.analysis.figures import coverage, growth, landscape, paper, plots, task_traits
from parallelbench.analysis.measures.curves import curves_of
from parallelbench.analysis.measures.speed import SpeedEstimate
from parallelbench.results.intervals import Interval
from parallelbench.results.result import average_over_tasks
from support.contrast import hard_to_read, text_colours

ROOT = Path(__file__).parents[2]


def of_results(sweep, make_result):
    curves = curves_of(sweep)
    two = [*sweep, *(make_result(f"random:k={k}", model="mini", speed=float(k)) for k in (1, 2))]
    return {
        "task_figure": plots.task_figure(sweep[:7], curves, sweep[:7]),
        "average_figure": plots.average_figure(average_over_tasks(sweep), curves, 2),
        "overview_figure": plots.overview_figure(sweep, curves),
        "overlay_figure": plots.overlay_figure(two, curves_of(two), "choices/city"),
    }


def of_speeds():
    reached = SpeedEstimate(4.0, Interval(3.0, 5.0), reached=1.0, samples=9)
    never = SpeedEstimate(None, None, reached=0.0, samples=9)
    standings = [
        plots.StrategySpeed(name, speed, oracle=False)
        for name, speed in (("fast", reached), ("never", never))
    ]
    points = [
        published.DrawnPoint(source, "LLaDA", "confidence", float(speed), 0.5)
        for source in ("published", "run")
        for speed in (1, 2)
    ]
    return {
        "speeds_figure": plots.speeds_figure(standings, "speed", "of two"),
        "beside_figure": published.beside_figure(points),
    }


def of_theory():
    judged = [
        coverage.SimulatedJudge(sensitivity, specificity, rate, 0.9, 0.95, rate, rate, 9)
        for sensitivity, specificity, _ in coverage.JUDGES
        for rate in (0.2, 0.8)
    ]
    needed = [
        landscape.StepsNeeded(task, n, kind, float(n), *interval)
        for task in landscape.LIMITED
        for n in (4, 8)
        for kinds, interval in (
            (("one by one", "best policy"), ()),
            (("fast", "slow"), (n - 0.1, n + 0.1, 9)),
        )
        for kind in kinds
    ]
    places = [
        landscape.MapPoint("choices/city", 2.0, 1.0, 2.0, "exact"),
        landscape.MapPoint("waiting_line/copy", 0.0, 0.0, 1.0, "exact"),
    ]
    lines = [
        paper.PaperFigure(f"task {number}", n, steps, n / steps, 2.0 / steps)
        for number in range(8)
        for n in (4, 8)
        for steps in (1, 2)
    ]
    traits = [
        task_traits.TraitPoint("mini", task, x, x - 2, 1)
        for task, x in (("sort", 1.5), ("copy", 3.0))
    ]
    grown = [
        growth.GrowthPoint(task, n, kind, float(n), *interval)
        for task in growth.GROWTHS
        for n in (4, 8)
        for kind, interval in (
            ("limit", ()),
            ("information", (n - 0.1, n + 0.1, 1.0, 9)),
            ("entropy_bound", (n - 0.1, n + 0.1, 1.0, 9)),
        )
    ]
    return {
        "coverage_figure": coverage.coverage_figure(judged),
        "growth_figure": growth.growth_figure(grown),
        "limits_figure": landscape.limits_figure(needed),
        "map_figure": landscape.map_figure(places),
        "drawn_figure": paper.drawn_figure(lines),
        "traits_figure": task_traits.traits_figure(traits),
    }


def test_all_text_of_every_kind_of_figure_can_be_read_in_light_and_dark(sweep, make_result):
    figures = {**of_results(sweep, make_result), **of_speeds(), **of_theory()}
    # Whoever adds a kind of figure draws it here.
    assert set(figures) == {
        node.name
        for path in (ROOT / "analysis").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and node.name.endswith("_figure")
        and not node.name.startswith("_")
    }
    for name, figure in figures.items():
        drawn = plots.images(figure)
        for scheme, svg in (("light", drawn.light), ("dark", drawn.dark)):
            assert not hard_to_read(svg.decode(), scheme), name
        # A page that follows the reader's system exchanges these colours, and no other.
        exchanged = {colour for _, colour in text_colours(drawn.either.decode())}
        assert exchanged <= set(plots.ON_DARK), name


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*-dark.svg")), ids=lambda p: p.name)
def test_all_text_of_the_figures_in_docs_can_be_read(path):
    light = path.with_name(path.name.replace("-dark", ""))
    assert not hard_to_read(path.read_text(encoding="utf-8"), "dark")
    assert not hard_to_read(light.read_text(encoding="utf-8"), "light")
