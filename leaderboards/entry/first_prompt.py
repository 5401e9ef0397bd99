"""The chat template of a model and its prompt of one sample, shown to readers of a board.

No program can decide whether a prompt is fair, so people must be able to look at it.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from parallelbench.leaderboards.entry.folder import hidden_characters
from parallelbench.prompt import Prompt

#: Greatest length of a template and of a prompt on the page, in characters.
MOST_SHOWN: Final = 8000


class FirstPrompt(BaseModel):
    """A model's chat template and one of its prompts.

    Characters that are invisible or reverse a text are escaped; a text of more than
    :data:`MOST_SHOWN` characters is cut, with a note at its end.

    Attributes:
        model: The model's setting.
        task: Label of the sample's task.
        index: The sample's number.
        template: Jinja source of the chat template.
        text: The prompt, with special tokens as text.
        prompt_tokens: Number of tokens of the prompt.
        canvas_tokens: Number of open positions of the canvas.
        claimed: True if template and tokenizer are the submitter's, unchecked.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: str
    task: str
    index: int
    template: str
    text: str
    prompt_tokens: int
    canvas_tokens: int
    claimed: bool


def first_prompt(
    model: str, task: str, index: int, prompt: Prompt, *, claimed: bool
) -> FirstPrompt:
    """Return ``prompt`` as it is shown on a board.

    Args:
        model: The model's setting.
        task: Label of the sample's task.
        index: The sample's number.
        prompt: Prompt of that sample for that model.
        claimed: True if template and tokenizer are the submitter's, unchecked.
    """
    return FirstPrompt(
        model=model,
        task=task,
        index=index,
        template=_visible(prompt.codec.template),
        text=_visible(prompt.text),
        prompt_tokens=len(prompt.ids),
        canvas_tokens=int(prompt.open.sum()),
        claimed=claimed,
    )


def _visible(text: str) -> str:
    cut = text[:MOST_SHOWN]
    if hidden_characters(cut, "\n\t"):
        cut = "".join(
            f"\\u{{{ord(each):x}}}" if hidden_characters(each, "\n\t") else each for each in cut
        )
    if len(text) <= MOST_SHOWN >= len(cut):
        return cut
    return f"{cut[:MOST_SHOWN]}\n[{len(text):,} characters in all]"
