"""The sentence that tells which needs of a decoder a model does not meet."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from parallelbench.decoder import Decoder
from parallelbench.setting import Setting


def missing_capabilities_message(
    setting: Setting, decoder: Decoder, model: Setting, capabilities: AbstractSet[str]
) -> str | None:
    """Return a sentence on the decoder's needs that the model lacks; None if it lacks none.

    Args:
        setting: The decoder's setting.
        decoder: The decoder.
        model: The model's setting.
        capabilities: Everything that the model gives besides logits.
    """
    missing = decoder.missing_capabilities(capabilities)
    if not missing:
        return None
    hints = [decoder.hints[need] for need in missing if need in decoder.hints]
    return f"decoder {setting.label!r} needs {', '.join(missing)}, " + "; ".join(
        [f"which model {model.label!r} does not give", *hints]
    )
