"""The work of the verb ``decoder-table``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Final

import click

from parallelbench.cli.actions.requested import model_setting
from parallelbench.console.terminal import tell, warn
from parallelbench.errors import RequestError, StorageError
from parallelbench.model import MODELS
from parallelbench.models.unigram_table import UnigramTable, count_tokens
from parallelbench.prompt import Codec
from parallelbench.setting import build

#: Share of single letters among the tokens of a text above which its words are mostly spelled.
_MOST_LETTERS: Final = 0.3


def decoder_table(
    files: Sequence[Path], model: str, template: Path | None, out: Path, *, as_json: bool
) -> None:
    """Count the tokens of ``model`` in ``files``, and write them to ``out``."""
    codec = build(model_setting(model, template), MODELS).open_codec()
    table = count_tokens(chain.from_iterable(map(_lines, files)), codec)
    if not table.total:
        raise RequestError(f"no token was counted: {', '.join(map(str, files))} hold no text")
    try:
        out.write_text(table.to_json(), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the table cannot be written to {out}: {error.strerror}") from error
    letters = _letters(table, codec)
    if letters > _MOST_LETTERS:
        warn(
            f"{100 * letters:.0f} % of the tokens are single letters: the tokenizer of {model} has "
            "tokens for the words of the tasks and spells all others, so this table says little of "
            "ordinary text; count with the checkpoint that will decode, such as --model hf:PATH"
        )
    if as_json:
        totals = {"tokens": table.total, "kinds": len(table.counts), "digest": table.digest}
        tell(json.dumps({"out": str(out), **totals}))
        return
    tell(
        f"{out}: {table.total:,} tokens of {len(table.counts):,} kinds; "
        f"use it as pc_sampler:table={out}"
    )


def _letters(table: UnigramTable, codec: Codec) -> float:
    """Return the share of counted tokens that are one letter of a longer word, in [0, 1]."""
    letters = {
        token
        for token in table.counts
        if len(text := codec.decode([token]).strip("# ")) == 1 and text.isascii() and text.isalpha()
    }
    return sum(table.counts[token] for token in letters) / table.total


def _lines(file: Path) -> Iterator[str]:
    with ExitStack() as stack:
        try:
            yield from stack.enter_context(click.open_file(str(file), encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"{file} cannot be read as UTF-8 text: {error}") from error
