"""Accuracy and speed of the pivot strategies: tables and figure of docs/pivot.md.

    python benchmarks/pivot.py

decodes tasks whose tokens depend on each other, and some whose do not, with the exact laws and
with mini, by pivot strategies and by those that they are compared with.  What counts as certain
is chosen for each strategy on samples of its own, and measured on others.  It may be interrupted;
what is decoded is kept under ``runs/pivot``.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mini import percent, table, write
from smoke import add_smoke_option, workplace

from parallelbench import evaluate
from parallelbench.analysis.figures.pictures import write_picture
from parallelbench.analysis.figures.plots import overview_figure
from parallelbench.analysis.measures.curves import curves_of
from parallelbench.evaluation import Evaluation
from parallelbench.results.result import Result, average_over_tasks
from parallelbench.run.cluster import on_ray
from parallelbench.run.runner import Executor, local

PAGE = Path("docs/pivot.md")
RUNS = Path("runs/pivot")
#: The seeds of the samples that settings are chosen on, and of those that are reported.
CHOOSE, REPORT = 1, 0
#: What a strategy must keep of the accuracy one by one.
KEPT = 0.95
DEPENDENT = (
    "waiting_line/shuffle",
    "waiting_line/insert_random",
    "waiting_line/remove_random",
    "waiting_line/replace_random",
    "choices/city",
    "choices/sum",
    "puzzles/latin_square",
)
INDEPENDENT = ("choices/dice", "choices/roster")
#: One token a step, in two orders; the better one is what accuracy is compared with.
ALONE = ("one_by_one", "left_to_right")
ORACLES = ("information", "label")
STRATEGIES = {
    "confidence_threshold": "threshold=0.7|0.9|0.95",
    "entropy_bound": "bound=0.01|0.1|0.5",
    "klass": "threshold=0.7|0.9",
    "info_gain": "",
    "pivot": "certain=0.02|0.05|0.1|0.2",
    "pivot_drafts": "certain=0.02|0.05|0.1|0.2",
    "pivot_gain": "certain=0.02|0.05|0.1|0.2",
}
HOT = ("pivot", "pivot_drafts", "pivot_gain", "entropy_bound")
FIGURE = ("one_by_one", "confidence_threshold", "entropy_bound", "pivot", "pivot_gain", "label")


class Scale(NamedTuple):
    """Size of the benchmark.

    Attributes:
        samples: Samples of each task.
        dependent: Tasks whose tokens depend on each other; means are over these.
        independent: Tasks whose tokens do not.
        executor: Executor of the decodes.
    """

    samples: int
    dependent: Sequence[str]
    independent: Sequence[str]
    executor: Executor

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the order of the tables."""
        return (*self.dependent, *self.independent)


class Measured(NamedTuple):
    """Decodes of one model: results and mean rows by task and decoder, means over tasks."""

    scale: Scale
    results: dict[tuple[str, str], Result]
    rows: dict[tuple[str, str], float]
    means: dict[str, Result]


class Chosen(NamedTuple):
    """One strategy under the setting that was chosen for it."""

    strategy: str
    label: str


def decoders(temperature: int) -> list[str]:
    """Return the decoders to run at a temperature."""
    names = STRATEGIES if temperature == 0 else HOT
    settings = [
        f"{name}:{','.join(filter(None, (STRATEGIES[name], heat(temperature))))}" for name in names
    ]
    settings = [f"{name}:{heat(temperature)}" for name in ALONE] + settings
    return [*settings, *ORACLES] if temperature == 0 else settings


def heat(temperature: int) -> str:
    """Return the field of a temperature; at 0 there is none to write."""
    return f"temperature={temperature}" if temperature else ""


def measured(model: str, temperature: int, seed: int, scale: Scale) -> Measured:
    """Decode all tasks with one model."""
    done: Evaluation = evaluate(
        model=model,
        tasks=",".join(scale.tasks),
        decoders=decoders(temperature),
        samples=scale.samples,
        seed=seed,
        out=RUNS / f"{model}-{temperature}-{seed}",
        executor=scale.executor,
    )
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for record in done.records:
        if record.decoding is not None:
            rows[record.task_label, record.decoder_label].append(record.decoding.counts.rows)
    return Measured(
        scale,
        {(result.task_label, result.decoder_label): result for result in done.results},
        {key: sum(counts) / len(counts) for key, counts in rows.items()},
        {
            mean.decoder_label: mean
            for mean in average_over_tasks(
                [result for result in done.results if result.task_label in scale.dependent]
            )
        },
    )


def chosen(seen: Measured) -> list[Chosen]:
    """Return each strategy's setting: right enough on the most tasks, then with fewest calls."""
    strategies: dict[str, list[Result]] = defaultdict(list)
    for mean in seen.means.values():
        strategies[mean.decoder].append(mean)

    def worth(mean: Result) -> tuple[int, float]:
        kept = sum(keeps(task, mean.decoder_label, seen) for task in seen.scale.dependent)
        return kept, -calls(mean)

    return [
        Chosen(name, max(settings, key=worth).decoder_label)
        for name, settings in strategies.items()
    ]


def keeps(task: str, label: str, seen: Measured) -> bool:
    """Return True if a setting keeps enough of the best accuracy on a task."""
    alone = max(
        accuracy(result)
        for (name, _), result in seen.results.items()
        if name == task and result.decoder in ALONE
    )
    return accuracy(seen.results[task, label]) >= KEPT * alone


def accuracy(result: Result) -> float:
    """Return a result's accuracy; every decode of a benchmark is marked."""
    assert result.accuracy is not None  # noqa: S101
    return result.accuracy


def calls(result: Result) -> float:
    """Return a result's mean model calls."""
    assert result.nfe is not None  # noqa: S101
    return result.nfe


def comparison(picked: Sequence[Chosen], seen: Measured) -> str:
    """Return the table of accuracy in per cent at model calls, rows in brackets."""
    tasks = seen.scale.tasks
    head = ["setting", *map(short, tasks), "mean"]
    lines = []
    for each in picked:
        cells = [
            f"{100 * accuracy(result):.0f} at {calls(result):.1f} ({seen.rows[key]:.0f})"
            for key in ((task, each.label) for task in tasks)
            for result in (seen.results[key],)
        ]
        mean = seen.means[each.label]
        lines.append([f"`{each.label}`", *cells, f"{percent(mean)} at {calls(mean):.2f}"])
    return table(head, lines)


def efficiency(picked: Sequence[Chosen], seen: Measured) -> str:
    """Return calls of the policy that loses nothing over a strategy's, where it is right enough."""
    lines = [
        [f"`{each.label}`", *(share(task, each.label, seen) for task in seen.scale.dependent)]
        for each in picked
        if each.strategy not in (*ALONE, *ORACLES)
    ]
    return table(["setting", *map(short, seen.scale.dependent)], lines)


def share(task: str, label: str, seen: Measured) -> str:
    """Return the calls of `information` over one strategy's; brackets where accuracy is lost."""
    oracle = next(
        result
        for (name, _), result in seen.results.items()
        if name == task and result.decoder == "information"
    )
    value = f"{calls(oracle) / calls(seen.results[task, label]):.2f}"
    return value if keeps(task, label, seen) else f"({value})"


def short(task: str) -> str:
    """Return a task's name without its group."""
    return task.partition("/")[2].replace("_", " ")


def figure(seen: Measured) -> None:
    """Write the figure: accuracy against speed of some strategies, task by task."""
    results = [seen.results[key] for key in seen.results if seen.results[key].decoder in FIGURE]
    results.sort(key=lambda result: seen.scale.tasks.index(result.task_label))
    drawn = overview_figure(results, curves_of(results))
    for file in write_picture("pivot", results, drawn, RUNS / "figure"):
        if file.suffix == ".svg":
            (PAGE.parent / file.name).write_bytes(file.read_bytes())


def main() -> None:
    """Write all that is measured."""
    parser = argparse.ArgumentParser(description="Measure the pivot strategies.")
    parser.add_argument("--samples", type=int, default=100, help="samples of each task")
    add_smoke_option(parser)
    options = parser.parse_args()
    scale = Scale(options.samples, DEPENDENT, INDEPENDENT, on_ray())
    if options.smoke:
        scale = Scale(1, ("choices/city",), ("choices/dice",), local)
    with workplace(smoke=options.smoke):
        models = ("mini",) if options.smoke else ("ideal", "mini")
        for model, temperature in itertools.product(models, (0, 1)):
            picked = chosen(measured(model, temperature, CHOOSE, scale))
            seen = measured(model, temperature, REPORT, scale)
            reached = comparison(picked, seen)
            write(PAGE, f"{model} {temperature}", reached)
            print(f"{model}, temperature {temperature}:\n{reached}\n")
            if temperature == 0:
                write(PAGE, f"{model} efficiency", efficiency(picked, seen))
            if (model, temperature) == ("mini", 0):
                figure(seen)


if __name__ == "__main__":
    main()
