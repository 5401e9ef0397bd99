"""The ideal model: it predicts the exact conditional distribution of every open position.

For a sample whose right answers can be listed, the optimum of any masked diffusion model is
known: the probability of a token at an open position, given the canvas, is the share of the right
answers that agree with the canvas and have that token there.  With this model, all lost accuracy
is due to parallel decoding.

A canvas that no right answer fits has no conditional distribution.  It gets that of the answers
that agree with it in the most positions, and the prediction is flagged (``off_support``).

Greedy decoding from an exact distribution depends on ties: in a shuffle every open name is
equally likely everywhere.  A small zero-mean noise on the logits, which depends only on the
sample and its canvas, breaks them without bias.  This is the "unbiased model" of the paper's
closed forms; ``noise=0`` breaks ties by the lowest id.

All sums are of whole numbers and therefore exact, and every logarithm comes from one table, so a
row's prediction is bit-identical in any batch.

Source: Kang et al., ParallelBench (arXiv:2510.04767), section 4.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from parallelbench.errors import CanvasError
from parallelbench.model import MODELS, Model, ModelSource, Prediction, Row
from parallelbench.prompt import PLAIN_CHAT_TEMPLATE, Codec, Prompt, lay_out
from parallelbench.task import DEFAULT_LIMIT, TASKS

#: Distributions cached for reuse, in addition to those of the samples being decoded.
_LAWS_KEPT = 64
#: float32 holds whole numbers exactly up to here.
_EXACT_FLOAT32 = 2**24
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
        codec = _own_codec() if self.tokenizer is None else _codec_from(self.tokenizer)
        return IdealModel(codec, noise=self.noise, seed=self.seed, limit=self.limit)

    def capabilities(self) -> frozenset[str]:
        """Return the capabilities of the ideal model."""
        return IdealModel.capabilities

    @classmethod
    def families(cls) -> dict[str, frozenset[str]]:
        """Return the capabilities of the ideal model, a family of its own."""
        return {"ideal": IdealModel.capabilities}


class IdealModel(Model):
    """Predicts from the listed right answers of each row's sample.

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
        self._laws: WeakKeyDictionary[Prompt, TokenLaw] = WeakKeyDictionary()
        self._kept: OrderedDict[object, TokenLaw] = OrderedDict()
        self._logarithms = torch.tensor([-math.inf], dtype=torch.float64)

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

    def law(self, prompt: Prompt) -> TokenLaw:
        """Return the distribution of the right answers to ``prompt``, over token ids.

        Raises:
            NotEnumerableError: The right answers are too many to list.
            CanvasError: One of them does not fit the canvas or the tokenizer.
        """
        law = self._laws.get(prompt)
        if law is None:
            law = self._laws[prompt] = self._shared_law(prompt)
        return law

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt whose right answers cannot be listed or laid out."""
        self.law(prompt)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the exact conditional distributions at the wanted positions of ``rows``."""
        laws = [self.law(row.prompt) for row in rows]
        groups: dict[int, list[int]] = defaultdict(list)
        for index, law in enumerate(laws):
            # Rows with a single right answer have no weights, so all of them form one group.
            groups[id(law) if len(law.rows) > 1 else -law.rows.shape[1]].append(index)
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

    def _part(self, laws: Sequence[TokenLaw], rows: Sequence[Row]) -> _GroupPrediction:
        """Predict rows that share one distribution, or rows with a single right answer each."""
        law = laws[0]
        length = law.rows.shape[1]
        # Positions beyond a shorter row are open and not wanted.
        canvases = torch.stack([_shown(row.canvas, length, self.codec.mask_id) for row in rows])
        wanted = torch.stack([_shown(row.wanted, length, missing=0) for row in rows])
        if len(law.rows) == 1:
            answer = torch.cat([each.rows for each in laws])
            off_support = ((canvases != answer) & (canvases != self.codec.mask_id)).any(dim=1)
            token_ids = answer[wanted][:, None]
            return _GroupPrediction(
                torch.zeros(token_ids.shape), token_ids, wanted.sum(dim=1), off_support
            )
        entries, off_support = law.condition(canvases, self._logarithm_table(law.total))
        if self.noise:
            samples = [f"{self.seed}/{row.prompt.sample.id}" for row in rows]
            entries += self.noise * zero_mean_noise(samples, canvases, law.entries)
        logits = law.spread(entries)[wanted]
        # Relative to the maximum, so that float32 keeps differences between likely tokens.
        logits = (logits - logits.amax(dim=-1, keepdim=True)).float()
        return _GroupPrediction(logits, law.vocabulary, wanted.sum(dim=1), off_support)

    def _shared_law(self, prompt: Prompt) -> TokenLaw:
        answers = prompt.task.answers(prompt.sample, self.limit)
        # Tasks with the same question in every sample (dice) share one distribution.
        key = (answers, tuple(prompt.canvas.tolist()))
        if key not in self._kept:
            self._kept[key] = TokenLaw(
                lay_out(prompt, answers), torch.tensor(answers.weights), self.codec.mask_id
            )
        self._kept.move_to_end(key)
        while len(self._kept) > _LAWS_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _logarithm_table(self, total: int) -> Float[Tensor, " entries"]:
        # A table: the logarithm of a number must not depend on its place in a vectorised batch,
        # which libraries do not guarantee.
        if total >= len(self._logarithms):
            self._logarithms = torch.tensor(
                [-math.inf, *(math.log(count) for count in range(1, total + 1))],
                dtype=torch.float64,
            )
        return self._logarithms


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


class TokenLaw:
    """A finite distribution over canvases, stored so that conditioning is two matrix products.

    An *entry* is a token that some right answer has at some position.

    Args:
        rows: Canvas of each right answer.
        weights: Weight of each right answer, a positive whole number.
        mask_id: Token id of an open position.

    Attributes:
        rows: Canvas of each right answer.
        total: Sum of the weights.
        entries: Number of entries.
        vocabulary: Distinct tokens of the answers, ascending.
    """

    def __init__(
        self, rows: Int[Tensor, "answers length"], weights: Int[Tensor, " answers"], mask_id: int
    ) -> None:
        self.rows = rows
        self.total = int(weights.sum())
        # Sums of whole numbers below 2^24 are exact in float32, below 2^53 in float64.
        exact = torch.float32 if self.total < _EXACT_FLOAT32 else torch.float64
        # NumPy's unique: torch's is tens of times slower on such small tables.
        vocabulary, column = np.unique(rows.numpy(), return_inverse=True)
        cells = np.arange(rows.shape[1]) * len(vocabulary) + column.reshape(rows.shape)
        cell, entry = np.unique(cells, return_inverse=True)
        self.vocabulary = torch.from_numpy(vocabulary)
        self.entries = len(cell)
        self._cell = torch.from_numpy(cell)
        self._position = self._cell // len(vocabulary)
        self._token = self.vocabulary[self._cell % len(vocabulary)]
        self._has = torch.zeros((len(rows), self.entries), dtype=exact)
        self._has.scatter_(1, torch.from_numpy(entry.reshape(rows.shape)), 1)
        self._weights = weights.to(exact)
        self._mask_id = mask_id

    def condition(
        self, canvases: Int[Tensor, "rows length"], logarithms: Float[Tensor, " counts"]
    ) -> tuple[Float[Tensor, "rows entries"], Bool[Tensor, " rows"]]:
        """Condition on each canvas; return log-weights and a flag for impossible canvases.

        Args:
            canvases: Token ids, with the mask id at open positions.
            logarithms: Natural logarithms of 0, 1, 2, ... up to at least ``total``.

        Returns:
            Log-weights of the entries (not normalised; -inf if impossible), and True for each
            canvas that no right answer fits in every written position.
        """
        hits = (canvases[:, self._position] == self._token).to(self._has.dtype)
        agreements = hits @ self._has.T
        most = agreements.amax(dim=1)
        surviving = (agreements == most[:, None]) * self._weights
        off_support = most < (canvases != self._mask_id).sum(dim=1)
        return logarithms[(surviving @ self._has).long()], off_support

    def spread(
        self, entries: Float[Tensor, "rows entries"]
    ) -> Float[Tensor, "rows length columns"]:
        """Return log-weights over :attr:`vocabulary` for every position."""
        length, columns = self.rows.shape[1], len(self.vocabulary)
        cells = torch.full((len(entries), length * columns), -math.inf, dtype=torch.float64)
        cells[:, self._cell] = entries
        return cells.view(-1, length, columns)


def _own_codec() -> Codec:
    from parallelbench.models.word_tokenizer import word_tokenizer

    tokenizer = word_tokenizer(word for task in TASKS.values() for word in task.words)
    return Codec(tokenizer, mask_id=tokenizer.mask_token_id, end_id=tokenizer.eos_token_id)


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
