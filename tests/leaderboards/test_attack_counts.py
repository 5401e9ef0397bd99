"""The table of attacks in docs/leaderboard.md counts what the tests carry out."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The rows of the table, and the files of their tests.
TOPICS = {
    "records, files and figures": ["leaderboards/test_attacks.py"],
    "settings, schedules and statements": ["leaderboards/test_attacks_on_settings.py"],
    "tokenizers and chat templates": ["leaderboards/test_attacks_on_codecs.py"],
    "speed and ranks": ["leaderboards/test_attacks_on_speed.py"],
    "other entries, names and the board's own words": ["leaderboards/test_attacks_on_others.py"],
    "the checking process": ["leaderboards/test_attacks_on_the_checker.py"],
    "decoding again": ["leaderboards/test_redecode.py"],
    "pull requests": ["leaderboards/test_pull_request_check.py"],
    "servers that are slow, endless or repeat a key": ["models/test_api_slow_servers.py"],
}
OUTCOMES = ("refused", "marked", "harmless")
#: Prints the file and the outcome of each attack; pytest cannot collect within itself.
COLLECT = """
import sys
import pytest

class Attacks:
    def pytest_collection_finish(self, session):
        for item in session.items:
            for mark in item.iter_markers("attack"):
                print("attack", item.path.name, *mark.args, sep="|")

# Shapes need no check where nothing runs.
options = ["--collect-only", "-q", "-p", "no:cacheprovider"]
unchecked = ["-o", "addopts=--import-mode=importlib"]
sys.exit(pytest.main([*options, *unchecked, *sys.argv[1:]], [Attacks()]))
"""


def test_the_docs_count_the_attacks_of_the_tests():
    files = [str(ROOT / "tests" / file) for own in TOPICS.values() for file in own]
    command = [sys.executable, "-c", COLLECT, *files]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    lines = [line.split("|") for line in done.stdout.splitlines() if line.startswith("attack|")]
    counts = Counter((file, outcome) for _, file, outcome in lines)
    assert {outcome for _, outcome in counts} == set(OUTCOMES)
    page = (ROOT / "docs" / "leaderboard.md").read_text("utf-8")
    rows = {
        topic: [_count(counts, own, each) for each in OUTCOMES] for topic, own in TOPICS.items()
    }
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for topic, own in rows.items():
        assert f"| {topic} | {sum(own)} | {' | '.join(map(str, own))} |\n" in page


def _count(counts, files, outcome):
    return sum(counts[Path(file).name, outcome] for file in files)
