"""What `kill -9` at random moments costs a run: whether anything is lost, doubled or different.

    python benchmarks/kill.py [--kills 100] [--seed 0]

A small run is killed at random moments, also while it resumes, until it was killed a few times,
and then left to end; in turn as one process, as two shards whose merging is killed as well, and as
a run whose packing into an entry, and whose adding to a board, are killed.  Each time the records
are compared with those of a run that nobody disturbed: every decode must be there once and be the
same but for its seconds, and an entry must be on the board whole.  The exit status is 1 if not.

Processes are forked from this one, which has loaded everything, so that a kill hits the work and
not the start of Python.  SIGKILL leaves what was handed to the operating system; it says nothing of
a power cut.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from smoke import add_smoke_option

from parallelbench.cli import main as parallelbench
from parallelbench.leaderboards.board import read_board
from parallelbench.leaderboards.season import season
from parallelbench.leaderboards.verify import verified
from parallelbench.merge import digest_of
from parallelbench.rundir import RunDirectory

FORK = multiprocessing.get_context("fork")
DECODERS = "one_by_one,confidence:k=2|4|8,confidence_threshold:threshold=0.7|0.9,random:k=8"
PACK = ("leaderboard", "pack", "--submitter", "us")
ADD = ("leaderboard", "add")
#: Times that one run is killed, at most.
MOST = 4


class Killer:
    """Starts commands and kills them at random.

    Attributes:
        left: How many kills are still to be made.
        made: Kills by the verb that they ended.
        missed: Commands that ended before they could be killed.
    """

    def __init__(self, kills: int, seed: int) -> None:
        self.left = kills
        self.made: Counter[str] = Counter()
        self.missed = 0
        self._random = random.Random(seed)  # noqa: S311  not for secrets
        self._seconds: dict[str, float] = {}

    def time(self, *command: str) -> None:
        """Run a command undisturbed, to learn how long its like take."""
        began = time.perf_counter()
        self._end(_start(command), command)
        self._seconds[_kind(command)] = time.perf_counter() - began

    def disturb(self, *command: str, makes: Path | None = None) -> None:
        """Kill a command up to MOST times, start it again each time, and let it end at last.

        Args:
            command: What is typed behind ``parallelbench``.
            makes: A folder that appears when all is done, after which it is not started again.
        """
        for _ in range(min(self.left, self._random.randint(1, MOST))):
            if makes is not None and makes.exists():
                return
            process = _start(command)
            process.join(self._random.uniform(0, self._seconds[_kind(command)]))
            if process.exitcode is not None:
                self.missed += 1
                self._end(process, command)
                continue
            process.kill()
            process.join()
            self.left -= 1
            self.made[_kind(command)] += 1
        if makes is None or not makes.exists():
            self._end(_start(command), command)

    def _end(self, process: multiprocessing.process.BaseProcess, command: Sequence[str]) -> None:
        process.join()
        if process.exitcode != 0:
            sys.exit(f"`parallelbench {' '.join(command)}` ended with status {process.exitcode}")


def _kind(command: Sequence[str]) -> str:
    """Return the verb of a command, and whether it does only a part."""
    verb = command[1] if command[0] == "leaderboard" else command[0]
    return f"{verb} of a shard" if "--shard" in command else verb


def _start(command: Sequence[str]) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=_work, args=(command,))
    process.start()
    return process


def _work(command: Sequence[str]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    os.environ["XDG_CACHE_HOME"] = str(Path.cwd())  # what was verified here is nobody's finding
    sys.exit(parallelbench(command))


def records(folder: Path) -> Counter[tuple[object, bytes]]:
    """Return every record of a run with its key, as often as it is there."""
    found = RunDirectory.open(folder).records()
    return Counter((record.key, digest_of(record)) for record in found)


def faults(expected: Counter[tuple[object, bytes]], folder: Path) -> Counter[str]:
    """Return how many records of a run are lost, doubled or different."""
    found = records(folder)
    keys = Counter(key for key, _ in found.elements())
    wanted = {key for key, _ in expected}
    return +Counter(
        lost=len(wanted - keys.keys()),
        doubled=sum(count - 1 for count in keys.values()),
        different=len(found.keys() - expected.keys()),
    )


def single(killer: Killer, place: Path) -> Path:
    """Kill a run in one process; return its folder."""
    killer.disturb("run", "run.yaml", "--out", str(place / "run"))
    return place / "run"


def sharded(killer: Killer, place: Path) -> Path:
    """Kill two shards and their merging; return the merged folder."""
    parts = [place / "first", place / "second"]
    for number, part in enumerate(parts, start=1):
        killer.disturb("run", "run.yaml", "--shard", f"{number}/2", "--out", str(part))
    merged = place / "merged"
    killer.disturb("merge", *map(str, parts), "--out", str(merged), makes=merged)
    return merged


def entered(killer: Killer, place: Path) -> Path:
    """Kill the packing of a run and its adding to a board; return the run's folder."""
    entry, board = place / "entry", place / "board"
    run = Path("undisturbed")
    killer.disturb(*PACK, str(run), "--out", str(entry), makes=entry)
    killer.disturb(*ADD, str(entry), "--board", str(board), makes=board / "entry")
    (found,) = read_board(board)
    if [each.key for each in found.records] != [each.key for each in verified(entry).entry.records]:
        sys.exit("the entry on the board is another one")
    return run


def rounds(killer: Killer, expected: Counter[tuple[object, bytes]]) -> Iterable[Counter[str]]:
    """Yield the faults of one round after the other, until all kills are made."""
    ways = (single, sharded, entered)
    number = 0
    while killer.left:
        place = Path(f"round-{number}")
        place.mkdir()
        yield faults(expected, ways[number % len(ways)](killer, place))
        number += 1


def main() -> None:
    """Kill, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    add_smoke_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        killer = Killer(6 if options.smoke else options.kills, options.seed)
        expected = undisturbed(killer, smoke=options.smoke)
        each_round = list(rounds(killer, expected))
        found = sum(each_round, Counter[str]())
        told = ", ".join(f"{count} of {verb}" for verb, count in sorted(killer.made.items()))
        print(f"{killer.made.total()} kills in {len(each_round)} rounds: {told}")
        print(f"{len(expected):,} records in each run, seed {options.seed}")
        print(f"{killer.missed} commands were done before they could be killed")
        print(", ".join(f"{found[kind]} {kind}" for kind in ("lost", "doubled", "different")))
    sys.exit(1 if found else 0)


def undisturbed(killer: Killer, *, smoke: bool) -> Counter[tuple[object, bytes]]:
    """Do everything once in peace; return the records."""
    of = season("practice")
    content = {
        "models": "ideal",
        "tasks": [task.name for task in of.tasks],
        "decoders": "random:k=32" if smoke else DECODERS,
        "samples": of.samples,
        "seed": of.seed,
    }
    Path("run.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    killer.time("run", "run.yaml", "--out", "undisturbed")
    for number in (1, 2):
        killer.time("run", "run.yaml", "--shard", f"{number}/2", "--out", f"part-{number}")
    killer.time("merge", "part-1", "part-2", "--out", "merged")
    killer.time(*PACK, "undisturbed", "--out", "entry")
    killer.time(*ADD, "entry", "--board", "board")
    return records(Path("undisturbed"))


if __name__ == "__main__":
    main()
