"""As Parquet: ``records.parquet``, a row per decode, and ``results.parquet``, a row per result.

Nothing is left out: decodes that ended in an error have no marks, and those of oracles say so in
the column ``oracle``.  The columns of records are the fields of their flat form, schema 1.  Fields
that vary by task or decoder are JSON in a column of text; steps are lists.  The optional package
``datasets`` writes the files.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, Features, Value, concatenate_datasets

from parallelbench.analysis.exports.export import Exported
from parallelbench.errors import RequestError
from parallelbench.record import Counts, Record
from parallelbench.record_line import FlatRecord
from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result

#: Of a column of integers.
_MOST_INTEGER = 2**63 - 1
#: Rows that are Python objects at once.
_AT_A_TIME = 2_000
_TEXTS = (
    *("library_version", "model", "model_digest", "weights_digest", "task", "task_label"),
    *("decoder", "decoder_label", "sample", "sample_digest", "prompt_digest", "text"),
    *("status", "error", "note"),
)
_NUMBERS = (
    *("schema_version", "task_version", "index", "seed", "repeat", "prompt_tokens"),
    *("mask_id", "end_id"),
)
_MAPPINGS = ("task_fields", "engines", "sources", "decoder_fields")
_ID_LISTS = ("stop_ids", "initial_ids", "output_ids")
_SHARES = ("tokens_per_step", "answer_tokens_per_step")
_STEP_LISTS = ("positions", "ids")
_STEP_NUMBERS = ("rows", "row_tokens", "auxiliary_calls")


def write(exported: Exported, folder: Path) -> list[Path]:
    """Write ``records.parquet`` and ``results.parquet``.

    Raises:
        RequestError: The seed has more than 63 bits.
    """
    seed = exported.run.runfile.seed
    if seed > _MOST_INTEGER:
        raise RequestError(
            f"--to parquet: the run's seed {seed} does not fit a column of 64-bit integers; "
            "export it to another form"
        )
    digest = exported.run.runfile.digest
    records = (_record(exported, record, digest) for record in exported.records)
    results = (_result(exported, result, digest) for result in exported.results)
    files = [folder / "records.parquet", folder / "results.parquet"]
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # they are for rows by the million
    try:
        _table(records, _record_features()).to_parquet(str(files[0]))
        _table(results, _result_features()).to_parquet(str(files[1]))
    finally:
        if shown:
            datasets.enable_progress_bars()
    return files


def _table(rows: Iterator[dict[str, Any]], features: Any) -> Any:
    """Return ``rows`` as a data set; few of them at a time are Python objects, which are large."""
    parts = iter(lambda: list(itertools.islice(rows, _AT_A_TIME)), [])
    return concatenate_datasets([Dataset.from_list(part, features=features) for part in parts])


def _record_features() -> Any:
    text, number, share = Value("string"), Value("int64"), Value("float64")
    counts = {name: share if name in _SHARES else number for name in Counts.model_fields}
    return Features(
        {
            "run_digest": text,
            **dict.fromkeys(_TEXTS, text),
            **dict.fromkeys(_NUMBERS, number),
            **dict.fromkeys(_MAPPINGS, text),
            **{name: [number] for name in _ID_LISTS},
            "oracle": Value("bool"),
            "question": text,
            "reference": text,
            "strict": share,
            "lenient": share,
            "problem": text,
            "parts": text,
            **{f"counts_{name}": kind for name, kind in counts.items()},
            **{f"trace_{name}": [[number]] for name in _STEP_LISTS},
            **{f"trace_{name}": [number] for name in _STEP_NUMBERS},
            "trace_stopped": Value("bool"),
            "served": text,
            "published": text,
            "seconds": share,
        }
    )


def _record(exported: Exported, record: Record, digest: str) -> dict[str, Any]:
    sample = exported.questions.of(record)
    messages = None if sample is None else [each._asdict() for each in sample.messages]
    flat = FlatRecord.of(record)
    marks, counts, trace, served = flat.marks, flat.counts, flat.trace, flat.served
    return {
        "run_digest": digest,
        **{name: getattr(flat, name) for name in (*_TEXTS, *_NUMBERS, *_ID_LISTS)},
        **{name: _json(getattr(flat, name)) for name in _MAPPINGS},
        "oracle": flat.oracle,
        "question": None if messages is None else json.dumps(messages, ensure_ascii=False),
        "reference": None if sample is None else sample.reference,
        "strict": None if marks is None else marks.strict,
        "lenient": None if marks is None else marks.lenient,
        "problem": None if marks is None else marks.problem,
        "parts": None if marks is None else _json(marks.parts),
        **{
            f"counts_{name}": None if counts is None else getattr(counts, name)
            for name in Counts.model_fields
        },
        **{
            f"trace_{name}": None if trace is None else getattr(trace, name)
            for name in (*_STEP_LISTS, *_STEP_NUMBERS, "stopped")
        },
        "served": None if served is None else served.model_dump_json(),
        "published": None if record.published is None else record.published.model_dump_json(),
        "seconds": record.seconds,
    }


_RESULT_TEXTS = ("model", "task", "task_label", "decoder", "decoder_label")
_RESULT_MAPPINGS = (
    *("task_fields", "fields", "statuses", "problems", "parts", "engines", "finishes"),
    "throughput",
)
_RESULT_SHARES = (
    *("accuracy", "accuracy_strict", "tokens_per_step", "pooled_tokens_per_step"),
    *("answer_tokens_per_step", "nfe", "off_law_share"),
)
_INTERVALS = {
    "accuracy": "interval",
    "accuracy_strict": "interval_strict",
    "tokens_per_step": "tokens_per_step_interval",
    "pooled_tokens_per_step": "pooled_tokens_per_step_interval",
}


def _result_features() -> Any:
    ends = [f"{name}_{end}" for name in _INTERVALS for end in ("low", "high")]
    texts = ("run_digest", *_RESULT_TEXTS, *_RESULT_MAPPINGS, "unfinished_run")
    return Features(
        {
            **dict.fromkeys(texts, Value("string")),
            "oracle": Value("bool"),
            **dict.fromkeys(("samples", "count"), Value("int64")),
            **dict.fromkeys((*_RESULT_SHARES, *ends), Value("float64")),
        }
    )


def _result(exported: Exported, result: Result, digest: str) -> dict[str, Any]:
    values = result.as_dict()
    row = {
        "run_digest": digest,
        **{name: values[name] for name in (*_RESULT_TEXTS, *_RESULT_SHARES)},
        **{name: _json(values[name]) for name in _RESULT_MAPPINGS},
        "unfinished_run": exported.shortfall,
        "oracle": result.oracle,
        "samples": result.samples,
        "count": result.count,
    }
    for name, attribute in _INTERVALS.items():
        interval: Interval | None = getattr(result, attribute)
        row[f"{name}_low"], row[f"{name}_high"] = interval or (None, None)
    return row


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value), sort_keys=True)
