"""Settings of a strategy that decode alike: a field that does nothing makes no second setting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from parallelbench.record import Record

#: A decode and what was written in it, step for step.
_Decode = tuple[str, int, int, int]


def alike_to_earlier(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """Return which settings decode every sample as an earlier one of the same strategy does.

    Args:
        records: Of whole settings; a setting is earlier if its first record is.

    Returns:
        By the labels of model and decoder, the label of the first setting of that strategy with
        the same tokens in the same steps, and as many rows in each.
    """
    decodes: dict[tuple[str, str, str], set[_Decode]] = defaultdict(set)
    for record in records:
        if record.trace is not None:
            trace = record.trace
            steps = hash(
                (
                    tuple(map(tuple, trace.positions)),
                    tuple(map(tuple, trace.ids)),
                    tuple(trace.rows),
                    tuple(trace.row_tokens),
                )
            )
            setting = (record.model, record.decoder, record.decoder_label)
            decodes[setting].add((record.task_label, record.index, record.repeat, steps))
    first: dict[tuple[str, str, frozenset[_Decode]], str] = {}
    alike: dict[tuple[str, str], str] = {}
    for (model, decoder, label), own in decodes.items():
        earlier = first.setdefault((model, decoder, frozenset(own)), label)
        if earlier != label:
            alike[model, label] = earlier
    return alike
