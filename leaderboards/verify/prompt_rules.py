"""What the prompts of a stranger's model may be: what was asked, in a frame that never changes.

A chat template is a program.  It may put any text around the messages of a chat, leave worked
examples out and trim the ends of a message, but all that must not depend on what the messages
say: else a template could answer in the model's place, or ask for something easier.  So it is
rendered once for every sequence of roles with meaningless texts in place of the messages, and
every prompt must be just that with the real messages in their place.  What the tokenizer makes
of the prompt must spell it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.verify.spelling import Spelling
from parallelbench.prompt import Codec, Prompt
from parallelbench.task import Message

#: What honest templates do to the ends of a message.
_ENDS: Final[tuple[Callable[[str], str], ...]] = (str, str.strip, str.rstrip, str.lstrip)


class Frame(NamedTuple):
    """What a template writes around the messages of any chat with the same roles.

    Attributes:
        before: The text in front of each message that is shown.
        shown: The places of these messages in the chat.
        after: The text behind the last.
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
    """Return what the chat template of ``codec`` writes around the messages of a chat.

    Args:
        codec: Whose template.
        roles: Of the messages; the last is the question.

    Raises:
        SubmissionError: It leaves the question out, shows a message twice, or in another order.
        ChatTemplateError: It cannot write such a chat.
    """
    # No template can know what such a text says, nor find a part of it in a question.
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
        codec: How it reads and writes text.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._spelling = Spelling(codec)
        self._frames: dict[tuple[str, ...], Frame] = {}

    def faults(self, prompt: Prompt) -> Iterator[str]:
        """Yield what is wrong with a prompt of the model.

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
