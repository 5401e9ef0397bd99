"""What a model reads of the first sample of a season, for people to look at.

No program can say whether a prompt is a fair one.  So a board shows the chat template of every
model, and what it makes of one sample.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from parallelbench.leaderboards.entry.folder import hidden_characters
from parallelbench.prompt import Prompt

#: Characters of a template and of a prompt that are shown.
MOST_SHOWN: Final = 8000


class FirstPrompt(BaseModel):
    """A model's chat template and one of its prompts.

    Characters that do not show, or turn a text around, are spelled out; what is longer than
    :data:`MOST_SHOWN` characters is cut, and says so at its end.

    Attributes:
        model: Its setting.
        task: The label of the sample's task.
        index: The sample's number.
        template: Jinja source.
        text: The prompt that it writes, with special tokens as text.
        prompt_tokens: Of the prompt.
        canvas_tokens: To be written.
        claimed: Whether template and tokenizer are the submitter's word.
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
    """Return what is shown of ``prompt``.

    Args:
        model: The model's setting.
        task: The label of the sample's task.
        index: The sample's number.
        prompt: Of that sample and model.
        claimed: Whether template and tokenizer are the submitter's word.
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
