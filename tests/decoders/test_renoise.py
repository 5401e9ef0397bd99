"""Renoise: against the code in transformers, token for token, and on canvases worked by hand."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench import evaluate
from parallelbench.decode.lanes import Job, _generator
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS
from parallelbench.decoders.confidence import Confidence
from parallelbench.decoders.renoise import Renoise
from parallelbench.errors import FieldError, RunFileError
from parallelbench.model import Prediction, Row
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
from parallelbench.models.uniform import UniformModel, noise_tokens
from parallelbench.setting import parse_settings
from support import diffusion_gemma
from support.diffusion_gemma import CANVAS
from support.landscapes import MASK, WORD, Landscape, Script, batches, prompt_of, written
from support.references import blocks as plain
from support.toys import prompts

A, B, C, *_ = WORD
VOCABULARY = diffusion_gemma.TEXT["vocab_size"]
#: Of a tiny random network no prediction is sure at the published temperatures.
COLD = {"t_min": 0.02, "t_max": 0.1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = diffusion_gemma.write_checkpoint(tmp_path_factory.mktemp("gemma"))
    loaded = load_checkpoint(CheckpointRequest(path=str(folder), dtype="float32", device="cpu"))
    # A random network that hears itself at full strength makes each rounding several times
    # as large in every step; after ten even a batch of another size decodes otherwise.
    loaded.network.model.decoder.self_conditioning.down_proj.weight.mul_(0.3)
    return loaded


@pytest.fixture(scope="module")
def model(checkpoint):
    return UniformModel(checkpoint)


def outcomes(model, decoder, count=3, *, length=CANVAS, batch_size=8):
    jobs = [
        Job(prompt, decoder, key=f"{number}", tag=number)
        for number, prompt in enumerate(prompts(model.codec, count, canvas_length=length))
    ]
    done = decode(jobs, model, batch_size=batch_size)
    return sorted(done, key=lambda outcome: outcome.job.tag)


# Against transformers


@dataclass
class Drafts:
    """A streamer that keeps the result of every step."""

    kept: list = field(default_factory=list)

    def put(self, value):
        pass

    def put_draft(self, value):
        self.kept.append(value[0].tolist())

    def end(self):
        pass


def generated(monkeypatch, model, job):
    """The results of every step of ``generate`` of the class in transformers.

    It starts from our noise and draws from our numbers; what may not be written is forbidden.
    """
    from transformers import LogitsProcessor, LogitsProcessorList

    class Writable(LogitsProcessor):
        def __call__(self, input_ids, scores, cur_step):
            scores = scores.clone()
            scores[..., model.codec.size :] = -torch.inf
            scores[..., [i for i in model.codec.unwritable if i < scores.shape[-1]]] = -torch.inf
            return scores

    prompt, rng, drafts = job.prompt, _generator(job.key), Drafts()
    numbers = [torch.zeros(CANVAS, dtype=torch.float64)]

    def multinomial(probabilities, num_samples):
        numbers[0] = torch.from_numpy(rng.random(CANVAS))
        cumulative = probabilities.double().cumsum(dim=-1)
        reached = numbers[0][:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, reached, right=True)

    def randint(low, high, size, device):
        return (numbers[0] * high).long().view(size)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "multinomial", multinomial)
        patched.setattr(torch, "randint", randint)
        # It would load a compiler, for nothing on a processor.
        patched.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
        output = model.network.generate(
            prompt.ids[None],
            decoder_input_ids=noise_tokens(prompt.sample.id, prompt.canvas, VOCABULARY)[None],
            logits_processor=LogitsProcessorList([Writable()]),
            streamer=drafts,
            max_new_tokens=CANVAS,
            **official(job.decoder),
        )
    return drafts.kept, output


def official(decoder):
    from transformers.models.diffusion_gemma.generation_diffusion_gemma import (
        EntropyBoundSamplerConfig,
    )

    return {
        "max_denoising_steps": decoder.steps,
        "sampler_config": EntropyBoundSamplerConfig(entropy_bound=decoder.entropy_bound),
        "t_min": decoder.t_min,
        "t_max": decoder.t_max,
        "stability_threshold": decoder.stability,
        "confidence_threshold": decoder.confidence,
    }


def replayed(outcome):
    """The canvas after every step."""
    canvas, after = outcome.job.prompt.canvas.tolist(), []
    for positions, ids in zip(outcome.trace.positions, outcome.trace.ids, strict=True):
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
        after.append(list(canvas))
    return after


@pytest.mark.parametrize(
    "decoder",
    [
        Renoise(steps=6),
        Renoise(steps=8, entropy_bound=2.0, **COLD),
        Renoise(steps=40, entropy_bound=0.5, confidence=0.3, **COLD),
        Renoise(steps=30, entropy_bound=20.0, confidence=1.0, stability=2, **COLD),
        Renoise(steps=30, entropy_bound=1.0, confidence=1.2, stability=0, **COLD),
    ],
    ids=lambda decoder: f"steps={decoder.steps},bound={decoder.entropy_bound}",
)
def test_every_step_is_that_of_the_code_in_transformers(decoder, model, monkeypatch):
    for outcome in outcomes(model, decoder):
        steps, output = generated(monkeypatch, model, outcome.job)
        assert replayed(outcome) == steps
        assert outcome.counts.nfe == len(steps)
        assert outcome.counts.auxiliary_calls == 1
        assert outcome.status == "ok"
        new = output.sequences[0, len(outcome.job.prompt.ids) :].tolist()
        reply = model.codec.before_end(outcome.output_ids)
        assert new[: len(reply)] == reply


def test_a_decode_is_the_same_alone_and_in_a_batch(model):
    decoder = Renoise(steps=12, entropy_bound=1.0, **COLD)
    together, alone = outcomes(model, decoder), outcomes(model, decoder, batch_size=1)
    for one, other in zip(together, alone, strict=True):
        assert (one.trace, one.counts) == (other.trace, other.counts)


def test_it_shares_calls_with_strategies_of_masks_and_changes_none_of_them(model):
    prompt, *_ = prompts(model.codec, 1, canvas_length=CANVAS)
    decoders = [Renoise(steps=6, entropy_bound=1.0, **COLD), Confidence(k=4)]
    jobs = [Job(prompt, each, key="0", tag=place) for place, each in enumerate(decoders)]
    both = sorted(decode(jobs, model), key=lambda outcome: outcome.job.tag)
    for job, outcome in zip(jobs, both, strict=True):
        (alone,) = decode([job], model)
        assert alone.trace == outcome.trace


def test_a_long_canvas_begins_anew_in_every_block_of_the_network(model):
    decoder = Renoise(steps=3, **COLD)
    for outcome in outcomes(model, decoder, length=2 * CANVAS + 5):
        trace = outcome.trace
        assert outcome.status == "ok"
        assert trace.replay(outcome.job.prompt.canvas.tolist()) == outcome.output_ids
        assert outcome.counts.nfe == 3 * 3
        assert trace.auxiliary_calls == [1, 0, 0] * 3
        blocks = [{position // CANVAS for position in step} for step in trace.positions]
        assert [blocks[i] for i in (0, 3, 6)] == [{0}, {1}, {2}]


# What the adapter tells the network


def told(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(count, 300, generator=generator), dim=-1)


@pytest.mark.parametrize("fixed", [(), (0, 5)])
def test_what_was_predicted_before_reaches_the_network_as_its_class_takes_it(fixed, model):
    (prompt,) = prompts(model.codec, 1, canvas_length=CANVAS)
    shown = torch.arange(20, 20 + CANVAS)
    wanted = torch.ones(CANVAS, dtype=torch.bool)
    wanted[list(fixed)] = False
    row = Row(prompt, shown, wanted, conditioning=told(CANVAS - len(fixed)))
    logits = torch.full((CANVAS, VOCABULARY), -torch.inf)
    logits[wanted, :300] = row.conditioning.log()
    logits[~wanted, shown[~wanted]] = 0.0
    native = model.network(
        input_ids=prompt.ids[None],
        decoder_input_ids=shown[None],
        self_conditioning_logits=logits[None],
    ).logits[0, wanted]
    assert float((model.predict([row]).logits - native).abs().max()) < 1e-5
    silent = model.predict([replace(row, conditioning=None)]).logits
    assert float((silent - native).abs().max()) > 0.05


def test_rows_with_and_without_earlier_predictions_share_a_call(model):
    one, two, three = prompts(model.codec, 3, canvas_length=CANVAS)
    wanted = torch.ones(CANVAS, dtype=torch.bool)
    short = torch.ones(9, dtype=torch.bool)
    rows = [
        Row(one, torch.arange(CANVAS), wanted, conditioning=told(CANVAS)),
        Row(two, torch.arange(9), short),
        Row(three, torch.arange(30, 39), short, conditioning=told(9, seed=1)),
    ]
    together = model.predict(rows).logits.split([CANVAS, 9, 9])
    for row, logits in zip(rows, together, strict=True):
        assert float((model.predict([row]).logits - logits).abs().max()) < 1e-5


# By hand


def played(decoder, calls, canvas=None):
    script = Script(calls)
    canvas = [None] * len(calls[0]) if canvas is None else canvas
    (outcome,) = decode([Job(prompt_of(canvas), decoder, key="0")], script, share=False)
    assert outcome.status == "ok", outcome.error
    return outcome, script.rows


def said(*tokens, confidence=0.9999999):
    return [(token, confidence) for token in tokens]


@pytest.mark.parametrize("stability", [0, 1, 3])
def test_it_stops_when_its_result_was_the_same_as_often_as_asked_and_it_is_sure(stability):
    outcome, _ = played(Renoise(stability=stability), [said(A, B)] * 9)
    assert outcome.counts.nfe == stability + 1
    assert written(outcome) == [{0: A, 1: B}, *[{}] * stability]


def test_a_result_that_is_the_same_but_not_sure_goes_on_to_the_last_step():
    outcome, _ = played(Renoise(steps=5), [said(A, B, confidence=0.6)] * 9)
    assert outcome.counts.nfe == 5


def test_a_result_that_is_sure_but_not_the_same_goes_on():
    calls = [said(A, A), said(A, B), said(A, A), said(A, C), said(A, C), said(A, C)]
    outcome, _ = played(Renoise(), calls)
    assert written(outcome) == [{0: A, 1: A}, {1: B}, {1: A}, {1: C}, {}]
    assert outcome.output_ids == [A, C]
    assert outcome.counts.revisions == 3


def test_one_step_writes_what_is_likeliest_and_ends():
    outcome, _ = played(Renoise(steps=1), [said(A, B, confidence=0.3)])
    assert written(outcome) == [{0: A, 1: B}]


EVEN = {A: 0.5, B: 0.5}


def test_what_fits_the_bound_is_shown_and_all_else_is_fresh_noise():
    # Before the third there are ln 2 = 0.69 nats, over the bound.
    calls = [[(C, 0.9999999), EVEN, EVEN]] * 3
    outcome, rows = played(Renoise(steps=3), calls)
    assert rows[0].canvas.tolist() == [MASK] * 3
    numbers = _generator("0")
    for row in rows[1:]:
        drawn = numbers.random(3)
        expected = [C, A if drawn[1] < 0.5 else B, int(drawn[2] * MASK)]
        assert row.canvas.tolist() == expected
        assert row.wanted.all()
    assert outcome.output_ids == [C, A, A]


def test_what_was_accepted_before_is_noise_again_where_it_no_longer_fits():
    calls = [[(C, 0.9999999), EVEN, EVEN], [EVEN, EVEN, (C, 0.9999999)], said(A, A, A)]
    _, rows = played(Renoise(steps=3), calls)
    numbers = _generator("0")
    numbers.random(3)
    drawn = numbers.random(3)
    assert rows[1].canvas[0] == C
    assert rows[2].canvas.tolist()[1:] == [int(drawn[1] * MASK), C]


def test_all_is_accepted_under_a_bound_that_all_of_it_fits():
    _, rows = played(Renoise(steps=2, entropy_bound=9.0), [[EVEN] * 4] * 2)
    assert set(rows[1].canvas.tolist()) <= {A, B}


def test_the_network_is_told_what_it_predicted_at_the_temperature_of_the_step():
    _, rows = played(Renoise(steps=2), [[{A: 0.8, B: 0.2}]] * 2)
    assert rows[0].conditioning is None
    # The first of two steps is at 0.4 + 0.4 * 2 / 2.
    first, second = 0.8 ** (1 / 0.8), 0.2 ** (1 / 0.8)
    (line,) = rows[1].conditioning
    assert float(line[A]) == pytest.approx(first / (first + second), abs=1e-5)


def test_what_was_filled_from_the_start_is_shown_and_stays():
    outcome, rows = played(Renoise(steps=3), [said(A, A, A)] * 3, [None, B, None])
    assert all(row.canvas[1] == B for row in rows)
    assert [row.wanted.tolist() for row in rows] == [[True, False, True]] * 2
    assert [len(row.conditioning) for row in rows[1:]] == [2]
    assert outcome.output_ids == [A, B, A]


def test_each_block_begins_with_a_canvas_of_masks_and_is_told_nothing():
    outcome, rows = played(Renoise(block_length=2), [said(*[A] * 4)] * 4)
    assert outcome.counts.nfe == 4
    assert rows[2].canvas.tolist() == [A, A, MASK, MASK]
    assert [row.conditioning is None for row in rows] == [True, False, True, False]


def test_as_many_steps_as_asked_for_are_taken_on_a_short_canvas():
    outcome, _ = played(Renoise(steps=48), [[EVEN]] * 48)
    assert outcome.counts.nfe == 48


# Against plain Python


class Hearing(Landscape):
    """A landscape that is shown noise, and moved by what it is told of its last prediction."""

    capabilities = frozenset({"noise", "self_conditioning"})

    def __init__(self, seed, scale, pull):
        super().__init__(seed, scale, pull)
        generator = torch.Generator().manual_seed(seed + 1)
        self._heard = torch.randn(len(WORD), len(WORD), generator=generator)

    def said(self, canvas, heard):
        """Logits at every place; ``heard`` has a line for each place, of zeros for nothing."""
        shown = [t if t == MASK or t in WORD else WORD[t % len(WORD)] for t in canvas]
        logits = self.logits(shown)
        logits[:, WORD] += heard @ self._heard
        return logits

    def predict(self, rows):
        lines = []
        for row in rows:
            heard = torch.zeros(len(row.canvas), len(WORD))
            if row.conditioning is not None:
                heard[row.wanted] = row.conditioning[:, WORD].float()
            lines.append(self.said(row.canvas.tolist(), heard)[row.wanted])
        return Prediction(logits=torch.cat(lines))

    def told(self, canvas, heard):
        """As the plain rule asks: probabilities by token, from those that it was told."""
        lines = torch.zeros(len(canvas), len(WORD))
        for place, line in (heard or {}).items():
            lines[place] = torch.tensor([line[token] for token in WORD])
        chances = torch.softmax(self.said(canvas, lines), dim=-1)[:, WORD]
        return [dict(zip(WORD, line, strict=True)) for line in chances.tolist()]


rules = st.fixed_dictionaries(
    {
        "entropy_bound": st.sampled_from([0.0, 0.1, 0.5, 2.0]),
        "steps": st.integers(1, 5),
        "t_min": st.sampled_from([0.1, 0.4]),
        "t_max": st.sampled_from([0.4, 0.8]),
        "stability": st.integers(0, 2),
        "confidence": st.sampled_from([0.005, 0.2, 1.0]),
        "block_length": st.sampled_from([None, None, 2, 3]),
    }
)


@settings(max_examples=200, deadline=None)
@given(rules, st.integers(0, 2**32), st.sampled_from([0.5, 2.0]), batches(count=2))
def test_renoise_agrees_with_its_rule_in_plain_python(fields, seed, scale, batch):
    _, canvases = batch
    hearing, decoder = Hearing(seed, scale, 0.3), Renoise(**fields)
    jobs = [
        Job(prompt_of(canvas), decoder, key=str(index), tag=index)
        for index, canvas in enumerate(canvases)
    ]
    done = sorted(decode(jobs, hearing, share=False), key=lambda outcome: outcome.job.tag)
    for outcome, canvas in zip(done, canvases, strict=True):
        ids = [MASK if token is None else token for token in canvas]
        draw = _generator(outcome.job.key).random
        expected = plain.renoise(hearing.told, ids, MASK, uniform=draw, **fields)
        assert (outcome.output_ids, outcome.counts.nfe) == expected, outcome.error


# What is refused


def test_a_model_of_masks_is_refused_before_the_run_starts():
    sentence = "decoder 'renoise:.*' needs noise, self_conditioning, which model 'ideal' does not"
    with pytest.raises(RunFileError, match=sentence):
        evaluate(tasks="choices/city", decoders="renoise", model="ideal", samples=1)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("entropy_bound", -0.1, r"entropy_bound must lie in \[0, inf\) nats, got -0\.1"),
        ("entropy_bound", math.nan, "entropy_bound must lie in .* got nan"),
        ("steps", 0, "steps must be 1 to 100,000 per block, got 0"),
        ("t_max", 0.0, r"t_max must lie in \(0, inf\), got 0\.0"),
        ("t_min", 0.9, r"t_min must lie in \[0, t_max=0\.8\], got 0\.9"),
        ("t_min", -0.1, "t_min must lie in .* got -0.1"),
        ("stability", -1, "stability must be at least 0 results, got -1"),
        ("confidence", 0.0, r"confidence must lie in \(0, inf\) nats, got 0\.0"),
        ("temperature", 0.5, "temperature must be 0 where t_min and t_max give it, got 0.5"),
    ],
)
def test_a_value_out_of_range_is_refused(field, value, sentence):
    with pytest.raises(FieldError, match=sentence):
        parse_settings(f"renoise:{field}={value}", DECODERS)


def test_it_declares_what_it_does():
    kind = Renoise()
    assert (kind.adaptive, kind.remasks, kind.deterministic) == (True, True, False)
    assert kind.needs - UniformModel.capabilities <= {"token", "distribution", "uniform"}
    assert parse_settings("renoise", DECODERS)[0].label == "renoise:entropy_bound=0.1,steps=48"
