"""Checks of ids and sizes in a checkpoint's JSON files.

Impossible numbers are refused before they are used: many of them would otherwise appear as an
index error in the middle of a run, or as an allocation that exhausts the machine's memory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import torch

from parallelbench.errors import CheckpointError

Config = Mapping[str, Any]

_IDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")

#: Maximum values, far above any published network.
_WIDTH: Final = 2**24
_LAYERS: Final = 2**10
_HEADS: Final = 2**16
_UNBOUNDED: Final = 2**62

#: Maximum of each size, by field; the minimum is 1.
_SIZES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embedding_size", "vocab_size"), _WIDTH),
    **dict.fromkeys(("intermediate_size", "mlp_hidden_size", "n_inner", "head_dim"), _WIDTH),
    **dict.fromkeys(("moe_intermediate_size", "expert_intermediate_size"), _WIDTH),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "num_layers"), _LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head"), _HEADS),
    **dict.fromkeys(("num_key_value_heads", "n_kv_heads", "num_experts_per_tok"), _HEADS),
    **dict.fromkeys(("max_position_embeddings", "max_sequence_length"), _UNBOUNDED),
    **dict.fromkeys(("n_positions", "canvas_length", "block_size", "bd_size"), _UNBOUNDED),
}

#: Numbers of experts and groups; 0 or None means none.
_COUNTS: Final = ("num_experts", "n_group", "topk_group", "num_shared_experts")
#: Maximum of each positive number, by field.
_NUMBERS: Final[Mapping[str, float]] = {
    "rope_theta": math.inf,
    "rms_norm_eps": 1.0,
    "layer_norm_eps": 1.0,
    "partial_rotary_factor": 1.0,
}

#: Maximum parameters per byte of a weight file, with a wide margin: published files have one
#: or fewer, and two with four bits per weight.
_MOST_PER_BYTE: Final = 4
#: Networks with fewer parameters are not checked; loading names the tensor that differs.
_HARMLESS: Final = 2**26


def check_numbers(config: Config, path: str) -> None:
    """Refuse sizes that no network has, and ids outside of its embedding.

    Lists are left to the class in transformers: some networks have a size for each layer.

    Args:
        config: Content of ``config.json``.
        path: Path of the checkpoint, for error messages.

    Raises:
        CheckpointError: Names the field, its value and what is allowed.
    """
    text_config = config.get("text_config")
    if text_config and not isinstance(text_config, Mapping):
        raise CheckpointError(
            f"{path}: text_config={text_config!r:.80} in config.json is no object with the sizes "
            "of the network"
        )
    for where, fields in (("", config), ("text_config.", text_config or {})):
        for name, most in _SIZES.items():
            _check_size(f"{where}{name}", fields.get(name), 1, most, path)
        for name in _COUNTS:
            _check_size(f"{where}{name}", fields.get(name), 0, _HEADS, path)
        for name, largest in _NUMBERS.items():
            _check_number(f"{where}{name}", fields.get(name), largest, path)
        _check_experts(fields, path)
        # In LLaDA's layout the larger one is the number of rows; elsewhere embedding_size is a
        # width.
        held = [fields.get(name) for name in ("embedding_size", "vocab_size")]
        sizes = [size for size in held if isinstance(size, int) and size]
        rows: int | None = max(sizes, default=None)
        check_ids(fields, rows, path, "config.json", where)


def check_ids(
    fields: Mapping[str, Any], rows: int | None, path: str, file: str, within: str = ""
) -> None:
    """Refuse special ids outside of the embedding.

    Args:
        fields: Content of a JSON file; only the end-of-text id may be a list.
        rows: Number of rows of the embedding; None if unknown.
        path: Path of the checkpoint, for error messages.
        file: Name of the file, for error messages.
        within: Prefix of the field names, for error messages.

    Raises:
        CheckpointError: Names the field, its value and what is allowed.
    """
    for name in _IDS:
        value = fields.get(name)
        if value is None:
            continue
        several = name == "eos_token_id" and isinstance(value, list)
        for each in value if several else [value]:
            if not _is_whole(each) or each < 0 or (rows is not None and each >= rows):
                known = "" if rows is None else f" below {rows}, the rows of the embedding"
                raise CheckpointError(
                    f"{path}: {within}{name}={value!r:.80} in {file} is not a token id: an id is a "
                    f"whole number from 0{known}; write the id of the token, or null, into {file}"
                )


def check_parameters(kind: Any, made: Any, config: Config, held: int, path: str) -> None:
    """Refuse sizes that exceed the weight files, before memory is allocated.

    Args:
        kind: Class of the network.
        made: Configuration of the network.
        config: Content of ``config.json``.
        held: Size of the weight files in bytes.
        path: Path of the checkpoint, for error messages.

    Raises:
        CheckpointError: Names the sizes.
    """
    with torch.device("meta"):
        network = kind(copy.deepcopy(made))
    count = sum(parameter.numel() for parameter in network.parameters())
    if count > max(_MOST_PER_BYTE * held, _HARMLESS):
        sizes = {**config, **(config.get("text_config") or {})}
        listed = ", ".join(
            f"{name}={sizes[name]}" for name in (*_SIZES, *_COUNTS) if sizes.get(name)
        )
        raise CheckpointError(
            f"{path}: config.json describes a network of {count:,} parameters, and the weight "
            f"files have {held:,} bytes; complete them, or correct the wrong one of {listed}"
        )


def _check_size(name: str, value: Any, least: int, most: int, path: str) -> None:
    if value is None or isinstance(value, (list, Mapping)):
        return
    if not _is_whole(value) or not least <= value <= most:
        above = "" if most == _UNBOUNDED else f" to {most}"
        raise CheckpointError(
            f"{path}: {name}={value!r:.80} in config.json is not a size: it must be a whole "
            f"number from {least}{above}; write the number that the weights were trained with"
        )


def _check_number(name: str, value: Any, largest: float, path: str) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= largest or math.isinf(value):
        most = "" if math.isinf(largest) else f" and at most {largest:g}"
        raise CheckpointError(
            f"{path}: {name}={value!r:.80} in config.json is out of range: it must be a number "
            f"above 0{most}; write the number that the weights were trained with"
        )


def _check_experts(fields: Config, path: str) -> None:
    """Refuse more active experts or groups than exist, and groups of unequal size."""
    for part, whole in (("num_experts_per_tok", "num_experts"), ("topk_group", "n_group")):
        most = fields.get(whole)
        if _is_whole(most) and most and _is_whole(fields.get(part)) and fields[part] > most:
            raise CheckpointError(
                f"{path}: {part}={fields[part]} in config.json is more than {whole}={most}; write "
                "the number that the weights were trained with"
            )
    experts, groups = fields.get("num_experts"), fields.get("n_group")
    if _is_whole(experts) and _is_whole(groups) and groups and experts % groups:
        raise CheckpointError(
            f"{path}: num_experts={experts} in config.json do not make n_group={groups} equal "
            "groups; write the numbers that the weights were trained with"
        )


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
