"""Entropy bound: commit the largest group whose tokens can depend only so much on each other.

The joint entropy of a group is at least its largest member's, so the sum of the entropies
without the largest bounds what writing the group from its marginals can lose.

Rule: with the entropies in ascending order, commit the first
``k = #{l : sum of H_1 ... H_l - max of H_1 ... H_l <= bound}``, at least 1.  As the last
of the group is its largest, that is the sum of all those before it.
Defaults: bound = 0.1 nats.  Published values run from 0.001 to 0.35.

Source: Ben-Hamu et al., "Accelerated Sampling from Masked Diffusion Models via Entropy
Bounded Unmasking" (2025, arXiv:2505.24857), with entropy as the error proxy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from parallelbench.decoder import DECODERS, Chooser, Selection, Step
from parallelbench.decoders.selection import leading, ranking
from parallelbench.ranges import nonnegative


@DECODERS.register("entropy_bound")
@dataclass(frozen=True, kw_only=True)
class EntropyBound(Chooser):
    """Commit positions of lowest entropy while those before them sum to ``bound`` at most.

    The first one has none before it and is always committed.

    Attributes:
        bound: Nats, 0 or more.  At 0 every certain position is committed, and one more.
    """

    needs = frozenset({"token", "entropy"})
    adaptive = True
    labelled = ("bound",)
    presets = {
        "eb-sampler": "bound=0.01",
    }
    grid = "bound=0.001|0.01|0.1|0.15|0.5|1.0"

    bound: float = nonnegative(0.1, "nats")

    def choose(self, step: Step) -> Selection:
        """Return the open positions whose entropies fit within the bound, one at least."""
        return within(self.bound, step.entropy, step.open)


def within(
    bound: float,
    entropy: Float[Tensor, "samples length"],
    is_open: Bool[Tensor, "samples length"],
) -> Bool[Tensor, "samples length"]:
    """Return the open positions of lowest entropy, in nats, that fit within a bound."""
    order = ranking(-entropy, is_open)
    ascending = entropy.gather(1, order).double()
    # Shifted, not "the sum up to here less this one": a closed position holds +inf, and
    # inf - inf is no number.  The closed ones come last, so no open one has them before it.
    before = torch.nn.functional.pad(ascending.cumsum(dim=1)[:, :-1], (1, 0))
    return leading(order, (before <= bound).sum(dim=1, keepdim=True), is_open)
