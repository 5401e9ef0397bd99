"""What mini can do: the figures of its model card.

    python benchmarks/mini.py

decodes 400 samples of every task one by one, and of some tasks in parallel, on every core.
Both tables, and how mini was trained, go into ``parallelbench/models/data/mini/README.md``;
into ``README.md`` goes a sample that two tokens a step spoil.  It may be interrupted; what
is decoded is kept under ``runs/mini``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from parallelbench import evaluate
from parallelbench.cluster import on_ray
from parallelbench.models.mini import FOLDER
from parallelbench.record import Record
from parallelbench.results import Result
from parallelbench.runner import draw
from parallelbench.setting import build
from parallelbench.task import TASKS

CARD = FOLDER / "README.md"
WEIGHTS = "model.safetensors"
#: Samples that are looked through for the replay.
REPLAYED = 50
RUNS = Path("runs/mini")
ALL_TASKS = "waiting_line/*,list_operations/*,choices/*,puzzles/*"
#: One token a step.
ORDERS = {"one_by_one": "surest first", "left_to_right:k=1": "left to right"}
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


def one_by_one(samples: int) -> str:
    """Return what mini reaches when it writes one token at a time, in two orders."""
    done = evaluate(
        model="mini",
        tasks=ALL_TASKS,
        decoders=list(ORDERS),
        samples=samples,
        out=RUNS / "one_by_one",
        executor=on_ray(),
    )
    found = {(each.task_label, each.decoder_label): each for each in done.results}
    tasks = dict.fromkeys(each.task_label for each in done.results)
    return table(
        ["task", "samples", *(f"{order}, right in % (95 % interval)" for order in ORDERS.values())],
        (
            [f"`{task}`", str(samples), *(percent(found[task, decoder]) for decoder in ORDERS)]
            for task in tasks
        ),
    )


def in_parallel(samples: int) -> str:
    """Return how accuracy falls with the number of tokens a step."""
    done = evaluate(
        model="mini",
        tasks=list(PARALLEL_TASKS),
        decoders=list(PARALLEL_DECODERS),
        samples=samples,
        out=RUNS / "parallel",
        executor=on_ray(),
    )
    found = {(each.task_label, each.decoder_label): each for each in done.results}
    head = ["task", "samples", *(f"`{decoder}`" for decoder in PARALLEL_DECODERS)]
    return table(
        head,
        (
            [
                f"`{task}`",
                str(samples),
                *(f"{100 * (found[task, each].accuracy or 0):.1f}" for each in PARALLEL_DECODERS),
            ]
            for task in PARALLEL_TASKS
        ),
    )


def training(_: int) -> str:
    """Return how mini was trained, as its two trainings noted it."""
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


def replay(_: int) -> str:
    """Return the first sample in which two tokens a step glue the names of two people.

    One token a step must get the same sample right.
    """
    done = evaluate(
        model="mini",
        tasks="waiting_line/shuffle:length=3",
        decoders=["left_to_right:k=1", "left_to_right:k=2"],
        samples=REPLAYED,
    )
    of = {(each.index, each.decoder_fields["k"]): each for each in done.records}
    for index in range(REPLAYED):
        right, wrong = of[index, 1], of[index, 2]
        task = build(done.runfile.tasks[0], TASKS)
        asked = draw(task, done.runfile.seed, index).messages[-1].content
        line = re.search(r"\[.*\]", asked)[0]
        people = line.strip("[]").split(", ")
        glued = [each for each in wrong.text.strip("[]").split(", ") if each not in people]
        # Nobody was left out or named twice: the two halves of names were just mixed up.
        whole = sorted(re.findall(r"\w+", wrong.text)) == sorted(re.findall(r"\w+", line))
        if right.marks.lenient == 1 and glued and whole:
            return "\n".join(
                [
                    "```text",
                    f"asked to shuffle   {line}",
                    "",
                    "one token a step",
                    *steps(right),
                    f"    in the end {right.text}",
                    "",
                    "two tokens a step",
                    *steps(wrong),
                    f"    in the end {wrong.text}",
                    f"    nobody is called {' or '.join(glued)}",
                    "```",
                ]
            )
    raise SystemExit(f"two tokens a step glued no names in {REPLAYED} samples")


def steps(record: Record) -> Iterator[str]:
    """Yield the canvas after each step in which a name was written."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    canvas = [record.mask_id] * len(record.output_ids)
    for number, (positions, ids) in enumerate(
        zip(record.trace.positions, record.trace.ids, strict=True), start=1
    ):
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
        names = [word for word in map(tokenizer.id_to_token, ids) if word.isalpha()]
        if names:
            text = tokenizer.decode(canvas, skip_special_tokens=False)
            shown = text.replace("<|endoftext|>", "").replace("<|mask|>", "____").strip()
            shown = re.sub(r"( ____)+$", " ____ ...", shown)
            yield f"    step {number:2}    {shown:52} + {', '.join(names)}"


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
    parser.add_argument("--samples", type=int, default=400, help="of each task")
    samples: int = parser.parse_args().samples
    parts = {
        "training": (CARD, training),
        "replay": (Path("README.md"), replay),
        "one by one": (CARD, one_by_one),
        "in parallel": (CARD, in_parallel),
    }
    for name, (file, measure) in parts.items():
        content = measure(samples)
        write(file, name, content)
        print(f"{file}, {name}:\n{content}\n")


if __name__ == "__main__":
    main()
