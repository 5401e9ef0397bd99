"""The loop: what it does for every strategy, and what no strategy can make it do."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from parallelbench.decode.lanes import Job, _generator
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS, STEPS_PER_TOKEN, Chooser, Decoder, Update
from parallelbench.errors import NotEnumerableError
from parallelbench.model import Blocks, ComputeCost, Prediction
from parallelbench.setting import build, parse_settings
from support.toys import (
    FULL_CONTRACT,
    Branching,
    Resting,
    Revising,
    Steady,
    Surest,
    ToyNetwork,
    prompts,
)

SETTINGS = (
    "one_by_one,left_to_right:k=2,random:k=3,confidence:k=4,margin:k=2,entropy:k=2,"
    "confidence_threshold:threshold=0.5,margin_threshold:threshold=0.3,entropy_threshold,"
    "confidence_factor,confidence_factor:rule=published,entropy_bound,"
    "local_leap:threshold=0.5,relaxed=0.3,hierarchy,dus,dus:skip_below=0.4,"
    "dilated:strategy=random(k=4),dsb:strategy=confidence(k=2),length=3,"
    "prophet_whole_canvas:early=4,steps=4,eoser:steps=4,ass,"
    "llada:steps=4,llada:score=random,steps=9,dream:steps=4,"
    "dream:algorithm=entropy,steps=6,alg_temp=0.3,"
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


def outcomes(model, decoders, batch_size=64, *, share=False, **fields):
    done = decode(jobs(model, decoders, **fields), model, batch_size=batch_size, share=share)
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
    def choose(self, step):
        return torch.ones_like(step.open)


@dataclass(frozen=True, kw_only=True)
class Idle(Surest):
    def choose(self, step):
        return torch.zeros_like(step.open)


@dataclass(frozen=True, kw_only=True)
class Quitting(Decoder):
    def step(self, state, view, statistics):
        write = view.open.clone()
        write[3:] = False
        return Update(write=write, tokens=statistics.token[0], done=True)


@dataclass(frozen=True, kw_only=True)
class Failing(Surest):
    def choose(self, step):
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
        {"token", "confidence", "margin", "logit_margin", "entropy", "uniform", "distribution"}
    )
    seen: ClassVar = []

    def choose(self, step):
        self.seen.append((step, step.open, step.progress))
        return step.open


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
    # The logarithms of probabilities differ by as much as the logits do.
    gap = top.values[..., 0].log() - top.values[..., 1].log()
    assert torch.allclose(statistics.logit_margin.double(), gap, atol=1e-4)
    entropy = torch.special.entr(p).sum(-1)
    assert torch.allclose(statistics.entropy.double(), entropy, atol=1e-5)
    assert ((statistics.uniform >= 0) & (statistics.uniform < 1)).all()
    assert (statistics.uniform[0] != statistics.uniform[1]).all()


@dataclass(frozen=True, kw_only=True)
class Noting(Resting):
    """Makes a call in every other step, of two rows, and keeps its numbers."""

    needs: ClassVar = frozenset({"token", "uniform"})
    seen: ClassVar = []

    def draws(self, positions):
        return positions + 1

    def plan(self, state, view):
        return [*super().plan(state, view)] * 2

    def step(self, state, view, statistics):
        self.seen.append((view.prompt.sample.id, statistics.uniform.tolist()))
        return super().step(state, view, statistics)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_strategy_is_told_its_numbers_per_sample_whatever_rows_it_sends(batch_size):
    Noting.seen.clear()
    done = outcomes(ToyNetwork(), [Noting()], batch_size=batch_size, count=3)
    for key, outcome in done.items():
        assert outcome.trace.rows == [2, 0] * 6
        own = outcome.job.prompt.sample.id
        found = [numbers for sample, numbers in Noting.seen if sample == own]
        rng = _generator(key)
        # One line of seven for a canvas of six, in every step, with or without a call.
        assert found == [[rng.random(7).tolist()] for _ in range(12)]


def test_the_numbers_of_a_decode_stay_its_own_when_another_has_no_prediction():
    Noting.seen.clear()
    done = outcomes(Poisoned(), [Noting()], batch_size=4, count=4)
    assert [outcome.status for _, outcome in sorted(done.items())] == ["ok", "ok", "error", "ok"]
    last = [numbers for sample, numbers in Noting.seen if sample.endswith("00003")]
    rng = _generator("3/0")
    assert last == [[rng.random(7).tolist()] for _ in range(12)]


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


class Poisoned(ToyNetwork):
    """Has no prediction for one of the samples."""

    def predict(self, rows):
        prediction = super().predict(rows)
        poisoned = torch.tensor([row.prompt.sample.id == "toy/colours/00002" for row in rows])
        wanted = torch.tensor([int(row.wanted.sum()) for row in rows])
        prediction.logits[poisoned.repeat_interleave(wanted)] = torch.nan
        return prediction


def test_logits_that_are_no_numbers_end_their_own_decode_in_an_error_and_no_other():
    decoders = [*shipped(), *FULL_CONTRACT]
    healthy, poisoned = outcomes(ToyNetwork(), decoders), outcomes(Poisoned(), decoders)
    assert {job.tag for job in jobs(ToyNetwork(), decoders)} == set(poisoned)
    for tag, outcome in poisoned.items():
        if tag.startswith("2/"):
            assert outcome.status == "error"
            assert "ModelError: the model's logits" in outcome.error
        else:
            assert told(outcome) == told(healthy[tag]), tag


class Crowded(ToyNetwork):
    """Runs out of memory with more than a few rows; begins with as many as it is given."""

    def __init__(self, room):
        super().__init__()
        self.room = room
        self.limit = 10**6
        self.refused = 0

    def batches(self, rows):
        # Longest first, so that what comes back must be put in order again.
        order = sorted(range(len(rows)), key=lambda index: -int(rows[index].wanted.sum()))
        return [order[low : low + self.limit] for low in range(0, len(rows), self.limit)]

    def shrink(self, rows):
        self.limit = max(1, min(self.limit, len(rows) // 2))

    def predict(self, rows):
        if len(rows) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("no room")
        return super().predict(rows)


@pytest.mark.parametrize("room", [1, 3, 8])
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(room):
    decoders = [*shipped(), *FULL_CONTRACT]
    roomy = outcomes(ToyNetwork(), decoders)
    crowded = Crowded(room)
    halved = outcomes(crowded, decoders)
    assert {tag: told(outcome) for tag, outcome in halved.items()} == {
        tag: told(outcome) for tag, outcome in roomy.items()
    }
    # Refused in the first step alone: what was learnt there is kept.
    assert 0 < crowded.refused < 5 * len(decoders)


def test_a_decode_that_fits_no_memory_at_all_ends_in_an_error():
    (outcome,) = outcomes(Crowded(0), [Surest()], count=1).values()
    assert (outcome.status, outcome.error) == ("error", "OutOfMemoryError: no room")


class Gridded(ToyNetwork):
    """Decodes in blocks of four that are counted from the prompt, and stops at an end."""

    stops = True

    def __init__(self, *, from_prompt=True, ends=()):
        super().__init__()
        self.blocks = Blocks(4, from_prompt=from_prompt)
        self.ends = ends

    def compute_cost(self, row):
        length = row.prompt.ids.numel() + row.canvas.numel()
        masked = (row.canvas == self.codec.mask_id).nonzero().flatten().tolist()
        stored = row.prompt.ids.numel() + min(masked, default=row.canvas.numel())
        stored -= stored % 4
        return ComputeCost(tokens=length - stored, stored=stored)

    def predict(self, rows):
        logits = super().predict(rows).logits
        places = [int(place) for row in rows for place in row.wanted.nonzero()]
        for line, place in enumerate(places):
            logits[line, self.codec.end_id] = 50.0 if place in self.ends else -torch.inf
        return Prediction(logits=logits)


def windows(model, decoder, **fields):
    """The windows of one decode, as their positions."""
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Spying(type(decoder)):
        def start(self, view):
            return {}

        def block_done(self, state, view):
            if view.window not in seen:
                seen.append(view.window)
            return super().block_done(state, view)

    spying = Spying(block_length=decoder.block_length)
    (outcome,) = outcomes(model, [spying], count=1, **fields).values()
    return seen, outcome


def test_windows_follow_the_grid_of_the_model():
    (prompt,) = prompts(ToyNetwork().codec, 1, canvas_length=11)
    short = 4 - len(prompt.ids) % 4
    assert short < 4, "the first block should be a short one"
    seen, _ = windows(Gridded(), Surest(), canvas_length=11)
    ends = [*range(short, 11, 4), 11]
    assert seen == list(itertools.pairwise([0, *ends]))
    seen, _ = windows(Gridded(from_prompt=False), Surest(), canvas_length=11)
    assert seen == [(0, 4), (4, 8), (8, 11)]


def test_the_blocks_of_a_decoder_lie_within_those_of_the_model():
    seen, _ = windows(Gridded(from_prompt=False), Surest(block_length=3), canvas_length=11)
    assert seen == [(0, 3), (3, 4), (4, 7), (7, 8), (8, 11)]
    short = 4 - len(prompts(ToyNetwork().codec, 1)[0].ids) % 4
    seen, _ = windows(Gridded(), Surest(block_length=2), canvas_length=11)
    # Counted from where the block begins, in the prompt.
    expected = [place for place in range(1, 11) if (place - short) % 2 == 0]
    assert seen == list(itertools.pairwise([0, *expected, 11]))


def test_a_call_that_finds_more_kept_has_cost_an_auxiliary_one():
    (prompt,) = prompts(ToyNetwork().codec, 1, canvas_length=11)
    _, outcome = windows(Gridded(), Surest(), canvas_length=11)
    trace = outcome.trace
    kept = len(prompt.ids) - len(prompt.ids) % 4
    firsts = [*range(4 - len(prompt.ids) % 4, 11, 4)]
    # Prompt before the first call, then each finished block; one token a step.
    assert [step for step, calls in enumerate(trace.auxiliary_calls) if calls] == [0, *firsts]
    assert trace.row_tokens[0] == len(prompt.ids) + 11
    assert trace.row_tokens[1] == len(prompt.ids) + 11 - kept
    assert trace.row_tokens[firsts[0]] == len(prompt.ids) + 11 - kept
    assert outcome.counts.auxiliary_calls == 1 + len(firsts) == 4


def test_a_model_that_stops_fills_the_rest_without_a_call_and_says_so():
    model = Gridded(from_prompt=False, ends={5})
    _, outcome = windows(model, Surest(), canvas_length=11)
    end = model.codec.end_id
    assert outcome.status == "ok"
    assert outcome.trace.stopped
    assert outcome.output_ids.index(end) == 5
    assert outcome.output_ids[6] != end, "the block is finished first"
    assert outcome.output_ids[8:] == [end] * 3
    assert outcome.trace.positions[-1] == [8, 9, 10]
    assert outcome.trace.rows[-1] == 0
    assert outcome.trace.replay([model.codec.mask_id] * 11) == outcome.output_ids
    assert (outcome.counts.nfe, outcome.counts.canvas_tokens) == (8, 8)
    assert outcome.counts.tokens_per_step == 1
    assert outcome.counts.answer_tokens == 5


def test_a_stop_waits_for_the_block_of_the_model_and_not_of_the_decoder():
    _, outcome = windows(
        Gridded(from_prompt=False, ends={4}), Surest(block_length=2), canvas_length=11
    )
    assert outcome.counts.canvas_tokens == 8
    assert outcome.trace.positions[-1] == [8, 9, 10]


def test_nothing_is_filled_where_the_end_stands_in_the_last_block():
    _, outcome = windows(Gridded(from_prompt=False, ends={9}), Surest(), canvas_length=11)
    assert not outcome.trace.stopped
    assert outcome.counts.canvas_tokens == outcome.counts.nfe == 11


def test_a_model_that_remembers_is_told_what_the_canvas_was():
    class Remembering(ToyNetwork):
        uses_window_snapshot = True
        told: ClassVar = []

        def predict(self, rows):
            self.told += [
                (row.window, row.window_snapshot.tolist(), row.canvas.tolist()) for row in rows
            ]
            return super().predict(rows)

    model = Remembering()
    outcomes(model, [Surest(block_length=2)], count=1)
    mask = model.codec.mask_id
    for window, entered, canvas in model.told:
        assert all(token == mask for token in entered[window[0] :])
        assert canvas[: window[0]] == entered[: window[0]]
    assert [window for window, _, _ in model.told] == [(0, 2)] * 2 + [(2, 4)] * 2 + [(4, 6)] * 2


@dataclass(frozen=True, kw_only=True)
class Oracle(Surest):
    needs: ClassVar = frozenset({"token", "confidence", "answers"})

    def start(self, view):
        return len(view.answers)


def test_an_oracle_is_told_the_right_answers():
    (outcome,) = outcomes(ToyNetwork(), [Oracle()], count=1).values()
    assert outcome.status == "ok"


def test_an_oracle_on_a_law_that_cannot_be_listed_is_refused_and_not_recorded_as_an_error():
    from support.toys import Colours

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
