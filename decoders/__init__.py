"""The decoding strategies, one module each; importing this registers them all."""

from parallelbench.decoders import (
    confidence,
    confidence_factor,
    confidence_threshold,
    dus,
    entropy,
    entropy_bound,
    entropy_threshold,
    hierarchy,
    left_to_right,
    local_leap,
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
    "dus",
    "entropy",
    "entropy_bound",
    "entropy_threshold",
    "hierarchy",
    "left_to_right",
    "local_leap",
    "margin",
    "margin_threshold",
    "one_by_one",
    "pivot",
    "random",
]
