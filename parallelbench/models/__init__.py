"""The model adapters; importing this registers them all."""

from parallelbench.models import api, hf, ideal, mini, published

__all__ = ["api", "hf", "ideal", "mini", "published"]
