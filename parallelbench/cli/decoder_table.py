"""The verb ``decoder-table``: text -> the token counts that ``pc_sampler`` weighs by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import click

from parallelbench.cli.asked import FILE, with_template
from parallelbench.console.terminal import tell
from parallelbench.errors import RequestError, StorageError


@click.command("decoder-table", short_help="Count a model's tokens in text, for pc_sampler.")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option("--model", required=True, help="Whose tokens are counted: mini, hf:PATH ...")
@click.option("--template", type=FILE, help="Jinja chat template, for a checkpoint without one.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the table; one that is there is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON what was counted.")
def decoder_table(
    files: Sequence[Path], model: str, template: Path | None, out: Path, *, as_json: bool
) -> None:
    """Count a model's tokens in text, for the strategy pc_sampler.

    Each FILE is UTF-8 text, tokenized line by line; - is standard input.  Take ordinary text
    of the language that the model writes: the tasks' own answers would tell the strategy
    what it is asked for.  Only the model's tokenizer is loaded.

    \b
    Examples:
      parallelbench decoder-table corpus.txt --model hf:GSAI-ML/LLaDA-8B-Instruct --out llada.json
      parallelbench run --model hf:GSAI-ML/LLaDA-8B-Instruct --decoders pc_sampler:table=llada.json
    """  # noqa: D301  click's \\b keeps the lines of an example apart
    from parallelbench.model import MODELS
    from parallelbench.models.unigram_table import count_tokens
    from parallelbench.registry import load_plugins
    from parallelbench.setting import build, make_setting, parse_settings

    load_plugins()
    settings = []
    for asked in with_template([model], template):
        if isinstance(asked, str):
            settings += parse_settings(asked, MODELS)
        else:
            settings.append(make_setting(asked["name"], asked["fields"], MODELS))
    if len(settings) != 1:
        raise RequestError(f"--model must name one model, got {model!r}, which is {len(settings)}")
    codec = build(settings[0], MODELS).open_codec()
    table = count_tokens(chain.from_iterable(map(_lines, files)), codec)
    if not table.total:
        raise RequestError(f"no token was counted: {', '.join(map(str, files))} hold no text")
    try:
        out.write_text(table.to_json(), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the table cannot be written to {out}: {error.strerror}") from error
    told = {"out": str(out), "tokens": table.total, "kinds": len(table.counts)}
    if as_json:
        tell(json.dumps({**told, "digest": table.digest}))
        return
    tell(
        f"{out}: {table.total:,} tokens of {len(table.counts):,} kinds; "
        f"use it as pc_sampler:table={out}"
    )


def _lines(file: Path) -> Iterator[str]:
    with ExitStack() as stack:
        try:
            yield from stack.enter_context(click.open_file(str(file), encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"{file} cannot be read as UTF-8 text: {error}") from error
