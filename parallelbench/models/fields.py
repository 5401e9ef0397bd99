"""Fields of a ``config.json``: read by the family, irrelevant to predictions, or refused.

A field that is not read has no effect here, although it may have one in the published network.
A field is therefore accepted only if it is known not to affect predictions, or if its value means
"off"; any other is refused by name, unless the user sets ``ignore=NAME``.

Sources: the published configurations, and the configuration classes that come with the
checkpoints and with transformers.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from parallelbench.errors import CheckpointError, FieldError

if TYPE_CHECKING:
    from parallelbench.models.families import Family

#: Names and bookkeeping; storage of weights; lengths that no position table depends on;
#: options of ``generate``; kernels and layouts with the same results.
_IDLE_NAMES = """
    architectures auto_map model_type transformers_version torch_dtype dtype use_cache
    name_or_path tokenizer_class prefix id2label label2id num_labels problem_type
    finetuning_task task_specific_params keys_to_ignore_at_inference return_dict torchscript
    gradient_checkpointing use_bfloat16 chunk_size_feed_forward pretraining_tp license language
    unsloth_version unsloth_fixed transformers.js_config
    max_position_embeddings model_max_length max_sequence_length max_seq_len seq_length n_ctx
    temperature top_k top_p typical_p do_sample num_beams num_beam_groups diversity_penalty
    repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
    early_stopping max_length min_length max_new_tokens num_return_sequences bad_words_ids
    suppress_tokens begin_suppress_tokens exponential_decay_length_penalty
    remove_invalid_values return_dict_in_generate
    attn_implementation flash_attention use_flash_attn use_flash_attention use_flash_attention_2
    precision rope_full_precision router_dtype fuse_cross_entropy fuse_norm fuse_swiglu
    cache_implementation tokenizer_name is_llama_config rotary scale_attn_weights
    attention_softmax_in_fp32 masked_softmax_fusion offset_alibi skip_bias_add
    ep_size micro_forward skip_checkpoint debug seq_aux router_jitter_noise
    """
_IDLE = frozenset(_IDLE_NAMES.split())
#: Name patterns of such fields: private names, token ids, training and initialisation.
_IDLE_FORMS = re.compile(
    r"^_|_token_ids?$|dropout|_pdrop$|layerdrop|loss|^init_|^initializer_|^summary_"
    r"|^output_(attentions|hidden_states|router_logits|scores)$"
)
#: Fields whose one published value is hard-coded in the class of transformers: routing and
#: multi-token prediction of DeepSeek checkpoints, and a head that always exists.
_FIXED = frozenset({"scoring_func", "topk_method", "moe_layer_freq", "num_nextn_predict_layers"})
#: Fields that transformers reads for every class.
_BY_TRANSFORMERS = frozenset({"quantization_config", "rope_scaling", "rope_theta"})


_UNREAD = "nothing here reads this field, and covered are null and false"


class _Recording(dict[str, Any]):
    """A configuration that records which of its fields were read."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def without_ignored(
    config: Mapping[str, Any], family: Family, ignored: Iterable[str], path: str
) -> dict[str, Any]:
    """Return a configuration without the fields that the user chose to ignore.

    Args:
        config: Content of ``config.json``.
        family: Family that the checkpoint is loaded as.
        ignored: Names of fields, such as ``clip_qkv``.
        path: Checkpoint as the user named it, for error messages.

    Raises:
        FieldError: An ignored field is not in ``config``, or is not refused.
        CheckpointError: Another field may change the network and is not covered.
    """
    refused = {**_uncovered(config, family), **_unknown(config, family)}
    for name in ignored:
        if name not in refused:
            choices = f"refused are: {', '.join(refused)}" if refused else "none is refused"
            raise FieldError(
                f"model 'hf': ignore={name}: config.json of {path} has no field {name!r} that is "
                f"refused; {choices}"
            )
    left = {name: reason for name, reason in refused.items() if name not in ignored}
    if left:
        name, reason = next(iter(left.items()))
        others = ", ".join([*left][1:])
        others = others and f"; so {'does' if len(left) == 2 else 'do'} {others}"
        value = config[name] if name in config else config["text_config"][name.partition(".")[2]]
        raise CheckpointError(
            f"{path}: {name}={value!r} in config.json needs another network than "
            f"{family.network or 'its class of transformers'}, which family {family.name} is "
            f"loaded into, or may need one; {reason}{others}; to load it anyway, say "
            f"ignore={'+'.join([*ignored, *left])}, which is recorded"
        )
    return {name: value for name, value in config.items() if name not in ignored}


def _uncovered(config: Mapping[str, Any], family: Family) -> dict[str, str]:
    """Return the reasons to refuse fields with values that the family does not cover."""
    return {
        name: f"covered: {', '.join(repr(value) for value in allowed)}"
        for name, allowed in family.covers.items()
        if name in config and not _is_allowed(config[name], allowed)
    }


def _unknown(config: Mapping[str, Any], family: Family) -> dict[str, str]:
    """Return the reasons to refuse unknown fields."""
    if family.translate is None:
        return _unread_by_class(config, family)
    read = _read_by(family.translate, config)
    if read is None:
        return {}
    known = read | set(family.covers) | family.idle | {family.block_field}
    return {
        name: _UNREAD
        for name, value in config.items()
        if name not in known
        and not _is_absent(value)
        and not _is_idle(name)
        and (name not in family.aliases or value != config.get(family.aliases[name]))
    }


def _is_allowed(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Return True if a value is covered; a list is covered if all its entries are."""
    if isinstance(value, list):
        return all(entry in allowed for entry in value)
    return value in allowed


def _is_absent(value: Any) -> bool:
    return value is None or value is False or value == 0 or value in ([], {}, "")


def _is_idle(name: str) -> bool:
    return name in _IDLE or _IDLE_FORMS.search(name) is not None


def _read_by(
    translate: Callable[[Mapping[str, Any]], Any], config: Mapping[str, Any]
) -> set[str] | None:
    """Return the fields that a family's translation reads; None if it cannot be translated."""
    recording = _Recording(config)
    try:
        translate(recording)
    except Exception:  # noqa: BLE001  stock_config reports the same error
        return None
    return recording.read


def _unread_by_class(config: Mapping[str, Any], family: Family) -> dict[str, str]:
    """Return the reasons to refuse fields that a class of transformers does not read.

    Each class and its configuration have their own source files, so a field whose name does not
    occur in them is not read.
    """
    from parallelbench.models.families import stock_class

    network = stock_class(family, config)
    nested = set(getattr(network.config_class, "sub_configs", {}))
    sources = _source(network) + _source(network.config_class)
    known = _BY_TRANSFORMERS | _FIXED | nested
    parts = {"": config}
    if isinstance(config.get("text_config"), dict):
        parts["text_config."] = config["text_config"]
    return {
        f"{prefix}{name}": _UNREAD
        for prefix, part in parts.items()
        for name, value in part.items()
        if name not in known
        and not _is_absent(value)
        and not _is_idle(name)
        and not re.search(rf"\b{re.escape(name)}\b", sources)
    }


def _source(kind: Any) -> str:
    return inspect.getsource(sys.modules[kind.__module__])
