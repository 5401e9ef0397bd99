"""Time of a call of the ideal model, compared with its floor.

    python benchmarks/ideal.py

A call must read the table of right answers twice (once to find which fit the canvas, once
to count their tokens) and do as many multiply-adds as the table has cells, twice per row.
The floor printed is the time that torch takes for just those two matrix products.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from smoke import add_smoke_option

from parallelbench.model import Row
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

REPEATS = 200
CASES = (
    ("waiting_line/shuffle:length=6", 1),
    ("waiting_line/shuffle:length=6", 64),
    ("list_operations/shuffle:length=8,form=infill", 64),
    ("choices/city", 64),
)


def milliseconds(action: Callable[[], object], repeats: int) -> float:
    """Return the median time of ``action``, in milliseconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_smoke_option(parser)
    repeats = 1 if parser.parse_args().smoke else REPEATS
    load_plugins()
    torch.set_num_threads(1)
    model = Ideal().open()
    print(f"{'task':46} {'answers':>8} {'rows':>5} {'ms a call':>10} {'floor ms':>9}")
    for text, count in CASES:
        task = build(parse_settings(text, TASKS)[0], TASKS)
        prompt = build_prompt(task, draw_sample(task, 0, 3), model.codec)
        law = model.law(prompt)
        rows = [Row(prompt, prompt.canvas, prompt.open)] * count
        answers, entries = len(law.rows), len(law.entries.tokens)
        table = torch.rand(answers, entries)
        hits, weights = torch.rand(count, entries), torch.rand(count, answers)
        called = milliseconds(lambda rows=rows: model.predict(rows), repeats)
        floor = milliseconds(lambda h=hits, w=weights, t=table: (h @ t.T, w @ t), repeats)
        print(f"{text:46} {answers:8,} {count:5} {called:10.2f} {floor:9.3f}")


if __name__ == "__main__":
    main()
