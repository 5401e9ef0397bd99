"""The map of the tasks and the speed limits: what they claim, and that they can be read."""

import csv
import json

import pytest

from parallelbench.analysis.figures import landscape
from parallelbench.analysis.figures.pictures import write_picture
from parallelbench.cli.program import main
from parallelbench.errors import StorageError


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(
        landscape, "MAPPED", ("choices/city", "choices/dice:rolls=2", "waiting_line/*:length=3")
    )
    monkeypatch.setattr(landscape, "_MEASURED_LENGTHS", (3,))
    monkeypatch.setattr(landscape, "_SAMPLES", 12)


def test_dice_are_uncertain_and_independent_and_copying_is_neither(small):
    places = {place.task.partition(":")[0]: place for place in landscape.dependence_map()}
    dice, city = places["choices/dice"], places["choices/city"]
    assert (dice.entropy_bits, dice.steps) == (pytest.approx(5.17, abs=0.01), 1)
    assert dice.total_correlation_bits == pytest.approx(0)
    assert (city.entropy_bits, city.total_correlation_bits, city.steps) == pytest.approx((2, 1, 2))
    copied = places["waiting_line/copy"]
    assert (copied.entropy_bits, copied.total_correlation_bits, copied.steps) == (0, 0, 1)


def test_no_decoder_needs_fewer_steps_than_the_limit_and_none_more_than_one_by_one(small):
    rows = landscape.speed_limits()
    known = {(row.task, row.n, row.kind): row.steps for row in rows if row.count is None}
    for (task, n, kind), steps in known.items():
        assert kind in ("best policy", "one by one")
        assert known[task, n, "best policy"] <= steps
    measured = [row for row in rows if row.count is not None]
    assert {row.task for row in measured} == set(landscape.LIMITED)
    for row in measured:
        error = 2 * (row.high - row.steps)
        assert row.steps + error >= known[row.task, row.n, "best policy"]
        assert row.steps - error <= known[row.task, row.n, "one by one"]


def test_inserting_takes_about_log_n_steps_and_shuffling_n():
    insert, _ = landscape.LIMITED["insert_random"]
    shuffle, _ = landscape.LIMITED["shuffle"]
    assert insert(63) == pytest.approx(5.73, abs=0.3)
    assert shuffle(63) == 63


def test_every_mark_of_the_map_has_a_name_that_covers_no_other(small):
    places = landscape.dependence_map()
    figure = landscape.map_figure(places)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    uncertain = [place for place in places if place.entropy_bits > 0]
    assert len(boxes) == len(uncertain) + 1  # the tasks with one answer share a label
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


@pytest.mark.parametrize("what", ["map", "speed_limits"])
def test_the_verb_writes_a_picture_for_light_and_dark_and_its_data(small, what, tmp_path, capsys):
    assert main(["bounds", "--figure", what, "--out", str(tmp_path / "f"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    files = {file.name for file in (tmp_path / "f").iterdir()}
    assert files == {f"{what}{end}" for end in (".csv", ".png", ".svg", "-dark.svg")}
    # Black would not be seen on a dark page.
    assert "#000000" not in (tmp_path / "f" / f"{what}-dark.svg").read_text(encoding="utf-8")
    with (tmp_path / "f" / f"{what}.csv").open() as data:
        rows = list(csv.DictReader(data))
    assert [row["task"] for row in rows] == [row["task"] for row in told]


def test_a_folder_that_cannot_be_written_is_refused(small, tmp_path):
    (tmp_path / "file").write_text("")
    places = landscape.dependence_map()
    with pytest.raises(StorageError, match="map cannot be written into"):
        write_picture("map", places, landscape.map_figure(places), tmp_path / "file" / "below")


def test_one_question_at_a_time(capsys):
    assert main(["bounds", "--figure", "map", "--paper", "table1"]) == 2
    assert "one of --task, --paper and --figure" in capsys.readouterr().err
