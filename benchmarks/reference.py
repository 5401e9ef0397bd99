"""The loop of published samplers: one sample, one setting, everything recomputed in each step.

Restated from the rules for comparison, with nothing in it that it can do without:

* a batch of one, and no setting knows what another was told;
* every step computes the logits of every position, prompt included;
* probabilities are a softmax in float64 over all of them;
* what is sought is written, and the next step begins.

Source: Nie et al., "Large Language Diffusion Models" (LLaDA, 2025, arXiv:2502.09992), its
sampler: top-k of a score, with the schedule that spreads n tokens over the steps; Kim et al.
(2025, arXiv:2502.06768) for the margin; Wu et al., "Fast-dLLM" (2025, arXiv:2505.22618),
threshold and factor; Kang et al., "ParallelBench" (2025, arXiv:2510.04767) for the mask id,
which is never predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from parallelbench.prompt import Codec, Prompt
from parallelbench.setting import Setting

Score = Literal["confidence", "margin", "entropy", "random"]


class Decoded(NamedTuple):
    """One decode, done.

    Attributes:
        ids: The canvas at the end.
        calls: Number of model calls.
    """

    ids: list[int]
    calls: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Rule for the positions to commit in a step.

    Attributes:
        score: Statistic that ranks the positions.
        k: Number of positions to commit; None where ``threshold`` or ``factor`` decides.
        threshold: Least score of a committed position.
        factor: Bound on the joint uncertainty of the committed positions.
        published: True to apply the factor as in its authors' code, False as in their paper.
    """

    score: Score
    k: int | None = None
    threshold: float | None = None
    factor: float | None = None
    published: bool = False

    @classmethod
    def of(cls, setting: Setting) -> Rule:
        """Return the rule of a decoder of the standard sweep.

        Raises:
            ValueError: It is none of them.
        """
        fields: dict[str, Any] = dict(setting.fields)
        plain = fields["block_length"] is None and fields["temperature"] == 0
        if plain and setting.name in ("confidence", "margin", "entropy", "random"):
            return cls(score=setting.name, k=fields["k"])
        if plain and setting.name == "confidence_threshold" and fields["comparison"] == "ge":
            return cls(score="confidence", threshold=fields["threshold"])
        if plain and setting.name == "confidence_factor":
            published = fields["rule"] == "published"
            return cls(score="confidence", factor=fields["factor"], published=published)
        raise ValueError(f"the reference loop has no rule for {setting.label!r}")

    def count(self, descending: Tensor, scheduled: list[int], step: int) -> int:
        """Return the number of best positions to commit.

        Args:
            descending: Scores of the open positions, the best first.
            scheduled: Number of positions to commit in each step, for a fixed ``k``.
            step: Steps taken before.
        """
        if self.factor is not None:
            return self._doubtless(descending, self.factor)
        if self.threshold is not None:
            return max(1, int((descending >= self.threshold).sum()))
        return scheduled[step]

    def _doubtless(self, descending: Tensor, factor: float) -> int:
        ranks = torch.arange(1, len(descending) + 1, device=descending.device)
        # A confidence is compared in its own precision: 0.9 reaches a threshold of 0.9.
        least = (1 - factor / (ranks.double() + 1)).to(descending.dtype)
        if not self.published:
            passing = ranks[descending > least]
            return int(passing[-1]) if len(passing) else 1
        failing = ranks[(descending < least) & (ranks > 1)]
        first = int(failing[0]) if len(failing) else len(descending)
        return first if first == len(descending) else first - 1


@torch.inference_mode()
def decode_plainly(
    network: Any,
    prompt: Prompt,
    rule: Rule,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Decoded:
    """Fill the canvas of ``prompt`` by ``rule``, as published samplers do.

    Args:
        network: Predicts each position at that position: LLaDA's layout, no shift.
        prompt: One sample.
        rule: Rule for the positions to commit.
        generator: Draws the score ``random``; None draws from torch's own.
        dtype: Data type of the probabilities.
    """
    codec = prompt.codec
    sequence = torch.cat([prompt.ids, prompt.canvas]).to(network.device)
    first = len(prompt.ids)
    left = int(prompt.open.sum())
    scheduled = [] if rule.k is None else schedule(left, -(-left // rule.k))
    calls = 0
    while left:
        hidden = network.model(input_ids=sequence[None], use_cache=False).last_hidden_state
        logits = network.lm_head(hidden)[0]
        forbid(logits, codec)
        token = logits.argmax(dim=-1)
        score = scores(logits, token, rule.score, dtype, generator)
        is_open = sequence == codec.mask_id
        is_open[:first] = False
        # Ties go to the lower index; closed positions come last.
        order = score.masked_fill(~is_open, -torch.inf).argsort(descending=True, stable=True)
        order = order[:left]
        written = order[: rule.count(score[order], scheduled, calls)]
        sequence[written] = token[written]
        left -= len(written)
        calls += 1
    return Decoded(sequence[first:].tolist(), calls)


def schedule(tokens: int, steps: int) -> list[int]:
    """Return the number of tokens of each step: as equal as possible, larger ones first."""
    least, more = divmod(tokens, steps)
    return [least + (step < more) for step in range(steps)]


def forbid(logits: Tensor, codec: Codec) -> None:
    """Rule out, in place, the mask id and ids that stand for no token."""
    logits[:, codec.size :] = -torch.inf
    logits[:, codec.unwritable] = -torch.inf


def scores(
    logits: Tensor,
    token: Tensor,
    score: Score,
    dtype: torch.dtype,
    generator: torch.Generator | None,
) -> Tensor:
    """Return the score of all positions; higher ones are committed first."""
    if score == "random":
        return torch.rand(len(logits), generator=generator, device=logits.device)
    probabilities = torch.softmax(logits.to(dtype), dim=-1)
    if score == "confidence":
        return probabilities.gather(-1, token[:, None]).squeeze(-1)
    if score == "margin":
        first, second = probabilities.topk(2, dim=-1).values.unbind(dim=-1)
        return first - second
    return -torch.special.entr(probabilities).sum(dim=-1)
