"""The entries that ship with the board hold what they claim."""

from pathlib import Path

import pytest

from parallelbench.leaderboards.verify import verify_folder

BOARD = Path(__file__).parents[2] / "leaderboards" / "submissions"
SHIPPED = {
    "ideal": ("ideal", "practice"),
    "ideal-2026-1": ("ideal", "2026-1"),
    "mini": ("mini", "practice"),
    "mini-2026-1": ("mini", "2026-1"),
}


def test_no_entry_ships_without_being_checked():
    assert {each.name for each in BOARD.iterdir() if each.is_dir()} == SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_entry_holds_what_it_claims(name):
    model, season = SHIPPED[name]
    entry = verify_folder(BOARD / name)
    assert entry.submission.season == season
    assert {record.model for record in entry.records} == {model}
    assert any(record.oracle for record in entry.records)
    assert {record.decoder for record in entry.records} > {"one_by_one", "confidence"}
