"""A small tokenizer that keeps every text as it is: words with the space before them, and signs.

Each of its words is one token, with a space before it and without; so is every printable ASCII
character and the line break.  Any other word is spelled in characters, digits always are, and
white space is kept, so code and JSON can be written.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from parallelbench.models.word_tokenizer import (
    CHAT_TEMPLATE,
    END,
    MASK,
    SPECIAL_TOKENS,
    UNKNOWN,
)

_CHARACTERS = string.ascii_letters + string.digits + string.punctuation


def piece_tokenizer(words: Iterable[str], most: int) -> Any:
    """Return a fast tokenizer that reproduces every text of ASCII characters.

    Args:
        words: Words of letters that are one token each, as far as there is room.
        most: Most tokens of its vocabulary.

    Returns:
        A ``PreTrainedTokenizerFast`` with the special tokens and the chat template of
        :func:`~parallelbench.models.word_tokenizer.word_tokenizer`, at the same ids.
    """
    tokens = [*SPECIAL_TOKENS, "\n", " ", *_CHARACTERS, *(f" {each}" for each in _CHARACTERS)]
    longer = sorted({word for word in words if len(word) > 1})
    for word in longer[: (most - len(tokens)) // 2]:
        tokens += [word, f" {word}"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # Without merges, a word that is no token falls apart into characters.
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocabulary, [], unk_token=UNKNOWN, ignore_merges=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        tokenizers.Regex(r" ?[A-Za-z]+| ?[^A-Za-z\s]|\s"), behavior="isolated"
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        unk_token=UNKNOWN,
        additional_special_tokens=list(SPECIAL_TOKENS[3:]),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
