"""A part of a run, for job arrays: ``--shard 2/4`` is the second quarter of its samples."""

from __future__ import annotations

import re
from dataclasses import dataclass

from parallelbench.errors import RunFileError


@dataclass(frozen=True)
class Shard:
    """One of several parts of a run, whose sizes differ by at most one sample.

    A part holds consecutive samples: where lengths alternate from sample to sample, a few
    consecutive samples have all lengths, while every fourth sample has not.

    Attributes:
        index: Number of the part, from 1 to ``count``.
        count: Number of parts.

    Raises:
        RunFileError: ``index`` does not lie between 1 and ``count``.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise RunFileError(
                f"a shard is one of 1/{self.count} to {self.count}/{self.count}, got {self}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that is written like ``2/4``.

        Raises:
            RunFileError: ``text`` is of another form, or there is no such part.
        """
        found = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([1-9][0-9]{0,8})\s*", text)
        if not found:
            raise RunFileError(f"a shard is written like 2/4, the second of four, got {text!r:.80}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, samples: int) -> range:
        """Return the numbers of the samples in this part of a run with ``samples`` samples.

        Raises:
            RunFileError: There are more parts than samples.

        Example:
            >>> [Shard(index, 3).of(10) for index in (1, 2, 3)]
            [range(0, 3), range(3, 6), range(6, 10)]
        """
        if self.count > samples:
            raise RunFileError(
                f"shard {self} of {samples} samples: at most {samples} shards have one each"
            )
        return range(samples * (self.index - 1) // self.count, samples * self.index // self.count)
