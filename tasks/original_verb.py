"""The verb ``import original``: a checkout of the original repository -> a bundle, a run file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parallelbench.console.terminal import tell

if TYPE_CHECKING:
    from parallelbench.tasks.original_bundle import OriginalSample

#: Judges free text unless the run file is changed: it needs no Java.
_GRAMMAR = "lingotweaker"
#: Names of fields that are passed over stand in one line, so many of them.
_TOLD = 5


@click.command(short_help="Bundle the original benchmark's task files.")
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The bundle to write, .jsonl; a run file of the same name, .yaml, stands beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the tasks as one JSON array.")
def original(checkout: Path, out: Path, *, as_json: bool) -> None:
    """Read the original benchmark's task files, and write them as one checked bundle.

    CHECKOUT is a checkout of its repository, or the folder of it that holds
    <group>/<task>.jsonl: dataset/parallel_bench/data/output/test.  Every line is checked;
    nothing is written where one is at fault.

    \b
    Example:
      parallelbench import original ParallelBench --out original.jsonl
      parallelbench run original.yaml --model hf:GSAI-ML/LLaDA-8B-Instruct
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.tasks.original_bundle import bundle_of, digest_of, write_bundle
    from parallelbench.tasks.original_files import read_checkout
    from parallelbench.tasks.original_rules import TEXT_METRICS

    if out.suffix != ".jsonl" or "," in str(out) or "|" in str(out):
        raise click.UsageError(f"--out must end in .jsonl and have no ',' or '|', got {out}")
    found = read_checkout(checkout)
    bundle = bundle_of(found.samples)
    digest = digest_of(bundle.encode())
    tasks: dict[str, list[OriginalSample]] = {}
    for sample in found.samples:
        tasks.setdefault(sample.task, []).append(sample)
    write_bundle(bundle, _runfile(list(tasks.values()), out, digest), out)
    told = [
        {"task": task, "samples": len(own), "metric": own[0].metric} for task, own in tasks.items()
    ]
    if as_json:
        tell(json.dumps(told, indent=1))
    else:
        for line in told:
            tell(f"{line['task']}: {line['samples']} samples, {line['metric']}")
    if found.passed_over:
        tell(_passed_over(found.passed_over), err=as_json)
    tell(f"bundle: {out}, digest {digest}", err=as_json)
    if any(own[0].metric in TEXT_METRICS for own in tasks.values()):
        tell(
            f"its free text is marked by grammar={_GRAMMAR}, which is another score than the "
            "original's: for that, write grammar: languagetool in the run file",
            err=as_json,
        )
    tell(f"run it: parallelbench run {out.with_suffix('.yaml')} --model ...", err=as_json)


def _passed_over(fields: Counter[str]) -> str:
    most = [f"{name[:40]} ({count})" for name, count in fields.most_common(_TOLD)]
    more = ", ..." if len(fields) > _TOLD else ""
    return (
        f"passed over: {fields.total()} values in {len(fields)} fields that nothing is known of: "
        f"{', '.join(most)}{more}"
    )


def _runfile(tasks: Sequence[Sequence[OriginalSample]], out: Path, digest: str) -> str:
    import yaml

    from parallelbench.tasks.original_rules import TEXT_METRICS

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
