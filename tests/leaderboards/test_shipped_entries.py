"""The entries that ship with the board hold what they claim, as whoever keeps it finds out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parallelbench.leaderboards.folder import Folder

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
    # In a process of its own, where shapes are not checked in every call, it takes a third.
    command = ["-m", "parallelbench", "leaderboard", "verify", str(BOARD / name), "--json"]
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True)
    (told,) = json.loads(done.stdout)
    records = [json.loads(line) for line, _ in Folder.open(BOARD / name).lines()]
    assert (told["level"], told["season"]) == ("recomputed", season)
    assert told["records"] == len(records)
    assert {record["model"] for record in records} == {model}
    assert any(record["oracle"] for record in records)
    assert {record["decoder"] for record in records} > {"one_by_one", "confidence"}
