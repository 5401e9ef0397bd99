"""The network that a training starts with, and how its weights are saved.

Every training starts from a folder with a checkpoint: from scratch, a random network is first
written in the layout that LLaDA publishes, with a tokenizer of the tasks' words.  The network is
therefore loaded like any other checkpoint, and saved under its published tensor names.

Source: the layout is that of LLaDA-8B (arXiv:2502.09992), its ``config.json`` and tensor
names; see :mod:`parallelbench.models.families`.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.core_model_loading import revert_weight_conversion

from parallelbench.errors import CheckpointError
from parallelbench.models.checkpoint import (
    Checkpoint,
    CheckpointRequest,
    load_checkpoint,
    snapshot,
)
from parallelbench.models.families import FAMILIES, stock_class, stock_config
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.training.folder import TrainingFolder
from parallelbench.training.plan import Base, Scratch

_WEIGHTS = "model.safetensors"
_ADAPTER = "adapter_model.safetensors"
#: Files of a base checkpoint that are copied; Python files never are.
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja")

#: Fields of LLaDA's ``config.json`` that do not depend on the sizes.
_LLADA_CONFIG: Final = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "activation_type": "silu",
    "alibi": False,
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "embedding_dropout": 0.0,
    "flash_attention": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "init_fn": "normal",
    "init_std": 0.02,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "multi_query_attention": None,
    "residual_dropout": 0.0,
    "rms_norm_eps": 1e-5,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 10000.0,
    "scale_logits": False,
    "use_cache": False,
    "weight_tying": False,
}
_LLADA = next(family for family in FAMILIES if family.name == "llada")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trainee:
    """A network in training.

    Attributes:
        checkpoint: Checkpoint that it started from, with codec, family and device.
        module: Module with the network, adapter included.
        adapted: True if only an adapter is trained.
        published: Name in the network and data type in the files of each tensor, by its
            published name; empty with an adapter.
    """

    checkpoint: Checkpoint
    module: Any
    adapted: bool
    published: Mapping[str, tuple[str, torch.dtype]]

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The trained parameters, by their names in :attr:`module`."""
        return {
            name: weight for name, weight in self.module.named_parameters() if weight.requires_grad
        }

    def save(self, weights: Mapping[str, Tensor], folder: TrainingFolder) -> None:
        """Write the network with ``weights`` in place of the trained parameters.

        Raises:
            StorageError: ``folder`` cannot be written.
        """
        whole = {**self.module.state_dict(), **weights}
        if self.adapted:
            from peft import get_peft_model_state_dict

            # No embedding is adapted; to check for one, peft would connect to a hub.
            held = get_peft_model_state_dict(
                self.module, state_dict=whole, save_embedding_layers=False
            )
            folder.write_tensors(_ADAPTER, held)
            return
        folder.write_tensors(_WEIGHTS, self.published_tensors(whole))

    def published_tensors(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a state dict under their published names and in their types."""
        if self.checkpoint.family.renames:
            named = {theirs: whole[ours] for ours, (theirs, _) in self.published.items()}
        else:
            # Loading stacks experts, for example.
            named = revert_weight_conversion(self.module, dict(whole))
        types = dict(self.published.values())
        return {name: named[name].to(types[name]).contiguous() for name in types}


def write_random(
    start: Scratch, words: Iterable[str], positions: int, seed: int, folder: TrainingFolder
) -> None:
    """Write a random network into ``folder``, in the layout that LLaDA publishes.

    Args:
        start: Sizes of the network.
        words: Words that are one token each in its tokenizer.
        positions: Maximum sequence length, in tokens.
        seed: Random seed of its weights.
        folder: Folder to write to.

    Raises:
        StorageError: ``folder`` cannot be written.
    """
    tokenizer = word_tokenizer(words, last_message=start.last_message)
    config = _llada_config(start, tokenizer, positions)
    folder.write_json("config.json", config)
    with folder.storage():
        tokenizer.save_pretrained(str(folder.path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = stock_class(_LLADA, config)(stock_config(_LLADA, config, str(folder.path)))
    held = network.state_dict()
    dtype = getattr(torch, start.dtype)
    names = {name: _LLADA.stock_name(name) for name in _llada_names(start.layers)}
    folder.write_tensors(
        _WEIGHTS, {theirs: held[ours].to(dtype).contiguous() for theirs, ours in names.items()}
    )


def open_trainee(start: Scratch | Base, folder: TrainingFolder, device: str, seed: int) -> Trainee:
    """Return the network to train.

    Args:
        start: Start of the training; from scratch, the random network is already in ``folder``.
        folder: Folder that it will be saved to.
        device: Device in torch's notation; ``auto`` is the accelerator if there is one.
        seed: Random seed of an adapter's weights.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, is not a masked diffusion model, or
            its tensors cannot be converted back to their published names.
        StorageError: ``folder`` cannot be written.
    """
    if isinstance(start, Scratch):
        request = CheckpointRequest(path=str(folder.path), dtype="float32", device=device)
        return _whole(_load(request), folder.path)
    checkpoint = _load(_request(start, device))
    family = checkpoint.family
    if family.kind != "masked":
        raise CheckpointError(
            f"{start.model} is of family {family.name}, kind {family.kind}; only masked diffusion "
            "checkpoints can be trained, which predict the whole canvas: "
            f"{', '.join(each.name for each in FAMILIES if each.kind == 'masked')}"
        )
    if start.lora is not None:
        return _with_adapter(checkpoint, start.lora, folder, seed)
    source = _folder_of(start, checkpoint)
    trainee = _whole(checkpoint, source)
    _copy(source, folder)
    return trainee


def _load(request: CheckpointRequest) -> Checkpoint:
    """Load the checkpoint with the attention kernel that trains fastest on its device."""
    checkpoint = load_checkpoint(request)
    if checkpoint.device.type == "cpu":
        # On a CPU the backward pass of torch 2.13's fused attention is slower than that of the
        # eager one, in bfloat16 ten times.
        network: Any = checkpoint.network
        network.set_attn_implementation("eager")
    return checkpoint


def _request(start: Base, device: str) -> CheckpointRequest:
    names = ("path", "revision", "family", "attention", "peft", "template", "thinking")
    taken = {name: start.named[name] for name in names}
    dtype = start.named["dtype"]
    if dtype == "auto" and start.lora is None:
        dtype = "float32"  # small steps would be lost in the rounding of bfloat16
    if start.named["device"] != "auto":
        device = start.named["device"]
    return CheckpointRequest(**taken, dtype=dtype, device=device)


def _whole(checkpoint: Checkpoint, source: Path) -> Trainee:
    """Return a network whose weights are all trained."""
    network = checkpoint.network.requires_grad_(requires_grad=True).train()
    published = {
        checkpoint.family.stock_name(name): (name, dtype)
        for name, dtype in _published_tensors(source).items()
    }
    trainee = Trainee(checkpoint=checkpoint, module=network, adapted=False, published=published)
    try:
        trainee.published_tensors(network.state_dict())
    except Exception as error:
        # transformers raises various types if a conversion cannot be reverted.
        raise CheckpointError(
            f"{source}: its weights cannot be saved under their published names "
            f"({type(error).__name__}: {error}); train an adapter with lora instead"
        ) from error
    return trainee


def _with_adapter(checkpoint: Checkpoint, rank: int, folder: TrainingFolder, seed: int) -> Trainee:
    """Return a network of which only a LoRA adapter is trained."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise CheckpointError(f"lora needs the package peft: pip install peft ({error})") from error
    network: Any = checkpoint.network
    config = LoraConfig(
        r=rank,
        # The common choice: update sizes then do not depend on the rank.
        lora_alpha=2 * rank,
        target_modules=[
            name
            for name, part in network.named_modules()
            if isinstance(part, nn.Linear) and ".layers." in name
        ],
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # peft warns of features that a later transformers removes.
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(seed)
        adapted: Any = get_peft_model(network, config)
    with folder.storage():
        adapted.peft_config["default"].save_pretrained(str(folder.path))
    return Trainee(checkpoint=checkpoint, module=adapted.train(), adapted=True, published={})


def _folder_of(start: Base, checkpoint: Checkpoint) -> Path:
    folder = Path(start.named["path"]).expanduser()
    if folder.is_dir():
        return folder
    # It was downloaded when it was loaded.
    return snapshot(str(folder), checkpoint.provenance["revision"], local_files_only=True)


def _published_tensors(folder: Path) -> dict[str, torch.dtype]:
    """Return the data type of each tensor in a checkpoint's files."""
    types: dict[str, torch.dtype] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            types |= {name: file.get_tensor(name).dtype for name in names}
    if types:
        return types
    for path in sorted(folder.glob("pytorch_model*.bin")):
        held = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        types |= {name: tensor.dtype for name, tensor in held.items()}
    return types


def _copy(source: Path, folder: TrainingFolder) -> None:
    with folder.storage():
        for pattern in _COPIED:
            for path in source.glob(pattern):
                # The index of the base's shards does not apply to the saved file.
                if not path.name.endswith(".index.json") and path.name != "training.json":
                    shutil.copyfile(path, folder.path / path.name)


def _llada_names(layers: int) -> list[str]:
    attention = ("attn_norm", "q_proj", "k_proj", "v_proj", "attn_out")
    parts = (*attention, "ff_norm", "ff_proj", "up_proj", "ff_out")
    return [
        "model.transformer.wte.weight",
        *(
            f"model.transformer.blocks.{layer}.{part}.weight"
            for layer in range(layers)
            for part in parts
        ),
        "model.transformer.ln_f.weight",
        "model.transformer.ff_out.weight",
    ]


def _llada_config(start: Scratch, tokenizer: Any, positions: int) -> dict[str, Any]:
    """Return ``config.json`` as LLaDA publishes it, for a network of these sizes."""
    return {
        **_LLADA_CONFIG,
        "d_model": start.hidden,
        "embedding_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "mask_token_id": tokenizer.mask_token_id,
        "max_sequence_length": positions,
        "mlp_hidden_size": start.feed_forward,
        "n_heads": start.heads,
        "n_kv_heads": start.heads,
        "n_layers": start.layers,
        "pad_token_id": tokenizer.pad_token_id,
        "torch_dtype": start.dtype,
        "vocab_size": len(tokenizer),
    }


def describe(trainee: Trainee) -> dict[str, Any]:
    """Return a description of the network and its trained parameters, as JSON values."""
    provenance = trainee.checkpoint.provenance
    return {
        "family": provenance["family"],
        "network": provenance["network"],
        "device": provenance["device"],
        "device_name": provenance["device_name"],
        "parameters": sum(weight.numel() for weight in trainee.module.parameters()),
        "trained_parameters": sum(weight.numel() for weight in trainee.weights.values()),
        "tokenizer_digest": provenance["tokenizer_digest"],
    }
