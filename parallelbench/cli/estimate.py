"""The verb ``estimate``: a run -> its cost, before anything starts."""

from __future__ import annotations

from typing import Any

import click

from parallelbench.cli.groups import Verb
from parallelbench.cli.options import BATCH, PositiveNumber, json_option, requests_a_run


@click.command(cls=Verb, short_help="Estimate what a run will cost on this machine.")
@requests_a_run
@click.option(
    "--batch-size", type=BATCH, default=512, show_default=True, help="Samples decoded at a time."
)
@click.option(
    "--seconds",
    type=PositiveNumber(),
    default=30.0,
    show_default=True,
    help="Time for decoding samples, without loading the models.",
)
@json_option
def estimate(**options: Any) -> None:
    r"""Estimate what a run will cost on this machine, before it starts.

    The arguments are those of run.  Some samples of the run are decoded with all its settings
    for the given time, and the rest is extrapolated from them, with 95 % intervals: model
    calls, rows and tokens that the model processes, and time.  Nothing is written, and nothing
    is sent to a server.

    Examples:
      parallelbench estimate sweep --model mini
      parallelbench estimate --model hf:GSAI-ML/LLaDA-8B-Instruct --tasks 'waiting_line/*' \
                             --decoders 'confidence:k=1|2|4' --seconds 120
    """
    from parallelbench.cli.actions.estimate import estimate as action

    action(**options)
