"""Measures a session of a run while its records arrive; see :mod:`.throughput`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from parallelbench.decode.loop import Tally


@dataclass(slots=True)
class _Lap:
    """The sums of one span."""

    seconds: float = 0.0
    decodes: int = 0
    answer_tokens: int | None = 0
    calls: int = 0
    rows: int = 0
    call_seconds: float = 0.0
    settings: dict[tuple[str, str], None] = field(default_factory=dict)


class Stopwatch:
    """Divides the time of a session among its models.

    Args:
        models: Labels of the models, in the order of the run.
        tally: Counts the calls while decodes go on.
        in_turn: True if one model is decoded after the other.  The time up to a record then
            belongs to the model of that record; else all models share one span.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        models: Iterable[str],
        tally: Tally,
        *,
        in_turn: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        groups = [[model] for model in models] if in_turn else [list(models)]
        self._laps = {tuple(group): _Lap() for group in groups}
        self._lap_of = {model: lap for group, lap in self._laps.items() for model in group}
        self._tally = tally
        self._clock = clock
        self._before, self._counted = clock(), replace(tally)

    def start(self) -> None:
        """Measure from now on."""
        self._before, self._counted = self._clock(), replace(self._tally)

    def lap(
        self, model: str, task: str, decoder: str, answer_tokens: int | None, *, failed: bool
    ) -> None:
        """Note that a decode is recorded.

        Args:
            model: Label.
            task: Label.
            decoder: Label.
            answer_tokens: Tokens before the first end-of-text; None if that is not known.
            failed: True if it ended in an error: it took time, and is no finished decode.
        """
        now, counted = self._clock(), replace(self._tally)
        since = counted.less(self._counted)
        lap = self._lap_of[model]
        lap.seconds += now - self._before
        lap.calls += since.calls
        lap.rows += since.sent
        lap.call_seconds += since.seconds
        self._before, self._counted = now, counted
        if not failed:
            lap.decodes += 1
            lap.settings[task, decoder] = None
            lap.answer_tokens = _sum(lap.answer_tokens, answer_tokens)

    def spans(self) -> list[dict[str, Any]]:
        """Return the spans measured so far, as JSON values; models not yet begun have none."""
        return [
            {
                "models": list(models),
                "settings": len(lap.settings),
                **_alone(lap),
                "decodes": lap.decodes,
                "answer_tokens": lap.answer_tokens,
                "seconds": round(lap.seconds, 6),
                "calls": lap.calls,
                "rows": lap.rows,
                "call_seconds": round(lap.call_seconds, 6),
            }
            for models, lap in self._laps.items()
            if lap.settings
        ]


def _alone(lap: _Lap) -> dict[str, str | None]:
    task, decoder = next(iter(lap.settings)) if len(lap.settings) == 1 else (None, None)
    return {"task": task, "decoder": decoder}


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second
