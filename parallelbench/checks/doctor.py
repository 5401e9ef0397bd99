"""Inspect a model before a long run: family, supported decoders, batch invariance."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from parallelbench.decode.lanes import Job, Outcome
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS
from parallelbench.model import Model, Server
from parallelbench.prompt import build_prompt
from parallelbench.record import Record
from parallelbench.run.environment import environment
from parallelbench.run.recording import draw_sample
from parallelbench.run.runfile import RunFile, make_runfile
from parallelbench.run.runner import Parts, execute, prepare
from parallelbench.trace import Trace

#: Small enough for a large network on a CPU, with a canvas that suits any tokenizer.
_TRIAL: Mapping[str, Any] = {
    "tasks": "choices/city:shots=0",
    "decoders": ["confidence:k=8", "random:k=8,temperature=1", "confidence_threshold"],
    "samples": 4,
}
#: Worked examples of the long prompts that share a batch with the short prompts of the trial,
#: which are padded to their length.
_SHOTS = 6


class _TrialRun(NamedTuple):
    """The records of one pass over the trial samples, and its duration."""

    records: dict[Any, Record | Outcome]
    seconds: float


def examine(model: str | Mapping[str, Any]) -> dict[str, Any]:
    """Inspect ``model``; return the findings as JSON values.

    It decodes a few samples one by one and again eight at a time, some of them padded to much
    longer prompts; ``healthy`` is true if the tokens were the same and nothing failed.

    Args:
        model: Model setting, such as ``hf:checkpoints/mine``, or its name and fields.

    Raises:
        RequestError: The model cannot be opened with these fields.
    """
    plan = make_runfile({"models": [model], **_TRIAL}, where="the trial run")
    began = time.perf_counter()
    parts = prepare(plan)
    opened = time.perf_counter() - began
    (setting, opened_model) = parts.models[0]
    report = {
        **environment(),
        "model": setting.label,
        **opened_model.provenance(),
        "seconds_to_open": round(opened, 2),
    }
    if isinstance(opened_model, Server):
        return {**report, **_of_server(_passed(plan, parts, 1))}
    alone, together = (_passed(plan, parts, size, opened_model) for size in (1, 8))
    return {
        **report,
        "memory_bytes": _memory(opened_model),
        "decoders": _decoders(opened_model),
        **_compared(alone, together),
    }


def _passed(
    plan: RunFile, parts: Parts, batch_size: int, network: Model | None = None
) -> _TrialRun:
    """Decode the trial samples with one batch size.

    Args:
        plan: Run file of the trial.
        parts: Built tasks, models and decoders of the run file.
        batch_size: Number of decodes that share a model call.
        network: Model for a further batch with prompts of very different lengths; None to
            skip it.
    """
    began = time.perf_counter()
    records: dict[Any, Record | Outcome] = {
        record.key: record for record in execute(plan, parts=parts, batch_size=batch_size)
    }
    if network is not None:
        outcomes = decode(_mixed(plan, parts, network), network, batch_size=batch_size)
        records |= {outcome.job.key: outcome for outcome in outcomes}
    return _TrialRun(records, time.perf_counter() - began)


def _mixed(plan: RunFile, parts: Parts, model: Model) -> list[Job]:
    """Return jobs of alternating short and long prompts, for half of the trial's samples."""
    (_, short) = parts.tasks[0]
    tasks = (short, replace(short, shots=_SHOTS))
    return [
        Job(build_prompt(task, draw_sample(task, plan.seed, index), model.codec), decoder, key)
        for index in range(plan.samples // 2)
        for task in tasks
        for label, decoder in parts.decoders
        for key in [f"{index}/{task.shots}/{label.key}"]
    ]


def _trace(decoded: Record | Outcome) -> Trace | None:
    if isinstance(decoded, Outcome):
        return decoded.trace
    return None if decoded.decoding is None else decoded.decoding.trace


def _compared(alone: _TrialRun, together: _TrialRun) -> dict[str, Any]:
    same = sum(_trace(alone.records[key]) == _trace(together.records[key]) for key in alone.records)
    errors = [record.error for record in together.records.values() if record.error]
    count = len(alone.records)
    return {
        "trial_decodes": count,
        "seconds_at_batch_1": round(alone.seconds, 2),
        "seconds_at_batch_8": round(together.seconds, 2),
        "same_tokens_at_batch_1_and_8": f"{same} of {count}",
        "errors": errors,
        "healthy": same == count and not errors,
    }


def _of_server(trial: _TrialRun) -> dict[str, Any]:
    records = list(trial.records.values())
    errors = [record.error for record in records if record.error]
    return {
        "trial_questions": len(records),
        "seconds": round(trial.seconds, 2),
        "replies": [each.text for each in records if isinstance(each, Record) and not each.error],
        "errors": errors,
        "healthy": not errors,
    }


def _decoders(model: Model) -> dict[str, str]:
    """Return, by decoder, "yes" or the capabilities that this model lacks; oracles are marked."""
    served = {}
    for name, kind in DECODERS.items():
        decoder = kind()
        lacks = decoder.missing_capabilities(model.capabilities)
        oracle = " (an oracle: it is given the right answers)" if "answers" in decoder.needs else ""
        served[name] = (f"no: needs {', '.join(lacks)}" if lacks else "yes") + oracle
    return served


def _memory(model: Model) -> int | None:
    """Return the peak memory of the model's device so far, in bytes.

    None on a CPU under Windows, which has no such counter.
    """
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device)
    if sys.platform == "win32":
        return None
    import resource

    # In kilobytes, except on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
