"""A folder or hub id -> a network, its codec and its digests; no code from strangers.

Everything is read as data: the configuration is translated, tensors are renamed, the
tokenizer is built from its files.  A tensor that is missing, left over or of another shape
is an error, because a network with random parts gives numbers that look like any other.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from parallelbench.errors import CheckpointError
from parallelbench.models.codec import load_codec
from parallelbench.models.config_numbers import check_parameters
from parallelbench.models.families import (
    Family,
    context_length,
    family_of,
    stock_class,
    stock_config,
)
from parallelbench.models.fields import without_ignored
from parallelbench.models.files import check_plain, read_json, read_optional_json, weight_files
from parallelbench.prompt import Codec
from parallelbench.prompt.chat_template import TEMPLATE_DATE, asks_for_date

#: What is fetched from a hub: never a line of Python.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_PICKLES = ("*.bin",)

DType = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "eager"]


@dataclass(frozen=True, kw_only=True)
class CheckpointRequest:
    """How a checkpoint is to be loaded.

    Attributes:
        path: A folder, or a hub id such as ``GSAI-ML/LLaDA-8B-Instruct``.
        revision: Of a hub id: branch, tag or commit.
        family: A family's name; None reads it from ``config.json``.
        dtype: Of the weights; ``auto`` is bfloat16 on an accelerator, else float32.
        device: As torch names it; ``auto`` is the accelerator if there is one.
        attention: The kernel.
        peft: Folder of a LoRA adapter that is merged into the weights.
        template: File of a Jinja chat template; None takes the checkpoint's own.
        thinking: Whether the template is told that the model may think aloud.
        compile: Whether ``torch.compile`` compiles the network.
        ignore: Fields of ``config.json`` that are refused and are to have no effect, separated
            by ``+``.
    """

    path: str
    revision: str | None = None
    family: str | None = None
    dtype: DType = "auto"
    device: str = "auto"
    attention: Attention = "sdpa"
    peft: str | None = None
    template: str | None = None
    thinking: bool = False
    compile: bool = False
    ignore: str | None = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the fields that are to have no effect."""
        return tuple(filter(None, (self.ignore or "").split("+")))


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        network: The stock class, on its device, ready to predict.
        codec: How it reads and writes text.
        family: Its family.
        config: Its ``config.json``.
        device: Where the network is.
        weights_digest: SHA-256 of the weight files' SHA-256, adapter included.
        provenance: Its provenance as JSON values.
        context_length: Most tokens it was made for; None if it declares no number.
    """

    network: nn.Module
    codec: Codec
    family: Family
    config: Mapping[str, Any]
    device: torch.device
    weights_digest: str
    provenance: Mapping[str, Any]
    context_length: int | None = None


def load_checkpoint(
    wanted: CheckpointRequest, accept: Callable[[Family], None] = lambda _: None
) -> Checkpoint:
    """Return the checkpoint that ``wanted`` describes.

    Args:
        wanted: What to load, and how.
        accept: Raises if the family will not do, before its weights are read.

    Raises:
        CheckpointError: It is not there, of no known family, damaged, or does not fit.
    """
    folder, revision = _located(wanted)
    config, family = _described(folder, wanted)
    accept(family)
    weights = weight_files(folder, wanted.path)
    made = stock_config(family, config, str(folder))
    codec = load_codec(folder, config, family, made.get_text_config().vocab_size, wanted)
    held = sum(file.stat().st_size for file in weights)
    check_parameters(stock_class(family, config), made, config, held, wanted.path)
    device = _device(wanted.device)
    dtype = _dtype(wanted.dtype, device)
    safe = weights[0].suffix == ".safetensors"
    network = _network(folder, config, family, wanted, dtype, safe=safe)
    digests = _digests(weights)
    if wanted.peft is not None:
        from parallelbench.models.adapter import merge_adapter

        network, adapter = merge_adapter(network, Path(wanted.peft), family)
        digests |= {f"peft/{name}": digest for name, digest in _digests(adapter).items()}
    network = network.to(device).eval().requires_grad_(requires_grad=False)
    if wanted.compile:
        network.base_model.compile(dynamic=True)
    weights_digest = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
    return Checkpoint(
        network=network,
        codec=codec,
        family=family,
        config=config,
        device=device,
        weights_digest=weights_digest,
        context_length=context_length(family, config, made),
        provenance={
            "family": family.name,
            "kind": family.kind,
            "architectures": config.get("architectures"),
            "revision": revision,
            "weights": digests,
            "weights_digest": weights_digest,
            **_facts_of(network, device, dtype),
            "attention": wanted.attention,
            "compiled": wanted.compile,
            "thinking": wanted.thinking,
            "ignored_fields": list(wanted.ignored),
            "tokenizer_digest": codec.digest,
            "chat_template_date": codec.template_date,
            "mask_id": codec.mask_id,
            "end_ids": sorted(codec.ends),
        },
    )


def family_at(wanted: CheckpointRequest) -> Family:
    """Return the family of the checkpoint that ``wanted`` describes; its weights are not read.

    Raises:
        CheckpointError: It is not there, or of no known family.
    """
    return _described(_located(wanted)[0], wanted)[1]


def load_codec_alone(wanted: CheckpointRequest, *, fetch: bool) -> Codec:
    """Return how the checkpoint that ``wanted`` describes reads and writes text.

    Args:
        wanted: The checkpoint.
        fetch: Whether what is not on this machine may be fetched.

    Raises:
        CheckpointError: It is not there, of no known family, damaged, or does not fit.
    """
    folder = _located(wanted)[0] if fetch else _kept(wanted)
    config, family = _described(folder, wanted)
    rows = stock_config(family, config, str(folder)).get_text_config().vocab_size
    return load_codec(folder, config, family, rows, wanted)


def date_remark(wanted: CheckpointRequest) -> str | None:
    """Return what should be known of a chat template that asks for the date, if it does."""
    if wanted.template is not None:
        files = [Path(wanted.template)]
    else:
        try:
            folder = _kept(wanted)
        except CheckpointError:
            return None  # opening it says so
        files = [folder / name for name in ("chat_template.jinja", "tokenizer_config.json")]
    texts = [file.read_text(encoding="utf-8", errors="ignore") for file in files if file.is_file()]
    if not any(map(asks_for_date, texts)):
        return None
    return (
        f"the chat template of {wanted.template or wanted.path} asks for today's date; it is told "
        f"{TEMPLATE_DATE.date().isoformat()}, so that every run and every verifier reads the same "
        "prompts"
    )


def _described(folder: Path, wanted: CheckpointRequest) -> tuple[dict[str, Any], Family]:
    # transformers reads both of them by itself too.
    check_plain(folder / "config.json", wanted.path)
    config = read_json(folder / "config.json", wanted.path)
    read_optional_json(folder / "generation_config.json", wanted.path)
    family = family_of(config, wanted.family, wanted.path)
    return without_ignored(config, family, wanted.ignored, wanted.path), family


def _kept(wanted: CheckpointRequest) -> Path:
    """Return the folder of a checkpoint that is on this machine."""
    from huggingface_hub import snapshot_download

    if Path(wanted.path).expanduser().is_dir():
        return _located(wanted)[0]
    try:
        return Path(snapshot_download(wanted.path, revision=wanted.revision, local_files_only=True))
    except Exception as error:
        # The hub's own errors have no common root that is promised.
        raise CheckpointError(
            f"{wanted.path!r} is neither a folder here nor among what was fetched from the hub"
        ) from error


def _facts_of(network: Any, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "network": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
        "device_name": _device_name(device),
        # Its last bits may depend on what stands beside a row.
        "batch_invariant": False,
    }


def _located(wanted: CheckpointRequest) -> tuple[Path, str | None]:
    """Return the folder of a checkpoint, and the commit if it came from a hub."""
    folder = Path(wanted.path).expanduser()
    if folder.is_dir():
        if wanted.revision is not None:
            raise CheckpointError(
                f"{wanted.path} is a folder, which has no revision; leave revision= away"
            )
        return folder, None
    parts = wanted.path.split("/")
    if folder.exists() or len(parts) != 2 or not all(parts):
        raise CheckpointError(
            f"{wanted.path!r} is neither a folder nor a hub id of the form ORGANISATION/NAME"
        )
    return _fetched(wanted)


def _fetched(wanted: CheckpointRequest) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        return Path(
            snapshot_download(wanted.path, revision=wanted.revision, allow_patterns=list(patterns))
        )

    try:
        folder = fetch(*_FILES)
        if not any(folder.glob("*.safetensors")):
            folder = fetch(*_FILES, *_PICKLES)
    except Exception as error:
        # The hub's own errors have no common root that is promised.
        raise CheckpointError(
            f"{wanted.path!r} is no folder here, and cannot be had from the hub: "
            f"{type(error).__name__}: {error}; download it where there is a network and give "
            "the folder"
        ) from error
    # A snapshot's folder is named by its commit.
    return folder, folder.name


def _digests(files: list[Path]) -> dict[str, str]:
    def digest(path: Path) -> str:
        found = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(2**22):
                found.update(part)
        return found.hexdigest()

    # Hashing lets other threads run.
    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip((path.name for path in files), pool.map(digest, files), strict=True))


def _network(  # noqa: PLR0913  what is loaded, and how
    folder: Path,
    config: Mapping[str, Any],
    family: Family,
    wanted: CheckpointRequest,
    dtype: torch.dtype,
    *,
    safe: bool,
) -> Any:
    made = stock_config(family, config, str(folder))
    report: list[str] = []
    try:
        with _quiet(report):
            network, told = stock_class(family, config).from_pretrained(
                str(folder),
                config=made,
                key_mapping=dict(family.renames) or None,
                dtype=dtype,
                attn_implementation=wanted.attention,
                use_safetensors=safe,
                weights_only=True,
                local_files_only=True,
                output_loading_info=True,
                # Told below, by name; here it would only be an error without one.
                ignore_mismatched_sizes=True,
            )
    except MemoryError:
        raise
    except Exception as error:
        # safetensors, pickle and transformers each have errors of their own for files that
        # are damaged, malicious or of another shape.
        raise CheckpointError(
            f"the weights of {wanted.path} cannot be loaded as family {family.name}: "
            f"{_reason(error, report)}"
        ) from error
    _check_complete(told, wanted.path, family)
    return network


def _reason(error: Exception, report: Sequence[str]) -> str:
    """Return why a network cannot be loaded, in one line."""
    marks = "Error: "
    parts = [line for told in report for line in told.splitlines() if line.startswith(marks)]
    if parts:
        return f"parts are missing or of another shape: {parts[0].removeprefix(marks)}"
    kernel = "support an attention implementation" in str(error)
    return f"{type(error).__name__}: {error}" + ("; say attention=eager" if kernel else "")


def _check_complete(told: Mapping[str, Any], asked: str, family: Family) -> None:
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        names = sorted(str(name) for name in told.get(what) or ())
        if names:
            raise CheckpointError(
                f"{asked} does not hold what family {family.name} needs: "
                f"{what.replace('_', ' ')}: {', '.join(names[:3])}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            )


@contextmanager
def _quiet(report: list[str]) -> Iterator[None]:
    """Let transformers write its loading report to ``report`` instead of the screen."""
    from transformers.utils import logging as library

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            report.append(record.getMessage())

    collector = Collector()
    before = library.get_verbosity()
    bar = library.is_progress_bar_enabled()
    library.set_verbosity(logging.WARNING)
    library.disable_default_handler()
    library.add_handler(collector)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.remove_handler(collector)
        library.enable_default_handler()
        library.set_verbosity(before)
        if bar:
            library.enable_progress_bar()


def _device(asked: str) -> torch.device:
    if asked == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else found
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(f"device {asked!r} cannot be used here: {first}") from error
    return device


def _dtype(asked: DType, device: torch.device) -> torch.dtype:
    if asked == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    found: torch.dtype = getattr(torch, asked)
    return found


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
