"""Text <-> token ids: the tokenizer of a model with its chat template and special tokens."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from parallelbench.errors import CanvasError, ChatTemplateError
from parallelbench.prompt.chat_template import TEMPLATE_DATE, asks_for_date, render_chat
from parallelbench.prompt.thinking import MARKS, answer_of
from parallelbench.task import Message, Task

#: Chat template for tokenizers without one, if the model does not read the prompt.
PLAIN_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True, eq=False)
class Codec:
    """The tokenizer, special ids and chat template of a model.

    Attributes:
        tokenizer: Hugging Face fast tokenizer.
        mask_id: Token id of open positions; may be outside of the tokenizer.
        end_id: Token id of end-of-text, which also fills the canvas after an answer.
        chat_template: Jinja template; None is the tokenizer's own.
        template_arguments: Variables of the template in addition to the messages, such as
            ``enable_thinking``.
        stop_ids: Further token ids that end a reply, such as the end of a chat turn.
    """

    tokenizer: Any
    mask_id: int
    end_id: int
    chat_template: str | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    stop_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        # Saved state would silently truncate, pad or vary texts.  It is removed before the digest
        # is computed, so that it does not affect the digest.
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        if getattr(backend.model, "dropout", None) is not None:
            backend.model.dropout = None

    def for_task(self, task: Task) -> Codec:  # noqa: ARG002  that of a model is for all tasks
        """Return the codec of the prompts and canvases of ``task``."""
        return self

    @cached_property
    def size(self) -> int:
        """The tokenizer's highest id plus one; higher ids are never written."""
        # Not its number of entries: published tokenizers skip ids.
        return 1 + max(map(int, self.tokenizer.get_vocab().values()))

    @cached_property
    def unwritable(self) -> list[int]:
        """The ids below :attr:`size` that are not text: the mask and skipped ids."""
        known = set(self.tokenizer.get_vocab().values()) - {self.mask_id}
        return [token for token in range(self.size) if token not in known]

    @cached_property
    def ends(self) -> frozenset[int]:
        """Every id that ends a reply."""
        return self.stop_ids | {self.end_id}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokenizer, the special ids and the chat template."""
        template = self.chat_template or self.tokenizer.chat_template
        content: list[Any] = [self.tokenizer.backend_tokenizer.to_str(), self.mask_id]
        content += [self.end_id, template, dict(self.template_arguments), sorted(self.stop_ids)]
        if asks_for_date(str(template)):
            content.append(TEMPLATE_DATE.isoformat())
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @cached_property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer alone: with equal digests, equal ids are equal texts."""
        return hashlib.sha256(self.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    def render(self, messages: Sequence[Message]) -> str:
        """Render a chat up to the start of the reply.

        Raises:
            ChatTemplateError: There is no template, or it cannot render these messages.
        """
        variables = {**self.tokenizer.special_tokens_map, **self.template_arguments}
        return render_chat(self.template, messages, variables)

    @cached_property
    def template_date(self) -> str | None:
        """The date that the chat template gets as today's; None if it asks for none."""
        asks = asks_for_date(self.template)
        return TEMPLATE_DATE.date().isoformat() if asks else None

    @cached_property
    def template(self) -> str:
        """The Jinja source of the chat template.

        Raises:
            ChatTemplateError: There is none.
        """
        try:
            return str(self.tokenizer.get_chat_template(self.chat_template))
        except ValueError as error:
            # There is none, or several with other names than the default.
            raise ChatTemplateError(
                f"the tokenizer has no default chat template: {' '.join(str(error).split())}"
            ) from error

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without special tokens."""
        # The backend's batch call: the wrapper around it takes longer than the call itself.
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int], *, thinking: bool = False) -> str:
        """Decode the answer on a canvas: its text up to the first end-of-text.

        Special tokens and the thinking before the answer are removed; the result is empty if
        the thinking does not end.

        Args:
            ids: Token ids of a canvas.
            thinking: True if the canvas begins within a block of thinking that the prompt
                opened.
        """
        written = self.before_end(ids)
        readable = [token for token in written if token != self.mask_id and token < self.size]
        text = str(self.tokenizer.decode(readable, skip_special_tokens=True))
        if not self._special_marks:
            return answer_of(text, opened=thinking) or ""
        # The end of the thinking may be a special token, which ``text`` does not contain.
        whole = str(self.tokenizer.decode(readable, skip_special_tokens=False))
        answer = answer_of(whole, opened=thinking)
        if answer == whole:
            return text
        for token in self.tokenizer.all_special_tokens:
            answer = (answer or "").replace(token, "")
        return answer or ""

    @cached_property
    def _special_marks(self) -> bool:
        """True if a mark of thinking contains a special token."""
        special = set(self.tokenizer.all_special_tokens)
        return any(token in mark for token in special for pair in MARKS for mark in pair)

    def before_end(self, ids: Sequence[int]) -> list[int]:
        """Return the ids before the first one that ends a reply."""
        return list(itertools.takewhile(lambda token: token not in self.ends, ids))

    def check_round_trip(self, texts: Sequence[str], encoded: Sequence[Sequence[int]]) -> None:
        """Refuse texts that encoding and decoding would change.

        Of many texts, about a hundred, evenly spaced, are checked.

        Raises:
            CanvasError: Decoding the ids of a text gives another text.
        """
        tried = range(0, len(texts), max(1, len(texts) // 100))
        decoded = self.tokenizer.backend_tokenizer.decode_batch(
            [list(encoded[index]) for index in tried], skip_special_tokens=False
        )
        for text, back in zip((texts[index] for index in tried), decoded, strict=True):
            if back.strip() != text.strip():
                raise CanvasError(
                    f"the tokenizer turns the answer {text!r} into {back!r}; "
                    "choose a tokenizer that reproduces it"
                )
