"""The model adapters; importing this registers them all."""

from parallelbench.models import api, hf, ideal, mini

__all__ = ["api", "hf", "ideal", "mini"]
