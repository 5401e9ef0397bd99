"""Records that no run made, with the marks and costs that a test wants."""

import itertools

import numpy as np

from parallelbench.analysis.measures.sweep import sweep_of
from parallelbench.record import Counts, RecordedMarks
from parallelbench.record_line import FlatRecord, to_line_like
from parallelbench.trace import Trace

MASK, END, CANVAS = 1, 2, 32


def fabricated_record(decoder="confidence_threshold:threshold=0.9", index=0, right=1.0, **changes):
    """One decode of 32 canvas tokens in ``nfe`` calls; ``right=None`` is an error.

    Changes are named as the fields of a flat record.
    """
    nfe = changes.pop("nfe", 8)
    name, _, field = decoder.partition(":")
    key, _, number = field.partition("=")
    marks = None
    if right is not None:
        marks = RecordedMarks(strict=right, lenient=right, problem=None, parts={})
    values = {
        "library_version": "0",
        "model": "ideal",
        "model_digest": "",
        "task": "shuffle",
        "task_fields": {},
        "task_label": "shuffle",
        "task_version": 1,
        "decoder": name,
        "decoder_fields": {key: int(number) if number.isdigit() else number} if key else {},
        "decoder_label": decoder,
        "oracle": False,
        "sample": f"shuffle-{index}",
        "sample_digest": f"digest of {index}",
        "index": index,
        "seed": 0,
        "repeat": 0,
        "prompt_digest": "",
        "prompt_tokens": 5,
        "mask_id": MASK,
        "end_id": END,
        "initial_ids": None,
        "output_ids": [3] * CANVAS,
        "text": "",
        "status": "error" if right is None else "ok",
        "error": "it broke" if right is None else None,
        "marks": marks,
        "counts": _counts(nfe),
        "trace": Trace(),
        "seconds": 0.5,
    }
    return FlatRecord(**{**values, **changes}).record()


def altered(record, **changes):
    """The same record with other values, named as the fields of a flat record.

    ``decoding=None`` makes it one without steps.
    """
    if "decoding" in changes:
        record = record.model_copy(update={"decoding": changes.pop("decoding")})
    return FlatRecord.of(record).model_copy(update=changes).record()


def line_of_schema_1(record):
    """The line that earlier releases wrote of a record."""
    return to_line_like(record, '{"schema_version":1,')


def traced_record(steps, *, ids=None, index=0, length=None, **changes):
    """One decode that writes the positions of ``steps``, one list per step."""
    length = length or 1 + max(itertools.chain(*steps))
    trace = Trace()
    for number, positions in enumerate(steps):
        written = ids[number] if ids else [3] * len(positions)
        trace.add(list(positions), list(written), 1, length, 0)
    output = trace.replay([MASK] * length)
    return fabricated_record(
        index=index, trace=trace, output_ids=output, nfe=max(1, len(steps)), **changes
    )


def fabricated_records(marks, calls, *, name="confidence_threshold", **changes):
    """Records of a grid: ``marks`` and ``calls`` are tables, settings by samples."""
    return [
        fabricated_record(f"{name}:k={row + 1}", index, float(mark), nfe=int(nfe), **changes)
        for row, (own_marks, own_calls) in enumerate(zip(marks, calls, strict=True))
        for index, (mark, nfe) in enumerate(zip(own_marks, own_calls, strict=True))
    ]


def fabricated_sweep(marks, calls, **changes):
    return sweep_of(fabricated_records(np.asarray(marks), np.asarray(calls), **changes))


def _counts(nfe):
    return Counts(
        nfe=nfe,
        rows=nfe,
        token_positions=nfe,
        auxiliary_calls=0,
        steps=nfe,
        canvas_tokens=CANVAS,
        answer_tokens=8,
        tokens_after_end=0,
        revisions=0,
        tokens_per_step=CANVAS / nfe if nfe else None,
        answer_tokens_per_step=8 / nfe if nfe else None,
        off_law_calls=None,
    )
