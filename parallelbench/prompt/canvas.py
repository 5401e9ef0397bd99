"""Sample -> token ids and a canvas.

A canvas is the sequence of positions that a decoder fills.  In the free form all positions are
masked, and the rest of the canvas after an answer is end-of-text.  In the infilling form it is
one right answer with only the open spans masked, so all right answers must have the same number
of tokens and agree outside of these spans.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from parallelbench.errors import CanvasError, ChatTemplateError
from parallelbench.prompt.codec import Codec
from parallelbench.prompt.thinking import opens_thinking
from parallelbench.task import Answers, Sample, Task


@dataclass(frozen=True, eq=False)
class Prompt:
    """One sample as token ids of one model.

    Attributes:
        task: Task that drew the sample.
        sample: Sample that is rendered.
        codec: Codec of the model.
        text: Rendered chat.
        ids: Token ids of the rendered chat.
        canvas: Initial canvas, with mask ids where the decoder writes.
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
        """The answer distribution of the sample, within the default limit."""
        return self.task.answers(self.sample)

    def read(self, ids: Sequence[int]) -> str:
        """Return the answer on a canvas with ``ids``."""
        # An infilled canvas begins with a part of the answer, even after an opening mark.
        begins_within = self.sample.open_spans is None and opens_thinking(self.text)
        return self.codec.decode(ids, thinking=begins_within)


def build_prompt(task: Task, sample: Sample, codec: Codec) -> Prompt:
    """Render ``sample`` as token ids and a canvas.

    Args:
        task: Task that drew the sample.
        sample: A sample.
        codec: Codec of the model.

    Raises:
        CanvasError: The reference does not fit the canvas or the tokenizer, or no position is
            open.
        ChatTemplateError: The chat template cannot render the sample's messages.
    """
    codec = codec.for_task(task)
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
    """Return the canvas of every right answer, as token ids; do not modify it in place.

    Raises:
        CanvasError: An answer does not fit the canvas or the tokenizer.
    """
    infilling = prompt.sample.open_spans is not None
    layout = _CanvasForm(prompt.codec, prompt.task.name, tuple(prompt.canvas.tolist()), infilling)
    return _laid_out(layout, answers)


class _CanvasForm(NamedTuple):
    """Everything that determines the canvases of answers."""

    codec: Codec
    task: str
    canvas: tuple[int, ...]
    infilling: bool


# The ideal model, its oracles and the bounds request the same rows.
@lru_cache(maxsize=64)
def _laid_out(layout: _CanvasForm, answers: Answers) -> Int[Tensor, "answers length"]:
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
            f"{layout.task} in the infilling form cannot contain the right answer "
            f"{answers.texts[int(clash[0])]!r}: its tokens differ from the pre-filled ones; "
            "use form=free with this tokenizer"
        )
    return rows


def _free_canvas(task: Task, sample: Sample, codec: Codec) -> list[int]:
    (ids,) = codec.encode([sample.reference])
    if task.law_known:  # otherwise a shorter answer may be right too
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
        raise CanvasError(f"no position is open on the canvas of {_shortened(reference)!r}")
    return canvas


def _check_length(task: str, answer: str, needed: int, canvas: int) -> None:
    if needed > canvas:
        raise CanvasError(
            f"{task}: the right answer {_shortened(answer)!r} takes {needed} tokens, but the "
            f"canvas has {canvas}; set canvas_length={needed} or more"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
