"""The public board's files: its curves, its speeds by its own rule, a run beside them."""

import csv
import itertools
import json

import pytest

from parallelbench.analysis.commands.actions.published import (
    ADAPTIVE,
    FIXED,
    DrawnPoint,
    PublishedError,
    beside_figure,
    read_published,
)
from parallelbench.cli.program import main
from parallelbench.evaluation import evaluate
from parallelbench.results.result import average_over_tasks

ROWS = [("copy", 1, 100), ("avg", 1, 90), ("copy", 4, 80), ("avg", 2, 85), ("avg", 4, 65)]


def write(path, rows=ROWS, header="task,tps,accuracy"):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_adaptive_strategy_is_read_between_its_points_and_a_fixed_one_at_them(tmp_path):
    write(tmp_path / "llada15_confidence-threshold.csv")
    write(tmp_path / "dream" / "confidence_topk.csv")
    fixed, adaptive = sorted(read_published(tmp_path), key=lambda curve: curve.model)
    assert (fixed.model, fixed.strategy) == ("dream", "confidence-topk")
    assert fixed.speeds == {80: 2, 75: 2, 70: 2}
    assert (adaptive.model, adaptive.strategy) == ("llada15", "confidence-threshold")
    # From (2, 85) to (4, 65): a tenth of a step for each point of accuracy.
    assert adaptive.speeds == pytest.approx({80: 2.5, 75: 3.0, 70: 3.5})


def told_by_the_rule(points, percent, *, between):
    """Return PBx: points count, and of an adaptive strategy the lines between them, too."""
    best = max((speed for speed, accuracy in points if accuracy >= percent), default=0.0)
    for (slow, high), (fast, low) in itertools.pairwise(sorted(points)) if between else ():
        if high >= percent > low:
            best = max(best, slow + (high - percent) / (high - low) * (fast - slow))
    return best


def test_all_99_figures_of_a_board_follow_the_rule(tmp_path):
    # As many as are published: three accuracies of 33 curves, of three models.
    curves = {}
    for number, (model, strategy) in enumerate(
        itertools.product(("llada", "dream", "sdar"), (*ADAPTIVE, *FIXED))
    ):
        points = [
            (1.0, 93 - number % 7),
            (1.5 + number / 40, 84 - number % 5),
            (3.0 + number / 20, 77 + number % 3),
            (5.5 + number / 10, 73 - number % 9),
            (11.0 + number / 5, 60 - number % 4),
        ]
        curves[model, strategy] = points
        write(tmp_path / f"{model}_{strategy}.csv", [("avg", *point) for point in points])
    figures = {
        (curve.model, curve.strategy, percent): speed
        for curve in read_published(tmp_path)
        for percent, speed in curve.speeds.items()
    }
    assert len(figures) == 99
    assert figures == pytest.approx(
        {
            (model, strategy, percent): told_by_the_rule(
                points, percent, between=strategy in ADAPTIVE
            )
            for (model, strategy), points in curves.items()
            for percent in (80, 75, 70)
        }
    )
    # By hand: at 80 % between (1.5, 84) and (3, 77), 4/7 of the way; at points only, 1.5.
    assert figures["llada", "confidence-threshold", 80] == pytest.approx(1.5 + 4 / 7 * 1.5)
    points = curves["llada", "random"]
    assert figures["llada", "random", 80] == max(speed for speed, share in points if share >= 80)


def test_only_averages_make_the_curve_and_what_is_not_reached_is_0_as_on_the_board(tmp_path):
    write(tmp_path / "m_klass.csv", [("copy", 9, 100), ("avg", 3, 72)])
    (curve,) = read_published(tmp_path)
    assert curve.points == ((3.0, 0.72),)
    assert curve.speeds == {80: 0.0, 75: 0.0, 70: 3.0}


def test_columns_may_come_in_any_order_among_others(tmp_path):
    write(tmp_path / "m_wino.csv", [(50, "avg", "x", 2)], "accuracy,task,note,tps")
    assert read_published(tmp_path)[0].points == ((2.0, 0.5),)


@pytest.mark.parametrize(
    ("name", "rows", "header", "message"),
    [
        ("m_greedy.csv", ROWS, "task,tps,accuracy", "must be called MODEL_STRATEGY.csv"),
        ("m_klass.csv", ROWS, "task,tps,score", "line 1 has no column 'accuracy'"),
        (
            "m_klass.csv",
            [("avg", 1, 90), ("avg", "?", 80)],
            "task,tps,accuracy",
            "line 3: '\\?' is no",
        ),
        ("m_klass.csv", [("avg", 1)], "task,tps,accuracy", "line 2: None is no number"),
        ("m_klass.csv", [(1, 90)], "tps,accuracy,task", "has no line with the task avg"),
        ("m_klass.csv", [("avg", 0, 90)], "task,tps,accuracy", "line 2: tps must be above 0"),
        ("m_klass.csv", [("avg", 1, 101)], "task,tps,accuracy", "line 2: tps must be above 0"),
        ("m_klass.csv", [("avg", 1, "nan")], "task,tps,accuracy", "'nan' is no number"),
        ("m_klass.csv", [("copy", 1, 90)], "task,tps,accuracy", "no line with the task avg"),
        ("m_klass.csv", [("avg", 1, 0.9)], "task,tps,accuracy", "must be in percent"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(tmp_path, name, rows, header, message):
    write(tmp_path / name, rows, header)
    with pytest.raises(PublishedError, match=message):
        read_published(tmp_path)


def test_no_file_or_the_same_curve_twice_is_refused(tmp_path):
    with pytest.raises(PublishedError, match=r"holds no file of the board: give the folder"):
        read_published(tmp_path)
    write(tmp_path / "runs" / "mine" / "klass.csv")
    with pytest.raises(PublishedError, match="holds no file of the board"):
        read_published(tmp_path)
    write(tmp_path / "m_klass.csv")
    write(tmp_path / "m" / "klass.csv")
    with pytest.raises(PublishedError, match="are both klass of m"):
        read_published(tmp_path)


def test_the_verb_tells_the_speeds_as_a_table_and_as_json(tmp_path, capsys):
    write(tmp_path / "m_klass.csv")
    assert main(["import", "published", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "PB80" in told
    assert "2.5000" in told
    assert main(["import", "published", str(tmp_path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["speeds"] == pytest.approx({"PB80": 2.5, "PB75": 3.0, "PB70": 3.5})
    assert told["points"][0] == {"tokens_per_step": 1.0, "accuracy": 0.9}


def test_a_runs_curves_are_drawn_beside_the_published_ones_with_their_intervals(tmp_path, capsys):
    write(tmp_path / "board" / "m_klass.csv")
    write(tmp_path / "board" / "n_klass.csv")
    evaluation = evaluate(
        tasks="choices/city,choices/dice", decoders="random:k=1|4", samples=3, out=tmp_path / "run"
    )
    arguments = ["import", "published", str(tmp_path / "board"), "--beside", str(tmp_path / "run")]
    assert main([*arguments, "--out", str(tmp_path / "drawn")]) == 0
    rows = list(csv.DictReader((tmp_path / "drawn/published.csv").read_text().splitlines()))
    own = [row for row in rows if row["source"] == "run"]
    assert len(rows) == 2 * 3 + 2
    assert {row["strategy"] for row in own} == {"random, varying k"}
    averages = {
        average.tokens_per_step: average for average in average_over_tasks(evaluation.results)
    }
    for row in own:
        average = averages[float(row["tokens_per_step"])]
        assert float(row["accuracy"]) == average.accuracy
        assert float(row["low"]) == average.interval.low
        assert int(row["count"]) == average.count == 6
    files = {"published.csv", "published.svg", "published-dark.svg", "published.png"}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == files


def test_each_model_has_a_panel_with_its_own_curves_and_the_runs():
    points = [
        DrawnPoint("published", "m", "klass", 2.0, 0.9),
        DrawnPoint("published", "n", "klass", 3.0, 0.8),
        DrawnPoint("run", "ideal", "random", 4.0, 0.7, 0.6, 0.75, 10),
    ]
    first, second = beside_figure(points).axes
    assert [line.get_xydata().tolist() for line in first.lines] == [
        [[2.0, 90.0]],
        [[4.0, 70.0]],
        [[4.0, 60.0], [4.0, 75.0]],
    ]
    assert second.lines[0].get_xydata().tolist() == [[3.0, 80.0]]


def test_beside_needs_a_place_for_the_picture(tmp_path, capsys):
    write(tmp_path / "m_klass.csv")
    assert main(["import", "published", str(tmp_path), "--beside", str(tmp_path)]) == 2
    assert "--beside needs --out" in capsys.readouterr().err
