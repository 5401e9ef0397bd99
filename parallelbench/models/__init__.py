"""The model adapters; importing this registers them all."""

from parallelbench.models import ideal

__all__ = ["ideal"]
