"""A small tokenizer that gives each word of the tasks a token of its own.

Any other word is spelled in single characters, so every ASCII text can be written, and
punctuation always stands alone.  Decoding puts the spaces back where English writes them.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

MASK = "<|mask|>"
END = "<|endoftext|>"
UNKNOWN = "<|unknown|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
SYSTEM = "<|system|>"

SPECIAL_TOKENS = (END, MASK, UNKNOWN, USER, ASSISTANT, SYSTEM)

_CHAT_TEMPLATE = (
    "{% for message in SHOWN %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|endoftext|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_CONTINUED = "##"
# Where decoding joins what encoding took apart.
_NO_SPACE_BEFORE = ",.:;?!)]}'\n-"
_NO_SPACE_AFTER = "([{'\n-"


def word_tokenizer(words: Iterable[str], *, last_message: bool = False) -> Any:
    """Return a fast tokenizer with one token for each of ``words``.

    Args:
        words: Words of letters or digits; their order does not matter.
        last_message: Whether its chat template leaves out all messages but the last.

    Returns:
        A ``PreTrainedTokenizerFast`` with a mask token, an end-of-text token and a chat
        template.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    shown = "messages[-1:]" if last_message else "messages"
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
        chat_template=_CHAT_TEMPLATE.replace("SHOWN", shown),
        clean_up_tokenization_spaces=False,
    )


def _tokens(words: Iterable[str]) -> list[str]:
    characters = string.ascii_letters + string.digits
    pieces = [*characters, *(_CONTINUED + character for character in characters)]
    own = sorted(set(words) - set(pieces))
    return [*SPECIAL_TOKENS, "\n", *string.punctuation, *pieces, *own]
