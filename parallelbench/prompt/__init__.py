"""Sample -> prompt: token ids and a masked canvas, with the codec of a model."""

from parallelbench.prompt.canvas import Prompt, build_prompt, lay_out
from parallelbench.prompt.codec import PLAIN_CHAT_TEMPLATE, Codec

__all__ = ["PLAIN_CHAT_TEMPLATE", "Codec", "Prompt", "build_prompt", "lay_out"]
