"""Equal rows are sent once, and no decode can tell."""

import gc
from dataclasses import replace

import pytest
import torch

from parallelbench.decode import sharing
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import Tally, decode
from parallelbench.decoder import DECODERS, Decoder, Update
from parallelbench.errors import ModelError
from parallelbench.model import Prediction, Row
from parallelbench.setting import build, parse_settings, split_settings
from support.toys import FULL_CONTRACT, ToyNetwork, prompts

GREEDY = (
    "one_by_one,left_to_right:k=2,random:k=3,confidence:k=1|2|4,margin:k=2,entropy:k=2,"
    "confidence_threshold:threshold=0.5|0.3,margin_threshold:threshold=0.3,entropy_threshold,"
    "confidence_factor,entropy_bound,confidence:k=2,block_length=3,confidence:k=3,block_length=3"
)
DRAWN = "confidence:k=2,temperature=1,random:k=2|6,temperature=0.7"


def built(settings):
    texts = split_settings(settings)
    return [build(each, DECODERS) for text in texts for each in parse_settings(text, DECODERS)]


def jobs(held, decoders):
    for number, prompt in enumerate(held):
        for place, decoder in enumerate(decoders):
            yield Job(prompt=prompt, decoder=decoder, key=f"{number}/{place}", tag=(number, place))


def told(outcome):
    return (outcome.output_ids, outcome.status, outcome.error, outcome.trace, outcome.counts)


def decoded(model, decoders, *, count=4, **options):
    held = prompts(model.codec, count)
    done = decode(jobs(held, decoders), model, **options)
    return {outcome.job.tag: told(outcome) for outcome in done}


def sent_rows(model):
    return [tuple(canvas.tolist()) for call in model.calls for canvas in call]


@pytest.mark.parametrize("batch_size", [1, 5, 512])
def test_a_decode_is_the_same_whether_rows_are_shared_or_not(batch_size):
    decoders = [*built(f"{GREEDY},{DRAWN}"), *FULL_CONTRACT]
    alone = decoded(ToyNetwork(), decoders, batch_size=7, share=False)
    tally = Tally()
    shared = decoded(ToyNetwork(), decoders, batch_size=batch_size, tally=tally)
    assert shared == alone
    assert 0 < tally.sent < tally.asked


def test_no_canvas_of_a_sample_is_sent_twice():
    model = ToyNetwork()
    tally = Tally()
    done = decoded(model, built(GREEDY), count=1, tally=tally)
    whole = [row for row in sent_rows(model) if model.codec.mask_id in row]
    # Two windows of one canvas ask for different positions, and hence for different rows.
    assert len(set(whole)) <= len(whole) <= len(set(whole)) + 4
    assert tally.sent == len(sent_rows(model))
    assert tally.asked == sum(counts.rows for *_, counts in done.values())
    assert tally.asked > 2 * tally.sent


def test_nothing_is_shared_between_samples():
    model = ToyNetwork()
    tally = Tally()
    decoded(model, built("confidence:k=6"), count=5, tally=tally)
    assert (tally.asked, tally.sent) == (5, 5)


def test_those_who_draw_share_a_call_but_not_what_they_drew():
    model = ToyNetwork()
    tally = Tally()
    drawing = replace(built("random:k=6,temperature=1")[0])
    (held,) = prompts(model.codec, 1)
    many = [Job(prompt=held, decoder=drawing, key=str(n), tag=n) for n in range(40)]
    done = list(decode(many, model, tally=tally))
    assert (tally.asked, tally.sent) == (40, 1)
    assert len({tuple(outcome.output_ids) for outcome in done}) > 10


class Failing(ToyNetwork):
    """Has nothing to say of canvases on which half is written."""

    def predict(self, rows):
        if any(int(row.wanted.sum()) <= 3 for row in rows):
            raise ModelError("this canvas is too much")
        return super().predict(rows)


def test_a_row_without_a_prediction_ends_all_who_asked_for_it():
    decoders = built("confidence:k=3,left_to_right:k=3,confidence:k=6,confidence:k=1")
    alone = decoded(Failing(), decoders, share=False)
    shared = decoded(Failing(), decoders)
    assert shared == alone
    assert {status for _, status, *_ in shared.values()} == {"error", "ok"}


class Wordy(ToyNetwork):
    """Gives beside logits how much of each canvas is written."""

    capabilities = frozenset({"written"})

    def predict(self, rows):
        said = super().predict(rows)
        written = torch.tensor([float((~row.wanted).sum()) for row in rows])
        return Prediction(logits=said.logits, extras={"written": written})


class Reader(Decoder):
    """Writes one token after another, and checks what the model gave for its canvas."""

    needs = frozenset({"token", "written"})

    def step(self, state, view, statistics):
        assert statistics.extras["written"].tolist() == [float((~view.open).sum())]
        write = torch.zeros_like(view.open)
        write[view.open.nonzero()[0]] = True
        return Update(write=write, tokens=statistics.token[0])


def test_what_the_model_gives_beside_logits_reaches_whoever_asked():
    decoders = [*built("left_to_right:k=1|2|3"), Reader(), *built("confidence:k=2")]
    alone = decoded(Wordy(), decoders, share=False)
    assert decoded(Wordy(), decoders) == alone
    assert {status for _, status, *_ in alone.values()} == {"ok"}


class Pairing(ToyNetwork):
    """Gives of each row that asks a square of its own size; takes two rows at a time."""

    capabilities = frozenset({"pairs"})

    def batches(self, rows):
        return [list(range(len(rows)))[first : first + 2] for first in range(0, len(rows), 2)]

    def predict(self, rows):
        self.asked = [*getattr(self, "asked", []), *("pairs" in row.extras for row in rows)]
        pairs = [
            torch.outer(row.canvas, row.canvas) if row.extras else torch.empty(0) for row in rows
        ]
        return Prediction(logits=super().predict(rows).logits, extras={"pairs": pairs})


class PairReader(Decoder):
    """Writes one token after another, and checks the square that it was given."""

    needs = frozenset({"token", "pairs"})

    def step(self, state, view, statistics):
        assert set(statistics.extras) == {"pairs"}
        assert torch.equal(statistics.extras["pairs"], torch.outer(view.canvas, view.canvas)[None])
        write = torch.zeros_like(view.open)
        write[view.open.nonzero()[0]] = True
        return Update(write=write, tokens=statistics.token[0])


@pytest.mark.parametrize("share", [True, False])
def test_what_the_model_gives_of_a_row_has_the_shape_of_that_row_whatever_is_beside_it(share):
    model = Pairing()
    held = [*prompts(model.codec, 2, canvas_length=6), *prompts(model.codec, 2, canvas_length=9)]
    decoders = [*built("left_to_right:k=1|2"), PairReader(), PairReader(), *built("random:k=2")]
    tally = Tally()
    done = list(decode(jobs(held, decoders), model, share=share, tally=tally))
    assert {(outcome.status, outcome.error) for outcome in done} == {("ok", None)}
    if share:
        # Every canvas that a reader asks of is sent once, for those who do not ask as well.
        assert sum(model.asked) == 6 + 6 + 9 + 9
        assert tally.sent < tally.asked
    else:
        assert sum(model.asked) == 2 * (6 + 6 + 9 + 9) < len(model.asked)


def test_what_a_model_promises_and_does_not_give_reaches_nobody():
    class Silent(Wordy):
        def predict(self, rows):
            return Prediction(logits=super().predict(rows).logits)

    told = decoded(Silent(), [Reader(), *built("left_to_right")], count=1)
    assert "KeyError: 'written'" in told[0, 0][2]
    assert told[0, 1][1] == "ok"


def test_what_was_said_is_forgotten_with_the_sample():
    model = ToyNetwork()
    memory = sharing.PredictionCache()
    (held,) = prompts(model.codec, 1)
    row = Row(held, held.canvas, held.open)
    (key,) = sharing.cache_keys([row])
    (decoder,) = built("one_by_one")
    said = sharing.RowPrediction(flat_of(row), 0, int(held.open.sum()), None)
    memory.store(row, key, said, frozenset({"token", "confidence"}))
    assert memory.find(row, key, decoder).count == said.count
    assert memory.find(row, key, built("entropy:k=1")[0]) is None
    del row, held, said
    gc.collect()
    assert not memory._predictions


def test_what_is_kept_of_a_sample_is_bounded(monkeypatch):
    monkeypatch.setattr(sharing, "_MOST_CANVASES", 2)
    model = ToyNetwork()
    memory = sharing.PredictionCache()
    (held,) = prompts(model.codec, 1)
    (decoder,) = built("random:k=1")
    rows = []
    for place in range(4):
        wanted = held.open.clone()
        wanted[place] = False
        rows.append(Row(held, held.canvas, wanted))
    keys = sharing.cache_keys(rows)
    for row, key in zip(rows, keys, strict=True):
        memory.store(
            row, key, sharing.RowPrediction(flat_of(row), 0, 5, None), frozenset({"token"})
        )
    found = [memory.find(row, key, decoder) for row, key in zip(rows, keys, strict=True)]
    assert [each is None for each in found] == [True, True, False, False]


def test_rows_that_differ_in_anything_have_different_keys():
    model = ToyNetwork()
    (held,) = prompts(model.codec, 1)
    row = Row(held, held.canvas, held.open)
    other_canvas, other_wanted = held.canvas.clone(), held.open.clone()
    other_canvas[0], other_wanted[0] = 7, False
    rows = [
        row,
        replace(row, canvas=other_canvas),
        replace(row, wanted=other_wanted),
        replace(row, window=(0, 3), window_snapshot=held.canvas),
        replace(row, window=(0, 4), window_snapshot=held.canvas),
        replace(row, window=(0, 4), window_snapshot=other_canvas),
    ]
    keys = sharing.cache_keys([*rows, replace(row)])
    assert keys[0] == keys[-1]
    assert len(set(keys)) == len(rows)
    odd = [replace(row, positions=torch.arange(6)), replace(row, attention=torch.ones(6, 6) > 0)]
    assert sharing.cache_keys(odd) == [None, None]


def flat_of(row):
    from parallelbench.decode.statistics import FlatStatistics

    token = torch.zeros(int(row.wanted.sum()), dtype=torch.int64)
    return FlatStatistics(token, token.float(), None, None, None, None)
