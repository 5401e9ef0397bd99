"""Look a model over before hours are spent on it: what it is, what it can do, is it steady?"""

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
from parallelbench.run.runfile import RunFile, make_runfile
from parallelbench.run.runner import Parts, draw, execute, prepare

#: Small enough for a large network on a processor, and with a canvas for any tokenizer.
_TRIAL: Mapping[str, Any] = {
    "tasks": "choices/city:shots=0",
    "decoders": ["confidence:k=8", "random:k=8,temperature=1", "confidence_threshold"],
    "samples": 4,
}
#: Worked examples of the prompts that stand in one batch with those of the trial, which have
#: none and are padded to their length.
_SHOTS = 6


class _Trial(NamedTuple):
    """What one pass over the trial gave."""

    records: dict[Any, Record | Outcome]
    seconds: float


def examine(model: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return what there is to say of ``model``, as JSON values.

    It decodes a few samples one by one and again eight at a time, some of them padded to prompts
    that are much longer; ``healthy`` says whether
    the tokens were the same and nothing failed.

    Args:
        model: A setting, such as ``hf:checkpoints/mine``, or its name and fields.

    Raises:
        RequestError: The model cannot be had as asked.
    """
    plan = make_runfile({"models": [model], **_TRIAL}, where="the trial run")
    began = time.perf_counter()
    parts = prepare(plan)
    opened = time.perf_counter() - began
    (setting, found) = parts.models[0]
    told = {
        **environment(),
        "model": setting.label,
        **found.facts(),
        "seconds_to_open": round(opened, 2),
    }
    if isinstance(found, Server):
        return {**told, **_of_server(_passed(plan, parts, 1))}
    alone, together = (_passed(plan, parts, size, found) for size in (1, 8))
    return {
        **told,
        "memory_bytes": _memory(found),
        "decoders": _decoders(found),
        **_compared(alone, together),
    }


def _passed(plan: RunFile, parts: Parts, batch_size: int, network: Model | None = None) -> _Trial:
    """Return what the trial gives in batches of one size.

    Args:
        plan: The trial.
        parts: What it names.
        batch_size: Decodes that share a model call.
        network: The model, if it is to decode prompts of very different length in one batch
            too.
    """
    began = time.perf_counter()
    records: dict[Any, Record | Outcome] = {
        record.key: record for record in execute(plan, parts=parts, batch_size=batch_size)
    }
    if network is not None:
        outcomes = decode(_mixed(plan, parts, network), network, batch_size=batch_size)
        records |= {outcome.job.key: outcome for outcome in outcomes}
    return _Trial(records, time.perf_counter() - began)


def _mixed(plan: RunFile, parts: Parts, model: Model) -> list[Job]:
    """Return decodes of short and long prompts in turn, half as many as the trial has each."""
    (_, short) = parts.tasks[0]
    tasks = (short, replace(short, shots=_SHOTS))
    return [
        Job(build_prompt(task, draw(task, plan.seed, index), model.codec), decoder, key)
        for index in range(plan.samples // 2)
        for task in tasks
        for label, decoder in parts.decoders
        for key in [f"{index}/{task.shots}/{label.key}"]
    ]


def _compared(alone: _Trial, together: _Trial) -> dict[str, Any]:
    same = sum(alone.records[key].trace == together.records[key].trace for key in alone.records)
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


def _of_server(trial: _Trial) -> dict[str, Any]:
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
    """Return for every decoder whether this model can serve it, or what it lacks."""
    lacking = {
        name: decoder().missing_capabilities(model.provides) for name, decoder in DECODERS.items()
    }
    return {
        name: f"no: needs {', '.join(lacks)}" if lacks else "yes" for name, lacks in lacking.items()
    }


def _memory(model: Model) -> int | None:
    """Return the most memory that was in use so far, in bytes, where the model computes.

    None on a processor under Windows, which does not tell it this way.
    """
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device)
    if sys.platform == "win32":
        return None
    import resource

    # In kilobytes, except on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
