"""The verb ``decoder-table``: text -> the token counts that the decoder ``pc_sampler`` uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import template_option


@click.command(
    "decoder-table", cls=Verb, short_help="Count a model's tokens in text, for pc_sampler."
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option("--model", required=True, help="Model whose tokens are counted: mini, hf:PATH ...")
@template_option
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the table; an existing one is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts' totals as JSON.")
def decoder_table(**options: Any) -> None:
    """Count a model's tokens in text, for the decoder pc_sampler.

    Each FILE is UTF-8 text and is tokenized line by line; - is standard input.  Take ordinary
    text in the language that the model writes: the tasks' own answers would give the decoder
    the solutions.  Only the model's tokenizer is loaded.

    Examples:
      parallelbench decoder-table corpus.txt --model hf:GSAI-ML/LLaDA-8B-Instruct --out llada.json
      parallelbench run --model hf:GSAI-ML/LLaDA-8B-Instruct --decoders pc_sampler:table=llada.json
    """
    from parallelbench.cli.actions.decoder_table import decoder_table as action

    action(**options)
