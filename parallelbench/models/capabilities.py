"""Capabilities of the model families: the inputs and outputs beyond logits that each supports.

They are known without a network, so that a run file can be checked before anything is loaded.
"""

from __future__ import annotations

from typing import Final, Literal

from parallelbench.models.families import FAMILIES, Family

CacheName = Literal["none", "prefix", "dual", "block"]

#: Attention maps, averaged over heads and over all layers, the last 30 % or the last four.
ATTENTION: Final = frozenset({"attention", "attention_late", "attention_last_four"})
MASKED: Final = frozenset({"positions", "attention_mask", "shorter_rows"}) | ATTENTION
BLOCK: Final = ATTENTION
UNIFORM: Final = frozenset({"noise", "self_conditioning"})


def family_capabilities(family: Family, cache: CacheName | None) -> frozenset[str]:
    """Return the capabilities of a model of ``family``.

    Args:
        family: Family of the checkpoint.
        cache: Key-value cache, as for :class:`~parallelbench.models.hf.HuggingFace`.
    """
    if family.kind == "masked":
        return masked_capabilities(family, cache or "none")
    return {"block": BLOCK, "uniform": UNIFORM}.get(family.kind, frozenset())


def masked_capabilities(
    family: Family, cache: CacheName, supported: frozenset[str] = MASKED
) -> frozenset[str]:
    """Return the capabilities of a masked model with this cache.

    Args:
        family: Family of the checkpoint.
        cache: Key-value cache.
        supported: Capabilities of its class, without a cache.
    """
    if cache != "none":
        # What an approximate cache holds was computed under the model's own attention.
        return frozenset()
    return supported if family.shift else supported | {"unshifted"}


def named_family_capabilities(name: str, cache: CacheName | None) -> frozenset[str] | None:
    """Return the capabilities of the family called ``name``; None for an unknown family.

    Args:
        name: Name of the family.
        cache: Key-value cache, as for :class:`~parallelbench.models.hf.HuggingFace`.
    """
    family = next((family for family in FAMILIES if family.name == name), None)
    return None if family is None else family_capabilities(family, cache)
