"""Thinking: text that a model writes before its answer and that is not part of it.

Servers that do not separate the two return both as one text; checkpoints write both onto one
canvas.  If a block of thinking is not closed, there is no answer.

Source: the chat templates and model cards of the models that are named with each pair of marks,
and the documentation of the reasoning parsers of vLLM (docs.vllm.ai) for the same models.
"""

from __future__ import annotations

from typing import Final

#: Opening and closing mark of each known kind of block.
MARKS: Final = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM-4.5, SmolLM3
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),  # Kimi
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # OpenThinker
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ("<|channel>thought", "<channel|>"),  # Gemma 4, DiffusionGemma
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
)

#: Maximum number of successive blocks of thinking; each takes one pass over the reply.
MOST_BLOCKS: Final = 64


def answer_of(text: str, *, opened: bool = False) -> str | None:
    """Return the answer in ``text``: the part after the thinking at its start.

    Args:
        text: Complete reply.
        opened: True if the prompt ends in an opening mark, so that the reply begins within a
            block.  A closing mark without an opening one implies the same.

    Returns:
        ``text`` itself if it does not begin with thinking; None if the thinking does not end,
        or has :data:`MOST_BLOCKS` blocks.

    Example:
        >>> answer_of("<think>Four cities.</think> New York")
        'New York'
        >>> answer_of("<think>Four cities. Maybe") is None
        True
    """
    # Some models think again before they answer.
    for _ in range(MOST_BLOCKS):
        start = text.lstrip()
        for opening, closing in MARKS:
            thought, closed, rest = start.partition(closing)
            if closed and (thought.startswith(opening) or opening not in thought):
                text, opened = rest.lstrip(), False
                break
            if start.startswith(opening):
                return None
        else:
            return None if opened else text
    return None


def opens_thinking(prompt: str) -> bool:
    """Return True if a rendered prompt ends in an opening mark."""
    return prompt.rstrip().endswith(tuple(opening for opening, _ in MARKS))
