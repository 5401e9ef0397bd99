"""A small tokenizer with one token for each word of the tasks.

Any other word is spelled in single characters, so every ASCII text can be written; each
punctuation mark is a token.  Decoding restores spaces as in English text.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MASK = "<|mask|>"
END = "<|endoftext|>"
UNKNOWN = "<|unknown|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
SYSTEM = "<|system|>"

SPECIAL_TOKENS = (END, MASK, UNKNOWN, USER, ASSISTANT, SYSTEM)

#: Chat template of every message.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|endoftext|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_CONTINUED = "##"
# Characters without a space before or after them.
_NO_SPACE_BEFORE = ",.:;?!)]}'\n-"
_NO_SPACE_AFTER = "([{'\n-"


def word_tokenizer(words: Iterable[str], *, last_message: bool = False) -> Any:
    """Return a fast tokenizer with one token for each of ``words``.

    Args:
        words: Words of letters or digits; their order does not matter.
        last_message: True for a chat template that renders only the last message.

    Returns:
        A ``PreTrainedTokenizerFast`` with a mask token, an end-of-text token and a chat
        template.
    """
    shown = "in messages[-1:]" if last_message else "in messages"
    vocabulary = {token: index for index, token in enumerate(_tokens(words))}
    tokenizer = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=UNKNOWN, continuing_subword_prefix=_CONTINUED)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(" +"), behavior="removed"),
            pre_tokenizers.Split(tokenizers.Regex(r"[^A-Za-z0-9]"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix=_CONTINUED, cleanup=False),
            decoders.Fuse(),
            *(decoders.Replace(f" {mark}", mark) for mark in _NO_SPACE_BEFORE),
            *(decoders.Replace(f"{mark} ", mark) for mark in _NO_SPACE_AFTER),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        mask_token=MASK,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        chat_template=CHAT_TEMPLATE.replace("in messages", shown),
        clean_up_tokenization_spaces=False,
    )


def _tokens(words: Iterable[str]) -> list[str]:
    characters = string.ascii_letters + string.digits
    pieces = [*characters, *(_CONTINUED + character for character in characters)]
    own = sorted(set(words) - set(pieces))
    return [*SPECIAL_TOKENS, "\n", *string.punctuation, *pieces, *own]
