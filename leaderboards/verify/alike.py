"""Settings of a strategy with equal decodes: a field without effect makes no second setting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from parallelbench.record import Record

#: Task, sample and repeat of a decode, and a hash of its steps.
_Decode = tuple[str, int, int, int]


def alike_to_earlier(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """Find settings that decode every sample as an earlier one of the same strategy does.

    Args:
        records: Records of complete settings; a setting is earlier if its first record is.

    Returns:
        A mapping from the labels of model and decoder to the label of the first setting of that
        strategy with the same tokens in the same steps, and as many rows in each.
    """
    decodes: dict[tuple[str, str, str], set[_Decode]] = defaultdict(set)
    for record in records:
        if record.decoding is not None:
            trace = record.decoding.trace
            steps = hash(
                (
                    tuple(map(tuple, trace.positions)),
                    tuple(map(tuple, trace.ids)),
                    tuple(trace.rows),
                    tuple(trace.row_tokens),
                )
            )
            setting = (record.model_label, record.decoder.name, record.decoder_label)
            decodes[setting].add((record.task_label, record.index, record.repeat, steps))
    first: dict[tuple[str, str, frozenset[_Decode]], str] = {}
    alike: dict[tuple[str, str], str] = {}
    for (model, decoder, label), own in decodes.items():
        earlier = first.setdefault((model, decoder, frozenset(own)), label)
        if earlier != label:
            alike[model, label] = earlier
    return alike
