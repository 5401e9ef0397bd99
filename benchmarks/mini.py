"""The figures of mini's model card.

    python benchmarks/mini.py

decodes 400 samples of every task one by one, and of some tasks in parallel, on every core.
Both tables, and how mini was trained, go into ``parallelbench/models/data/mini/README.md``.  It
may be interrupted; what is decoded is kept under ``runs/mini``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from smoke import add_smoke_option, workplace

from parallelbench import evaluate
from parallelbench.models.mini import FOLDER
from parallelbench.results.result import Result
from parallelbench.run.cluster import on_ray
from parallelbench.run.runner import Executor, local

CARD = Path("parallelbench/models/data/mini/README.md")
WEIGHTS = "model.safetensors"
RUNS = Path("runs/mini")
ALL_TASKS = "waiting_line/*,list_operations/*,choices/*,puzzles/*"
#: Decoders of one token per step.
ORDERS = {"one_by_one": "most confident first", "left_to_right:k=1": "left to right"}
#: Without dependence, then with more and more of it.
PARALLEL_TASKS = (
    "waiting_line/copy",
    "waiting_line/reverse",
    "choices/dice",
    "waiting_line/remove_random",
    "waiting_line/insert_random",
    "waiting_line/replace_random",
    "waiting_line/shuffle",
)
PARALLEL_DECODERS = (
    "one_by_one",
    *(f"{r}:k={k}" for r in ("confidence", "random") for k in (2, 4, 8, 32)),
)


def percent(result: Result) -> str:
    """Return accuracy and interval, in per cent."""
    if result.accuracy is None or result.interval is None:
        return "none"
    low, high = (100 * bound for bound in result.interval)
    return f"{100 * result.accuracy:.1f} ({low:.1f} to {high:.1f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Scale(NamedTuple):
    """Size of the benchmark.

    Attributes:
        samples: Samples of each task.
        tasks: Tasks that are decoded one by one.
        parallel_tasks: Tasks that are decoded in parallel too.
        executor: Executor of the decodes.
    """

    samples: int
    tasks: str
    parallel_tasks: Sequence[str]
    executor: Executor


def one_by_one(scale: Scale) -> str:
    """Return the table of mini's accuracy at one token per step, in two orders."""
    done = evaluate(
        model="mini",
        tasks=scale.tasks,
        decoders=list(ORDERS),
        samples=scale.samples,
        out=RUNS / "one_by_one",
        executor=scale.executor,
    )
    found = {(each.task_label, each.decoder_label): each for each in done.results}
    tasks = dict.fromkeys(each.task_label for each in done.results)
    return table(
        ["task", "samples", *(f"{order}, right in % (95 % interval)" for order in ORDERS.values())],
        (
            [
                f"`{task}`",
                str(scale.samples),
                *(percent(found[task, decoder]) for decoder in ORDERS),
            ]
            for task in tasks
        ),
    )


def in_parallel(scale: Scale) -> str:
    """Return the table of accuracy by tokens per step."""
    done = evaluate(
        model="mini",
        tasks=list(scale.parallel_tasks),
        decoders=list(PARALLEL_DECODERS),
        samples=scale.samples,
        out=RUNS / "parallel",
        executor=scale.executor,
    )
    found = {(each.task_label, each.decoder_label): each for each in done.results}
    head = ["task", "samples", *(f"`{decoder}`" for decoder in PARALLEL_DECODERS)]
    return table(
        head,
        (
            [
                f"`{task}`",
                str(scale.samples),
                *(f"{100 * (found[task, each].accuracy or 0):.1f}" for each in PARALLEL_DECODERS),
            ]
            for task in scale.parallel_tasks
        ),
    )


def training(_: Scale) -> str:
    """Return the table of mini's two trainings, from their logs."""
    first, second = (_noted(FOLDER / name) for name in ("training-first.json", "training.json"))
    rows = [(name, first[name], second[name]) for name in first]
    digest = sha256((FOLDER / WEIGHTS).read_bytes()).hexdigest()
    return table(["", "first", "second"], rows) + f"\n\nSHA-256 of the weights: `{digest}`"


def _noted(file: Path) -> dict[str, str]:
    told: dict[str, Any] = json.loads(file.read_text())
    plan, where = told["plan"], told["environments"]
    threads = sorted({each["torch_threads"] for each in where})
    return {
        "parameters": f"{told['parameters']:,}",
        "steps": f"{told['step']:,} of {plan['steps']:,}, {plan['batch_size']} samples each",
        "samples": f"{told['samples']:,}",
        "hours": f"{told['seconds'] / 3600:.2f}, started {len(where)} times",
        "machine": f"{where[0]['cores']} shared cores ({where[0]['machine']}), no accelerator",
        "threads": ", ".join(map(str, threads)),
        "seed": str(plan["seed"]),
        "torch": where[-1]["packages"]["torch"],
        "transformers": where[-1]["packages"]["transformers"],
    }


def write(card: Path, name: str, content: str) -> None:
    """Put ``content`` between the marks called ``name`` in the file ``card``."""
    text = card.read_text()
    marks = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    new, count = re.subn(
        marks, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{card} has no part called {name!r}")
    card.write_text(new)


def main() -> None:
    """Write all that is measured."""
    parser = argparse.ArgumentParser(description="Measure mini and write its model card.")
    parser.add_argument("--samples", type=int, default=400, help="samples of each task")
    add_smoke_option(parser)
    options = parser.parse_args()
    scale = Scale(options.samples, ALL_TASKS, PARALLEL_TASKS, on_ray())
    if options.smoke:
        scale = Scale(2, "choices/city", ("choices/dice",), local)
    parts = {
        "training": (CARD, training),
        "one by one": (CARD, one_by_one),
        "in parallel": (CARD, in_parallel),
    }
    with workplace(smoke=options.smoke):
        for name, (file, measure) in parts.items():
            content = measure(scale)
            write(file, name, content)
            print(f"{file}, {name}:\n{content}\n")


if __name__ == "__main__":
    main()
