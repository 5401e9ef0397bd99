"""The model adapters; importing this registers them all."""

from parallelbench.models import api, hf, ideal

__all__ = ["api", "hf", "ideal"]
