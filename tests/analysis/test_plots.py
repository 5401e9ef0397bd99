"""What the figures show, read from the drawn objects."""

import dataclasses
import re

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.text import Text

from parallelbench.analysis.figures.plots import (
    COLUMN,
    StrategySpeed,
    average_figure,
    images,
    overlay_figure,
    overview_figure,
    speeds_figure,
    task_figure,
)
from parallelbench.analysis.measures.curves import curves_of
from parallelbench.analysis.measures.speed import SpeedEstimate
from parallelbench.results.intervals import Interval
from parallelbench.results.result import average_over_tasks


@pytest.fixture
def curves(sweep):
    return curves_of(sweep)


@pytest.fixture
def figures(sweep, curves):
    first = [result for result in sweep if result.task_label == "choices/city"]
    return {
        "task": task_figure(first, curves),
        "average": average_figure(average_over_tasks(sweep), curves, 2),
        "overview": overview_figure(sweep, curves),
    }


def looks(axes):
    return {bars.get_label(): _look(bars.lines[0]) for bars in axes.containers}


def _look(line):
    return to_hex(line.get_color()), line.get_marker()


def test_axes_are_labelled_with_their_units(figures):
    for figure in figures.values():
        assert figure.get_supxlabel() == "tokens per step (canvas tokens / model calls)"
        assert figure.get_supylabel() == "accuracy (%)"


def test_speed_is_on_a_binary_logarithmic_axis(figures):
    for figure in figures.values():
        for axes in figure.axes:
            assert axes.get_xscale() == "log"
            assert list(axes.get_xticks()) == [1, 2, 4]
            assert [axes.xaxis.get_major_formatter()(tick, 0) for tick in (0.5, 1, 4)] == [
                "0.5",
                "1",
                "4",
            ]


def test_accuracy_goes_from_0_to_100(figures):
    for figure in figures.values():
        for axes in figure.axes:
            assert list(axes.get_yticks()) == [0, 25, 50, 75, 100]


def test_bars_are_the_intervals(sweep, curves):
    results = [r for r in sweep if r.task_label == "choices/city" and r.decoder == "random"]
    (bars,) = task_figure(results, curves).axes[0].containers
    (segments,) = [lines.get_segments() for lines in bars.lines[2]]
    drawn = [[(speed, low), (speed, high)] for (speed, low), (_, high) in segments]
    wanted = [
        [(r.tokens_per_step, 100 * r.interval.low), (r.tokens_per_step, 100 * r.interval.high)]
        for r in results
    ]
    np.testing.assert_allclose(drawn, wanted)


def test_points_of_a_curve_are_joined_from_slow_to_fast(figures):
    bars = figures["task"].axes[0].containers[0]
    assert list(bars.lines[0].get_xdata()) == [1, 2, 4]


def test_a_decoder_looks_the_same_in_every_figure(figures, sweep, curves):
    alone = task_figure([r for r in sweep if r.decoder == "random"], curves)
    every = [looks(axes) for figure in (*figures.values(), alone) for axes in figure.axes]
    assert len({look["random, varying k"] for look in every}) == 1
    assert all(len(set(look.values())) == len(look) for look in every)


def test_nothing_covers_anything_else(figures, sweep, make_result):
    many = [make_result(f"a_strategy_with_a_rather_long_name_{n}:k=2") for n in range(20)]
    long = [
        dataclasses.replace(r, task_label=f"{r.task_label}," + "field=value," * 4) for r in many
    ]
    crowded = task_figure(long, curves_of(long))
    models = of_models(make_result, ["random", "confidence"])
    overlaid = overlay_figure(models, curves_of(models), "choices/city")
    for figure in (*figures.values(), crowded, overlaid):
        figure.draw_without_rendering()
        texts = [text.get_window_extent() for text in figure.texts]
        boxes = [*texts, *(legend.get_window_extent() for legend in figure.legends)]
        boxes += [axes.get_tightbbox() for axes in figure.axes]
        for number, box in enumerate(boxes):
            assert box.x0 >= 0
            assert box.y0 >= -1
            assert box.x1 <= figure.bbox.x1
            assert box.y1 <= figure.bbox.y1
            assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_a_task_figure_fits_the_column_of_a_paper(figures):
    assert figures["task"].get_figwidth() == pytest.approx(COLUMN)
    assert figures["overview"].get_figwidth() <= 7


def test_the_subtitle_tells_model_and_count(figures):
    words = [text.get_text() for text in figures["task"].texts]
    assert "ideal; 100 decodes per point; bars: 95 % intervals" in words


def test_a_figure_knows_where_its_points_are_and_what_they_say(figures, sweep):
    figure = figures["overview"]
    own = [r for r in sweep if r.decoder_label == "random:k=4"]
    marks = [mark for mark in figure.marks if mark.told.startswith("random:k=4, ideal: ")]
    for result, mark, axes in zip(own, marks, figure.axes, strict=True):
        box = axes.get_position()
        low, high = np.log2(axes.get_xlim())
        across = (np.log2(result.tokens_per_step) - low) / (high - low)
        up = (100 * result.accuracy + 3) / 106  # the axis goes from -3 to 103
        assert mark.x == pytest.approx(box.x0 + across * box.width, abs=1e-3)
        assert mark.y == pytest.approx(1 - (box.y0 + up * box.height), abs=1e-3)
        assert f"{100 * result.accuracy:.1f} % right" in mark.told
        assert "4.00 tokens per step (3.90\N{EN DASH}4.10), 8.0 model calls" in mark.told


def test_what_was_not_measured_is_not_drawn(make_result):
    results = [make_result(), make_result("random:k=2", right=None)]
    (axes,) = task_figure(results, curves_of(results)).axes
    assert [bars.get_label() for bars in axes.containers] == ["confidence:k=2"]


def test_a_task_without_a_marked_decode_says_so(make_result):
    results = [make_result(right=None)]
    figure = task_figure(results, curves_of(results))
    assert "ideal; nothing is marked" in [text.get_text() for text in figure.texts]
    assert not figure.legends


def test_an_oracle_is_dashed_and_hollow(make_result):
    results = [make_result(oracle=True)]
    line = task_figure(results, curves_of(results)).axes[0].containers[0].lines[0]
    assert line.get_linestyle() == "--"
    assert line.get_markerfacecolor() == "none"


def test_the_ideal_model_stands_dotted_behind_another_model(make_result):
    own = [make_result(f"random:k={k}", model="mini", right=80 - k, speed=float(k)) for k in (1, 4)]
    ideal = [make_result(f"random:k={k}", right=95 - k, speed=float(k)) for k in (1, 4)]
    curves = curves_of([*own, *ideal])
    (axes,) = task_figure(own, curves, ideal).axes
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata().tolist() for line in dotted] == [[94, 91]]
    assert to_hex(dotted[0].get_color()) == looks(axes)["random, varying k"][0]
    assert "dotted: ideal" in " ".join(
        text.get_text() for text in task_figure(own, curves, ideal).texts
    )


def of_models(make_result, decoders, models=("mini", "hf:ONE", "hf:OTHER")):
    return [
        make_result(f"{decoder}:k={k}", model=model, right=90 - 9 * place - k, speed=float(k))
        for decoder in decoders
        for place, model in enumerate(models)
        for k in (1, 4)
    ]


def test_models_in_one_figure_differ_in_line_and_marker_and_decoders_in_colour(make_result):
    results = of_models(make_result, ["random", "confidence"])
    figure = overlay_figure(results, curves_of(results), "choices/city")
    (axes,) = figure.axes
    drawn = {bars.get_label(): bars.lines[0] for bars in axes.containers}
    assert len(drawn) == 6
    for part, wanted in ((0, 3), (1, 2)):
        groups = {}
        for label, line in drawn.items():
            groups.setdefault(label.split(": ")[part], []).append(line)
        assert len(groups) == wanted
        for lines in groups.values():
            markers = {line.get_marker() for line in lines}
            dashes = {str(line._dash_pattern) for line in lines}
            colours = {line.get_color() for line in lines}
            found = (len(markers), len(dashes), len(colours))
            assert found == ((1, 1, 2) if part == 0 else (3, 3, 1))
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["random, varying k", "confidence, varying k", "mini", "hf:ONE", "hf:OTHER"]
    assert figure.get_figwidth() == pytest.approx(COLUMN)


def test_with_more_decoders_than_colours_each_has_a_panel(make_result):
    results = of_models(make_result, [f"strategy_{number}" for number in range(9)])
    ideal = [dataclasses.replace(result, model="ideal") for result in results[::3]]
    figure = overlay_figure(results, curves_of(results), "choices/city", ideal)
    assert [axes.get_title(loc="left") for axes in figure.axes][:2] == [
        "strategy_0, varying k",
        "strategy_1, varying k",
    ]
    for axes in figure.axes:
        assert len(axes.containers) == 3
        assert len(set(looks(axes).values())) == 3
        assert sum(line.get_linestyle() == ":" for line in axes.lines) == 1


def test_a_server_s_figure_says_why_it_is_empty(make_result):
    results = [make_result(tokens_per_step=None)]
    words = [text.get_text() for text in task_figure(results, curves_of(results)).texts]
    assert "ideal; no point: a server shows no steps" in words


def test_letters_are_large_enough_for_a_column(figures):
    for figure in figures.values():
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
        assert min(sizes) >= 6  # points, in the width in which it is printed


def test_the_same_results_give_the_same_bytes(sweep, curves):
    assert images(overview_figure(sweep, curves)) == images(overview_figure(sweep, curves))


def test_the_dark_form_keeps_no_light_ink_and_draws_the_same(figures):
    drawn = images(figures["task"])
    assert b"#1f2430" in drawn.light
    assert b"#1f2430" not in drawn.dark
    colour = re.compile(rb"#[0-9a-f]{6}")
    assert colour.sub(b"", drawn.light) == colour.sub(b"", drawn.dark)
    assert b"prefers-color-scheme" in drawn.either
    assert b"prefers-color-scheme" not in drawn.light


def test_a_reader_s_own_settings_change_no_figure(sweep, curves):
    before = images(overview_figure(sweep, curves))
    with rc_context({"font.size": 30, "axes.grid": False, "lines.linewidth": 9}):
        assert images(overview_figure(sweep, curves)) == before


def test_a_label_with_dollar_signs_is_shown_as_it_stands(make_result):
    results = [make_result("a$b^$:k=2", task="cost$/x_$")]
    assert images(task_figure(results, curves_of(results))).light


def test_the_fastest_strategy_stands_on_top_and_one_that_is_not_fast_enough_says_so():
    reached = SpeedEstimate(4.0, Interval(3.0, 5.0), reached=1.0, samples=9)
    faster = SpeedEstimate(8.0, None, reached=1.0, samples=9)
    never = SpeedEstimate(None, None, reached=0.0, samples=9)
    standings = [
        StrategySpeed("slow", reached, oracle=False),
        StrategySpeed("never", never, oracle=False),
        StrategySpeed("told", faster, oracle=True),
    ]
    (axes,) = speeds_figure(standings, "speed", "of three").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["never", "slow", "told"]
    assert [text.get_text() for text in axes.texts] == [" not reached"]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in points] == [4.0, 8.0]
    assert [line.get_markerfacecolor() == "none" for line in points] == [False, True]
