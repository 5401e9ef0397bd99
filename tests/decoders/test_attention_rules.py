"""Strategies that ask for attention or a head against the same rules in plain Python."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.decoders.dapd import Dapd
from parallelbench.decoders.dawn import Dawn
from parallelbench.decoders.demask import Demask
from parallelbench.decoders.learn2pd import Learn2pd
from parallelbench.decoders.mean_field import MeanField
from parallelbench.model import Prediction
from support.landscapes import LONGEST, SYMBOL, Landscape, assert_agrees, canvases
from support.references import attention as plain

agreement = settings(max_examples=200, deadline=None)
blocks = st.sampled_from([None, None, 2, 3])
probability = st.sampled_from([0.2, 0.4, 0.6, 0.8, 0.9])
attended = st.sampled_from([0.02, 0.05, 0.1, 0.2, 0.3])


class Telling(Landscape):
    """A landscape whose places attend to each other, and which has heads."""

    capabilities = Landscape.capabilities | {
        "attention_last_four",
        "attention_late",
        "head:demask",
        "head:learn2pd",
    }

    def __init__(self, seed, scale, pull, contrast):
        super().__init__(seed, scale, pull)
        generator = torch.Generator().manual_seed(seed)
        self._pairs = torch.randn(LONGEST, LONGEST, generator=generator) * contrast
        self._symbols = torch.randn(LONGEST, len(SYMBOL), generator=generator) * contrast

    def _scores(self, canvas):
        symbols = torch.tensor([SYMBOL[token] for token in torch.as_tensor(canvas).tolist()])
        return (
            self._pairs[: len(symbols), : len(symbols)] + self._symbols[:, symbols][: len(symbols)]
        )

    def attention(self, canvas):
        scores = self._scores(canvas)
        # The prompt takes its share.
        return torch.softmax(torch.cat([scores, scores[:, :1] * 0], dim=1), dim=1)[:, :-1]

    def moved(self, canvas):
        return torch.sigmoid(self._scores(canvas)) / 2

    def final(self, canvas):
        return torch.sigmoid(self._scores(canvas)[:, 0] * 3)

    def predict(self, rows):
        ways = {
            "attention_last_four": self.attention,
            "attention_late": self.attention,
            "head:demask": self.moved,
            "head:learn2pd": self.final,
        }
        asked = frozenset().union(*(row.extras for row in rows))
        extras = {name: [ways[name](row.canvas) for row in rows] for name in asked}
        return Prediction(logits=super().predict(rows).logits, extras=extras)


@st.composite
def batches(draw):
    """Such a landscape and two canvases of one length."""
    landscape = draw(
        st.builds(
            Telling,
            seed=st.integers(0, 2**32),
            scale=st.sampled_from([0.5, 2.0, 4.0]),
            pull=st.sampled_from([0.0, 0.1, 0.5]),
            contrast=st.sampled_from([0.3, 1.0, 2.0]),
        )
    )
    first = draw(canvases)
    return landscape, [first, first[::-1]]


def giving(method):
    """Make the rule's ``gives``: what the landscape says of a canvas, in plain lists."""
    return lambda landscape, _: lambda canvas: method(landscape, canvas).tolist()


@agreement
@given(
    st.builds(
        Dapd,
        edge=attended,
        tail=probability,
        tail_below=st.sampled_from([0.0, 0.5, 0.7, 1.0]),
        block_length=blocks,
    ),
    batches(),
)
def test_dapd_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.dapd, decoder, batch, gives=giving(Telling.attention))


@agreement
@given(
    st.builds(
        Dawn,
        threshold=probability,
        induce=probability,
        low=probability,
        edge=attended,
        sink=st.sampled_from([0.1, 0.2, 0.3, 1.0]),
        block_length=blocks,
    ),
    batches(),
)
def test_dawn_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.dawn, decoder, batch, gives=giving(Telling.attention))


@agreement
@given(
    st.builds(
        MeanField,
        threshold=probability,
        rounds=st.integers(0, 3),
        candidates=st.sampled_from([1, 2, 3, 8]),
        block_length=blocks,
    ),
    batches(),
)
def test_mean_field_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.mean_field, decoder, batch)


@agreement
@given(st.builds(Learn2pd, threshold=probability, block_length=blocks), batches())
def test_learn2pd_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.learn2pd, decoder, batch, gives=giving(Telling.final))


@agreement
@given(
    st.builds(Demask, budget=st.sampled_from([0.0, 0.1, 0.3, 0.7, 2.0]), block_length=blocks),
    batches(),
)
def test_demask_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.demask, decoder, batch, gives=giving(Telling.moved))
