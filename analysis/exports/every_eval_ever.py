"""As Every Eval Ever keeps evaluations: a file per model, and a line per decode beside it.

Every (task, decoder setting) is a result for accuracy, for strict accuracy and for tokens per step,
each with its interval and count.  The lines beside it belong to accuracy.  The form cannot hold a
line without its question, so decodes whose samples cannot be drawn again have none.

Source: EvalEval Coalition, Every Eval Ever, schema 0.3.0 (arXiv:2606.14516).
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from parallelbench.analysis.exports.export import (
    Exported,
    asked_text,
    by_sample,
    grouped,
    lenient,
    model_id,
    standard_error,
    strict,
    text_digest,
    tokens_per_step,
)
from parallelbench.model import MODELS
from parallelbench.record import Record
from parallelbench.results.intervals import CONFIDENCE, RESAMPLES, Interval
from parallelbench.results.result import Result
from parallelbench.setting import Setting

_SCHEMA = "0.3.0"
_COLLECTION = "parallelbench"


def write(exported: Exported, folder: Path) -> list[Path]:
    """Write ``data/parallelbench/OWNER/MODEL/UUID.json`` and ``UUID_samples.jsonl``."""
    settings = {setting.label: setting for setting in exported.run.runfile.models}
    files: list[Path] = []
    for (model,), results in grouped(exported.ranked, "model").items():
        owner, name = model_id(settings[model]).split("/")
        identity = _uuid(f"{exported.run.runfile.digest} {model}")
        place = Path("data", _COLLECTION, owner, name, f"{identity}.json")
        aggregate = _aggregate(exported, settings[model], results)
        lines = list(_lines(exported, aggregate, results))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        if lines:
            beside = place.with_name(f"{identity}_samples.jsonl")
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (folder / beside).write_text(text, encoding="utf-8")
            aggregate["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": beside.as_posix(),
                "hash_algorithm": "sha256",
                "checksum": text_digest(text),
                "total_rows": len(lines),
            }
            files.append(folder / beside)
        content = json.dumps(aggregate, indent=2, ensure_ascii=False) + "\n"
        (folder / place).write_text(content, encoding="utf-8")
        files.append(folder / place)
    return files


def _aggregate(exported: Exported, setting: Setting, results: Sequence[Result]) -> dict[str, Any]:
    first = exported.of(results[0])[0]
    publisher = exported.publisher
    began = exported.began
    now = str(int(time.time()))
    source = {"source_organization_url": publisher.source} if publisher.source else {}
    details = {"run_digest": exported.run.runfile.digest}
    if exported.shortfall:
        details["unfinished_run"] = exported.shortfall
    measured = [each for each in exported.run.throughput() if setting.label in each.models]
    if measured:
        details["throughput"] = json.dumps([each.as_dict() for each in measured])
    return {
        "schema_version": _SCHEMA,
        "evaluation_id": f"{_COLLECTION}/{model_id(setting)}/{now}",
        **({} if began is None else {"evaluation_timestamp": str(int(began.timestamp()))}),
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": "ParallelBench",
            "source_type": "evaluation_run",
            "source_organization_name": publisher.organization,
            **source,
            "evaluator_relationship": publisher.relationship,
            "additional_details": details,
        },
        "eval_library": {"name": "parallelbench", "version": first.library_version},
        "model_info": {
            "name": setting.label,
            "id": model_id(setting),
            "developer": model_id(setting).split("/")[0],
            "additional_details": _model_details(setting, first),
        },
        "evaluation_results": [entry for result in results for entry in _results(exported, result)],
    }


def _model_details(setting: Setting, record: Record) -> dict[str, str]:
    serves = MODELS[setting.name].serves
    details = {
        "deployment_type": "unknown" if serves else "self_deployed",
        # Only whoever publishes a model knows who else may have its weights.
        "model_availability": "unknown",
        "model_digest": record.model.digest,
        "setting": json.dumps(dict(setting.fields), sort_keys=True),
    }
    if record.model.weights_digest is not None:
        details["weights_digest"] = record.model.weights_digest
    return details


class _Kind(NamedTuple):
    """A metric in the words of the schema; ``interval`` names the method of its interval."""

    name: str
    unit: str
    most: float | str
    interval: str


def _results(exported: Exported, result: Result) -> Iterator[dict[str, Any]]:
    records = exported.of(result)
    accuracy = _Kind("accuracy", "proportion", 1.0, "wilson")
    speed = _Kind("tokens_per_step", "tokens per model call", "Infinity", "bootstrap")
    metrics: list[
        tuple[str, float | None, _Kind, Interval | None, Callable[[Record], float | None]]
    ] = [
        ("accuracy", result.accuracy, accuracy, result.interval, lenient),
        ("accuracy_strict", result.accuracy_strict, accuracy, result.interval_strict, strict),
        (
            "tokens_per_step",
            result.tokens_per_step,
            speed,
            result.tokens_per_step_interval,
            tokens_per_step,
        ),
    ]
    for name, score, kind, interval, value in metrics:
        if score is not None:
            uncertainty = _uncertainty(interval, by_sample(records, value), kind)
            yield {
                "evaluation_result_id": _result_id(result, name),
                "evaluation_name": result.task_label,
                "source_data": _source_data(result),
                "metric_config": _metric(name, kind),
                "score_details": {
                    "score": score,
                    "uncertainty": uncertainty,
                    "details": exported.provenance(result),
                },
                "generation_config": {
                    "additional_details": {
                        "decoder": result.decoder_label,
                        "decoder_fields": json.dumps(dict(result.fields), sort_keys=True),
                    }
                },
            }


def _source_data(result: Result) -> dict[str, Any]:
    fields = json.dumps(dict(result.task_fields), sort_keys=True)
    return {
        "dataset_name": result.task,
        "source_type": "other",
        "additional_details": {"task_fields": fields},
    }


def _metric(name: str, about: _Kind) -> dict[str, Any]:
    meanings = {
        "accuracy": "mean mark of replies, read leniently",
        "accuracy_strict": "mean mark of replies that keep the form that was asked for",
        "tokens_per_step": "canvas tokens over model calls, averaged over samples",
    }
    return {
        "evaluation_description": meanings[name],
        "metric_id": f"{_COLLECTION}.{name}",
        "metric_name": name,
        "metric_kind": about.name,
        "metric_unit": about.unit,
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": 0.0,
        "max_score": about.most,
    }


def _uncertainty(
    interval: Interval | None, values: Sequence[float], about: _Kind
) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": len(values)}
    error = standard_error(values)
    if error is not None:
        uncertainty["standard_error"] = {"value": error, "method": "analytic"}
    if interval is not None:
        uncertainty["confidence_interval"] = {
            "lower": interval.low,
            "upper": interval.high,
            "confidence_level": CONFIDENCE,
            "method": about.interval,
        }
    if about.interval == "bootstrap":
        uncertainty["num_bootstrap_samples"] = RESAMPLES
    return uncertainty


def _lines(
    exported: Exported, aggregate: dict[str, Any], results: Sequence[Result]
) -> Iterator[dict[str, Any]]:
    for result in results:
        for record in exported.of(result):
            sample = exported.questions.of(record)
            if sample is None or record.marks is None:
                continue
            asked = asked_text(sample)
            yield {
                "schema_version": _SCHEMA,
                "evaluation_id": aggregate["evaluation_id"],
                "model_id": aggregate["model_info"]["id"],
                "evaluation_name": result.task_label,
                "evaluation_result_id": _result_id(result, "accuracy"),
                "sample_id": record.sample.id,
                "sample_hash": text_digest(asked + sample.reference),
                "interaction_type": "single_turn",
                "input": {"raw": asked, "reference": [sample.reference]},
                "output": {"raw": [record.text]},
                "answer_attribution": [
                    {
                        "turn_idx": 0,
                        "source": "output.raw",
                        "extracted_value": record.text,
                        "extraction_method": f"parallelbench {record.task.name}",
                        "is_terminal": True,
                    }
                ],
                "evaluation": {
                    "score": record.marks.lenient,
                    "is_correct": record.marks.lenient == 1,
                },
                "metadata": _line_details(record),
            }


def _line_details(record: Record) -> dict[str, str]:
    counts = None if record.decoding is None else record.decoding.counts
    details = {
        "index": record.index,
        "repeat": record.repeat,
        "decoder": record.decoder_label,
        "status": record.status,
        "strict": record.marks.strict if record.marks is not None else None,
        "problem": record.marks.problem if record.marks is not None else None,
        "model_calls": None if counts is None else counts.nfe,
        "canvas_tokens": None if counts is None else counts.canvas_tokens,
        "sample_digest": record.sample_digest,
        "prompt_digest": record.sample.prompt_digest,
    }
    return {name: str(value) for name, value in details.items() if value is not None}


def _result_id(result: Result, metric: str) -> str:
    return f"{result.task_label} | {result.decoder_label} | {metric}"


def _uuid(text: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=4)
