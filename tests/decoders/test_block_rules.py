"""Strategies of blocks against the same rules in plain Python, sample by sample."""

from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.decoders.confidence import Confidence
from parallelbench.decoders.confidence_threshold import ConfidenceThreshold
from parallelbench.decoders.multi_block import MultiBlock, MultiBlockEntropy
from parallelbench.decoders.sdar import SDAR
from support.landscapes import assert_agrees, batches, decoded
from support.references import blocks as plain

agreement = settings(max_examples=200, deadline=None)
blocks = st.sampled_from([None, 2, 3, 4, 5])
probability = st.sampled_from([0.2, 0.4, 0.6, 0.8, 0.9, 1.0])


@agreement
@given(probability, st.integers(1, 7), blocks, batches())
def test_sdar_agrees_with_its_rule_in_plain_python(threshold, steps, length, batch):
    fields = {"threshold": threshold, "steps": steps, "block_length": length}
    assert_agrees(plain.sdar, SDAR(**fields), batch)


shares = st.sampled_from([0.1, 0.34, 0.5, 0.67, 0.95, 1.0])
several = {
    "length": st.integers(1, 4),
    "joins": shares,
    "block_length": st.sampled_from([None, None, None, 4, 5]),
}


@agreement
@given(
    st.fixed_dictionaries({**several, "forces": shares, "threshold": probability}),
    batches(),
)
def test_several_active_blocks_agree_with_their_rule_in_plain_python(fields, batch):
    assert_agrees(plain.multi_block, MultiBlock(**fields), batch)


@agreement
@given(
    st.fixed_dictionaries({**several, "threshold": st.sampled_from([0.05, 0.2, 0.5, 1.0])}),
    batches(),
)
def test_several_active_blocks_by_entropy_agree_likewise(fields, batch):
    assert_agrees(plain.multi_block_entropy, MultiBlockEntropy(**fields), batch)


# What is another strategy with other constants is that strategy.


@settings(max_examples=20, deadline=None)
@given(probability, blocks, batches())
def test_sdar_with_a_step_for_every_token_is_a_strict_threshold(threshold, length, batch):
    strict = ConfidenceThreshold(threshold=threshold, comparison="gt", block_length=length)
    sdar = SDAR(threshold=threshold, steps=99, block_length=length)
    assert decoded(sdar, *batch) == decoded(strict, *batch)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2, 4]), batches())
def test_sdar_that_nothing_exceeds_is_a_fixed_number_where_the_steps_divide(k, batch):
    static = SDAR(threshold=1.0, steps=4 // k, block_length=4)
    assert decoded(static, *batch) == decoded(Confidence(k=k, block_length=4), *batch)


@settings(max_examples=20, deadline=None)
@given(probability, st.integers(1, 4), batches())
def test_blocks_that_join_when_the_one_before_is_full_are_ordinary_ones(threshold, length, batch):
    several = MultiBlock(threshold=threshold, length=length, joins=1.0)
    one = ConfidenceThreshold(threshold=threshold, comparison="gt", block_length=length)
    assert decoded(several, *batch) == decoded(one, *batch)
