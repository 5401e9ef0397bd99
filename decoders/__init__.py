"""The decoding strategies, one module each; importing this registers them all."""

from parallelbench.decoders import (
    confidence,
    confidence_factor,
    confidence_threshold,
    entropy,
    entropy_bound,
    entropy_threshold,
    left_to_right,
    margin,
    margin_threshold,
    one_by_one,
    pivot,
    random,
)

__all__ = [
    "confidence",
    "confidence_factor",
    "confidence_threshold",
    "entropy",
    "entropy_bound",
    "entropy_threshold",
    "left_to_right",
    "margin",
    "margin_threshold",
    "one_by_one",
    "pivot",
    "random",
]
