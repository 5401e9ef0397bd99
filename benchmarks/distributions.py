"""Time of conditioning an answer distribution, compared with its floor.

    python benchmarks/distributions.py

A row of an open canvas must add up every edge of every position three times: on the way from the
start, on the way from the end, and for the tokens; that is one multiply-add and two numbers read
each time.  The floor printed is the time that the same number of sparse products takes alone.  A
written position takes only the edges of its token.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse
from smoke import add_smoke_option

from parallelbench.distributions.layer import TrellisLayer
from parallelbench.distributions.trellis import TrellisDistribution

REPEATS = 9
ROWS, STATES, EDGES, TOKENS = 64, 64, 2000, 60


class _Case(NamedTuple):
    """One line of the table.

    Attributes:
        length: Number of positions.
        edges: Edges of a position.
        canvas: Kind of canvas: open, half written, or half written with errors.
    """

    length: int
    edges: int
    canvas: str


CASES = (
    _Case(256, EDGES, "open"),
    _Case(256, EDGES, "half"),
    _Case(256, EDGES, "errors"),
    _Case(256, 400, "half"),
    _Case(512, EDGES, "open"),
    _Case(512, EDGES, "half"),
)


def milliseconds(action: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of ``action``, in milliseconds."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return 1e3 * statistics.median(times)


def random_layers(length: int, edges: int, rng: np.random.Generator) -> list[TrellisLayer]:
    """Return layers of random edges, the same at every position after the first."""
    chosen = rng.choice(STATES * TOKENS, edges, replace=False)
    targets = rng.integers(0, STATES, edges)
    layer = TrellisLayer(chosen // TOKENS, chosen % TOKENS, targets, np.ones(edges, dtype=np.int64))
    tokens = np.arange(TOKENS)
    start = np.zeros_like(tokens)
    return [TrellisLayer(start, tokens, tokens, start + 1)] + [layer] * (length - 1)


def canvases(law: TrellisDistribution, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return canvases of one kind, whose tokens are those of drawn answers."""
    masked = np.full((ROWS, law.length), law.mask_id)
    if kind == "open":
        return masked
    answers = law.draw(masked, rng.random(masked.shape))
    if kind == "errors":
        answers = np.where(rng.random(masked.shape) < 0.1, rng.integers(0, TOKENS), answers)
    return np.where(rng.random(masked.shape) < 0.5, answers, masked)


def floor_products(length: int, edges: int, rng: np.random.Generator) -> Callable[[], None]:
    """Return the sparse products that a call on open canvases cannot avoid."""
    places = rng.integers(0, STATES, (2, edges))
    matrix = sparse.csr_array((np.ones(edges), tuple(places)), shape=(STATES, STATES))
    values = rng.random((STATES, ROWS))

    def multiply() -> None:
        for _ in range(3 * length):
            _ = matrix @ values

    return multiply


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_smoke_option(parser)
    smoke = parser.parse_args().smoke
    repeats = 1 if smoke else REPEATS
    print(
        f"{'positions':>9} {'edges':>6} {'canvas':>7} {'open ms':>8} {'call ms':>8} {'floor ms':>9}"
    )
    for length, edges, kind in CASES:
        rng = np.random.default_rng(0)
        size = length // 32 if smoke else length
        layers = random_layers(size, edges, rng)
        opened = milliseconds(lambda layers=layers: TrellisDistribution(layers, TOKENS), repeats)
        law = TrellisDistribution(layers, TOKENS)
        batch = canvases(law, kind, rng)
        called = milliseconds(lambda law=law, batch=batch: law.condition(batch), repeats)
        floor = milliseconds(floor_products(size, edges, rng), repeats)
        print(f"{size:9} {edges:6,} {kind:>7} {opened:8.1f} {called:8.1f} {floor:9.1f}")


if __name__ == "__main__":
    main()
