"""The tokenizer of a checkpoint: its ids for the mask and for the end, its chat template.

Tokenizers that bring Python of their own are built from their vocabulary files instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallelbench.errors import CheckpointError
from parallelbench.models.files import check_plain, read_optional_json
from parallelbench.prompt import Codec
from parallelbench.sample import Message

if TYPE_CHECKING:
    from parallelbench.models.checkpoint import Wanted
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
    folder: Path, config: Mapping[str, Any], family: Family, rows: int, wanted: Wanted
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
    ends = _ends(folder, config, family, tokenizer, vocabulary, wanted.path)
    if not ends:
        raise CheckpointError(
            f"{wanted.path}: neither config.json nor tokenizer name an end-of-text"
        )
    padding = config.get("pad_token_id")
    codec = Codec(
        tokenizer=tokenizer,
        mask_id=_mask_id(config, family, tokenizer, vocabulary, rows, wanted.path),
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
    names = [name for name in family.mask_tokens if name in vocabulary]
    found = config.get("mask_token_id")
    if found is None:
        found = vocabulary[names[0]] if names else tokenizer.mask_token_id
    if not isinstance(found, int) or not 0 <= found < rows:
        raise CheckpointError(
            f"{asked}: family {family.name} needs the id of its mask token, but config.json has "
            f"mask_token_id={found!r} (the network has {rows} embeddings) and the tokenizer none "
            f"of {', '.join(family.mask_tokens)}"
        )
    return found


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


def _template(tokenizer: Any, wanted: Wanted) -> str | None:
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


def _check_template(codec: Codec, wanted: Wanted) -> None:
    try:
        codec.render([Message("user", "?")])
    except Exception as error:
        # A template is a program, and may fail in any way.
        raise CheckpointError(
            f"the chat template of {wanted.template or wanted.path} cannot be used: "
            f"{type(error).__name__}: {error}"
        ) from error
