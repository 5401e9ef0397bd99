"""``hf:PATH``: a checkpoint in Hugging Face's format, from a folder or the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from parallelbench.errors import FieldError
from parallelbench.model import MODELS, Model, ModelSource
from parallelbench.models.capabilities import CacheName, family_capabilities
from parallelbench.models.checkpoint import (
    CheckpointRequest,
    date_remark,
    family_at,
    load_checkpoint,
    load_codec_alone,
)
from parallelbench.models.families import FAMILIES, Family
from parallelbench.prompt import Codec
from parallelbench.ranges import whole
from parallelbench.task import Task

#: Values of ``cache`` for each kind of family, the default first.
_CACHES: dict[str, tuple[CacheName, ...]] = {
    "masked": ("none", "prefix", "dual"),
    "block": ("block", "none"),
    "uniform": (),
    "autoregressive": (),
}


@MODELS.register("hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace(ModelSource):
    """A checkpoint of a known family, or any causal language model; none of its code is run.

    Attributes:
        path: A folder, or a hub id such as ``GSAI-ML/LLaDA-8B-Instruct``.
        revision: Branch, tag or commit of a hub id.
        family: Name of the family; None reads it from ``config.json``.
        dtype: Data type of the weights; ``auto`` is bfloat16 on an accelerator, else float32.
        device: Device in torch's notation; ``auto`` is the accelerator if there is one.
        attention: Attention kernel.
        cache: Key-value cache; None is the exact default.  For masked models ``prefix`` and
            ``dual`` are those of Fast-dLLM, which change the predictions; for block models
            ``none`` recomputes everything.
        block_length: Length of the blocks of a block model, in tokens; None is the
            checkpoint's own.
        peft: Folder of a LoRA adapter that is merged into the weights.
        template: File of a Jinja chat template; None is the checkpoint's own.
        thinking: Value of the template's variable ``enable_thinking``.
        compile: True to compile the network with ``torch.compile``.
        ignore: Fields of ``config.json``, separated by ``+``, to ignore although they may
            require another network.

    Raises:
        ValueError: ``block_length`` is below 1.
    """

    summary: ClassVar[str] = "a checkpoint from a folder or the Hugging Face hub"
    address: ClassVar[str] = "path"

    path: str
    revision: str | None = None
    family: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    attention: Literal["sdpa", "eager"] = "sdpa"
    cache: CacheName | None = None
    block_length: int | None = whole(1, None, "token")
    peft: str | None = None
    template: str | None = None
    thinking: bool = False
    compile: bool = False
    ignore: str | None = None

    def remark(self, tasks: Iterable[type[Task]]) -> str | None:  # noqa: ARG002  true of any
        """Return a note on the fixed date of a chat template that asks for today's; else None."""
        return date_remark(self._request)

    def open(self) -> Model:
        """Return the model, ready to predict.

        Raises:
            CheckpointError: The checkpoint is missing, damaged, or of an unknown family.
            FieldError: A field does not apply to its family.
        """
        checkpoint = load_checkpoint(self._request, accept=self._check_family)
        from parallelbench.models.adapters import model_of

        return model_of(checkpoint, self.cache, self.block_length)

    def capabilities(self) -> frozenset[str]:
        """Return the capabilities of its family with this cache; no weights are read.

        Raises:
            CheckpointError: The checkpoint is missing, or of an unknown family.
        """
        return family_capabilities(family_at(self._request), self.cache)

    @classmethod
    def families(cls) -> dict[str, frozenset[str]]:
        """Return the capabilities of every known family, by name."""
        return {family.name: family_capabilities(family, None) for family in FAMILIES}

    def open_codec(self, *, fetch: bool = True) -> Codec:
        """Return the codec of the checkpoint without reading its weights.

        Args:
            fetch: True if missing files may be downloaded.

        Raises:
            CheckpointError: The checkpoint is missing, damaged, or of an unknown family.
        """
        return load_codec_alone(self._request, fetch=fetch)

    @property
    def _request(self) -> CheckpointRequest:
        return CheckpointRequest(
            path=self.path,
            revision=self.revision,
            family=self.family,
            dtype=self.dtype,
            device=self.device,
            attention=self.attention,
            peft=self.peft,
            template=self.template,
            thinking=self.thinking,
            compile=self.compile,
            ignore=self.ignore,
        )

    def _check_family(self, family: Family) -> None:
        if self.block_length is not None and family.kind != "block":
            raise FieldError(
                f"model 'hf': block_length is the grid of a block model, but {self.path} is of "
                f"family {family.name}; set block_length on the decoder instead"
            )
        allowed = _CACHES[family.kind]
        if self.cache is not None and self.cache not in allowed:
            choices = ", ".join(allowed) or "no choice: its own cache is always used"
            raise FieldError(
                f"model 'hf': cache={self.cache} does not apply to family {family.name}; "
                f"allowed: {choices}"
            )
