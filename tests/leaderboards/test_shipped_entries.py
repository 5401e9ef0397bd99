"""The entries that ship with the board hold what they claim, as whoever keeps it finds out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from parallelbench.leaderboards.entry.folder import Folder

BOARD = Path(__file__).parents[2] / "leaderboards" / "submissions"
SHIPPED = {
    "ideal": ("ideal", "practice"),
    "ideal-2026-1": ("ideal", "2026-1"),
    "mini": ("mini", "practice"),
    "mini-2026-1": ("mini", "2026-1"),
}


def test_no_entry_ships_without_being_checked():
    assert {each.name for each in BOARD.iterdir() if each.is_dir()} == SHIPPED.keys()


#: All that a verification does but decoding again: the keeper did that, as the check says.
READ = """
import sys; from pathlib import Path
from parallelbench.leaderboards.verify.verification import verified
print(verified(Path(sys.argv[1]), redecode=False).digest)
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_entry_holds_what_it_claims(name):
    model, season = SHIPPED[name]
    # In a process of its own, where shapes are not checked in every call, it takes a third.
    command = [sys.executable, "-c", READ, str(BOARD / name)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    check = json.loads((BOARD / f"{name}.check.json").read_text())
    records = [json.loads(line) for line, _ in Folder.open(BOARD / name).lines()]
    assert check["manifest_sha256"] == done.stdout.strip()
    assert check["records"] == len(records)
    redecoded = check["redecoded"][model]
    assert redecoded["same"] == redecoded["records"]
    if model == "ideal":
        assert (check["level"], redecoded["records"]) == ("reproduced", len(records))
    else:
        assert check["level"] in {"spot-checked", "reproduced"}
        assert redecoded["records"] >= 200
    assert yaml.safe_load((BOARD / name / "submission.yaml").read_text())["season"] == season
    assert {record["model"] for record in records} == {model}
    assert any(record["oracle"] for record in records)
    assert {record["decoder"] for record in records} > {"one_by_one", "confidence"}
