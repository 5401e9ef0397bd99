"""A folder or hub id -> a network, its codec and its digests; none of its code is run.

Everything is read as data: the configuration is translated, tensors are renamed, the
tokenizer is built from its files.  A tensor that is missing, left over or of another shape
is an error, because the output of a network with random parts looks like any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
from parallelbench.models.files import check_plain, read_json_file, read_optional_json, weight_files
from parallelbench.prompt import Codec
from parallelbench.prompt.chat_template import TEMPLATE_DATE, asks_for_date

#: Files that are downloaded from a hub; Python files never are.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_PICKLES = ("*.bin",)

DType = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "eager"]


@dataclass(frozen=True, kw_only=True)
class CheckpointRequest:
    """A checkpoint to load, and the options of loading it.

    Attributes:
        path: A folder, or a hub id such as ``GSAI-ML/LLaDA-8B-Instruct``.
        revision: Branch, tag or commit of a hub id.
        family: Name of the family; None reads it from ``config.json``.
        dtype: Data type of the weights; ``auto`` is bfloat16 on an accelerator, else float32.
        device: Device in torch's notation; ``auto`` is the accelerator if there is one.
        attention: Attention kernel.
        peft: Folder of a LoRA adapter that is merged into the weights.
        template: File of a Jinja chat template; None is the checkpoint's own.
        thinking: Value of the template's variable ``enable_thinking``.
        compile: True to compile the network with ``torch.compile``.
        ignore: Refused fields of ``config.json`` to ignore, separated by ``+``.
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
        """Names of the fields to ignore."""
        return tuple(filter(None, (self.ignore or "").split("+")))


class CheckpointFiles(NamedTuple):
    """A folder with a checkpoint, described by its configuration.

    Attributes:
        folder: Folder of the files.
        config: Content of ``config.json``, without ignored fields.
        family: Family of the checkpoint.
    """

    folder: Path
    config: dict[str, Any]
    family: Family


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        network: Network of transformers, on its device, ready to predict.
        codec: Codec of its text.
        family: Family of the checkpoint.
        config: Content of ``config.json``.
        device: Device of the network.
        weights_digest: SHA-256 of the weight files' SHA-256, adapter included.
        provenance: Origin and form of the network, as JSON values.
        context_length: Maximum tokens that it was made for; None if it declares no number.
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
    request: CheckpointRequest, accept: Callable[[Family], None] = lambda _: None
) -> Checkpoint:
    """Load a checkpoint.

    Args:
        request: Checkpoint and options.
        accept: Function that raises if the family is not suitable, before weights are read.

    Raises:
        CheckpointError: It is missing, of an unknown family, damaged, or inconsistent.
    """
    folder, revision = _located(request)
    files = _described(folder, request)
    _, config, family = files
    accept(family)
    weights = weight_files(folder, request.path)
    made = stock_config(family, config, str(folder))
    codec = load_codec(files, made.get_text_config().vocab_size, request)
    size = sum(file.stat().st_size for file in weights)
    check_parameters(stock_class(family, config), made, config, size, request.path)
    device = _device(request.device)
    dtype = _dtype(request.dtype, device)
    network, digests = _load_weights(files, weights, request, dtype)
    network = network.to(device).eval().requires_grad_(requires_grad=False)
    if request.compile:
        network.base_model.compile(dynamic=True)
    digest = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
    return Checkpoint(
        network=network,
        codec=codec,
        family=family,
        config=config,
        device=device,
        weights_digest=digest,
        context_length=context_length(family, config, made),
        provenance={
            "family": family.name,
            "kind": family.kind,
            "architectures": config.get("architectures"),
            "revision": revision,
            "weights": digests,
            "weights_digest": digest,
            **_network_provenance(network, device, dtype),
            **_request_provenance(request),
            **_codec_provenance(codec),
        },
    )


def _load_weights(
    files: CheckpointFiles, weights: list[Path], request: CheckpointRequest, dtype: torch.dtype
) -> tuple[Any, dict[str, str]]:
    """Return the network, with its adapter merged, and the digest of each weight file."""
    from parallelbench.models.weights import load_network

    network = load_network(files, request, dtype, safe=weights[0].suffix == ".safetensors")
    digests = _digests(weights)
    if request.peft is not None:
        from parallelbench.models.lora import merge_adapter

        network, adapter = merge_adapter(network, Path(request.peft), files.family)
        digests |= {f"peft/{name}": digest for name, digest in _digests(adapter).items()}
    return network, digests


def family_at(request: CheckpointRequest) -> Family:
    """Return the family of a checkpoint, without reading its weights.

    Raises:
        CheckpointError: It is missing, or of an unknown family.
    """
    return _described(_located(request)[0], request).family


def load_codec_alone(request: CheckpointRequest, *, fetch: bool) -> Codec:
    """Return the codec of a checkpoint, without reading its weights.

    Args:
        request: Checkpoint and options.
        fetch: True if missing files may be downloaded.

    Raises:
        CheckpointError: It is missing, of an unknown family, damaged, or inconsistent.
    """
    folder = _located(request)[0] if fetch else _local_folder(request)
    files = _described(folder, request)
    rows = stock_config(files.family, files.config, str(folder)).get_text_config().vocab_size
    return load_codec(files, rows, request)


def date_remark(request: CheckpointRequest) -> str | None:
    """Return a note on the fixed date of a chat template that asks for today's; else None."""
    if request.template is not None:
        files = [Path(request.template)]
    else:
        try:
            folder = _local_folder(request)
        except CheckpointError:
            return None  # opening the checkpoint reports it
        files = [folder / name for name in ("chat_template.jinja", "tokenizer_config.json")]
    texts = [file.read_text(encoding="utf-8", errors="ignore") for file in files if file.is_file()]
    if not any(map(asks_for_date, texts)):
        return None
    return (
        f"the chat template of {request.template or request.path} asks for today's date; it gets "
        f"{TEMPLATE_DATE.date().isoformat()}, so that every run and every verifier reads the same "
        "prompts"
    )


def _described(folder: Path, request: CheckpointRequest) -> CheckpointFiles:
    # transformers reads both files itself too.
    check_plain(folder / "config.json", request.path)
    config = read_json_file(folder / "config.json", request.path)
    read_optional_json(folder / "generation_config.json", request.path)
    family = family_of(config, request.family, request.path)
    config = without_ignored(config, family, request.ignored, request.path)
    return CheckpointFiles(folder, config, family)


def _network_provenance(network: Any, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "network": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
        "device_name": _device_name(device),
        # Its last bits may depend on the other rows of a batch.
        "batch_invariant": False,
    }


def _request_provenance(request: CheckpointRequest) -> dict[str, Any]:
    return {
        "attention": request.attention,
        "compiled": request.compile,
        "thinking": request.thinking,
        "ignored_fields": list(request.ignored),
    }


def _codec_provenance(codec: Codec) -> dict[str, Any]:
    return {
        "tokenizer_digest": codec.digest,
        "chat_template_date": codec.template_date,
        "mask_id": codec.mask_id,
        "end_ids": sorted(codec.ends),
    }


def _local_folder(request: CheckpointRequest) -> Path:
    """Return the folder of a checkpoint that is on this machine."""
    if Path(request.path).expanduser().is_dir():
        return _located(request)[0]
    try:
        return snapshot(request.path, request.revision, local_files_only=True)
    except Exception as error:
        # The hub's errors have no documented base class.
        raise CheckpointError(
            f"{request.path!r} is neither a folder here nor among the downloads from the hub"
        ) from error


def snapshot(name: str, revision: str | None, **options: Any) -> Path:
    """Return the folder of a hub id, downloaded if need be.

    Args:
        name: Hub id of the form ORGANISATION/NAME.
        revision: Branch, tag or commit; None is the default branch.
        options: Options of ``huggingface_hub.snapshot_download``.
    """
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, **options))


def _located(request: CheckpointRequest) -> tuple[Path, str | None]:
    """Return the folder of a checkpoint, and the commit if it came from a hub."""
    folder = Path(request.path).expanduser()
    if folder.is_dir():
        if request.revision is not None:
            raise CheckpointError(
                f"{request.path} is a folder, which has no revision; leave revision= away"
            )
        return folder, None
    parts = request.path.split("/")
    if folder.exists() or len(parts) != 2 or not all(parts):
        raise CheckpointError(
            f"{request.path!r} is neither a folder nor a hub id of the form ORGANISATION/NAME"
        )
    return _download(request)


def _download(request: CheckpointRequest) -> tuple[Path, str]:
    def fetch(*patterns: str) -> Path:
        return snapshot(request.path, request.revision, allow_patterns=list(patterns))

    try:
        folder = fetch(*_FILES)
        if not any(folder.glob("*.safetensors")):
            folder = fetch(*_FILES, *_PICKLES)
    except Exception as error:
        # The hub's errors have no documented base class.
        raise CheckpointError(
            f"{request.path!r} is not a folder here and cannot be downloaded from the hub: "
            f"{type(error).__name__}: {error}; download it on a machine with network access and "
            "name the folder"
        ) from error
    # The folder of a snapshot is named after its commit.
    return folder, folder.name


def _digests(files: list[Path]) -> dict[str, str]:
    def digest(path: Path) -> str:
        content = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(2**22):
                content.update(part)
        return content.hexdigest()

    # Hashing releases the GIL.
    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip((path.name for path in files), pool.map(digest, files), strict=True))


def _device(name: str) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(f"device {name!r} cannot be used here: {first}") from error
    return device


def _dtype(name: DType, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
