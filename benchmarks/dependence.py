"""Time our total correlation beside that of dit, on the same laws in one run.

Run by hand: ``python benchmarks/dependence.py``.  dit comes with the test extra.  Both sides
start from a law that is built already, and both results must agree.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable

import dit
import numpy as np
from smoke import add_smoke_option

from parallelbench.analysis.theory.dependence import Law, total_correlation


def shuffle(names: int) -> Law:
    """Return the law of all orders of some names."""
    return Law.counted(np.array(list(itertools.permutations(range(names)))))


def dice(rolls: int) -> Law:
    """Return the law of independent dice."""
    return Law.counted(np.array(list(itertools.product(range(6), repeat=rolls))))


def random_law(rows: int, positions: int) -> Law:
    """Return a law of random rows with random weights."""
    rng = np.random.default_rng(0)
    return Law.counted(rng.integers(0, 4, size=(rows, positions)), rng.random(rows))


LAWS = {
    **{f"shuffle of {n}": lambda n=n: shuffle(n) for n in (4, 5, 6, 7, 8)},
    "5 dice": lambda: dice(5),
    "1000 random rows of 8": lambda: random_law(1000, 8),
}


def seconds(work: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Return the least time of some repeats, and the result."""
    least, result = math.inf, math.nan
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        least = min(least, time.perf_counter() - began)
    return least, float(result)


def main() -> None:
    """Print a line per law."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_smoke_option(parser)
    largest = 200 if parser.parse_args().smoke else math.inf
    print(f"{'law':<24}{'answers':>9}{'bits':>9}{'ours':>12}{'dit':>12}{'ratio':>8}")
    for name, make in LAWS.items():
        law = make()
        if len(law) > largest:
            continue
        ours, bits = seconds(lambda law=law: total_correlation(law), repeats=5)
        theirs = dit.Distribution(
            [tuple(row) for row in law.rows.tolist()], law.probabilities.tolist()
        )
        repeats = 1 if len(law) > 1000 else 3
        other, same = seconds(
            lambda theirs=theirs: dit.multivariate.total_correlation(theirs), repeats
        )
        if not math.isclose(bits, same, abs_tol=1e-6):
            raise SystemExit(f"{name}: we say {bits} bits, dit says {same}")
        print(
            f"{name:<24}{len(law):>9,}{bits:>9.3f}{1e3 * ours:>9.2f} ms{1e3 * other:>9.1f} ms"
            f"{other / ours:>7.0f}x"
        )


if __name__ == "__main__":
    main()
