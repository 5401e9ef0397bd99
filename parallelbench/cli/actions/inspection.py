"""The work of the verbs ``show``, ``check-decoder`` and ``doctor``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from parallelbench.checks import conformance
from parallelbench.checks.doctor import examine
from parallelbench.cli.actions.requested import with_template
from parallelbench.console.numbers import count_text
from parallelbench.console.progress import shown
from parallelbench.console.terminal import tell
from parallelbench.errors import NotEnumerableError
from parallelbench.registry import load_plugins
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS, Sample, Task


def show(task: str, count: int, seed: int, *, as_json: bool) -> None:
    """Print the first ``count`` samples of every setting that ``task`` stands for."""
    load_plugins()
    entries = []
    for setting in parse_settings(task, TASKS):
        built = build(setting, TASKS)
        entries += [_sample_entry(built, draw_sample(built, seed, index)) for index in range(count)]
    if as_json:
        tell(json.dumps(entries, indent=1))
        return
    for entry in entries:
        tell(entry["id"], bold=True)
        for message in entry["messages"]:
            tell(f"{message['role']}: {message['content']}")
        tell(f"a right answer: {entry['reference'] or 'none is given'}")
        tell(f"right answers: {entry['right_answers']}\n")


def _sample_entry(task: Task, sample: Sample) -> dict[str, Any]:
    try:
        trellis = task.trellis(sample)
        count = len(task.answers(sample)) if trellis is None else trellis.count
        right_answers = count_text(count)
    except NotEnumerableError as error:
        right_answers = str(error)
    return {
        "id": sample.id,
        "messages": [message._asdict() for message in sample.messages],
        "reference": sample.reference,
        "right_answers": right_answers,
        "facts": dict(sample.facts),
        "digest": sample.digest,
    }


def check_decoder(decoder: str, *, as_json: bool) -> None:
    """Check a decoder, print each check, and exit with status 1 if one failed."""
    with shown(f"checking {decoder}"):
        conformity = conformance.check_decoder(decoder)
    if as_json:
        tell(json.dumps({**dataclasses.asdict(conformity), "passed": conformity.passed}, indent=1))
    else:
        tell(f"{conformity.decoder}, with {' and '.join(conformity.models)}")
        for check in conformity.checks:
            if check.problem is None:
                tell(f"  ok      {check.name}: {check.promise}")
            else:
                tell(f"  FAILED  {check.name}: {check.problem}")
        if conformity.note is not None:
            tell(conformity.note)
    click.get_current_context().exit(0 if conformity.passed else 1)


def doctor(model: str, template: Path | None, *, as_json: bool) -> None:
    """Examine a model, print the findings, and exit with status 1 if it is not healthy."""
    load_plugins()
    (requested,) = with_template([model], template)
    with shown(f"examining {model}"):
        findings = examine(requested)
    if as_json:
        tell(json.dumps(findings, indent=1))
    else:
        for name, value in findings.items():
            tell(f"{name.replace('_', ' ')}: {_as_text(value)}")
    click.get_current_context().exit(0 if findings["healthy"] else 1)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {part}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return "none" if value is None else str(value)
