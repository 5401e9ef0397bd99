"""The tokenizer of a checkpoint: its ids for the mask and for the end, its chat template.

Tokenizers that bring Python of their own are built from their vocabulary files instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallelbench.errors import ChatTemplateError, CheckpointError
from parallelbench.models.config_numbers import check_ids
from parallelbench.models.files import check_plain, read_optional_json
from parallelbench.prompt import Codec
from parallelbench.task import Message

if TYPE_CHECKING:
    from parallelbench.models.checkpoint import CheckpointRequest
    from parallelbench.models.families import Family


_OF_QWEN2 = ("vocab.json", "merges.txt")
#: What the tokenizers library and transformers read by themselves.
_READ_BY_LIBRARIES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    *_OF_QWEN2,
)


def load_codec(
    folder: Path, config: Mapping[str, Any], family: Family, rows: int, wanted: CheckpointRequest
) -> Codec:
    """Return how a checkpoint reads and writes text.

    Args:
        folder: Of the checkpoint.
        config: Its ``config.json``.
        family: Its family.
        rows: Of its embedding: ids from here on mean nothing to the network.
        wanted: For the template and the thinking mode.

    Raises:
        CheckpointError: The tokenizer cannot be built, knows ids that the network does
            not, or lacks a mask, an end-of-text or a chat template.
    """
    tokenizer = _tokenizer(folder, family, wanted.path)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    highest = max(vocabulary.values())
    if highest >= rows:
        raise CheckpointError(
            f"{wanted.path}: tokenizer and network disagree: the tokenizer's highest id is "
            f"{highest}, but the network has {rows} embeddings"
        )
    generation = read_optional_json(folder / "generation_config.json", wanted.path)
    check_ids(generation, rows, wanted.path, "generation_config.json")
    if family.kind == "autoregressive" and wanted.family is None:
        _check_no_mask(config, vocabulary, wanted.path)
    ends = _ends(folder, config, family, tokenizer, vocabulary, wanted.path)
    if not ends:
        raise CheckpointError(
            f"{wanted.path}: neither config.json nor tokenizer name an end-of-text"
        )
    padding = config.get("pad_token_id")
    mask_id = _mask_id(config, family, tokenizer, vocabulary, rows, wanted.path)
    _check_mask(mask_id, ends, tokenizer, vocabulary, wanted.path)
    codec = Codec(
        tokenizer=tokenizer,
        mask_id=mask_id,
        # What fills a canvas behind its answer is the padding, where that ends a reply too.
        end_id=padding if padding in ends else ends[0],
        chat_template=_template(tokenizer, wanted),
        template_arguments={"enable_thinking": wanted.thinking},
        stop_ids=frozenset(ends),
    )
    _check_template(codec, wanted)
    return codec


def _tokenizer(folder: Path, family: Family, asked: str) -> Any:
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    for name in _READ_BY_LIBRARIES:
        check_plain(folder / name, asked)
    # By their files and not by their class: published classes are often Python of their own.
    if (folder / "tokenizer.json").is_file():
        kind: Any = PreTrainedTokenizerFast
    elif all((folder / name).is_file() for name in _OF_QWEN2) and _is_qwen2(folder, family, asked):
        kind = Qwen2Tokenizer
    else:
        raise CheckpointError(
            f"{asked} has no tokenizer: neither tokenizer.json nor Qwen 2's vocab.json with "
            "merges.txt"
        )
    try:
        return kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # The tokenizers library raises bare exceptions.
        raise CheckpointError(f"the tokenizer of {asked} cannot be loaded: {error}") from error


def _is_qwen2(folder: Path, family: Family, asked: str) -> bool:
    """Return whether text is split as Qwen 2 splits it; other tokenizers have such files too."""
    if family.network == "Qwen2ForCausalLM":
        return True
    told = read_optional_json(folder / "tokenizer_config.json", asked).get("tokenizer_class")
    return told in {"Qwen2Tokenizer", "Qwen2TokenizerFast"}


def _mask_id(  # noqa: PLR0913, PLR0917  each may hold it
    config: Mapping[str, Any],
    family: Family,
    tokenizer: Any,
    vocabulary: Mapping[str, int],
    rows: int,
    asked: str,
) -> int:
    if family.kind in {"uniform", "autoregressive"}:
        return rows  # marks open positions for us; the network never sees it
    names = [tokenizer.mask_token, *family.mask_tokens]
    named = {name: vocabulary[name] for name in names if name in vocabulary}
    declared = config.get("mask_token_id")
    found = set(named.values()) if declared is None else {declared}
    if not found:
        raise CheckpointError(
            f"{asked}: family {family.name} needs the id of its mask token, but config.json has no "
            f"mask_token_id and the tokenizer none of {', '.join(family.mask_tokens)}"
        )
    if len(found) > 1 or (named and not found & set(named.values())):
        tokens = " and ".join(f"{name} ({token})" for name, token in named.items())
        raise CheckpointError(
            f"{asked}: which token is the mask cannot be told: config.json has mask_token_id="
            f"{'null' if declared is None else declared}, and the tokenizer has {tokens}; correct "
            "mask_token_id in config.json, or mask_token in tokenizer_config.json, to the token "
            "that the weights were trained with"
        )
    (mask_id,) = found
    return int(mask_id)


def _check_mask(
    mask_id: int, ends: Iterable[int], tokenizer: Any, vocabulary: Mapping[str, int], asked: str
) -> None:
    """Refuse a mask that also means something else."""
    token = next((token for token, number in vocabulary.items() if number == mask_id), None)
    if mask_id in ends:
        raise CheckpointError(
            f"{asked}: mask and end-of-text are one id, {mask_id} ({token}), so no reply could "
            "end; correct mask_token_id or eos_token_id in config.json"
        )
    if token is not None and mask_id not in tokenizer.added_tokens_decoder:
        raise CheckpointError(
            f"{asked}: mask_token_id={mask_id} in config.json is the ordinary token {token!r}, "
            "which replies could then not hold; write the id of the mask token there"
        )


def _check_no_mask(config: Mapping[str, Any], vocabulary: Mapping[str, int], asked: str) -> None:
    """Refuse to take a diffusion model for a causal one where its tokenizer gives it away."""
    from parallelbench.models.families import FAMILIES

    # Tokenizers of causal models have a plain <mask> too.
    masks = {name for each in FAMILIES for name in each.mask_tokens} - {"<mask>"}
    names = sorted(masks & vocabulary.keys())
    if not names:
        return
    families = [each for each in FAMILIES if set(names) & set(each.mask_tokens)]
    alike = [each for each in families if each.network in config["architectures"]]
    choices = " or ".join(f"family={each.name}" for each in alike or families)
    raise CheckpointError(
        f"{asked}: config.json names the causal class {config['architectures'][0]}, and the "
        f"tokenizer has {', '.join(names)}, as that of a diffusion model has; say {choices} to "
        "decode it as one, or family=autoregressive to write one token after another"
    )


def _ends(  # noqa: PLR0913, PLR0917  each may name some
    folder: Path,
    config: Mapping[str, Any],
    family: Family,
    tokenizer: Any,
    vocabulary: Mapping[str, int],
    asked: str,
) -> list[int]:
    """Return every id that ends a reply, declared ones first."""
    text_config = config.get("text_config") or {}
    declared = [
        config.get("eos_token_id"),
        text_config.get("eos_token_id"),
        # Many checkpoints have none, and the others declare it elsewhere too.
        read_optional_json(folder / "generation_config.json", asked).get("eos_token_id"),
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


def _template(tokenizer: Any, wanted: CheckpointRequest) -> str | None:
    if wanted.template is not None:
        try:
            return Path(wanted.template).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"the chat template {wanted.template!r} cannot be read: {error}"
            ) from error
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"{wanted.path} has no chat template (a base model?); give one with --template FILE"
        )
    return None


def _check_template(codec: Codec, wanted: CheckpointRequest) -> None:
    question, path = "What is 2 + 2?", wanted.template or wanted.path
    try:
        text = codec.render([Message("user", question)])
    except ChatTemplateError as error:
        raise CheckpointError(f"{path}: {error}; give another one with --template FILE") from error
    if question not in text:
        raise CheckpointError(
            f"{path}: the chat template writes a prompt without the question, as a template for "
            "other forms of message does; give another one with --template FILE"
        )
