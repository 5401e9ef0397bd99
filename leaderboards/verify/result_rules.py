"""The figures that an entry claims, against those that follow from its records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parallelbench.leaderboards.entry.folder import RESULTS, brief
from parallelbench.record import Record, latest_records
from parallelbench.results.result import summarize


def result_faults(claimed: Any, records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence for each claimed figure that differs from the records' own.

    Args:
        claimed: Content of the entry's results.
        records: Records of the entry, each of which follows from its own trace.
    """
    figures = [
        # Results of earlier releases have the sum of the times, under "seconds".
        {**result.as_dict(), "seconds": seconds}
        for result, seconds in zip(summarize(records), _total_seconds(records), strict=True)
    ]
    if not isinstance(claimed, list) or len(claimed) != len(figures):
        yield f"{RESULTS} must have {len(figures)} results, one for each model, task and decoder"
        return
    for ours, theirs in zip(figures, claimed, strict=True):
        where = f"{RESULTS}: {ours['model']} on {ours['task_label']} with {ours['decoder_label']}"
        if not isinstance(theirs, dict):
            yield f"{where} must be an object, as `parallelbench report` writes it"
            continue
        # Earlier releases claim fewer figures; a figure unknown to this one cannot be checked.
        for name, claim in theirs.items():
            if name not in ours:
                yield f"{where} claims {brief(name)}, which is no figure of this release"
            elif not _equal(ours[name], claim):
                computed = brief(ours[name])
                yield f"{where} claims {name} {brief(claim)}, and the records make {computed}"


def _total_seconds(records: Sequence[Record]) -> list[float]:
    """Return the total seconds of the decodes of each result, in the order of the results."""
    totals: dict[tuple[str, str, str], float] = {}
    for record in latest_records(records):
        setting = (record.model_label, record.task_label, record.decoder_label)
        totals[setting] = totals.get(setting, 0.0) + record.seconds
    return list(totals.values())


def _equal(ours: Any, theirs: Any) -> bool:
    """Return True if two values are equal up to the last digits of their numbers."""
    if isinstance(ours, Mapping):
        return (
            isinstance(theirs, Mapping)
            and ours.keys() == theirs.keys()
            and all(_equal(value, theirs[key]) for key, value in ours.items())
        )
    if isinstance(ours, tuple | list):
        return (
            isinstance(theirs, list)
            and len(ours) == len(theirs)
            and all(_equal(*pair) for pair in zip(ours, theirs, strict=True))
        )
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return abs(theirs) < 1e300 and math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9)
    return bool(ours == theirs)
