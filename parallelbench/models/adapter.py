"""A LoRA adapter, merged into the weights of a checkpoint.

An adapter that was trained on the published files names their modules; these are renamed
as the checkpoint's own tensors are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parallelbench.errors import CheckpointError
from parallelbench.models.families import Family
from parallelbench.storage.plain_json import json_of, regular_bytes

_PREFIX = "base_model.model."


#: What the weights are made from, beside those of the checkpoint.
_FILES = ("adapter_config.json", "adapter_model.safetensors")

#: Ways to begin a training that leave the checkpoint's own weights as they are.
_PLAIN = (None, True, False, "gaussian", "orthogonal", "eva")


def merge_adapter(network: Any, folder: Path, family: Family) -> tuple[Any, list[Path]]:
    """Return ``network`` with an adapter merged into it, and the adapter's files.

    Raises:
        CheckpointError: There is no LoRA adapter in ``folder``, or it does not fit.
    """
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise CheckpointError(
            f"peft={folder} needs the package peft: pip install peft ({error})"
        ) from error
    from safetensors.torch import load_file

    files = [folder / name for name in _FILES]
    try:
        held = load_file(files[1])
        names = {name: _PREFIX + family.stock_name(name.removeprefix(_PREFIX)) for name in held}
        renamed = any(name != ours for name, ours in names.items())
        config = LoraConfig(**_lora_fields(files[0], renamed=renamed))
        tensors = {names[name]: tensor for name, tensor in held.items()}
        _check_untied(network, tensors)
        # Which modules it changes follows from what it holds.
        config.target_modules = sorted(
            {name.removeprefix(_PREFIX).split(".lora_")[0] for name in tensors}
        )
        with warnings.catch_warnings():
            # Of what it will no longer find in a later transformers.
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(network, config)
            told: Any = set_peft_model_state_dict(adapted, tensors)
    except Exception as error:
        # peft and safetensors have errors of their own for whatever is damaged.
        raise CheckpointError(
            f"no LoRA adapter can be loaded from {str(folder)!r}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error
    missing = [name for name in told.missing_keys if "lora_" in name]
    if told.unexpected_keys or missing:
        wrong = ", ".join([*told.unexpected_keys, *missing][:3])
        raise CheckpointError(f"the adapter in {str(folder)!r} does not fit the network: {wrong}")
    return adapted.merge_and_unload(), files


def _check_untied(network: Any, names: Iterable[str]) -> None:
    ends = [name for name in names if "embed_tokens." in name or "lm_head." in name]
    if ends and network.config.tie_word_embeddings:
        raise ValueError(
            f"{ends[0]} changes one of embedding and head, which are one matrix in this network; "
            "merge it where it was trained"
        )


def _lora_fields(path: Path, *, renamed: bool) -> dict[str, Any]:
    content = json_of(regular_bytes(path))
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004  told like its other faults
    if content.get("peft_type") != "LORA":
        raise ValueError(f"peft_type is {content.get('peft_type')!r}, and must be 'LORA'")
    if content.get("init_lora_weights") not in _PLAIN:
        raise ValueError(
            f"init_lora_weights={content['init_lora_weights']!r} changes the checkpoint's own "
            "weights; merge it where it was trained"
        )
    patterns = [name for name in ("rank_pattern", "alpha_pattern") if content.get(name)]
    if patterns and renamed:
        # They would find no module under its new name, and nobody would notice.
        raise ValueError(f"{patterns[0]} speaks of modules by their published names")
    taken = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias")
    return {name: content[name] for name in taken if name in content}
