"""What a training begins with, and how its weights are saved.

Both ways go through a folder that holds a checkpoint: from scratch, a random network is
first written in the layout that LLaDA publishes, with a tokenizer of our own.  So what is
trained is loaded by the code that loads every other checkpoint, and saved under the names
that it was published with.

Source: the layout is that of LLaDA-8B (arXiv:2502.09992), its ``config.json`` and tensor
names; see :mod:`parallelbench.models.families`.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parallelbench.errors import CheckpointError
from parallelbench.models.checkpoint import Checkpoint, CheckpointRequest, load_checkpoint
from parallelbench.models.families import FAMILIES, stock_class, stock_config
from parallelbench.models.word_tokenizer import word_tokenizer
from parallelbench.training.folder import TrainingFolder
from parallelbench.training.plan import Base, Scratch

_WEIGHTS = "model.safetensors"
_ADAPTER = "adapter_model.safetensors"
#: What of a checkpoint's folder is copied as it is; never a line of Python.
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja")

_LLADA = next(family for family in FAMILIES if family.name == "llada")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trainee:
    """A network that is being trained.

    Attributes:
        checkpoint: What it was, with its codec, family and device.
        module: Holds the network, adapter included.
        adapted: Whether only an adapter is trained.
        published: The name that each tensor is published under and its type there, by the
            name it has in the network; empty where the network's own are taken.
    """

    checkpoint: Checkpoint
    module: Any
    adapted: bool
    published: Mapping[str, tuple[str, torch.dtype]]

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """What is trained, by the names that :attr:`module` gives it."""
        return {
            name: weight for name, weight in self.module.named_parameters() if weight.requires_grad
        }

    def save(self, weights: Mapping[str, Tensor], folder: TrainingFolder) -> None:
        """Write the network with ``weights`` in the place of those being trained.

        Raises:
            StorageError: ``folder`` cannot be written.
        """
        whole = {**self.module.state_dict(), **weights}
        if self.adapted:
            from peft import get_peft_model_state_dict

            # No embedding is adapted; to look for one, peft would ask a hub.
            held = get_peft_model_state_dict(
                self.module, state_dict=whole, save_embedding_layers=False
            )
            folder.write_tensors(_ADAPTER, held)
            return
        folder.write_tensors(_WEIGHTS, self._under_published_names(whole))

    def _under_published_names(self, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.checkpoint.family.renames:
            named = {theirs: whole[ours] for ours, (theirs, _) in self.published.items()}
        else:
            from transformers.core_model_loading import revert_weight_conversion

            # Experts, for one, are stacked when they are loaded.
            named = revert_weight_conversion(self.module, dict(whole))
        types = dict(self.published.values())
        return {name: named[name].to(types[name]).contiguous() for name in types}


def write_random(
    start: Scratch, words: Iterable[str], positions: int, seed: int, folder: TrainingFolder
) -> None:
    """Write a random network into ``folder``, in the layout that LLaDA publishes.

    Args:
        start: Its sizes.
        words: What its tokenizer gives one token each.
        positions: Tokens of the longest sequence that it is made for.
        seed: Of its weights.
        folder: Where to.

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
    """Return the network to be trained.

    Args:
        start: What it begins with; a random network was written into ``folder`` before.
        folder: Where it will be saved.
        device: As torch names it; ``auto`` is the accelerator if there is one.
        seed: Of the weights of an adapter.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, is of a family that predicts
            otherwise, or its weights have no published names to be saved under.
        StorageError: ``folder`` cannot be written.
    """
    if isinstance(start, Scratch):
        wanted = CheckpointRequest(path=str(folder.path), dtype="float32", device=device)
        return _whole(_load(wanted), folder.path)
    checkpoint = _load(_wanted(start, device))
    family = checkpoint.family
    if family.kind != "masked":
        raise CheckpointError(
            f"{start.model} is of family {family.name}, of kind {family.kind}; training is for "
            "checkpoints that predict the whole canvas: "
            f"{', '.join(each.name for each in FAMILIES if each.kind == 'masked')}"
        )
    if start.lora is not None:
        return _with_adapter(checkpoint, start.lora, folder, seed)
    source = _folder_of(start, checkpoint)
    trainee = _whole(checkpoint, source)
    _copy(source, folder)
    return trainee


def _load(wanted: CheckpointRequest) -> Checkpoint:
    """Return the checkpoint, with the attention that is trained fastest on its device."""
    checkpoint = load_checkpoint(wanted)
    if checkpoint.device.type == "cpu":
        # There torch 2.13 goes back through its fused attention more slowly, and in bfloat16
        # ten times more slowly, than through the plain one.
        network: Any = checkpoint.network
        network.set_attn_implementation("eager")
    return checkpoint


def _wanted(start: Base, device: str) -> CheckpointRequest:
    names = ("path", "revision", "family", "attention", "peft", "template", "thinking")
    taken = {name: start.named[name] for name in names}
    dtype = start.named["dtype"]
    if dtype == "auto" and start.lora is None:
        dtype = "float32"  # small steps would be lost in the rounding of bfloat16
    asked = start.named["device"]
    return CheckpointRequest(**taken, dtype=dtype, device=device if asked == "auto" else asked)


def _whole(checkpoint: Checkpoint, source: Path) -> Trainee:
    """Return a network all of whose weights are trained."""
    network = checkpoint.network.requires_grad_(requires_grad=True).train()
    published = {
        checkpoint.family.stock_name(name): (name, dtype)
        for name, dtype in _published_tensors(source).items()
    }
    trainee = Trainee(checkpoint=checkpoint, module=network, adapted=False, published=published)
    try:
        trainee._under_published_names(network.state_dict())  # noqa: SLF001  of this module
    except Exception as error:
        # transformers has errors of its own for what cannot be converted back.
        raise CheckpointError(
            f"{source}: its weights cannot be saved under their published names "
            f"({type(error).__name__}: {error}); train an adapter with lora instead"
        ) from error
    return trainee


def _with_adapter(checkpoint: Checkpoint, rank: int, folder: TrainingFolder, seed: int) -> Trainee:
    """Return a network with a LoRA adapter, which alone is trained."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise CheckpointError(f"lora needs the package peft: pip install peft ({error})") from error
    network: Any = checkpoint.network
    config = LoraConfig(
        r=rank,
        # As many say: steps then have the same length at any rank.
        lora_alpha=2 * rank,
        target_modules=[
            name
            for name, part in network.named_modules()
            if isinstance(part, nn.Linear) and ".layers." in name
        ],
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # Of what it will no longer find in a later transformers.
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
    from huggingface_hub import snapshot_download

    # It was fetched when it was loaded.
    revision = checkpoint.provenance["revision"]
    return Path(snapshot_download(str(folder), revision=revision, local_files_only=True))


def _published_tensors(folder: Path) -> dict[str, torch.dtype]:
    """Return the tensors that a checkpoint's files hold, and their types."""
    from safetensors import safe_open

    found: dict[str, torch.dtype] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                found[name] = file.get_tensor(name).dtype
    if found:
        return found
    for path in sorted(folder.glob("pytorch_model*.bin")):
        held = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        found |= {name: tensor.dtype for name, tensor in held.items()}
    return found


def _copy(source: Path, folder: TrainingFolder) -> None:
    with folder.storage():
        for pattern in _COPIED:
            for path in source.glob(pattern):
                # The list of shards is the original's; a training's own files are not.
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
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "activation_type": "silu",
        "alibi": False,
        "attention_dropout": 0.0,
        "attention_layer_norm": False,
        "bias_for_layer_norm": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": start.hidden,
        "embedding_dropout": 0.0,
        "embedding_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "flash_attention": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "init_fn": "normal",
        "init_std": 0.02,
        "input_emb_norm": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": tokenizer.mask_token_id,
        "max_sequence_length": positions,
        "mlp_hidden_size": start.feed_forward,
        "multi_query_attention": None,
        "n_heads": start.heads,
        "n_kv_heads": start.heads,
        "n_layers": start.layers,
        "pad_token_id": tokenizer.pad_token_id,
        "residual_dropout": 0.0,
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 10000.0,
        "scale_logits": False,
        "torch_dtype": start.dtype,
        "use_cache": False,
        "vocab_size": len(tokenizer),
        "weight_tying": False,
    }


def describe(trainee: Trainee) -> dict[str, Any]:
    """Return what is trained, as JSON values."""
    facts = trainee.checkpoint.provenance
    return {
        "family": facts["family"],
        "network": facts["network"],
        "device": facts["device"],
        "device_name": facts["device_name"],
        "parameters": sum(weight.numel() for weight in trainee.module.parameters()),
        "trained_parameters": sum(weight.numel() for weight in trainee.weights.values()),
        "tokenizer_digest": facts["tokenizer_digest"],
    }
