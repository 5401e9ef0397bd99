"""Chat template and messages -> the text of a prompt, equal on any day and in any process.

transformers compiles a template in its sandbox.  A template that asks for the time, or draws
at random, would give one run two prompts and no verifier the same one: it is told one fixed
date, and may not draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NoReturn

from parallelbench.errors import ChatTemplateError
from parallelbench.task import Message

#: The date and time that ``strftime_now`` writes.  It is part of what prompts, records and
#: entries mean, so it never changes.
TEMPLATE_DATE: Final = datetime(2026, 1, 1)  # noqa: DTZ001  a template asks for no time zone


def asks_for_date(template: str) -> bool:
    """Return whether a template asks for today's date."""
    return "strftime_now" in template


def render_chat(template: str, messages: Sequence[Message], variables: Mapping[str, Any]) -> str:
    """Return the chat as ``template`` writes it, up to where the reply begins.

    Args:
        template: Jinja source.
        messages: The chat.
        variables: What the template may name besides: special tokens, flags.

    Raises:
        ChatTemplateError: The template has an error, refuses the chat in words of its own, or
            draws at random.
    """
    chat = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(
            _compiled(template).render(
                messages=chat, tools=None, documents=None, add_generation_prompt=True, **variables
            )
        )
    except MemoryError:
        raise
    except Exception as error:
        # A template is a program, and may fail in any way.
        roles = ", ".join(message.role for message in messages[:8])
        more = "" if len(messages) <= 8 else f" and {len(messages) - 8} more"
        raise ChatTemplateError(
            f"the chat template cannot write a chat of {roles}{more}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error


@lru_cache(maxsize=32)
def _compiled(source: str) -> Any:
    # Variables cannot replace what a template calls: transformers turns them into plain data.
    from transformers.utils.chat_template_utils import _compile_jinja_template

    environment = _compile_jinja_template(source).environment.overlay()
    environment.filters = {**environment.filters, "random": _refuse_to_draw}
    environment.globals = {
        **environment.globals,
        "strftime_now": _strftime_now,
        "lipsum": _refuse_to_draw,
    }
    return environment.from_string(source)


def _strftime_now(form: str) -> str:
    return TEMPLATE_DATE.strftime(form)


def _refuse_to_draw(*_: object, **__: object) -> NoReturn:
    raise ValueError("it draws at random, and every run must give the same prompts")
