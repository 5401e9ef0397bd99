"""Time that a strategy adds to a step, relative to the projection to logits.

    python benchmarks/step_time.py                # every strategy that sends one row; minutes
    python benchmarks/step_time.py klass wino     # some of them

64 samples, canvases of 64 open positions, a vocabulary of 126,464 tokens and hidden states of
width 4,096, which are those of LLaDA-8B.  A step is what is computed from the logits of the
wanted positions (``statistics_of``), and what the strategy does with it (``step_batch``), in
its second step, when a strategy with a memory has one.  So many logits take gigabytes: they are
made and read for 64 positions at a time, as the loop does, and the time of one such part is
multiplied.  A strategy that is told whole distributions is timed for two samples, likewise.
The table also goes into ``docs/speed.md``, where it is explained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mini import write
from smoke import add_smoke_option, workplace
from torch import Tensor

from parallelbench.decode.statistics import Drawing, FlatStatistics, statistics_of
from parallelbench.decoder import DECODERS, Decoder, Progress, Statistics, StepBatch, View
from parallelbench.model import Prediction, Row
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.prompt import Codec, Prompt, build_prompt
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS

DOCUMENT = Path("docs/speed.md")
SAMPLES, CANVAS, VOCABULARY, HIDDEN = 64, 64, 126_464, 4096
#: Positions whose logits are there at a time.
PART = 64
#: Standard deviation of the logits, which makes some predictions sure and others not.
SPREAD = 4.0
#: Samples that are timed where each takes a distribution for every position.
FEW = 2
#: What a network must heed in a row, but does not add to what it says.
HEEDED = frozenset({"positions", "attention_mask", "shorter_rows", "unshifted"})


class Cost(NamedTuple):
    """Seconds that one step takes for all samples."""

    positions: int
    statistics: float
    choice: float
    projection: float

    @property
    def share(self) -> float:
        """The step in parts of the projection."""
        return (self.statistics + self.choice) / self.projection


def least(work: Callable[[], object], repeats: int) -> float:
    """Return the seconds of the fastest of some runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def prompt_of() -> Prompt:
    """Return a sample with an open canvas."""
    tokenizer = word_tokenizer(sorted({word for task in TASKS.values() for word in task.words}))
    codec = Codec(tokenizer, tokenizer.mask_token_id, tokenizer.eos_token_id)
    task = build(parse_settings(f"waiting_line/copy:canvas_length={CANVAS}", TASKS)[0], TASKS)
    return build_prompt(task, draw_sample(task, 0, 0), codec)


class Bench:
    """The logits of one part, and the prompt of every sample.

    Args:
        dtype: Data type of hidden states, head and logits.
        repeats: Number of runs that are timed; the fastest counts.
        vocabulary: Number of tokens.
    """

    def __init__(self, dtype: torch.dtype, repeats: int, vocabulary: int = VOCABULARY) -> None:
        generator = torch.Generator().manual_seed(0)
        self.repeats, self.vocabulary = repeats, vocabulary
        self.prompt = prompt_of()
        hidden = torch.randn(PART, HIDDEN, generator=generator).to(dtype)
        head = torch.randn(vocabulary, HIDDEN, generator=generator).to(dtype)
        head *= SPREAD / HIDDEN**0.5
        self.projection = least(lambda: hidden @ head.T, repeats)
        self.logits = hidden @ head.T
        # Nothing is ruled out beyond the mask: the tokenizer here is smaller than the vocabulary.
        self.logits[:, self.prompt.codec.mask_id] = -torch.inf
        self._known: dict[tuple[frozenset[str], bool], tuple[float, FlatStatistics]] = {}

    def said(self, decoder: Decoder) -> tuple[float, FlatStatistics]:
        """Return the seconds to compute the statistics of one part, and the statistics."""
        hot = decoder.temperature > 0
        key = frozenset(decoder.needs), hot
        if key not in self._known:
            numbers = torch.rand(PART, dtype=torch.float64)
            drawing = Drawing(torch.full_like(numbers, decoder.temperature), numbers)

            def compute() -> FlatStatistics:
                prediction = Prediction(logits=self.logits)
                return statistics_of(
                    prediction, decoder.needs, drawing if hot else None, self.vocabulary
                )

            self._known[key] = least(compute, self.repeats), compute()
        return self._known[key]

    def cost(self, decoder: Decoder) -> Cost:
        """Return the cost of a step of ``decoder`` and of the projection."""
        seconds, said = self.said(decoder)
        count = FEW if "distribution" in decoder.needs else SAMPLES
        views = [self._view() for _ in range(count)]
        states = [decoder.start(view) for view in views]
        rows = [
            row
            for state, view in zip(states, views, strict=True)
            for row in decoder.plan(state, view)
        ]
        batch = StepBatch(
            views=views,
            states=states,
            open=torch.stack([view.open for view in views]),
            progress=Progress(
                step=torch.ones(count, dtype=torch.long),
                initial=torch.full((count,), CANVAS),
            ),
            statistics=_statistics(said, rows, decoder),
            rows=[slice(index, index + 1) for index in range(count)],
        )
        choice = least(lambda: decoder.step_batch(batch), self.repeats) * SAMPLES / count
        positions = sum(int(row.wanted.sum()) for row in rows) * SAMPLES // count
        parts = positions / PART
        return Cost(positions, seconds * parts, choice, self.projection * parts)

    def _view(self) -> View:
        canvas = torch.full((CANVAS,), self.prompt.codec.mask_id)
        return View(
            prompt=self.prompt,
            canvas=canvas,
            open=torch.ones(CANVAS, dtype=torch.bool),
            window=(0, CANVAS),
            remaining=CANVAS,
            initial=CANVAS,
            step=1,
            nfe=1,
            mask_id=self.prompt.codec.mask_id,
        )


def _statistics(said: FlatStatistics, rows: Sequence[Row], decoder: Decoder) -> Statistics:
    """Put what is said of one part at every position of every row, whoever it was said of."""
    shape = len(rows), len(rows[0].canvas)
    lines = torch.arange(shape[0] * shape[1]) % PART

    def placed(values: Tensor | None) -> Any:
        return None if values is None else values[lines].view(*shape, *values.shape[1:])

    uniform = torch.rand(shape, dtype=torch.float64) if "uniform" in decoder.needs else None
    return Statistics(
        token=placed(said.token),
        confidence=placed(said.confidence),
        margin=placed(said.margin),
        logit_margin=placed(said.logit_margin),
        entropy=placed(said.entropy),
        uniform=uniform,
        distribution=placed(said.distribution),
    )


def chosen(names: Sequence[str]) -> dict[str, Decoder]:
    """Return the strategies asked for, or all that send one row and are told no more."""
    every = {name: kind() for name, kind in DECODERS.items() if name in names or not names}
    return {
        name: decoder
        for name, decoder in every.items()
        if decoder.rows == "1"
        and not decoder.missing_capabilities(HEEDED)
        and "answers" not in decoder.needs
    }


def table(costs: dict[str, Cost]) -> str:
    """Return the costs as a table, the dearest first."""
    lines = [
        "| strategy | positions | statistics, ms | choice, ms | % of the projection |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, cost in sorted(costs.items(), key=lambda item: -item[1].share):
        shown = f"{1000 * cost.statistics:,.0f} | {1000 * cost.choice:,.1f}"
        lines.append(f"| `{name}` | {cost.positions:,} | {shown} | {100 * cost.share:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and put the table into the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("decoders", nargs="*", help="names; all if none is given")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    add_smoke_option(parser)
    asked = parser.parse_args()
    if asked.smoke:
        asked.repeats = 1
    torch.set_num_threads(asked.threads)
    load_plugins()
    with torch.inference_mode():
        vocabulary = 2048 if asked.smoke else VOCABULARY
        bench = Bench(getattr(torch, asked.dtype), asked.repeats, vocabulary)
        costs = {name: bench.cost(decoder) for name, decoder in chosen(asked.decoders).items()}
    whole = bench.projection * SAMPLES * CANVAS / PART
    where = f"{asked.threads} threads, {asked.dtype}, torch {torch.__version__}"
    told = (
        f"{datetime.now(UTC).date()}, {where}: the projection of {SAMPLES * CANVAS:,} "
        f"positions takes {whole:.1f} s.\n\n{table(costs)}"
    )
    print(told)
    if not asked.decoders:
        with workplace(smoke=asked.smoke):
            write(asked.document, "step time", told)


if __name__ == "__main__":
    main()
