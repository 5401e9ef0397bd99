"""Records lost, doubled or different after `kill -9` at random moments of a run.

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
import itertools
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from smoke import add_smoke_option

from parallelbench.leaderboards.board.board import add, read_board
from parallelbench.leaderboards.commands.packing import Statement, pack
from parallelbench.leaderboards.entry.season import season
from parallelbench.leaderboards.verify.verification import verified
from parallelbench.run.merge import merge, record_digest
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile, make_runfile
from parallelbench.run.runner import run
from parallelbench.run.shard import Shard

Work: TypeAlias = Callable[[], object]

FORK = multiprocessing.get_context("fork")
DECODERS = "one_by_one,confidence:k=2|4|8,confidence_threshold:threshold=0.7|0.9,random:k=8"
STATEMENT = Statement(submitter="us")
#: Folder of the run that is never killed.
PEACE = Path("undisturbed")
#: Most kills of one run.
MOST = 4


class Killer:
    """Starts work and kills it at random.

    Attributes:
        left: Number of kills still to be made.
        made: Number of kills by kind of work.
        missed: Work that ended before it could be killed.
    """

    def __init__(self, kills: int, seed: int) -> None:
        self.left = kills
        self.made: Counter[str] = Counter()
        self.missed = 0
        self._random = random.Random(seed)  # noqa: S311  not for secrets
        self._seconds: dict[str, float] = {}

    def time(self, kind: str, work: Work) -> None:
        """Do some work without a kill, to measure its time."""
        work()  # fills caches that later processes inherit
        began = time.perf_counter()
        _end(_start(work), kind)
        self._seconds[kind] = time.perf_counter() - began

    def disturb(self, kind: str, work: Work, makes: Path | None = None) -> None:
        """Kill some work up to MOST times, start it again each time, and let it end at last.

        Args:
            kind: Kind of work, as timed before.
            work: The work.
            makes: A folder that appears when all is done, after which it is not started again.
        """
        for _ in range(min(self.left, self._random.randint(1, MOST))):
            if makes is not None and makes.exists():
                return
            process = _start(work)
            process.join(self._random.uniform(0, self._seconds[kind]))
            if process.exitcode is not None:
                self.missed += 1
                _end(process, kind)
                continue
            process.kill()
            process.join()
            self.left -= 1
            self.made[kind] += 1
        if makes is None or not makes.exists():
            _end(_start(work), kind)


def _start(work: Work) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=work)
    process.start()
    return process


def _end(process: multiprocessing.process.BaseProcess, kind: str) -> None:
    process.join()
    if process.exitcode != 0:
        sys.exit(f"{kind} ended with status {process.exitcode}")


def records(folder: Path) -> Counter[tuple[object, bytes]]:
    """Return every record of a run with its key, as often as it is there."""
    found = RunDirectory.open(folder).records()
    return Counter((record.key, record_digest(record)) for record in found)


def faults(expected: Counter[tuple[object, bytes]], folder: Path) -> Counter[str]:
    """Return the numbers of lost, doubled and different records of a run."""
    found = records(folder)
    keys = Counter(key for key, _ in found.elements())
    wanted = {key for key, _ in expected}
    return +Counter(
        lost=len(wanted - keys.keys()),
        doubled=sum(count - 1 for count in keys.values()),
        different=len(found.keys() - expected.keys()),
    )


def single(killer: Killer, asked: RunFile, place: Path) -> Path:
    """Kill a run in one process; return its folder."""
    killer.disturb("a run", partial(run, asked, place / "run"))
    return place / "run"


def sharded(killer: Killer, asked: RunFile, place: Path) -> Path:
    """Kill two shards and their merging; return the merged folder."""
    parts = [place / "first", place / "second"]
    for number, part in enumerate(parts, start=1):
        killer.disturb("a shard", partial(run, asked, part, shard=Shard(number, 2)))
    killer.disturb("merge", partial(merge, parts, place / "merged"), place / "merged")
    return place / "merged"


def entered(killer: Killer, asked: RunFile, place: Path) -> Path:  # noqa: ARG001  as the others
    """Kill the packing of a run and its adding to a board; return the run's folder."""
    entry, board = place / "entry", place / "board"
    killer.disturb("pack", partial(pack, PEACE, entry, STATEMENT), entry)
    killer.disturb("add", partial(add, entry, board), board / "entry")
    (found,) = read_board(board)
    if [each.key for each in found.records] != [each.key for each in verified(entry).entry.records]:
        sys.exit("the entry on the board is another one")
    return PEACE


def rounds(
    killer: Killer, asked: RunFile, expected: Counter[tuple[object, bytes]]
) -> Iterable[Counter[str]]:
    """Yield the faults of one round after the other, until all kills are made."""
    ways = (single, sharded, entered)
    number = 0
    while killer.left:
        place = Path(f"round-{number}")
        place.mkdir()
        yield faults(expected, ways[number % len(ways)](killer, asked, place))
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
        asked = plan(smoke=options.smoke)
        do_in_peace(killer, asked)
        expected = records(PEACE)
        each_round = list(rounds(killer, asked, expected))
        found = sum(each_round, Counter[str]())
        told = ", ".join(f"{count} of {verb}" for verb, count in sorted(killer.made.items()))
        print(f"{killer.made.total()} kills in {len(each_round)} rounds: {told}")
        print(f"{len(expected):,} records in each run, seed {options.seed}")
        print(f"{killer.missed} commands were done before they could be killed")
        print(", ".join(f"{found[kind]} {kind}" for kind in ("lost", "doubled", "different")))
    sys.exit(1 if found else 0)


def plan(*, smoke: bool) -> RunFile:
    """Return the run file: the samples of a season, so that the run can be entered."""
    of = season("practice")
    content = {
        "models": "ideal",
        "tasks": [task.name for task in of.tasks],
        "decoders": "random:k=32" if smoke else DECODERS,
        "samples": of.samples,
        "seed": of.seed,
    }
    return make_runfile(content)


def do_in_peace(killer: Killer, asked: RunFile) -> None:
    """Do everything undisturbed, each in a new folder each time."""
    numbers = itertools.count()

    def new(name: str) -> Path:
        return Path(f"{name}-{next(numbers)}")

    parts = [Path("first"), Path("second")]
    run(asked, PEACE)
    killer.time("a run", lambda: run(asked, new("run")))
    for number, part in enumerate(parts, start=1):
        run(asked, part, shard=Shard(number, 2))
    killer.time("a shard", lambda: run(asked, new("part"), shard=Shard(1, 2)))
    killer.time("merge", lambda: merge(parts, new("merged")))
    killer.time("pack", lambda: pack(PEACE, new("packed"), STATEMENT))
    pack(PEACE, Path("entry"), STATEMENT)
    killer.time("add", lambda: add(Path("entry"), new("board")))


if __name__ == "__main__":
    main()
