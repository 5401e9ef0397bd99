"""Rules for prompts of a submitted chat template: the messages, in a constant frame.

A chat template is a program.  It may put any text around the messages of a chat, leave worked
examples out and trim the ends of a message, but none of this may depend on the content of the
messages: otherwise a template could answer instead of the model, or ask an easier question.  So
it is rendered once for every sequence of roles with random texts as messages, and every prompt
must be that text with the real messages in their place.  The tokens of the prompt must spell it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.verify.spelling import Spelling
from parallelbench.prompt import Codec, Prompt
from parallelbench.task import Message

#: Treatments of the ends of a message by honest templates.
_ENDS: Final[tuple[Callable[[str], str], ...]] = (str, str.strip, str.rstrip, str.lstrip)


class Frame(NamedTuple):
    """Text of a template around the messages of any chat with the same roles.

    Attributes:
        before: Text before each message that is shown.
        shown: Places of these messages in the chat.
        after: Text after the last message.
    """

    before: tuple[str, ...]
    shown: tuple[int, ...]
    after: str

    def around(self, contents: Sequence[str]) -> str:
        """Return the prompt of messages with these contents."""
        parts = (
            text + contents[place] for text, place in zip(self.before, self.shown, strict=True)
        )
        return "".join(parts) + self.after


def frame_of(codec: Codec, roles: Sequence[str]) -> Frame:
    """Return the frame that the chat template of ``codec`` writes around messages.

    Args:
        codec: Codec with the template.
        roles: Roles of the messages; the last message is the question.

    Raises:
        SubmissionError: It leaves the question out, shows a message twice, or in another order.
        ChatTemplateError: It cannot write such a chat.
    """
    # No template can recognise such a text, nor find a part of it in a question.
    marks = [hashlib.sha256(f"message {place}".encode()).hexdigest() for place in range(len(roles))]
    chat = [Message(role, mark) for role, mark in zip(roles, marks, strict=True)]  # type: ignore[arg-type]
    text = codec.render(chat)
    shown = tuple(place for place, mark in enumerate(marks) if mark in text)
    if not shown or shown[-1] != len(roles) - 1:
        raise SubmissionError("the chat template does not show the question as it stands")
    before, rest = [], text
    for place in shown:
        part, found, rest = rest.partition(marks[place])
        if not found:
            raise SubmissionError("the chat template shows the messages in another order")
        before.append(part)
    if any(mark in part for mark in marks for part in (*before, rest)):
        raise SubmissionError("the chat template shows a message twice")
    return Frame(tuple(before), shown, rest)


class PromptRules:
    """The rules for the prompts of one model.

    Args:
        codec: Codec of the model.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._spelling = Spelling(codec)
        self._frames: dict[tuple[str, ...], Frame] = {}

    def faults(self, prompt: Prompt) -> Iterator[str]:
        """Yield a sentence for each fault of a prompt of the model.

        Raises:
            SubmissionError: The template breaks the rules with any chat of these roles.
        """
        messages = prompt.sample.messages
        roles = tuple(message.role for message in messages)
        if roles not in self._frames:
            self._frames[roles] = frame_of(self._codec, roles)
        frame = self._frames[roles]
        due = [frame.around([ends(m.content) for m in messages]) for ends in _ENDS]
        if prompt.text not in due:
            pairs = enumerate(zip(due[0], prompt.text, strict=False))
            place = next((at for at, (one, other) in pairs if one != other), len(due[0]))
            yield (
                "what the chat template writes around the messages depends on what they say: from "
                f"character {place} on the prompt has {prompt.text[place : place + 60]!r}, where "
                f"{due[0][place : place + 60]!r} is due; a template may not change, answer or look "
                "for what is asked"
            )
        if not self._spelling.spells(prompt.ids.tolist(), prompt.text):
            yield (
                "the tokens of the prompt do not spell it: the tokenizer gives the model another "
                f"text to read, {self._spelling.text(prompt.ids.tolist())[-120:]!r} at its end"
            )
        if prompt.sample.open_spans is not None:
            (filled,) = self._codec.encode([prompt.sample.reference])
            if not self._spelling.spells(filled, prompt.sample.reference):
                yield "the tokens that stand on the canvas beforehand do not spell the answer"
