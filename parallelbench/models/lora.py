"""A LoRA adapter, merged into the weights of a checkpoint.

An adapter that was trained on the published files uses their module names; they are renamed like
the checkpoint's own tensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from parallelbench.errors import CheckpointError
from parallelbench.models.families import Family
from parallelbench.storage.plain_json import json_of, regular_bytes

_PREFIX = "base_model.model."


#: Files of an adapter.
_FILES = ("adapter_config.json", "adapter_model.safetensors")

#: Initialisations that do not change the checkpoint's own weights.
_PLAIN = (None, True, False, "gaussian", "orthogonal", "eva")


def merge_adapter(network: Any, folder: Path, family: Family) -> tuple[Any, list[Path]]:
    """Merge an adapter into ``network``; return the network and the adapter's files.

    Raises:
        CheckpointError: There is no LoRA adapter in ``folder``, or it does not fit.
    """
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise CheckpointError(
            f"peft={folder} needs the package peft: pip install peft ({error})"
        ) from error
    files = [folder / name for name in _FILES]
    try:
        held = load_file(files[1])
        names = {name: _PREFIX + family.stock_name(name.removeprefix(_PREFIX)) for name in held}
        renamed = any(name != ours for name, ours in names.items())
        config = LoraConfig(**_lora_fields(files[0], renamed=renamed))
        tensors = {names[name]: tensor for name, tensor in held.items()}
        _check_untied(network, tensors)
        # The modules that it changes follow from its tensors.
        config.target_modules = sorted(
            {name.removeprefix(_PREFIX).split(".lora_")[0] for name in tensors}
        )
        with warnings.catch_warnings():
            # peft warns of features that a later transformers removes.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(network, config)
            loading: Any = set_peft_model_state_dict(adapted, tensors)
    except Exception as error:
        # peft and safetensors raise various types for damaged files.
        raise CheckpointError(
            f"no LoRA adapter can be loaded from {str(folder)!r}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error
    missing = [name for name in loading.missing_keys if "lora_" in name]
    if loading.unexpected_keys or missing:
        wrong = ", ".join([*loading.unexpected_keys, *missing][:3])
        raise CheckpointError(f"the adapter in {str(folder)!r} does not fit the network: {wrong}")
    return adapted.merge_and_unload(), files


def _check_untied(network: Any, names: Iterable[str]) -> None:
    ends = [name for name in names if "embed_tokens." in name or "lm_head." in name]
    if ends and network.config.tie_word_embeddings:
        raise ValueError(
            f"{ends[0]} changes only one of embedding and head, which share a matrix in this "
            "network; merge it with the software that trained it"
        )


def _lora_fields(path: Path, *, renamed: bool) -> dict[str, Any]:
    content = json_of(regular_bytes(path))
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  reported like its other faults
    if content.get("peft_type") != "LORA":
        raise ValueError(f"peft_type is {content.get('peft_type')!r} and must be 'LORA'")
    if content.get("init_lora_weights") not in _PLAIN:
        raise ValueError(
            f"init_lora_weights={content['init_lora_weights']!r} changes the checkpoint's own "
            "weights; merge it with the software that trained it"
        )
    patterns = [name for name in ("rank_pattern", "alpha_pattern") if content.get(name)]
    if patterns and renamed:
        # They would silently match no renamed module.
        raise ValueError(f"{patterns[0]} refers to modules by their published names")
    taken = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias")
    return {name: content[name] for name in taken if name in content}
