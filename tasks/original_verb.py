"""The verb ``import original``: checkout of the original repository -> bundle and run file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from parallelbench.cli.groups import Verb
from parallelbench.console.terminal import tell
from parallelbench.tasks.original_bundle import (
    OriginalSample,
    bundle_digest,
    bundle_of,
    write_bundle,
)
from parallelbench.tasks.original_files import read_checkout
from parallelbench.tasks.original_rules import TEXT_METRICS

#: Grammar engine in the written run file: it needs no Java.
_GRAMMAR = "lingotweaker"
#: Number of ignored fields to name.
_MOST_NAMES = 5


@click.command(cls=Verb, short_help="Bundle the original benchmark's task files.")
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Bundle to write (.jsonl); a run file of the same name (.yaml) is written, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the tasks as one JSON array.")
def original(checkout: Path, out: Path, *, as_json: bool) -> None:
    """Check the original benchmark's task files and write them as one bundle.

    CHECKOUT is a checkout of its repository, or its folder with the files
    <group>/<task>.jsonl: dataset/parallel_bench/data/output/test.  Every line is checked;
    nothing is written if one is faulty.

    Example:
      parallelbench import original ParallelBench --out original.jsonl
      parallelbench run original.yaml --model hf:GSAI-ML/LLaDA-8B-Instruct
    """
    if out.suffix != ".jsonl" or "," in str(out) or "|" in str(out):
        raise click.UsageError(f"--out must end in .jsonl and have no ',' or '|', got {out}")
    content = read_checkout(checkout)
    bundle = bundle_of(content.samples)
    digest = bundle_digest(bundle.encode())
    tasks: dict[str, list[OriginalSample]] = {}
    for sample in content.samples:
        tasks.setdefault(sample.task, []).append(sample)
    write_bundle(bundle, _runfile(list(tasks.values()), out, digest), out)
    rows = [
        {"task": task, "samples": len(own), "metric": own[0].metric} for task, own in tasks.items()
    ]
    if as_json:
        tell(json.dumps(rows, indent=1))
    else:
        for row in rows:
            tell(f"{row['task']}: {row['samples']} samples, {row['metric']}")
    if content.passed_over:
        tell(_ignored_fields(content.passed_over), err=as_json)
    tell(f"bundle: {out}, digest {digest}", err=as_json)
    if any(own[0].metric in TEXT_METRICS for own in tasks.values()):
        tell(
            f"free text is scored with grammar={_GRAMMAR}, which is another score than the "
            "original's: for that one, write grammar: languagetool in the run file",
            err=as_json,
        )
    tell(f"run it: parallelbench run {out.with_suffix('.yaml')} --model ...", err=as_json)


def _ignored_fields(fields: Counter[str]) -> str:
    most = [f"{name[:40]} ({count})" for name, count in fields.most_common(_MOST_NAMES)]
    more = ", ..." if len(fields) > _MOST_NAMES else ""
    return (
        f"ignored: {fields.total()} values in {len(fields)} unknown fields: {', '.join(most)}{more}"
    )


def _runfile(tasks: Sequence[Sequence[OriginalSample]], out: Path, digest: str) -> str:

    content = {
        "models": "mini",
        "tasks": [
            {
                "name": "original_text" if own[0].metric in TEXT_METRICS else "original",
                "fields": {
                    "path": str(out),
                    "task": own[0].task,
                    "digest": digest,
                    "canvas_length": own[0].max_tokens,
                    **({"grammar": _GRAMMAR} if own[0].metric in TEXT_METRICS else {}),
                },
            }
            for own in tasks
        ],
        "decoders": "one_by_one",
        "samples": min(len(own) for own in tasks),
    }
    return yaml.safe_dump(content, sort_keys=False)
