"""The entries that ship with the board hold what they claim."""

from pathlib import Path

from parallelbench.leaderboards.board import read_board

BOARD = Path(__file__).parents[2] / "leaderboards" / "submissions"


def test_the_shipped_entries_hold_what_they_claim():
    entries = {entry.name: entry for entry in read_board(BOARD)}
    assert set(entries) == {"ideal", "mini"}
    for name, entry in entries.items():
        assert entry.submission.season == "practice"
        assert {record.model for record in entry.records} == {name}
        assert any(record.oracle for record in entry.records)
        assert {record.decoder for record in entry.records} > {"one_by_one", "confidence"}
