"""The entries that ship with the board hold what they claim, as whoever keeps it finds out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

BOARD = Path(__file__).parents[2] / "leaderboards" / "submissions"
SHIPPED = {
    "ideal": ("ideal", "practice"),
    "ideal-2026-1": ("ideal", "2026-1"),
    "mini": ("mini", "practice"),
    "mini-2026-1": ("mini", "2026-1"),
}


def test_no_entry_ships_without_being_checked():
    assert {each.name for each in BOARD.iterdir() if each.is_dir()} == SHIPPED.keys()


#: Everything that a verification does except decoding again: the keeper did that, as the check
#: says.  Then the records, the figures that follow from them and the board of this entry alone.
READ = """
import hashlib, json, sys
from pathlib import Path
from parallelbench.leaderboards.board import standings
from parallelbench.leaderboards.board.pages import season_data
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.results.result import summarize


def digest_of(content):
    text = json.dumps(rounded(content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rounded(content):
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [rounded(value) for value in content]
    # The last digits of a float depend on the machine.
    return float(f"{content:.6g}") if isinstance(content, float) else content


found = verified(Path(sys.argv[1]), redecode=False)
entry = found.entry
results = [result.as_dict() for result in summarize(entry.records)]
prompts = [prompt.model_dump() for prompt in entry.first_prompts]
standings.RESAMPLES = 500  # a twentieth of the board's take the same way through the code
(board,) = standings.standings([entry])
page = season_data(board, {entry.name: entry.name})
lines = [page["bound"], *page["oracles"]]
print(
    json.dumps(
        {
            "manifest": found.digest,
            "derived": digest_of([entry.level, found.content, prompts, results]),
            "board": digest_of([page["rows"], page["scopes"], [each["scopes"] for each in lines]]),
            "records": len(entry.records),
            "models": sorted({record.model_label for record in entry.records}),
            "decoders": sorted({record.decoder.name for record in entry.records}),
            "has_oracle": any(record.decoder.oracle for record in entry.records),
        }
    )
)
"""

#: Digests of what verification derives from each entry, and of the rows that the board has of it.
DERIVED = {
    "ideal": ("0639fe5f65c574bd", "62dbed190f214019"),
    "ideal-2026-1": ("f405d8ccd7af3ed6", "660595d37cfeb74a"),
    "mini": ("6a6f9fa8f22f214d", "1c01eba87317d810"),
    "mini-2026-1": ("34fb5919a194fd76", "20e0c064e8266b8e"),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_entry_holds_what_it_claims(name):
    model, season = SHIPPED[name]
    # In a process of its own, where shapes are not checked in every call, it takes a third.
    command = [sys.executable, "-c", READ, str(BOARD / name)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    check = json.loads((BOARD / f"{name}.check.json").read_text())
    assert check["manifest_sha256"] == found["manifest"]
    assert check["records"] == found["records"]
    redecoded = check["redecoded"][model]
    assert redecoded["same"] == redecoded["records"]
    if model == "ideal":
        assert (check["level"], redecoded["records"]) == ("reproduced", found["records"])
    else:
        assert check["level"] in {"spot-checked", "reproduced"}
        assert redecoded["records"] >= 200
    assert yaml.safe_load((BOARD / name / "submission.yaml").read_text())["season"] == season
    assert found["models"] == [model]
    assert found["has_oracle"]
    assert set(found["decoders"]) > {"one_by_one", "confidence"}
    assert (found["derived"], found["board"]) == DERIVED[name]
