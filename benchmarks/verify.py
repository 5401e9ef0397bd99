"""Time and memory of verifying an entry of more than 20,000 records.

    python benchmarks/verify.py [--folder FOLDER]

The entry is that of every decoder setting that the ideal model serves, on the samples of the season
``practice``; it is made first, which takes a minute or two, and kept in FOLDER (by default
``runs/verify``), where the next start finds it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from smoke import add_smoke_option, workplace

from parallelbench.leaderboards.commands.packing import Statement, pack
from parallelbench.leaderboards.entry.season import season
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run

VERIFY = """
import json, sys
from pathlib import Path
from parallelbench.leaderboards.verify.verification import verified
print(len(verified(Path(sys.argv[1]), redecode=json.loads(sys.argv[2])).entry.records))
"""
DECODERS = ["*:*", "one_by_one", "confidence:k=2|4|8"]


def make(place: Path, decoders: list[str]) -> None:
    """Decode the entry and pack it."""
    of = season("practice")
    content = {
        "models": "ideal",
        "tasks": [{"name": task.name, "fields": dict(task.fields)} for task in of.tasks],
        "decoders": decoders,
        "samples": of.samples,
        "seed": of.seed,
    }
    run(make_runfile(content), place / "run")
    pack(place / "run", place / "entry", Statement(submitter="benchmark"))


def main() -> None:
    """Make the entry if there is none, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/verify"))
    add_smoke_option(parser)
    options = parser.parse_args()
    with workplace(smoke=options.smoke):
        entry = options.folder / "entry"
        if options.smoke:
            make(options.folder, ["one_by_one"])
        elif not entry.exists():
            make(options.folder, DECODERS)
            # Linux counts the memory of whoever starts a process as that process's own.
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606  itself
        measure(entry)


def measure(entry: Path) -> None:
    """Verify in processes of their own, without and with decoding again, and print the costs."""
    size = sum(file.stat().st_size for file in entry.iterdir())
    for how, redecode in (("without decoding again", False), ("with", True)):
        # -P: a folder here may be called parallelbench
        command = [sys.executable, "-P", "-c", VERIFY, str(entry), json.dumps(redecode)]
        began = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  our own
        seconds = time.perf_counter() - began
        records = int(done.stdout)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{how}: {records:,} records of {size / records:.0f} bytes each")
        print(f"{seconds:.1f} s, {records / seconds:,.0f} records a second, {peak:.0f} MiB at most")


if __name__ == "__main__":
    main()
