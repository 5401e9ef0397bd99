"""Tokenizer and chat template of a checkpoint as one file of an entry: no weights, no Python.

A built-in model has its tokenizer in this package.  That of a checkpoint is what its submitter
says it is until somebody opens the checkpoint, so what could hide or invent part of a reply is
refused here, and what is merely unusual is reported.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry.folder import parse_as, read_json
from parallelbench.leaderboards.entry.tokenizer_parts import part_faults
from parallelbench.prompt import Codec

#: Special tokens that a chat template may name.
_NAMED: Final = ("bos_token", "eos_token", "pad_token", "unk_token", "mask_token", "sep_token")

#: A decoder chooses between that many.
_FEWEST_WORDS: Final = 2

_Id = Annotated[int, Field(ge=0, lt=2**31)]
#: The longest published ones have some 20,000 characters.
_Template = Annotated[str, Field(max_length=100_000)]
_Short = Annotated[str, Field(max_length=200)]


class _TokenizerFile(BaseModel):
    """The content of a tokenizer file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    digest: str
    tokenizer: str
    special_tokens: dict[str, _Short]
    cleans_spaces: bool
    mask_id: _Id
    end_id: _Id
    stop_ids: Annotated[list[_Id], Field(max_length=1000)]
    # Of several named ones transformers takes "default".
    chat_template: _Template | Annotated[dict[_Short, _Template], Field(max_length=20)]
    template_arguments: Annotated[dict[_Short, bool | int | _Short | None], Field(max_length=20)]


def to_file(codec: Codec) -> dict[str, Any]:
    """Return the content of the file from which :func:`from_file` makes ``codec`` again."""
    tokenizer = codec.tokenizer
    named = {name: getattr(tokenizer, name) for name in _NAMED}
    return {
        "schema_version": 1,
        "digest": codec.digest,
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "special_tokens": {name: str(token) for name, token in named.items() if token is not None},
        "cleans_spaces": bool(tokenizer.clean_up_tokenization_spaces),
        "mask_id": codec.mask_id,
        "end_id": codec.end_id,
        "stop_ids": sorted(codec.stop_ids),
        "chat_template": codec.chat_template or tokenizer.chat_template,
        "template_arguments": dict(codec.template_arguments),
    }


def from_file(content: Any, where: str) -> Codec:
    """Return the codec that ``content`` describes.

    Args:
        content: Content made by :func:`to_file`.
        where: Name of the file, for errors.

    Raises:
        SubmissionError: It has another form, no tokenizer can be made of it, one of its parts
            could rewrite texts, or one of its special ids is an ordinary token.
    """
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    form: _TokenizerFile = parse_as(_TokenizerFile, content, where)
    for name in form.special_tokens:
        if name not in _NAMED:
            raise SubmissionError(f"{where}: {name!r:.80} is none of {', '.join(_NAMED)}")
    try:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer.from_str(_plain(form.tokenizer, where)),
            clean_up_tokenization_spaces=form.cleans_spaces,
            chat_template=form.chat_template,
            **form.special_tokens,
        )
        codec = Codec(
            tokenizer=tokenizer,
            mask_id=form.mask_id,
            end_id=form.end_id,
            chat_template=form.chat_template if isinstance(form.chat_template, str) else None,
            template_arguments=form.template_arguments,
            stop_ids=frozenset(form.stop_ids),
        )
        faults = _faults(codec, form.digest, where)
    except (KeyboardInterrupt, SystemExit, SubmissionError):
        raise
    except BaseException as error:  # the tokenizers library panics past Exception
        raise SubmissionError(
            f"{where}: no tokenizer can be made of it: {' '.join(str(error).split()):.200}"
        ) from error
    if faults:
        raise SubmissionError(*faults)
    return codec


def _plain(tokenizer: str, where: str) -> str:
    """Return a ``tokenizer.json`` that neither pads nor cuts, if it has parts that we know.

    Raises:
        SubmissionError: It has others, or another form.
    """
    place = f"{where}: its tokenizer"
    content = read_json(tokenizer.encode(), place)
    try:
        faults = [f"{place}: {fault}" for fault in part_faults(content)]
    except TypeError as error:
        raise SubmissionError(f"{where}: no tokenizer can be made of it: {error}") from error
    if faults:
        raise SubmissionError(*faults)
    if content.get("padding") is None and content.get("truncation") is None:
        return tokenizer
    return json.dumps({**content, "padding": None, "truncation": None})


def _faults(codec: Codec, digest: str, where: str) -> list[str]:
    faults = []
    if codec.digest != digest:
        faults.append(
            f"{where} claims digest {digest:.12}, and what it holds has {codec.digest[:12]}; pack "
            "the run again"
        )
    vocabulary: dict[str, int] = codec.tokenizer.get_vocab()
    added = codec.tokenizer.added_tokens_decoder
    if len(set(vocabulary.values()) - {*added, codec.mask_id, *codec.ends}) < _FEWEST_WORDS:
        faults.append(f"{where}: its tokenizer has fewer than {_FEWEST_WORDS} ordinary tokens")
    for name, token in (
        ("mask_id", codec.mask_id),
        ("end_id", codec.end_id),
        *(("a stop id", each) for each in sorted(codec.stop_ids)),
    ):
        text = codec.tokenizer.decode([token]) if token < codec.size else ""
        if text and token not in added:
            faults.append(
                f"{where}: {name} is {token}, which is the ordinary token {text!r:.60}: what "
                "replies say could be hidden behind it; give the checkpoint's own special ids"
            )
    return faults
