"""``hf:PATH``: a checkpoint in Hugging Face's form, from a folder or the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from parallelbench.errors import FieldError
from parallelbench.model import MODELS, Model, ModelSource
from parallelbench.prompt import Codec
from parallelbench.task import Task

if TYPE_CHECKING:
    from parallelbench.models.checkpoint import Checkpoint, CheckpointRequest
    from parallelbench.models.families import Family
    from parallelbench.models.masked import Cache
    from parallelbench.prompt import Codec

CacheName = Literal["none", "prefix", "dual", "block"]

#: What a user may choose for each kind of family, its default first.
_CACHES: dict[str, tuple[CacheName, ...]] = {
    "masked": ("none", "prefix", "dual"),
    "block": ("block", "none"),
    "uniform": (),
    "autoregressive": (),
}


@MODELS.register("hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace(ModelSource):
    """A checkpoint of a known family, or any causal language model; runs no code of its own.

    Attributes:
        path: A folder, or a hub id such as ``GSAI-ML/LLaDA-8B-Instruct``.
        revision: Of a hub id: branch, tag or commit.
        family: A family's name; None reads it from ``config.json``.
        dtype: Of the weights; ``auto`` is bfloat16 on an accelerator, else float32.
        device: As torch names it; ``auto`` is the accelerator if there is one.
        attention: The kernel.
        cache: Keys and values that are not computed anew; None takes what is exact.  For
            masked models ``prefix`` and ``dual`` are those of Fast-dLLM, which change what
            is predicted; for block models ``none`` computes everything anew.
        block_length: Of the grid of a block model, in tokens; None takes the checkpoint's.
        peft: Folder of a LoRA adapter that is merged into the weights.
        template: File of a Jinja chat template; None takes the checkpoint's own.
        thinking: Whether the template is told that the model may think aloud.
        compile: Whether ``torch.compile`` compiles the network.
        ignore: Fields of ``config.json`` that are refused because they may need another
            network, and are to have no effect, separated by ``+``.

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
    block_length: int | None = None
    peft: str | None = None
    template: str | None = None
    thinking: bool = False
    compile: bool = False
    ignore: str | None = None

    def __post_init__(self) -> None:
        if self.block_length is not None and self.block_length < 1:
            raise ValueError(f"block_length must be at least 1 token, got {self.block_length}")

    def remark(self, tasks: Iterable[type[Task]]) -> str | None:  # noqa: ARG002  true of any
        """Return which date its chat template is told, if it asks for one."""
        from parallelbench.models.checkpoint import date_remark

        return date_remark(self._wanted)

    def open(self) -> Model:
        """Return the model, ready to predict.

        Raises:
            CheckpointError: The checkpoint is not there, damaged, or of no known family.
            FieldError: A field does not apply to its family.
        """
        from parallelbench.models.checkpoint import load_checkpoint

        return self._model(load_checkpoint(self._wanted, accept=self._check_family))

    def capabilities(self) -> frozenset[str]:
        """Return what a model of its family gives; no weights are read.

        Raises:
            CheckpointError: The checkpoint is not there, or of no known family.
        """
        from parallelbench.models.checkpoint import family_at

        return _given_by(family_at(self._wanted), self.cache)

    @classmethod
    def families(cls) -> dict[str, frozenset[str]]:
        """Return what every family gives that is known here."""
        from parallelbench.models.families import FAMILIES

        return {family.name: _given_by(family, None) for family in FAMILIES}

    def open_codec(self, *, fetch: bool = True) -> Codec:
        """Return how the checkpoint reads and writes text, without a look at its weights.

        Args:
            fetch: Whether what is not on this machine may be fetched.

        Raises:
            CheckpointError: The checkpoint is not there, damaged, or of no known family.
        """
        from parallelbench.models.checkpoint import load_codec_alone

        return load_codec_alone(self._wanted, fetch=fetch)

    @property
    def _wanted(self) -> CheckpointRequest:
        from parallelbench.models.checkpoint import CheckpointRequest

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

    def _model(self, checkpoint: Checkpoint) -> Model:
        family = checkpoint.family
        if family.kind == "masked":
            from parallelbench.models.masked import MaskedModel

            return MaskedModel(checkpoint, cache=cast("Cache", self.cache or "none"))
        if family.kind == "block":
            from parallelbench.models.block import BlockModel

            declared: int = checkpoint.config.get(family.block_field) or family.block_length
            length = self.block_length or declared
            return BlockModel(checkpoint, block_length=length, keeps=self.cache != "none")
        if family.kind == "uniform":
            from parallelbench.models.uniform import UniformModel

            return UniformModel(checkpoint)
        from parallelbench.models.autoregressive import AutoregressiveModel

        return AutoregressiveModel(checkpoint)

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


def given_by_family(name: str, cache: CacheName | None) -> frozenset[str] | None:
    """Return what a model of the family called ``name`` gives; None where nobody knows it.

    Args:
        name: Of the family.
        cache: As of :class:`HuggingFace`.
    """
    from parallelbench.models.families import FAMILIES

    found = (family for family in FAMILIES if family.name == name)
    family = next(found, None)
    return None if family is None else _given_by(family, cache)


def _given_by(family: Family, cache: CacheName | None) -> frozenset[str]:
    """Return what a model of ``family`` gives beside logits."""
    if family.kind == "masked":
        from parallelbench.models.masked import MaskedModel

        return MaskedModel.given_by(family, cast("Cache", cache or "none"))
    if family.kind == "block":
        from parallelbench.models.block import BlockModel

        return BlockModel.capabilities
    if family.kind == "uniform":
        from parallelbench.models.uniform import UniformModel

        return UniformModel.capabilities
    from parallelbench.models.autoregressive import AutoregressiveModel

    return AutoregressiveModel.capabilities
