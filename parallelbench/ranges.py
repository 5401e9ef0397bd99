"""The largest whole numbers that a request may hold, for run files and for the command line.

Far above what anybody runs, and far below what would overflow or fill the memory.
"""

from __future__ import annotations

from typing import Final

#: Samples of a task.
MOST_SAMPLES: Final = 10_000_000
#: Decodes of a sample by a decoder.
MOST_REPEATS: Final = 100_000
#: A seed: 128 bits, as much as generators are usually seeded with.
MOST_SEED: Final = 2**128 - 1
#: Decodes at a time, or samples of a training step.
MOST_AT_A_TIME: Final = 1_000_000
#: Workers of a cluster.
MOST_WORKERS: Final = 10_000
#: The value of a field that is no seed; classes narrow it where that is still too large.
MOST_IN_A_FIELD: Final = 1_000_000_000
#: Worked examples of a prompt.
MOST_SHOTS: Final = 1_000
#: Tokens of a canvas.
MOST_TOKENS: Final = 100_000
#: Runs of a season that an entry may say were made.
MOST_RUNS: Final = 1_000_000
