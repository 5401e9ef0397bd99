"""As Hugging Face's model pages take results: ``.eval_results/*.yaml``, and the older model index.

Such a file lies in a model's own repository and names the benchmark's data set on the hub, which
only whoever publishes it knows.  A score there has no interval, so the notes tell it.

Source: Hugging Face, "Evaluation results" and "Model cards" of the hub's documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from parallelbench.analysis.exports.export import Exported, file_name, grouped
from parallelbench.errors import RequestError
from parallelbench.results.result import Result

#: Of what is known of a result, that which a reader of a model's page should see.
_NOTED = (
    "decoder",
    "accuracy_95_interval",
    "samples",
    "decodes",
    "tokens_per_step",
    "tokens_per_step_95_interval",
    "task_version",
    "unfinished_run",
    "run_digest",
)


def write(exported: Exported, folder: Path) -> list[Path]:
    """Write ``MODEL/.eval_results/DECODER.yaml`` and ``MODEL/model-index.yaml``.

    Raises:
        RequestError: The data set's id was not given.
    """
    dataset = exported.publisher.dataset
    if dataset is None:
        raise RequestError(
            "--to hf needs --dataset OWNER/NAME: results on the hub name the data set of a "
            "benchmark that is registered there"
        )
    files: list[Path] = []
    for (model,), results in grouped(exported.ranked, "model").items():
        own = folder / file_name(model)
        (own / ".eval_results").mkdir(parents=True)
        for (decoder,), of_decoder in grouped(results, "decoder_label").items():
            entries = [_entry(exported, result, dataset) for result in of_decoder]
            file = own / ".eval_results" / f"parallelbench-{file_name(decoder)}.yaml"
            file.write_text(
                yaml.safe_dump(
                    eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True
                ),
                encoding="utf-8",
            )
            files.append(file)
        file = own / "model-index.yaml"
        file.write_text(_model_index(exported, model, results, dataset), encoding="utf-8")
        files.append(file)
    return files


def _entry(exported: Exported, result: Result, dataset: str) -> EvalResultEntry:
    began = exported.began
    return EvalResultEntry(
        dataset_id=dataset,
        task_id=result.task_label,
        value=result.accuracy,
        date=None if began is None else began.isoformat(),
        source_url=exported.publisher.source,
        source_name=None if exported.publisher.source is None else "ParallelBench run",
        notes=_notes(exported, result),
    )


def _notes(exported: Exported, result: Result) -> str:
    provenance = exported.provenance(result)
    return "; ".join(
        f"{name.replace('_', ' ')} {provenance[name]}" for name in _NOTED if name in provenance
    )


def _model_index(exported: Exported, model: str, results: Sequence[Result], dataset: str) -> str:
    card = ModelCardData(
        model_name=model,
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type=dataset,
                dataset_name=result.task_label,
                dataset_config=result.decoder_label,
                dataset_args=dict(result.task_fields),
                metric_type="accuracy",
                metric_name=f"accuracy, {result.decoder_label}",
                metric_value=result.accuracy,
                metric_args=exported.provenance(result),
                source_url=exported.publisher.source,
                source_name=None if exported.publisher.source is None else "ParallelBench run",
            )
            for result in results
        ],
    )
    return str(card.to_yaml()) + "\n"
