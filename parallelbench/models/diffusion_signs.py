"""Signs in ``config.json`` that a checkpoint under a causal class name is a diffusion model.

Loaded as the class that it names, such a checkpoint would silently be decoded one token after
another, with plausible but wrong results.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_ENDINGS = re.compile(r"(ForCausalLM|ForBlockDiffusion|LMHeadModel|ModelLM|Model)$")


def stem(name: str) -> str:
    """Return the common stem of a class name and its model type, such as ``sdarmoe``."""
    return _ENDINGS.sub("", name).replace("_", "").replace("-", "").casefold()


def diffusion_signs(
    config: Mapping[str, Any], own: Any, stems: Iterable[str], fields: Sequence[str]
) -> Iterator[str]:
    """Yield the fields of a configuration that indicate a diffusion model, as ``field=value``.

    Args:
        config: Content of ``config.json``, whose ``architectures`` name a causal class.
        own: Configuration class of that causal class: its own fields are not signs.
        stems: Stems of the classes of all diffusion families.
        fields: Fields that only diffusion models have, such as the block length.
    """
    named = {stem(name) for name in config["architectures"]}
    for field in ("mask_token_id", *fields):
        if config.get(field) is not None and not hasattr(own, field):
            yield f"{field}={config[field]!r:.40}"
    if stem(str(config.get("model_type"))) in set(stems) - named:
        yield f"model_type={config['model_type']!r:.40}"
    for name in remote_classes(config):
        if stem(name) not in named:
            yield f"auto_map naming {name:.40}"
    if config.get("is_causal") is False:
        yield "is_causal=False"


def remote_classes(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the language models in ``auto_map``."""
    remote = config.get("auto_map")
    if not isinstance(remote, Mapping):
        return
    for head in ("AutoModel", "AutoModelForCausalLM"):
        if isinstance(remote.get(head), str):
            yield remote[head].rpartition(".")[2]
