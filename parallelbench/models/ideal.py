"""The ideal model: it predicts the exact conditional distribution of every open position.

For a sample whose right answers can be listed, or have a known structure, the optimum of any
masked diffusion model is known: the probability of a token at an open position, given the canvas,
is the share of the right answers that agree with the canvas and have that token there.  With this
model, all lost accuracy is due to parallel decoding.

A canvas that no right answer fits has no conditional distribution.  It gets that of the answers
that agree with it in the most positions, and the prediction is flagged (``off_support``).

Greedy decoding from an exact distribution depends on ties: in a shuffle every open name is
equally likely everywhere.  A small zero-mean noise on the logits, which depends only on the
sample and its canvas, breaks them without bias.  This is the "unbiased model" of the paper's
closed forms; ``noise=0`` breaks ties by the lowest id.

A row's prediction is bit-identical in any batch: every sum runs in an order that the distribution
fixes, and logarithms do not depend on the place in a batch.

Source: Kang et al., ParallelBench (arXiv:2510.04767), section 4.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.errors import CanvasError
from parallelbench.model import MODELS, Model, ModelSource, Prediction, Row
from parallelbench.models.own_codec import open_own_codec
from parallelbench.prompt import PLAIN_CHAT_TEMPLATE, Codec, Prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.task import DEFAULT_LIMIT

#: The number of columns is a multiple of this.
_COLUMN_MULTIPLE = 32


@MODELS.register("ideal")
@dataclass(frozen=True, kw_only=True)
class Ideal(ModelSource):
    """The exact conditional distribution of the right answers; small noise breaks ties.

    Attributes:
        noise: Standard deviation of the zero-mean noise on the logits, in nats; 0 for none.
        seed: Random seed of the noise.
        limit: Maximum number of right answers listed for one sample.
        tokenizer: Folder of a Hugging Face fast tokenizer; None is a small one with a token for
            each word of the tasks.

    Raises:
        ValueError: ``noise`` is not in [0, inf), or ``limit`` is below 1.
    """

    summary: ClassVar[str] = "the exact distribution of the right answers; needs no files"

    noise: float = 1e-3
    seed: int = 0
    limit: int = DEFAULT_LIMIT
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise must be 0 or more, got {self.noise}")
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1 answer, got {self.limit}")

    def open(self) -> IdealModel:
        """Return the model.

        Raises:
            CanvasError: The tokenizer cannot be loaded or has no end-of-text token.
        """
        codec = open_own_codec() if self.tokenizer is None else _codec_from(self.tokenizer)
        return IdealModel(codec, noise=self.noise, seed=self.seed, limit=self.limit)

    def capabilities(self) -> frozenset[str]:
        """Return the capabilities of the ideal model."""
        return IdealModel.capabilities

    @classmethod
    def families(cls) -> dict[str, frozenset[str]]:
        """Return the capabilities of the ideal model, a family of its own."""
        return {"ideal": IdealModel.capabilities}


class IdealModel(Model):
    """Predicts from the answer distribution of each row's sample.

    Args:
        codec: Codec of text and tokens.
        noise: Standard deviation of the noise on the logits, in nats.
        seed: Random seed of the noise.
        limit: Maximum number of right answers listed for one sample.
    """

    # Its tensors are small: threads would synchronise more than they compute.
    threads = 1
    capabilities = frozenset({"shorter_rows"})

    def __init__(self, codec: Codec, *, noise: float, seed: int, limit: int) -> None:
        self.codec = codec
        self.noise = noise
        self.seed = seed
        self.limit = limit
        described = f"ideal noise={noise!r} seed={seed} {codec.digest}"
        self.digest = hashlib.sha256(described.encode()).hexdigest()
        self._laws: WeakKeyDictionary[Prompt, AnswerDistribution] = WeakKeyDictionary()
        self._columns: WeakKeyDictionary[AnswerDistribution, _Columns] = WeakKeyDictionary()

    def provenance(self) -> dict[str, Any]:
        """Return the settings that identify this model."""
        return {
            "family": "ideal",
            "noise": self.noise,
            "seed": self.seed,
            "limit": self.limit,
            "tokenizer_digest": self.codec.digest,
            "vocabulary_size": self.codec.size,
            "digest": self.digest,
        }

    def law(self, prompt: Prompt) -> AnswerDistribution:
        """Return the distribution of the right answers to ``prompt``, over token ids.

        Raises:
            NotEnumerableError: The right answers are too many to list and have no structure.
            CanvasError: One of them does not fit the canvas or the tokenizer.
        """
        law = self._laws.get(prompt)
        if law is None:
            law = self._laws[prompt] = answer_distribution(prompt, self.limit)
        return law

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt whose right answers have no known distribution on its canvas."""
        self.law(prompt)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the exact conditional distributions at the wanted positions of ``rows``."""
        laws = [self.law(row.prompt) for row in rows]
        groups: dict[int, list[int]] = defaultdict(list)
        for index, law in enumerate(laws):
            # Rows with a single right answer have no weights, so all of them form one group.
            groups[-law.length if _is_single(law) else id(law)].append(index)
        order = [index for indices in groups.values() for index in indices]
        parts = [
            self._part([laws[index] for index in indices], [rows[index] for index in indices])
            for indices in groups.values()
        ]
        lines = _lines(order, torch.cat([part.wanted for part in parts]))
        # A fixed multiple, so that reductions over columns take the same path in any batch.
        widest = max(part.logits.shape[1] for part in parts)
        columns = -(-widest // _COLUMN_MULTIPLE) * _COLUMN_MULTIPLE
        logits = torch.full((len(lines), columns), -math.inf)
        token_ids = torch.zeros(logits.shape, dtype=torch.long)
        first = 0
        for part in parts:
            own = lines[first : first + len(part.logits)]
            logits[own, : part.logits.shape[1]] = part.logits
            token_ids[own, : part.logits.shape[1]] = part.token_ids
            first += len(part.logits)
        off_support = torch.empty(len(rows), dtype=torch.bool)
        off_support[order] = torch.cat([part.off_support for part in parts])
        return Prediction(logits=logits, token_ids=token_ids, off_support=off_support)

    def _part(self, laws: Sequence[AnswerDistribution], rows: Sequence[Row]) -> _GroupPrediction:
        """Predict rows that share one distribution, or rows with a single right answer each."""
        law, mask_id = laws[0], self.codec.mask_id
        # Positions beyond a shorter row are open and not wanted.
        canvases = torch.stack([_shown(row.canvas, law.length, mask_id) for row in rows])
        wanted = torch.stack([_shown(row.wanted, law.length, missing=0) for row in rows])
        if _is_single(law):
            answer = torch.from_numpy(np.stack([each.entries.tokens for each in laws]))
            off_support = ((canvases != answer) & (canvases != mask_id)).any(dim=1)
            token_ids = answer[wanted][:, None]
            return _GroupPrediction(
                torch.zeros(token_ids.shape), token_ids, wanted.sum(dim=1), off_support
            )
        conditionals = law.condition(canvases.numpy())
        entries = torch.from_numpy(law.log_weights(conditionals))
        if self.noise:
            samples = [f"{self.seed}/{row.prompt.sample.id}" for row in rows]
            entries += self.noise * zero_mean_noise(samples, canvases, entries.shape[1])
        if law not in self._columns:
            self._columns[law] = _Columns(law)
        columns = self._columns[law]
        logits = columns.spread(entries)[wanted]
        # Relative to the maximum, so that float32 keeps differences between likely tokens.
        logits = (logits - logits.amax(dim=-1, keepdim=True)).float()
        off_support = torch.from_numpy(~conditionals.fits)
        return _GroupPrediction(logits, columns.token_ids, wanted.sum(dim=1), off_support)


def _is_single(law: AnswerDistribution) -> bool:
    """Return True if only one token can stand at each position."""
    return len(law.entries.tokens) == law.length


class _Columns:
    """The columns of a distribution's logits: one for each token of its right answers.

    Args:
        law: Distribution of the right answers.

    Attributes:
        token_ids: Token id of each column, ascending.
    """

    def __init__(self, law: AnswerDistribution) -> None:
        tokens, columns = np.unique(law.entries.tokens, return_inverse=True)
        self.token_ids = torch.from_numpy(tokens)
        self._length = law.length
        self._cells = torch.from_numpy(law.entries.positions * len(tokens) + columns)

    def spread(
        self, entries: Float[Tensor, "rows entries"]
    ) -> Float[Tensor, "rows length columns"]:
        """Return log-weights over :attr:`token_ids` for every position."""
        shape = len(entries), self._length * len(self.token_ids)
        cells = torch.full(shape, -math.inf, dtype=torch.float64)
        cells[:, self._cells] = entries
        return cells.view(-1, self._length, len(self.token_ids))


class _GroupPrediction(NamedTuple):
    """Predictions for a group of rows.

    Attributes:
        logits: Logits of their wanted positions.
        token_ids: Token id of each column; one line for all positions, or one for each.
        wanted: Number of wanted positions of each row.
        off_support: True for rows that no right answer fits.
    """

    logits: Tensor
    token_ids: Tensor
    wanted: Tensor
    off_support: Tensor


def _shown(part: Shaped[Tensor, " shown"], length: int, missing: int) -> Shaped[Tensor, " length"]:
    if len(part) == length:
        return part
    return torch.nn.functional.pad(part, (0, length - len(part)), value=missing)


def _lines(order: Sequence[int], wanted: Int[Tensor, " rows"]) -> Int[Tensor, " lines"]:
    """Return the index in the original order of each wanted position of the reordered rows.

    Args:
        order: Original index of each reordered row.
        wanted: Number of wanted positions of each reordered row.
    """
    in_order = torch.empty_like(wanted)
    in_order[order] = wanted
    starts = (in_order.cumsum(0) - in_order)[order]
    shifts = starts - (wanted.cumsum(0) - wanted)
    return torch.arange(int(wanted.sum())) + shifts.repeat_interleave(wanted)


def zero_mean_noise(
    samples: Sequence[str], canvases: Int[Tensor, "rows length"], entries: int
) -> Float[Tensor, "rows entries"]:
    """Return noise of mean 0 and variance 1 that depends only on sample and canvas.

    The noise is uniform, from a counter-based generator: every number is a hash of the
    sample, the canvas and the index of the entry.  A generator object per row would cost more
    than the rest of the prediction.

    Args:
        samples: Text that identifies the sample of each row.
        canvases: Token ids of each row's canvas.
        entries: Number of values per row.

    Source:
        The hash is the finalizer of SplitMix64: Steele, Lea and Flood (2014), "Fast
        splittable pseudorandom number generators", figure 17.
    """
    keys = np.array([_key(sample) for sample in samples], dtype=np.uint64)
    position = np.arange(1, canvases.shape[1] + 1, dtype=np.uint64)
    placed = _mixed(canvases.numpy().astype(np.uint64) + position * _GOLDEN)
    state = _mixed(keys + placed.sum(axis=1, dtype=np.uint64))
    numbers = _mixed(state[:, None] + np.arange(1, entries + 1, dtype=np.uint64) * _GOLDEN)
    uniform = (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return torch.from_numpy((uniform - 0.5) * math.sqrt(12))


#: 2^64 divided by the golden ratio, made odd: its multiples fill the range evenly.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@functools.lru_cache(maxsize=4096)
def _key(sample: str) -> int:
    return int.from_bytes(hashlib.blake2b(sample.encode(), digest_size=8).digest(), "little")


def _mixed(numbers: Any) -> Any:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _codec_from(folder: str) -> Codec:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CanvasError(f"no tokenizer can be loaded from {folder!r}: {error}") from error
    if not tokenizer.is_fast or tokenizer.eos_token_id is None:
        raise CanvasError(
            f"the tokenizer in {folder!r} must be a fast one with an end-of-text token"
        )
    mask_id = tokenizer.mask_token_id
    if mask_id is None or mask_id == tokenizer.eos_token_id:
        # Any unused id is suitable: the ideal model has no embedding.
        used = set(tokenizer.get_vocab().values())
        mask_id = len(tokenizer) if len(tokenizer) not in used else 1 + max(used)
    template = None if tokenizer.chat_template else PLAIN_CHAT_TEMPLATE
    return Codec(tokenizer, mask_id, tokenizer.eos_token_id, template)
