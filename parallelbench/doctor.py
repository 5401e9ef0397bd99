"""Look a model over before hours are spent on it: what it is, what it can do, is it steady?"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from parallelbench.decoder import DECODERS
from parallelbench.environment import environment
from parallelbench.model import Model, Server
from parallelbench.record import Record
from parallelbench.runfile import RunFile, make_runfile
from parallelbench.runner import Parts, execute, prepare

#: Small enough for a large network on a processor, and with a canvas for any tokenizer.  Prompts
#: of one batch differ much in length, so that padding has a part in it.
_TRIAL: Mapping[str, Any] = {
    "tasks": "choices/city:shots=0|4",
    "decoders": ["confidence:k=8", "random:k=8,temperature=1", "confidence_threshold"],
    "samples": 4,
}


class _Trial(NamedTuple):
    """What one pass over the trial gave."""

    records: dict[Any, Record]
    seconds: float


def examine(model: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return what there is to say of ``model``, as JSON values.

    It decodes a few samples one by one and again eight at a time; ``healthy`` says whether
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
    alone, together = _passed(plan, parts, 1), _passed(plan, parts, 8)
    return {
        **told,
        "memory_bytes": _memory(found),
        "decoders": _decoders(found),
        **_compared(alone, together),
    }


def _passed(plan: RunFile, parts: Parts, batch_size: int) -> _Trial:
    began = time.perf_counter()
    records = {record.key: record for record in execute(plan, parts=parts, batch_size=batch_size)}
    return _Trial(records, time.perf_counter() - began)


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
        "replies": [record.text for record in records if not record.error],
        "errors": errors,
        "healthy": not errors,
    }


def _decoders(model: Model) -> dict[str, str]:
    """Return for every decoder whether this model can serve it, or what it lacks."""
    lacking = {name: decoder().lacks(model.provides) for name, decoder in DECODERS.items()}
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
