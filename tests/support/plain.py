"""A decode in plain Python: one sample, one position at a time, no tensors but the model's.

Rules of strategies are written against :class:`Seen`, without a look at the batched ones.
"""

from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st

from parallelbench.decode.lanes import Job, _generator
from parallelbench.decode.loop import decode
from parallelbench.decode.statistics import forbid_unwritable, statistics_of
from parallelbench.model import Model, Prediction, Row
from support.toys import prompts, toy_codec

CODEC = toy_codec()
(PROMPT,) = prompts(CODEC)
EVERYTHING = ("token", "confidence", "margin", "logit_margin", "entropy")


@dataclass
class Seen:
    """What a rule may look at: numbers by position."""

    open: list
    low: int
    high: int
    length: int
    step: int
    initial: list
    token: dict
    confidence: dict
    margin: dict
    logit_margin: dict
    entropy: dict
    uniform: list


class Scripted(Model):
    """Logits of our choice at every position, moved by what is written there and left of it.

    Few different numbers, so that scores are often equal; end-of-text is likelier than others.
    """

    digest = "scripted"

    def __init__(self, seed, *, levels=5, scale=1.0):
        self.codec = CODEC
        self.calls = 0
        generator = torch.Generator().manual_seed(seed)
        shape = (40, 3, self.codec.size)
        self._logits = torch.randint(levels, shape, generator=generator).double() * scale
        self._logits[:, :, self.codec.end_id] += scale * (levels - 1) / 2

    def predict(self, rows):
        self.calls += 1
        lines = []
        for row in rows:
            written = int((row.canvas != self.codec.mask_id).sum())
            lines.append(self._logits[: len(row.canvas), written % 3][row.wanted].float())
        return Prediction(logits=torch.cat(lines))

    def provenance(self):
        return {}


class Told(Model):
    """The same confidences in every call: position i is this sure of its token.

    The rest of its probability is spread over all other tokens.
    """

    digest = "told"

    def __init__(self, confidences, tokens=None):
        self.codec = CODEC
        self._confidences = confidences
        self._tokens = tokens or [CODEC.end_id] * len(confidences)

    def predict(self, rows):
        lines = []
        writable = [i for i in range(CODEC.size) if i not in (CODEC.mask_id, *CODEC.unwritable)]
        for row in rows:
            for position in row.wanted.nonzero().flatten().tolist():
                sure = self._confidences[position]
                line = torch.full((CODEC.size,), -torch.inf, dtype=torch.float64)
                line[writable] = (1 - sure) / (len(writable) - 1)
                line[self._tokens[position]] = sure
                lines.append(line.log().float())
        return Prediction(logits=torch.stack(lines) if lines else torch.zeros(0, CODEC.size))

    def provenance(self):
        return {}


def prompt_of(open_):
    """A prompt whose canvas is open where told, and end-of-text elsewhere."""
    canvas = [CODEC.mask_id if each else CODEC.end_id for each in open_]
    return replace(PROMPT, canvas=torch.tensor(canvas))


def decoded(decoder, model, canvases):
    """The outcomes of decodes in one batch, in the order of the canvases."""
    queue = [Job(prompt_of(open_), decoder, str(place)) for place, open_ in enumerate(canvases)]
    return sorted(decode(queue, model), key=lambda outcome: int(outcome.job.key))


def written(decoder, confidences, open_=None, tokens=None):
    """The positions that each call writes, if the model always says the same."""
    (outcome,) = decoded(decoder, Told(confidences, tokens), [open_ or [True] * len(confidences)])
    assert outcome.status == "ok", outcome.error
    return outcome.trace.positions


def said_of(job, model, canvas, positions):
    """What the model says of some positions: every statistic, by position."""
    wanted = torch.zeros(len(canvas), dtype=torch.bool)
    wanted[positions] = True
    prediction = model.predict([Row(job.prompt, torch.tensor(canvas), wanted)])
    forbid_unwritable(prediction, CODEC)
    said = statistics_of(prediction, frozenset(EVERYTHING), None, CODEC.size)
    return {
        name: dict(zip(positions, getattr(said, name).tolist(), strict=True)) for name in EVERYTHING
    }


def plainly(job, model, rule, least_calls):
    """Decode by ``rule``; return the ids and the positions that each call wrote.

    Args:
        job: What to decode; of its decoder, only the blocks and what it needs are read.
        model: Is asked once a call.
        rule: From what is seen to the positions to write.
        least_calls: How many a block of so many open positions takes, even if it is full.
    """
    canvas, trace = job.prompt.canvas.tolist(), []
    rng = _generator(job.key)
    length = job.decoder.block_length or len(canvas)
    for low in range(0, len(canvas), length):
        block = range(low, min(low + length, len(canvas)))
        initial = [i for i in block if canvas[i] == CODEC.mask_id]
        step = 0
        while True:
            open_ = [i for i in block if canvas[i] == CODEC.mask_id]
            if not initial or (not open_ and step >= least_calls(len(initial))):
                break
            seen = Seen(
                open=open_,
                low=low,
                high=block.stop,
                length=len(canvas),
                step=step,
                initial=initial,
                uniform=rng.random(len(canvas)).tolist() if "uniform" in job.decoder.needs else [],
                **said_of(job, model, canvas, open_),
            )
            trace.append(sorted(set(rule(seen))))
            for position in trace[-1]:
                canvas[position] = seen.token[position]
            step += 1
    return canvas, trace


def assert_same_decode(decoder, rule, model, canvases, least_calls=lambda _: 0):
    """The batched strategy writes the same tokens in the same calls as the plain rule."""
    for outcome in decoded(decoder, model, canvases):
        ids, trace = plainly(outcome.job, model, rule, least_calls)
        assert outcome.status == "ok", outcome.error
        assert outcome.trace.positions == trace
        assert outcome.output_ids == ids
        assert outcome.counts.nfe == len(trace)


@st.composite
def canvases(draw):
    """Canvases of one length, open somewhere."""
    length = draw(st.integers(1, 9))
    row = st.lists(st.booleans(), min_size=length, max_size=length).map(
        lambda row: row if any(row) else [True] * length
    )
    return draw(st.lists(st.one_of(row, st.just([True] * length)), min_size=1, max_size=2))


scripted = st.builds(
    Scripted, st.integers(0, 2**20), levels=st.integers(1, 5), scale=st.sampled_from([0.5, 1, 3])
)
