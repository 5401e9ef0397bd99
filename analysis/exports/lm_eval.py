"""As lm-evaluation-harness writes its results: a folder per model and decoder setting.

The harness tells strict from lenient reading by a *filter*, as in its GSM8K: our strict mark is
``exact_match,strict-match`` and our lenient one ``exact_match,flexible-extract``.  Intervals,
counts by status and digests are in each task's ``metadata``, which the harness leaves to the task.
What only the harness itself could know, such as its own version, is absent.

Source: EleutherAI, lm-evaluation-harness 0.4 (``EvaluationTracker``, ``EvalResults``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parallelbench.analysis.exports.export import (
    Exported,
    by_sample,
    file_name,
    grouped,
    lenient,
    standard_error,
    strict,
    text_digest,
    tokens_per_step,
)
from parallelbench.record import Record
from parallelbench.results.result import Result

_FILTERS = {"strict-match": strict, "flexible-extract": lenient}
#: What the harness writes where there is no number.
_ABSENT = "N/A"


def write(exported: Exported, folder: Path) -> list[Path]:
    """Write ``results_*.json`` and ``samples_*.jsonl`` of every model and decoder setting."""
    files: list[Path] = []
    began = exported.began
    stamp = "undated" if began is None else began.strftime("%Y-%m-%dT%H-%M-%S")
    for (model, decoder), results in grouped(exported.ranked, "model", "decoder_label").items():
        own = folder / f"{file_name(model)}--{file_name(decoder)}"
        own.mkdir()
        samples = {result.task_label: list(_samples(exported, result)) for result in results}
        content = _content(exported, results, samples)
        file = own / f"results_{stamp}.json"
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        files.append(file)
        for task, lines in samples.items():
            name = re.sub(r"\W", "_", task)
            file = own / f"samples_{name}_{stamp}.jsonl"
            # Two tasks may differ in nothing but letters that the harness does not write.
            if file in files:
                file = own / f"samples_{name}_{text_digest(task)[:8]}_{stamp}.jsonl"
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            file.write_text(text, encoding="utf-8")
            files.append(file)
    return files


def _content(
    exported: Exported,
    results: Sequence[Result],
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    runfile = exported.run.runfile
    first = results[0]
    environments = exported.run.environments()
    packages = environments[0].get("packages", {}) if environments else {}
    began = exported.began
    name = f"{first.model} {first.decoder_label}"
    return {
        "results": {result.task_label: _metrics(exported, result) for result in results},
        "group_subtasks": {result.task_label: [] for result in results},
        "configs": {result.task_label: _config(exported, result) for result in results},
        "versions": {r.task_label: exported.of(r)[0].task.version for r in results},
        "n-shot": {result.task_label: _shots(exported, result) for result in results},
        "higher_is_better": {r.task_label: _directions(r) for r in results},
        "n-samples": {
            result.task_label: {"original": runfile.samples, "effective": result.samples}
            for result in results
        },
        "config": _run_config(exported, first),
        "git_hash": None,
        **({} if began is None else {"date": began.timestamp()}),
        "pretty_env_info": json.dumps(environments, indent=1),
        "transformers_version": packages.get("transformers"),
        "upper_git_hash": None,
        "task_hashes": {task: _task_hash(lines) for task, lines in samples.items()},
        "model_source": "parallelbench",
        "model_name": name,
        "model_name_sanitized": re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": True,
        "chat_template": None,
        "chat_template_sha": None,
        "parallelbench": _provenance(exported, first),
    }


def _run_config(exported: Exported, first: Result) -> dict[str, Any]:
    runfile, environments = exported.run.runfile, exported.run.environments()
    return {
        "model": "parallelbench",
        "model_args": {"pretrained": first.model, "decoder": first.decoder_label},
        "model_sha": exported.of(first)[0].model.weights_digest or "",
        "batch_size": str(environments[0].get("batch_size", "")) if environments else None,
        "device": None,
        "use_cache": None,
        "limit": runfile.samples,
        "bootstrap_iters": 0,
        "gen_kwargs": dict(first.fields),
        "random_seed": runfile.seed,
        "numpy_seed": runfile.seed,
        "torch_seed": runfile.seed,
        "fewshot_seed": runfile.seed,
    }


def _provenance(exported: Exported, first: Result) -> dict[str, Any]:
    runfile = exported.run.runfile
    return {
        "version": exported.of(first)[0].library_version,
        "run_digest": runfile.digest,
        "run": runfile.frozen(),
        "throughput": [each.as_dict() for each in exported.run.throughput()],
        **({"unfinished_run": exported.shortfall} if exported.shortfall else {}),
    }


def _metrics(exported: Exported, result: Result) -> dict[str, Any]:
    records = exported.of(result)
    metrics: dict[str, Any] = {"alias": result.task_label, "sample_len": result.samples}
    accuracies = {"strict-match": result.accuracy_strict, "flexible-extract": result.accuracy}
    for name, mark in _FILTERS.items():
        metrics[f"exact_match,{name}"] = accuracies[name]
        metrics[f"exact_match_stderr,{name}"] = _error(by_sample(records, mark))
    if result.tokens_per_step is not None:
        metrics["tokens_per_step,none"] = result.tokens_per_step
        metrics["tokens_per_step_stderr,none"] = _error(by_sample(records, tokens_per_step))
    return metrics


def _error(values: Sequence[float]) -> float | str:
    error = standard_error(values)
    return _ABSENT if error is None else error


def _directions(result: Result) -> dict[str, bool]:
    names = ["exact_match"] + ["tokens_per_step"] * (result.tokens_per_step is not None)
    return dict.fromkeys(names, True)


def _config(exported: Exported, result: Result) -> dict[str, Any]:
    metrics = [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in _directions(result)
    ]
    return {
        "task": result.task_label,
        # Without a slash: nobody should look for it on the hub.
        "dataset_path": "parallelbench",
        "dataset_name": result.task_label,
        "dataset_kwargs": dict(result.task_fields),
        "output_type": "generate_until",
        "metric_list": metrics,
        "generation_kwargs": dict(result.fields),
        "num_fewshot": _shots(exported, result),
        "repeats": exported.run.runfile.repeats,
        "metadata": {
            "version": exported.of(result)[0].task.version,
            **exported.provenance(result),
        },
    }


def _shots(exported: Exported, result: Result) -> int | None:
    sample = exported.questions.of(exported.of(result)[0])
    if sample is None:
        return None
    return sum(message.role == "assistant" for message in sample.messages)


def _samples(exported: Exported, result: Result) -> Iterator[dict[str, Any]]:
    groups: dict[int, list[Record]] = {}
    for record in exported.of(result):
        groups.setdefault(record.index, []).append(record)
    for index, records in sorted(groups.items()):
        asked = _asked(exported, records[0])
        texts = [record.text for record in records]
        for name, mark in _FILTERS.items():
            (score,) = by_sample(records, mark)
            yield {
                "doc_id": index,
                **asked,
                "resps": [texts],
                "filtered_resps": texts,
                "filter": name,
                "metrics": ["exact_match"],
                "exact_match": score,
            }


def _asked(exported: Exported, record: Record) -> dict[str, Any]:
    sample = exported.questions.of(record)
    messages = [] if sample is None else [message._asdict() for message in sample.messages]
    prompt = json.dumps(messages, ensure_ascii=False)
    target = "" if sample is None else sample.reference
    facts = {} if sample is None else dict(sample.facts)
    doc = {
        "id": record.sample.id,
        "digest": record.sample_digest,
        **({"facts": facts} if facts else {}),
    }
    return {
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": dict(record.decoder.fields)}},
        "doc_hash": text_digest(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": text_digest(prompt),
        "target_hash": text_digest(target),
    }


def _task_hash(lines: Sequence[Mapping[str, Any]]) -> str:
    return text_digest(
        "".join(f"{line['doc_hash']}{line['prompt_hash']}{line['target_hash']}" for line in lines)
    )
