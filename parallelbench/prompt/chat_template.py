"""Chat template and messages -> the text of a prompt, reproducible on any day and machine.

transformers compiles templates in a sandbox.  The prompts of a template that uses the current
time or random numbers could not be reproduced: it gets a fixed date, and random numbers are
refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NoReturn

from parallelbench.errors import ChatTemplateError
from parallelbench.task import Message

#: Date and time of ``strftime_now``.  Prompts, records and entries depend on it, so it never
#: changes.
TEMPLATE_DATE: Final = datetime(2026, 1, 1)  # noqa: DTZ001  a template asks for no time zone


def asks_for_date(template: str) -> bool:
    """Return True if a template asks for today's date."""
    return "strftime_now" in template


def render_chat(template: str, messages: Sequence[Message], variables: Mapping[str, Any]) -> str:
    """Render a chat up to the start of the reply.

    Args:
        template: Jinja source of the template.
        messages: Messages of the chat.
        variables: Further variables of the template: special tokens, flags.

    Raises:
        ChatTemplateError: The template has an error, raises one of its own, or uses random
            numbers.
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
        # A template is a program and may raise anything.
        roles = ", ".join(message.role for message in messages[:8])
        more = "" if len(messages) <= 8 else f" and {len(messages) - 8} more"
        raise ChatTemplateError(
            f"the chat template cannot render a chat of {roles}{more}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error


@lru_cache(maxsize=32)
def _compiled(source: str) -> Any:
    # Variables cannot override functions of the template: transformers makes them plain data.
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
    raise ValueError("it uses random numbers, but every run must give the same prompts")
