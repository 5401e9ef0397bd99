"""Sample -> token ids and a canvas: the one place where text and tokens meet.

A canvas is the row of positions that a decoder fills.  In the free form it is all masked,
and an answer on it is followed by end-of-text to its last position.  In the infilling form
it is one right answer with only the open spans masked, so every right answer must take
the same number of tokens and agree on all the others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from parallelbench.answers import Answers
from parallelbench.errors import CanvasError, ChatTemplateError
from parallelbench.sample import Message, Sample
from parallelbench.task import Task
from parallelbench.text.chat_template import TEMPLATE_DATE, asks_for_date, render_chat
from parallelbench.text.thinking import MARKS, answer_of, opens_thinking

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


@dataclass(frozen=True, eq=False)
class Prompt:
    """One sample as one model reads it.

    Attributes:
        task: The task that drew the sample.
        sample: The sample.
        codec: How the model reads and writes text.
        text: The rendered chat.
        ids: Its token ids.
        canvas: The canvas at the start: mask ids where the decoder writes.
    """

    task: Task
    sample: Sample
    codec: Codec
    text: str
    ids: Int[Tensor, " prompt"]
    canvas: Int[Tensor, " length"]

    def __repr__(self) -> str:
        return f"Prompt({self.sample.id}: {len(self.ids)} tokens, a canvas of {len(self.canvas)})"

    @cached_property
    def open(self) -> Bool[Tensor, " length"]:
        """True where the decoder writes."""
        return self.canvas == self.codec.mask_id

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the rendered chat, its ids and the canvas."""
        content = [self.text, self.ids.tolist(), self.canvas.tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @cached_property
    def answers(self) -> Answers:
        """The law of the sample's right answers, if they are no more than the default limit."""
        return self.task.answers(self.sample)

    def read(self, ids: Sequence[int]) -> str:
        """Return the answer that a canvas with ``ids`` holds."""
        # An infilled canvas begins with a part of the answer, whatever the prompt opened.
        begins_within = self.sample.open_spans is None and opens_thinking(self.text)
        return self.codec.decode(ids, thinking=begins_within)


def build_prompt(task: Task, sample: Sample, codec: Codec) -> Prompt:
    """Return ``sample`` as token ids and a canvas.

    Raises:
        CanvasError: The reference does not fit the canvas, the tokenizer cannot write it,
            or nothing is left to write.
        ChatTemplateError: The chat template cannot write the sample's messages.
    """
    try:
        text = codec.render(sample.messages)
    except ChatTemplateError as error:
        fewer = ", or ask without worked examples (shots=0)" if len(sample.messages) > 1 else ""
        raise ChatTemplateError(
            f"{task.name}: {error}; give another template with --template FILE{fewer}"
        ) from error
    (ids,) = codec.encode([text])
    canvas = (
        _free_canvas(task, sample, codec)
        if sample.open_spans is None
        else _infilling_canvas(sample.reference, sample.open_spans, codec)
    )
    return Prompt(
        task=task,
        sample=sample,
        codec=codec,
        text=text,
        ids=torch.tensor(ids, dtype=torch.long),
        canvas=torch.tensor(canvas, dtype=torch.long),
    )


def lay_out(prompt: Prompt, answers: Answers) -> Int[Tensor, "answers length"]:
    """Return the canvas of every right answer, as token ids; not to be changed in place.

    Raises:
        CanvasError: An answer does not fit the canvas, or the tokenizer cannot write it.
    """
    infilling = prompt.sample.open_spans is not None
    layout = _Layout(prompt.codec, prompt.task.name, tuple(prompt.canvas.tolist()), infilling)
    return _laid_out(layout, answers)


class _Layout(NamedTuple):
    """What decides how answers become canvases."""

    codec: Codec
    task: str
    canvas: tuple[int, ...]
    infilling: bool


# The ideal model, its oracles and the bounds all ask for the same rows.
@lru_cache(maxsize=64)
def _laid_out(layout: _Layout, answers: Answers) -> Int[Tensor, "answers length"]:
    codec, length = layout.codec, len(layout.canvas)
    encoded = codec.encode(answers.texts)
    codec.check_round_trip(answers.texts, encoded)
    if not layout.infilling:
        longest = max(range(len(encoded)), key=lambda index: len(encoded[index]))
        _check_length(layout.task, answers.texts[longest], len(encoded[longest]), length)
        return torch.tensor([ids + [codec.end_id] * (length - len(ids)) for ids in encoded])
    for text, ids in zip(answers.texts, encoded, strict=True):
        if len(ids) != length:
            raise CanvasError(
                f"{layout.task} in the infilling form needs answers of equal length, but "
                f"{text!r} takes {len(ids)} tokens where the canvas has {length}; "
                "use form=free with this tokenizer"
            )
    rows = torch.tensor(encoded)
    canvas = torch.tensor(layout.canvas)
    clash = ((rows != canvas) & (canvas != codec.mask_id)).any(dim=1).nonzero()
    if len(clash):
        raise CanvasError(
            f"{layout.task} in the infilling form cannot hold the right answer "
            f"{answers.texts[int(clash[0])]!r}: its tokens differ from the pre-filled ones; "
            "use form=free with this tokenizer"
        )
    return rows


def _free_canvas(task: Task, sample: Sample, codec: Codec) -> list[int]:
    (ids,) = codec.encode([sample.reference])
    if task.law_known:  # else a shorter answer may be as right
        _check_length(task.name, sample.reference, len(ids), task.canvas_length)
    return [codec.mask_id] * task.canvas_length


def _infilling_canvas(
    reference: str, open_spans: Sequence[tuple[int, int]], codec: Codec
) -> list[int]:
    (encoding,) = codec.tokenizer.backend_tokenizer.encode_batch(
        [reference], add_special_tokens=False
    )
    canvas = [
        codec.mask_id if any(start < high and low < end for low, high in open_spans) else token
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
    ]
    if codec.mask_id not in canvas:
        raise CanvasError(f"nothing is left to write on the canvas of {_shortened(reference)!r}")
    return canvas


def _check_length(task: str, answer: str, needed: int, canvas: int) -> None:
    if needed > canvas:
        raise CanvasError(
            f"{task}: the right answer {_shortened(answer)!r} takes {needed} tokens, but the "
            f"canvas has {canvas}; set canvas_length={needed} or more"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
