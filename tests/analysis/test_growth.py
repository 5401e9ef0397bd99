"""The picture of the growth of the limit: its lines are proved, its marks never undercut them."""

import csv
import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from parallelbench.analysis.figures import growth
from parallelbench.analysis.figures.growth import GROWTHS, LIMIT, REFUSED, GrowthPoint
from parallelbench.analysis.theory.adaptive import zero_error_steps
from parallelbench.analysis.theory.limits import law_of_sample
from parallelbench.analysis.theory.schedules import error_free_schedule, varying_positions
from parallelbench.analysis.theory.treedepth import treedepth
from parallelbench.cli.program import main
from parallelbench.distributions.contract import DependenceGraph
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

DICE, PRONOUN, WALK, SHUFFLE = GROWTHS
#: Pairs of the graph of each task with n entries.
PAIRS = {
    DICE: lambda _: [],
    PRONOUN: lambda n: [(0, leaf) for leaf in range(1, n)],
    WALK: lambda n: [(place, place + 1) for place in range(n - 1)],
    SHUFFLE: lambda n: combinations(range(n), 2),
}
LONG_ANSWERS = Path(__file__).parents[2] / "docs" / "long-answers.md"


def drawn(task, length):
    load_plugins()
    (setting,) = parse_settings(GROWTHS[task].setting(task, length), TASKS)
    built = build(setting, TASKS)
    return built, draw_sample(built, 0, 0)


def tokens(task, length):
    """The distribution over tokens of a sample, and its canvas."""
    prompt = build_prompt(*drawn(task, length), Ideal().open().codec)
    return answer_distribution(prompt), prompt.canvas.numpy()


@pytest.fixture(scope="module")
def small():
    """The points of a small picture; dice of seven rolls are refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "_LENGTHS", (2, 4, 7))
        patch.setattr(growth, "_SAMPLES", 4)
        return growth.growth_points()


@pytest.mark.parametrize("task", GROWTHS)
@pytest.mark.parametrize("length", [2, 3, 4, 7, 8, 20, 31, 64, 96])
def test_a_limit_is_the_treedepth_of_the_graph(task, length):
    depth = treedepth(DependenceGraph(length, frozenset(PAIRS[task](length))))
    assert depth.exact
    assert GROWTHS[task].fewest(length) == depth.depth


@pytest.mark.parametrize("length", [2, 3, 5, 8, 13])
def test_the_stops_of_a_walk_depend_on_each_other_along_a_path(length):
    distribution, canvas = tokens(WALK, length)
    stops = varying_positions(distribution, canvas)
    assert len(stops) == length
    place = {stop: number for number, stop in enumerate(stops)}
    pairs = {(place[low], place[high]) for low, high in distribution.dependence_graph().pairs}
    assert pairs == set(PAIRS[WALK](length))


@pytest.mark.parametrize(
    ("task", "lengths"),
    [(DICE, (3, 5)), (PRONOUN, (2, 9)), (WALK, (2, 4, 9)), (SHUFFLE, (2, 4))],
)
def test_a_schedule_without_an_error_takes_as_many_steps_as_the_limit(task, lengths):
    for length in lengths:
        schedule = error_free_schedule(*tokens(task, length))
        assert len(schedule.steps) == GROWTHS[task].fewest(length)


@pytest.mark.parametrize(
    ("task", "lengths"), [(DICE, (2, 4)), (PRONOUN, (2, 3)), (SHUFFLE, (2, 3, 4))]
)
def test_no_policy_that_looks_at_tokens_beats_the_limits_of_dice_pronouns_and_shuffles(
    task, lengths
):
    for length in lengths:
        least = zero_error_steps(law_of_sample(*drawn(task, length), "item"), greedy=False)
        assert least.expected_steps == pytest.approx(GROWTHS[task].fewest(length))


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_policy_that_looks_at_tokens_may_beat_the_limit_of_a_walk_and_never_needs_more(length):
    law = law_of_sample(*drawn(WALK, length), "item")
    least = zero_error_steps(law, greedy=False).expected_steps
    assert 2 <= least <= GROWTHS[WALK].fewest(length)


def test_the_oracle_stands_at_the_limit_and_the_rule_between_it_and_one_by_one(small):
    limits = {(point.task, point.n): point.steps for point in small if point.kind == LIMIT}
    measured = [point for point in small if point.count is not None]
    assert len(measured) == 2 * (len(GROWTHS) * 3 - 1)
    for point in measured:
        assert point.accuracy == 1
        assert (point.count, point.low <= point.steps <= point.high) == (4, True)
        limit = limits[point.task, point.n]
        if point.kind.startswith("information"):
            assert point.steps == pytest.approx(limit, abs=0.5)
        else:
            assert limit - 0.5 <= point.steps <= max(3, point.n)
    rules = {
        (point.task, point.n): point.steps
        for point in measured
        if point.kind.startswith("entropy_bound")
    }
    assert rules[DICE, 4] == 4
    assert rules[WALK, 7] > 6


def test_a_length_that_a_task_refuses_is_told_and_not_drawn(small):
    (refused,) = [point for point in small if point.kind == REFUSED]
    assert (refused.task, refused.n, refused.steps) == (DICE, 7, None)
    assert "7 rolls has 279,936 right answers, over the limit" in refused.left_out
    # A line and its label for each task, and a mark for each measured point.
    (axes,) = growth.growth_figure(small).axes
    assert len(axes.texts) == len(GROWTHS)
    assert len(axes.containers) == len([point for point in small if point.count is not None])


def test_a_decoder_with_a_wrong_answer_is_not_drawn():
    right = [GrowthPoint(task, n, LIMIT, 2.0) for task in GROWTHS for n in (2, 4)]
    kind, ends = "entropy_bound:bound=0.5", (2.0, 3.0)
    wrong = GrowthPoint(DICE, 4, kind, 2.5, *ends, accuracy=0.9, count=10)
    correct = GrowthPoint(DICE, 2, kind, 2.5, *ends, accuracy=1.0, count=10)
    (axes,) = growth.growth_figure([*right, wrong, correct]).axes
    (mark,) = axes.containers
    assert mark.lines[0].get_ydata().tolist() == [2.5]
    assert mark.lines[0].get_xdata()[0] == pytest.approx(2 * 2 ** GROWTHS[DICE].aside)


def test_labels_and_legend_cover_no_line_and_no_other_label(small):
    figure = growth.growth_figure(small)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    frame = axes.get_window_extent()
    boxes = [text.get_window_extent() for text in axes.texts]
    for number, box in enumerate(boxes):
        assert box.x0 >= frame.x1 - 1
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:number])
    legend = axes.get_legend().get_window_extent()
    for line in axes.lines:
        drawn_path = axes.transData.transform_path(line.get_path())
        assert not drawn_path.intersects_bbox(legend, filled=False)


def test_the_verb_writes_a_picture_for_light_and_dark_and_its_data(
    small, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(growth, "growth_points", lambda: small)
    assert main(["bounds", "--figure", "growth", "--out", str(tmp_path / "f"), "--json"]) == 0
    told = capsys.readouterr()
    rows = json.loads(told.out)
    assert growth.growth_caption(small) in told.err
    files = {file.name for file in (tmp_path / "f").iterdir()}
    assert files == {f"growth{end}" for end in (".csv", ".png", ".svg", "-dark.svg")}
    with (tmp_path / "f" / "growth.csv").open() as data:
        lines = list(csv.DictReader(data))
    assert [(line["task"], line["n"], line["kind"]) for line in lines] == [
        (row["task"], str(row["n"]), row["kind"]) for row in rows
    ]
    assert main(["bounds", "--figure", "growth", "--out", str(tmp_path / "f")]) == 0
    assert growth.growth_caption(small) in capsys.readouterr().out.replace("\n", " ")


def test_the_caption_in_docs_is_that_of_the_picture_there():
    points = [GrowthPoint(PRONOUN, 2, "information", 2.0, 2.0, 2.0, 1.0, growth._SAMPLES)]
    assert growth.growth_caption(points).endswith("Hollow ones are set apart sideways.")
    points += [GrowthPoint(task, 64, REFUSED, None) for task in (DICE, SHUFFLE)]
    caption = growth.growth_caption(points)
    assert len(re.findall(r"\.(?: |$)", caption)) == 3
    assert caption in " ".join(LONG_ANSWERS.read_text(encoding="utf-8").split())
