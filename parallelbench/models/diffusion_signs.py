"""Signs in ``config.json`` that a checkpoint under a causal class name is a diffusion model.

Read as the class that it names, such a checkpoint would be run one token after another in
silence, with numbers that look like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_ENDINGS = re.compile(r"(ForCausalLM|ForBlockDiffusion|LMHeadModel|ModelLM|Model)$")


def stem(name: str) -> str:
    """Return what names of a class and of its model type have in common: ``sdarmoe``."""
    return _ENDINGS.sub("", name).replace("_", "").replace("-", "").casefold()


def diffusion_signs(
    config: Mapping[str, Any], own: Any, stems: Iterable[str], fields: Sequence[str]
) -> Iterator[str]:
    """Yield what of a configuration belongs to a diffusion model, as ``field=value``.

    Args:
        config: ``config.json``, whose ``architectures`` name a causal class.
        own: The configuration class of that causal class: its own fields are no signs.
        stems: Of the classes of all diffusion families.
        fields: That only a diffusion model has, such as the length of its blocks.
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
    """Yield the names of the language models that ``auto_map`` says are to be loaded."""
    remote = config.get("auto_map")
    if not isinstance(remote, Mapping):
        return
    for head in ("AutoModel", "AutoModelForCausalLM"):
        if isinstance(remote.get(head), str):
            yield remote[head].rpartition(".")[2]
