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
from parallelbench.task import Message

#: For a tokenizer that brings no chat template, where the model does not read the prompt.
PLAIN_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True, eq=False)
class Codec:
    """How a model reads and writes text.

    Attributes:
        tokenizer: A Hugging Face fast tokenizer.
        mask_id: The id of an open position; may lie beyond the tokenizer.
        end_id: The id of end-of-text, which also fills the canvas behind an answer.
        chat_template: A Jinja template; None takes the tokenizer's own.
        template_arguments: What the template is told beside the messages, such as whether
            the model may think aloud.
        stop_ids: Further ids that end a reply, such as the end of a chat turn.
    """

    tokenizer: Any
    mask_id: int
    end_id: int
    chat_template: str | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    stop_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        # Saved state that would cut, pad or vary a text in silence.  It is dropped before the
        # digest is taken: a tokenizer is the same with such state and without.
        backend = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        if getattr(backend.model, "dropout", None) is not None:
            backend.model.dropout = None

    @cached_property
    def size(self) -> int:
        """One more than the tokenizer's highest id; ids from here on are never written."""
        # Not its number of entries: published tokenizers leave ids out.
        return 1 + max(map(int, self.tokenizer.get_vocab().values()))

    @cached_property
    def unwritable(self) -> list[int]:
        """The ids below :attr:`size` that stand for nothing: the mask, and ids left out."""
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
        """SHA-256 of the tokenizer alone: equal ids stand for equal texts."""
        return hashlib.sha256(self.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    def render(self, messages: Sequence[Message]) -> str:
        """Return the chat as the model reads it, up to where its reply begins.

        Raises:
            ChatTemplateError: There is no template, or it cannot write these messages.
        """
        variables = {**self.tokenizer.special_tokens_map, **self.template_arguments}
        return render_chat(self.template, messages, variables)

    @cached_property
    def template_date(self) -> str | None:
        """The date that the chat template is told as today's; None if it asks for none."""
        asks = asks_for_date(self.template)
        return TEMPLATE_DATE.date().isoformat() if asks else None

    @cached_property
    def template(self) -> str:
        """The chat template that is rendered, as Jinja source.

        Raises:
            ChatTemplateError: There is none.
        """
        try:
            return str(self.tokenizer.get_chat_template(self.chat_template))
        except ValueError as error:
            # None at all, or several under names of their own and none of them the default.
            raise ChatTemplateError(
                f"the tokenizer has no chat template to take: {' '.join(str(error).split())}"
            ) from error

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without special tokens."""
        # The tokenizer's own batch call: the wrapper around it costs more than it does.
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        return [encoding.ids for encoding in encoded]

    def decode(self, ids: Sequence[int], *, thinking: bool = False) -> str:
        """Return the answer that ``ids`` write: their text up to the first end-of-text.

        Special tokens are left out, and so is the thinking before the answer; thinking that
        has no end leaves nothing.

        Args:
            ids: Of a canvas.
            thinking: Whether the canvas begins within a block of thinking that the prompt
                opened.
        """
        written = self.before_end(ids)
        readable = [token for token in written if token != self.mask_id and token < self.size]
        text = str(self.tokenizer.decode(readable, skip_special_tokens=True))
        if not self._special_marks:
            return answer_of(text, opened=thinking) or ""
        # Without its special tokens the text would not show where the thinking ends.
        whole = str(self.tokenizer.decode(readable, skip_special_tokens=False))
        answer = answer_of(whole, opened=thinking)
        if answer == whole:
            return text
        for token in self.tokenizer.all_special_tokens:
            answer = (answer or "").replace(token, "")
        return answer or ""

    @cached_property
    def _special_marks(self) -> bool:
        """Whether a mark of thinking holds a special token."""
        special = set(self.tokenizer.all_special_tokens)
        return any(token in mark for token in special for pair in MARKS for mark in pair)

    def before_end(self, ids: Sequence[int]) -> list[int]:
        """Return what of ``ids`` stands before the first that ends a reply."""
        return list(itertools.takewhile(lambda token: token not in self.ends, ids))

    def check_round_trip(self, texts: Sequence[str], encoded: Sequence[Sequence[int]]) -> None:
        """Refuse texts that this tokenizer would not write back as they are.

        Of many texts, some hundred, evenly spread, are tried.

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
                    "choose a tokenizer that writes it back unchanged"
                )
