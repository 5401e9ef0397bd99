"""The loop: what it does for every strategy, and what no strategy can make it do."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from parallelbench.decode import decode
from parallelbench.decoder import DECODERS, Chooser, Decoder, Update
from parallelbench.errors import NotEnumerableError
from parallelbench.lanes import STEPS_PER_TOKEN, Job
from parallelbench.model import Prediction
from parallelbench.setting import build, parse_settings
from toys import FULL_CONTRACT, Branching, Resting, Revising, Steady, Surest, ToyNetwork, prompts

SETTINGS = (
    "one_by_one,left_to_right:k=2,random:k=3,confidence:k=4,margin:k=2,entropy:k=2,"
    "confidence_threshold:threshold=0.5,margin_threshold:threshold=0.3,entropy_threshold,"
    "confidence_factor,confidence_factor:rule=published,entropy_bound,"
    "confidence:k=2,block_length=3,confidence:k=2,temperature=1,random:k=2,temperature=0.7"
)


def jobs(model, decoders, count=5, **fields):
    """Every decoder on every sample; the tag tells which."""
    for number, prompt in enumerate(prompts(model.codec, count, **fields)):
        for place, decoder in enumerate(decoders):
            key = f"{number}/{place}"
            yield Job(prompt=prompt, decoder=decoder, key=key, tag=key)


def shipped():
    from parallelbench.setting import split_settings

    texts = split_settings(SETTINGS)
    return [build(s, DECODERS) for text in texts for s in parse_settings(text, DECODERS)]


def outcomes(model, decoders, batch_size=64, **fields):
    done = decode(jobs(model, decoders, **fields), model, batch_size=batch_size)
    return {outcome.job.tag: outcome for outcome in done}


def told(outcome):
    return (outcome.output_ids, outcome.status, outcome.error, outcome.trace, outcome.counts)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_decode_is_the_same_in_any_batch(batch_size):
    decoders = [*shipped(), *FULL_CONTRACT]
    alone = outcomes(ToyNetwork(), decoders, batch_size=7)
    batched = outcomes(ToyNetwork(), decoders, batch_size=batch_size)
    assert len(alone) == 5 * len(decoders)
    for key, outcome in alone.items():
        assert told(batched[key]) == told(outcome), key


def test_every_trace_replays_to_the_output_with_its_counts():
    for infill in (False, True):
        for outcome in outcomes(ToyNetwork(), [*shipped(), *FULL_CONTRACT], infill=infill).values():
            prompt, trace, counts = outcome.job.prompt, outcome.trace, outcome.counts
            assert trace.replay(prompt.canvas.tolist()) == outcome.output_ids
            assert outcome.status == "ok"
            assert counts.nfe == sum(rows > 0 for rows in trace.rows) <= counts.steps
            assert counts.canvas_tokens == int(prompt.open.sum())
            assert counts.tokens_per_step == counts.canvas_tokens / counts.nfe
            prefilled = (~prompt.open).nonzero().flatten().tolist()
            assert not {p for step in trace.positions for p in step} & set(prefilled)


def test_calls_are_counted_as_the_model_sees_them():
    model = ToyNetwork()
    done = outcomes(model, [Surest(), Branching(), Resting()], batch_size=1, count=1)
    assert sum(o.counts.nfe for o in done.values()) == len(model.calls)
    assert sum(o.counts.rows for o in done.values()) == sum(len(call) for call in model.calls)
    prompt = done["0/0"].job.prompt
    per_row = len(prompt.ids) + len(prompt.canvas)
    for outcome in done.values():
        assert outcome.counts.token_positions == outcome.counts.rows * per_row
    assert done["0/0"].counts.nfe == done["0/0"].counts.rows == 6
    assert done["0/1"].counts.rows > done["0/1"].counts.nfe
    assert done["0/2"].counts.steps == 2 * done["0/2"].counts.nfe


def test_a_finished_decode_leaves_the_batch_and_the_next_takes_its_place():
    model = ToyNetwork()
    fast, slow = build(parse_settings("confidence:k=6", DECODERS)[0], DECODERS), Surest()
    (first, *rest) = prompts(model.codec, 5)
    queue = [
        Job(first, slow, "slow"),
        *(Job(prompt, fast, str(i)) for i, prompt in enumerate(rest)),
    ]
    keys = [outcome.job.key for outcome in decode(queue, model, batch_size=2)]
    assert keys == ["0", "1", "2", "3", "slow"]
    assert [len(call) for call in model.calls] == [2, 2, 2, 2, 1, 1]


def test_jobs_are_taken_only_as_room_becomes_free():
    model = ToyNetwork()
    taken = []

    def queue():
        for index, prompt in enumerate(prompts(model.codec, 5)):
            taken.append(index)
            yield Job(prompt, Surest(), str(index))

    stream = decode(queue(), model, batch_size=2)
    next(stream)
    assert taken == [0, 1]


def test_blocks_are_filled_from_left_to_right():
    model = ToyNetwork()
    decoder = build(parse_settings("confidence:k=2,block_length=2", DECODERS)[0], DECODERS)
    for outcome in outcomes(model, [decoder]).values():
        assert outcome.trace.positions == [[0, 1], [2, 3], [4, 5]]


def test_a_block_that_is_already_filled_costs_no_call():
    # Infilled "red, green": positions 0 and 2 are open, 1 is the comma.
    decoder = build(parse_settings("confidence:k=2,block_length=1", DECODERS)[0], DECODERS)
    for outcome in outcomes(ToyNetwork(), [decoder], infill=True).values():
        assert outcome.trace.positions == [[0], [2]]
        assert outcome.counts.nfe == 2


def test_re_masking_is_written_down_as_revisions():
    (outcome,) = outcomes(ToyNetwork(), [Revising(rounds=3)], count=1).values()
    # 6 filled, 3 opened; 3 filled, 1 opened; 1 filled.
    assert [len(step) for step in outcome.trace.positions] == [6, 3, 1]
    mask_id = outcome.job.prompt.codec.mask_id
    assert [step.count(mask_id) for step in outcome.trace.ids] == [3, 1, 0]
    assert outcome.counts.nfe == 3
    assert outcome.counts.revisions == 0  # what was opened in the same step was never held


def test_state_is_kept_per_sample_and_not_on_the_decoder():
    decoder = Steady()
    together = outcomes(ToyNetwork(), [decoder, decoder], batch_size=64, count=3)
    alone = outcomes(ToyNetwork(), [decoder], batch_size=1, count=3)
    for number in range(3):
        assert told(together[f"{number}/0"]) == told(alone[f"{number}/0"])


@dataclass(frozen=True, kw_only=True)
class Overwriting(Surest):
    def choose(self, statistics, open, progress):  # noqa: A002
        return torch.ones_like(open)


@dataclass(frozen=True, kw_only=True)
class Idle(Surest):
    def choose(self, statistics, open, progress):  # noqa: A002
        return torch.zeros_like(open)


@dataclass(frozen=True, kw_only=True)
class Quitting(Decoder):
    def step(self, state, view, statistics):
        write = view.open.clone()
        write[3:] = False
        return Update(write=write, tokens=statistics.token[0], done=True)


@dataclass(frozen=True, kw_only=True)
class Failing(Surest):
    def choose(self, statistics, open, progress):  # noqa: A002
        raise ZeroDivisionError("no such luck")


@dataclass(frozen=True, kw_only=True)
class Inventing(Decoder):
    def step(self, state, view, statistics):
        return Update(write=view.open, tokens=torch.full_like(view.canvas, 10**6))


@dataclass(frozen=True, kw_only=True)
class FailingToPlan(Decoder):
    def plan(self, state, view):
        raise KeyError("rows")

    def step(self, state, view, statistics):
        raise AssertionError


def test_a_strategy_that_never_commits_is_stopped_as_stalled():
    (outcome,) = outcomes(ToyNetwork(), [Idle()], count=1).values()
    assert outcome.status == "stalled"
    assert outcome.counts.nfe == STEPS_PER_TOKEN * 6
    assert outcome.output_ids == outcome.job.prompt.canvas.tolist()
    assert outcome.counts.answer_tokens == 0


def test_a_strategy_that_ends_with_open_positions_is_unfinished_and_nothing_is_filled_in():
    (outcome,) = outcomes(ToyNetwork(), [Quitting()], count=1).values()
    assert outcome.status == "unfinished"
    assert outcome.output_ids[3:] == [outcome.job.prompt.codec.mask_id] * 3


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (Failing(), r"ZeroDivisionError: no such luck \(in choose, line \d+\)"),
        (FailingToPlan(), "KeyError: 'rows'"),
        (Inventing(), "decoder Inventing wrote an id that is no token"),
        (Overwriting(), "decoder Overwriting wrote outside the open positions of its window"),
    ],
)
def test_a_faulty_strategy_ends_in_an_error_and_the_others_go_on(decoder, message):
    fields = {"infill": isinstance(decoder, Overwriting)}
    done = outcomes(ToyNetwork(), [decoder, Surest()], count=2, **fields)
    alone = outcomes(ToyNetwork(), [decoder, Surest()][1:], count=2, **fields)
    for number in range(2):
        assert done[f"{number}/0"].status == "error"
        import re

        assert re.search(message, done[f"{number}/0"].error)
        assert told(done[f"{number}/1"]) == told(alone[f"{number}/0"])


class Mischievous(ToyNetwork):
    """Puts nearly all its mass on the mask and on ids beyond the tokenizer."""

    def predict(self, rows):
        prediction = super().predict(rows)
        prediction.logits[:, self.codec.mask_id] += 50
        prediction.logits[:, self.codec.size :] += 60
        return prediction


def test_the_mask_and_ids_beyond_the_tokenizer_are_never_written():
    plain = outcomes(ToyNetwork(), shipped())
    mischief = outcomes(Mischievous(), shipped())
    for key, outcome in mischief.items():
        codec = outcome.job.prompt.codec
        assert codec.mask_id not in outcome.output_ids
        assert max(outcome.output_ids) < codec.size
        # Ruled out before any statistic: not even the order of commits is moved.
        assert told(outcome) == told(plain[key])


@dataclass(frozen=True, kw_only=True)
class Peeking(Chooser):
    """Keeps what it was told."""

    needs: ClassVar = frozenset(
        {"token", "confidence", "margin", "entropy", "uniform", "distribution"}
    )
    seen: ClassVar = []

    def choose(self, statistics, open, progress):  # noqa: A002
        self.seen.append((statistics, open, progress))
        return open


def test_the_statistics_are_those_of_the_distribution():
    Peeking.seen.clear()
    outcomes(ToyNetwork(), [Peeking()], count=2)
    (statistics, is_open, progress) = Peeking.seen[0]
    p = statistics.distribution.double()
    assert is_open.all()
    assert progress.step.tolist() == [0, 0]
    assert progress.initial.tolist() == [6, 6]
    assert torch.allclose(p.sum(-1), torch.ones(2, 6, dtype=torch.float64), atol=1e-5)
    top = p.sort(-1, descending=True)
    assert torch.equal(statistics.token, top.indices[..., 0])
    assert torch.allclose(statistics.confidence.double(), top.values[..., 0], atol=1e-6)
    margin = top.values[..., 0] - top.values[..., 1]
    assert torch.allclose(statistics.margin.double(), margin, atol=1e-6)
    entropy = torch.special.entr(p).sum(-1)
    assert torch.allclose(statistics.entropy.double(), entropy, atol=1e-5)
    assert ((statistics.uniform >= 0) & (statistics.uniform < 1)).all()
    assert (statistics.uniform[0] != statistics.uniform[1]).all()


def test_temperature_draws_follow_the_tempered_distribution():
    model = ToyNetwork(scale=1.0)
    (prompt,) = prompts(model.codec, 1)
    cold = build(parse_settings("random:k=6", DECODERS)[0], DECODERS)
    warm = build(parse_settings("random:k=6,temperature=2", DECODERS)[0], DECODERS)
    draws = 1000
    done = list(decode((Job(prompt, warm, str(i)) for i in range(draws)), model, batch_size=512))
    logits = model.predict(
        [type("R", (), {"canvas": prompt.canvas, "wanted": prompt.open})()]
    ).logits
    logits[:, model.codec.mask_id] = -torch.inf
    logits[:, model.codec.size :] = -torch.inf
    expected = torch.softmax(logits.double() / 2, dim=-1)
    from scipy.stats import chisquare

    for position in range(6):
        drawn = torch.tensor([outcome.output_ids[position] for outcome in done])
        observed = drawn.bincount(minlength=expected.shape[1]).double()
        due = expected[position] * draws
        rare = due < 5
        assert due[rare].sum() >= 5  # together they make one more class
        seen = [*observed[~rare].tolist(), observed[rare].sum().item()]
        told = [*due[~rare].tolist(), due[rare].sum().item()]
        assert chisquare(seen, told).pvalue > 1e-4
    (greedy,) = decode([Job(prompt, cold, "0")], model)
    assert greedy.output_ids == logits.argmax(-1).tolist()


def test_randomness_belongs_to_the_key_alone():
    model = ToyNetwork()
    (prompt,) = prompts(model.codec, 1)
    decoder = build(parse_settings("random:k=1,temperature=1", DECODERS)[0], DECODERS)
    done = list(decode((Job(prompt, decoder, key) for key in ("a", "b", "a")), model))
    by_key = {}
    for outcome in done:
        by_key.setdefault(outcome.job.key, []).append(told(outcome))
    assert by_key["a"][0] == by_key["a"][1] != by_key["b"][0]


def test_tokens_behind_the_first_end_of_text_are_counted_and_not_part_of_the_answer():
    model = ToyNetwork()
    codec = model.codec

    class Scripted(ToyNetwork):
        def predict(self, rows):
            word = codec.encode(["red"])[0][0]
            ids = torch.tensor([word, word, codec.end_id, word, codec.end_id, word])
            logits = torch.full((sum(int(r.wanted.sum()) for r in rows), codec.size), -9.0)
            chosen = torch.cat([ids[row.wanted] for row in rows])
            logits[torch.arange(len(chosen)), chosen] = 9.0
            return Prediction(logits=logits)

    decoder = build(parse_settings("random:k=6", DECODERS)[0], DECODERS)
    (outcome,) = outcomes(Scripted(), [decoder], count=1).values()
    assert outcome.counts.canvas_tokens == 6
    assert outcome.counts.answer_tokens == 2
    assert outcome.counts.tokens_after_end == 2
    assert codec.decode(outcome.output_ids) == "red red"


def test_a_model_whose_logits_are_not_numbers_is_our_fault_and_not_a_wrong_answer():
    class Broken(ToyNetwork):
        def predict(self, rows):
            prediction = super().predict(rows)
            prediction.logits[0] = torch.nan
            return prediction

    with pytest.raises(ValueError, match="not numbers"):
        outcomes(Broken(), [Surest()])


@dataclass(frozen=True, kw_only=True)
class Oracle(Surest):
    needs: ClassVar = frozenset({"token", "confidence", "answers"})

    def start(self, view):
        return len(view.answers)


def test_an_oracle_is_told_the_right_answers():
    (outcome,) = outcomes(ToyNetwork(), [Oracle()], count=1).values()
    assert outcome.status == "ok"


def test_an_oracle_on_a_law_that_cannot_be_listed_is_refused_and_not_recorded_as_an_error():
    from toys import Colours

    class Boundless(Colours):
        def answers(self, sample, limit=100_000):
            raise NotEnumerableError("too many")

    model = ToyNetwork()
    from parallelbench.prompt import build_prompt
    from parallelbench.task import sample_rng

    task = Boundless()
    prompt = build_prompt(task, task.draw(sample_rng(0, "x", 0), 0), model.codec)
    with pytest.raises(NotEnumerableError, match="too many"):
        list(decode([Job(prompt, Oracle(), "0")], model))


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        list(decode([], ToyNetwork(), batch_size=0))
