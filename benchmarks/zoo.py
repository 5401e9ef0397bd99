"""The whole zoo: every strategy and oracle on tasks with known answers; docs/zoo.md.

    python benchmarks/zoo.py

decodes every task whose law is known with the ideal model, by every strategy that needs no more
than predictions, each under its default grid.  It may be interrupted; what is decoded is kept
under ``runs/zoo``.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mini import table, write
from smoke import add_smoke_option, workplace

from parallelbench import evaluate
from parallelbench.analysis.figures.plots import StrategySpeed, images, speeds_figure
from parallelbench.analysis.measures.cells import number, range_if_reached
from parallelbench.analysis.measures.speed import speed_at
from parallelbench.analysis.measures.sweep import sweep_of
from parallelbench.record import Record
from parallelbench.run.cluster import on_ray
from parallelbench.run.runner import Executor, local

PAGE = Path("docs/zoo.md")
TASKS = "waiting_line/*,list_operations/*,choices/*,puzzles/*"
ACCURACY = 0.99


def standings(records: Iterable[Record]) -> list[StrategySpeed]:
    """Return every strategy's speed, the fastest first; what does not reach the accuracy last."""
    strategies: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        strategies[record.decoder.name].append(record)
    found = [
        StrategySpeed(name, speed_at(ACCURACY, sweep_of(own)), own[0].decoder.oracle)
        for name, own in strategies.items()
    ]
    return sorted(found, key=lambda each: -(each.speed.value or 0.0))


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description="Run every strategy on the ideal model.")
    parser.add_argument("--samples", type=int, default=20, help="samples of each task")
    add_smoke_option(parser)
    options = parser.parse_args()
    with workplace(smoke=options.smoke):
        measure(
            tasks="choices/city" if options.smoke else TASKS,
            samples=1 if options.smoke else options.samples,
            executor=local if options.smoke else on_ray(),
        )


def measure(tasks: str, samples: int, executor: Executor) -> None:
    """Decode, and write the figure and the table.

    Args:
        tasks: Tasks to decode.
        samples: Samples of each task.
        executor: Executor of the decodes.
    """
    done = evaluate(
        model="ideal",
        tasks=tasks,
        decoders="*:*",
        samples=samples,
        out=Path("runs/zoo"),
        executor=executor,
    )
    ranked = standings(done.records)
    count, settings = len(done.runfile.tasks), len({each.decoder_label for each in done.records})
    told = f"ideal; {count} tasks, {samples} samples each, {settings} settings; 95 % intervals"
    title = f"speed at {ACCURACY:.0%} accuracy; hollow: told the right answers"
    drawn = images(speeds_figure(ranked, title, told))
    PAGE.with_suffix(".svg").write_bytes(drawn.light)
    PAGE.with_name("zoo-dark.svg").write_bytes(drawn.dark)
    lines = [
        [
            f"`{each.label}`" + (" (oracle)" if each.oracle else ""),
            number(each.speed.value),
            "\N{EN DASH}"
            if each.speed.value is None
            else range_if_reached(each.speed.interval, each.speed.reached, round(100 * ACCURACY)),
        ]
        for each in ranked
    ]
    speeds = f"{told}.\n\n" + table(["strategy", "tokens per step", "interval"], lines)
    write(PAGE, "speeds", speeds)
    print(speeds)


if __name__ == "__main__":
    main()
