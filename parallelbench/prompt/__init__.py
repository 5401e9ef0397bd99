"""Sample -> token ids and a canvas: the codec of a model, chat templates, thinking."""

from parallelbench.prompt.canvas import Prompt, build_prompt, lay_out
from parallelbench.prompt.codec import PLAIN_CHAT_TEMPLATE, Codec

__all__ = ["PLAIN_CHAT_TEMPLATE", "Codec", "Prompt", "build_prompt", "lay_out"]
