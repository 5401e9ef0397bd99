"""Agreement of the grammar engines with the labels of the calibration set; docs/judges.md.

    python benchmarks/engines.py [ENGINE ...]

asks each engine, or all that are installed, about every labelled sentence, and writes what it
judged rightly, kind by kind, into docs/judges.md.  Its rates go into
analysis/judging/data/engines.csv, beside those of other releases: reports correct the pass rates of
runs by them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from mini import write
from smoke import add_smoke_option, workplace

from parallelbench.analysis.judging.calibration_set import SHIPPED
from parallelbench.analysis.judging.engine_calibration import (
    shipped_calibrations,
    written_calibrations,
)
from parallelbench.analysis.judging.verdicts import (
    Item,
    by_kind,
    calibration_of,
    kind_table,
    read_items,
)
from parallelbench.errors import EngineError
from parallelbench.tasks.grammar import ENGINES, open_engine

PAGE = Path("docs/judges.md")
RATES = Path("analysis/judging/data/engines.csv")


def judged(name: str, items: list[Item]) -> dict[str, list[Item]]:
    """Return ``items`` with an engine's verdicts, by its name and release; nothing without it."""
    try:
        engine = open_engine(name)
    except EngineError as error:
        print(f"left out: {error}")
        return {}
    found = engine.problems([item.text or "" for item in items])
    return {
        f"{name} {engine.version}": [
            replace(item, verdict=not each) for item, each in zip(items, found, strict=True)
        ]
    }


def main() -> None:
    """Write the table and the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help="all if none is given")
    add_smoke_option(parser)
    options = parser.parse_args()
    items = read_items(SHIPPED)
    judges: dict[str, list[Item]] = {}
    for name in options.engines or list(ENGINES):
        judges |= judged(name, items[:: 7 if options.smoke else 1])
    content = kind_table(by_kind(judges))
    known = {judge: known.calibration for judge, known in shipped_calibrations().items()}
    known |= {judge: calibration_of(own) for judge, own in judges.items()}
    with workplace(smoke=options.smoke):
        write(PAGE, "engines", content)
        RATES.write_text(written_calibrations(known), encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()
