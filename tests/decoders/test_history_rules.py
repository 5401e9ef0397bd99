"""Strategies with a memory against the same rules in plain Python, sample by sample."""

from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.decode.lanes import _generator
from parallelbench.decoders.credit import Credit
from parallelbench.decoders.joint_threshold import JointThreshold
from parallelbench.decoders.klass import Klass, KlassDream
from parallelbench.decoders.persistence import Persistence
from parallelbench.decoders.rcr import Rcr
from parallelbench.decoders.remdm import Remdm
from parallelbench.decoders.remdm_llada import RemdmLlada
from parallelbench.decoders.saber import Saber
from parallelbench.decoders.slow_fast import SlowFast
from parallelbench.decoders.t2m import T2m
from parallelbench.decoders.wino import Wino
from support.landscapes import assert_agrees, batches
from support.references import history as plain

agreement = settings(max_examples=200, deadline=None)
blocks = st.sampled_from([None, None, 2, 3, 5])
probability = st.sampled_from([0.2, 0.4, 0.6, 0.8, 0.9])


klasses = {
    "threshold": probability,
    "divergence": st.sampled_from([0.001, 0.01, 0.1, 1.0]),
    "history": st.integers(1, 3),
    "memory": st.sampled_from(["canvas", "block"]),
    "block_length": blocks,
}


@agreement
@given(st.one_of(st.builds(Klass, **klasses), st.builds(KlassDream, **klasses)), batches())
def test_klass_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.klass, decoder, batch, dream=lambda *_: isinstance(decoder, KlassDream))


@agreement
@given(
    st.builds(
        SlowFast,
        exploration=st.integers(1, 4),
        reach=probability,
        window=st.integers(1, 4),
        spread=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
        threshold=probability,
        block_length=st.sampled_from([None, None, 5, 7]),
    ),
    batches(),
)
def test_slow_fast_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.slow_fast, decoder, batch)


@agreement
@given(
    st.builds(
        Credit,
        strength=st.sampled_from([0.0, 0.3, 0.7, 2.0]),
        exponent=st.sampled_from([0.0, 0.2, 1.0]),
        decay=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
        threshold=probability,
        block_length=blocks,
    ),
    batches(),
)
def test_credit_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.credit, decoder, batch)


@agreement
@given(
    st.builds(Persistence, history=st.integers(1, 4), threshold=probability, block_length=blocks),
    batches(),
)
def test_persistence_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.persistence, decoder, batch)


@agreement
@given(st.builds(Rcr, k=st.integers(1, 4), block_length=blocks), batches())
def test_rcr_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.rcr, decoder, batch)


@agreement
@given(st.builds(Saber, least=st.integers(1, 5), block_length=blocks), batches())
def test_saber_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.saber, decoder, batch)


@agreement
@given(
    st.builds(
        Wino,
        draft=probability,
        verify=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
        block_length=blocks,
    ),
    batches(),
)
def test_wino_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.wino, decoder, batch)


@agreement
@given(
    st.builds(
        JointThreshold,
        threshold=probability,
        edit=st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]),
        after=st.integers(0, 4),
        block_length=blocks,
    ),
    batches(),
)
def test_joint_threshold_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.joint_threshold, decoder, batch)


@agreement
@given(
    st.builds(
        T2m,
        threshold=probability,
        trigger=st.sampled_from(["low_prob", "other", "drop"]),
        limit=st.sampled_from([None, 0.0, 0.1, 0.3, 0.5]),
        block_length=blocks,
    ),
    batches(),
)
def test_t2m_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.t2m, decoder, batch)


@agreement
@given(
    st.builds(
        RemdmLlada,
        k=st.integers(1, 4),
        reopened=st.integers(1, 3),
        revisions=st.integers(0, 3),
        block_length=blocks,
    ),
    batches(),
)
def test_remdm_for_llada_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.remdm_llada, decoder, batch)


def uniform(_, key):
    """The numbers that the loop gives this decode, in order."""
    return _generator(key).random


steps = st.sampled_from([None, None, 1, 2, 3, 4])


@agreement
@given(
    st.one_of(
        st.builds(
            Remdm,
            temperature=st.just(0.0),
            steps=steps,
            schedule=st.sampled_from(["cap", "rescale", "loop"]),
            eta=st.sampled_from([None, 0.0, 0.3, 0.7, 1.0]),
            block_length=blocks,
        ),
        st.builds(
            Remdm,
            temperature=st.just(0.0),
            steps=steps,
            schedule=st.just("conf"),
            block_length=blocks,
        ),
    ),
    batches(),
)
def test_remdm_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.remdm, decoder, batch, uniform=uniform)
