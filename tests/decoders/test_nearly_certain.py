"""Positions so sure that float32 calls their probability 1: the order and calls of float64."""

import pytest
import torch

from parallelbench.decode import statistics
from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decode.statistics import Drawing, statistics_of
from parallelbench.decoder import DECODERS, Progress, Statistics, Step
from parallelbench.model import Model, Prediction
from parallelbench.registry import load_plugins
from parallelbench.setting import build, parse_settings
from support.plain import CODEC, prompt_of

load_plugins()

VOCABULARIES = (50, 126_464)
#: How far the likeliest logit is above the second, in nats, at each position.
GAPS = (20.0, 40.0, 18.0, 25.0, 18.5, 30.0, 20.25, 3.0, 41.0)
#: The surest first.  Float64 calls what is surer than 37 nats 1, and so the lower index is first.
ORDER = [1, 8, 5, 3, 6, 0, 4, 2, 7]
#: Short of 1 in float64, and 1 in float32.
SURE = (20.0, 22.0, 26.0, 24.0)


def logits_of(gaps, vocabulary, second=0.0):
    """Token i + 3 is the likeliest at position i, the next comes after it, the rest is rare."""
    logits = torch.full((len(gaps), vocabulary), -30.0)
    place = torch.arange(len(gaps))
    logits[place, place + 4] = second
    logits[place, place + 3] = torch.tensor(gaps) + second
    return logits


def told(logits, drawing=None):
    needs = frozenset({"token", "confidence", "margin"})
    return statistics_of(Prediction(logits=logits.clone()), needs, drawing, logits.shape[1])


def in_float64(logits):
    """The highest probability of each position, and what it is above the second."""
    first, second = torch.softmax(logits.double(), dim=1).topk(2, dim=1).values.unbind(dim=1)
    return {"confidence": first, "margin": first - second}


def order(score):
    return score.argsort(descending=True, stable=True).tolist()


def steps_of(decoder, said):
    """The positions that a strategy commits in each step, if it is always told the same."""
    open_ = torch.ones(1, len(said.token), dtype=torch.bool)
    given = Statistics(
        token=said.token[None], confidence=said.confidence[None], margin=said.margin[None]
    )
    steps = []
    while open_.any():
        step = torch.tensor([len(steps)])
        chosen = decoder.choose(Step(given, open_, Progress(step=step, initial=step + 9))) & open_
        steps.append(chosen[0].nonzero().flatten().tolist())
        open_ &= ~chosen
    return steps


def plain_steps(score, threshold=None, k=1):
    """The same in plain Python: all that reach the threshold or else the best, or the k best."""
    left, steps = dict(enumerate(score.tolist())), []
    while left:
        ranked = sorted(left, key=lambda place: (-left[place], place))
        passing = [p for p in ranked if threshold is not None and left[p] >= threshold]
        steps.append(sorted(passing or ranked[:k]))
        for place in steps[-1]:
            del left[place]
    return steps


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("second", [0.0, -11.5])
def test_what_float32_rounds_to_one_is_in_the_order_of_float64(vocabulary, second):
    logits = logits_of(GAPS, vocabulary, second)
    one = torch.softmax(logits, dim=1).amax(dim=1) == 1
    assert one.sum() == 8
    said, exact = told(logits), in_float64(logits)
    for name, values in exact.items():
        found = getattr(said, name)
        assert order(found) == order(values) == ORDER
        # A softmax in float64 itself loses some of the rare tokens beside the likeliest.
        assert torch.allclose(1 - found[one], 1 - values[one], rtol=1e-3, atol=2e-16)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_a_long_tail_counts_however_unlikely_each_of_its_tokens_is(vocabulary):
    # One other token at 20 nats; all of them at 23 and at 29, together 20.8 and 17.2 or so.
    logits = logits_of((20.0, 23.0, 29.0), vocabulary)
    logits[1:][logits[1:] < 0] = 0.0
    assert order(told(logits).confidence) == order(in_float64(logits)["confidence"])


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("name", ["confidence", "margin"])
def test_strategies_take_the_surest_and_as_many_calls_as_in_float64(vocabulary, name):
    logits = logits_of(GAPS, vocabulary)
    said, exact = told(logits), in_float64(logits)[name]
    for k in (1, 2, 4):
        decoder = DECODERS[name](k=k)
        assert steps_of(decoder, said) == plain_steps(exact, k=k)
    for threshold in (0.9, 0.99999, 1.0):
        decoder = DECODERS[f"{name}_threshold"](threshold=threshold)
        assert steps_of(decoder, said) == plain_steps(exact, threshold)


def test_only_what_float64_calls_one_reaches_a_threshold_of_one_and_nothing_exceeds_it():
    said = told(logits_of(GAPS, 50))
    reaching = DECODERS["confidence_threshold"](threshold=1.0)
    assert steps_of(reaching, said) == [[1, 8], [5], [3], [6], [0], [4], [2], [7]]
    exceeding = DECODERS["confidence_threshold"](threshold=1.0, comparison="gt")
    assert steps_of(exceeding, said) == [[place] for place in ORDER]


@pytest.mark.parametrize("columns", [7, 1000])
def test_what_differs_in_float32_stays_in_the_order_of_float32(columns):
    generator = torch.Generator().manual_seed(columns)
    logits = torch.randn(4000, columns, generator=generator)
    logits[:, 0] = 25 * torch.rand(4000, generator=generator)
    first, second = torch.softmax(logits, dim=1).topk(2, dim=1).values.unbind(dim=1)
    said = told(logits)
    for found, rounded in ((said.confidence, first), (said.margin, first - second)):
        assert (rounded[order(found)].diff() <= 0).all()
        assert len(found.unique()) > len(rounded.unique())
        assert torch.allclose(found, rounded.double(), rtol=0, atol=2**-23)


def test_the_same_probabilities_in_another_order_are_equally_sure():
    logits = torch.cat([logits_of([gap], 5000) for gap in (9.0, 12.0, 20.0)])
    logits += torch.randn(5000, generator=torch.Generator().manual_seed(0)).clamp(max=0)
    for line in logits:
        orders = [
            torch.randperm(5000, generator=torch.Generator().manual_seed(seed)) for seed in range(8)
        ]
        said = told(torch.stack([line[each] for each in orders]))
        assert len(said.confidence.unique()) == len(said.margin.unique()) == 1


@pytest.mark.parametrize("chance", [0.9, 0.7, 0.6, 0.625, 0.995])
def test_a_short_decimal_equals_itself(chance):
    logits = torch.tensor([[chance, 1 - chance]], dtype=torch.float64).log().float()
    (rounded,) = torch.softmax(logits, dim=1)[:, 0]
    assert rounded == torch.tensor(chance)
    assert told(logits).confidence.tolist() == [chance]


@pytest.mark.parametrize("held", [1, 150, 10_000])
def test_how_many_positions_are_computed_at_a_time_changes_nothing(held, monkeypatch):
    logits = logits_of(GAPS, 50)
    whole = told(logits)
    monkeypatch.setattr(statistics, "_CACHED", held)
    apart = told(logits)
    assert torch.equal(whole.confidence, apart.confidence)
    assert torch.equal(whole.margin, apart.margin)
    alone = [told(line[None]).confidence for line in logits]
    assert torch.equal(whole.confidence, torch.cat(alone))


def test_a_drawn_token_is_as_sure_as_if_it_were_taken():
    logits = logits_of(SURE, 50)
    drawing = Drawing(torch.ones(4), torch.full((4,), 0.5))
    assert torch.equal(told(logits, drawing).confidence, told(logits).confidence)


class Sure(Model):
    """As sure at each position as told, whatever is written; every other token is a rival."""

    digest = "sure"

    def __init__(self, gaps):
        self.codec = CODEC
        self._logits = torch.zeros(len(gaps), CODEC.size)
        self._logits[:, CODEC.end_id] = torch.tensor(gaps)

    def predict(self, rows):
        return Prediction(
            logits=torch.cat([self._logits[row.wanted.nonzero().flatten() % 4] for row in rows])
        )

    def provenance(self):
        return {}


def decoded(text, batch_size=64):
    decoder = build(parse_settings(text, DECODERS)[0], DECODERS)
    jobs = [Job(prompt_of([True] * 4), decoder, key) for key in "abc"]
    done = sorted(decode(jobs, Sure(SURE), batch_size=batch_size), key=lambda each: each.job.key)
    assert all(outcome.status == "ok" for outcome in done), done[0].error
    return [[step for step in outcome.trace.positions if step] for outcome in done]


@pytest.mark.parametrize(
    "text",
    [
        "one_by_one",
        "confidence:k=1",
        "confidence:k=1,temperature=1.0",
        "margin:k=1",
        "llada:steps=4",
        "llada:score=margin,steps=4",
        "dream:algorithm=maskgit_plus,steps=4,eps=0,schedule=exact",
        "dream:algorithm=topk_margin,steps=4,eps=0,schedule=exact",
        "confidence_threshold:threshold=1",
        "margin_threshold:threshold=1",
        "confidence_factor:factor=0.00000001",
        "persistence:threshold=1",
        "slow_fast:threshold=1",
        "local_leap:threshold=1,relaxed=1",
        "klass:threshold=1",
        "sdar:threshold=1,steps=4",
        "multi_block:threshold=1",
        "dilated:strategy=confidence_threshold(threshold=0.9),distance=9",
    ],
)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_strategy_that_takes_the_surest_takes_it(text, batch_size):
    assert decoded(text, batch_size) == [[[2], [3], [1], [0]]] * 3


def test_running_confidences_keep_the_surest():
    # All are written in each call, and the least sure opened again: 2 stays, then 3, then 1.
    (trace, *_) = decoded("rcr:k=1")
    assert [2 in trace[0], 2 in trace[1], 3 in trace[2], 1 in trace[3]] == [True] + [False] * 3


def test_a_device_without_float64_keeps_float32(monkeypatch):
    # No such device is here: its type is forced, and no wider number may come of it.
    assert statistics.widest(torch.device("mps")) == torch.float32
    assert statistics.widest(torch.device("cpu")) == torch.float64
    monkeypatch.setattr(statistics, "widest", lambda _device: torch.float32)
    logits = torch.tensor([[25.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    said = told(logits)
    assert said.confidence.dtype == said.margin.dtype == torch.float32
    torch.testing.assert_close(said.confidence, torch.softmax(logits, dim=1)[:, 0])
