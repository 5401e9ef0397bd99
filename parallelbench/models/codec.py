"""Codec of a checkpoint: tokenizer, ids of mask and end-of-text, chat template.

Tokenizers that come with Python code are built from their vocabulary files instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallelbench.errors import ChatTemplateError, CheckpointError
from parallelbench.models.config_numbers import check_ids
from parallelbench.models.families import FAMILIES, Family
from parallelbench.models.files import check_plain, read_optional_json
from parallelbench.prompt import Codec
from parallelbench.task import Message

if TYPE_CHECKING:
    from parallelbench.models.checkpoint import CheckpointFiles, CheckpointRequest

_OF_QWEN2 = ("vocab.json", "merges.txt")
#: Files that the tokenizers library and transformers read themselves.
_READ_BY_LIBRARIES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    *_OF_QWEN2,
)


def load_codec(files: CheckpointFiles, rows: int, request: CheckpointRequest) -> Codec:
    """Return the codec of a checkpoint.

    Args:
        files: Folder, configuration and family.
        rows: Rows of its embedding; higher ids mean nothing to the network.
        request: Chat template and thinking mode.

    Raises:
        CheckpointError: The tokenizer cannot be built, has ids beyond the embedding, or has no
            mask, end-of-text or chat template.
    """
    folder, config, family = files
    tokenizer = _tokenizer(folder, family, request.path)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    highest = max(vocabulary.values())
    if highest >= rows:
        raise CheckpointError(
            f"{request.path}: tokenizer and network disagree: the tokenizer's highest id is "
            f"{highest}, but the network has {rows} embeddings"
        )
    generation = read_optional_json(folder / "generation_config.json", request.path)
    check_ids(generation, rows, request.path, "generation_config.json")
    if family.kind == "autoregressive" and request.family is None:
        _check_no_mask(config, vocabulary, request.path)
    ends = _ends(files, tokenizer, generation)
    if not ends:
        raise CheckpointError(
            f"{request.path}: neither config.json nor tokenizer name an end-of-text"
        )
    padding = config.get("pad_token_id")
    mask_id = _mask_id(files, tokenizer, rows, request.path)
    _check_mask(mask_id, ends, tokenizer, vocabulary, request.path)
    codec = Codec(
        tokenizer=tokenizer,
        mask_id=mask_id,
        # The rest of a canvas is filled with the padding token, if that ends a reply too.
        end_id=padding if padding in ends else ends[0],
        chat_template=_template(tokenizer, request),
        template_arguments={"enable_thinking": request.thinking},
        stop_ids=frozenset(ends),
    )
    _check_template(codec, request)
    return codec


def _tokenizer(folder: Path, family: Family, source: str) -> Any:
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    for name in _READ_BY_LIBRARIES:
        check_plain(folder / name, source)
    # Chosen by file, not by class name: published classes often come with Python code.
    if (folder / "tokenizer.json").is_file():
        kind: Any = PreTrainedTokenizerFast
    elif all((folder / name).is_file() for name in _OF_QWEN2) and _is_qwen2(folder, family, source):
        kind = Qwen2Tokenizer
    else:
        raise CheckpointError(
            f"{source} has no tokenizer: neither tokenizer.json nor Qwen 2's vocab.json with "
            "merges.txt"
        )
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # The tokenizers library raises bare exceptions.
        raise CheckpointError(f"the tokenizer of {source} cannot be loaded: {error}") from error


def _is_qwen2(folder: Path, family: Family, source: str) -> bool:
    """Return True if text is split as in Qwen 2; other tokenizers have the same files."""
    if family.network == "Qwen2ForCausalLM":
        return True
    name = read_optional_json(folder / "tokenizer_config.json", source).get("tokenizer_class")
    return name in {"Qwen2Tokenizer", "Qwen2TokenizerFast"}


def _mask_id(files: CheckpointFiles, tokenizer: Any, rows: int, source: str) -> int:
    _, config, family = files
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if family.kind in {"uniform", "autoregressive"}:
        return rows  # marks open positions in the canvas; the network never sees it
    names = [tokenizer.mask_token, *family.mask_tokens]
    named = {name: vocabulary[name] for name in names if name in vocabulary}
    declared = config.get("mask_token_id")
    ids = set(named.values()) if declared is None else {declared}
    if not ids:
        raise CheckpointError(
            f"{source}: family {family.name} needs the id of its mask token, but config.json has "
            f"no mask_token_id and the tokenizer none of {', '.join(family.mask_tokens)}"
        )
    if len(ids) > 1 or (named and not ids & set(named.values())):
        tokens = " and ".join(f"{name} ({token})" for name, token in named.items())
        raise CheckpointError(
            f"{source}: the mask token is ambiguous: config.json has mask_token_id="
            f"{'null' if declared is None else declared}, and the tokenizer has {tokens}; correct "
            "mask_token_id in config.json, or mask_token in tokenizer_config.json, to the token "
            "that the weights were trained with"
        )
    (mask_id,) = ids
    return int(mask_id)


def _check_mask(
    mask_id: int, ends: Iterable[int], tokenizer: Any, vocabulary: Mapping[str, int], source: str
) -> None:
    """Refuse a mask id that has another meaning too."""
    token = next((token for token, number in vocabulary.items() if number == mask_id), None)
    if mask_id in ends:
        raise CheckpointError(
            f"{source}: mask and end-of-text are one id, {mask_id} ({token}), so no reply could "
            "end; correct mask_token_id or eos_token_id in config.json"
        )
    if token is not None and mask_id not in tokenizer.added_tokens_decoder:
        raise CheckpointError(
            f"{source}: mask_token_id={mask_id} in config.json is the ordinary token {token!r}, "
            "which replies could then not contain; write the id of the mask token there"
        )


def _check_no_mask(config: Mapping[str, Any], vocabulary: Mapping[str, int], source: str) -> None:
    """Refuse a checkpoint of a causal class whose tokenizer is that of a diffusion model."""
    # Tokenizers of causal models have a plain <mask> too.
    masks = {name for each in FAMILIES for name in each.mask_tokens} - {"<mask>"}
    names = sorted(masks & vocabulary.keys())
    if not names:
        return
    families = [each for each in FAMILIES if set(names) & set(each.mask_tokens)]
    alike = [each for each in families if each.network in config["architectures"]]
    choices = " or ".join(f"family={each.name}" for each in alike or families)
    raise CheckpointError(
        f"{source}: config.json names the causal class {config['architectures'][0]}, and the "
        f"tokenizer has {', '.join(names)}, as a diffusion model's does; say {choices} to decode "
        "it as one, or family=autoregressive to decode one token after another"
    )


def _ends(files: CheckpointFiles, tokenizer: Any, generation: Mapping[str, Any]) -> list[int]:
    """Return every id that ends a reply, declared ones first."""
    _, config, family = files
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    text_config = config.get("text_config") or {}
    declared = [
        config.get("eos_token_id"),
        text_config.get("eos_token_id"),
        generation.get("eos_token_id"),
        tokenizer.eos_token_id,
        *(vocabulary[name] for name in family.stop_tokens if name in vocabulary),
    ]
    return list(dict.fromkeys(_integers(declared)))


def _integers(values: Iterable[Any]) -> Iterable[int]:
    for value in values:
        if isinstance(value, list):
            yield from _integers(value)
        elif isinstance(value, int):
            yield value


def _template(tokenizer: Any, request: CheckpointRequest) -> str | None:
    if request.template is not None:
        try:
            return Path(request.template).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"the chat template {request.template!r} cannot be read: {error}"
            ) from error
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"{request.path} has no chat template (a base model?); give one with --template FILE"
        )
    return None


def _check_template(codec: Codec, request: CheckpointRequest) -> None:
    question, path = "What is 2 + 2?", request.template or request.path
    try:
        text = codec.render([Message("user", question)])
    except ChatTemplateError as error:
        raise CheckpointError(f"{path}: {error}; give another one with --template FILE") from error
    if question not in text:
        raise CheckpointError(
            f"{path}: the chat template writes a prompt without the question, as a template for "
            "other forms of message does; give another one with --template FILE"
        )
